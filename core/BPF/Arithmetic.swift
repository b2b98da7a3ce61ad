// SPDX-License-Identifier: Apache-2.0
// Arithmetic.swift: what BPF's arithmetic means on two known values (RFC 9669, 4.1 to 4.3).

extension ArithmeticOperation {
  /// The result of the operation; every input has one.
  ///
  /// Overflow wraps and shift counts are taken modulo the operand size.
  public func apply(_ left: UInt64, _ right: UInt64, _ size: OperandSize) -> UInt64 {
    switch size {
    case .doubleWord: apply64(left, right)
    case .word:
      UInt64(apply32(UInt32(truncatingIfNeeded: left), UInt32(truncatingIfNeeded: right)))
    }
  }

  // Division by zero gives 0, modulo by zero leaves the destination; the most negative number divided by -1 wraps
  // (RFC 9669, 4.1).
  private func apply64(_ left: UInt64, _ right: UInt64) -> UInt64 {
    switch self {
    case .add: return left &+ right
    case .subtract: return left &- right
    case .multiply: return left &* right
    case .divide: return right == 0 ? 0 : left / right
    case .modulo: return right == 0 ? left : left % right
    case .signedDivide:
      if right == 0 { return 0 }
      return UInt64(
        bitPattern: Int64(bitPattern: left).dividedReportingOverflow(by: Int64(bitPattern: right))
          .partialValue)
    case .signedModulo:
      if right == 0 { return left }
      return UInt64(
        bitPattern: Int64(bitPattern: left).remainderReportingOverflow(
          dividingBy: Int64(bitPattern: right)
        ).partialValue)
    case .or: return left | right
    case .and: return left & right
    case .exclusiveOr: return left ^ right
    case .move: return right
    case .shiftLeft: return left &<< right
    case .shiftRight: return left &>> right
    case .arithmeticShiftRight:
      return UInt64(bitPattern: Int64(bitPattern: left) &>> Int64(bitPattern: right))
    }
  }

  private func apply32(_ left: UInt32, _ right: UInt32) -> UInt32 {
    switch self {
    case .add: return left &+ right
    case .subtract: return left &- right
    case .multiply: return left &* right
    case .divide: return right == 0 ? 0 : left / right
    case .modulo: return right == 0 ? left : left % right
    case .signedDivide:
      if right == 0 { return 0 }
      return UInt32(
        bitPattern: Int32(bitPattern: left).dividedReportingOverflow(by: Int32(bitPattern: right))
          .partialValue)
    case .signedModulo:
      if right == 0 { return left }
      return UInt32(
        bitPattern: Int32(bitPattern: left).remainderReportingOverflow(
          dividingBy: Int32(bitPattern: right)
        ).partialValue)
    case .or: return left | right
    case .and: return left & right
    case .exclusiveOr: return left ^ right
    case .move: return right
    case .shiftLeft: return left &<< right
    case .shiftRight: return left &>> right
    case .arithmeticShiftRight:
      return UInt32(bitPattern: Int32(bitPattern: left) &>> Int32(bitPattern: right))
    }
  }
}

extension Condition {
  /// Whether the condition holds.
  public func holds(_ left: UInt64, _ right: UInt64, _ size: OperandSize) -> Bool {
    switch size {
    case .doubleWord: return holds(left, right)
    case .word:
      if isSigned { return holds(left.signExtended(from: .word), right.signExtended(from: .word)) }
      return holds(left & 0xffff_ffff, right & 0xffff_ffff)
    }
  }

  private func holds(_ left: UInt64, _ right: UInt64) -> Bool {
    switch self {
    case .equal: left == right
    case .notEqual: left != right
    case .anyBitSet: left & right != 0
    case .greater: left > right
    case .greaterOrEqual: left >= right
    case .less: left < right
    case .lessOrEqual: left <= right
    case .signedGreater: Int64(bitPattern: left) > Int64(bitPattern: right)
    case .signedGreaterOrEqual: Int64(bitPattern: left) >= Int64(bitPattern: right)
    case .signedLess: Int64(bitPattern: left) < Int64(bitPattern: right)
    case .signedLessOrEqual: Int64(bitPattern: left) <= Int64(bitPattern: right)
    }
  }
}

extension AtomicOperation {
  /// Computes what the memory holds afterwards.
  ///
  /// - Parameters:
  ///   - old: What it holds before.
  ///   - operand: The source register.
  ///   - expected: What r0 holds, for the comparison.
  ///   - width: The width of the access; only so many bits of the operands count.
  /// - Returns: The new value.
  public func apply(
    _ old: UInt64, _ operand: UInt64, expected: UInt64, _ width: AccessWidth
  ) -> UInt64 {
    let result: UInt64 =
      switch self {
      case .add, .fetchAdd: old &+ operand
      case .or, .fetchOr: old | operand
      case .and, .fetchAnd: old & operand
      case .exclusiveOr, .fetchExclusiveOr: old ^ operand
      case .exchange: operand
      case .compareExchange: old == expected & width.mask ? operand : old
      }
    return result & width.mask
  }
}

extension ByteOrder {
  /// The value with the low bytes put in order and the others cleared.
  public func apply(_ value: UInt64, _ width: AccessWidth) -> UInt64 {
    switch self {
    case .little: value & width.mask
    case .big, .swap: value.byteSwapped >> (64 - width.bitCount)
    }
  }
}

extension UInt64 {
  /// The low bits read as a signed number.
  func signExtended(from width: AccessWidth) -> UInt64 {
    let unused = 64 - width.bitCount
    return UInt64(bitPattern: Int64(bitPattern: self << unused) >> Int64(unused))
  }
}
