// SPDX-License-Identifier: Apache-2.0
// Deaths.swift: how environments and families end, and that everything they held comes back.

import ApusABI

/// Names of families that this group uses; each once, as the kernel may still be collecting what the last one left.
private enum Family {
  static func name(_ number: UInt64) -> UInt64 { (0x0060 + number) << 48 }
}

/// Waits until so many frames are free again; the kernel collects them in steps, at choices of the scheduler.
func balance(_ expected: UInt64, _ check: inout Check) {
  check.expect(waitUntil(turns: 20_000) { free_frames() == expected }, "free frames, of which there were", expected)
  check.expect(free_frames(), equals: expected, "free frames")
}

// MARK: Bodies

/// Ends itself.
@c @used func hostile_body_end(_ uarea: UInt64) {
  set_uarea_word(UInt32(UA_WORD), 1)
  Kernel.call(.environmentKill)
  set_uarea_word(UInt32(UA_WORD), 2)
  while true {}
}

/// Faults; its handlers fault too.
@c @used func hostile_body_fault(_ uarea: UInt64) { hostile_fault_here() }

/// Ends itself and names who is next: UA_WORD2.
@c @used func hostile_body_end_to(_ uarea: UInt64) {
  Kernel.call(.environmentKill, 0, 0, uarea_word(UInt32(UA_WORD2)))
  while true {}
}

/// Takes away the page tables that it runs on: its family's capability is in slot 4.
@c @used func hostile_body_saw(_ uarea: UInt64) {
  let root = Information.ownRoot
  Kernel.call(.tableRemove, Slot.other, root, UInt64(APUS_LIBOS_BASE), 1)
  hostile_fault_here()
}

func deathChecks(_ report: inout Report) {
  oneOfSeveral(&report)
  ownEnd(&report)
  threeFaults(&report)
  wildUareas(&report)
  wholeFamily(&report)
  forcedUnmapping(&report)
  sleeperOnAForeignWord(&report)
  ownTablesGone(&report)
  staleHandles(&report)
  environmentsRunOut(&report)
  framesRunOut(&report)
  var check = Check("death", "everything given back")
  check.expect(Child.release(0) && Child.release(1) && Child.release(2), "pages of children")
  report.finish(check)
}

private func oneOfSeveral(_ report: inout Report) {
  var check = Check("death", "killing one leaves the others")
  guard let first = Child(0, body: Body.spin), let second = Child(1, body: Body.spin),
    let third = Child(2, body: Body.sleep)
  else { return report.notTried(check) }
  check.expect(waitUntil { first[UA_WORD] > 0 && second[UA_WORD] > 0 }, "they do not run")
  let free = free_frames()
  check.expect(first.kill().raw, equals: 0, "answer")
  check.expect(!first.isLive && second.isLive && third.isLive, "who lives")
  check.expect(UInt64(first.record.state), equals: UInt64(APUS_ENVIRONMENT_FREE), "its slot")
  check.expect(first.record.last_cause & 0xff, equals: UInt64(APUS_CAUSE_KILLED), "the cause")
  let count = second[UA_WORD]
  check.expect(waitUntil { second[UA_WORD] > count }, "the other stands still")
  let stopped = first[UA_WORD]
  letOthersRun(10)
  check.expect(first[UA_WORD], equals: stopped, "it runs on")
  check.expect(first.kill().error == .noSuchResource, "killing it again")
  check.expect(free_frames(), equals: free, "frames of a family that lives")
  second.kill()
  third.kill()
  report.finish(check)
}

private func ownEnd(_ report: inout Report) {
  var check = Check("death", "an environment ends itself")
  guard let child = Child(0, body: address_of_hostile_body_end()) else { return report.notTried(check) }
  check.expect(waitUntil(turns: 1000) { !child.isLive }, "it lives")
  letOthersRun()
  check.expect(child[UA_WORD], equals: 1, "how far it came")
  report.finish(check)

  var directed = Check("death", "an environment ends itself and names who is next")
  guard let heir = Child(1, body: address_of_hostile_body_sign(), slice: false),
    let testator = Child(0, body: address_of_hostile_body_end_to(), slice: false)
  else { return report.notTried(directed) }
  Shared[0] = 0
  heir[UA_WORD2] = 5
  testator[UA_WORD2] = heir.handle
  directed.expect(Kernel.yield(to: testator.handle).raw, equals: UInt64(RESUMED), "answer")
  directed.expect(waitUntil(turns: 1000) { !testator.isLive }, "it lives")
  directed.expect(Shared[0] > 0 && Shared[1] == 5, "its heir did not run", Shared[0])
  heir.kill()
  report.finish(directed)
}

