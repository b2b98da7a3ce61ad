// SPDX-License-Identifier: Apache-2.0
// MemoryRules.swift: what may be mapped and freed, what frames hold, and what the processor then really allows.

import ApusABI

/// The authority and the page that most trials use.
var trialCaps: UInt64 { Memory.both(Slot.family, Slot.family) }
var trialPage: UInt64 { Memory.region + 0x4_0000 }
private var both: UInt64 { trialCaps }
private var page: UInt64 { trialPage }

/// Whether a read of an address faults; the page fault's address has to be the access's own.
func faults(_ address: UInt64, writing: Bool = false) -> Bool {
  let file = Registers(address: address_of_hostile_file())
  Pattern.fill(file)
  file[REGISTER_RBX] = address
  file.rip = writing ? address_of_snippet_write() : address_of_snippet_read()
  let before = uarea_word(UInt32(UA_EXCEPTIONS))
  Plan.set(PLAN_GO_TO, address_of_hostile_probe_end())
  hostile_probe(file.address)
  Plan.set(PLAN_NONE)
  return uarea_word(UInt32(UA_EXCEPTIONS)) == before + 1 && mainRecord.vector == 14
    && mainRecord.faultAddress == address
}

/// A call that has to be refused with an error, and leave everything alone.
func refused(
  _ check: inout Check, _ error: SystemCallError, _ otherwise: StaticString, _ attempt: () -> Answer
) {
  let before = Snapshot()
  let answer = attempt()
  check.expect(answer.raw, equals: 0 &- UInt64(error.rawValue), otherwise)
  before.compare(with: Snapshot(), &check)
}

func memoryChecks(_ report: inout Report) {
  guard let frame = Memory.takeFrame() else {
    var check = Check("memory", "preparation")
    check.expect(false, "no memory")
    report.finish(check)
    return
  }
  let before = Information.page.frames_free
  whatMayBeMapped(frame, &report)
  bitsOfEntries(frame, &report)
  batches(frame, &report)
  accountsAndGuards(frame, &report)
  freeing(frame, &report)
  allocation(&report)
  tableChecks(frame, &report)
  translationCaches(frame, &report)
  var check = Check("memory", "everything given back")
  check.expect(Information.page.frames_free, equals: before, "free frames")
  check.expect(Memory.giveBack(frame).value == 1, "the frame")
  report.finish(check)
}

/// Maps one page with the given entry, through a list.
func map(_ entry: UInt64, by caps: UInt64 = trialCaps, at address: UInt64 = trialPage) -> Answer {
  Memory.write(entry, at: address, by: caps)
}

private func whatMayBeMapped(_ frame: UInt64, _ report: inout Report) {
  var check = Check("memory", "frames that nobody may map")
  let information = Information.page
  func eachWay(_ frame: UInt64, _ error: SystemCallError, _ otherwise: StaticString) {
    // Not even the root capability, which reaches every guard.
    refused(&check, error, otherwise) { map(Entry.page(frame)) }
    refused(&check, error, otherwise) { map(Entry.page(frame, writable: false)) }
    refused(&check, error, otherwise) { map(Entry.page(frame), by: Memory.both(Slot.family, Slot.root)) }
  }
  eachWay(Information.ownRoot, .wrongType, "the own root")
  for level in 1...UInt64(3) {
    let table = (OwnTables.entry(page, level: level + 1) & 0x000f_ffff_ffff_f000) >> 12
    eachWay(table, .wrongType, "a page table")
  }
  eachWay(0x100, .wrongType, "the kernel's first frame")
  eachWay(0, .wrongType, "frame 0")
  eachWay(0xb8, .wrongType, "a frame of the video memory")
  eachWay(firstFreeFrame(), .wrongType, "a free frame")
  eachWay(information.frame_count, .noSuchResource, "the first frame beyond memory")
  eachWay(0xfee00, information.frame_count > 0xfee00 ? .wrongType : .noSuchResource, "the local APIC")
  eachWay(0xff_ffff_ffff, .noSuchResource, "the last frame that an entry can name")
  // Every frame that the kernel owns, not only the first.
  var kernelFrames: UInt64 = 0
  var admitted: UInt64 = 0
  for number in 0..<information.frame_count where Information.frame(number).type == UInt8(APUS_FRAME_KERNEL) {
    kernelFrames += 1
    if map(Entry.page(number), by: Memory.both(Slot.family, Slot.root)).value != nil { admitted += 1 }
  }
  check.expect(kernelFrames > 16, "frames that the kernel owns", kernelFrames)
  check.expect(admitted, equals: 0, "frames of the kernel's that could be mapped")
  report.finish(check)
}

