// SPDX-License-Identifier: Apache-2.0
// Reassembly.swift: IPv4 packets out of fragments, within bounds (RFC 791, 3.2; RFC 5722's rule for overlaps).

/// Packets of which not all fragments have come.
struct Reassembly {
  private struct Packet {
    var header: IPv4Header
    var bytes: [UInt8] = []
    var parts: [Range<Int>] = []
    var total: Int?
    var expires: Instant
  }

  private var packets: [Packet] = []
  private let limit: Int
  private(set) var dropped = 0
  private static let lifetime = TimeSpan.seconds(15)
  private static let maximumPackets = 16
  private static let maximumParts = 64

  init(limit: Int) { self.limit = limit }

  private var size: Int {
    var sum = 0
    for packet in packets { sum += packet.bytes.count }
    return sum
  }

  var count: Int { packets.count }

  /// Takes a fragment in.
  ///
  /// - Returns: The payload of the whole packet, if this was its last missing part.
  mutating func take(_ header: IPv4Header, _ payload: Span<UInt8>, _ now: Instant) -> [UInt8]? {
    expire(now)
    let start = header.fragmentOffset
    let end = start + payload.count
    // All but the last are multiples of eight long, and none is empty.
    guard payload.count > 0, !header.hasMoreFragments || payload.count % 8 == 0 else {
      dropped += 1
      return nil
    }
    let index = find(header) ?? begin(header, now)
    // A duplicate of the network's making changes nothing.
    if packets[index].parts.contains(start..<end) { return nil }
    let isOverlapping = packets[index].parts.contains { $0.lowerBound < end && start < $0.upperBound }
    let isInconsistent = packets[index].total.map { end > $0 || !header.hasMoreFragments && end != $0 } ?? false
    let reachesBack = !header.hasMoreFragments && packets[index].parts.contains { $0.upperBound > end }
    let growth = max(0, end - packets[index].bytes.count)
    guard !isOverlapping, !isInconsistent, !reachesBack, packets[index].parts.count < Self.maximumParts,
      size + growth <= limit
    else {
      // Overlaps are how filters are deceived: nothing of such a packet is used.
      dropped += packets[index].parts.count + 1
      packets.remove(at: index)
      return nil
    }
    packets[index].bytes.append(zeros: growth)
    packets[index].bytes.overwrite(at: start, with: payload)
    packets[index].parts.append(start..<end)
    if !header.hasMoreFragments { packets[index].total = end }
    var present = 0
    for part in packets[index].parts { present += part.count }
    guard let total = packets[index].total, present == total else { return nil }
    return packets.remove(at: index).bytes
  }

  private func find(_ header: IPv4Header) -> Int? {
    packets.firstIndex {
      $0.header.identification == header.identification && $0.header.source == header.source
        && $0.header.destination == header.destination && $0.header.number == header.number
    }
  }

  private mutating func begin(_ header: IPv4Header, _ now: Instant) -> Int {
    if packets.count >= Self.maximumPackets {
      dropped += packets[0].parts.count
      packets.removeFirst()
    }
    packets.append(Packet(header: header, expires: now + Self.lifetime))
    return packets.count - 1
  }

  var deadline: Instant? { packets.first?.expires }

  /// Forgets packets whose fragments did not come in time; they are in the order of their arrival.
  mutating func expire(_ now: Instant) {
    while let first = packets.first, first.expires <= now {
      dropped += first.parts.count
      packets.removeFirst()
    }
  }
}
