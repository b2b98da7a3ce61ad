// SPDX-License-Identifier: Apache-2.0
// MachineCode.swift: writes x86_64 instructions, byte by byte (Intel SDM vol. 2, 2.1 and 2.2).

/// The eight two-operand instructions that share their encodings; the value is the field that selects one.
enum GroupOne: UInt8 {
  case add = 0
  case or = 1
  case and = 4
  case subtract = 5
  case exclusiveOr = 6
  case compare = 7
}

/// The shifts that share their encodings.
enum GroupTwo: UInt8 {
  case rotateRight = 1
  case shiftLeft = 4
  case shiftRight = 5
  case arithmeticShiftRight = 7
}

/// Conditions of conditional jumps, as Jcc encodes them.
enum MachineCondition: UInt8 {
  case below = 0x2
  case aboveOrEqual = 0x3
  case equal = 0x4
  case notEqual = 0x5
  case belowOrEqual = 0x6
  case above = 0x7
  case less = 0xc
  case greaterOrEqual = 0xd
  case lessOrEqual = 0xe
  case greater = 0xf
}

/// Code being written, or only measured.
struct MachineCode<Buffer: CodeBuffer & ~Copyable>: ~Copyable {
  var buffer: Buffer
  /// How many bytes there are so far.
  var count = 0
  /// Whether bytes are only counted.
  var isMeasuring = true
  /// Whether something did not fit the buffer.
  private(set) var overflows = false

  init(_ buffer: consuming Buffer) { self.buffer = buffer }

  /// Gives the buffer back.
  consuming func end() -> Buffer { buffer }

  mutating func byte(_ value: UInt8) {
    if !isMeasuring {
      if count < buffer.capacity { buffer.store(value, at: count) } else { overflows = true }
    }
    count += 1
  }

  mutating func bytes(_ first: UInt8, _ second: UInt8) {
    byte(first)
    byte(second)
  }

