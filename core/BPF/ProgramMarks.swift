// SPDX-License-Identifier: Apache-2.0
// ProgramMarks.swift: what is noted of a program's slots on the way from its instructions to its machine code.

/// What programs may count on: sizes that the interpreter, the compiler and the verifier agree on.
public enum ProgramLimits {
  /// The bytes of stack that each function has.
  public static var frameByteCount: Int { 512 }
  /// How many functions can be active at once, the first included.
  public static var callDepth: Int { 8 }
  /// The bytes of stack that a caller provides below the address in r10.
  public static var stackByteCount: Int { frameByteCount * callDepth }
}

/// What is noted of one slot, in one word of the caller's memory.
struct Mark {
  var bits: UInt64

  private func has(_ bit: UInt64) -> Bool { bits >> bit & 1 != 0 }
  private mutating func put(_ value: Bool, _ bit: UInt64) {
    bits = value ? bits | 1 << bit : bits & ~(1 << bit)
  }

  /// Where the slot's machine code begins, while compiling.
  var codeOffset: UInt32 {
    get { UInt32(truncatingIfNeeded: bits) }
    set { bits = bits & ~0xffff_ffff | UInt64(newValue) }
  }
  /// Whether a jump leads here.
  var isJumpTarget: Bool {
    get { has(32) }
    set { put(newValue, 32) }
  }
  /// Whether the slot is a function's first.
  var isFunctionStart: Bool {
    get { has(33) }
    set { put(newValue, 33) }
  }
  /// Whether the slot is the second half of a 64-bit immediate.
  var isSecondHalf: Bool {
    get { has(34) }
    set { put(newValue, 34) }
  }
  /// Whether the compiled jump is of the short form.
  var isShortJump: Bool {
    get { has(35) }
    set { put(newValue, 35) }
  }
  /// At a function's start: the registers that the function names.
  var usedRegisters: RegisterSet {
    get { RegisterSet(bits: UInt16(truncatingIfNeeded: bits >> 36 & 0x7ff)) }
    set { bits = bits & ~(0x7ff << 36) | UInt64(newValue.bits) << 36 }
  }
  /// While verifying: the registers whose values may still decide something, such as an address or a branch.
  var decidingRegisters: RegisterSet {
    get { usedRegisters }
    set { usedRegisters = newValue }
  }
  /// While verifying: the registers whose values may still be read.
  var liveRegisters: RegisterSet {
    get { RegisterSet(bits: UInt16(truncatingIfNeeded: bits >> 48 & 0x7ff)) }
    set { bits = bits & ~(0x7ff << 48) | UInt64(newValue.bits) << 48 }
  }
  /// At a function's start: whether the function calls anything.
  var makesCalls: Bool {
    get { has(59) }
    set { put(newValue, 59) }
  }
}

/// A set of registers.
struct RegisterSet: Equatable {
  var bits: UInt16

  static var none: RegisterSet { RegisterSet(bits: 0) }
  static func only(_ register: Register) -> RegisterSet {
    RegisterSet(bits: 1 << UInt16(register.number))
  }
  func contains(_ register: Register) -> Bool { bits >> UInt16(register.number) & 1 != 0 }
  func union(_ other: RegisterSet) -> RegisterSet { RegisterSet(bits: bits | other.bits) }
  func subtracting(_ other: RegisterSet) -> RegisterSet { RegisterSet(bits: bits & ~other.bits) }
}

extension Operand {
  /// The register read, if the operand is one.
  var registers: RegisterSet {
    switch self {
    case .register(let register): .only(register)
    case .immediate: .none
    }
  }
}

extension Instruction {
  /// The registers that the instruction names, for deciding which ones a function must save.
  var namedRegisters: RegisterSet {
    switch self {
    case .arithmetic(_, _, let destination, let source):
      RegisterSet.only(destination).union(source.registers)
    case .moveSignExtended(_, _, let destination, let source):
      RegisterSet.only(destination).union(.only(source))
    case .negate(_, let destination), .byteOrder(_, _, let destination): .only(destination)
    case .loadImmediate(let destination, _): .only(destination)
    case .load(_, _, let destination, let base, _): RegisterSet.only(destination).union(.only(base))
    case .store(_, let base, _, let source): RegisterSet.only(base).union(source.registers)
    case .atomic(_, _, let base, _, let source): RegisterSet.only(base).union(.only(source))
    case .branch(_, _, let left, let right, _): RegisterSet.only(left).union(right.registers)
    case .jump, .callHelper, .callLocal, .exit: .none
    }
  }

  /// How far a jump leads, for those instructions that are jumps.
  var jumpOffset: Int? {
    switch self {
    case .jump(_, let offset): Int(offset)
    case .branch(_, _, _, _, let offset): Int(offset)
    default: nil
    }
  }

  /// Whether the instruction after this one can be reached by falling through.
  var fallsThrough: Bool {
    switch self {
    case .jump, .exit: false
    default: true
    }
  }
}

/// What the compiler has to know of a whole program.
public struct ProgramFacts: Equatable, Sendable {
  /// Whether any helper is called.
  public var callsHelpers = false
  /// Whether any instruction names the frame pointer.
  public var usesFramePointer = false
}
