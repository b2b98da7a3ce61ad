// SPDX-License-Identifier: Apache-2.0
// Sharing.swift: a frame shared with another family by sending it a capability, and longer guards on environments and
// slices: what a dominating name may do, and what one beside or below it may not.

import ApusABI

/// The family that a frame is shared with: does one thing at a time that its u-area asks for.
///
/// The entry in UA_WORD2 is mapped by the capability whose slot is in UA_STOPS; the answer goes to UA_WORD3. What the
/// page then says goes to UA_WORD, and one more is written into a page that is writable.
@c @used func hostile_body_share(_ uarea: UInt64) {
  let list = uarea + 0x5000
  let page = uarea + 0x8000
  while true {
    let entry = uarea_word(UInt32(UA_WORD2))
    if entry != 0 {
      store64(list, entry)
      let caps = Memory.both(Slot.other, uarea_word(UInt32(UA_STOPS)))
      let answer = Kernel.call(.pagesWrite, caps, Information.ownRoot, page, 1, list)
      if answer.value != nil, entry & Entry.present != 0 {
        set_uarea_word(UInt32(UA_WORD), load64(page))
        if entry & Entry.writable != 0 { store64(page, load64(page) + 1) }
      }
      set_uarea_word(UInt32(UA_WORD3), answer.raw)
      set_uarea_word(UInt32(UA_WORD2), 0)
    }
    Kernel.yield()
  }
}

/// Another family's environment, and its u-area as it is seen here.
private struct Partner {
  static var view: UInt64 { Memory.region + 0x1d_0000 }
  let child: Child

  init?() {
    guard
      let child = Child(
        0, body: address_of_hostile_body_share(), foreign: Slot.other, capabilities: 1 << Slot.other),
      Memory.write(Entry.page(child.uareaFrame), at: Self.view, by: Memory.both(Slot.family, Slot.other)).value == 1
    else { return nil }
    self.child = child
  }

  /// Sends it a capability, which takes the place of the one before.
  func send(_ name: UInt64, _ length: UInt64, _ rights: UInt64) -> Bool {
    Kernel.forge(Slot.scratch, name: name, length: length, rights: rights | Right.grant, by: Slot.family)
    return Kernel.call(.capabilityGrant, Slot.other, Slot.scratch, child.handle, Slot.scratch).value == 0
  }

  /// Lets it map something by one of its capabilities.
  func map(_ entry: UInt64, by slot: UInt64 = Slot.scratch) -> Answer {
    store64(Self.view + UInt64(UA_STOPS), slot)
    store64(Self.view + UInt64(UA_WORD2), entry)
    guard waitUntil(turns: 100_000, { load64(Self.view + UInt64(UA_WORD2)) == 0 }) else { return Answer(raw: 98) }
    return Answer(raw: load64(Self.view + UInt64(UA_WORD3)))
  }

  /// What it saw last.
  var seen: UInt64 { load64(Self.view + UInt64(UA_WORD)) }
}

func sharingChecks(_ report: inout Report) {
  frames(&report)
  environmentsAndSlices(&report)
}

