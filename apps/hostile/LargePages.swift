// SPDX-License-Identifier: Apache-2.0
// LargePages.swift: pages of 2 MiB: what cannot be one, what keeps away from the table behind one, and how it ends.

import ApusABI

/// 512 frames side by side, mapped alike at an address of their own; one of them may be another account's.
struct LargePage {
  static var address: UInt64 { Memory.region + 0x800_0000 }
  static var size: UInt64 { 512 }
  /// Which page is the other account's, if one is.
  static var foreign: UInt64 { 77 }

  let first: UInt64
  let table: UInt64
  private let root = Information.ownRoot
  private let free = free_frames()
  private let isOwn: Bool

  /// Takes the frames, the highest that are free side by side, and maps them.
  init?(foreignOwner: UInt64? = nil) {
    isOwn = foreignOwner == nil
    guard Memory.makeTables(for: Self.address, root: root) else { return nil }
    var first = (Information.page.frame_count / Self.size) * Self.size
    repeat {
      guard first >= 2 * Self.size else { return nil }
      first -= Self.size
    } while !Self.isFree(first)
    self.first = first
    for index in 0..<Self.size {
      store64(Memory.list, first + index)
      let owner = index == Self.foreign ? foreignOwner ?? Slot.family : Slot.family
      guard Kernel.call(.frameAllocate, owner, Memory.list, 1, FrameAllocateFlags.named.rawValue).value == 1,
        Memory.write(Entry.page(first + index), at: Self.address(index), by: Memory.both(Slot.family, owner)).value == 1
      else { return nil }
    }
    table = OwnTables.entry(Self.address, level: 2) >> 12 & 0xf_ffff_ffff
  }

  private static func isFree(_ first: UInt64) -> Bool {
    for frame in first..<first + size where Information.frame(frame).type != UInt8(APUS_FRAME_FREE) { return false }
    return true
  }

  static func address(_ page: UInt64) -> UInt64 { address + page << 12 }
  /// The level-2 entry.
  var entry: UInt64 { OwnTables.entry(Self.address, level: 2) }
  var isLarge: Bool { entry & 0x81 == 0x81 }

  func promote() -> Answer { Kernel.call(.pagesPromote, Slot.family, root, Self.address) }
  func demote() -> Answer { Kernel.call(.pagesDemote, Slot.family, table) }

  /// Gives everything back that is left.
  func end(_ check: inout Check) {
    if isLarge { check.expect(demote().raw, equals: 0, "pages again, at the end") }
    let caps = Memory.both(Slot.family, Slot.family)
    check.expect(
      Kernel.call(.pagesRelease, caps, root, Self.address, Self.size, 0).value == Self.size, "giving the pages back")
    check.expect(Kernel.call(.tableRemove, Slot.family, root, Self.address, 1).value == table, "removing the table")
    check.expect(retry { Memory.giveBack(table) }.value == 1, "giving it back")
    // With several CPUs what was given back is free a little later.
    if isOwn { balance(free, &check) }
  }
}

func largePageChecks(_ report: inout Report) {
  largePage(&report)
  refusals(&report)
  hidden(&report)
  taken(&report)
  deaths(&report)
}

/// Memory through a large page, by the processor and by the kernel, and what the processor notes in its entry.
private func largePage(_ report: inout Report) {
  var check = Check("large", "a page of 2 MiB is the memory that it was made of")
  guard let page = LargePage() else { return report.notTried(check) }
  for index in 0..<LargePage.size { store64(LargePage.address(index) + 8, index * 3) }
  check.expect(page.promote().raw, equals: page.table, "making it")
  check.expect(page.entry & ~0x60, equals: Entry.page(page.first) | Entry.user | 0x80, "its entry")
  for index in 0..<LargePage.size where load64(LargePage.address(index) + 8) != index * 3 {
    check.expect(false, "what was in a page", index)
  }
  store64(LargePage.address(300) + 16, 0x55)
  check.expect(page.entry & 0x60, equals: Entry.accessed | Entry.dirty, "what the processor notes")
  check.expect(UInt64(Information.frame(page.first + 300).mappings), equals: 1, "mappings of a frame in it")
  // The kernel finds its way: a list across two of its pages, a word to sleep on in it.
  let list = LargePage.address(301) - 8
  check.expect(Kernel.call(.frameAllocate, Slot.family, list, 2, 0).value == 2, "a list in it")
  check.expect(retry { Kernel.call(.frameFree, Slot.family, list, 2) }.value == 2, "and back")
  store64(LargePage.address(302), 1)
  check.expect(
    Kernel.call(.sleep, LargePage.address(302), 1, time_stamp(), 0).raw, equals: 1, "a word in it to wait for")
  check.expect(page.demote().raw, equals: 0, "pages again")
  check.expect(OwnTables.entry(LargePage.address) & 0x60, equals: 0x60, "the marks are every page's now")
  check.expect(load64(LargePage.address(300) + 16), equals: 0x55, "what was written")
  check.expect(Memory.write(0, at: LargePage.address(300)).value == 1, "unmapping one of them")
  check.expect(faults(LargePage.address(300)), "the unmapped one reads")
  check.expect(load64(LargePage.address(301 + 1)), equals: 1, "its neighbours do not")
  check.expect(Memory.giveBack(page.first + 300).value == 1, "its frame")
  page.end(&check)
  report.finish(check)
}

