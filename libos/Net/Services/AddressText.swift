// SPDX-License-Identifier: Apache-2.0
// AddressText.swift: addresses as people write them: 10.0.2.15/24,10.0.2.2.

/// Decimal numbers in text.
public enum Decimal {
  /// Reads a number of nothing but digits.
  ///
  /// - Parameters:
  ///   - text: The digits.
  ///   - bound: What the number has to be below.
  /// - Returns: Nil if it is none, or too large.
  public static func number(_ text: some Collection<UInt8>, below bound: Int) -> Int? {
    guard !text.isEmpty else { return nil }
    var value = 0
    for digit in text {
      guard digit >= 48, digit <= 57, value < Int.max / 10 else { return nil }
      value = value * 10 + Int(digit - 48)
    }
    return value < bound ? value : nil
  }
}

extension IPv4Address {
  /// Reads `a.b.c.d`.
  public init?(parsing text: some Collection<UInt8>) {
    var value: UInt32 = 0
    var parts = 0
    for part in text.split(separator: 46, maxSplits: 4, omittingEmptySubsequences: false) {
      guard part.count <= 3, let number = Decimal.number(part, below: 256) else { return nil }
      value = value << 8 | UInt32(number)
      parts += 1
    }
    guard parts == 4 else { return nil }
    self.init(value)
  }

  /// The address as `a.b.c.d`.
  public var text: String { "\(bits >> 24).\(bits >> 16 & 255).\(bits >> 8 & 255).\(bits & 255)" }
}

extension IPv4Configuration {
  /// Reads `ADDRESS/PREFIX`, perhaps followed by a comma and the router's address.
  public init?(parsing text: [UInt8]) {
    let halves = text.split(separator: 44, maxSplits: 2, omittingEmptySubsequences: false)
    guard let first = halves.first, halves.count <= 2 else { return nil }
    let parts = first.split(separator: 47, maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 2, let address = IPv4Address(parsing: parts[0]), address.bits != 0, address.bits >> 28 < 0xe,
      let prefix = Decimal.number(parts[1], below: 33)
    else { return nil }
    var router: IPv4Address?
    if halves.count == 2 {
      router = IPv4Address(parsing: halves[1])
      if router == nil { return nil }
    }
    self.init(address, prefixLength: prefix, router: router)
  }
}
