// SPDX-License-Identifier: Apache-2.0
// Network.swift: attacks on rings for packets, on filters, and on what may be sent.

import ApusABI

/// Another family's: makes a ring and a filter out of frames that it was given, then sends for good.
///
/// Header, entry and payload are in UA_WORD to UA_WORD3, the address that it claims in UA_NEXT. The answers go to
/// UA_SERVED (the ring) and UA_REFUSED (the filter); UA_CALLED counts packets.
@c @used func hostile_body_network(_ uarea: UInt64) {
  func word(_ offset: Int32) -> UInt64 { load64(uarea + UInt64(offset)) }
  let list = uarea + 0x4000
  store64(list, word(UA_WORD2))
  let ring = Kernel.call(.packetRingCreate, Slot.other, word(UA_WORD), list, 1).raw
  store64(uarea + UInt64(UA_SERVED), ring)
  Packets.putARP(word(UA_NEXT), at: list)
  let filter = Kernel.call(.filterInsert, Memory.both(Slot.other, Slot.other), ring, list, 2).raw
  store64(uarea + UInt64(UA_REFUSED), filter)
  store64(uarea + UInt64(UA_ANSWER), 1)
  let header = list + 0x800
  Packets.putRequest(from: word(UA_NEXT), at: header)
  for index in 0..<UInt64(16) {
    Packets.putTransmission(list + index * 64, header: header, runs: 3, filter: filter)
    for part in 0..<UInt64(3) {
      Packets.putRun(list + index * 64, part, frame: word(UA_WORD3), offset: part * 100, count: 300)
    }
  }
  while true {
    let answer = Kernel.call(.transmit, Memory.both(Slot.other, Slot.other), ring, list, 16)
    store64(uarea + UInt64(UA_CALLED), word(UA_CALLED) + (answer.value ?? 0))
  }
}

func networkChecks(_ report: inout Report) {
  guard Information.page.packet_ring_count != 0 else { return withoutCard(&report) }
  var memory = Check("network", "memory")
  for page in 0..<PacketPlace.pages {
    memory.expect(Memory.mapFresh(at: PacketPlace.header + page * 4096) != nil, "a page")
  }
  guard memory.holds else { return report.finish(memory) }
  ringRefusals(&report)
  ringsAndFilters(&report)
  garbageFlags(&report)
  sending(&report)
  fullTables(&report)
  twoFamilies(&report)
  packetHandlers(&report)
  deaths(&report)
  for page in 0..<PacketPlace.pages {
    memory.expect(Memory.unmapAndGiveBack(PacketPlace.header + page * 4096), "given back: a pin is left")
  }
  report.finish(memory)
}

private func withoutCard(_ report: inout Report) {
  var check = Check("network", "without a card every call is refused")
  store64(Memory.list, OwnTables.frame(UInt64(APUS_LIBOS_BASE)))
  refused(&check, .noSuchResource, "a ring") { Kernel.call(.packetRingCreate, Slot.family, 0, Memory.list, 1) }
  refused(&check, .noSuchResource, "the end of one") { Kernel.call(.packetRingEnd, Slot.family, 0x100) }
  refused(&check, .noSuchResource, "a filter") { Kernel.call(.filterInsert, Slot.family, 0x100, Memory.list, 1) }
  refused(&check, .noSuchResource, "no filter") { Kernel.call(.filterRemove, Slot.family, 1) }
  refused(&check, .noSuchResource, "a packet") { Kernel.call(.transmit, Slot.family, 0x100, Memory.list, 1) }
  report.finish(check)
}

