// SPDX-License-Identifier: Apache-2.0
// PacketHandlers.swift: handlers that run when a packet arrives: what they may, what they may not, what ends them.

import ApusABI

/// A page for a handler's memory and one for its replies.
enum HandlerPlace {
  static var memory: UInt64 { PacketPlace.header + 0x9000 }
  static var reply: UInt64 { memory + 0x1000 }
  static var frames: UInt64 { OwnTables.frame(memory) | OwnTables.frame(reply) << 32 }
}

/// Words of the memory: the checksum of what was copied, what sending said, how often it ran; the packet at 64.
private func word(_ index: UInt64) -> UInt64 { load64(HandlerPlace.memory + index * 8) }

/// A handler that copies the packet, wakes its owner, sends a reply the first few times, and keeps the packet.
func handlerProgram(replies: Int64 = 2) -> UInt64 {
  let slots: [20 of UInt64] = [
    BPF.slot(0xbf, 6, 3), BPF.set(1, 0), BPF.set(2, 64), BPF.set(3, 42), BPF.call(1), BPF.slot(0x7b, 6, 0, 0),
    BPF.call(3), BPF.load(7, 6, 16), BPF.slot(0x07, 7, 0, 0, 1), BPF.slot(0x7b, 6, 7, 16),
    BPF.slot(0x25, 7, 0, 3, replies), BPF.set(1, 42), BPF.call(2), BPF.slot(0x7b, 6, 0, 8), BPF.set(0, 0), BPF.exit, 0,
    0, 0,
    0,
  ]
  for index in 0..<16 { store64(BPF.slots + UInt64(index) * 8, slots[index]) }
  return 16
}

/// Asks the emulator's host for its address; the answer comes to the filter.
func askForAddress(_ ring: PacketRing, _ filter: UInt64) -> Bool {
  Packets.putRequest(from: NetworkAddress.own, at: PacketPlace.packet)
  Packets.putTransmission(PacketPlace.list, header: PacketPlace.packet, filter: filter)
  return ring.send().raw == 1
}

func packetHandlers(_ report: inout Report) {
  var check = Check("network", "handlers")
  guard Memory.mapFresh(at: HandlerPlace.memory) != nil, Memory.mapFresh(at: HandlerPlace.reply) != nil,
    let ring = PacketRing()
  else { return report.notTried(check) }
  for entry in 0..<PacketPlace.entryCount { store64(ring.entry(entry), 0) }
  Packets.putARP(NetworkAddress.own, at: PacketPlace.list)
  let filter = ring.insert(2).value ?? 0
  check.expect(filter != 0, "the filter")
  guard let name = BPF.make(.packetHandler, handlerProgram()) else { return report.notTried(check) }
  let first = load64(BPF.list)
  bindings(filter, name, &check, &report)
  runs(ring, filter, name, &check)
  narrows(ring, filter, &check)
  store64(BPF.list, first)
  check.expect(BPF.end(name), "the handler's end")
  let produced = ring.produced
  check.expect(
    askForAddress(ring, filter) && ring.pollUntil { ring.produced == produced + 1 }, "it ended: the ring has the packet"
  )
  check.expect(Kernel.call(.filterRemove, Slot.family, filter).raw == 0 && ring.end().raw == 0, "the ends")
  check.expect(Memory.unmapAndGiveBack(HandlerPlace.reply), "the reply's page")
  report.finish(check)
}

private func bindings(_ filter: UInt64, _ name: UInt64, _ check: inout Check, _ report: inout Report) {
  refusals("handlerBind", .family, &report) { Kernel.call(.handlerBind, $0, filter, name, HandlerPlace.frames) }
  func bind(_ filter: UInt64, _ name: UInt64, _ frames: UInt64) -> Answer {
    Kernel.call(.handlerBind, Slot.family, filter, name, frames)
  }
  let frames = HandlerPlace.frames
  refused(&check, .noSuchResource, "no filter") { bind(0, name, frames) }
  refused(&check, .noSuchResource, "a filter that there is not") { bind(filter + 1, name, frames) }
  refused(&check, .noSuchResource, "filter 2^63") { bind(1 << 63, name, frames) }
  refused(&check, .noSuchResource, "a program that there is not") { bind(filter, name + 1, frames) }
  refused(&check, .noSuchResource, "a name of before") { bind(filter, name + 0x100, frames) }
  refused(&check, .wrongType, "a table for memory") {
    bind(filter, name, frames & ~0xffff_ffff | Information.ownRoot)
  }
  refused(&check, .noSuchResource, "no frame for replies") { bind(filter, name, frames | 0xffff_ffff << 32) }
  refused(&check, .wrongType, "frame 0 for replies") { bind(filter, name, frames & 0xffff_ffff) }
}

