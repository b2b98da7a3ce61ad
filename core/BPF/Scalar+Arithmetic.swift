// SPDX-License-Identifier: Apache-2.0
// Scalar+Arithmetic.swift: what arithmetic makes of sets of numbers; every result holds all that can come out.

extension Scalar {
  /// The low bits, zero-extended.
  func truncated(to width: AccessWidth) -> Scalar {
    let mask = width.mask
    let narrowed = Scalar.matching(bits.truncated(to: mask))
    guard least & ~mask == greatest & ~mask else { return narrowed }
    return narrowed.limited(from: least & mask, to: greatest & mask) ?? narrowed
  }

  /// The low bits, sign-extended.
  func signExtended(from width: AccessWidth) -> Scalar {
    if width == .doubleWord { return self }
    let low = truncated(to: width)
    let half: UInt64 = 1 << (width.bitCount - 1)
    if low.greatest < half { return low }
    if low.least >= half { return low - .exactly(half) - .exactly(half) }
    let unused = 64 - width.bitCount
    let extended = low.bits.shiftedLeft(unused).arithmeticallyShiftedRight(unused)
    let range = Scalar.fromSigned(-Int64(half), to: Int64(half) - 1)
    return range.intersection(extended) ?? range
  }

  /// The result of an operation on any value of this set and any of another.
  func applying(_ operation: ArithmeticOperation, _ right: Scalar, _ size: OperandSize) -> Scalar {
    if let first = constant, let second = right.constant {
      return .exactly(operation.apply(first, second, size))
    }
    guard size == .word else { return applying(operation, right, countMask: 63) }
    switch operation {
    case .arithmeticShiftRight:
      return signExtended(from: .word)
        .applying(operation, right.truncated(to: .word), countMask: 31).truncated(to: .word)
    case .signedDivide, .signedModulo:
      return signExtended(from: .word)
        .applying(operation, right.signExtended(from: .word), countMask: 31)
        .truncated(to: .word)
    default:
      return truncated(to: .word)
        .applying(operation, right.truncated(to: .word), countMask: 31).truncated(to: .word)
    }
  }

  private func applying(
    _ operation: ArithmeticOperation, _ right: Scalar, countMask: UInt64
  ) -> Scalar {
    switch operation {
    case .add: self + right
    case .subtract: self - right
    case .multiply: self * right
    case .and: conjunction(right)
    case .or: disjunction(right)
    case .exclusiveOr: .matching(bits ^ right.bits)
    case .move: right
    case .divide: divided(by: right)
    case .modulo: remainder(dividingBy: right)
    case .signedDivide: signedDivided(by: right)
    case .signedModulo: signedRemainder(dividingBy: right)
    case .shiftLeft: right.constant.map { shiftedLeft($0 & countMask) } ?? .anything
    case .shiftRight: shiftedRight(right, countMask)
    case .arithmeticShiftRight: arithmeticallyShiftedRight(right, countMask)
    }
  }

  static func + (left: Scalar, right: Scalar) -> Scalar {
    var result = Scalar.matching(left.bits + right.bits)
    let (least, lowOverflow) = left.least.addingReportingOverflow(right.least)
    let (greatest, highOverflow) = left.greatest.addingReportingOverflow(right.greatest)
    // Where both ends wrap, all of it wraps and the order stays.
    if lowOverflow == highOverflow {
      result = result.limited(from: least, to: greatest) ?? result
    }
    let (signedLeast, signedLowOverflow) =
      left.signedLeast.addingReportingOverflow(right.signedLeast)
    let (signedGreatest, signedHighOverflow) =
      left.signedGreatest.addingReportingOverflow(right.signedGreatest)
    if !signedLowOverflow, !signedHighOverflow {
      result = result.limited(fromSigned: signedLeast, to: signedGreatest) ?? result
    }
    return result
  }

