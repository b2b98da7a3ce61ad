// SPDX-License-Identifier: Apache-2.0
// TCPHeader.swift: the header of a TCP segment (RFC 9293, 3.1).

/// The control bits of a segment.
struct TCPFlags: Equatable {
  var rawValue: UInt8

  static let fin = TCPFlags(rawValue: 0x01)
  static let syn = TCPFlags(rawValue: 0x02)
  static let rst = TCPFlags(rawValue: 0x04)
  static let psh = TCPFlags(rawValue: 0x08)
  static let ack = TCPFlags(rawValue: 0x10)
  static let urg = TCPFlags(rawValue: 0x20)
  static let none = TCPFlags(rawValue: 0)

  func has(_ other: TCPFlags) -> Bool { rawValue & other.rawValue == other.rawValue }
  static func | (left: TCPFlags, right: TCPFlags) -> TCPFlags { TCPFlags(rawValue: left.rawValue | right.rawValue) }
}

/// A TCP segment without its payload.
struct TCPHeader: Equatable {
  static let byteCount = 20

  var sourcePort: UInt16
  var destinationPort: UInt16
  var sequence: SequenceNumber
  var acknowledgement: SequenceNumber
  var flags: TCPFlags
  /// As on the wire, not scaled.
  var window: UInt16
  var options = TCPOptions()
  /// How long the header was on the wire.
  var headerLength = Self.byteCount

  init(
    sourcePort: UInt16, destinationPort: UInt16, sequence: SequenceNumber, acknowledgement: SequenceNumber,
    flags: TCPFlags, window: UInt16
  ) {
    self.sourcePort = sourcePort
    self.destinationPort = destinationPort
    self.sequence = sequence
    self.acknowledgement = acknowledgement
    self.flags = flags
    self.window = window
  }

  /// Reads a header; the checksum is not looked at, since it needs the addresses.
  init(parsing segment: Span<UInt8>) throws(WireError) {
    guard segment.count >= Self.byteCount else { throw .truncated }
    headerLength = Int(segment[12] >> 4) * 4
    guard headerLength >= Self.byteCount else { throw .badLength }
    guard headerLength <= segment.count else { throw .truncated }
    sourcePort = segment.big16(0)
    destinationPort = segment.big16(2)
    sequence = SequenceNumber(segment.big32(4))
    acknowledgement = SequenceNumber(segment.big32(8))
    flags = TCPFlags(rawValue: segment[13] & 0x3f)
    window = segment.big16(14)
    options = try TCPOptions(parsing: segment.extracting(Self.byteCount..<headerLength))
  }

  /// Appends header and options; the payload comes behind it, then `seal`.
  func append(to packet: inout [UInt8]) {
    packet.append16(sourcePort)
    packet.append16(destinationPort)
    packet.append32(sequence.rawValue)
    packet.append32(acknowledgement.rawValue)
    packet.append(UInt8(truncatingIfNeeded: (Self.byteCount + options.byteCount) / 4) << 4)
    packet.append(flags.rawValue)
    packet.append16(window)
    packet.append32(0)
    options.append(to: &packet)
  }

  /// Puts the checksum into the segment that begins at `start` and goes to the packet's end.
  static func seal(_ packet: inout [UInt8], from start: Int, _ source: IPAddress, _ destination: IPAddress) {
    let sum = Checksum.transport(source, destination, .tcp, packet.span.extracting(start..<packet.count))
    packet.set16(sum, at: start + 16)
  }
}