private func runs(_ ring: PacketRing, _ filter: UInt64, _ name: UInt64, _ check: inout Check) {
  Packets.putRequest(from: NetworkAddress.own, at: HandlerPlace.reply)
  check.expect(Kernel.call(.handlerBind, Slot.family, filter, name, HandlerPlace.frames).raw, equals: 0, "binding it")
  let produced = ring.produced
  let hits = Packets.hits(filter)
  check.expect(askForAddress(ring, filter), "a question")
  // It answers its first two packets with questions, whose answers come to it again.
  check.expect(ring.pollUntil { word(2) == 3 }, "how often it ran", word(2))
  check.expect(word(1), equals: 0, "what sending said")
  check.expect(load64(HandlerPlace.memory + 64 + 24) & 0xffff_0000 != 0, "the packet that it copied")
  check.expect(load64(PacketPlace.header + UInt64(APUS_PACKET_RING_WAKES)), equals: 3, "wakes")
  check.expect(ring.produced, equals: produced, "packets in the ring")
  check.expect(Packets.hits(filter), equals: hits + 3, "hits")
  var sum: UInt64 = 0
  for index in 0..<UInt64(21) {
    sum +=
      UInt64(load8(HandlerPlace.memory + 64 + index * 2)) << 8 | UInt64(load8(HandlerPlace.memory + 65 + index * 2))
  }
  sum = sum & 0xffff + sum >> 16
  check.expect(word(0), equals: sum & 0xffff + sum >> 16, "the checksum of what it copied")
  // A reply in another's name is not sent.
  Packets.putRequest(from: NetworkAddress.other, at: HandlerPlace.reply)
  store64(HandlerPlace.memory + 16, 0)
  check.expect(askForAddress(ring, filter) && ring.pollUntil { word(2) == 1 }, "it does not run")
  check.expect(word(1), equals: UInt64.max, "a reply in another's name")
  // Without its memory the binding is broken, and what lies there later is not touched.
  let frame = OwnTables.frame(HandlerPlace.memory)
  check.expect(Memory.write(0, at: HandlerPlace.memory).value == 1, "unmapping the memory")
  store64(PacketPlace.packet + 1024, frame)
  check.expect(Kernel.call(.frameFree, Slot.family, PacketPlace.packet + 1024, 1).raw, equals: 1, "freeing the memory")
  canary(frame, ring, filter, &check)
  check.expect(ring.produced, equals: produced + 1, "packets in the ring")
  store64(ring.entry(0), 0)
}

/// The frame that was a handler's memory is another account's now: a packet that arrives leaves it as it is.
private func canary(_ frame: UInt64, _ ring: PacketRing, _ filter: UInt64, _ check: inout Check) {
  let value: UInt64 = 0x5ca1_ab1e_0ddb_a115
  Kernel.forge(Slot.other, name: 0x0072 << 48, length: 2)
  store64(PacketPlace.packet + 1024, frame)
  let taken = Kernel.call(.frameAllocate, Slot.other, PacketPlace.packet + 1024, 1, FrameAllocateFlags.named.rawValue)
  check.expect(taken.raw, equals: 1, "taking the frame for another account")
  let both = Memory.both(Slot.family, Slot.other)
  check.expect(Memory.write(Entry.page(frame), at: HandlerPlace.memory, by: both).value == 1, "mapping it")
  fill_words(HandlerPlace.memory, 512, value)
  let produced = ring.produced
  check.expect(
    askForAddress(ring, filter) && ring.pollUntil { ring.produced == produced + 1 }, "a packet for the ring")
  for index in 0..<UInt64(512) { check.expect(word(index), equals: value, "a word of another account's") }
  check.expect(Memory.write(0, at: HandlerPlace.memory).value == 1, "unmapping it")
  store64(PacketPlace.packet + 1024, frame)
  check.expect(Kernel.call(.frameFree, Slot.other, PacketPlace.packet + 1024, 1).raw, equals: 1, "giving it back")
  Kernel.call(.capabilityDrop, Slot.other)
}

/// A packet filter that takes nothing: the packet is nobody's.
private func narrows(_ ring: PacketRing, _ filter: UInt64, _ check: inout Check) {
  store64(BPF.slots, BPF.set(0, 0))
  store64(BPF.slots + 8, BPF.exit)
  guard let nothing = BPF.make(.packetFilter, 2) else { return check.expect(false, "a filter") }
  let frame = load64(BPF.list)
  check.expect(Kernel.call(.handlerBind, Slot.family, filter, nothing, 0).raw, equals: 0, "binding a filter")
  let (produced, unclaimed) = (ring.produced, Information.page.packets_unclaimed)
  check.expect(
    askForAddress(ring, filter) && ring.pollUntil { Information.page.packets_unclaimed > unclaimed }, "nobody's packet")
  check.expect(ring.produced, equals: produced, "packets in the ring")
  check.expect(Kernel.call(.handlerBind, Slot.family, filter, 0, 0).raw, equals: 0, "binding none")
  store64(BPF.list, frame)
  check.expect(BPF.end(nothing), "its end")
  unfit(filter, &check)
}

/// A program for sleepers is no handler, and one that was not verified has no code.
private func unfit(_ filter: UInt64, _ check: inout Check) {
  guard let predicate = BPF.make(.wakeupPredicate, 2) else { return check.expect(false, "a predicate") }
  refused(&check, .wrongType, "a predicate") { Kernel.call(.handlerBind, Slot.family, filter, predicate, 0) }
  check.expect(BPF.end(predicate), "its end")
  guard BPF.takeFrames(), let raw = BPF.create(.packetFilter, 2).value else {
    return check.expect(false, "a program that is only made")
  }
  refused(&check, .wrongType, "a program that is only made") { Kernel.call(.handlerBind, Slot.family, filter, raw, 0) }
  check.expect(Kernel.call(.programEnd, Slot.family, raw).raw == 0 && BPF.giveFramesBack(), "its end")
}