private func bitsOfEntries(_ frame: UInt64, _ report: inout Report) {
  var check = Check("memory", "bits that an entry may not have")
  // Write-through, cache-disable, PAT, global; the reserved address bits are frames beyond memory.
  let forbidden: [5 of UInt64] = [8, 0x10, 0x18, 0x80, 0x100]
  for index in forbidden.indices {
    let bit = forbidden[index]
    refused(&check, .invalid, "a forbidden bit in pagesWrite") { map(Entry.page(frame) | bit) }
  }
  check.expect(map(Entry.page(frame)).value == 1, "mapping without them")
  for index in forbidden.indices {
    let bit = forbidden[index]
    refused(&check, .invalid, "a forbidden bit set by pagesProtect") {
      Kernel.call(.pagesProtect, both, Information.ownRoot, page, 1 | bit << 16, UInt64.max)
    }
    refused(&check, .invalid, "present or user set by pagesProtect") {
      Kernel.call(.pagesProtect, both, Information.ownRoot, page, 1 | (Entry.user | Entry.present) << 16, UInt64.max)
    }
  }
  let kept: [6 of UInt64] = [1, 4, 1 << 12, 1 << 40, 0x80, 0x100]
  for index in kept.indices {
    let bit = kept[index]
    refused(&check, .invalid, "a bit that pagesProtect may not clear") {
      Kernel.call(.pagesProtect, both, Information.ownRoot, page, 1, ~bit)
    }
  }
  refused(&check, .invalid, "a mask of zeroes") {
    Kernel.call(.pagesProtect, both, Information.ownRoot, page, 1, 0)
  }
  check.expect(map(0).value == 1, "unmapping")
  // What may be chosen arrives as it is; user is always set; an entry without the present bit becomes zero.
  let chosen = Entry.page(frame) | 0xe00 | 0x7ff0_0000_0000_0000
  check.expect(map(chosen).value == 1, "software bits and a protection key")
  check.expect(OwnTables.entry(page), equals: chosen | Entry.user, "the entry with software bits and a key")
  check.expect(map(chosen & ~Entry.present).value == 1, "an entry without the present bit")
  check.expect(OwnTables.entry(page), equals: 0, "the entry without the present bit")
  report.finish(check)
}