/// The handler faults, the nested handler faults: the environment ends with a report, the machine lives.
private func threeFaults(_ report: inout Report) {
  var check = Check("death", "a third fault ends the environment")
  guard let child = Child(0, body: address_of_hostile_body_fault(), slice: false) else { return report.notTried(check) }
  child[APUS_UA_EXCEPTION_ENTRY] = address_of_hostile_faulting_entry()
  child[APUS_UA_NESTED_ENTRY] = address_of_hostile_faulting_nested_entry()
  check.expect(Kernel.call(.sliceAllocate, Slot.family, UInt64.max, child.handle).value != nil, "a slice")
  check.expect(waitUntil(turns: 1000) { !child.isLive }, "it lives")
  let record = child.record
  check.expect(record.last_cause & 0xff, equals: 6, "the cause")
  check.expect(record.last_rip, equals: address_of_hostile_faulting_nested_entry(), "where")
  check.expect(record.exception_upcalls, equals: 2, "upcalls before the end")
  check.expect(uarea_word(UInt32(APUS_UA_PENDING)) & UInt64(APUS_PENDING_DEATH), equals: 2, "the family is told")
  set_uarea_word(UInt32(APUS_UA_PENDING), 0)
  report.finish(check)
}

/// U-areas full of garbage: the environment ends, nothing else happens.
private func wildUareas(_ report: inout Report) {
  let wild: [9 of UInt64] = [
    0, 8, UInt64(APUS_USER_LIMIT), 0x0000_8000_0000_0000, 0xffff_ffff_8010_0000, 0xffff_8800_0000_0000,
    0x8000_0000_0000_0000, UInt64.max, UInt64(APUS_INFORMATION_BASE),
  ]
  for index in wild.indices {
    let value = wild[index]
    var check = Check("death", "a u-area full of garbage", UInt64(index))
    Kernel.forge(Slot.other, name: Family.name(16 + UInt64(index)), length: 2)
    let free = free_frames()
    // Slice begin goes to a good entry the first time, then the body faults; the second child begins with garbage.
    guard
      let first = Child(
        0, body: address_of_hostile_body_fault(), foreign: Slot.other, slice: false,
        changing: { page in
          for offset in 0..<UInt64(10) where offset != 7 {
            store64(page + 0x10 + (offset == 9 ? 0x40 : offset * 8), value)
          }
          store64(page + UInt64(APUS_UA_SLICE_BEGIN_ENTRY), address_of_hostile_slice_begin_entry())
          store64(page + UInt64(APUS_UA_SELF), Child.uarea(of: 0))
        }),
      let second = Child(
        1, body: 0, foreign: Slot.other, slice: false,
        changing: { page in
          for offset in 2..<UInt64(64) { store64(page + offset * 8, value) }
        })
    else {
      check.expect(false, "no children")
      report.finish(check)
      continue
    }
    // Slices last: a family whose only member has ended gets no more frames.
    // The first one's end may be the second one's too.
    Kernel.call(.sliceAllocate, Slot.other, UInt64.max, first.handle)
    Kernel.call(.sliceAllocate, Slot.other, UInt64.max, second.handle)
    check.expect(waitUntil(turns: 5000) { !first.isLive && !second.isLive }, "they live")
    Kernel.call(.capabilityDrop, Slot.other)
    balance(free, &check)
    report.finish(check)
  }
}

private func wholeFamily(_ report: inout Report) {
  for round in 0..<UInt64(4) {
    var check = Check("death", "the frames of a family come back, round", round)
    let name = Family.name(32 + round)
    Kernel.forge(Slot.other, name: name, length: 2)
    let free = free_frames()
    guard let first = Child(0, body: Body.spin, foreign: Slot.other),
      let second = Child(1, body: Body.sleep, foreign: Slot.other)
    else { return report.notTried(check) }
    letOthersRun(5)
    // Frames that it neither maps nor needs; some have longer guards.
    for index in 0..<UInt64(100) {
      guard let frame = Memory.takeFrame(Slot.other) else { return report.notTried(check) }
      if index % 10 == 0 { Kernel.call(.frameGuard, Slot.other, frame, 3, name | index << 40) }
    }
    check.expect(free_frames() < free - 115, "frames that it holds", free - free_frames())
    first.kill()
    letOthersRun(50)
    check.expect(free_frames() < free - 115, "frames went while one of the family lived", free - free_frames())
    second.kill()
    // Nobody takes frames for a family while its old ones are on their way back.
    let early = Kernel.call(.frameAllocate, Slot.other, Memory.list, 1, 0)
    check.expect(early.error == .inUse, "frames for a family that is being collected", early.raw)
    balance(free, &check)
    Kernel.call(.capabilityDrop, Slot.other)
    report.finish(check)
  }
}