private func ringRefusals(_ report: inout Report) {
  refusals("packetRingCreate", .family, &report) { slot in
    store64(PacketPlace.list, OwnTables.frame(PacketPlace.entries))
    return PacketRing.create(slot, count: 1)
  }
  var check = Check("network", "rings that cannot be")
  let entry = OwnTables.frame(PacketPlace.entries)
  Kernel.forge(Slot.other, name: 0x0066 << 48, length: 2)
  guard let foreign = Memory.takeFrame(Slot.other) else { return report.notTried(check) }
  let table = (OwnTables.entry(PacketPlace.header, level: 2) & 0x000f_ffff_ffff_f000) >> 12
  func refusedFrame(_ error: SystemCallError, _ frame: UInt64, _ otherwise: StaticString) {
    store64(PacketPlace.list, entry)
    store64(PacketPlace.list + 8, frame)
    refused(&check, error, otherwise) { PacketRing.create(count: 2) }
    refused(&check, error, otherwise) { Kernel.call(.packetRingCreate, Slot.family, frame, PacketPlace.list, 1) }
  }
  refusedFrame(.denied, foreign, "another account's frame")
  refusedFrame(.wrongType, table, "a page table")
  refusedFrame(.wrongType, 0x100, "the kernel's frame")
  refusedFrame(.wrongType, firstFreeFrame(), "a free frame")
  refusedFrame(.noSuchResource, Information.page.frame_count, "a frame beyond memory")
  refusedFrame(.noSuchResource, UInt64.max, "a frame far beyond")
  refused(&check, .denied, "in another account's name") {
    store64(PacketPlace.list, foreign)
    return Kernel.call(.packetRingCreate, Slot.other, foreign, PacketPlace.list, 1)
  }
  refused(&check, .invalid, "without entries") { PacketRing.create(count: 0) }
  refused(&check, .invalid, "257 entries") { PacketRing.create(count: 257) }
  check.expect(PacketRing.create(list: 0xdead_0000).isFault, "a wild list")
  check.expect(PacketRing.create(list: PacketPlace.header + 0x8000 - 8, count: 2).isFault, "a list that ends")
  check.expect(Memory.giveBack(foreign, Slot.other).value == 1, "the foreign frame")
  report.finish(check)
}

private func ringsAndFilters(_ report: inout Report) {
  guard let ring = PacketRing() else { return report.notTried(Check("network", "a ring")) }
  let list = PacketPlace.list
  Packets.putARP(NetworkAddress.own, at: list)
  refusals("filterInsert", .family, packed: true, &report) { ring.insert(2, by: Memory.both($0, Slot.root)) }
  var check = Check("network", "filters that cannot be")
  func one(_ atom: (UInt64, UInt64), _ otherwise: StaticString) {
    Packets.put(list, atom)
    refused(&check, .invalid, otherwise) { ring.insert(1) }
  }
  refused(&check, .invalid, "no atoms") { ring.insert(0) }
  refused(&check, .invalid, "17 atoms") { ring.insert(17) }
  refused(&check, .invalid, "many atoms") { ring.insert(UInt64.max) }
  one(Packets.atom(16_384, 2, 1), "beyond any packet")
  one(Packets.atom(12, 3, 1), "three bytes")
  one(Packets.atom(12, 0, 0), "no bytes")
  one(Packets.atom(12, 2, 0x1_0000), "a value that does not fit")
  one(Packets.atom(12, 2, 0x0800, mask: 0xff), "a value outside its mask")
  one(Packets.atom(12, 2, 0, mask: 0), "no mask")
  one(Packets.atom(12, 2, 0, mask: 0x1_0000), "a mask that does not fit")
  one(Packets.atom(14, 1, 0, mask: 15, kind: 0x82), "nothing but a shift")
  one(Packets.atom(12, 2, 0x0800, kind: 1), "an unknown kind")
  Packets.put(list, Packets.atom(38, 4, 1))
  Packets.put(list + 16, Packets.atom(12, 2, 0x0806))
  refused(&check, .invalid, "atoms in the wrong order") { ring.insert(2) }
  check.expect(Kernel.call(.filterInsert, 0, ring.name, 0xdead_0000, 2).isFault, "a wild list")
  Packets.putARP(NetworkAddress.own, at: list)
  refused(&check, .noSuchResource, "a ring that never was") { Kernel.call(.filterInsert, 0, ring.name + 1, list, 2) }
  refused(&check, .noSuchResource, "a later ring") { Kernel.call(.filterInsert, 0, ring.name + 0x100, list, 2) }
  report.finish(check)

  var ends = Check("network", "filters and rings end in their order")
  let filter = ring.insert(2).value ?? 0
  ends.expect(filter != 0, "the filter")
  ends.expect(ring.insert(2).raw, equals: 0 &- (12 | filter << 8 | 1 << 32), "the same once more names the holder")
  refused(&ends, .inUse, "a ring with a filter") { ring.end() }
  refused(&ends, .noSuchResource, "filter 0") { Kernel.call(.filterRemove, Slot.family, 0) }
  refused(&ends, .noSuchResource, "a filter that is none") { Kernel.call(.filterRemove, Slot.family, filter + 1) }
  refused(&ends, .noSuchResource, "a filter beyond the table") {
    Kernel.call(.filterRemove, Slot.family, filter | 1 << 32)
  }
  store64(Memory.list, OwnTables.frame(PacketPlace.header))
  ends.expect(Kernel.call(.frameFree, Slot.family, Memory.list, 1).error == .inUse, "its header is given away")
  store64(Memory.list, OwnTables.frame(PacketPlace.entries))
  ends.expect(Kernel.call(.frameFree, Slot.family, Memory.list, 1).error == .inUse, "a page is given away")
  report.finish(ends)
  refusals("filterRemove", .family, &report) { Kernel.call(.filterRemove, $0, filter) }
  var over = Check("network", "what has ended is gone")
  over.expect(Kernel.call(.filterRemove, Slot.family, filter).raw, equals: 0, "removing")
  refused(&over, .noSuchResource, "removing again") { Kernel.call(.filterRemove, Slot.family, filter) }
  report.finish(over)
  refusals("packetRingEnd", .family, &report) { Kernel.call(.packetRingEnd, $0, ring.name) }
  var last = Check("network", "a ring ends once")
  last.expect(ring.end().raw, equals: 0, "ending")
  refused(&last, .noSuchResource, "ending again") { ring.end() }
  refused(&last, .noSuchResource, "sending through it") { ring.send(0) }
  last.expect(UInt64(Information.frame(OwnTables.frame(PacketPlace.header)).pins), equals: 0, "its pins")
  report.finish(last)
}