  static func - (left: Scalar, right: Scalar) -> Scalar {
    var result = Scalar.matching(left.bits - right.bits)
    let (least, lowOverflow) = left.least.subtractingReportingOverflow(right.greatest)
    let (greatest, highOverflow) = left.greatest.subtractingReportingOverflow(right.least)
    if lowOverflow == highOverflow {
      result = result.limited(from: least, to: greatest) ?? result
    }
    let (signedLeast, signedLowOverflow) =
      left.signedLeast.subtractingReportingOverflow(right.signedGreatest)
    let (signedGreatest, signedHighOverflow) =
      left.signedGreatest.subtractingReportingOverflow(right.signedLeast)
    if !signedLowOverflow, !signedHighOverflow {
      result = result.limited(fromSigned: signedLeast, to: signedGreatest) ?? result
    }
    return result
  }

  static func * (left: Scalar, right: Scalar) -> Scalar {
    let result = Scalar.matching(left.bits * right.bits)
    let (greatest, overflow) = left.greatest.multipliedReportingOverflow(by: right.greatest)
    if overflow { return result }
    return result.limited(from: left.least &* right.least, to: greatest) ?? result
  }

  private func conjunction(_ right: Scalar) -> Scalar {
    let result = Scalar.matching(bits & right.bits)
    return result.limited(from: 0, to: min(greatest, right.greatest)) ?? result
  }

  private func disjunction(_ right: Scalar) -> Scalar {
    let result = Scalar.matching(bits | right.bits)
    return result.limited(from: max(least, right.least), to: .max) ?? result
  }

  func shiftedLeft(_ count: UInt64) -> Scalar {
    let result = Scalar.matching(bits.shiftedLeft(count))
    guard greatest.leadingZeroBitCount >= Int(count) else { return result }
    return result.limited(from: least << count, to: greatest << count) ?? result
  }

  func shiftedRight(_ count: UInt64) -> Scalar {
    let result = Scalar.matching(bits.shiftedRight(count))
    return result.limited(from: least &>> count, to: greatest &>> count) ?? result
  }

  private func shiftedRight(_ right: Scalar, _ countMask: UInt64) -> Scalar {
    if let count = right.constant { return shiftedRight(count & countMask) }
    return .from(0, to: greatest)
  }

  private func arithmeticallyShiftedRight(_ right: Scalar, _ countMask: UInt64) -> Scalar {
    guard let count = right.constant.map({ $0 & countMask }) else {
      return .fromSigned(min(signedLeast, 0), to: max(signedGreatest, -1))
    }
    let result = Scalar.matching(bits.arithmeticallyShiftedRight(count))
    let shift = Int64(bitPattern: count)
    return result.limited(fromSigned: signedLeast &>> shift, to: signedGreatest &>> shift) ?? result
  }

  // A divisor of zero gives zero, which no quotient is above.
  private func divided(by right: Scalar) -> Scalar {
    guard let divisor = right.constant else { return .from(0, to: greatest) }
    return divisor == 0 ? .exactly(0) : .from(least / divisor, to: greatest / divisor)
  }

  // A divisor of zero leaves the dividend, which is no greater than itself.
  private func remainder(dividingBy right: Scalar) -> Scalar {
    guard let divisor = right.constant, divisor != 0 else {
      return right.constant == 0 ? self : .from(0, to: greatest)
    }
    return greatest < divisor ? self : .from(0, to: divisor - 1)
  }

  private func signedDivided(by right: Scalar) -> Scalar {
    guard let divisor = right.constant.map({ Int64(bitPattern: $0) }), divisor > 0 else {
      return right.constant == 0 ? .exactly(0) : .anything
    }
    return .fromSigned(signedLeast / divisor, to: signedGreatest / divisor)
  }

  private func signedRemainder(dividingBy right: Scalar) -> Scalar {
    guard let divisor = right.constant.map({ Int64(bitPattern: $0) }), divisor > 0 else {
      return right.constant == 0 ? self : .anything
    }
    return .fromSigned(
      signedLeast < 0 ? 1 - divisor : 0, to: signedGreatest > 0 ? divisor - 1 : 0)
  }

  /// The low bytes put in order, the others cleared.
  func ordered(_ order: ByteOrder, _ width: AccessWidth) -> Scalar {
    switch order {
    case .little: truncated(to: width)
    case .big, .swap:
      .matching(
        KnownBits(
          value: order.apply(bits.value, width), unknown: order.apply(bits.unknown, width)))
    }
  }
}