  mutating func word16(_ value: UInt16) {
    bytes(UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8))
  }

  mutating func word32(_ value: UInt32) {
    for index in 0..<4 { byte(UInt8(truncatingIfNeeded: value >> UInt32(8 * index))) }
  }

  mutating func word64(_ value: UInt64) {
    for index in 0..<8 { byte(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
  }

  /// A REX prefix, where one is needed.
  mutating func rex(
    _ size: OperandSize, _ field: MachineRegister, _ operand: MachineRegister,
    isForced: Bool = false
  ) {
    var prefix: UInt8 = 0x40
    if size == .doubleWord { prefix |= 8 }
    if field.isExtended { prefix |= 4 }
    if operand.isExtended { prefix |= 1 }
    if prefix != 0x40 || isForced { byte(prefix) }
  }

  /// The ModRM byte for two registers.
  mutating func registers(_ field: UInt8, _ operand: MachineRegister) {
    byte(0xc0 | (field & 7) << 3 | operand.low)
  }

  /// ModRM and displacement for memory at base + offset; the base is never rsp or r12.
  mutating func memory(_ field: UInt8, _ base: MachineRegister, _ offset: Int16) {
    let fieldBits = (field & 7) << 3
    if offset == 0, base.low != 5 {
      byte(fieldBits | base.low)
    } else if let short = Int8(exactly: offset) {
      byte(0x40 | fieldBits | base.low)
      byte(UInt8(bitPattern: short))
    } else {
      byte(0x80 | fieldBits | base.low)
      word32(UInt32(bitPattern: Int32(offset)))
    }
  }
}

extension MachineCode: Copyable where Buffer: Copyable {}

extension MachineCode where Buffer: ~Copyable {
  mutating func move(_ size: OperandSize, _ destination: MachineRegister, _ source: MachineRegister) {
    rex(size, source, destination)
    byte(0x89)
    registers(source.number, destination)
  }

  /// The shortest way to load a constant.
  mutating func load(_ destination: MachineRegister, _ value: UInt64) {
    if value == 0 {
      group(.exclusiveOr, .word, destination, destination)
    } else if value <= 0xffff_ffff {
      rex(.word, .rax, destination)
      byte(0xb8 | destination.low)
      word32(UInt32(value))
    } else if Int32(exactly: Int64(bitPattern: value)) != nil {
      rex(.doubleWord, .rax, destination)
      byte(0xc7)
      registers(0, destination)
      word32(UInt32(truncatingIfNeeded: value))
    } else {
      rex(.doubleWord, .rax, destination)
      byte(0xb8 | destination.low)
      word64(value)
    }
  }

  mutating func group(
    _ operation: GroupOne, _ size: OperandSize, _ destination: MachineRegister,
    _ source: MachineRegister
  ) {
    rex(size, source, destination)
    byte(operation.rawValue << 3 | 1)
    registers(source.number, destination)
  }

  mutating func group(
    _ operation: GroupOne, _ size: OperandSize, _ destination: MachineRegister, _ value: Int32
  ) {
    rex(size, .rax, destination)
    if let short = Int8(exactly: value) {
      byte(0x83)
      registers(operation.rawValue, destination)
      byte(UInt8(bitPattern: short))
    } else {
      byte(0x81)
      registers(operation.rawValue, destination)
      word32(UInt32(bitPattern: value))
    }
  }

  mutating func test(_ size: OperandSize, _ left: MachineRegister, _ right: MachineRegister) {
    rex(size, right, left)
    byte(0x85)
    registers(right.number, left)
  }

  mutating func test(_ size: OperandSize, _ left: MachineRegister, _ value: Int32) {
    rex(size, .rax, left)
    byte(0xf7)
    registers(0, left)
    word32(UInt32(bitPattern: value))
  }

  mutating func shift(
    _ operation: GroupTwo, _ size: OperandSize, _ destination: MachineRegister, by count: UInt8
  ) {
    rex(size, .rax, destination)
    byte(0xc1)
    registers(operation.rawValue, destination)
    byte(count)
  }

  /// Shifts by the count in cl.
  mutating func shiftByCount(
    _ operation: GroupTwo, _ size: OperandSize, _ destination: MachineRegister
  ) {
    rex(size, .rax, destination)
    byte(0xd3)
    registers(operation.rawValue, destination)
  }

  mutating func multiply(
    _ size: OperandSize, _ destination: MachineRegister, _ source: MachineRegister
  ) {
    rex(size, destination, source)
    bytes(0x0f, 0xaf)
    registers(destination.number, source)
  }

  mutating func multiply(_ size: OperandSize, _ destination: MachineRegister, _ value: Int32) {
    rex(size, destination, destination)
    if let short = Int8(exactly: value) {
      byte(0x6b)
      registers(destination.number, destination)
      byte(UInt8(bitPattern: short))
    } else {
      byte(0x69)
      registers(destination.number, destination)
      word32(UInt32(bitPattern: value))
    }
  }

  mutating func negate(_ size: OperandSize, _ destination: MachineRegister) {
    rex(size, .rax, destination)
    byte(0xf7)
    registers(3, destination)
  }

  /// Divides rdx:rax; `div` or `idiv`.
  mutating func divide(_ size: OperandSize, isSigned: Bool, by divisor: MachineRegister) {
    rex(size, .rax, divisor)
    byte(0xf7)
    registers(isSigned ? 7 : 6, divisor)
  }

  /// Spreads the sign of rax over rdx.
  mutating func extendAccumulator(_ size: OperandSize) {
    rex(size, .rax, .rax)
    byte(0x99)
  }

  mutating func swapBytes(_ size: OperandSize, _ destination: MachineRegister) {
    rex(size, .rax, destination)
    bytes(0x0f, 0xc8 | destination.low)
  }

  mutating func push(_ register: MachineRegister) {
    rex(.word, .rax, register)
    byte(0x50 | register.low)
  }

  mutating func pop(_ register: MachineRegister) {
    rex(.word, .rax, register)
    byte(0x58 | register.low)
  }
}

extension MachineCode where Buffer: ~Copyable {
  /// A jump over a few instructions of the same BPF instruction; `land` ends it.
  mutating func skip(_ condition: MachineCondition?) -> Int {
    bytes(condition.map { 0x70 | $0.rawValue } ?? 0xeb, 0)
    return count
  }

  /// Makes a skip lead here.
  mutating func land(_ skip: Int) {
    if !isMeasuring, skip <= buffer.capacity {
      buffer.store(UInt8(truncatingIfNeeded: count - skip), at: skip - 1)
    }
  }

  /// Jumps back to an offset at most 120 bytes away.
  mutating func jumpBack(_ condition: MachineCondition, to start: Int) {
    bytes(0x70 | condition.rawValue, UInt8(truncatingIfNeeded: start - count - 2))
  }
}
