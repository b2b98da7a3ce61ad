// SPDX-License-Identifier: Apache-2.0
// Timelines.swift: slices, preemption, critical sections, over-use, sleeping and directed yields.

import ApusABI

/// Words that all environments share.
enum Shared {
  private static var base: UInt64 { address_of_hostile_globals() }
  static subscript(index: UInt64) -> UInt64 {
    get { load64(base + index * 8) }
    set { store64(base + index * 8, newValue) }
  }
}

private func slices(_ count: UInt64) -> UInt64 { count * Information.page.slice_ticks }

// MARK: Bodies of children

/// Spins in a critical section for UA_WORD2 ticks, then gives its slice away; counts rounds in UA_WORD.
@c @used func hostile_body_critical(_ uarea: UInt64) {
  set_uarea_word(UInt32(APUS_UA_CRITICAL), 1)
  let start = time_stamp()
  while time_stamp() &- start < uarea_word(UInt32(UA_WORD2)) {}
  set_uarea_word(UInt32(UA_WORD3), uarea_word(UInt32(APUS_UA_PENDING)))
  while true {
    // The yield ends the section, as its context is whole.
    Kernel.yield()
    set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1)
  }
}

/// Never leaves its critical section.
@c @used func hostile_body_greedy(_ uarea: UInt64) {
  set_uarea_word(UInt32(APUS_UA_CRITICAL), 1)
  while true { set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1) }
}

/// Ignores the end of its slice: that entry never yields.
@c @used func hostile_body_deaf(_ uarea: UInt64) {
  set_uarea_word(UInt32(APUS_UA_SLICE_END_ENTRY), address_of_hostile_body_forever())
  while true {}
}
@c @used func hostile_body_forever(_ uarea: UInt64) {
  while true {}
}

/// Writes its number, UA_WORD2, at the end of the shared list each time that it has a turn.
@c @used func hostile_body_sign(_ uarea: UInt64) {
  while true {
    let count = Shared[0]
    if count < 20 {
      Shared[1 + count] = uarea_word(UInt32(UA_WORD2))
      Shared[0] = count + 1
    }
    Kernel.yield()
  }
}

/// Sleeps on the word whose address is UA_WORD2, once until the time in UA_WORD3, again and again; counts in UA_WORD.
@c @used func hostile_body_wait(_ uarea: UInt64) {
  while true {
    let word = uarea_word(UInt32(UA_WORD2))
    let deadline = uarea_word(UInt32(UA_WORD3))
    set_uarea_word(UInt32(UA_WORD3), UInt64.max)
    Kernel.sleep(word: word, value: load64(word), deadline: deadline)
    set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1)
  }
}

// MARK: Checks

func timelineChecks(_ report: inout Report) {
  preemption(&report)
  sliceEndContext(&report)
  slowSliceEnd(&report)
  criticalSections(&report)
  idling(1, &report)
  overrun(&report)
  idling(2, &report)
  directedYields(&report)
  sleeping(&report)
  sleepingOnWords(&report)
  idling(3, &report)
  sliceNumbers(&report)
  var check = Check("timeline", "everything given back")
  check.expect(Child.release(0) && Child.release(1) && Child.release(2), "pages of children")
  report.finish(check)
}

private func preemption(_ report: inout Report) {
  var check = Check("timeline", "an endless loop is preempted")
  guard let child = Child(0, body: Body.spin) else { return report.notTried(check) }
  // A slice may be over before its first instruction when the machine itself had to wait for its host.
  for turn in 0..<UInt64(5) {
    let last = child[UA_WORD]
    check.expect(waitUntil(turns: 1000) { child[UA_WORD] > last }, "the loop got no further", turn)
  }
  check.expect(child[UA_SLICE_ENDS] >= 5, "slice ends that it was told of", child[UA_SLICE_ENDS])
  check.expect(child[UA_SLICE_BEGINS] >= 5, "slice begins that it was told of", child[UA_SLICE_BEGINS])
  let record = child.record
  check.expect(record.slices_used >= 5, "slices counted", record.slices_used)
  check.expect(record.ticks_used >= slices(1), "time counted", record.ticks_used)
  // This program too is preempted, in the middle of anything.
  let ends = uarea_word(UInt32(UA_SLICE_ENDS))
  let start = time_stamp()
  while uarea_word(UInt32(UA_SLICE_ENDS)) < ends + 3 && time_stamp() &- start < slices(1000) {}
  check.expect(uarea_word(UInt32(UA_SLICE_ENDS)) >= ends + 3, "slice ends of this program")
  check.expect(child.kill().value == 0 && !child.isLive, "ending it")
  report.finish(check)
}

