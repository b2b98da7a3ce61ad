// SPDX-License-Identifier: Apache-2.0
// IPv4.swift: the header of an IPv4 packet (RFC 791); options are skipped.

struct IPv4Header: Equatable {
  static let byteCount = 20

  var source: IPv4Address
  var destination: IPv4Address
  var number: IPProtocol
  var identification: UInt16 = 0
  var mayNotFragment = true
  var hasMoreFragments = false
  /// Where this fragment's payload belongs, in bytes.
  var fragmentOffset = 0
  var hopLimit: UInt8 = 64
  /// How long the header was on the wire, options included.
  var headerLength = Self.byteCount
  var payloadLength: Int

  init(source: IPv4Address, destination: IPv4Address, number: IPProtocol, payloadLength: Int) {
    self.source = source
    self.destination = destination
    self.number = number
    self.payloadLength = payloadLength
  }

  /// Reads a header and checks its lengths and checksum.
  ///
  /// - Parameter packet: The packet, perhaps followed by padding of the link.
  /// - Throws: `truncated`, `badVersion`, `badLength`, `badChecksum`.
  init(parsing packet: Span<UInt8>) throws(WireError) {
    guard packet.count >= Self.byteCount else { throw .truncated }
    guard packet[0] >> 4 == 4 else { throw .badVersion }
    headerLength = Int(packet[0] & 0xf) * 4
    let total = Int(packet.big16(2))
    guard headerLength >= Self.byteCount, total >= headerLength else { throw .badLength }
    guard total <= packet.count else { throw .truncated }
    if headerLength == Self.byteCount {
      var sum = Checksum()
      sum.add(packet.word(0, as: UInt64.self))
      sum.add(packet.word(8, as: UInt64.self))
      sum.add(packet.word(16, as: UInt32.self))
      guard sum.value == 0 else { throw .badChecksum }
    } else {
      guard Checksum.of(packet.extracting(0..<headerLength)) == 0 else { throw .badChecksum }
    }
    identification = packet.big16(4)
    let fragment = packet.big16(6)
    mayNotFragment = fragment & 0x4000 != 0
    hasMoreFragments = fragment & 0x2000 != 0
    fragmentOffset = Int(fragment & 0x1fff) * 8
    hopLimit = packet[8]
    number = IPProtocol(rawValue: packet[9])
    source = IPv4Address(packet.big32(12))
    destination = IPv4Address(packet.big32(16))
    payloadLength = total - headerLength
    // A fragment that ends above 65,535 is the one of an old attack ("ping of death").
    guard fragmentOffset + payloadLength <= 65_515 else { throw .badLength }
  }

  var isFragment: Bool { hasMoreFragments || fragmentOffset != 0 }
  var payload: Range<Int> { headerLength..<headerLength + payloadLength }

  /// Writes the header of a whole packet behind that of Ethernet.
  @inline(__always) func write(to frame: FrameBuffer) {
    let first = 0x4500_0000 | UInt32(truncatingIfNeeded: Self.byteCount + payloadLength)
    let second = UInt32(identification) << 16 | (mayNotFragment ? 0x4000 : 0)
    let third = UInt32(hopLimit) << 24 | UInt32(number.rawValue) << 16
    var sum = Checksum()
    sum.add(UInt64(first) << 32 | UInt64(second))
    sum.add(third)
    sum.add(UInt64(source.bits) << 32 | UInt64(destination.bits))
    let at = EthernetHeader.byteCount
    frame.store(UInt64(first) << 32 | UInt64(second), at: at)
    frame.store(third | UInt32(sum.value), at: at + 8)
    frame.store(UInt64(source.bits) << 32 | UInt64(destination.bits), at: at + 12)
  }

  func append(to packet: inout [UInt8]) {
    var sum = Checksum()
    let length = UInt16(truncatingIfNeeded: Self.byteCount + payloadLength)
    let fragment =
      (mayNotFragment ? 0x4000 : 0) | (hasMoreFragments ? 0x2000 : 0)
      | UInt16(truncatingIfNeeded: fragmentOffset / 8) & 0x1fff
    let life = UInt16(hopLimit) << 8 | UInt16(number.rawValue)
    sum.add(0x4500 as UInt16)
    sum.add(length)
    sum.add(identification)
    sum.add(fragment)
    sum.add(life)
    sum.add(source.bits)
    sum.add(destination.bits)
    packet.append16(0x4500)
    packet.append16(length)
    packet.append16(identification)
    packet.append16(fragment)
    packet.append16(life)
    packet.append16(sum.value)
    packet.append32(source.bits)
    packet.append32(destination.bits)
  }
}
