// SPDX-License-Identifier: Apache-2.0
// Ethernet.swift: the header of an Ethernet II frame.

/// Destination, source and type of a frame; 802.3 length frames and tagged ones are of no type that is known here.
struct EthernetHeader: Equatable {
  static let byteCount = 14
  static let ipv4: UInt16 = 0x0800
  static let arp: UInt16 = 0x0806
  static let ipv6: UInt16 = 0x86dd

  var destination: MACAddress
  var source: MACAddress
  var type: UInt16

  init(destination: MACAddress, source: MACAddress, type: UInt16) {
    self.destination = destination
    self.source = source
    self.type = type
  }

  init(parsing frame: Span<UInt8>) throws(WireError) {
    guard frame.count >= Self.byteCount else { throw .truncated }
    destination = MACAddress(frame, at: 0)
    source = MACAddress(frame, at: 6)
    type = frame.big16(12)
  }

  /// Writes the header at the beginning of a frame.
  @inline(__always) func write(to frame: FrameBuffer) {
    frame.store(destination.bits << 16 | source.bits >> 32, at: 0)
    frame.store(UInt32(truncatingIfNeeded: source.bits), at: 8)
    frame.store(type, at: 12)
  }

  func append(to packet: inout [UInt8]) {
    destination.append(to: &packet)
    source.append(to: &packet)
    packet.append16(type)
  }
}
