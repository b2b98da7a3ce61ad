// SPDX-License-Identifier: Apache-2.0
// Scalar+Conditions.swift: what a branch's outcome says about the two numbers that were compared.

/// The two sides of a comparison.
struct ComparedScalars: Equatable {
  var left: Scalar
  var right: Scalar

  /// What remains possible if a condition had an outcome; nil: the outcome is impossible.
  func limited(_ condition: Condition, _ size: OperandSize, holds: Bool) -> ComparedScalars? {
    switch size {
    case .doubleWord: limited(condition, holds: holds)
    case .word: limitedByWords(condition, holds: holds)
    }
  }

  private func limited(_ condition: Condition, holds: Bool) -> ComparedScalars? {
    switch (condition, holds) {
    case (.equal, true), (.notEqual, false): equal
    case (.equal, false), (.notEqual, true): different
    case (.anyBitSet, _): withBits(anySet: holds)
    case (.less, true), (.greaterOrEqual, false): less
    case (.lessOrEqual, true), (.greater, false): lessOrEqual
    case (.greater, true), (.lessOrEqual, false): swapped.less?.swapped
    case (.greaterOrEqual, true), (.less, false): swapped.lessOrEqual?.swapped
    case (.signedLess, true), (.signedGreaterOrEqual, false): signedLess
    case (.signedLessOrEqual, true), (.signedGreater, false): signedLessOrEqual
    case (.signedGreater, true), (.signedLessOrEqual, false): swapped.signedLess?.swapped
    case (.signedGreaterOrEqual, true), (.signedLess, false): swapped.signedLessOrEqual?.swapped
    }
  }

  private var swapped: ComparedScalars { ComparedScalars(left: right, right: left) }

  private static func both(_ left: Scalar?, _ right: Scalar?) -> ComparedScalars? {
    guard let left, let right else { return nil }
    return ComparedScalars(left: left, right: right)
  }

  private var equal: ComparedScalars? {
    let common = left.intersection(right)
    return Self.both(common, common)
  }

  private var different: ComparedScalars? {
    Self.both(
      right.constant.map { left.without($0) } ?? left,
      left.constant.map { right.without($0) } ?? right)
  }

  private func withBits(anySet: Bool) -> ComparedScalars? {
    if anySet {
      guard left.bits.greatest & right.bits.greatest != 0 else { return nil }
      guard let mask = right.constant, mask.nonzeroBitCount == 1 else { return self }
      return Self.both(left.intersection(KnownBits(value: mask, unknown: ~mask)), right)
    }
    guard left.bits.value & right.bits.value == 0 else { return nil }
    guard let mask = right.constant else { return self }
    return Self.both(left.intersection(KnownBits(value: 0, unknown: ~mask)), right)
  }

  private var less: ComparedScalars? {
    guard left.least < right.greatest else { return nil }
    return Self.both(
      left.limited(from: 0, to: right.greatest - 1), right.limited(from: left.least + 1, to: .max))
  }

  private var lessOrEqual: ComparedScalars? {
    Self.both(
      left.limited(from: 0, to: right.greatest), right.limited(from: left.least, to: .max))
  }

  private var signedLess: ComparedScalars? {
    guard left.signedLeast < right.signedGreatest else { return nil }
    return Self.both(
      left.limited(fromSigned: .min, to: right.signedGreatest - 1),
      right.limited(fromSigned: left.signedLeast + 1, to: .max))
  }

  private var signedLessOrEqual: ComparedScalars? {
    Self.both(
      left.limited(fromSigned: .min, to: right.signedGreatest),
      right.limited(fromSigned: left.signedLeast, to: .max))
  }

  /// Compares the low words, and tells the whole numbers what that says of them.
  private func limitedByWords(_ condition: Condition, holds: Bool) -> ComparedScalars? {
    let words =
      condition.isSigned
      ? ComparedScalars(
        left: left.signExtended(from: .word), right: right.signExtended(from: .word))
      : ComparedScalars(left: left.truncated(to: .word), right: right.truncated(to: .word))
    guard let limited = words.limited(condition, holds: holds) else { return nil }
    return Self.both(
      left.learning(limited.left, was: words.left), right.learning(limited.right, was: words.right))
  }
}

extension Scalar {
  /// All values but one, as far as that can be said; nil if it was the only one.
  fileprivate func without(_ value: UInt64) -> Scalar? {
    if constant == value { return nil }
    var result: Scalar? = self
    if least == value { result = result?.limited(from: value + 1, to: .max) }
    if greatest == value { result = result?.limited(from: 0, to: value - 1) }
    let signed = Int64(bitPattern: value)
    if signedLeast == signed, signed < .max {
      result = result?.limited(fromSigned: signed + 1, to: .max)
    }
    if signedGreatest == signed, signed > .min {
      result = result?.limited(fromSigned: .min, to: signed - 1)
    }
    return result
  }

  /// Takes over what was learnt of the low word; its bits always, its bounds where the word was the whole number.
  fileprivate func learning(_ word: Scalar, was before: Scalar) -> Scalar? {
    if before == self { return word }
    let upper: UInt64 = 0xffff_ffff_0000_0000
    guard
      let result = intersection(
        KnownBits(value: word.bits.value & ~upper, unknown: word.bits.unknown | upper))
    else { return nil }
    // A zero-extended number, compared as signed and found not to be negative.
    if result.greatest <= 0xffff_ffff, word.signedLeast >= 0 {
      return result.limited(from: UInt64(word.signedLeast), to: UInt64(word.signedGreatest))
    }
    return result
  }
}
