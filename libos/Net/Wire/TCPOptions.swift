// SPDX-License-Identifier: Apache-2.0
// TCPOptions.swift: the options of TCP that are spoken here: MSS, window scale, SACK, timestamps.

/// The two numbers of the timestamps option (RFC 7323, 3.2).
struct TCPTimestamps: Equatable {
  var value: UInt32
  var echo: UInt32
}

/// The options of one segment.
struct TCPOptions: Equatable {
  var maximumSegmentSize: UInt16?
  var windowScale: UInt8?
  var isSelectivePermitted = false
  /// What the peer has beyond its acknowledgement (RFC 2018, 3); at most four.
  var selective = SequenceBlocks()
  var timestamps: TCPTimestamps?

  init() {}

  /// Reads the options of a segment.
  ///
  /// Unknown ones are skipped by their length; a known one with a wrong length is ignored, as RFC 9293, 3.2 lets a
  /// receiver do.
  ///
  /// - Throws: `badOption` when a length is below 2 or goes beyond the header: nothing behind it can be found.
  init(parsing bytes: Span<UInt8>) throws(WireError) {
    // The form that almost all segments have (RFC 7323, appendix A).
    if bytes.count == 12, bytes.big32(0) == 0x0101_080a {
      timestamps = TCPTimestamps(value: bytes.big32(4), echo: bytes.big32(8))
      return
    }
    var offset = 0
    while offset < bytes.count {
      let kind = bytes[offset]
      if kind == 0 { return }
      if kind == 1 {
        offset += 1
        continue
      }
      guard offset + 1 < bytes.count else { throw .badOption }
      let length = Int(bytes[offset + 1])
      guard length >= 2, offset + length <= bytes.count else { throw .badOption }
      read(kind, bytes.extracting(offset + 2..<offset + length))
      offset += length
    }
  }

  private mutating func read(_ kind: UInt8, _ value: Span<UInt8>) {
    switch (kind, value.count) {
    case (2, 2): maximumSegmentSize = value.big16(0)
    // A shift above 14 counts as 14 (RFC 7323, 2.3).
    case (3, 1): windowScale = min(14, value[0])
    case (4, 0): isSelectivePermitted = true
    case (5, 8), (5, 16), (5, 24), (5, 32):
      selective = []
      for block in 0..<value.count / 8 {
        selective.append(
          SequenceRange(SequenceNumber(value.big32(block * 8)), SequenceNumber(value.big32(block * 8 + 4))))
      }
    case (8, 8): timestamps = TCPTimestamps(value: value.big32(0), echo: value.big32(4))
    default: break
    }
  }

  /// Appends the options, padded to a multiple of four bytes.
  func append(to packet: inout [UInt8]) {
    let start = packet.count
    if let maximumSegmentSize {
      packet.append16(0x0204)
      packet.append16(maximumSegmentSize)
    }
    if let timestamps {
      packet.append32(0x0101_080a)
      packet.append32(timestamps.value)
      packet.append32(timestamps.echo)
    }
    if isSelectivePermitted { packet.append32(0x0101_0402) }
    if let windowScale { packet.append32(0x0103_0300 | UInt32(windowScale)) }
    if !selective.isEmpty {
      // Three blocks fit beside timestamps, four without them.
      let count = min(selective.count, timestamps == nil ? 4 : 3)
      packet.append32(0x0101_0500 | UInt32(2 + 8 * count))
      for index in 0..<count {
        packet.append32(selective[index].start.rawValue)
        packet.append32(selective[index].end.rawValue)
      }
    }
    packet.append(zeros: (4 - (packet.count - start) % 4) % 4)
  }

  /// Whether there is nothing, or nothing but timestamps: so it is for all segments but the first and around losses.
  var isTimestampsAtMost: Bool {
    maximumSegmentSize == nil && windowScale == nil && !isSelectivePermitted && selective.isEmpty
  }

  /// How many bytes `append` writes.
  var byteCount: Int {
    var count = 0
    if maximumSegmentSize != nil { count += 4 }
    if timestamps != nil { count += 12 }
    if isSelectivePermitted { count += 4 }
    if windowScale != nil { count += 4 }
    if !selective.isEmpty { count += 4 + 8 * min(selective.count, timestamps == nil ? 4 : 3) }
    return count
  }
}
