// SPDX-License-Identifier: Apache-2.0
// ICMPv6.swift: the messages of ICMP for IPv6: echoes, errors (RFC 4443), neighbour discovery (RFC 4861).

/// A prefix that a router tells of (RFC 4861, 4.6.2); times in seconds, all ones for ever.
struct PrefixInformation: Equatable {
  var prefix: IPv6Address
  var length: Int
  var isOnLink: Bool
  var isAutonomous: Bool
  var validSeconds: UInt32
  var preferredSeconds: UInt32
}

/// What a router says of itself and of the link (RFC 4861, 4.2).
struct RouterAdvertisement: Equatable {
  var lifetimeSeconds: UInt16
  var hardware: MACAddress?
  var maximumPacket: Int?
  var prefixes: [PrefixInformation] = []
}

/// A message of ICMP for IPv6.
enum ICMPv6Message: Equatable {
  case echoRequest(identifier: UInt16, sequence: UInt16)
  case echoReply(identifier: UInt16, sequence: UInt16)
  case unreachable(code: UInt8)
  case packetTooBig(limit: UInt32)
  case timeExceeded(code: UInt8)
  case parameterProblem(code: UInt8)
  case routerSolicitation
  case routerAdvertisement(RouterAdvertisement)
  case neighbourSolicitation(target: IPv6Address, hardware: MACAddress?)
  case neighbourAdvertisement(target: IPv6Address, hardware: MACAddress?, isSolicited: Bool, isOverriding: Bool)

  /// Where the echo's data, or the packet complained about, begins.
  static let headerLength = 8
  static let portUnreachable: UInt8 = 4
  private static let maximumPrefixes = 8

  /// Reads a message and checks it.
  init(parsing message: Span<UInt8>, from source: IPv6Address, to destination: IPv6Address) throws(WireError) {
    guard message.count >= Self.headerLength else { throw .truncated }
    guard Checksum.transport(.v6(source), .v6(destination), .icmpv6, message) == 0 else { throw .badChecksum }
    let code = message[1]
    switch message[0] {
    case 1: self = .unreachable(code: code)
    case 2: self = .packetTooBig(limit: message.big32(4))
    case 3: self = .timeExceeded(code: code)
    case 4: self = .parameterProblem(code: code)
    case 128 where code == 0: self = .echoRequest(identifier: message.big16(4), sequence: message.big16(6))
    case 129 where code == 0: self = .echoReply(identifier: message.big16(4), sequence: message.big16(6))
    case 133 where code == 0: self = .routerSolicitation
    case 134 where code == 0: self = .routerAdvertisement(try Self.advertisement(message))
    case 135 where code == 0:
      guard message.count >= 24 else { throw .truncated }
      let options = try DiscoveryOptions(parsing: message.extracting(24..<message.count))
      self = .neighbourSolicitation(target: IPv6Address(message, at: 8), hardware: options.sourceHardware)
    case 136 where code == 0:
      guard message.count >= 24 else { throw .truncated }
      let options = try DiscoveryOptions(parsing: message.extracting(24..<message.count))
      self = .neighbourAdvertisement(
        target: IPv6Address(message, at: 8), hardware: options.targetHardware, isSolicited: message[4] & 0x40 != 0,
        isOverriding: message[4] & 0x20 != 0)
    default: throw .unsupported
    }
  }

  private static func advertisement(_ message: Span<UInt8>) throws(WireError) -> RouterAdvertisement {
    guard message.count >= 16 else { throw .truncated }
    let options = try DiscoveryOptions(parsing: message.extracting(16..<message.count))
    return RouterAdvertisement(
      lifetimeSeconds: message.big16(6), hardware: options.sourceHardware, maximumPacket: options.maximumPacket,
      prefixes: Array(options.prefixes.prefix(maximumPrefixes)))
  }

