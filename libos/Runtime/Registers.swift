// SPDX-License-Identifier: Apache-2.0
// Registers.swift: the application's registers, as the entries in Entry.S save them.

import CRuntime

/// The application's registers by value.
public typealias Registers = runtime_registers

extension runtime_registers {
  /// Registers for a program that starts: all zero, the application's selectors.
  public static var start: Registers {
    var registers = Registers()
    registers.cs = UInt64(APUS_USER_CODE_SELECTOR)
    registers.ss = UInt64(APUS_USER_DATA_SELECTOR)
    registers.flags = 0x202
    return registers
  }
}

/// The saved registers of the application that entered the LibOS; writing changes what it goes on with.
@safe public struct UserRegisters {
  private let base: UnsafeMutablePointer<Registers>

  /// Wraps the pointer that an entry passes.
  public init(base: UnsafeMutableRawPointer) {
    unsafe self.base = base.assumingMemoryBound(to: Registers.self)
  }

  /// Names the registers by the address that an entry passes.
  public init(at address: UInt64) {
    // SAFETY: the entries pass the address of the frame that they have built.
    unsafe self.init(base: UnsafeMutableRawPointer(bitPattern: UInt(address)).unsafelyUnwrapped)
  }

  /// All registers.
  public var value: Registers {
    get { unsafe base.pointee }
    nonmutating set { unsafe base.pointee = newValue }
  }

  /// The general register r15.
  public var r15: UInt64 {
    get { unsafe base.pointee.r15 }
    nonmutating set { unsafe base.pointee.r15 = newValue }
  }

  /// The general register r14.
  public var r14: UInt64 {
    get { unsafe base.pointee.r14 }
    nonmutating set { unsafe base.pointee.r14 = newValue }
  }

  /// The general register r13.
  public var r13: UInt64 {
    get { unsafe base.pointee.r13 }
    nonmutating set { unsafe base.pointee.r13 = newValue }
  }

  /// The general register r12.
  public var r12: UInt64 {
    get { unsafe base.pointee.r12 }
    nonmutating set { unsafe base.pointee.r12 = newValue }
  }

  /// The general register rbp.
  public var rbp: UInt64 {
    get { unsafe base.pointee.rbp }
    nonmutating set { unsafe base.pointee.rbp = newValue }
  }

  /// The general register rbx.
  public var rbx: UInt64 {
    get { unsafe base.pointee.rbx }
    nonmutating set { unsafe base.pointee.rbx = newValue }
  }

  /// The general register r11.
  public var r11: UInt64 {
    get { unsafe base.pointee.r11 }
    nonmutating set { unsafe base.pointee.r11 = newValue }
  }

  /// The general register r10.
  public var r10: UInt64 {
    get { unsafe base.pointee.r10 }
    nonmutating set { unsafe base.pointee.r10 = newValue }
  }

  /// The general register r9.
  public var r9: UInt64 {
    get { unsafe base.pointee.r9 }
    nonmutating set { unsafe base.pointee.r9 = newValue }
  }

  /// The general register r8.
  public var r8: UInt64 {
    get { unsafe base.pointee.r8 }
    nonmutating set { unsafe base.pointee.r8 = newValue }
  }

  /// The general register rax.
  public var rax: UInt64 {
    get { unsafe base.pointee.rax }
    nonmutating set { unsafe base.pointee.rax = newValue }
  }

  /// The general register rcx.
  public var rcx: UInt64 {
    get { unsafe base.pointee.rcx }
    nonmutating set { unsafe base.pointee.rcx = newValue }
  }

  /// The general register rdx.
  public var rdx: UInt64 {
    get { unsafe base.pointee.rdx }
    nonmutating set { unsafe base.pointee.rdx = newValue }
  }

  /// The general register rsi.
  public var rsi: UInt64 {
    get { unsafe base.pointee.rsi }
    nonmutating set { unsafe base.pointee.rsi = newValue }
  }

  /// The general register rdi.
  public var rdi: UInt64 {
    get { unsafe base.pointee.rdi }
    nonmutating set { unsafe base.pointee.rdi = newValue }
  }

  /// The number of the call that entered, whatever rax holds now.
  public var originalRax: UInt64 {
    get { unsafe base.pointee.original_rax }
    nonmutating set { unsafe base.pointee.original_rax = newValue }
  }

  /// The instruction it goes on with.
  public var rip: UInt64 {
    get { unsafe base.pointee.rip }
    nonmutating set { unsafe base.pointee.rip = newValue }
  }

  /// The code segment selector.
  public var cs: UInt64 {
    get { unsafe base.pointee.cs }
    nonmutating set { unsafe base.pointee.cs = newValue }
  }

  /// The flags register.
  public var flags: UInt64 {
    get { unsafe base.pointee.flags }
    nonmutating set { unsafe base.pointee.flags = newValue }
  }

  /// The stack pointer.
  public var rsp: UInt64 {
    get { unsafe base.pointee.rsp }
    nonmutating set { unsafe base.pointee.rsp = newValue }
  }

  /// The stack segment selector.
  public var ss: UInt64 {
    get { unsafe base.pointee.ss }
    nonmutating set { unsafe base.pointee.ss = newValue }
  }
}