/// Sends an ARP request, which the host answers.
private func ask(_ ring: PacketRing, _ filter: UInt64) -> Answer {
  Packets.putRequest(from: NetworkAddress.own, at: PacketPlace.packet)
  Packets.putTransmission(PacketPlace.list, header: PacketPlace.packet, filter: filter)
  return ring.send()
}

private func garbageFlags(_ report: inout Report) {
  var check = Check("network", "a ring that says nonsense of itself")
  guard let ring = PacketRing() else { return report.notTried(check) }
  Packets.putARP(NetworkAddress.own, at: PacketPlace.list)
  let filter = ring.insert(2).value ?? 0
  check.expect(ask(ring, filter).raw, equals: 1, "asking")
  check.expect(ring.pollUntil { ring.produced == 1 }, "no answer")
  check.expect(load64(ring.entry(0)) >= UInt64(APUS_PACKET_FULL) + 42, "its entry", load64(ring.entry(0)))
  check.expect(UInt64(load16(PacketPlace.entries + 20)), equals: 0x0200, "an answer")
  check.expect(ring.pollUntil { ring.transmitted == 1 }, "the request has not left")
  // Every flag is garbage: nothing is written, but for counts.
  fill_words(PacketPlace.header, 512, 0xdead_beef_dead_beef)
  fill_words(PacketPlace.entries, 512 * PacketPlace.entryCount, 0x5ec1_e7)
  check.expect(ask(ring, filter).raw, equals: 1, "asking again")
  check.expect(ring.pollUntil { ring.overruns == 1 }, "no overrun", ring.overruns)
  check.expect(ring.produced, equals: 0xdead_beef_dead_beef, "packets")
  for page in 0..<PacketPlace.entryCount {
    check.expect(load64(PacketPlace.entries + page * 4096), equals: 0x5ec1_e7, "a page of an entry that is full")
  }
  // The kernel counts for itself, and goes on at its own place.
  fill_words(PacketPlace.header, 512, 0)
  check.expect(ask(ring, filter).raw, equals: 1, "asking a third time")
  check.expect(ring.pollUntil { ring.produced == 2 }, "what it counts", ring.produced)
  check.expect(load64(ring.entry(0)) == 0 && load64(ring.entry(1)) != 0, "the entry that it fills")
  check.expect(Packets.hits(filter), equals: 3, "packets that the filter took")
  check.expect(Kernel.call(.filterRemove, Slot.family, filter).raw == 0 && ring.end().raw == 0, "the end")
  report.finish(check)
}

