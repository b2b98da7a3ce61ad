// SPDX-License-Identifier: Apache-2.0
// NetworkCost.swift: what packets and filters cost, in instructions: the counter is one under virtual time.
//
// The emulator's own network answers DHCP (RFC 2131): each question brings a datagram to port 68, which has to find its
// filter among those of other ports. Its cost is that of the look at the card that takes it in, without that of one at
// which a packet has left and none has come.

import ApusABI

/// A datagram that asks for an address, in two pieces: 128 bytes for the kernel to copy, and the rest.
private func putQuestion(_ place: UInt64) {
  fill_words(place, 512, 0)
  func bytes(_ offset: UInt64, _ value: UInt64, _ count: UInt64) {
    Packets.putNumber(place + offset, value, count)
  }
  bytes(0, 0xffff_ffff_ffff, 6)
  bytes(6, 0x5254_0012_3456, 6)
  bytes(12, 0x0800_4500, 4)
  bytes(16, 28 + 244, 2)
  bytes(22, 0x4011, 2)
  bytes(30, 0xffff_ffff, 4)
  var sum: UInt64 = 0
  for index in 0..<UInt64(10) {
    sum += UInt64(load8(place + 14 + index * 2)) << 8 | UInt64(load8(place + 15 + index * 2))
  }
  bytes(24, ~(sum & 0xffff + sum >> 16), 2)
  bytes(34, 68 << 16 | 67, 4)
  bytes(38, 8 + 244, 2)
  bytes(42, 0x0101_0600, 4)  // a request, by Ethernet
  bytes(46, 0x1234_5678, 4)
  bytes(70, 0x5254_0012_3456, 6)
  bytes(278, 0x6382_5363_3501_01ff, 8)
}

/// Counts instructions of a call.
private func cost(_ call: () -> Answer) -> UInt64 {
  let start = time_stamp()
  _ = call()
  return time_stamp() - start
}

/// Sums and greatest of several.
private struct Figures {
  var count: UInt64 = 0
  var sum: UInt64 = 0
  var most: UInt64 = 0

  mutating func add(_ figure: UInt64) {
    count += 1
    sum += figure
    most = max(most, figure)
  }
  var mean: UInt64 { count == 0 ? 0 : sum / count }
}

/// Lists the atoms of a UDP or TCP port.
private func putPort(_ port: UInt64, transport: UInt64) {
  let list = PacketPlace.list
  Packets.put(list, Packets.atom(12, 2, 0x0800))
  Packets.put(list + 16, Packets.atom(23, 1, transport))
  Packets.put(list + 32, Packets.atom(14, 1, 0, mask: 15, kind: 0x82))
  Packets.put(list + 48, Packets.atom(16, 2, port))
}

func networkCostChecks(_ report: inout Report) {
  var check = Check("network-cost", "packets and filters")
  guard Information.page.packet_ring_count != 0 else { return report.finish(check) }
  for page in 0..<PacketPlace.pages { _ = Memory.mapFresh(at: PacketPlace.header + page * 4096) }
  guard let ring = PacketRing() else { return report.notTried(check) }
  putPort(68, transport: 17)
  let own = ring.insert(4).value ?? 0
  check.expect(own != 0, "the filter")
  var present: UInt64 = 1
  let sizes: [4 of UInt64] = [1, 10, 100, 1000]
  for index in sizes.indices {
    while present < sizes[index] {
      putPort(1000 + present, transport: present & 1 == 0 ? 17 : 6)
      check.expect(ring.insert(4).value != nil, "a filter", present)
      present += 1
    }
    let packets = costOfPackets(ring, own, &check)
    let (insertion, removal) = costOfFilters(ring, &check)
    var line = Line()
    line.put(sizes[index])
    line.put(" filters: a packet ")
    line.put(packets.mean)
    line.put(" instructions, an insertion ")
    line.put(insertion.mean)
    line.put(" (")
    line.put(insertion.most)
    line.put("), a removal ")
    line.put(removal.mean)
    line.put(" (")
    line.put(removal.most)
    line.put(")")
    line.send()
    check.expect(insertion.most <= 20_000 && removal.most <= 20_000, "more than 20,000 instructions for a filter")
  }
  let largest = costOfLargest(ring, &check)
  var line = Line()
  line.put("16 packets in 3 parts each: ")
  line.put(largest.most)
  line.put(" instructions at most")
  line.send()
  report.finish(check)
}