private func frames(_ report: inout Report) {
  var check = Check("sharing", "a frame, read-only and read-write, by sending a capability")
  let free = free_frames()
  let shared: UInt64 = 1 << 48 | 0x51 << 40
  let place = Memory.region + 0x12_0000
  Kernel.forge(Slot.other, name: 0x00a0 << 48, length: 2)
  guard let frame = Memory.mapFresh(at: place), let partner = Partner() else { return report.notTried(check) }
  store64(place, 0x5348_4152)
  check.expect(Kernel.call(.frameGuard, Slot.family, frame, 3, shared).raw, equals: 0, "a guard of three bytes")
  let readable = Entry.page(frame, writable: false)
  let writable = Entry.page(frame)
  check.expect(partner.map(readable, by: Slot.other).error == .denied, "by its own name")
  check.expect(partner.send(shared ^ 0x03 << 40, 3, Right.all), "sending the name beside")
  check.expect(partner.map(readable).error == .denied, "by the name beside")
  check.expect(partner.send(shared | 1 << 32, 4, Right.all), "sending a name below")
  check.expect(partner.map(readable).error == .denied, "by a name below")
  check.expect(partner.send(shared, 3, Right.read), "sending the right to read")
  check.expect(partner.map(writable).error == .denied, "writable with the right to read")
  check.expect(partner.map(readable).value == 1, "readable with the right to read")
  check.expect(partner.seen, equals: 0x5348_4152, "what it reads")
  store64(place, 0x5348_4153)
  check.expect(partner.map(readable).value == 1, "mapping it again")
  check.expect(partner.seen, equals: 0x5348_4153, "what it reads after a change")
  check.expect(UInt64(Information.frame(frame).writable_mappings), equals: 1, "writable mappings")
  check.expect(partner.send(shared, 3, Right.all), "sending all rights")
  check.expect(partner.map(writable).value == 1, "writable with all rights")
  check.expect(load64(place), equals: 0x5348_4154, "what it wrote")
  check.expect(UInt64(Information.frame(frame).writable_mappings), equals: 2, "writable mappings of both")
  check.expect(UInt64(Information.frame(frame).account), equals: 1, "whom it is charged to")
  // Its end takes its mapping; the frame stays whose it was.
  Memory.write(0, at: Partner.view)
  partner.child.kill()
  check.expect(waitUntil(turns: 20_000) { Information.frame(frame).mappings == 1 }, "its mapping after its end")
  check.expect(load64(place), equals: 0x5348_4154, "what is there after its end")
  check.expect(Memory.unmapAndGiveBack(place), "the frame")
  Kernel.call(.capabilityDrop, Slot.scratch)
  balance(free, &check)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

private func environmentsAndSlices(_ report: inout Report) {
  var check = Check("sharing", "an environment and its slices under a longer name")
  let free = free_frames()
  let account: UInt64 = 0x00a1 << 48
  let name = account | 0x51 << 40
  Kernel.forge(Slot.other, name: name, length: 3)
  guard let child = Child(0, body: Body.spin, foreign: Slot.other, slice: false),
    let slice = Kernel.call(.sliceAllocate, Slot.other, UInt64.max, child.handle).value
  else { return report.notTried(check) }
  check.expect(UInt64(child.record.guard_length), equals: 3, "its guard's length")
  func attempts(_ error: SystemCallError, _ otherwise: StaticString) {
    let handle = child.handle
    refused(&check, error, otherwise) { Kernel.call(.sliceAllocate, Slot.scratch, UInt64.max, handle) }
    refused(&check, error, otherwise) { Kernel.call(.sliceFree, Slot.scratch, slice) }
    refused(&check, error, otherwise) { Kernel.call(.environmentKill, Slot.scratch, handle) }
    refused(&check, error, otherwise) {
      Kernel.call(.capabilityGrant, Slot.scratch, Slot.scratch, handle, Slot.scratch2)
    }
  }
  Kernel.forge(Slot.scratch, name: name ^ 0x03 << 40, length: 3)
  attempts(.denied, "by the name beside")
  Kernel.forge(Slot.scratch, name: name | 1 << 32, length: 4)
  attempts(.denied, "by a name below")
  Kernel.forge(Slot.scratch, name: name, length: 3, rights: Right.read | Right.grant)
  attempts(.denied, "by the name without the right to write")
  // The account's own name dominates it.
  Kernel.forge(Slot.scratch, name: account, length: 2)
  check.expect(Kernel.call(.sliceFree, Slot.scratch, slice).value == 0, "giving its slice back")
  check.expect(
    Kernel.call(.sliceAllocate, Slot.scratch, UInt64.max, child.handle).value != nil, "giving it another")
  check.expect(
    Kernel.call(.capabilityGrant, Slot.scratch, Slot.scratch, child.handle, Slot.scratch2).value == 0,
    "giving it a capability")
  check.expect(Kernel.call(.environmentKill, Slot.scratch, child.handle).value == 0, "ending it")
  Kernel.call(.capabilityDrop, Slot.scratch)
  balance(free, &check)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}
