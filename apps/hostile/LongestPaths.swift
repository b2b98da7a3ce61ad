// SPDX-License-Identifier: Apache-2.0
// LongestPaths.swift: what takes the kernel longest: full tables, the largest batches, deaths of large families.
//
// The group `longest` only makes it happen; `tools/paths` counts the instructions of each stay in ring 0 meanwhile.

import ApusABI

func longestPathChecks(_ report: inout Report) {
  fullTimeline(&report)
  largestFamilies(&report)
  largestBatches(&report)
  longestTexts(&report)
}

private func end(_ environments: UInt64, of account: UInt64, by slot: UInt64) {
  for index in 0..<Information.page.environment_count {
    let record = Information.environment(slot: index)
    guard record.state == UInt32(APUS_ENVIRONMENT_RUNNABLE) || record.state == UInt32(APUS_ENVIRONMENT_SLEEPING),
      UInt64(record.account) == account, index != Information.ownSlot
    else { continue }
    Kernel.call(.environmentKill, slot, UInt64(record.generation) << 32 | (index + 1))
  }
}

/// Makes as many environments as there can be, all of which sleep on one word.
///
/// - Returns: How many there are.
private func makeSleepers(_ slot: UInt64, root: UInt64, frame: UInt64, uarea: UInt64) -> UInt64 {
  var made: UInt64 = 0
  while let handle = Kernel.call(.environmentCreate, slot, root, frame, uarea, 0).value {
    guard Kernel.call(.sliceAllocate, slot, UInt64.max, handle).value != nil else { break }
    made += 1
  }
  return made
}

/// Asks for everything that looks for somebody to run, while hundreds sleep.
private func lookForWork() {
  let slice = Information.page.slice_ticks
  for _ in 0..<10 { Kernel.yield() }
  for _ in 0..<3 { Kernel.sleep(deadline: time_stamp() + slice / 4) }
  var until = time_stamp() + 3 * slice
  while time_stamp() < until {}
  set_uarea_word(UInt32(APUS_UA_CRITICAL), 1)
  until = time_stamp() + 2 * slice
  while time_stamp() < until {}
  Kernel.yield()
}

