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

  /// Writes the header into a frame, with timestamps as its only options, or none.
  ///
  /// - Parameters:
  ///   - frame: The frame.
  ///   - at: Where the segment begins there.
  ///   - timestamps: The timestamps, if they are written here.
  ///   - length: How long the header is with all its options.
  /// - Returns: The sum of what was written, without the checksum's field.
  @inline(__always) func write(
    to frame: FrameBuffer, at: Int, _ timestamps: TCPTimestamps?, length: Int
  ) -> Checksum {
    let ports = UInt32(sourcePort) << 16 | UInt32(destinationPort)
    let first = UInt64(ports) << 32 | UInt64(sequence.rawValue)
    let second =
      UInt64(acknowledgement.rawValue) << 32
      | UInt64(UInt32(truncatingIfNeeded: length / 4) << 28 | UInt32(flags.rawValue) << 16 | UInt32(window))
    var sum = Checksum()
    sum.add(first)
    sum.add(second)
    frame.store(first, at: at)
    frame.store(second, at: at + 8)
    frame.store(0 as UInt32, at: at + 16)
    if let timestamps {
      let third = 0x0101_080a as UInt32
      let fourth = UInt64(timestamps.value) << 32 | UInt64(timestamps.echo)
      sum.add(third)
      sum.add(fourth)
      frame.store(third, at: at + 20)
      frame.store(fourth, at: at + 24)
    }
    return sum
  }

  /// Puts the checksum into the segment that begins at `start` and goes to the packet's end.
  static func seal(_ packet: inout [UInt8], from start: Int, _ source: IPAddress, _ destination: IPAddress) {
    let sum = Checksum.transport(source, destination, .tcp, packet.span.extracting(start..<packet.count))
    packet.set16(sum, at: start + 16)
  }
}
