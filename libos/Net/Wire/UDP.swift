// SPDX-License-Identifier: Apache-2.0
// UDP.swift: the header of a datagram (RFC 768).

struct UDPHeader: Equatable {
  static let byteCount = 8

  var sourcePort: UInt16
  var destinationPort: UInt16
  var payloadLength: Int

  init(sourcePort: UInt16, destinationPort: UInt16, payloadLength: Int) {
    self.sourcePort = sourcePort
    self.destinationPort = destinationPort
    self.payloadLength = payloadLength
  }

  /// Reads a header and checks the datagram.
  ///
  /// A checksum of 0 means none over IPv4 and is refused over IPv6 (RFC 8200, 8.1).
  init(parsing datagram: Span<UInt8>, from source: IPAddress, to destination: IPAddress) throws(WireError) {
    guard datagram.count >= Self.byteCount else { throw .truncated }
    let length = Int(datagram.big16(4))
    guard length >= Self.byteCount else { throw .badLength }
    guard length <= datagram.count else { throw .truncated }
    sourcePort = datagram.big16(0)
    destinationPort = datagram.big16(2)
    payloadLength = length - Self.byteCount
    if datagram.big16(6) == 0 {
      guard case .v4 = source else { throw .badChecksum }
      return
    }
    let whole = datagram.extracting(0..<length)
    guard Checksum.transport(source, destination, .udp, whole) == 0 else { throw .badChecksum }
  }

  var payload: Range<Int> { Self.byteCount..<Self.byteCount + payloadLength }

  func append(to packet: inout [UInt8], from source: IPAddress, to destination: IPAddress, _ payload: Span<UInt8>) {
    let length = Self.byteCount + payload.count
    var sum = Checksum()
    sum.addPseudoHeader(source, destination, .udp, length: length)
    sum.add(sourcePort)
    sum.add(destinationPort)
    sum.add(UInt16(truncatingIfNeeded: length))
    sum.add(payload)
    packet.append16(sourcePort)
    packet.append16(destinationPort)
    packet.append16(UInt16(truncatingIfNeeded: length))
    packet.append16(sum.value == 0 ? 0xffff : sum.value)
    packet.append(payload)
  }
}
