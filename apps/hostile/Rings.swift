// SPDX-License-Identifier: Apache-2.0
// Rings.swift: lists of calls in one crossing, calls through shared memory, and sleeping on any of several words.

import ApusABI

/// Makes the calls of the ring of the environment in UA_WORD2 for good, by the capability in its slot 0.
@c @used func hostile_body_drain(_ uarea: UInt64) {
  while uarea_word(UInt32(UA_STOPS)) == 0 {
    Kernel.call(.ringDrain, Slot.family, uarea_word(UInt32(UA_WORD2)))
  }
  while true { Kernel.sleep() }
}

/// Sleeps on two words of its own u-area, and counts how often it woke.
@c @used func hostile_body_wait_any(_ uarea: UInt64) {
  let list = uarea + 0x5000
  while true {
    store64(list, uarea + UInt64(UA_WORD2))
    store64(list + 8, load64(uarea + UInt64(UA_WORD2)))
    store64(list + 16, uarea + UInt64(UA_WORD3))
    store64(list + 24, load64(uarea + UInt64(UA_WORD3)))
    _ = hostile_suspend(UInt64(SystemCall.waitAny.rawValue), list, 2, UInt64.max, 0)
    store64(uarea + UInt64(UA_WORD), load64(uarea + UInt64(UA_WORD)) + 1)
  }
}

/// A list of calls in memory, `struct apus_call` each.
private struct CallList {
  let address: UInt64

  func put(
    _ index: UInt64, _ number: UInt64, _ a0: UInt64 = 0, _ a1: UInt64 = 0, _ a2: UInt64 = 0, _ a3: UInt64 = 0,
    _ a4: UInt64 = 0
  ) {
    let at = address + index * 64
    store64(at, number)
    store64(at + 8, a0)
    store64(at + 16, a1)
    store64(at + 24, a2)
    store64(at + 32, a3)
    store64(at + 40, a4)
    store64(at + 48, 0x5555)
  }
  func put(
    _ index: UInt64, _ call: SystemCall, _ a0: UInt64 = 0, _ a1: UInt64 = 0, _ a2: UInt64 = 0, _ a3: UInt64 = 0,
    _ a4: UInt64 = 0
  ) { put(index, UInt64(call.rawValue), a0, a1, a2, a3, a4) }

  func answer(_ index: UInt64) -> Answer { Answer(raw: load64(address + index * 64 + 48)) }
  func isUntouched(_ index: UInt64) -> Bool { load64(address + index * 64 + 48) == 0x5555 }
}

private enum Place {
  static var list: UInt64 { Memory.region + 0x12_0000 }
  static var ring: UInt64 { Memory.region + 0x13_0000 }
  static var garbage: UInt64 { 0 &- UInt64(APUS_CALL_GARBAGE) }
}

func ringChecks(_ report: inout Report) {
  guard Memory.mapFresh(at: Place.list) != nil, Memory.mapFresh(at: Place.ring) != nil else {
    return report.notTried(Check("rings", "memory"))
  }
  batches(&report)
  ringsOfOwn(&report)
  ringRefusals(&report)
  ringOfAnother(&report)
  severalWords(&report)
  var check = Check("rings", "everything given back")
  check.expect(Memory.unmapAndGiveBack(Place.list), "the list")
  check.expect(Memory.unmapAndGiveBack(Place.ring), "the ring: its pin has ended")
  check.expect(Child.release(0) && Child.release(1), "pages of children")
  report.finish(check)
}