private func sending(_ report: inout Report) {
  guard let ring = PacketRing() else { return report.notTried(Check("network", "what may not be sent")) }
  let (list, packet) = (PacketPlace.list, PacketPlace.packet)
  Packets.putARP(NetworkAddress.own, at: list)
  let filter = ring.insert(2).value ?? 0
  Packets.putRequest(from: NetworkAddress.own, at: packet)
  Packets.putTransmission(list, header: packet, filter: filter)
  refusals("transmit", .family, packed: true, &report) { ring.send(by: Memory.both($0, Slot.root)) }
  Packets.putTransmission(list, header: packet, filter: 0)
  let card = Authority.device(0x4e, weakRights: Right.read | Right.grant)
  refusals("transmit, without a filter", card, &report) { ring.send(by: Memory.both(Slot.family, $0)) }

  var check = Check("network", "what may not be sent")
  let payload = OwnTables.frame(PacketPlace.payload)
  func attempt(_ error: SystemCallError, _ otherwise: StaticString) {
    refused(&check, error, otherwise) { ring.send() }
    Packets.putRequest(from: NetworkAddress.own, at: packet)
    Packets.putTransmission(list, header: packet, filter: filter)
  }
  attempt(.denied, "by the family's own name, the card's")
  Packets.putRequest(from: NetworkAddress.other, at: packet)
  attempt(.denied, "in another's name")
  store8(packet + 13, 0)
  attempt(.denied, "another type")
  Packets.putTransmission(list, header: packet, count: 31, filter: filter)
  attempt(.denied, "a header that ends within the name")
  Packets.putTransmission(list, header: packet, filter: filter + 1)
  attempt(.denied, "by a filter that is none")
  Packets.putTransmission(list, header: packet, filter: 0xffff_ffff)
  attempt(.denied, "by a filter beyond the table")
  Packets.putTransmission(list, header: packet, count: 13, filter: filter)
  attempt(.invalid, "a runt")
  Packets.putTransmission(list, header: packet, count: 129, filter: filter)
  attempt(.invalid, "too long a header")
  Packets.putTransmission(list, header: packet, runs: 4, filter: filter)
  attempt(.invalid, "four parts")
  func run(_ frame: UInt64, _ offset: UInt64, _ count: UInt64) {
    Packets.putTransmission(list, header: packet, runs: 2, filter: filter)
    Packets.putRun(list, 0, frame: payload, count: 1000)
    Packets.putRun(list, 1, frame: frame, offset: offset, count: count)
  }
  run(payload, 0, 0)
  attempt(.invalid, "an empty part")
  run(payload, 4000, 97)
  attempt(.invalid, "a part over the end of its frame")
  run(payload, 0, UInt64.max)
  attempt(.invalid, "an endless part")
  run(payload, 0, 473)
  attempt(.invalid, "a giant")
  run(0x100, 0, 100)
  attempt(.wrongType, "the kernel's memory")
  run(Information.ownRoot, 0, 100)
  attempt(.wrongType, "a page table")
  run(firstFreeFrame(), 0, 100)
  attempt(.wrongType, "free memory")
  run(1 << 40, 0, 100)
  attempt(.noSuchResource, "memory that is not there")
  Kernel.forge(Slot.other, name: 0x0066 << 48, length: 2)
  let foreign = Memory.takeFrame(Slot.other) ?? 0
  run(foreign, 0, 100)
  attempt(.denied, "another family's memory")
  check.expect(Memory.giveBack(foreign, Slot.other).value == 1, "the foreign frame")
  Packets.putTransmission(list, header: 0xdead_0000, filter: filter)
  check.expect(ring.send().isFault, "a wild header")
  check.expect(Kernel.call(.transmit, 0, ring.name, 0xdead_0000, 1).isFault, "a wild list")
  refused(&check, .invalid, "17 packets") { ring.send(17) }
  check.expect(UInt64(Information.frame(payload).pins), equals: 0, "pins that are left")
  report.finish(check)

  var good = Check("network", "a packet in parts leaves, and lets go of its frames")
  run(payload, 100, 472)
  good.expect(ring.send().raw, equals: 1, "sending 1,514 bytes")
  good.expect(ring.pollUntil { ring.transmitted == 1 }, "it has not left")
  good.expect(UInt64(Information.frame(payload).pins), equals: 0, "pins")
  // The first that is refused ends the list, and those before it are sent.
  Packets.putTransmission(list, header: packet, filter: filter)
  Packets.putTransmission(list + 64, header: packet, filter: filter)
  Packets.putTransmission(list + 128, header: packet, count: 1, filter: filter)
  good.expect(ring.send(3).raw, equals: 2, "two of three")
  good.expect(ring.pollUntil { ring.transmitted == 3 }, "they have not left")
  Packets.putTransmission(list, header: packet, filter: 0)
  good.expect(ring.send(by: Memory.both(Slot.family, Slot.root)).raw, equals: 1, "with the card's capability")
  good.expect(ring.pollUntil { ring.transmitted == 4 }, "that has not left")
  good.expect(Kernel.call(.filterRemove, Slot.family, filter).raw == 0 && ring.end().raw == 0, "the end")
  report.finish(good)
}

