// SPDX-License-Identifier: Apache-2.0
// Encoder.swift: from instructions to 8-byte slots (RFC 9669, 3 to 5).

import ApusBPF

extension Instruction {
  /// The slots of the instruction, one or two.
  public var slots: [UInt64] {
    switch self {
    case .arithmetic(let operation, let size, let destination, let source):
      let offset: Int16 = operation == .signedDivide || operation == .signedModulo ? 1 : 0
      return [
        Self.slot(
          operation.code << 4 | source.bit | size.arithmeticClass, destination.number, source,
          offset)
      ]
    case .moveSignExtended(let size, let width, let destination, let source):
      return [
        Self.slot(
          0xb8 | size.arithmeticClass, destination.number, .register(source),
          Int16(width.bitCount))
      ]
    case .negate(let size, let destination):
      return [Self.slot(0x80 | size.arithmeticClass, destination.number, .immediate(0), 0)]
    case .byteOrder(let order, let width, let destination):
      let operation: UInt8 =
        switch order {
        case .little: 0xd4
        case .big: 0xdc
        case .swap: 0xd7
        }
      return [
        Self.slot(operation, destination.number, .immediate(Int32(width.bitCount)), 0)
      ]
    case .loadImmediate(let destination, let value):
      let low = Self.slot(
        0x18, destination.number, .immediate(Int32(truncatingIfNeeded: value)), 0)
      return [low, value & 0xffff_ffff_0000_0000]
    case .load(let width, let isSigned, let destination, let base, let offset):
      let mode: UInt8 = isSigned ? 0x81 : 0x61
      return [Self.slot(mode | width.code, destination.number, .register(base), offset)]
    case .store(let width, let base, let offset, let source):
      let mode: UInt8 =
        switch source {
        case .register: 0x63
        case .immediate: 0x62
        }
      return [Self.slot(mode | width.code, base.number, source, offset)]
    case .atomic(let operation, let width, let base, let offset, let source):
      let bits = Self.slot(0xc3 | width.code, base.number, .register(source), offset)
      return [bits | operation.code << 32]
    case .jump(let size, let offset):
      switch size {
      case .word: return [Self.slot(0x06, 0, .immediate(offset), 0)]
      case .doubleWord: return [Self.slot(0x05, 0, .immediate(0), Int16(truncatingIfNeeded: offset))]
      }
    case .branch(let condition, let size, let left, let right, let offset):
      return [
        Self.slot(condition.code << 4 | right.bit | size.jumpClass, left.number, right, offset)
      ]
    case .callHelper(let number):
      return [Self.slot(0x85, 0, .immediate(Int32(bitPattern: number)), 0)]
    case .callLocal(let offset):
      return [Self.slot(0x85, 0, .immediate(offset), 0) | 1 << 12]
    case .exit: return [0x95]
    }
  }

  private static func slot(
    _ operation: UInt8, _ destination: Int, _ source: Operand, _ offset: Int16
  ) -> UInt64 {
    let low = UInt64(operation) | UInt64(destination) << 8
    let middle = UInt64(UInt16(bitPattern: offset)) << 16
    switch source {
    case .register(let register): return low | UInt64(register.number) << 12 | middle
    case .immediate(let value): return low | middle | UInt64(UInt32(bitPattern: value)) << 32
    }
  }
}

extension Operand {
  fileprivate var bit: UInt8 {
    switch self {
    case .register: 0x08
    case .immediate: 0x00
    }
  }
}

extension OperandSize {
  fileprivate var arithmeticClass: UInt8 { self == .word ? 4 : 7 }
  fileprivate var jumpClass: UInt8 { self == .word ? 6 : 5 }
}

extension AccessWidth {
  fileprivate var code: UInt8 {
    switch self {
    case .word: 0x00
    case .halfWord: 0x08
    case .byte: 0x10
    case .doubleWord: 0x18
    }
  }
}

extension ArithmeticOperation {
  fileprivate var code: UInt8 {
    switch self {
    case .add: 0x0
    case .subtract: 0x1
    case .multiply: 0x2
    case .divide, .signedDivide: 0x3
    case .or: 0x4
    case .and: 0x5
    case .shiftLeft: 0x6
    case .shiftRight: 0x7
    case .modulo, .signedModulo: 0x9
    case .exclusiveOr: 0xa
    case .move: 0xb
    case .arithmeticShiftRight: 0xc
    }
  }
}

extension Condition {
  fileprivate var code: UInt8 {
    switch self {
    case .equal: 0x1
    case .greater: 0x2
    case .greaterOrEqual: 0x3
    case .anyBitSet: 0x4
    case .notEqual: 0x5
    case .signedGreater: 0x6
    case .signedGreaterOrEqual: 0x7
    case .less: 0xa
    case .lessOrEqual: 0xb
    case .signedLess: 0xc
    case .signedLessOrEqual: 0xd
    }
  }
}

extension AtomicOperation {
  fileprivate var code: UInt64 {
    switch self {
    case .add: 0x00
    case .fetchAdd: 0x01
    case .or: 0x40
    case .fetchOr: 0x41
    case .and: 0x50
    case .fetchAnd: 0x51
    case .exclusiveOr: 0xa0
    case .fetchExclusiveOr: 0xa1
    case .exchange: 0xe1
    case .compareExchange: 0xf1
    }
  }
}
