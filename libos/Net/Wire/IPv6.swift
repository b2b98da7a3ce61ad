// SPDX-License-Identifier: Apache-2.0
// IPv6.swift: the header of an IPv6 packet (RFC 8200); extension headers are walked, fragments refused.

struct IPv6Header: Equatable {
  static let byteCount = 40

  var source: IPv6Address
  var destination: IPv6Address
  var number: IPProtocol
  var hopLimit: UInt8 = 64
  /// How long all headers were before the payload.
  var headerLength = Self.byteCount
  var payloadLength: Int

  init(source: IPv6Address, destination: IPv6Address, number: IPProtocol, payloadLength: Int) {
    self.source = source
    self.destination = destination
    self.number = number
    self.payloadLength = payloadLength
  }

  /// Reads a header and walks the extension headers up to the transport.
  ///
  /// - Throws: `truncated`, `badVersion`, `badOption` for extensions that do not end, `unsupported` for a fragment or a
  ///   routing header that is not used up.
  init(parsing packet: Span<UInt8>) throws(WireError) {
    guard packet.count >= Self.byteCount else { throw .truncated }
    guard packet[0] >> 4 == 6 else { throw .badVersion }
    let end = Self.byteCount + Int(packet.big16(4))
    guard end <= packet.count else { throw .truncated }
    hopLimit = packet[7]
    source = IPv6Address(packet, at: 8)
    destination = IPv6Address(packet, at: 24)
    var next = packet[6]
    var offset = Self.byteCount
    // Hop-by-hop, routing and destination options (RFC 8200, 4.2 to 4.6); eight of them are more than anybody needs.
    var left = 8
    while next == 0 || next == 43 || next == 60 {
      guard left > 0, offset + 8 <= end else { throw .badOption }
      left -= 1
      if next == 0, offset != Self.byteCount { throw .badOption }
      if next == 43, packet[offset + 3] != 0 { throw .unsupported }
      next = packet[offset]
      offset += 8 + Int(packet[offset + 1]) * 8
      guard offset <= end else { throw .badOption }
    }
    guard next != 44 else { throw .unsupported }
    number = IPProtocol(rawValue: next)
    headerLength = offset
    payloadLength = end - offset
  }

  var payload: Range<Int> { headerLength..<headerLength + payloadLength }

  func append(to packet: inout [UInt8]) {
    packet.append32(0x6000_0000)
    packet.append16(UInt16(truncatingIfNeeded: payloadLength))
    packet.append(number.rawValue)
    packet.append(hopLimit)
    source.append(to: &packet)
    destination.append(to: &packet)
  }
}