private func fullTables(_ report: inout Report) {
  var check = Check("network", "rings and filters run out, and come back")
  guard let ring = PacketRing() else { return report.notTried(check) }
  let count = Information.page.packet_ring_count
  store64(PacketPlace.list, OwnTables.frame(PacketPlace.entries))
  for index in 1..<count {
    let name = PacketRing.create(count: 1).value ?? 0
    check.expect(name != 0, "ring", index)
    store64(PacketPlace.payload + index * 8, name)
  }
  check.expect(PacketRing.create(count: 1).error == .exhausted, "one more ring")
  for index in 1..<count {
    check.expect(
      Kernel.call(.packetRingEnd, Slot.family, load64(PacketPlace.payload + index * 8)).raw, equals: 0, "ending")
  }
  var inserted: UInt64 = 0
  Packets.put(PacketPlace.list, Packets.atom(12, 2, 0x0800))
  while inserted < 5000 {
    Packets.put(PacketPlace.list + 16, Packets.atom(36, 2, inserted))
    let answer = ring.insert(2)
    guard let filter = answer.value else {
      check.expect(answer.error == .exhausted, "how they run out", answer.raw)
      break
    }
    check.expect(filter, equals: inserted + 1, "numbers")
    inserted += 1
  }
  check.expect(inserted, equals: Information.page.filter_count - 1, "filters")
  for filter in 1...max(inserted, 1) {
    check.expect(Kernel.call(.filterRemove, Slot.family, filter).raw, equals: 0, "removing")
  }
  check.expect(ring.end().raw, equals: 0, "the end")
  report.finish(check)
}

/// A child of another family with frames of its own that makes a ring and claims an address.
private struct Rival {
  let child: Child
  private static var window: UInt64 { Memory.region + 0x1e_0000 }

  /// - Parameters:
  ///   - account: Its account, which nobody has had before: what the dead leave goes back step by step.
  ///   - address: What it claims.
  init?(_ account: UInt64, claiming address: UInt64) {
    Kernel.forge(Slot.other, name: account << 48, length: 2)
    guard let header = Memory.takeFrame(Slot.other), let entry = Memory.takeFrame(Slot.other),
      let payload = Memory.takeFrame(Slot.other),
      let child = Child(
        0, body: address_of_hostile_body_network(), foreign: Slot.other, capabilities: 1 << Slot.other,
        changing: {
          store64($0 + UInt64(UA_WORD), header)
          store64($0 + UInt64(UA_WORD2), entry)
          store64($0 + UInt64(UA_WORD3), payload)
          store64($0 + UInt64(UA_NEXT), address)
        }),
      Memory.write(Entry.page(child.uareaFrame), at: Self.window, by: Memory.both(Slot.family, Slot.other)).value == 1
    else { return nil }
    self.child = child
  }

  /// A word of its u-area.
  subscript(offset: Int32) -> UInt64 { load64(Self.window + UInt64(offset)) }
  var isReady: Bool { waitUntil { self[UA_ANSWER] == 1 } }

  func kill() {
    Memory.write(0, at: Self.window)
    child.kill()
  }
}

