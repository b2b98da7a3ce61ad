// SPDX-License-Identifier: Apache-2.0
// InstructionSet.swift: the words of BPF's instruction set (RFC 9669), without their encoding.

/// One of the eleven registers; r10 is the read-only frame pointer (RFC 9669, 2).
public struct Register: Equatable, Sendable {
  /// The register's number, 0 to 10.
  public let number: Int

  /// Makes a register of a number known to be in range.
  ///
  /// - Precondition: The number is 0 to 10.
  public init(_ number: Int) {
    precondition(number >= 0 && number < Self.count)
    self.number = number
  }

  /// How many registers there are.
  public static var count: Int { 11 }
  /// The result of calls and of the program.
  public static var result: Register { Register(0) }
  /// The frame pointer: the address after the last byte of the frame's stack.
  public static var framePointer: Register { Register(10) }
}

/// How many bits of the operands an instruction works on; 32-bit results are zero-extended.
public enum OperandSize: UInt8, Sendable {
  case word = 32
  case doubleWord = 64
}

/// How many bytes of memory an instruction reads or writes.
public enum AccessWidth: UInt8, Sendable {
  case byte = 1
  case halfWord = 2
  case word = 4
  case doubleWord = 8

  /// The width as a count of bytes.
  public var byteCount: Int { Int(rawValue) }
  /// The width as a count of bits.
  public var bitCount: UInt64 { UInt64(rawValue) * 8 }
  /// The bits that a value of this width may have set.
  public var mask: UInt64 { UInt64.max >> (64 - bitCount) }
}

/// The second operand of arithmetic, branches and stores.
public enum Operand: Equatable, Sendable {
  case register(Register)
  /// A constant that is sign-extended to the operand size.
  case immediate(Int32)
}

/// Arithmetic of two operands, the first being the destination (RFC 9669, 4.1).
///
/// The value is the code, with the offset that makes it signed above it.
public enum ArithmeticOperation: UInt8, Sendable {
  case add = 0x00
  case subtract = 0x01
  case multiply = 0x02
  case divide = 0x03
  case or = 0x04
  case and = 0x05
  case shiftLeft = 0x06
  case shiftRight = 0x07
  case modulo = 0x09
  case exclusiveOr = 0x0a
  case move = 0x0b
  case arithmeticShiftRight = 0x0c
  case signedDivide = 0x13
  case signedModulo = 0x19
}

/// What a byte-order instruction makes of the low bits of a register (RFC 9669, 4.2).
public enum ByteOrder: UInt8, Sendable {
  /// To little-endian: truncates, on this little-endian machine.
  case little
  /// To big-endian: swaps, on this little-endian machine.
  case big
  /// Swaps always.
  case swap
}

/// What a branch compares (RFC 9669, 4.3); the value is the code.
public enum Condition: UInt8, Sendable {
  case equal = 0x1
  case greater = 0x2
  case greaterOrEqual = 0x3
  case anyBitSet = 0x4
  case notEqual = 0x5
  case signedGreater = 0x6
  case signedGreaterOrEqual = 0x7
  case less = 0xa
  case lessOrEqual = 0xb
  case signedLess = 0xc
  case signedLessOrEqual = 0xd
}

extension Condition {
  /// Whether the operands are compared as signed numbers.
  var isSigned: Bool {
    switch self {
    case .signedGreater, .signedGreaterOrEqual, .signedLess, .signedLessOrEqual: true
    default: false
    }
  }
}

extension UInt64 {
  /// A constant operand, sign-extended as the instruction set says.
  init(immediate: Int32) { self = UInt64(bitPattern: Int64(immediate)) }
}

/// Read-modify-write operations on memory (RFC 9669, 5.3); the value is the code.
public enum AtomicOperation: UInt8, Sendable {
  case add = 0x00
  case fetchAdd = 0x01
  case or = 0x40
  case fetchOr = 0x41
  case and = 0x50
  case fetchAnd = 0x51
  case exclusiveOr = 0xa0
  case fetchExclusiveOr = 0xa1
  case exchange = 0xe1
  /// Compares with r0, stores the source if equal; r0 becomes the old value.
  case compareExchange = 0xf1

  /// Whether the old value goes into the source register.
  public var returnsOldValueInSource: Bool { rawValue & 1 != 0 && self != .compareExchange }
}

/// One decoded instruction; offsets count 8-byte slots from the slot after the instruction's first.
public enum Instruction: Equatable, Sendable {
  case arithmetic(ArithmeticOperation, OperandSize, destination: Register, source: Operand)
  /// Sign-extends the low bits of the source to the operand size.
  case moveSignExtended(OperandSize, from: AccessWidth, destination: Register, source: Register)
  case negate(OperandSize, destination: Register)
  case byteOrder(ByteOrder, AccessWidth, destination: Register)
  /// Takes two slots.
  case loadImmediate(destination: Register, value: UInt64)
  case load(AccessWidth, isSigned: Bool, destination: Register, base: Register, offset: Int16)
  case store(AccessWidth, base: Register, offset: Int16, source: Operand)
  case atomic(AtomicOperation, AccessWidth, base: Register, offset: Int16, source: Register)
  /// A double word jump has an offset of 16 bits, a word jump one of 32.
  case jump(OperandSize, offset: Int32)
  case branch(Condition, OperandSize, left: Register, right: Operand, offset: Int16)
  case callHelper(number: UInt32)
  case callLocal(offset: Int32)
  case exit

  /// How many 8-byte slots the instruction takes.
  public var slotCount: Int {
    if case .loadImmediate = self { 2 } else { 1 }
  }
}
