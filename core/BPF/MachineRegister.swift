// SPDX-License-Identifier: Apache-2.0
// MachineRegister.swift: where the compiler keeps BPF's registers on x86_64.

/// A general register by the number that instructions encode.
struct MachineRegister: Equatable {
  let number: UInt8

  static var rax: MachineRegister { MachineRegister(number: 0) }
  static var rcx: MachineRegister { MachineRegister(number: 1) }
  static var rdx: MachineRegister { MachineRegister(number: 2) }
  static var rbx: MachineRegister { MachineRegister(number: 3) }
  static var rsp: MachineRegister { MachineRegister(number: 4) }
  static var rbp: MachineRegister { MachineRegister(number: 5) }
  static var rsi: MachineRegister { MachineRegister(number: 6) }
  static var rdi: MachineRegister { MachineRegister(number: 7) }
  static var r8: MachineRegister { MachineRegister(number: 8) }
  static var r9: MachineRegister { MachineRegister(number: 9) }
  static var r10: MachineRegister { MachineRegister(number: 10) }
  static var r11: MachineRegister { MachineRegister(number: 11) }
  static var r12: MachineRegister { MachineRegister(number: 12) }
  static var r13: MachineRegister { MachineRegister(number: 13) }
  static var r14: MachineRegister { MachineRegister(number: 14) }
  static var r15: MachineRegister { MachineRegister(number: 15) }

  var isExtended: Bool { number >= 8 }
  var low: UInt8 { number & 7 }
}

extension Register {
  /// The machine register that holds this register for a whole run.
  ///
  /// r0 to r5 are where the System V ABI wants a function's result and first five arguments, so calling a helper
  /// moves nothing; r6 to r10 are registers that helpers preserve. r9, r10 and r11 of the machine are scratch, r12
  /// holds the address of the words above the stack.
  var machine: MachineRegister {
    switch number {
    case 0: .rax
    case 1: .rdi
    case 2: .rsi
    case 3: .rdx
    case 4: .rcx
    case 5: .r8
    case 6: .rbx
    case 7: .r13
    case 8: .r14
    case 9: .r15
    default: .rbp
    }
  }
}

/// The machine registers that a compiled function saves because its callers rely on them.
enum SavedRegisters {
  static var count: Int { 4 }
  static func at(_ index: Int) -> Register { Register(6 + index) }
}
