// SPDX-License-Identifier: Apache-2.0
// DHCPMessage.swift: messages of DHCP (RFC 2131), with the options that a host needs (RFC 2132).

/// What a message of DHCP wants (RFC 2132, 9.6).
enum DHCPKind: UInt8 {
  case discover = 1
  case offer = 2
  case request = 3
  case decline = 4
  case acknowledge = 5
  case refuse = 6
  case release = 7
  case inform = 8
}

/// A message of DHCP.
struct DHCPMessage: Equatable {
  static let minimumLength = 240
  private static let cookie: UInt32 = 0x6382_5363

  var kind: DHCPKind
  var isReply = false
  var transaction: UInt32
  var hardware: MACAddress
  var clientAddress = IPv4Address.any
  var yourAddress = IPv4Address.any
  var requested: IPv4Address?
  var server: IPv4Address?
  var mask: IPv4Address?
  var router: IPv4Address?
  var nameServers: [IPv4Address] = []
  var leaseSeconds: UInt32?
  var renewalSeconds: UInt32?
  var rebindingSeconds: UInt32?

  init(_ kind: DHCPKind, transaction: UInt32, hardware: MACAddress) {
    self.kind = kind
    self.transaction = transaction
    self.hardware = hardware
  }

  init(parsing message: Span<UInt8>) throws(WireError) {
    guard message.count >= Self.minimumLength else { throw .truncated }
    guard message[0] == 1 || message[0] == 2, message[1] == 1, message[2] == 6 else { throw .badVersion }
    guard message.big32(236) == Self.cookie else { throw .unsupported }
    isReply = message[0] == 2
    transaction = message.big32(4)
    clientAddress = IPv4Address(message.big32(12))
    yourAddress = IPv4Address(message.big32(16))
    hardware = MACAddress(message, at: 28)
    kind = .inform
    var found: DHCPKind?
    var offset = Self.minimumLength
    while offset < message.count, message[offset] != 255 {
      if message[offset] == 0 {
        offset += 1
        continue
      }
      guard offset + 2 <= message.count, offset + 2 + Int(message[offset + 1]) <= message.count else {
        throw .badOption
      }
      let value = message.extracting(offset + 2..<offset + 2 + Int(message[offset + 1]))
      if message[offset] == 53, value.count == 1 { found = DHCPKind(rawValue: value[0]) }
      read(message[offset], value)
      offset += 2 + value.count
    }
    guard let found else { throw .unsupported }
    kind = found
  }

  private mutating func read(_ code: UInt8, _ value: Span<UInt8>) {
    switch (code, value.count) {
    case (1, 4): mask = IPv4Address(value.big32(0))
    case (3, 4...): router = IPv4Address(value.big32(0))
    case (6, 4...):
      for place in 0..<min(4, value.count / 4) { nameServers.append(IPv4Address(value.big32(place * 4))) }
    case (50, 4): requested = IPv4Address(value.big32(0))
    case (51, 4): leaseSeconds = value.big32(0)
    case (54, 4): server = IPv4Address(value.big32(0))
    case (58, 4): renewalSeconds = value.big32(0)
    case (59, 4): rebindingSeconds = value.big32(0)
    default: break
    }
  }

  func append(to packet: inout [UInt8]) {
    packet.append32(isReply ? 0x0201_0600 : 0x0101_0600)
    packet.append32(transaction)
    // The answer is to be a broadcast: until it has an address, a host hears that surely (RFC 2131, 4.1).
    packet.append32(clientAddress == .any ? 0x8000 : 0)
    packet.append32(clientAddress.bits)
    packet.append32(yourAddress.bits)
    packet.append64(0)
    hardware.append(to: &packet)
    packet.append(zeros: 10 + 192)
    packet.append32(Self.cookie)
    packet.append16(53 << 8 | 1)
    packet.append(kind.rawValue)
    append(1, mask?.bits, to: &packet)
    append(3, router?.bits, to: &packet)
    if !nameServers.isEmpty {
      packet.append16(6 << 8 | UInt16(4 * nameServers.count))
      for server in nameServers { packet.append32(server.bits) }
    }
    append(50, requested?.bits, to: &packet)
    append(51, leaseSeconds, to: &packet)
    append(54, server?.bits, to: &packet)
    append(58, renewalSeconds, to: &packet)
    append(59, rebindingSeconds, to: &packet)
    if !isReply {
      // What we want to be told: mask, router, name servers, times.
      packet += [55, 6, 1, 3, 6, 51, 58, 59]
    }
    packet.append(255)
    // Some relays drop messages shorter than BOOTP's.
    packet.append(zeros: 300 - packet.count)
  }

  private func append(_ code: UInt16, _ value: UInt32?, to packet: inout [UInt8]) {
    guard let value else { return }
    packet.append16(code << 8 | 4)
    packet.append32(value)
  }
}
