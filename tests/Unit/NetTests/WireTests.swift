// SPDX-License-Identifier: Apache-2.0
// WireTests.swift: what is built is parsed to the same, known packets are understood, wrong ones named.

import Testing

@testable import ApusNet

/// Bytes written in hexadecimal.
func hexadecimal(_ text: String) -> [UInt8] {
  var bytes: [UInt8] = []
  var high: UInt8?
  for digit in text.unicodeScalars {
    guard let value = Character(digit).hexDigitValue else { continue }
    if let first = high {
      bytes.append(first << 4 | UInt8(value))
      high = nil
    } else {
      high = UInt8(value)
    }
  }
  return bytes
}

@Suite struct WireTests {
  @Test func checksumsAreThoseOfTheStandard() {
    // RFC 1071, 3: the sum of these is ddf2.
    #expect(Checksum.of(hexadecimal("0001f203f4f5f6f7").span) == ~0xddf2)
    #expect(Checksum.of(hexadecimal("0001f203f4f5f6f7220d").span) == 0)
    #expect(Checksum.of(hexadecimal("ff").span) == ~0xff00)
    #expect(Checksum.of([UInt8]().span) == 0xffff)
  }

  @Test func sipHashIsTheAuthors() {
    // The authors' test: key 00...0f, message 00...07.
    let key = Secret(low: 0x0706_0504_0302_0100, high: 0x0f0e_0d0c_0b0a_0908)
    #expect(key.hash(0x0706_0504_0302_0100) == 0x93f5_f579_9a93_2462)
  }

  @Test func aPacketOfLinuxIsUnderstood() throws {
    // A SYN as Linux sends it: MSS, SACK, timestamps, scale.
    let bytes = hexadecimal(
      """
      4500003c1c4640004006 0000 0a000001 0a000002
      c3500050 12345678 00000000 a002faf0 0000 0000
      020405b4 0402 080a 000f4240 00000000 01 030307
      """)
    var packet = bytes
    packet.set16(Checksum.of(bytes.span.extracting(0..<20)), at: 10)
    let header = try IPv4Header(parsing: packet.span)
    #expect(header.source == IPv4Address(10, 0, 0, 1))
    #expect(header.mayNotFragment)
    let segment = try TCPHeader(parsing: packet.span.extracting(header.payload))
    #expect(segment.sourcePort == 50_000 && segment.destinationPort == 80)
    #expect(segment.flags == .syn)
    #expect(segment.options.maximumSegmentSize == 1460)
    #expect(segment.options.isSelectivePermitted)
    #expect(segment.options.windowScale == 7)
    #expect(segment.options.timestamps == TCPTimestamps(value: 1_000_000, echo: 0))
  }

  @Test func segmentsComeBackAsTheyWere() throws {
    var random = Seeded(1)
    for _ in 0..<500 {
      var header = TCPHeader(
        sourcePort: UInt16(random.below(65_536)), destinationPort: UInt16(random.below(65_536)),
        sequence: SequenceNumber(UInt32(truncatingIfNeeded: random.next())),
        acknowledgement: SequenceNumber(UInt32(truncatingIfNeeded: random.next())),
        flags: TCPFlags(rawValue: UInt8(random.below(64))), window: UInt16(random.below(65_536)))
      if random.percent(50) { header.options.maximumSegmentSize = UInt16(random.below(65_536)) }
      if random.percent(50) { header.options.windowScale = UInt8(random.below(15)) }
      if random.percent(50) { header.options.timestamps = TCPTimestamps(value: 7, echo: UInt32(random.below(1 << 30))) }
      header.options.isSelectivePermitted = random.percent(50)
      if header.options.byteCount <= 20, random.percent(50) {
        header.options.selective = [SequenceRange(SequenceNumber(5), SequenceNumber(UInt32(random.below(1000))))]
      }
      var packet: [UInt8] = []
      header.append(to: &packet)
      #expect(packet.count == TCPHeader.byteCount + header.options.byteCount)
      let payload = random.bytes(random.below(50))
      packet += payload
      let source = IPAddress.v4(IPv4Address(1, 2, 3, 4))
      let destination = IPAddress.v4(IPv4Address(5, 6, 7, 8))
      TCPHeader.seal(&packet, from: 0, source, destination)
      #expect(Checksum.transport(source, destination, .tcp, packet.span) == 0)
      var parsed = try TCPHeader(parsing: packet.span)
      #expect(Array(packet[parsed.headerLength...]) == payload)
      parsed.headerLength = header.headerLength
      #expect(parsed == header)
    }
  }