private func batches(_ frame: UInt64, _ report: inout Report) {
  var check = Check("memory", "a batch with one bad entry changes nothing")
  let bad: [4 of UInt64] = [
    Entry.page(Information.ownRoot), Entry.page(Information.page.frame_count), Entry.page(frame) | 0x100,
    Entry.page(0x100),
  ]
  let errors: [4 of SystemCallError] = [.wrongType, .noSuchResource, .invalid, .wrongType]
  let positions: [4 of UInt64] = [0, 1, 255, 511]
  for index in bad.indices {
    for position in positions.indices {
      fill_words(Memory.list, 512, Entry.page(frame))
      store64(Memory.list + positions[position] * 8, bad[index])
      refused(&check, errors[index], "answer") {
        Kernel.call(
          .pagesWrite, both, Information.ownRoot, Memory.region + 0x8_0000, 256,
          Memory.list + (positions[position] > 255 ? 2048 : 0))
      }
    }
  }
  fill_words(Memory.list, 512, Entry.page(frame))
  let count = Kernel.call(.pagesWrite, both, Information.ownRoot, Memory.region + 0x8_0000, 200, Memory.list)
  check.expect(count.raw, equals: 200, "a good batch")
  check.expect(UInt64(Information.frame(frame).mappings), equals: 200, "mappings counted")
  check.expect(UInt64(Information.frame(frame).writable_mappings), equals: 200, "writable mappings counted")
  fill_words(Memory.list, 512, 0)
  let unmapped = Kernel.call(.pagesWrite, both, Information.ownRoot, Memory.region + 0x8_0000, 256, Memory.list)
  check.expect(unmapped.raw, equals: 256, "unmapping")
  check.expect(UInt64(Information.frame(frame).mappings), equals: 0, "mappings left")
  check.expect(UInt64(Information.frame(frame).writable_mappings), equals: 0, "writable mappings left")
  // The end of the user half, and a batch that would pass it.
  fill_words(Memory.list, 2, Entry.page(frame))
  refused(&check, .noTable, "the last page without a table") {
    Kernel.call(.pagesWrite, both, Information.ownRoot, UInt64(APUS_USER_LIMIT) - 4096, 1, Memory.list)
  }
  refused(&check, .invalid, "a batch over the limit") {
    Kernel.call(.pagesWrite, both, Information.ownRoot, UInt64(APUS_USER_LIMIT) - 4096, 2, Memory.list)
  }
  report.finish(check)
}

/// Another account's frames, longer guards, read-only capabilities.
private func accountsAndGuards(_ frame: UInt64, _ report: inout Report) {
  var check = Check("memory", "frames of another account")
  Kernel.forge(Slot.other, name: 0x0021 << 48, length: 2)
  guard let foreign = Memory.takeFrame(Slot.other) else { return report.notTried(check) }
  check.expect(UInt64(Information.frame(foreign).account), equals: 0x21, "its account")
  refused(&check, .denied, "mapped writable") { map(Entry.page(foreign)) }
  refused(&check, .denied, "mapped read-only") { map(Entry.page(foreign, writable: false)) }
  refused(&check, .denied, "freed") { Memory.giveBack(foreign) }
  refused(&check, .denied, "guarded") { Kernel.call(.frameGuard, Slot.family, foreign, 3, 0x0001_01 << 40) }
  refused(&check, .denied, "made a table") {
    Kernel.call(.tableInstall, Slot.family, Information.ownRoot, Memory.region + 0x60_0000, 1, foreign)
  }
  refused(&check, .denied, "made a table under the other name") {
    Kernel.call(.tableInstall, Slot.other, Information.ownRoot, Memory.region + 0x60_0000, 1, foreign)
  }
  refused(&check, .denied, "made a u-area") {
    Kernel.call(.environmentCreate, Slot.family, Information.ownRoot, foreign, Child.uarea(of: 9), 0)
  }
  refused(&check, .denied, "an environment of the other account in this address space") {
    Kernel.call(.environmentCreate, Slot.other, Information.ownRoot, foreign, Child.uarea(of: 9), 0)
  }
  check.expect(
    map(Entry.page(foreign), by: Memory.both(Slot.family, Slot.other)).value == 1, "mapped with its own name")
  check.expect(map(0).value == 1, "unmapped")
  report.finish(check)

  var weak = Check("memory", "a read-only capability maps read-only")
  Kernel.forge(Slot.scratch, name: 0x0021 << 48, length: 2, rights: Right.read)
  let readOnly = Memory.both(Slot.family, Slot.scratch)
  refused(&weak, .denied, "writable") { map(Entry.page(foreign), by: readOnly) }
  weak.expect(map(Entry.page(foreign, writable: false), by: readOnly).value == 1, "read-only")
  refused(&weak, .denied, "made writable") {
    Kernel.call(.pagesProtect, readOnly, Information.ownRoot, page, 1 | Entry.writable << 16, UInt64.max)
  }
  weak.expect(!faults(page) && faults(page, writing: true), "what the processor allows")
  weak.expect(map(0).value == 1, "unmapped")
  Kernel.call(.capabilityDrop, Slot.scratch)
  report.finish(weak)

  var guards = Check("memory", "longer guards")
  refused(&guards, .invalid, "the same guard") { Kernel.call(.frameGuard, Slot.family, frame, 2, 0x0001 << 48) }
  refused(&guards, .invalid, "a shorter guard") { Kernel.call(.frameGuard, Slot.family, frame, 0, 0) }
  refused(&guards, .denied, "a guard beside it") { Kernel.call(.frameGuard, Slot.family, frame, 3, 0x0002_01 << 40) }
  refused(&guards, .wrongType, "a guard on a page table") {
    Kernel.call(.frameGuard, Slot.family, Information.ownRoot, 3, 0x0001_01 << 40)
  }
  guard let longer = Memory.takeFrame() else { return report.notTried(guards) }
  guards.expect(Kernel.call(.frameGuard, Slot.family, longer, 4, 0x0001_0203 << 32).raw, equals: 0, "a longer guard")
  Kernel.forge(Slot.scratch, name: 0x0001_0204 << 32, length: 4)
  refused(&guards, .denied, "mapped by a sibling") {
    map(Entry.page(longer), by: Memory.both(Slot.family, Slot.scratch))
  }
  Kernel.forge(Slot.scratch, name: 0x0001_0203 << 32, length: 4)
  guards.expect(map(Entry.page(longer), by: Memory.both(Slot.family, Slot.scratch)).value == 1, "mapped by its name")
  guards.expect(map(0).value == 1, "unmapped")
  Kernel.call(.capabilityDrop, Slot.scratch)
  guards.expect(Memory.giveBack(longer).value == 1, "freed by the prefix")
  guards.expect(Memory.giveBack(foreign, Slot.other).value == 1, "the other account's frame given back")
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(guards)
}

