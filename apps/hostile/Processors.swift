// SPDX-License-Identifier: Apache-2.0
// Processors.swift: several CPUs at once: who runs where, translations that are gone everywhere, death from afar.

import ApusABI

/// Writes a word at the address in UA_WORD2 for good, and counts.
@c @used func hostile_body_touch(_ uarea: UInt64) {
  let target = uarea_word(UInt32(UA_WORD2))
  while true {
    store64(target, 0x5354_414c_45)
    set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1)
  }
}

/// Sleeps until the word at the address in UA_WORD2 is not 0, then counts, again and again.
@c @used func hostile_body_answer(_ uarea: UInt64) {
  let target = uarea_word(UInt32(UA_WORD2))
  while true {
    Kernel.sleep(word: target, value: 0)
    if load64(target) != 0 {
      store64(target, 0)
      set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1)
    }
  }
}

/// Takes frames and gives them back, maps and unmaps them, for good: its family's capability is in slot 4.
@c @used func hostile_body_storm(_ uarea: UInt64) {
  let list = uarea + 0x5000
  while uarea_word(UInt32(UA_STOPS)) == 0 {
    if let count = Kernel.call(.frameAllocate, Slot.other, list, 16, 0).value {
      while Kernel.call(.frameFree, Slot.other, list, count).isRefused, uarea_word(UInt32(UA_STOPS)) == 0 {}
    }
    set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1)
  }
  while true { Kernel.sleep() }
}

/// Repeats what another CPU holds up, a bounded number of times.
func retry(_ call: () -> Answer) -> Answer {
  for _ in 0..<1_000_000 {
    let answer = call()
    if answer.error != .flushPending { return answer }
  }
  return call()
}

/// Waits until another CPU has left an environment that was killed; the host may let that CPU wait meanwhile.
private func isGone(_ child: Child) -> Bool {
  waitUntil(turns: 5_000_000) { child.record.state == UInt32(APUS_ENVIRONMENT_FREE) }
}

/// Waits without a system call, so that this CPU goes on with this program.
private func spin(until condition: () -> Bool) -> Bool {
  for _ in 0..<2_000_000_000 { if condition() { return true } }
  return condition()
}

func processorChecks(_ report: inout Report) {
  var count = Check("processors", "CPUs that the information page shows")
  let processors = Information.page.processor_count
  count.expect(processors >= 1 && processors <= 64, "CPUs", processors)
  report.finish(count)
  namedSlices(&report)
  guard processors > 1 else { return }
  for processor in 1..<processors { sideBySide(&report, processor) }
  staleTranslations(&report)
  staleReleases(&report)
  staleLargePages(&report)
  staleTables(&report)
  staleWrites(&report)
  killedFromAfar(&report)
  wordsOfOthers(&report)
  gifts(&report)
  storms(&report, processors)
  var end = Check("processors", "everything given back")
  for number in 0..<processors { end.expect(Child.release(number), "pages of children") }
  report.finish(end)
}

/// A child in this address space, without a slice, that outlives its faults.
private func child(_ number: UInt64, _ body: UInt64, capabilities: UInt64 = 0) -> Child? {
  guard let child = Child(number, body: body, capabilities: capabilities, slice: false) else { return nil }
  child[UA_PLAN] = UInt64(PLAN_GO_ON_ALWAYS)
  return child
}
private func start(_ child: Child, on processor: UInt64) -> Answer {
  Kernel.call(.sliceAllocate, child.slot, processor << 16 | 0xffff, child.handle)
}

private func namedSlices(_ report: inout Report) {
  var check = Check("processors", "slices of CPUs that are not there")
  let processors = Information.page.processor_count
  let own = Information.ownHandle
  let names: InlineArray<4, UInt64> = [
    processors << 16, processors << 16 | 0xffff, 0xffff_ffff_0000_0000, 0x8000_0000_0000_0000,
  ]
  for index in names.indices {
    let name = names[index]
    check.expect(
      Kernel.call(.sliceAllocate, Slot.family, name, own).error == .noSuchResource, "slice taken", name)
    check.expect(Kernel.call(.sliceFree, Slot.family, name).error == .noSuchResource, "slice given back", name)
  }
  report.finish(check)
}

/// A child runs on another CPU while this one never leaves ring 3.
private func sideBySide(_ report: inout Report, _ processor: UInt64) {
  var check = Check("processors", "two environments of one address space run at once")
  guard let child = child(0, Body.spin) else { return report.notTried(check) }
  check.expect((start(child, on: processor).value ?? 0) >> 16 == processor, "its slice")
  check.expect(spin { child[UA_WORD] > 1000 }, "it does not run")
  check.expect(UInt64(child.record.running_on), equals: processor + 1, "where it runs")
  let before = child[UA_WORD]
  check.expect(spin { child[UA_WORD] > before + 1000 }, "it stands still")
  check.expect(child.kill().raw, equals: 0, "killing it")
  check.expect(isGone(child), "its slot stays taken")
  report.finish(check)
}