  /// Appends the message, its checksum with it.
  func append(
    to packet: inout [UInt8], from source: IPv6Address, to destination: IPv6Address, _ data: Span<UInt8>
  ) {
    let start = packet.count
    switch self {
    case .echoRequest(let identifier, let sequence): Self.head(128, 0, identifier, sequence, &packet)
    case .echoReply(let identifier, let sequence): Self.head(129, 0, identifier, sequence, &packet)
    case .unreachable(let code): Self.head(1, code, 0, 0, &packet)
    case .packetTooBig(let limit):
      Self.head(2, 0, UInt16(limit >> 16), UInt16(limit & 0xffff), &packet)
    case .timeExceeded(let code): Self.head(3, code, 0, 0, &packet)
    case .parameterProblem(let code): Self.head(4, code, 0, 0, &packet)
    case .routerSolicitation: Self.head(133, 0, 0, 0, &packet)
    case .routerAdvertisement(let advertisement): advertisement.append(to: &packet)
    case .neighbourSolicitation(let target, let hardware):
      Self.head(135, 0, 0, 0, &packet)
      target.append(to: &packet)
      DiscoveryOptions.append(1, hardware, to: &packet)
    case .neighbourAdvertisement(let target, let hardware, let isSolicited, let isOverriding):
      Self.head(136, 0, (isSolicited ? 0x4000 : 0) | (isOverriding ? 0x2000 : 0), 0, &packet)
      target.append(to: &packet)
      DiscoveryOptions.append(2, hardware, to: &packet)
    }
    packet.append(data)
    let sum = Checksum.transport(
      .v6(source), .v6(destination), .icmpv6, packet.span.extracting(start..<packet.count))
    packet.set16(sum, at: start + 2)
  }

  static func head(_ type: UInt8, _ code: UInt8, _ first: UInt16, _ second: UInt16, _ packet: inout [UInt8]) {
    packet.append(type)
    packet.append(code)
    packet.append16(0)
    packet.append16(first)
    packet.append16(second)
  }
}

extension RouterAdvertisement {
  func append(to packet: inout [UInt8]) {
    ICMPv6Message.head(134, 0, 0, lifetimeSeconds, &packet)
    packet.append64(0)
    DiscoveryOptions.append(1, hardware, to: &packet)
    if let maximumPacket {
      packet.append32(0x0501_0000)
      packet.append32(UInt32(clamping: maximumPacket))
    }
    for prefix in prefixes {
      packet.append16(0x0304)
      packet.append(UInt8(clamping: prefix.length))
      packet.append((prefix.isOnLink ? 0x80 : 0) | (prefix.isAutonomous ? 0x40 : 0))
      packet.append32(prefix.validSeconds)
      packet.append32(prefix.preferredSeconds)
      packet.append32(0)
      prefix.prefix.append(to: &packet)
    }
  }
}

/// The options of neighbour discovery (RFC 4861, 4.6).
struct DiscoveryOptions {
  var sourceHardware: MACAddress?
  var targetHardware: MACAddress?
  var maximumPacket: Int?
  var prefixes: [PrefixInformation] = []

  /// - Throws: `badOption` for a length of zero or beyond the message, which makes all of it void (RFC 4861, 4.6).
  init(parsing bytes: Span<UInt8>) throws(WireError) {
    var offset = 0
    while offset < bytes.count {
      guard offset + 2 <= bytes.count else { throw .badOption }
      let length = Int(bytes[offset + 1]) * 8
      guard length > 0, offset + length <= bytes.count else { throw .badOption }
      read(bytes[offset], bytes.extracting(offset..<offset + length))
      offset += length
    }
  }

  private mutating func read(_ type: UInt8, _ option: Span<UInt8>) {
    switch (type, option.count) {
    case (1, 8): sourceHardware = MACAddress(option, at: 2)
    case (2, 8): targetHardware = MACAddress(option, at: 2)
    case (3, 32):
      prefixes.append(
        PrefixInformation(
          prefix: IPv6Address(option, at: 16), length: Int(option[2]), isOnLink: option[3] & 0x80 != 0,
          isAutonomous: option[3] & 0x40 != 0, validSeconds: option.big32(4), preferredSeconds: option.big32(8)))
    case (5, 8): maximumPacket = Int(option.big32(4))
    default: break
    }
  }

  static func append(_ type: UInt8, _ hardware: MACAddress?, to packet: inout [UInt8]) {
    guard let hardware else { return }
    packet.append(type)
    packet.append(1)
    hardware.append(to: &packet)
  }
}