private func twoFamilies(_ report: inout Report) {
  var check = Check("network", "filters of two families")
  let free = free_frames()
  guard let ring = PacketRing() else { return report.notTried(check) }
  Packets.putARP(NetworkAddress.own, at: PacketPlace.list)
  let filter = ring.insert(2).value ?? 0
  guard let thief = Rival(0x0067, claiming: NetworkAddress.own) else { return report.notTried(check) }
  check.expect(thief.isReady, "it does not run")
  check.expect(thief[UA_REFUSED], equals: 0 &- (12 | filter << 8 | 1 << 32), "a claim to what is another's")
  let ringOfThief = thief[UA_SERVED]
  check.expect(Int64(bitPattern: ringOfThief) > 0, "its ring", ringOfThief)
  refused(&check, .denied, "ending another's ring") { Kernel.call(.packetRingEnd, Slot.family, ringOfThief) }
  refused(&check, .denied, "filling another's ring") {
    Kernel.call(.filterInsert, Memory.both(Slot.family, Slot.family), ringOfThief, PacketPlace.list, 2)
  }
  check.expect(thief[UA_CALLED], equals: 0, "packets that it sent")
  thief.kill()
  balance(free, &check)

  guard let neighbour = Rival(0x0068, claiming: NetworkAddress.other) else { return report.notTried(check) }
  check.expect(neighbour.isReady, "the neighbour does not run")
  let theirs = neighbour[UA_REFUSED]
  check.expect(Int64(bitPattern: theirs) > 0, "an address that is free", theirs)
  Packets.put(PacketPlace.list, Packets.atom(12, 2, 0x0806))
  Packets.put(PacketPlace.list + 16, Packets.atom(20, 2, 2))
  Packets.put(PacketPlace.list + 32, Packets.atom(38, 4, NetworkAddress.other))
  check.expect(ring.insert(3).raw, equals: 0 &- (12 | theirs << 8 | 0x0068 << 32), "a part of the neighbour's")
  refused(&check, .denied, "taking its filter out") { Kernel.call(.filterRemove, Slot.family, theirs) }
  // The card's name is not enough: it takes the right to write.
  Kernel.forge(Slot.scratch, name: 0, length: 0, rights: Right.read | Right.grant, by: Slot.root)
  check.expect(
    ring.insert(3, by: Memory.both(Slot.family, Slot.scratch)).raw, equals: 0 &- (12 | theirs << 8 | 0x0068 << 32),
    "with a card's capability that cannot write")
  Kernel.call(.capabilityDrop, Slot.scratch)
  let narrower = ring.insert(3, by: Memory.both(Slot.family, Slot.root)).value ?? 0
  check.expect(narrower != 0, "with the card's capability")
  check.expect(Kernel.call(.filterRemove, Slot.family, narrower).raw, equals: 0, "taking it out")
  // In its name, by its own filter, which the packet does mirror.
  Packets.putRequest(from: NetworkAddress.other, at: PacketPlace.packet)
  Packets.putTransmission(PacketPlace.list, header: PacketPlace.packet, filter: theirs)
  // While the neighbour's own packets fill the card nothing is sent, and nothing is looked at.
  var answer = ring.send()
  for _ in 0..<100_000 where answer.raw == 0 { answer = ring.send() }
  check.expect(answer.error == .denied, "sending by its filter", answer.raw)
  neighbour.kill()
  balance(free, &check)
  check.expect(Kernel.call(.filterRemove, Slot.family, filter).raw == 0 && ring.end().raw == 0, "the end")
  report.finish(check)
}

private func deaths(_ report: inout Report) {
  var check = Check("network", "an owner dies with packets on their way")
  let free = free_frames()
  for round in 0..<UInt64(20) {
    guard let rival = Rival(0x0069 + round, claiming: NetworkAddress.other) else { return report.notTried(check) }
    check.expect(waitUntil { rival[UA_CALLED] > 16 * round }, "it sends nothing", rival[UA_REFUSED])
    rival.kill()
    balance(free, &check)
  }
  for ring in 0..<Information.page.packet_ring_count {
    let state = load8(UInt64(APUS_INFORMATION_BASE) + Information.page.packet_ring_offset + ring * 40 + 31)
    check.expect(UInt64(state), equals: 0, "a ring that is left")
  }
  Kernel.call(.capabilityDrop, Slot.other)
  Budget.collect()
  report.finish(check)
}