/// Registers of all kinds survive preemption, here of a probe whose code is a long loop.
private func sliceEndContext(_ report: inout Report) {
  var check = Check("timeline", "registers survive preemption")
  guard let child = Child(0, body: Body.spin) else { return report.notTried(check) }
  let file = Registers(address: address_of_hostile_file())
  let after = Registers(address: address_of_hostile_after())
  let ends = uarea_word(UInt32(UA_SLICE_ENDS))
  set_fs_base(0x1234_5678_9abc)
  for round in 0..<UInt64(10) {
    Pattern.fill(file, seed: round)
    file.rip = address_of_snippet_count_down()
    file[REGISTER_RAX] = 0
    file[REGISTER_RDX] = 3_000_000
    hostile_probe(file.address)
    check.expect(after[REGISTER_RAX], equals: 3_000_000 * 3_000_001 / 2, "the sum")
    Pattern.compare(after, with: file, &check, "a register", leavingOut: 1 | 4)
    check.expect(fs_base(), equals: 0x1234_5678_9abc, "the FS base")
  }
  set_fs_base(0)
  check.expect(
    uarea_word(UInt32(UA_SLICE_ENDS)) >= ends + 5, "preemptions meanwhile", uarea_word(UInt32(UA_SLICE_ENDS)) - ends)
  child.kill()
  report.finish(check)
}

/// While a context is in the save area no other slice end overwrites it, even if the handler takes its time.
private func slowSliceEnd(_ report: inout Report) {
  var check = Check("timeline", "a slow slice-end handler keeps its context")
  guard let child = Child(0, body: Body.spin, slice: false) else {
    return report.notTried(check)
  }
  let duration = Information.page.critical_bound_ticks + slices(4)
  // The entry counts in units of 1,024 ticks, of which fewer than 2^22 fit in the part of the counter that it reads.
  check.expect(duration >> 10 < 1 << 22, "the bound is too long for this check", duration)
  child[UA_WORD3] = duration >> 10
  child[APUS_UA_SLICE_END_ENTRY] = address_of_hostile_slow_slice_end_entry()
  check.expect(Kernel.call(.sliceAllocate, Slot.family, UInt64.max, child.handle).value != nil, "a slice")
  Kernel.sleep(deadline: time_stamp() + duration + slices(6))
  check.expect(waitUntil { child[UA_WORD2] == 1 }, "the handler did not come to its end")
  let count = child[UA_WORD]
  check.expect(waitUntil(turns: 1000) { child[UA_WORD] > count }, "the program does not go on")
  check.expect(child.isLive, "it has ended")
  child.kill()
  report.finish(check)
}

private func criticalSections(_ report: inout Report) {
  var check = Check("timeline", "a critical section defers the end of its slice")
  guard
    let child = Child(0, body: address_of_hostile_body_critical(), slice: false)
  else { return report.notTried(check) }
  // Three slices and a half, which has to lie within the bound.
  let duration = slices(7) / 2
  check.expect(duration < Information.page.critical_bound_ticks, "the bound is too small for this check")
  child[UA_WORD2] = duration
  let turns = uarea_word(UInt32(UA_SLICE_BEGINS))
  check.expect(Kernel.call(.sliceAllocate, Slot.family, UInt64.max, child.handle).value != nil, "a slice")
  // Of two turns that it has the second comes only when it has left the section and has paid.
  check.expect(waitUntil { child[UA_WORD] >= 1 }, "it never came back")
  check.expect(
    child[UA_WORD3] & UInt64(APUS_PENDING_SLICE_END), equals: UInt64(APUS_PENDING_SLICE_END), "the pending bit")
  check.expect(child[UA_SLICE_ENDS], equals: 0, "slice ends inside the section")
  let record = child.record
  check.expect(record.excess_ticks >= slices(2), "time past the slice's end", record.excess_ticks)
  check.expect(record.slices_forfeited >= 2, "slices forfeited for it", record.slices_forfeited)
  check.expect(
    record.slices_forfeited, equals: record.excess_ticks / Information.page.slice_ticks,
    "slices forfeited in proportion")
  check.expect(
    uarea_word(UInt32(UA_SLICE_BEGINS)) - turns >= record.slices_forfeited, "turns that this program had meanwhile")
  check.expect(
    child[APUS_UA_PENDING] & UInt64(APUS_PENDING_PENALTY), equals: UInt64(APUS_PENDING_PENALTY), "the penalty bit")
  child.kill()
  report.finish(check)
}