/// What is no large page.
private func refusals(_ report: inout Report) {
  refusals("pagesPromote", .family, &report) {
    Kernel.call(.pagesPromote, $0, Information.ownRoot, Memory.region)
  }
  var check = Check("large", "what cannot become a large page")
  guard let page = LargePage() else { return report.notTried(check) }
  let root = Information.ownRoot
  func promote(_ address: UInt64) -> Answer { Kernel.call(.pagesPromote, Slot.family, root, address) }
  refused(&check, .invalid, "between two") { promote(LargePage.address(1)) }
  refused(&check, .invalid, "no page's address") { promote(LargePage.address + 8) }
  refused(&check, .invalid, "the kernel's half") { promote(0xffff_8000_0000_0000) }
  refused(&check, .invalid, "the own tables") { promote(UInt64(APUS_TABLES_BASE)) }
  refused(&check, .noTable, "nothing") { promote(LargePage.address + 0x20_0000) }
  refused(&check, .wrongType, "in a root that is none") {
    Kernel.call(.pagesPromote, Slot.family, page.first, LargePage.address)
  }
  refused(&check, .noSuchResource, "in a root beyond memory") {
    Kernel.call(.pagesPromote, Slot.family, 1 << 40, LargePage.address)
  }
  func without(_ index: UInt64, _ entry: UInt64, _ otherwise: StaticString) {
    check.expect(Memory.write(entry, at: LargePage.address(index)).value == 1, otherwise)
    refused(&check, .invalid, otherwise) { page.promote() }
    let good = Entry.page(page.first + index)
    check.expect(Memory.write(good, at: LargePage.address(index)).value == 1, "as it was")
  }
  without(0, 0, "the first is missing")
  without(511, 0, "the last is missing")
  without(5, Entry.page(page.first + 6), "a frame twice")
  without(511, Entry.page(page.first + 511, writable: false), "one is read-only")
  without(200, Entry.page(page.first + 200, executable: true), "one is executable")
  without(9, Entry.page(page.first + 9) | 1 << 59, "one has another key")
  let other = LargePage.address + 0x20_0000
  check.expect(Kernel.call(.tableInstall, Slot.family, root, other, 1, page.table).raw, equals: 0, "a second link")
  refused(&check, .inUse, "a table with two links") { page.promote() }
  check.expect(Kernel.call(.tableRemove, Slot.family, root, other, 1).value == page.table, "one link again")
  refused(&check, .invalid, "demoting what is no large page") { page.demote() }
  refused(&check, .wrongType, "demoting a frame") { Kernel.call(.pagesDemote, Slot.family, page.first) }
  refused(&check, .noSuchResource, "demoting beyond memory") { Kernel.call(.pagesDemote, Slot.family, UInt64.max) }
  check.expect(page.promote().raw, equals: page.table, "and yet it can")
  refused(&check, .noTable, "twice") { page.promote() }
  page.end(&check)
  report.finish(check)
}