/// What others map of a dead family goes out of their address spaces.
private func forcedUnmapping(_ report: inout Report) {
  var check = Check("death", "mappings of a dead family's frames end")
  let page = Memory.region + 0x2_0000
  Kernel.forge(Slot.other, name: Family.name(1), length: 2)
  let free = free_frames()
  guard let child = Child(0, body: Body.sleep, foreign: Slot.other), let frame = Memory.takeFrame(Slot.other) else {
    return
  }
  let caps = Memory.both(Slot.family, Slot.other)
  check.expect(Memory.write(Entry.page(frame), at: page, by: caps).value == 1, "mapping")
  check.expect(Memory.write(Entry.page(frame, writable: false), at: page + 4096, by: caps).value == 1, "mapping again")
  store64(page, 0x1234)
  check.expect(load64(page + 4096), equals: 0x1234, "what both see")
  child.kill()
  balance(free, &check)
  check.expect(OwnTables.entry(page) | OwnTables.entry(page + 4096), equals: 0, "entries that are left")
  check.expect(UInt64(Information.frame(frame).type), equals: UInt64(APUS_FRAME_FREE), "the frame's type")
  let file = Registers(address: address_of_hostile_file())
  Pattern.fill(file)
  file[REGISTER_RBX] = page
  file.rip = address_of_snippet_write()
  let before = uarea_word(UInt32(UA_EXCEPTIONS))
  Plan.set(PLAN_GO_TO, address_of_hostile_probe_end())
  hostile_probe(file.address)
  Plan.set(PLAN_NONE)
  check.expect(uarea_word(UInt32(UA_EXCEPTIONS)), equals: before + 1, "a write through the old mapping faults")
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

/// A frame that somebody sleeps on stays until the sleep ends, and comes back then.
private func sleeperOnAForeignWord(_ report: inout Report) {
  var check = Check("death", "a frame that another family sleeps on")
  let page = Memory.region + 0x2_0000
  guard let sleeper = Child(1, body: address_of_hostile_body_wait(), slice: false) else {
    return report.notTried(check)
  }
  Kernel.forge(Slot.other, name: Family.name(2), length: 2)
  let free = free_frames()
  guard let child = Child(0, body: Body.sleep, foreign: Slot.other), let frame = Memory.takeFrame(Slot.other) else {
    return
  }
  check.expect(
    Memory.write(Entry.page(frame), at: page, by: Memory.both(Slot.family, Slot.other)).value == 1, "mapping")
  sleeper[UA_WORD2] = page
  sleeper[UA_WORD3] = UInt64.max
  check.expect(Kernel.call(.sliceAllocate, Slot.family, UInt64.max, sleeper.handle).value != nil, "a slice")
  check.expect(waitUntil(turns: 1000) { sleeper.isAsleep }, "it does not sleep")
  check.expect(UInt64(Information.frame(frame).pins), equals: 1, "pins")
  child.kill()
  check.expect(waitUntil(turns: 20_000) { free_frames() == free - 1 }, "all but that frame", free - free_frames())
  letOthersRun(100)
  check.expect(UInt64(Information.frame(frame).type), equals: UInt64(APUS_FRAME_ORDINARY), "the frame that is slept on")
  check.expect(sleeper.kill().value == 0, "ending the sleeper")
  balance(free, &check)
  // If the kernel does not, so that the checks after this one start from a balanced ledger.
  Memory.write(0, at: page)
  Memory.giveBack(frame, Slot.other)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

private func ownTablesGone(_ report: inout Report) {
  var check = Check("death", "one that saws off its own page tables")
  Kernel.forge(Slot.other, name: Family.name(3), length: 2)
  let free = free_frames()
  guard let child = Child(0, body: address_of_hostile_body_saw(), foreign: Slot.other, capabilities: 1 << Slot.other)
  else { return report.notTried(check) }
  check.expect(waitUntil(turns: 5000) { !child.isLive }, "it lives")
  check.expect(child.record.last_cause & 0xff, equals: 14, "the cause")
  balance(free, &check)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

private func staleHandles(_ report: inout Report) {
  var check = Check("death", "handles of the dead")
  guard let child = Child(0, body: Body.sleep) else { return report.notTried(check) }
  child.kill()
  let handle = child.handle
  let before = Snapshot()
  check.expect(Kernel.call(.sliceAllocate, Slot.family, UInt64.max, handle).error == .noSuchResource, "a slice")
  check.expect(Kernel.call(.environmentKill, Slot.family, handle).error == .noSuchResource, "killing")
  check.expect(
    Kernel.call(.capabilityGrant, Slot.family, Slot.family, handle, 3).error == .noSuchResource, "a grant")
  check.expect(Kernel.yield(to: handle).error == .noSuchResource, "a yield")
  check.expect(Kernel.sleep(deadline: UInt64.max, target: handle).error == .noSuchResource, "a sleep")
  check.expect(Kernel.call(.environmentKill, 0, 0, handle).error == .noSuchResource, "an own end in its favour")
  before.compare(with: Snapshot(), &check)
  // The slot is used again, under another handle.
  guard let next = Child(0, body: Body.sleep) else { return report.notTried(check) }
  check.expect(Information.slot(of: next.handle), equals: Information.slot(of: handle), "its slot is used again")
  check.expect(next.handle != handle, "its handle is used again", handle)
  check.expect(Kernel.call(.environmentKill, Slot.family, handle).error == .noSuchResource, "killing the next by it")
  check.expect(next.isLive, "the next one has ended")
  next.kill()
  report.finish(check)
}

private func environmentsRunOut(_ report: inout Report) {
  var check = Check("death", "environments run out, and come back")
  let used = Information.environmentsInUse
  let free = free_frames()
  guard let frame = Memory.takeFrame() else { return report.notTried(check) }
  let root = Information.ownRoot
  func create() -> Answer {
    Kernel.call(.environmentCreate, Slot.family, root, frame, Child.uarea(of: 8), 0)
  }
  // The rest is for others.
  Kernel.forge(Slot.other, name: Family.name(4), length: 2)
  var made: UInt64 = 0
  var last = create()
  while last.value != nil {
    made += 1
    last = create()
  }
  check.expect(last.error == .quotaExceeded, "the answer in the end", last.raw)
  let total = Information.page.environment_count
  check.expect(made >= total / 2 && made + used <= total, "environments made", made)
  let before = Snapshot()
  check.expect(create().error == .quotaExceeded, "the answer after that")
  before.compare(with: Snapshot(), &check)
  let left = Child(0, body: Body.sleep, foreign: Slot.other)
  check.expect(left != nil, "another family gets none")
  left?.kill()
  var ended: UInt64 = 0
  for slot in 0..<total {
    let record = Information.environment(slot: slot)
    guard record.state != UInt32(APUS_ENVIRONMENT_FREE), record.uarea_address == Child.uarea(of: 8) else { continue }
    if Kernel.call(.environmentKill, Slot.family, UInt64(record.generation) << 32 | (slot + 1)).value == 0 {
      ended += 1
    }
  }
  check.expect(ended, equals: made, "environments ended")
  check.expect(
    waitUntil(turns: 10_000) { Information.environmentsInUse == used }, "slots in use", Information.environmentsInUse)
  check.expect(Memory.giveBack(frame).value == 1, "the frame of their u-areas")
  balance(free, &check)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

private func framesRunOut(_ report: inout Report) {
  var check = Check("death", "frames run out, and come back")
  Kernel.forge(Slot.other, name: Family.name(5), length: 2)
  let free = free_frames()
  guard let child = Child(0, body: Body.sleep, foreign: Slot.other) else { return report.notTried(check) }
  // With a budget of everything that is left.
  Budget.collect()
  Budget.giveAll(.frames, to: Family.name(5) >> 48)
  var taken: UInt64 = 0
  var answer = Kernel.call(.frameAllocate, Slot.other, Memory.list, 64, 0)
  while let count = answer.value, count > 0 {
    taken += count
    answer = Kernel.call(.frameAllocate, Slot.other, Memory.list, 64, 0)
  }
  check.expect(answer.error == .exhausted, "the answer in the end", answer.raw)
  check.expect(free_frames(), equals: 0, "free frames then")
  let before = Snapshot()
  check.expect(
    Kernel.call(.frameAllocate, Slot.family, Memory.list, 1, 0).error == .exhausted, "another family's answer")
  check.expect(Kernel.call(.frameAllocate, Slot.family, Memory.list, 0, 0).raw, equals: 0, "nothing is always there")
  before.compare(with: Snapshot(), &check)
  check.expect(taken > free / 2, "frames taken", taken)
  child.kill()
  balance(free, &check)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}