private func overrun(_ report: inout Report) {
  // One that ignores the end of its slice, outside of critical sections: it ends, its family goes on.
  var deaf = Check("timeline", "one that ignores its slice's end is ended")
  guard let first = Child(0, body: address_of_hostile_body_deaf())
  else { return report.notTried(deaf) }
  deaf.expect(waitUntil { !first.isLive }, "it lives")
  deaf.expect(first.record.last_cause & 0xff, equals: UInt64(APUS_CAUSE_OVERRUN), "the cause")
  deaf.expect(
    first.record.excess_ticks >= Information.page.critical_bound_ticks / 2, "its excess time", first.record.excess_ticks
  )
  deaf.expect(
    uarea_word(UInt32(APUS_UA_PENDING)) & UInt64(APUS_PENDING_DEATH), equals: 2, "the family is told of the death")
  set_uarea_word(UInt32(APUS_UA_PENDING), 0)
  report.finish(deaf)

  // One that never leaves its critical section takes its whole family with it, and only that.
  var greedy = Check("timeline", "one that never leaves its critical section is ended with its family")
  Kernel.forge(Slot.other, name: 0x0031 << 48, length: 2)
  let free = free_frames()
  guard let bystander = Child(1, body: Body.sleep, foreign: Slot.other),
    let second = Child(2, body: address_of_hostile_body_greedy(), foreign: Slot.other)
  else { return report.notTried(greedy) }
  greedy.expect(waitUntil { !second.isLive }, "it lives")
  greedy.expect(second.record.last_cause & 0xff, equals: UInt64(APUS_CAUSE_OVERRUN), "the cause")
  greedy.expect(!bystander.isLive, "another of its family lives")
  balance(free, &greedy)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(greedy)
}

private func directedYields(_ report: inout Report) {
  var check = Check("timeline", "a directed yield")
  let sign = address_of_hostile_body_sign()
  guard let first = Child(0, body: sign),
    let second = Child(1, body: sign),
    let third = Child(2, body: sign, slice: false)
  else { return report.notTried(check) }
  first[UA_WORD2] = 1
  second[UA_WORD2] = 2
  third[UA_WORD2] = 3
  for index in 0..<UInt64(6) {
    let target = index % 3 == 0 ? third : index % 3 == 1 ? second : first
    Shared[0] = 0
    let answer = Kernel.yield(to: target.handle)
    check.expect(answer.raw, equals: UInt64(RESUMED), "answer")
    check.expect(Shared[0] > 0, "nobody ran")
    check.expect(Shared[1], equals: target[UA_WORD2], "who ran first")
  }
  // One without a slice of its own has run in others' time only.
  check.expect(third.record.slices_used, equals: 0, "slices that the third one used")
  check.expect(third[UA_SLICE_BEGINS] > 0, "turns that the third one had")
  // To itself; to one that has died.
  check.expect(Kernel.yield(to: Information.ownHandle).raw, equals: UInt64(RESUMED), "to itself")
  first.kill()
  check.expect(Kernel.yield(to: first.handle).error == .noSuchResource, "to one that has died")
  second.kill()
  third.kill()
  report.finish(check)
}

private func sleeping(_ report: inout Report) {
  var check = Check("timeline", "sleeping until a time")
  for slicesAway in 1...UInt64(4) {
    let deadline = time_stamp() + slices(slicesAway)
    check.expect(Kernel.sleep(deadline: deadline).raw, equals: UInt64(RESUMED), "answer")
    check.expect(time_stamp() >= deadline, "it woke too early", deadline &- time_stamp())
  }
  check.expect(Kernel.sleep(deadline: time_stamp()).raw, equals: 1, "a time that has come")
  check.expect(Kernel.sleep(deadline: 1).raw, equals: 1, "a time long past")
  // While another has the CPU, too.
  guard let child = Child(0, body: Body.spin) else { return report.notTried(check) }
  let deadline = time_stamp() + slices(3)
  let count = child[UA_WORD]
  Kernel.sleep(deadline: deadline)
  check.expect(time_stamp() >= deadline, "it woke too early beside another")
  check.expect(child[UA_WORD] > count, "the other did not run")
  child.kill()
  report.finish(check)
}