private func freeing(_ frame: UInt64, _ report: inout Report) {
  var check = Check("memory", "frames that cannot be freed")
  check.expect(map(Entry.page(frame, writable: false)).value == 1, "mapping")
  refused(&check, .inUse, "a mapped frame") { Memory.giveBack(frame) }
  refused(&check, .inUse, "a mapped frame as a table") {
    Kernel.call(.tableInstall, Slot.family, Information.ownRoot, Memory.region + 0x60_0000, 1, frame)
  }
  refused(&check, .inUse, "a mapped frame as a root") { Kernel.call(.tableInstall, Slot.family, 0, 0, 4, frame) }
  check.expect(map(0).value == 1, "unmapping")
  refused(&check, .wrongType, "the root") { Memory.giveBack(Information.ownRoot) }
  refused(&check, .wrongType, "a page table") {
    Memory.giveBack((OwnTables.entry(page, level: 2) & 0x000f_ffff_ffff_f000) >> 12)
  }
  refused(&check, .wrongType, "a free frame") { Memory.giveBack(firstFreeFrame()) }
  refused(&check, .wrongType, "the kernel's frame") { Memory.giveBack(0x100, Slot.root) }
  refused(&check, .inUse, "the own u-area") { Memory.giveBack(OwnTables.frame(UInt64(APUS_LIBOS_BASE))) }
  report.finish(check)

  var pinned = Check("memory", "a pinned frame")
  guard let child = Child(0, body: Body.sleep, slice: false) else { return report.notTried(pinned) }
  pinned.expect(UInt64(Information.frame(child.uareaFrame).pins), equals: 1, "pins of a u-area")
  pinned.expect(map(0, at: child.uarea).value == 1, "unmapping it")
  refused(&pinned, .inUse, "freed") { Memory.giveBack(child.uareaFrame) }
  refused(&pinned, .inUse, "made a table") {
    Kernel.call(.tableInstall, Slot.family, Information.ownRoot, Memory.region + 0x60_0000, 1, child.uareaFrame)
  }
  pinned.expect(child.kill().value == 0, "killing")
  pinned.expect(UInt64(Information.frame(child.uareaFrame).pins), equals: 0, "pins after its end")
  pinned.expect(Memory.giveBack(child.uareaFrame).value == 1, "giving it back")
  pinned.expect(Child.release(0), "the other pages")
  report.finish(pinned)

  var lists = Check("memory", "lists with a bad frame")
  guard let other = Memory.takeFrame() else { return report.notTried(lists) }
  func refusedList(_ error: SystemCallError, _ last: UInt64, _ otherwise: StaticString) {
    store64(Memory.list, frame)
    store64(Memory.list + 8, other)
    store64(Memory.list + 16, last)
    refused(&lists, error, otherwise) { Kernel.call(.frameFree, Slot.family, Memory.list, 3) }
  }
  refusedList(.invalid, frame, "the same frame twice")
  refusedList(.invalid, other, "neighbours that are the same")
  refusedList(.wrongType, Information.ownRoot, "a table at the end")
  refusedList(.noSuchResource, UInt64.max, "a number that is no frame")
  lists.expect(Memory.giveBack(other).value == 1, "giving back")
  refused(&lists, .wrongType, "giving back again") { Memory.giveBack(other) }
  report.finish(lists)
}

