// SPDX-License-Identifier: Apache-2.0
// DNSMessage.swift: questions about names and their answers (RFC 1035).

/// What is asked about a name.
public enum DNSType: UInt16, Sendable {
  /// Its IPv4 addresses.
  case ipv4 = 1
  /// Its IPv6 addresses.
  case ipv6 = 28
}

/// A name in lower case: its labels, dots between them, no dot at the end.
struct DNSName: Equatable {
  let bytes: [UInt8]

  /// - Returns: nil for what is no name: empty labels, labels above 63 bytes, more than 253 in all (RFC 1035, 2.3.4).
  init?(_ text: [UInt8]) {
    var text = text
    if text.last == 0x2e { text.removeLast() }
    guard !text.isEmpty, text.count <= 253 else { return nil }
    var length = 0
    for index in text.indices {
      if text[index] == 0x2e {
        guard length > 0 else { return nil }
        length = 0
        continue
      }
      length += 1
      guard length <= 63 else { return nil }
      if (0x41...0x5a).contains(text[index]) { text[index] += 0x20 }
    }
    guard length > 0 else { return nil }
    bytes = text
  }

  /// Reads a name of a message, following pointers.
  ///
  /// Pointers have to point back, and no name is longer than 255: so it ends.
  init(parsing message: Span<UInt8>, at offset: inout Int) throws(WireError) {
    var found: [UInt8] = []
    var place = offset
    var limit = offset
    var end: Int?
    while true {
      guard place < message.count else { throw .truncated }
      let length = Int(message[place])
      if length == 0 { break }
      if length >= 0xc0 {
        guard place + 1 < message.count else { throw .truncated }
        let target = (length & 0x3f) << 8 | Int(message[place + 1])
        guard target < limit else { throw .badOption }
        if end == nil { end = place + 2 }
        place = target
        limit = target
        continue
      }
      guard length < 0x40, place + 1 + length <= message.count else { throw .badOption }
      if !found.isEmpty { found.append(0x2e) }
      for index in place + 1..<place + 1 + length {
        let byte = message[index]
        found.append((0x41...0x5a).contains(byte) ? byte + 0x20 : byte)
      }
      guard found.count <= 255 else { throw .badLength }
      place += 1 + length
    }
    offset = end ?? place + 1
    bytes = found
  }

  func append(to packet: inout [UInt8]) {
    var start = 0
    for index in 0...bytes.count where index == bytes.count || bytes[index] == 0x2e {
      packet.append(UInt8(truncatingIfNeeded: index - start))
      packet.append(contentsOf: bytes[start..<index])
      start = index + 1
    }
    packet.append(0)
  }
}

/// An answer to one question.
struct DNSResponse: Equatable {
  var identifier: UInt16
  /// 0: well; 3: there is no such name (RFC 1035, 4.1.1).
  var code: UInt8
  var isTruncated: Bool
  var question: DNSName
  var type: UInt16
  var addresses: [IPAddress] = []
  /// How long all of it may be remembered, in seconds.
  var lifetime: UInt32 = .max

  private static let maximumRecords = 64
  private static let maximumAddresses = 16

  init(parsing message: Span<UInt8>) throws(WireError) {
    guard message.count >= 12 else { throw .truncated }
    guard message[2] & 0x80 != 0, message.big16(4) == 1 else { throw .unsupported }
    identifier = message.big16(0)
    isTruncated = message[2] & 2 != 0
    code = message[3] & 0xf
    var offset = 12
    question = try DNSName(parsing: message, at: &offset)
    guard offset + 4 <= message.count else { throw .truncated }
    type = message.big16(offset)
    guard message.big16(offset + 2) == 1 else { throw .unsupported }
    offset += 4
    // The aliases of the name come in order, each before what it stands for.
    var wanted = question
    for _ in 0..<min(Int(message.big16(6)), Self.maximumRecords) {
      let name = try DNSName(parsing: message, at: &offset)
      guard offset + 10 <= message.count else { throw .truncated }
      let kind = message.big16(offset)
      let isInternet = message.big16(offset + 2) == 1
      let seconds = message.big32(offset + 4)
      let length = Int(message.big16(offset + 8))
      offset += 10
      guard offset + length <= message.count else { throw .truncated }
      if isInternet, name == wanted {
        lifetime = min(lifetime, seconds)
        if kind == 5 {
          var place = offset
          wanted = try DNSName(parsing: message, at: &place)
        } else if kind == type, addresses.count < Self.maximumAddresses {
          if kind == 1, length == 4 { addresses.append(.v4(IPv4Address(message.big32(offset)))) }
          if kind == 28, length == 16 { addresses.append(.v6(IPv6Address(message, at: offset))) }
        }
      }
      offset += length
    }
  }

  /// Appends the question whose answer this would be.
  static func appendQuestion(_ identifier: UInt16, _ name: DNSName, _ type: DNSType, to packet: inout [UInt8]) {
    packet.append16(identifier)
    // One question; whoever answers is to find out for us.
    packet.append16(0x0100)
    packet.append16(1)
    packet.append16(0)
    packet.append32(0)
    name.append(to: &packet)
    packet.append16(type.rawValue)
    packet.append16(1)
  }
}