private func sleepingOnWords(_ report: inout Report) {
  var check = Check("timeline", "sleeping until a word changes")
  guard let child = Child(0, body: address_of_hostile_body_wait(), slice: false)
  else { return report.notTried(check) }
  child[UA_WORD2] = address_of_hostile_globals()
  child[UA_WORD3] = UInt64.max
  Shared[0] = 7
  check.expect(Kernel.call(.sliceAllocate, Slot.family, UInt64.max, child.handle).value != nil, "a slice")
  check.expect(waitUntil(turns: 100) { child.isAsleep }, "it does not sleep")
  let pins = Information.frame(OwnTables.frame(address_of_hostile_globals())).pins
  check.expect(UInt64(pins), equals: 1, "pins of the word's frame")
  letOthersRun(5)
  check.expect(child[UA_WORD], equals: 0, "it woke without a change")
  Shared[0] = 8
  check.expect(waitUntil(turns: 100) { child[UA_WORD] == 1 && child.isAsleep }, "a change did not wake it")
  // With a time as well: whichever comes first.
  let deadline = time_stamp() + slices(2)
  child[UA_WORD3] = deadline
  Shared[0] = 9
  check.expect(
    waitUntil(turns: 100) { child[UA_WORD] >= 2 && child.isAsleep }, "a change did not wake it the second time")
  check.expect(waitUntil(turns: 200_000) { child[UA_WORD] == 3 }, "the time did not wake it")
  check.expect(time_stamp() >= deadline, "the time woke it too early")
  // A word of its own u-area, then one of the information page.
  check.expect(waitUntil(turns: 100) { child.isAsleep }, "it does not sleep again")
  child[UA_WORD2] = child.uarea + UInt64(UA_STOPS)
  Shared[0] = 10
  check.expect(waitUntil(turns: 100) { child[UA_WORD] == 4 && child.isAsleep }, "it does not sleep on its u-area")
  check.expect(UInt64(Information.frame(child.uareaFrame).pins), equals: 2, "pins of its u-area")
  check.expect(
    UInt64(Information.frame(OwnTables.frame(address_of_hostile_globals())).pins), equals: 0, "pins of the word before")
  child[UA_STOPS] = 1
  check.expect(
    waitUntil(turns: 100) { child[UA_WORD] == 5 && child.isAsleep }, "a change of its u-area did not wake it")
  child[UA_WORD2] = address_of_free_frames()
  child[UA_STOPS] = 2
  check.expect(
    waitUntil(turns: 100) { child[UA_WORD] == 6 && child.isAsleep }, "it does not sleep on the information page")
  letOthersRun(5)
  check.expect(child[UA_WORD], equals: 6, "it woke without a change of the information page")
  guard let frame = Memory.takeFrame() else { return report.notTried(check) }
  check.expect(waitUntil(turns: 100) { child[UA_WORD] == 7 }, "a change of the information page did not wake it")
  Memory.giveBack(frame)
  // Dying asleep ends the pin.
  check.expect(waitUntil(turns: 100) { child.isAsleep }, "it does not sleep in the end")
  child.kill()
  check.expect(UInt64(Information.frame(child.uareaFrame).pins), equals: 0, "pins after its end")
  report.finish(check)
}

/// Asked between other checks: a family that has died may keep nothing busy.
private func idling(_ number: UInt64, _ report: inout Report) {
  var check = Check("timeline", "the CPU is halted when nothing runs", number)
  letOthersRun()
  let before = Information.page.idle_ticks
  let used = Information.environment(slot: Information.ownSlot).ticks_used
  let duration = slices(10)
  Kernel.sleep(deadline: time_stamp() + duration)
  let idle = Information.page.idle_ticks &- before
  check.expect(idle >= duration / 2, "time halted", idle)
  check.expect(
    Information.environment(slot: Information.ownSlot).ticks_used &- used < duration / 2,
    "time that the sleeper was charged")
  report.finish(check)
}

private func sliceNumbers(_ report: inout Report) {
  var check = Check("timeline", "slices by number")
  guard let child = Child(0, body: Body.spin, slice: false) else {
    return report.notTried(check)
  }
  let last = Information.page.slice_count - 1
  func allocate(_ number: UInt64) -> Answer { Kernel.call(.sliceAllocate, Slot.family, number, child.handle) }
  letOthersRun(5)
  check.expect(child[UA_WORD], equals: 0, "it ran without a slice")
  check.expect(allocate(last).raw, equals: last, "the last slice")
  check.expect(allocate(last).error == .inUse, "the same again")
  check.expect(allocate(last + 1).error == .noSuchResource, "one beyond the last")
  check.expect(UInt64(Information.slice(last).environment), equals: Information.slot(of: child.handle), "its owner")
  letOthersRun(3)
  check.expect(child[UA_WORD] > 0, "it did not run")
  check.expect(Information.slice(last).used > 0, "the slice's uses")
  // All the others; then none is left.
  Budget.collect()
  var taken: UInt64 = 0
  while allocate(UInt64.max).value != nil { taken += 1 }
  check.expect(allocate(UInt64.max).error == .exhausted, "when none is left")
  check.expect(taken, equals: last - 1, "slices that there were")
  check.expect(UInt64(child.record.slices_owned), equals: taken + 1, "slices that it owns")
  check.expect(Kernel.call(.sliceFree, Slot.family, last).raw, equals: 0, "giving one back")
  check.expect(Kernel.call(.sliceFree, Slot.family, last).error == .noSuchResource, "giving it back again")
  check.expect(allocate(UInt64.max).raw, equals: last, "taking it again")
  child.kill()
  var owned: UInt64 = 0
  for number in 0...last where Information.slice(number).environment != UInt32(APUS_SLICE_FREE) { owned += 1 }
  check.expect(owned, equals: 1, "slices owned after its end")
  report.finish(check)
}