/// A frame that was unmapped and given back here is never written through the other CPU's old translation.
private func staleTranslations(_ report: inout Report) {
  var check = Check("processors", "a frame is not given out while another CPU can reach it")
  let address = Memory.region + 0x10_0000
  let window = Memory.region + 0x11_0000
  guard let child = child(0, address_of_hostile_body_touch()), Memory.mapFresh(at: address) != nil else {
    return report.notTried(check)
  }
  child[UA_WORD2] = address
  _ = start(child, on: 1)
  var stale: UInt64 = 0
  for _ in 0..<200 {
    let count = child[UA_WORD]
    guard spin(until: { child[UA_WORD] > count }) else {
      check.expect(false, "it stands still")
      break
    }
    let frame = OwnTables.frame(address)
    check.expect(Memory.write(0, at: address).value == 1, "unmapping")
    store64(Memory.list, frame)
    check.expect(retry { Kernel.call(.frameFree, Slot.family, Memory.list, 1) }.value == 1, "giving it back")
    store64(Memory.list, frame)
    let taken = retry { Kernel.call(.frameAllocate, Slot.family, Memory.list, 1, FrameAllocateFlags.named.rawValue) }
    check.expect(taken.value == 1, "taking it again")
    check.expect(Memory.write(Entry.page(frame), at: window).value == 1, "mapping it elsewhere")
    for _ in 0..<2000 where load64(window) != 0 { stale += 1 }
    check.expect(Memory.write(0, at: window).value == 1, "unmapping it there")
    check.expect(Memory.write(Entry.page(frame), at: address).value == 1, "mapping it again")
  }
  check.expect(stale, equals: 0, "words seen that an old translation wrote")
  child.kill()
  check.expect(isGone(child), "its slot stays taken")
  check.expect(Memory.unmapAndGiveBack(address), "the page")
  report.finish(check)
}

/// The same by the calls that fill and release pages with their frames, one at a time.
private func staleReleases(_ report: inout Report) {
  var check = Check("processors", "a released page is not given out while another CPU can reach it")
  let address = Memory.region + 0x10_0000
  let caps = Memory.both(Slot.family, Slot.family)
  let root = Information.ownRoot
  func fill(_ at: UInt64) -> UInt64? {
    retry { Kernel.call(.pagesFill, caps, root, at, 1, Entry.present | Entry.writable) }.value.map { $0 >> 16 }
  }
  guard let child = child(0, address_of_hostile_body_touch()), fill(address) != nil else {
    return report.notTried(check)
  }
  child[UA_WORD2] = address
  _ = start(child, on: 1)
  let window = Memory.region + 0x11_0000
  var stale: UInt64 = 0
  for _ in 0..<50 {
    let count = child[UA_WORD]
    guard spin(until: { child[UA_WORD] > count }) else {
      check.expect(false, "it stands still")
      break
    }
    check.expect(Kernel.call(.pagesRelease, caps, root, address, 1, 0).value == 1, "releasing")
    // The frame is at the head of the free list as soon as it is free.
    guard fill(window) != nil else { return report.notTried(check) }
    for _ in 0..<2000 where load64(window) != 0 { stale += 1 }
    check.expect(Kernel.call(.pagesRelease, caps, root, window, 1, 0).value == 1, "releasing there")
    guard fill(address) != nil else { return report.notTried(check) }
  }
  check.expect(stale, equals: 0, "words seen that an old translation wrote")
  child.kill()
  check.expect(isGone(child), "its slot stays taken")
  check.expect(Kernel.call(.pagesRelease, caps, root, address, 1, 0).value == 1, "the page")
  report.finish(check)
}

/// A frame of a large page that became pages here is never written through the other CPU's old translation.
private func staleLargePages(_ report: inout Report) {
  var check = Check("processors", "a large page is not reached by an old translation")
  let window = Memory.region + 0x11_0000
  guard let child = child(0, address_of_hostile_body_touch()), let page = LargePage() else {
    return report.notTried(check)
  }
  let address = LargePage.address(5)
  child[UA_WORD2] = address
  _ = start(child, on: 1)
  var stale: UInt64 = 0
  for _ in 0..<50 {
    check.expect(retry { page.promote() }.value == page.table, "making it large")
    let count = child[UA_WORD]
    guard spin(until: { child[UA_WORD] > count }) else {
      check.expect(false, "it stands still")
      break
    }
    check.expect(page.demote().raw, equals: 0, "making it pages")
    check.expect(Memory.write(0, at: address).value == 1, "unmapping")
    store64(Memory.list, page.first + 5)
    check.expect(retry { Kernel.call(.frameFree, Slot.family, Memory.list, 1) }.value == 1, "giving it back")
    store64(Memory.list, page.first + 5)
    let taken = retry { Kernel.call(.frameAllocate, Slot.family, Memory.list, 1, FrameAllocateFlags.named.rawValue) }
    check.expect(taken.value == 1, "taking it again")
    check.expect(Memory.write(Entry.page(page.first + 5), at: window).value == 1, "mapping it elsewhere")
    for _ in 0..<2000 where load64(window) != 0 { stale += 1 }
    check.expect(Memory.write(0, at: window).value == 1, "unmapping it there")
    check.expect(Memory.write(Entry.page(page.first + 5), at: address).value == 1, "mapping it again")
  }
  check.expect(stale, equals: 0, "words seen that an old translation wrote")
  child.kill()
  check.expect(isGone(child), "its slot stays taken")
  page.end(&check)
  report.finish(check)
}

