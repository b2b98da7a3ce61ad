// SPDX-License-Identifier: Apache-2.0
// Checksum.swift: the Internet checksum (RFC 1071), whole or in parts.

/// A ones' complement sum in the making.
struct Checksum {
  // Sixteen-bit words are added into 64 bits: no packet is long enough to overflow it, carries are folded at the end.
  private var sum: UInt64 = 0

  init() {}

  mutating func add(_ word: UInt16) { sum += UInt64(word) }

  mutating func add(_ word: UInt32) { sum += UInt64(word >> 16) + UInt64(word & 0xffff) }

  /// Adds bytes; only the last part of a sum may have an odd number of them.
  mutating func add(_ bytes: Span<UInt8>) {
    var offset = 0
    let count = bytes.count
    while offset + 1 < count {
      sum += UInt64(bytes[offset]) << 8 | UInt64(bytes[offset + 1])
      offset += 2
    }
    if offset < count { sum += UInt64(bytes[offset]) << 8 }
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
  var value: UInt16 {
    var folded = sum
    while folded > 0xffff { folded = (folded >> 16) + (folded & 0xffff) }
    return ~UInt16(folded)
  }

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
