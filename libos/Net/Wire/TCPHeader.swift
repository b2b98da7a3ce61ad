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
    let length = Self.byteCount + options.byteCount
    let count = options.isTimestampsAtMost ? length : Self.byteCount
    packet.append(header: count) { header in
      header.store(UInt32(sourcePort) << 16 | UInt32(destinationPort), at: 0)
      header.store(sequence.rawValue, at: 4)
      header.store(acknowledgement.rawValue, at: 8)
      header.store(
        UInt32(length / 4) << 28 | UInt32(flags.rawValue) << 16 | UInt32(window), at: 12)
      guard count > Self.byteCount, let timestamps = options.timestamps else { return }
      header.store(0x0101_080a as UInt32, at: 20)
      header.store(timestamps.value, at: 24)
      header.store(timestamps.echo, at: 28)
    }
    if count < length { options.append(to: &packet) }
  }

  /// Puts the checksum into the segment that begins at `start` and goes to the packet's end.
  static func seal(_ packet: inout [UInt8], from start: Int, _ source: IPAddress, _ destination: IPAddress) {
    seal(&packet, from: start, source, destination, length: packet.count - start, further: 0)
  }

  /// Puts the checksum into a segment of `length` bytes that begins at `start`, of which those behind the packet's end
  /// have the sum `further`.
  static func seal(
    _ packet: inout [UInt8], from start: Int, _ source: IPAddress, _ destination: IPAddress, length: Int,
    further: UInt16
  ) {
    var sum = Checksum()
    sum.addPseudoHeader(source, destination, .tcp, length: length)
    let count = packet.count - start
    sum.add(packet.span.extracting(start..<packet.count))
    sum.add(count & 1 == 0 ? further : further.byteSwapped)
    packet.set16(sum.value, at: start + 16)
  }
}