/// What the largest list of packets costs, with as many as there can be on their way back.
private func costOfLargest(_ ring: PacketRing, _ check: inout Check) -> Figures {
  var figures = Figures()
  putQuestion(PacketPlace.payload)
  store64(PacketPlace.payload + 8, 0xb588_5634_1200_5452)
  for index in 0..<UInt64(16) {
    let place = PacketPlace.list + index * 64
    Packets.putTransmission(place, header: PacketPlace.payload, count: 128, runs: 3, filter: 0)
    for part in 0..<UInt64(3) {
      Packets.putRun(place, part, frame: OwnTables.frame(PacketPlace.payload), offset: part * 4, count: 100)
    }
  }
  for _ in 0..<20 {
    var sent: UInt64 = 0
    figures.add(
      cost {
        let answer = ring.send(16, by: Memory.both(Slot.family, Slot.root))
        sent = answer.value ?? 0
        return answer
      })
    check.expect(sent > 0 || figures.count > 1, "none was sent")
  }
  return figures
}

/// What the look costs at which a packet has left, and the answer to it, if there is one, has come.
private func costOfLook(_ ring: PacketRing, _ filter: UInt64, isAnswered: Bool) -> UInt64? {
  Packets.putTransmission(PacketPlace.list, header: PacketPlace.payload, count: 128, runs: 1, filter: 0)
  Packets.putRun(PacketPlace.list, 0, frame: OwnTables.frame(PacketPlace.payload), offset: 128, count: 158)
  let (left, came) = (ring.transmitted, Packets.hits(filter))
  guard ring.send(by: Memory.both(Slot.family, Slot.root)).raw == 1 else { return nil }
  var looks: UInt64 = 0
  while looks < 200_000 {
    let spent = cost { ring.send(0) }
    let isThere = Packets.hits(filter) != came
    if ring.transmitted != left { return isThere == isAnswered ? spent : nil }
    if isThere { return nil }
    looks += 1
  }
  return nil
}

/// What taking in a datagram costs: a look at which it comes, without one at which none does.
private func costOfPackets(_ ring: PacketRing, _ filter: UInt64, _ check: inout Check) -> Figures {
  var (answered, silent) = (Figures(), Figures())
  for _ in 0..<20 {
    putQuestion(PacketPlace.payload)
    if let spent = costOfLook(ring, filter, isAnswered: true) { answered.add(spent) }
    for entry in 0..<PacketPlace.entryCount { store64(ring.entry(entry), 0) }
    store64(PacketPlace.payload + 8, 0xb588_5634_1200_5452)  // a type for experiments: nobody answers
    if let spent = costOfLook(ring, filter, isAnswered: false) { silent.add(spent) }
  }
  check.expect(answered.count > 0 && silent.count > 0, "none was seen to come")
  var figures = Figures()
  figures.add(answered.mean - min(answered.mean, silent.mean))
  return figures
}

/// What one more filter costs, of a port, and of a connection beside it.
private func costOfFilters(_ ring: PacketRing, _ check: inout Check) -> (Figures, Figures) {
  var (insertion, removal) = (Figures(), Figures())
  for port in 0..<UInt64(20) {
    putPort(40_000 + port, transport: port & 1 == 0 ? 17 : 6)
    var filter: UInt64 = 0
    insertion.add(
      cost {
        let answer = ring.insert(4)
        filter = answer.value ?? 0
        return answer
      })
    check.expect(filter != 0, "one more filter")
    removal.add(cost { Kernel.call(.filterRemove, Slot.family, filter) })
  }
  return (insertion, removal)
}
