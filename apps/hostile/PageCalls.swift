// SPDX-License-Identifier: Apache-2.0
// PageCalls.swift: attacks on the calls that fill and release pages together with their frames, the short ways and the
// long ones.

import ApusABI

/// Present, writable, not executable: as `pagesFill` takes them.
private var bits: UInt64 { Entry.present | Entry.writable | 1 << 12 }
private var page: UInt64 { trialPage }
private var root: UInt64 { Information.ownRoot }

private func fill(
  _ at: UInt64 = trialPage, _ count: UInt64 = 1, by caps: UInt64 = trialCaps, bits: UInt64 = bits
) -> Answer {
  Kernel.call(.pagesFill, caps, root, at, count, bits)
}

private func release(
  _ at: UInt64 = trialPage, _ count: UInt64 = 1, by caps: UInt64 = trialCaps, flags: UInt64 = 0
) -> Answer {
  Kernel.call(.pagesRelease, caps, root, at, count, flags)
}

func pageCallChecks(_ report: inout Report) {
  let free = free_frames()
  filling(&report)
  releasing(&report)
  budgets(&report)
  sharing(&report)
  manyPages(&report)
  var check = Check("pages", "everything given back")
  balance(free, &check)
  report.finish(check)
}

private func filling(_ report: inout Report) {
  var check = Check("pages", "what cannot be filled")
  // One page takes the short way first, two only the long one.
  for count in 1...UInt64(2) {
    refused(&check, .denied, "an empty slot") { fill(page, count, by: Memory.both(Slot.empty, Slot.empty)) }
    refused(&check, .denied, "an empty slot for the frames") {
      fill(page, count, by: Memory.both(Slot.family, Slot.empty))
    }
    refused(&check, .denied, "the console's capability") {
      fill(page, count, by: Memory.both(Slot.console, Slot.console))
    }
    check.expect(fill(page, count, by: 8).isFault && fill(page, count, by: 8 << 8).isFault, "slot 8")
    Kernel.forge(Slot.scratch2, name: 0x0001 << 48, length: 2, rights: Right.read | Right.grant)
    refused(&check, .denied, "no right to write") { fill(page, count, by: Memory.both(Slot.scratch2, Slot.scratch2)) }
    refused(&check, .denied, "no right to write frames") {
      fill(page, count, by: Memory.both(Slot.family, Slot.scratch2))
    }
    Kernel.forge(Slot.scratch2, name: 0x0001 << 48, length: 2, rights: Right.write)
    refused(&check, .denied, "no right to read") { fill(page, count, by: Memory.both(Slot.scratch2, Slot.scratch2)) }
    Kernel.forge(Slot.scratch2, name: 0x0001_77 << 40, length: 3)
    refused(&check, .denied, "a longer name") { fill(page, count, by: Memory.both(Slot.scratch2, Slot.scratch2)) }
    Kernel.call(.capabilityDrop, Slot.scratch2)
    refused(&check, .invalid, "not present") { fill(page, count, bits: Entry.writable) }
    let forbidden: [6 of UInt64] = [Entry.user, 8, 0x10, 0x80, 0x100, 1 << 13]
    for index in forbidden.indices {
      refused(&check, .invalid, "a bit that may not be set") { fill(page, count, bits: bits | forbidden[index]) }
    }
    refused(&check, .invalid, "an address within a page") { fill(page + 8, count) }
    refused(&check, .invalid, "beyond the user half") { fill(UInt64(APUS_USER_LIMIT), count) }
    refused(&check, .invalid, "the page tables") { fill(OwnTables.entryAddress(page, level: 1) & ~0xfff, count) }
    refused(&check, .noTable, "no page table") { fill(0x0000_1234_5600_0000, count) }
    refused(&check, .wrongType, "a root that is none") {
      Kernel.call(.pagesFill, trialCaps, OwnTables.frame(UInt64(APUS_LIBOS_BASE)), page, count, bits)
    }
    refused(&check, .noSuchResource, "a root beyond memory") {
      Kernel.call(.pagesFill, trialCaps, root | 1 << 32, page, count, bits)
    }
    check.expect(fill(page, 1).value != nil, "filling")
    refused(&check, .inUse, "a page that is mapped") { fill(count == 1 ? page : page - 4096, count) }
    check.expect(release(page).raw == 1, "releasing")
  }
  refused(&check, .invalid, "no pages") { fill(page, 0) }
  refused(&check, .invalid, "65 pages") { fill(page, 65) }
  refused(&check, .invalid, "2^52 pages") { fill(page, 1 << 52) }
  report.finish(check)

  var made = Check("pages", "what filling makes")
  let answer = fill(page, 3)
  made.expect((answer.value ?? 0) & 0xffff, equals: 3, "pages")
  made.expect((answer.value ?? 0) >> 16, equals: OwnTables.frame(page), "the first frame")
  for index in 0..<UInt64(3) {
    let frame = Information.frame(OwnTables.frame(page + index * 4096))
    made.expect(UInt64(frame.type), equals: UInt64(APUS_FRAME_ORDINARY), "type")
    made.expect(UInt64(frame.account), equals: 1, "account")
    made.expect(frame.guard, equals: 0x0001 << 48, "guard")
    made.expect(UInt64(frame.mappings) << 32 | UInt64(frame.writable_mappings), equals: 1 << 32 | 1, "mappings")
    made.expect(sum_words(page + index * 4096, 512, 0), equals: 0, "contents")
    fill_words(page + index * 4096, 512, 0x5ec1_e7)
  }
  made.expect(release(page, 3).raw, equals: 3, "releasing")
  // The same frames come back first: they are zeroed all the same.
  made.expect(fill(page, 1).value != nil && sum_words(page, 512, 0) == 0, "contents of one page")
  fill_words(page, 512, 0x5ec1_e7)
  made.expect(release(page).raw == 1 && fill(page, 2).value != nil, "again")
  made.expect(sum_words(page, 1024, 0), equals: 0, "contents of two pages")
  made.expect(release(page, 2).raw, equals: 2, "releasing")
  // A range that crosses the end of its table is cut there.
  let last = Memory.region + 0x1f_f000
  let cut = fill(last, 3)
  made.expect((cut.value ?? 0) & 0xffff, equals: 1, "pages before the table's end")
  made.expect(release(last, 1).raw, equals: 1, "releasing it")
  report.finish(made)
}