/// A page table that was taken away here is not writable memory while another CPU can walk through it.
private func staleTables(_ report: inout Report) {
  var check = Check("processors", "a page table becomes memory only when no CPU walks through it")
  let address = Memory.region + 0x1000_0000
  let window = Memory.region + 0x11_0000
  guard let child = child(0, address_of_hostile_body_touch()),
    Memory.makeTables(for: address, root: Information.ownRoot), Memory.mapFresh(at: address) != nil
  else { return report.notTried(check) }
  child[UA_WORD2] = address
  _ = start(child, on: 1)
  check.expect(spin { child[UA_WORD] > 100 }, "it does not run")
  let frame = OwnTables.frame(address)
  let table = OwnTables.entry(address, level: 2) >> 12 & 0xf_ffff_ffff
  let root = Information.ownRoot
  check.expect(Kernel.call(.tableRemove, Slot.family, root, address & ~0x1f_ffff, 1).value == table, "removing it")
  let mapped = retry { Memory.write(Entry.page(table), at: window) }
  check.expect(mapped.value == 1, "mapping the table's frame")
  // A forged entry that an old translation would follow: to the program's own text.
  for index in 0..<UInt64(512) { store64(window + index * 8, OwnTables.entry(address_of_hostile_image_start()) | 2) }
  let count = child[UA_WORD]
  for _ in 0..<100_000 where child[UA_WORD] > count + 1 { check.expect(false, "it writes through a removed table") }
  child.kill()
  check.expect(isGone(child), "its slot stays taken")
  check.expect(Memory.unmapAndGiveBack(window), "the table's frame")
  store64(Memory.list, frame)
  check.expect(retry { Kernel.call(.frameFree, Slot.family, Memory.list, 1) }.value == 1, "the page's frame")
  report.finish(check)
}

/// A frame that was unmapped here becomes no page table while another CPU can write to it by an old translation.
private func staleWrites(_ report: inout Report) {
  var check = Check("processors", "a frame becomes a page table only when no other CPU can write to it")
  let address = Memory.region + 0x10_0000
  let place = Memory.region + 0x1000_0000
  let root = Information.ownRoot
  guard let child = child(0, address_of_hostile_body_touch()), Memory.makeTables(for: place, root: root),
    Memory.mapFresh(at: address) != nil, let spare = Kernel.call(.tableRemove, Slot.family, root, place, 1).value
  else { return report.notTried(check) }
  child[UA_WORD2] = address
  _ = start(child, on: 1)
  var stale: UInt64 = 0
  for _ in 0..<200 {
    let count = child[UA_WORD]
    guard spin(until: { child[UA_WORD] > count }) else {
      check.expect(false, "it stands still")
      break
    }
    let frame = OwnTables.frame(address)
    check.expect(Memory.write(0, at: address).value == 1, "unmapping")
    let made = retry { Kernel.call(.tableInstall, Slot.family, root, place, 1, frame) }
    check.expect(made.raw, equals: 0, "making it a table")
    for _ in 0..<2000 where OwnTables.entry(place) != 0 { stale += 1 }
    check.expect(Kernel.call(.tableRemove, Slot.family, root, place, 1).value == frame, "removing the table")
    check.expect(retry { Memory.write(Entry.page(frame), at: address) }.value == 1, "mapping it again")
  }
  check.expect(stale, equals: 0, "entries seen that an old translation wrote")
  child.kill()
  check.expect(isGone(child), "its slot stays taken")
  check.expect(Memory.unmapAndGiveBack(address), "the page")
  store64(Memory.list, spare)
  check.expect(retry { Kernel.call(.frameFree, Slot.family, Memory.list, 1) }.value == 1, "the first table")
  report.finish(check)
}

