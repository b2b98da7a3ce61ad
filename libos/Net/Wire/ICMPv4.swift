// SPDX-License-Identifier: Apache-2.0
// ICMPv4.swift: the messages of ICMP that a host needs (RFC 792, 1191).

/// A message of ICMP for IPv4.
enum ICMPv4Message: Equatable {
  case echoRequest(identifier: UInt16, sequence: UInt16)
  case echoReply(identifier: UInt16, sequence: UInt16)
  /// A destination is unreachable for a reason other than its size.
  case unreachable(code: UInt8)
  /// A router could not forward: packets may have `limit` bytes, or 0 where it does not say.
  case fragmentationNeeded(limit: UInt16)
  case timeExceeded(code: UInt8)

  /// Where the echo's data, or the packet complained about, begins.
  static let headerLength = 8
  static let protocolUnreachable: UInt8 = 2
  static let portUnreachable: UInt8 = 3

  init(parsing message: Span<UInt8>) throws(WireError) {
    guard message.count >= Self.headerLength else { throw .truncated }
    guard Checksum.of(message) == 0 else { throw .badChecksum }
    let code = message[1]
    switch message[0] {
    case 0 where code == 0: self = .echoReply(identifier: message.big16(4), sequence: message.big16(6))
    case 8 where code == 0: self = .echoRequest(identifier: message.big16(4), sequence: message.big16(6))
    case 3 where code == 4: self = .fragmentationNeeded(limit: message.big16(6))
    case 3: self = .unreachable(code: code)
    case 11: self = .timeExceeded(code: code)
    default: throw .unsupported
    }
  }

  func append(to packet: inout [UInt8], _ data: Span<UInt8>) {
    let head: (UInt16, UInt16, UInt16) =
      switch self {
      case .echoReply(let identifier, let sequence): (0, identifier, sequence)
      case .echoRequest(let identifier, let sequence): (0x0800, identifier, sequence)
      case .unreachable(let code): (0x0300 | UInt16(code), 0, 0)
      case .fragmentationNeeded(let limit): (0x0304, 0, limit)
      case .timeExceeded(let code): (0x0b00 | UInt16(code), 0, 0)
      }
    var sum = Checksum()
    sum.add(head.0)
    sum.add(head.1)
    sum.add(head.2)
    sum.add(data)
    packet.append16(head.0)
    packet.append16(sum.value)
    packet.append16(head.1)
    packet.append16(head.2)
    packet.append(data)
  }
}