/// The table behind a large page still says what the page maps: whoever could change it would have memory of anybody's.
private func hidden(_ report: inout Report) {
  var check = Check("large", "the table behind a large page is out of reach")
  guard let page = LargePage() else { return report.notTried(check) }
  check.expect(page.promote().raw, equals: page.table, "making it")
  guard let spare = Memory.takeFrame() else { return report.notTried(check) }
  let root = Information.ownRoot
  let caps = Memory.both(Slot.family, Slot.family)
  let address = LargePage.address
  refused(&check, .inUse, "linking it elsewhere") {
    Kernel.call(.tableInstall, Slot.family, root, address + 0x20_0000, 1, page.table)
  }
  refused(&check, .tableExists, "another table in its place") {
    Kernel.call(.tableInstall, Slot.family, root, address, 1, spare)
  }
  refused(&check, .noTable, "unlinking it") { Kernel.call(.tableRemove, Slot.family, root, address, 1) }
  refused(&check, .inUse, "unlinking the table above") { Kernel.call(.tableRemove, Slot.family, root, address, 2) }
  refused(&check, .noTable, "writing one of its entries") { Memory.write(Entry.page(spare), at: address) }
  refused(&check, .noTable, "protecting one of its pages") {
    Kernel.call(.pagesProtect, caps, root, address, 1 | Entry.writable << 16, UInt64.max)
  }
  refused(&check, .noTable, "filling one of its pages") {
    Kernel.call(.pagesFill, caps, root, address, 1, Entry.present)
  }
  refused(&check, .wrongType, "freeing it") { Memory.giveBack(page.table) }
  refused(&check, .inUse, "freeing one of its frames") { Memory.giveBack(page.first + 3) }
  refused(&check, .wrongType, "mapping it") { Memory.write(Entry.page(page.table), at: trialPage) }
  check.expect(
    Kernel.call(.pagesRelease, caps, root, address, LargePage.size, 0).value == LargePage.size, "releasing passes over")
  check.expect(page.isLarge && UInt64(Information.frame(page.first).mappings) == 1, "and leaves it")
  refusals("pagesDemote", .family, &report) { Kernel.call(.pagesDemote, $0, page.table) }
  // Another family's name reaches neither the page nor the table.
  Kernel.forge(Slot.other, name: 0x0023 << 48, length: 2)
  refused(&check, .denied, "demoting it with another name") { Kernel.call(.pagesDemote, Slot.other, page.table) }
  Kernel.call(.capabilityDrop, Slot.other)
  check.expect(Memory.giveBack(spare).value == 1, "giving back")
  page.end(&check)
  report.finish(check)
}

/// A frame in a large page is taken from another account by force: the page falls apart, the rest stays.
private func taken(_ report: inout Report) {
  var check = Check("large", "a frame taken by force leaves pages")
  let free = free_frames()
  guard let debtor = Debtor(0x00a0, vector: true), let page = LargePage(foreignOwner: Slot.other) else {
    return report.notTried(check)
  }
  // More than it keeps whatever is asked, and which is to go first.
  for _ in 0..<50 where Memory.takeFrame(Slot.other) == nil { return report.notTried(check) }
  debtor.setList(0, Debtor.entry(Debtor.frames, page.first + LargePage.foreign))
  debtor[3] = 1
  check.expect(page.promote().raw, equals: page.table, "making it")
  store64(LargePage.address(LargePage.foreign), 1)
  store64(LargePage.address(LargePage.foreign + 1), 2)
  check.expect(debtor.ask(1).raw, equals: 1, "asking")
  check.expect(debtor.waitForTaking(), "it is not taken")
  check.expect(!page.isLarge, "the page is still large")
  check.expect(faults(LargePage.address(LargePage.foreign)), "the page that was taken reads")
  check.expect(load64(LargePage.address(LargePage.foreign + 1)), equals: 2, "its neighbour")
  check.expect(
    waitUntil { Information.frameType(page.first + LargePage.foreign) == UInt8(APUS_FRAME_FREE) }, "the frame")
  refused(&check, .invalid, "a large page with a hole") { page.promote() }
  page.end(&check)
  debtor.end(free, &check)
  report.finish(check)
}

/// The owner of a frame in a large page dies.
private func deaths(_ report: inout Report) {
  var check = Check("large", "an owner's death leaves pages")
  let free = free_frames()
  guard let debtor = Debtor(0x00a1), let page = LargePage(foreignOwner: Slot.other) else {
    return report.notTried(check)
  }
  check.expect(page.promote().raw, equals: page.table, "making it")
  store64(LargePage.address(LargePage.foreign), 1)
  debtor.child.kill()
  check.expect(waitUntil(turns: 200_000) { !page.isLarge }, "the page is still large")
  check.expect(
    waitUntil(turns: 200_000) { Information.frameType(page.first + LargePage.foreign) == UInt8(APUS_FRAME_FREE) },
    "the frame stays taken")
  check.expect(faults(LargePage.address(LargePage.foreign)), "the dead one's page reads")
  page.end(&check)
  debtor.end(free, &check)
  report.finish(check)
}