private func batches(_ report: inout Report) {
  let list = CallList(address: Place.list)
  let frames = Place.list + 0x800
  var check = Check("rings", "a list of calls in one crossing")
  let free = free_frames()
  let calls = Information.environment(Information.ownHandle).calls
  list.put(0, .null)
  list.put(1, .frameAllocate, Slot.family, frames, 3, 0)
  list.put(2, .frameFree, Slot.family, frames, 3)
  check.expect(Kernel.call(.batch, Place.list, 3).raw, equals: 3, "calls made")
  check.expect(list.answer(0).value == 0 && list.answer(1).value == 3 && list.answer(2).value == 3, "results")
  check.expect(free_frames(), equals: free, "free frames")
  check.expect(Information.environment(Information.ownHandle).calls >= calls + 4, "calls counted")
  report.finish(check)

  var stops = Check("rings", "a list stops at the first call that fails")
  list.put(0, .null)
  list.put(1, .frameFree, Slot.empty, frames, 1)
  list.put(2, .frameAllocate, Slot.family, frames, 1, 0)
  stops.expect(Kernel.call(.batch, Place.list, 3).raw, equals: 2, "calls made")
  stops.expect(list.answer(1).error == .denied, "the refusal")
  stops.expect(list.isUntouched(2) && free_frames() == free, "what follows is made all the same")
  list.put(0, .frameAllocate, Slot.family, 0xdead_beef_0000, 1, 0)
  stops.expect(Kernel.call(.batch, Place.list, 1).raw, equals: 1, "calls made, garbage")
  stops.expect(list.answer(0).raw, equals: Place.garbage, "garbage in a list is told, not raised")
  report.finish(stops)

  var refused = Check("rings", "calls that are not for a list")
  let numbers: InlineArray<12, UInt64> = [
    1, 2, 3, 4, 5, 0x0c, 0x21, 0x32, 0x40, 0x41, 0x42, 0x1_0000_0000,
  ]
  for index in numbers.indices {
    list.put(0, numbers[index], 0, 0, 0)
    refused.expect(Kernel.call(.batch, Place.list, 1).raw, equals: 1, "calls made")
    refused.expect(list.answer(0).error == .invalid, "not refused", numbers[index])
  }
  for number in 0x100..<UInt64(0x110) {
    list.put(0, number)
    _ = Kernel.call(.batch, Place.list, 1)
    refused.expect(list.answer(0).error == .invalid, "not refused", number)
  }
  report.finish(refused)

  var wild = Check("rings", "lists in memory that is not there")
  wild.expect(Kernel.call(.batch, 0xdead_beef_0000, 1).isFault, "unmapped")
  wild.expect(Kernel.call(.batch, Place.list + 4, 1).isFault, "not aligned")
  wild.expect(Kernel.call(.batch, UInt64.max - 7, 1).isFault, "at the end")
  wild.expect(Kernel.call(.batch, UInt64(APUS_INFORMATION_BASE), 1).isFault, "the kernel's")
  wild.expect(Kernel.call(.batch, address_of_hostile_image_start() & ~7, 1).isFault, "read-only")
  wild.expect(Kernel.call(.batch, Place.list + 0xfc0, 2).isFault, "over the end of the page")
  wild.expect(Kernel.call(.batch, Place.list, 65).error == .invalid, "too long")
  wild.expect(Kernel.call(.batch, Place.list, UInt64.max).error == .invalid, "much too long")
  wild.expect(Kernel.call(.batch, Place.list, 0).raw, equals: 0, "empty")
  report.finish(wild)

  var bounded = Check("rings", "a long list is made in bounded steps")
  for index in 0..<UInt64(32) { list.put(index, .frameAllocate, Slot.family, frames, 64, 0) }
  let first = Kernel.call(.batch, Place.list, 32).value ?? 0
  bounded.expect(first >= 1 && first < 4, "calls in a step", first)
  bounded.expect(list.isUntouched(first), "the next one is made")
  for _ in 0..<first { Kernel.call(.frameFree, Slot.family, frames, 64) }
  report.finish(bounded)
}