private func releasing(_ report: inout Report) {
  var check = Check("pages", "what cannot be released, and what is not given back")
  for count in 1...UInt64(2) {
    check.expect(fill(page, count).value != nil, "filling")
    refused(&check, .denied, "an empty slot") { release(page, count, by: Memory.both(Slot.empty, Slot.empty)) }
    check.expect(release(page, count, by: 8).isFault, "slot 8")
    Kernel.forge(Slot.scratch2, name: 0x0001 << 48, length: 2, rights: Right.read | Right.grant)
    refused(&check, .denied, "no right to write") {
      release(page, count, by: Memory.both(Slot.scratch2, Slot.scratch2))
    }
    Kernel.forge(Slot.scratch2, name: 0x0001_77 << 40, length: 3)
    refused(&check, .denied, "a longer name") { release(page, count, by: Memory.both(Slot.scratch2, Slot.scratch2)) }
    refused(&check, .invalid, "an unknown flag") { release(page, count, flags: 2) }
    refused(&check, .invalid, "an address within a page") { release(page + 8, count) }
    refused(&check, .invalid, "beyond the user half") { release(UInt64(APUS_USER_LIMIT), count) }
    refused(&check, .invalid, "more than there is") { release(page, 1 << 36) }
    // Frames that the frame authority does not reach, that are pinned or mapped elsewhere, stay.
    let frame = OwnTables.frame(page)
    let free = free_frames()
    check.expect(
      release(page, count, by: Memory.both(Slot.family, Slot.scratch2)).raw, equals: count, "by a longer name")
    check.expect(free_frames(), equals: free, "frames that a longer name gave back")
    check.expect(OwnTables.entry(page), equals: 0, "the entry")
    check.expect(UInt64(Information.frame(frame).mappings), equals: 0, "its mappings")
    check.expect(map(Entry.page(frame)).value == 1, "mapping it again")
    check.expect(map(Entry.page(frame), at: page + 0x8000).value == 1, "mapping it twice")
    check.expect(release(page, 1).raw, equals: 1, "releasing one mapping of two")
    check.expect(UInt64(Information.frame(frame).type), equals: UInt64(APUS_FRAME_ORDINARY), "a frame that is mapped")
    store8(page + 0x8000, 1)
    check.expect(release(page + 0x8000, count, flags: 1).raw, equals: count, "keeping the frame")
    check.expect(UInt64(Information.frame(frame).type), equals: UInt64(APUS_FRAME_ORDINARY), "a frame that is kept")
    check.expect(faults(page + 0x8000), "readable after that")
    check.expect(map(Entry.page(frame)).value == 1, "mapping it again")
    store8(page, 1)
    check.expect(release(page, count).raw, equals: count, "releasing the last mapping")
    check.expect(UInt64(Information.frame(frame).type), equals: UInt64(APUS_FRAME_FREE), "a frame that nothing uses")
    check.expect(faults(page), "readable after release")
    // The second page's frame of the long way was kept by the longer name; find it by its guard and mappings.
    giveBackUnmapped()
  }
  Kernel.call(.capabilityDrop, Slot.scratch2)
  guard let child = Child(0, body: Body.sleep, slice: false) else { return report.notTried(check) }
  check.expect(release(child.uarea, 1).raw, equals: 1, "releasing a u-area")
  check.expect(UInt64(Information.frame(child.uareaFrame).type), equals: UInt64(APUS_FRAME_ORDINARY), "a pinned frame")
  child.kill()
  check.expect(Memory.giveBack(child.uareaFrame).value == 1 && Child.release(0), "giving back")
  report.finish(check)
}