/// An environment that runs on another CPU is killed, again and again; its frames come back.
private func killedFromAfar(_ report: inout Report) {
  var check = Check("processors", "killing what another CPU runs")
  for _ in 0..<50 {
    guard let child = child(0, Body.spin) else { return report.notTried(check) }
    _ = start(child, on: 1)
    check.expect(spin { child[UA_WORD] > 10 }, "it does not run")
    check.expect(child.kill().raw, equals: 0, "killing it")
    check.expect(!child.isLive, "it lives")
    check.expect(child.kill().error == .noSuchResource, "killing it again")
    check.expect(isGone(child), "its slot stays taken")
  }
  report.finish(check)

  var family = Check("processors", "killing a family that another CPU runs")
  let free = free_frames()
  for round in 0..<UInt64(10) {
    Kernel.forge(Slot.other, name: (0x0500 + round) << 48, length: 2)
    guard let child = Child(1, body: Body.spin, foreign: Slot.other, slice: false) else {
      return report.notTried(family)
    }
    _ = Kernel.call(.sliceAllocate, Slot.other, 1 << 16 | 0xffff, child.handle)
    family.expect(spin { child.record.running_on == 2 }, "it does not run")
    family.expect(child.kill().raw, equals: 0, "killing it")
    family.expect(waitUntil(turns: 5_000_000) { free_frames() == free }, "free frames, of which there were", free)
  }
  report.finish(family)
}

/// A word that this CPU writes wakes a sleeper of another.
private func wordsOfOthers(_ report: inout Report) {
  var check = Check("processors", "a word wakes a sleeper of another CPU")
  guard let child = child(0, address_of_hostile_body_answer()) else { return report.notTried(check) }
  child[UA_WORD2] = child.uarea + UInt64(UA_WORD3)
  _ = start(child, on: 1)
  for _ in 0..<100 {
    let count = child[UA_WORD]
    child[UA_WORD3] = 1
    Kernel.call(.notify)
    check.expect(spin { child[UA_WORD] > count }, "it sleeps on")
  }
  child.kill()
  check.expect(isGone(child), "its slot stays taken")
  report.finish(check)
}

/// A stranger gives its own time on another CPU away, again and again, to keep somebody from its turns here.
private func gifts(_ report: inout Report) {
  var check = Check("processors", "time given on another CPU costs nobody a turn")
  guard let victim = Child(0, body: Body.spin), let giver = child(1, address_of_hostile_body_pass()) else {
    return report.notTried(check)
  }
  giver[UA_WORD2] = victim.handle
  _ = start(giver, on: 1)
  check.expect(spin { giver[UA_WORD] > 10 }, "it does not run")
  let slot = Information.ownSlot
  // Where the machine waits for its host a slice gets too long, which costs a turn.
  func turnsOfVictim() -> UInt64 { victim.record.slices_used + victim.record.slices_forfeited }
  let turns = turnsOfVictim()
  let own = Information.environment(slot: slot).slices_used
  let given = giver[UA_WORD]
  letOthersRun(50)
  let rounds = Information.environment(slot: slot).slices_used - own
  check.expect(turnsOfVictim() - turns + 2 >= rounds, "turns that it had", turnsOfVictim() - turns)
  check.expect(giver[UA_WORD] > given, "nothing was given")
  victim.kill()
  giver.kill()
  check.expect(isGone(victim) && isGone(giver), "their slots stay taken")
  report.finish(check)
}

/// Every CPU takes and gives frames as fast as it can; then the ledger balances.
private func storms(_ report: inout Report, _ processors: UInt64) {
  var check = Check("processors", "frames taken and given on every CPU at once")
  Kernel.forge(Slot.other, name: 0x0601 << 48, length: 2)
  guard let first = child(0, address_of_hostile_body_storm(), capabilities: 1 << Slot.other) else {
    return report.notTried(check)
  }
  _ = start(first, on: 0)
  var others: InlineArray<64, UInt64> = .init(repeating: 0)
  for processor in 1..<processors {
    guard let other = child(processor, address_of_hostile_body_storm(), capabilities: 1 << Slot.other)
    else { return report.notTried(check) }
    _ = start(other, on: processor)
    others[Int(processor)] = other.handle
  }
  let target: UInt64 = 30
  let reached = waitUntil(turns: 200_000) {
    var all = first[UA_WORD] > target
    for processor in 1..<processors
    where load64(Child.uarea(of: processor) + UInt64(UA_WORD)) <= target { all = false }
    return all
  }
  check.expect(reached, "rounds of the slowest")
  store64(Child.uarea(of: 0) + UInt64(UA_STOPS), 1)
  for processor in 1..<processors { store64(Child.uarea(of: processor) + UInt64(UA_STOPS), 1) }
  letOthersRun(20)
  first.kill()
  for processor in 1..<processors { Kernel.call(.environmentKill, Slot.family, others[Int(processor)]) }
  check.expect(
    waitUntil { Information.environmentsInUse == 1 }, "environments left", Information.environmentsInUse)
  report.finish(check)
}