private func ringsOfOwn(_ report: inout Report) {
  let list = CallList(address: Place.ring + 64)
  var check = Check("rings", "calls through shared memory")
  check.expect(Kernel.call(.ringDrain, Slot.family, 0).error == .noSuchResource, "without a ring")
  fill_words(Place.ring, 512, 0)
  check.expect(Kernel.call(.ringRegister, Slot.family, Place.ring).raw, equals: 0, "registering")
  check.expect(Kernel.call(.ringRegister, Slot.family, Place.list).error == .inUse, "a second one")
  store64(Memory.list, OwnTables.frame(Place.ring))
  check.expect(Kernel.call(.frameFree, Slot.family, Memory.list, 1).error == .inUse, "its frame is given away")
  for index in 0..<UInt64(10) { list.put(index, .null) }
  store64(Place.ring, 10)
  check.expect(load64(Place.ring + 8), equals: 0, "made without the kernel")
  Kernel.yield()
  check.expect(load64(Place.ring + 8), equals: 10, "made in passing")
  check.expect(list.answer(9).value == 0, "the last result")
  for index in 10..<UInt64(40) { list.put(index % 32, .capabilityDrop, Slot.scratch) }
  store64(Place.ring, 40)
  check.expect(Kernel.call(.ringDrain, Slot.family, 0).raw, equals: 30, "made when asked")
  check.expect(load64(Place.ring + 8), equals: 40, "counted, over the end")
  report.finish(check)

  var garbage = Check("rings", "a ring that says nonsense of itself")
  for index in 0..<UInt64(32) { list.put(index, 0xffff_ffff_ffff_ffff, 1, 2, 3, 4, 5) }
  store64(Place.ring, UInt64.max)
  store64(Place.ring + 8, 0x1234_5678)
  garbage.expect(Kernel.call(.ringDrain, Slot.family, 0).raw, equals: 32, "a ring's worth and no more")
  // A slice's end on the way makes as many again in passing.
  let count = load64(Place.ring + 8)
  garbage.expect(count >= 72 && (count - 40) % 32 == 0 && count < 0x10_0000, "the kernel's own count", count)
  garbage.expect(list.answer(5).error == .invalid, "the results")
  for _ in 0..<1000 where load64(Place.ring) != load64(Place.ring + 8) { store64(Place.ring, load64(Place.ring + 8)) }
  garbage.expect(Kernel.call(.ringDrain, Slot.family, 0).raw, equals: 0, "nothing to do")
  report.finish(garbage)

  var end = Check("rings", "a ring ends")
  end.expect(Kernel.call(.ringRegister, Slot.family, 0).raw, equals: 0, "unregistering")
  end.expect(Kernel.call(.ringRegister, Slot.family, 0).raw, equals: 0, "again")
  let last = load64(Place.ring + 8)
  store64(Place.ring, last + 20)
  Kernel.yield()
  end.expect(load64(Place.ring + 8), equals: last, "it goes on")
  report.finish(end)
}

private func ringRefusals(_ report: inout Report) {
  var check = Check("rings", "rings that are not the caller's")
  check.expect(Kernel.call(.ringRegister, 99, Place.ring).isFault, "slot")
  check.expect(Kernel.call(.ringRegister, Slot.empty, Place.ring).error == .denied, "no capability")
  Kernel.forge(Slot.scratch, name: 0x0001 << 48, length: 2, rights: Right.read | Right.grant)
  check.expect(Kernel.call(.ringRegister, Slot.scratch, Place.ring).error == .denied, "too weak")
  check.expect(Kernel.call(.ringDrain, Slot.scratch, Information.ownHandle).error == .denied, "too weak to drain")
  Kernel.forge(Slot.scratch, name: 0x0602 << 48, length: 2)
  check.expect(Kernel.call(.ringRegister, Slot.scratch, Place.ring).error == .denied, "another family's")
  check.expect(Kernel.call(.ringDrain, Slot.scratch, Information.ownHandle).error == .denied, "another's environment")
  Kernel.call(.capabilityDrop, Slot.scratch)
  check.expect(Kernel.call(.ringRegister, Slot.family, Place.ring + 8).isFault, "not aligned")
  check.expect(Kernel.call(.ringRegister, Slot.family, 0xdead_beef_0000).isFault, "unmapped")
  check.expect(Kernel.call(.ringRegister, Slot.family, UInt64(APUS_INFORMATION_BASE)).isFault, "the kernel's")
  check.expect(Kernel.call(.ringRegister, Slot.family, address_of_hostile_image_start()).isRefused, "read-only")
  check.expect(Kernel.call(.ringDrain, Slot.family, 12345).error == .noSuchResource, "nobody's")
  report.finish(check)
}