  @Test func otherHeadersComeBackAsTheyWere() throws {
    var packet: [UInt8] = []
    var header = IPv4Header(
      source: IPv4Address(1, 2, 3, 4), destination: IPv4Address(5, 6, 7, 8), number: .udp, payloadLength: 16)
    header.fragmentOffset = 800
    header.mayNotFragment = false
    header.hasMoreFragments = true
    header.append(to: &packet)
    packet.append(zeros: 16)
    #expect(try IPv4Header(parsing: packet.span) == header)
    let arp = ARPPacket(
      operation: 1, senderHardware: MACAddress(0x0200_0000_0001), sender: IPv4Address(1, 1, 1, 1),
      targetHardware: MACAddress(0), target: IPv4Address(2, 2, 2, 2))
    packet = []
    arp.append(to: &packet)
    #expect(try ARPPacket(parsing: packet.span) == arp)
    packet = []
    let six = IPv6Header(
      source: IPv6Address(high: 1, low: 2), destination: .loopback, number: .tcp, payloadLength: 0)
    six.append(to: &packet)
    #expect(try IPv6Header(parsing: packet.span) == six)
    packet = []
    ICMPv4Message.echoRequest(identifier: 3, sequence: 4).append(to: &packet, [9, 9, 9].span)
    #expect(try ICMPv4Message(parsing: packet.span) == .echoRequest(identifier: 3, sequence: 4))
  }

  @Test func extensionHeadersAreWalked() throws {
    func packet(_ next: UInt8, _ rest: [UInt8]) -> [UInt8] {
      var bytes: [UInt8] = [0x60, 0, 0, 0, 0, UInt8(rest.count), next, 64]
      bytes.append(zeros: 32)
      return bytes + rest
    }
    let options: [UInt8] = [60, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    let header = try IPv6Header(parsing: packet(0, options).span)
    #expect(header.number == .tcp && header.headerLength == 56 && header.payloadLength == 2)
    #expect(throws: WireError.badOption) { try IPv6Header(parsing: packet(60, [6, 200, 0, 0, 0, 0, 0, 0]).span) }
    #expect(throws: WireError.badOption) { try IPv6Header(parsing: packet(60, [60, 0, 0]).span) }
    #expect(throws: WireError.unsupported) { try IPv6Header(parsing: packet(44, options).span) }
    #expect(throws: WireError.unsupported) { try IPv6Header(parsing: packet(43, [6, 0, 0, 1, 0, 0, 0, 0]).span) }
  }

  /// What is wrong, and what it is called.
  static let wrong: [(String, WireError)] = [
    ("45", .truncated),
    ("6500001400000000400600000a0000010a000002", .badVersion),
    ("4400001400000000400600000a0000010a000002", .badLength),
    ("4500001000000000400600000a0000010a000002", .badLength),
    ("4500001500000000400600000a0000010a000002", .truncated),
    ("4f00003c00000000400600000a0000010a000002", .truncated),
    ("4500001400000000400612340a0000010a000002", .badChecksum),
  ]

  @Test(arguments: wrong) func wrongPacketsAreNamed(_ row: (String, WireError)) {
    #expect(throws: row.1) { try IPv4Header(parsing: hexadecimal(row.0).span) }
  }

  /// Options of a segment, and what stays of them.
  static let options: [(String, WireError?)] = [
    ("00", nil), ("01010100", nil), ("02", .badOption), ("0200", .badOption), ("0201", .badOption),
    ("0204", .badOption), ("020405b4", nil), ("0203ff00", nil), ("080a0000", .badOption), ("0506000000010000", nil),
    ("fd02", nil), ("fd09010203040506", .badOption), ("0001", nil),
  ]

  @Test(arguments: options) func optionsEndWhereTheySay(_ row: (String, WireError?)) {
    var error: WireError?
    do throws(WireError) { _ = try TCPOptions(parsing: hexadecimal(row.0).span) } catch let thrown { error = thrown }
    #expect(error == row.1)
  }

  @Test func rangesOfTheCircleJoin() {
    var random = Seeded(5)
    for _ in 0..<200 {
      let origin = SequenceNumber(UInt32(truncatingIfNeeded: random.next()))
      var ranges = SequenceRanges(capacity: 100)
      var model = [Bool](repeating: false, count: 300)
      for _ in 0..<40 {
        let start = random.below(280)
        let end = start + 1 + random.below(20)
        _ = ranges.insert(SequenceRange(origin + start, origin + end))
        for place in start..<end { model[place] = true }
        if random.percent(10) {
          let edge = random.below(300)
          ranges.remove(before: origin + edge)
          for place in 0..<edge { model[place] = false }
        }
      }
      var seen = [Bool](repeating: false, count: 300)
      var last = -1
      for range in ranges.ranges {
        #expect(range.start - origin > last)
        last = range.end - origin
        for place in (range.start - origin)..<(range.end - origin) { seen[place] = true }
      }
      #expect(seen == model)
      #expect(ranges.total == model.count { $0 })
    }
  }
}