private func allocation(_ report: inout Report) {
  var check = Check("memory", "taking frames by name")
  let free = firstFreeFrame()
  func named(_ first: UInt64, _ second: UInt64) -> Answer {
    store64(Memory.list, first)
    store64(Memory.list + 8, second)
    return Kernel.call(.frameAllocate, Slot.family, Memory.list, 2, FrameAllocateFlags.named.rawValue)
  }
  refused(&check, .invalid, "the same frame twice") { named(free, free) }
  refused(&check, .inUse, "an owned frame") { named(free, Information.ownRoot) }
  refused(&check, .noSuchResource, "the kernel's frame") { named(free, 0x100) }
  refused(&check, .noSuchResource, "a frame beyond memory") { named(free, Information.page.frame_count) }
  refused(&check, .noSuchResource, "frame 0") { named(free, 0) }
  store64(Memory.list, free)
  let one = Kernel.call(.frameAllocate, Slot.family, Memory.list, 1, FrameAllocateFlags.named.rawValue)
  check.expect(one.raw, equals: 1, "a free one")
  check.expect(UInt64(Information.frame(free).account), equals: 1, "its account")
  report.finish(check)

  // Contents: zeroed for a new owner and on request; the own old contents stay only if that was asked for.
  var contents = Check("memory", "contents of fresh frames")
  func word(_ frame: UInt64) -> UInt64 {
    guard map(Entry.page(frame)).value == 1 else { return 1 }
    let word = load64(page + 2048)
    _ = map(0)
    return word
  }
  func soil(_ frame: UInt64) {
    guard map(Entry.page(frame)).value == 1 else { return }
    fill_words(page, 512, 0x5ec1_e7)
    _ = map(0)
  }
  func takeNamed(_ slot: UInt64, flags: UInt64) -> Bool {
    store64(Memory.list, free)
    return Kernel.call(.frameAllocate, slot, Memory.list, 1, flags | 1).value == 1
  }
  soil(free)
  contents.expect(Memory.giveBack(free).value == 1 && takeNamed(Slot.family, flags: 0), "taking it again")
  contents.expect(word(free), equals: 0, "old contents of the own frame")
  soil(free)
  contents.expect(Memory.giveBack(free).value == 1 && takeNamed(Slot.family, flags: 2), "taking it again, dirty")
  contents.expect(word(free), equals: 0x5ec1_e7, "own contents that were asked for")
  contents.expect(Memory.giveBack(free).value == 1, "giving it back")
  Kernel.forge(Slot.other, name: 0x0022 << 48, length: 2)
  contents.expect(takeNamed(Slot.other, flags: 2), "another account takes it")
  contents.expect(map(Entry.page(free), by: Memory.both(Slot.family, Slot.other)).value == 1, "mapping it")
  contents.expect(load64(page + 2048), equals: 0, "another account's contents, though dirty was asked for")
  contents.expect(sum_words(page, 512, 0), equals: 0, "the sum of a zeroed page")
  contents.expect(map(0).value == 1 && Memory.giveBack(free, Slot.other).value == 1, "giving it back")
  Kernel.forge(Slot.other, name: 0x0001_01 << 40, length: 3)
  contents.expect(takeNamed(Slot.other, flags: 2), "a longer name takes it")
  contents.expect(word(free), equals: 0, "contents under a longer name, though dirty was asked for")
  contents.expect(Memory.giveBack(free).value == 1, "giving it back for good")
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(contents)
}

