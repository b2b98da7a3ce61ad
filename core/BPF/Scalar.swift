// SPDX-License-Identifier: Apache-2.0
// Scalar.swift: a set of numbers, as the verifier knows it: by bounds of both readings and by bits.

/// A set of 64-bit values that is the intersection of two intervals and a pattern of bits.
public struct Scalar: Equatable, Sendable {
  /// The known bits.
  public private(set) var bits: KnownBits
  /// The least value, read without a sign.
  public private(set) var least: UInt64
  /// The greatest value, read without a sign.
  public private(set) var greatest: UInt64
  /// The least value, read with a sign.
  public private(set) var signedLeast: Int64
  /// The greatest value, read with a sign.
  public private(set) var signedGreatest: Int64

  /// A set from parts that were one before.
  init(
    bits: KnownBits, least: UInt64, greatest: UInt64, signedLeast: Int64, signedGreatest: Int64
  ) {
    self.bits = bits
    self.least = least
    self.greatest = greatest
    self.signedLeast = signedLeast
    self.signedGreatest = signedGreatest
  }

  static var anything: Scalar {
    Scalar(
      bits: .anything, least: 0, greatest: .max, signedLeast: .min, signedGreatest: .max)
  }

  static func exactly(_ value: UInt64) -> Scalar {
    let signed = Int64(bitPattern: value)
    return Scalar(
      bits: .exactly(value), least: value, greatest: value, signedLeast: signed,
      signedGreatest: signed)
  }

  /// What is zero-extended from a width.
  static func anything(_ width: AccessWidth) -> Scalar {
    matching(KnownBits(value: 0, unknown: width.mask))
  }

  static func from(_ least: UInt64, to greatest: UInt64) -> Scalar {
    anything.limited(from: least, to: greatest) ?? .exactly(least)
  }

  static func fromSigned(_ least: Int64, to greatest: Int64) -> Scalar {
    anything.limited(fromSigned: least, to: greatest) ?? .exactly(UInt64(bitPattern: least))
  }

  static func matching(_ bits: KnownBits) -> Scalar { anything.intersection(bits) ?? anything }

  /// The only value, if there is only one.
  public var constant: UInt64? { least == greatest ? least : nil }

  /// Whether all values of another set are in this one.
  public func contains(_ other: Scalar) -> Bool {
    least <= other.least && other.greatest <= greatest && signedLeast <= other.signedLeast
      && other.signedGreatest <= signedGreatest && bits.contains(other.bits)
  }

  /// Whether a value is in the set.
  public func contains(_ value: UInt64) -> Bool { contains(.exactly(value)) }

  /// Lets bounds and bits learn from each other; nil if they contradict.
  private func settled() -> Scalar? {
    var result = self
    for _ in 0..<2 {
      result.least = max(result.least, result.bits.least)
      result.greatest = min(result.greatest, result.bits.greatest)
      guard result.least <= result.greatest else { return nil }
      // Without a change of sign between them, the two readings order the values alike.
      if Int64(bitPattern: result.least) <= Int64(bitPattern: result.greatest) {
        result.signedLeast = max(result.signedLeast, Int64(bitPattern: result.least))
        result.signedGreatest = min(result.signedGreatest, Int64(bitPattern: result.greatest))
      }
      guard result.signedLeast <= result.signedGreatest else { return nil }
      if (result.signedLeast < 0) == (result.signedGreatest < 0) {
        result.least = max(result.least, UInt64(bitPattern: result.signedLeast))
        result.greatest = min(result.greatest, UInt64(bitPattern: result.signedGreatest))
      }
      guard result.least <= result.greatest,
        let bits = result.bits.intersection(.from(result.least, to: result.greatest))
      else { return nil }
      result.bits = bits
    }
    return result
  }

  /// Only the values within bounds, or nil if there are none.
  func limited(from least: UInt64, to greatest: UInt64) -> Scalar? {
    var result = self
    result.least = max(least, self.least)
    result.greatest = min(greatest, self.greatest)
    return result.settled()
  }

  /// Only the values within signed bounds, or nil if there are none.
  func limited(fromSigned least: Int64, to greatest: Int64) -> Scalar? {
    var result = self
    result.signedLeast = max(least, signedLeast)
    result.signedGreatest = min(greatest, signedGreatest)
    return result.settled()
  }

  /// Only the values with known bits, or nil if there are none.
  func intersection(_ pattern: KnownBits) -> Scalar? {
    guard let bits = bits.intersection(pattern) else { return nil }
    var result = self
    result.bits = bits
    return result.settled()
  }

  /// Only the values that are in another set too, or nil if there are none.
  func intersection(_ other: Scalar) -> Scalar? {
    limited(from: other.least, to: other.greatest)?
      .limited(fromSigned: other.signedLeast, to: other.signedGreatest)?
      .intersection(other.bits)
  }
}
