// SPDX-License-Identifier: Apache-2.0
// ARP.swift: address resolution between IPv4 and Ethernet (RFC 826).

struct ARPPacket: Equatable {
  static let byteCount = 28
  static let request: UInt16 = 1
  static let reply: UInt16 = 2

  var operation: UInt16
  var senderHardware: MACAddress
  var sender: IPv4Address
  var targetHardware: MACAddress
  var target: IPv4Address

  init(
    operation: UInt16, senderHardware: MACAddress, sender: IPv4Address, targetHardware: MACAddress, target: IPv4Address
  ) {
    self.operation = operation
    self.senderHardware = senderHardware
    self.sender = sender
    self.targetHardware = targetHardware
    self.target = target
  }

  init(parsing packet: Span<UInt8>) throws(WireError) {
    guard packet.count >= Self.byteCount else { throw .truncated }
    guard packet.big16(0) == 1, packet.big16(2) == EthernetHeader.ipv4 else { throw .badVersion }
    guard packet[4] == 6, packet[5] == 4 else { throw .badLength }
    operation = packet.big16(6)
    guard operation == Self.request || operation == Self.reply else { throw .unsupported }
    senderHardware = MACAddress(packet, at: 8)
    sender = IPv4Address(packet.big32(14))
    targetHardware = MACAddress(packet, at: 18)
    target = IPv4Address(packet.big32(24))
  }

  func append(to packet: inout [UInt8]) {
    packet.append16(1)
    packet.append16(EthernetHeader.ipv4)
    packet.append(6)
    packet.append(4)
    packet.append16(operation)
    senderHardware.append(to: &packet)
    packet.append32(sender.bits)
    targetHardware.append(to: &packet)
    packet.append32(target.bits)
  }
}