/// What is unmapped or protected is so at once, whatever the processor had cached.
private func translationCaches(_ frame: UInt64, _ report: inout Report) {
  var check = Check("memory", "nothing stale is cached")
  func protect(_ set: UInt64, _ keep: UInt64, _ count: UInt64 = 1) -> Bool {
    Kernel.call(.pagesProtect, both, Information.ownRoot, page, count | set << 16, keep).raw == count
  }
  for _ in 0..<20 {
    check.expect(map(Entry.page(frame)).value == 1, "mapping")
    store8(page, 1)
    check.expect(protect(0, ~Entry.writable), "write protection")
    check.expect(faults(page, writing: true), "writable after write protection")
    check.expect(!faults(page), "unreadable after write protection")
    check.expect(protect(Entry.writable, UInt64.max), "end of write protection")
    check.expect(!faults(page, writing: true), "not writable again")
    check.expect(map(0).value == 1, "unmapping")
    check.expect(faults(page), "readable after unmapping")
  }
  // Another frame at the same address; an executable page that is no longer; many pages at once.
  guard let other = Memory.takeFrame() else { return report.notTried(check) }
  check.expect(map(Entry.page(frame)).value == 1, "mapping the first")
  store64(page, 0x1111)
  check.expect(map(Entry.page(other)).value == 1, "mapping the second in its place")
  check.expect(load64(page), equals: 0, "what the second holds")
  store64(page, 0x2222)
  check.expect(map(Entry.page(frame)).value == 1, "mapping the first again")
  check.expect(load64(page), equals: 0x1111, "what the first holds")
  check.expect(map(0).value == 1, "unmapping it")
  check.expect(Memory.giveBack(other).value == 1, "giving back")
  report.finish(check)
  manyPages(65, frame, &report)
  manyPages(400, frame, &report)
}

/// The same for more pages than the kernel invalidates one by one.
private func manyPages(_ count: UInt64, _ frame: UInt64, _ report: inout Report) {
  var check = Check("memory", "nothing stale is cached, pages at once:", count)
  let start = Memory.region + 0x4_0000
  func whole(_ entry: UInt64) -> Bool {
    fill_words(Memory.list, 512, entry)
    return Kernel.call(.pagesWrite, both, Information.ownRoot, start, count, Memory.list).raw == count
  }
  check.expect(whole(Entry.page(frame)), "mapping")
  for page in 0..<count { store8(start + page * 4096, 1) }
  check.expect(
    Kernel.call(.pagesProtect, both, Information.ownRoot, start, count, ~Entry.writable).raw, equals: count,
    "write protection")
  for page in 0..<count { check.expect(faults(start + page * 4096, writing: true), "writable after protection", page) }
  check.expect(whole(0), "unmapping")
  for page in 0..<count { check.expect(faults(start + page * 4096), "readable after unmapping", page) }
  report.finish(check)
}