/// Gives back the family's ordinary frames that nothing maps or pins.
private func giveBackUnmapped() {
  for number in 0..<Information.page.frame_count {
    let frame = Information.frame(number)
    if frame.type == UInt8(APUS_FRAME_ORDINARY), frame.account == 1, frame.mappings == 0, frame.pins == 0,
      frame.guard == 0x0001 << 48
    {
      Memory.giveBack(number)
    }
  }
}

private func budgets(_ report: inout Report) {
  var check = Check("pages", "filling up to the budget")
  Kernel.call(.capabilityForge, Slot.root, Slot.scratch2, 2 | Right.all << 8, 0x0037 << 48)
  let caps = Memory.both(Slot.family, Slot.scratch2)
  refused(&check, .quotaExceeded, "an account without a budget") { fill(page, 1, by: caps) }
  Budget.set(.frames, of: 0x0037, to: 2)
  check.expect((fill(page, 3, by: caps).value ?? 0) & 0xffff, equals: 2, "of three pages")
  check.expect(Budget.used(.frames, of: 0x0037), equals: 2, "what is booked")
  refused(&check, .quotaExceeded, "a third page") { fill(page + 0x8000, 1, by: caps) }
  check.expect(release(page, 2, by: caps).raw, equals: 2, "releasing")
  check.expect(Budget.used(.frames, of: 0x0037), equals: 0, "what is booked then")
  check.expect(Budget.set(.frames, of: 0x0037, to: 0).raw, equals: 0, "taking the budget back")
  Kernel.call(.capabilityDrop, Slot.scratch2)
  // The short way has a budget, too: the own one, made as small as what is used.
  Budget.giveAll(.frames, to: 0x0037)
  refused(&check, .quotaExceeded, "one page, without room") { fill(page) }
  check.expect(Budget.set(.frames, of: 0x0037, to: 0).raw, equals: 0, "taking the room back")
  report.finish(check)
}

/// A table that two addresses share: what is released at one of them is gone at the other.
private func sharing(_ report: inout Report) {
  var check = Check("pages", "release in a table with two links")
  let second = Memory.region + 0x60_0000
  let table = (OwnTables.entry(page, level: 2) & 0x000f_ffff_ffff_f000) >> 12
  check.expect(Kernel.call(.tableInstall, Slot.family, root, second, 1, table).raw, equals: 0, "a second link")
  for count in 1...UInt64(2) {
    check.expect(fill(page, count).value != nil, "filling")
    let other = second + (page & 0x1f_ffff)
    store64(other, 7)
    check.expect(load64(page), equals: 7, "what both show")
    check.expect(release(page, count).raw, equals: count, "releasing")
    check.expect(faults(page), "readable at the first address")
    check.expect(faults(other), "readable at the second address")
  }
  check.expect(Kernel.call(.tableRemove, Slot.family, root, second, 1).raw, equals: table, "unlinking")
  report.finish(check)
}

/// More pages than the kernel invalidates one by one, and more than one call does.
private func manyPages(_ report: inout Report) {
  var check = Check("pages", "many pages at once")
  let start = Memory.region + 0x4_0000
  var done: UInt64 = 0
  while done < 100, let answer = fill(start + done * 4096, min(64, 100 - done)).value { done += answer & 0xffff }
  check.expect(done, equals: 100, "filled")
  for index in 0..<UInt64(100) { store8(start + index * 4096, 1) }
  check.expect(release(start, 100).raw, equals: 100, "released")
  for index in 0..<UInt64(100) { check.expect(faults(start + index * 4096), "readable after release", index) }
  // Addresses without tables are passed over, in bounded steps.
  let answer = release(0x0000_1234_4000_0000, 1 << 30).value ?? 0
  check.expect(answer > 0 && answer < 1 << 30, "pages without tables", answer)
  report.finish(check)
}