/// Another environment, on another CPU where there is one, makes the calls of this one's ring.
private func ringOfAnother(_ report: inout Report) {
  var check = Check("rings", "another environment makes the calls")
  let list = CallList(address: Place.ring + 64)
  let frames = Place.list + 0x800
  let free = free_frames()
  fill_words(Place.ring, 512, 0)
  guard Kernel.call(.ringRegister, Slot.family, Place.ring).value == 0,
    let child = Child(0, body: address_of_hostile_body_drain(), capabilities: 1 << Slot.family, slice: false)
  else { return report.notTried(check) }
  child[UA_WORD2] = Information.ownHandle
  let isElsewhere = Information.page.processor_count > 1
  _ = Kernel.call(.sliceAllocate, Slot.family, (isElsewhere ? 1 << 16 : 0) | 0xffff, child.handle)
  for round in 0..<UInt64(20) {
    list.put(2 * round % 32, .frameAllocate, Slot.family, frames, 2, 0)
    list.put((2 * round + 1) % 32, .frameFree, Slot.family, frames, 2)
    store64(Place.ring, 2 * round + 2)
    // On several CPUs this program makes no call at all.
    var turns: UInt64 = 0
    while load64(Place.ring + 8) != 2 * round + 2, turns < 2_000_000_000 {
      if !isElsewhere { Kernel.yield() }
      turns += 1
    }
    check.expect(list.answer(2 * round % 32).value == 2, "frames taken")
    check.expect(list.answer((2 * round + 1) % 32).value == 2, "frames given back")
  }
  child[UA_STOPS] = 1
  child.kill()
  check.expect(
    waitUntil(turns: 5_000_000) { child.record.state == UInt32(APUS_ENVIRONMENT_FREE) }, "its slot stays taken")
  check.expect(Kernel.call(.ringRegister, Slot.family, 0).raw, equals: 0, "unregistering")
  check.expect(free_frames() <= free, "frames")
  report.finish(check)
}

private func severalWords(_ report: inout Report) {
  var check = Check("rings", "sleeping on any of several words")
  let list = Place.list
  func put(_ index: UInt64, _ word: UInt64, _ value: UInt64) {
    store64(list + index * 16, word)
    store64(list + index * 16 + 8, value)
  }
  let words = Place.list + 0x800
  fill_words(words, 8, 7)
  for differs in 0..<UInt64(4) {
    for index in 0..<UInt64(4) { put(index, words + index * 8, index == differs ? 8 : 7) }
    check.expect(Kernel.call(.waitAny, list, 4, UInt64.max, 0).raw, equals: differs, "which differs")
  }
  for index in 0..<UInt64(4) { put(index, words + index * 8, 7) }
  check.expect(Kernel.call(.waitAny, list, 4, 1, 0).raw, equals: 4, "the time has come")
  check.expect(Kernel.call(.waitAny, list, 0, 1, 0).error == .invalid, "none")
  check.expect(Kernel.call(.waitAny, list, 5, 1, 0).error == .invalid, "too many")
  check.expect(Kernel.call(.waitAny, 0xdead_beef_0000, 1, 1, 0).isFault, "a list that is not there")
  // Aligned it would be a list of one word that differs.
  store64(list + 4, words)
  store64(list + 12, 8)
  check.expect(Kernel.call(.waitAny, list + 4, 1, 1, 0).isFault, "a list that is not aligned")
  put(0, words, 7)
  put(1, 0xdead_beef_0000, 0)
  check.expect(Kernel.call(.waitAny, list, 2, 1, 0).isFault, "a word that is not there")
  put(1, words + 4, 0)
  check.expect(Kernel.call(.waitAny, list, 2, 1, 0).isFault, "a word that is not aligned")
  put(1, words + 8, 7)
  check.expect(Kernel.call(.waitAny, list, 2, 1, 12345).error == .noSuchResource, "for nobody")
  guard let child = Child(1, body: address_of_hostile_body_wait_any()) else { return report.notTried(check) }
  check.expect(waitUntil { child.isAsleep }, "it does not sleep")
  for number in 1...UInt64(6) {
    check.expect(child[UA_WORD], equals: number - 1, "it woke of itself")
    let word = number % 2 == 0 ? UA_WORD3 : UA_WORD2
    child[word] = child[word] + 1
    check.expect(waitUntil { child[UA_WORD] == number && child.isAsleep }, "it sleeps on", number)
  }
  let frame = UInt32(truncatingIfNeeded: child.uareaFrame)
  check.expect(UInt64(Information.frame(UInt64(frame)).pins), equals: 3, "pins: its u-area and two words")
  child.kill()
  check.expect(UInt64(Information.frame(UInt64(frame)).pins), equals: 0, "pins after its death")
  report.finish(check)
}