private func fullTimeline(_ report: inout Report) {
  var check = Check("longest", "a timeline full of sleepers")
  let window = Memory.region + 0x1e_0000
  Kernel.forge(Slot.other, name: 0x0055 << 48, length: 2)
  guard let frame = Memory.mapFresh(at: window),
    let other = Child(
      0, body: Body.sleep, foreign: Slot.other,
      changing: { store64($0 + UInt64(APUS_UA_SLICE_BEGIN_ENTRY), address_of_hostile_sleeper_entry()) })
  else { return report.notTried(check) }
  Child.fill(window, seenAt: Child.uarea(of: 8), body: 0)
  store64(window + UInt64(APUS_UA_SLICE_BEGIN_ENTRY), address_of_hostile_sleeper_entry())
  var made = makeSleepers(Slot.family, root: Information.ownRoot, frame: frame, uarea: Child.uarea(of: 8))
  made += makeSleepers(Slot.other, root: other.root, frame: other.uareaFrame, uarea: other.uarea)
  check.expect(made + 2 >= Information.page.environment_count, "environments", made)
  letOthersRun(5)
  lookForWork()
  // Nothing left: each of these searches everything.
  check.expect(
    Kernel.call(.environmentCreate, Slot.family, Information.ownRoot, frame, Child.uarea(of: 8), 0).error == .exhausted,
    "one more environment")
  check.expect(
    Kernel.call(.sliceAllocate, Slot.family, UInt64.max, Information.ownHandle).isRefused, "one more slice")
  // All of them wake, and sleep again.
  Shared[31] = Shared[31] + 1
  letOthersRun(5)
  lookForWork()
  end(made, of: 1, by: Slot.family)
  end(made, of: 0x55, by: Slot.other)
  letOthersRun(50)
  check.expect(waitUntil { Information.environmentsInUse == 1 }, "environments that are left")
  check.expect(Memory.unmapAndGiveBack(window), "the frame of their u-area")
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

/// One of hundreds fails: its siblings are told, or end with it.
private func largestFamilies(_ report: inout Report) {
  for isInside in 0..<UInt64(2) {
    var check = Check("longest", "one of a large family fails inside its LibOS, or outside", isInside)
    Kernel.forge(Slot.other, name: (0x0056 + isInside) << 48, length: 2)
    guard
      let first = Child(
        0, body: Body.sleep, foreign: Slot.other,
        changing: { store64($0 + UInt64(APUS_UA_SLICE_BEGIN_ENTRY), address_of_hostile_sleeper_entry()) }),
      let failing = Child(
        1, body: address_of_hostile_body_fault(), foreign: Slot.other, slice: false,
        changing: {
          store64($0 + UInt64(APUS_UA_EXCEPTION_ENTRY), 0)
          store64($0 + UInt64(APUS_UA_NESTED_ENTRY), 0)
          // The entry leaves it set, as the body faults at once.
          if isInside == 1 { store64($0 + UInt64(APUS_UA_SLICE_BEGIN_ENTRY), 0) }
        })
    else { return report.notTried(check) }
    Budget.giveAll(.environments, to: 0x56 + isInside)
    Budget.giveAll(.slices, to: 0x56 + isInside)
    let made = makeSleepers(Slot.other, root: first.root, frame: first.uareaFrame, uarea: first.uarea)
    check.expect(made > Information.page.environment_count / 2, "environments", made)
    letOthersRun(5)
    Kernel.yield(to: failing.handle)
    letOthersRun(5)
    check.expect(!failing.isLive, "it lives")
    check.expect(first.isLive == (isInside == 0), "its family")
    end(made, of: 0x56 + isInside, by: Slot.other)
    check.expect(waitUntil(turns: 50_000) { Information.environmentsInUse == 1 }, "environments that are left")
    Kernel.call(.capabilityDrop, Slot.other)
    check.expect(
      waitUntil(turns: 50_000) { Budget.used(.frames, of: 0x56 + isInside) == 0 }, "frames that are left")
    Budget.collect()
    report.finish(check)
  }
  var check = Check("longest", "one that has every slice ends")
  guard let child = Child(0, body: Body.sleep) else { return report.notTried(check) }
  var slices: UInt64 = 0
  while Kernel.call(.sliceAllocate, Slot.family, UInt64.max, child.handle).value != nil { slices += 1 }
  check.expect(slices > Information.page.slice_count / 2, "slices", slices)
  lookForWork()
  child.kill()
  check.expect(Child.release(0), "its pages")
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

/// The most that one call takes, on two pages of list, two tables of pages and frames that are all different.
private func largestBatches(_ report: inout Report) {
  var check = Check("longest", "the largest batches")
  let both = Memory.both(Slot.family, Slot.family)
  let root = Information.ownRoot
  let place = Memory.region + 0x2000_0000
  let address = place + 0x10_0000  // half of it in the next table
  let list = Memory.list + 4096
  let frames = place + 0x40_0000
  guard Memory.makeTables(for: place, root: root), Memory.makeTables(for: place + 0x20_0000, root: root),
    Memory.makeTables(for: frames, root: root), Memory.mapFresh(at: frames) != nil,
    Memory.mapFresh(at: frames + 4096) != nil
  else { return report.notTried(check) }
  // 512 frames, 64 a time; the list lies across two pages.
  let kept = frames + 8
  for index in 0..<UInt64(8) {
    check.expect(
      Kernel.call(.frameAllocate, Slot.family, kept + index * 512, 64, 0).value == 64, "frames", index)
  }
  func write(_ bits: UInt64, order: UInt64 = 0) -> Answer {
    for index in 0..<UInt64(512) {
      let entry = bits == 0 ? 0 : load64(kept + (index ^ order) * 8) << 12 | bits
      store64(list + index * 8 - 2048, entry)
    }
    return Kernel.call(.pagesWrite, both, root, address, 512, list - 2048)
  }
  let readable = Entry.present | Entry.noExecute
  check.expect(write(readable).value == 512, "mapping")
  check.expect(write(readable | Entry.writable).value == 512, "making them writable")
  check.expect(write(readable | Entry.writable, order: 511).value == 512, "remapping to others")
  let change: UInt64 = 512 | 0 << 16
  check.expect(
    Kernel.call(.pagesProtect, both, root, address, change, ~Entry.writable).value == 512, "taking the right to write")
  check.expect(
    Kernel.call(.pagesProtect, both, root, address, change | Entry.writable << 16, UInt64.max).value == 512,
    "giving the right to write")
  check.expect(
    Kernel.call(.pagesProtect, both, root, address, change, ~(Entry.accessed | Entry.dirty)).value == 512, "bits")
  // The last of 512 is no good: everything is looked at, nothing done.
  store64(list - 2048 + 511 * 8, 1)
  check.expect(Kernel.call(.pagesWrite, both, root, address, 512, list - 2048).isRefused, "the last of a batch")
  check.expect(write(0).value == 512, "unmapping")
  let known = load64(kept)
  store64(kept, load64(kept + 8))
  check.expect(Kernel.call(.frameFree, Slot.family, kept, 512).isRefused, "a frame twice")
  store64(kept, known)
  check.expect(write(readable | Entry.writable).value == 512, "mapping again")
  check.expect(Kernel.call(.frameFree, Slot.family, kept, 512).error == .inUse, "frames that are mapped")
  // Tables full of mappings go at once.
  for half in 0..<UInt64(2) {
    let answer = Kernel.call(.tableRemove, Slot.family, root, place + half * 0x20_0000, 1)
    check.expect(answer.value != nil, "a table full of mappings", answer.raw)
    if let table = answer.value { Memory.giveBack(table) }
  }
  check.expect(Kernel.call(.frameFree, Slot.family, kept, 512).value == 512, "512 frames")
  for index in 0..<UInt64(64) { store64(list + index * 8, load64(kept + (63 - index) * 8)) }
  check.expect(
    Kernel.call(.frameAllocate, Slot.family, list, 64, FrameAllocateFlags.named.rawValue).value == 64, "64 by name")
  check.expect(Kernel.call(.frameFree, Slot.family, list, 64).value == 64, "64 back")
  check.expect(Memory.unmapAndGiveBack(frames) && Memory.unmapAndGiveBack(frames + 4096), "the lists")
  report.finish(check)
}

/// The longest record for the console, from across two pages, and the longest read.
private func longestTexts(_ report: inout Report) {
  var check = Check("longest", "the longest texts")
  let text = Memory.list + 2048
  for _ in 0..<4 {
    // The stream of log lines, which nobody shows.
    let answer = Kernel.call(.consoleWrite, Slot.console, UInt64(ConsoleStream.log.rawValue), text, 4096)
    check.expect(answer.value != nil, "a text of 4,096 bytes", answer.raw)
    letOthersRun(2)
  }
  check.expect(Kernel.call(.consoleRead, Slot.console, text, 4096).value != nil, "a read of 4,096 bytes")
  report.finish(check)
}
