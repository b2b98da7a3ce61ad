// SPDX-License-Identifier: Apache-2.0
// KnownBits.swift: what is known of a value bit by bit.

/// A set of values: those that have the bits of `value` wherever `unknown` has none.
public struct KnownBits: Equatable, Sendable {
  /// The known bits; zero where unknown.
  public let value: UInt64
  /// The bits that may be anything.
  public let unknown: UInt64

  init(value: UInt64, unknown: UInt64) {
    self.value = value & ~unknown
    self.unknown = unknown
  }

  static var anything: KnownBits { KnownBits(value: 0, unknown: .max) }
  static func exactly(_ value: UInt64) -> KnownBits { KnownBits(value: value, unknown: 0) }

  /// The bits on which every value from `least` to `greatest` agrees: their common prefix.
  static func from(_ least: UInt64, to greatest: UInt64) -> KnownBits {
    let zeros = (least ^ greatest).leadingZeroBitCount
    return KnownBits(value: least, unknown: zeros == 64 ? 0 : UInt64.max >> UInt64(zeros))
  }

  var least: UInt64 { value }
  var greatest: UInt64 { value | unknown }

  func contains(_ other: KnownBits) -> Bool {
    other.unknown & ~unknown == 0 && other.value & ~unknown == value
  }

  /// The values in both sets, or nil if there are none.
  func intersection(_ other: KnownBits) -> KnownBits? {
    guard (value ^ other.value) & ~unknown & ~other.unknown == 0 else { return nil }
    return KnownBits(value: value | other.value, unknown: unknown & other.unknown)
  }

  // A sum's bit is known where both operands' bits and the carry are. Carries differ between the extreme choices of
  // the unknown bits exactly where the sums of the extremes differ.
  static func + (left: KnownBits, right: KnownBits) -> KnownBits {
    let least = left.value &+ right.value
    let greatest = left.greatest &+ right.greatest
    return KnownBits(value: least, unknown: least ^ greatest | left.unknown | right.unknown)
  }

  static func - (left: KnownBits, right: KnownBits) -> KnownBits {
    let greatest = left.greatest &- right.value
    let least = left.value &- right.greatest
    return KnownBits(
      value: left.value &- right.value, unknown: least ^ greatest | left.unknown | right.unknown)
  }

  static func & (left: KnownBits, right: KnownBits) -> KnownBits {
    let ones = left.value & right.value
    return KnownBits(value: ones, unknown: left.greatest & right.greatest & ~ones)
  }

  static func | (left: KnownBits, right: KnownBits) -> KnownBits {
    let ones = left.value | right.value
    return KnownBits(value: ones, unknown: (left.unknown | right.unknown) & ~ones)
  }

  static func ^ (left: KnownBits, right: KnownBits) -> KnownBits {
    KnownBits(value: left.value ^ right.value, unknown: left.unknown | right.unknown)
  }

  // The low zeros of the factors add up.
  static func * (left: KnownBits, right: KnownBits) -> KnownBits {
    let zeros = left.greatest.trailingZeroBitCount + right.greatest.trailingZeroBitCount
    return KnownBits(value: 0, unknown: zeros >= 64 ? 0 : UInt64.max << UInt64(zeros))
  }

  func shiftedLeft(_ count: UInt64) -> KnownBits {
    KnownBits(value: value &<< count, unknown: unknown &<< count)
  }

  func shiftedRight(_ count: UInt64) -> KnownBits {
    KnownBits(value: value &>> count, unknown: unknown &>> count)
  }

  /// Shifts copies of the top bit in; it stays unknown if it was.
  func arithmeticallyShiftedRight(_ count: UInt64) -> KnownBits {
    KnownBits(
      value: UInt64(bitPattern: Int64(bitPattern: value) &>> Int64(bitPattern: count)),
      unknown: UInt64(bitPattern: Int64(bitPattern: unknown) &>> Int64(bitPattern: count)))
  }

  func truncated(to mask: UInt64) -> KnownBits {
    KnownBits(value: value & mask, unknown: unknown & mask)
  }
}
