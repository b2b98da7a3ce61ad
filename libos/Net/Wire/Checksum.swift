// SPDX-License-Identifier: Apache-2.0
// Checksum.swift: the Internet checksum (RFC 1071), whole or in parts.

/// A ones' complement sum in the making.
public struct Checksum {
  // The sum is one of 64-bit words with the carry around the end; it is the sum of 16-bit words once it has been folded,
  // since 2^16 is 1 in this arithmetic (RFC 1071, 2).
  private var sum: UInt64 = 0

  /// The sum of nothing.
  public init() {}

  /// Adds a word.
  @inline(__always) public mutating func add(_ word: UInt16) { add(UInt64(word)) }

  @inline(__always) mutating func add(_ word: UInt32) { add(UInt64(word)) }

  /// Adds four words at once.
  @inline(__always) mutating func add(_ words: UInt64) {
    let (result, carry) = sum.addingReportingOverflow(words)
    sum = result &+ (carry ? 1 : 0)
  }

  /// Adds bytes; only the last part of a sum may have an odd number of them.
  public mutating func add(_ bytes: Span<UInt8>) {
    // In the machine's byte order: the sum of swapped words is the swapped sum (RFC 1071, 2).
    var part = Checksum()
    var offset = 0
    let count = bytes.count
    while offset &+ 8 <= count {
      part.add(bytes.word(offset, as: UInt64.self))
      offset &+= 8
    }
    if offset &+ 4 <= count {
      part.add(bytes.word(offset, as: UInt32.self))
      offset &+= 4
    }
    if offset &+ 2 <= count {
      part.add(bytes.word(offset, as: UInt16.self))
      offset &+= 2
    }
    if offset < count { part.add(UInt16(bytes[offset])) }
    add(part.folded.bigEndian)
  }

  /// The sum so far in 16 bits.
  public var folded: UInt16 {
    var folded = (sum >> 32) &+ (sum & 0xffff_ffff)
    folded = (folded >> 16) &+ (folded & 0xffff)
    folded = (folded >> 16) &+ (folded & 0xffff)
    folded = (folded >> 16) &+ (folded & 0xffff)
    return UInt16(truncatingIfNeeded: folded)
  }

  /// The pseudo-header of RFC 9293, 3.1 (IPv4) and RFC 8200, 8.1 (IPv6).
  mutating func addPseudoHeader(_ source: IPAddress, _ destination: IPAddress, _ number: IPProtocol, length: Int) {
    add(source)
    add(destination)
    add(UInt32(truncatingIfNeeded: length))
    add(UInt16(number.rawValue))
  }

  private mutating func add(_ address: IPAddress) {
    switch address {
    case .v4(let address): add(address.bits)
    case .v6(let address):
      add(UInt32(address.high >> 32))
      add(UInt32(address.high & 0xffff_ffff))
      add(UInt32(address.low >> 32))
      add(UInt32(address.low & 0xffff_ffff))
    }
  }

  /// What goes into the checksum field; over data that holds its own checksum the result is 0.
  var value: UInt16 { ~folded }

  static func of(_ bytes: Span<UInt8>) -> UInt16 {
    var sum = Checksum()
    sum.add(bytes)
    return sum.value
  }

  /// The checksum of a transport's segment with its pseudo-header.
  static func transport(
    _ source: IPAddress, _ destination: IPAddress, _ number: IPProtocol, _ segment: Span<UInt8>
  ) -> UInt16 {
    var sum = Checksum()
    sum.addPseudoHeader(source, destination, number, length: segment.count)
    sum.add(segment)
    return sum.value
  }
}
