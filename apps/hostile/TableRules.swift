// SPDX-License-Identifier: Apache-2.0
// TableRules.swift: page tables, whose they are, what shows them, and the half that is the kernel's.

import ApusABI

private var both: UInt64 { trialCaps }
private var page: UInt64 { trialPage }

/// Everything about page tables.
func tableChecks(_ frame: UInt64, _ report: inout Report) {
  tables(frame, &report)
  ownTables(frame, &report)
  kernelHalf(frame, &report)
}

private func tables(_ frame: UInt64, _ report: inout Report) {
  var check = Check("memory", "rules of page tables")
  let root = Information.ownRoot
  let address = Memory.region + 0x60_0000
  let far: UInt64 = 0x0000_1234_4000_0000
  func install(_ level: UInt64, _ at: UInt64, _ frame: UInt64) -> Answer {
    Kernel.call(.tableInstall, Slot.family, root, at, level, frame)
  }
  func remove(_ level: UInt64, _ at: UInt64) -> Answer { Kernel.call(.tableRemove, Slot.family, root, at, level) }
  refused(&check, .noTable, "a table whose parent is missing") { install(1, far, frame) }
  refused(&check, .noTable, "a level-2 table whose parent is missing") { install(2, far, frame) }
  refused(&check, .noTable, "removing what is not there") { remove(1, address) }
  refused(&check, .tableExists, "a table where one is") { install(1, Memory.region, frame) }
  refused(&check, .invalid, "a kernel address") { install(3, 0xffff_8000_0000_0000, frame) }
  refused(&check, .invalid, "the recursive slot") { install(3, UInt64(APUS_TABLES_BASE), frame) }
  refused(&check, .invalid, "the limit itself") { install(1, UInt64(APUS_USER_LIMIT), frame) }
  refused(&check, .wrongType, "the root inside itself") { install(3, far, root) }
  refused(&check, .inUse, "removing a level-2 table that is not empty") { remove(2, Memory.region) }
  refused(&check, .inUse, "removing the root") { remove(4, 0) }
  refused(&check, .invalid, "level 5") { remove(5, 0) }

  check.expect(install(1, address, frame).raw, equals: 0, "installing")
  check.expect(UInt64(Information.frame(frame).type), equals: UInt64(APUS_FRAME_TABLE1), "its type")
  check.expect(UInt64(Information.frame(frame).mappings), equals: 1, "its links")
  refused(&check, .wrongType, "the table as a level-2 table") { install(2, far, frame) }
  refused(&check, .wrongType, "freeing it") { Memory.giveBack(frame) }
  refused(&check, .wrongType, "mapping it") { map(Entry.page(frame)) }
  // Linked a second time it is seen at both addresses, and goes with its last link.
  check.expect(install(1, address + 0x20_0000, frame).raw, equals: 0, "a second link")
  guard let shown = Memory.takeFrame() else { return report.notTried(check) }
  check.expect(map(Entry.page(shown), at: address + 0x3000).value == 1, "mapping through the first link")
  store64(address + 0x3008, 0x1234)
  check.expect(load64(address + 0x20_3008), equals: 0x1234, "reading through the second")
  check.expect(UInt64(Information.frame(shown).mappings), equals: 1, "mappings of a page seen twice")
  check.expect(remove(1, address).raw, equals: frame, "removing the first link")
  check.expect(faults(address + 0x3008), "the first address still reads")
  check.expect(load64(address + 0x20_3008), equals: 0x1234, "the second address")
  check.expect(remove(1, address + 0x20_0000).raw, equals: frame, "removing the last link")
  check.expect(faults(address + 0x20_3008), "the second address still reads")
  check.expect(UInt64(Information.frame(shown).mappings), equals: 0, "mappings that went with the table")
  check.expect(UInt64(Information.frame(frame).type), equals: UInt64(APUS_FRAME_ORDINARY), "its type in the end")
  check.expect(Memory.giveBack(shown).value == 1, "giving back")
  // A whole path far away, and down again.
  guard let third = Memory.takeFrame(), let second = Memory.takeFrame() else {
    return report.notTried(check)
  }
  check.expect(
    install(3, far, third).raw | install(2, far, second).raw | install(1, far, frame).raw, equals: 0, "a path")
  refused(&check, .inUse, "removing it from above") { remove(3, far) }
  check.expect(
    remove(1, far).raw == frame && remove(2, far).raw == second && remove(3, far).raw == third, "removing it from below"
  )
  check.expect(Memory.giveBack(second).value == 1 && Memory.giveBack(third).value == 1, "giving the path back")
  report.finish(check)

  otherAccounts(frame, &report)
}

/// Tables and roots of another account.
private func otherAccounts(_ frame: UInt64, _ report: inout Report) {
  var check = Check("memory", "page tables of another account")
  Kernel.forge(Slot.other, name: 0x0023 << 48, length: 2)
  guard let root = Memory.takeFrame(Slot.other), let table = Memory.takeFrame(Slot.other) else {
    return report.notTried(check)
  }
  check.expect(Kernel.call(.tableInstall, Slot.other, 0, 0, 4, root).raw, equals: 0, "its root")
  let own = Information.ownRoot
  let address = Memory.region
  refused(&check, .denied, "its root with this family's name") {
    Kernel.call(.tableInstall, Slot.family, root, address, 3, frame)
  }
  refused(&check, .denied, "this family's frame in its root") {
    Kernel.call(.tableInstall, Slot.other, root, address, 3, frame)
  }
  refused(&check, .denied, "this family's table in its root") {
    Kernel.call(
      .tableInstall, Slot.other, root, address, 3, (OwnTables.entry(address, level: 4) & 0x000f_ffff_ffff_f000) >> 12)
  }
  refused(&check, .denied, "pages in its root with this family's name") {
    store64(Memory.list, Entry.page(frame))
    return Kernel.call(.pagesWrite, both, root, address, 1, Memory.list)
  }
  refused(&check, .denied, "an environment of this family in its root") {
    Kernel.call(.environmentCreate, Slot.family, root, frame, Child.uarea(of: 9), 0)
  }
  refused(&check, .denied, "removing its root with this family's name") {
    Kernel.call(.tableRemove, Slot.family, root, 0, 4)
  }
  refused(&check, .denied, "removing this family's root with its name") {
    Kernel.call(.tableRemove, Slot.other, own, 0, 4)
  }
  check.expect(Kernel.call(.tableRemove, Slot.other, root, 0, 4).raw, equals: root, "removing its root")
  check.expect(
    Memory.giveBack(root, Slot.other).value == 1 && Memory.giveBack(table, Slot.other).value == 1, "giving back")
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

/// The own page tables are readable, with the bits that the processor sets, and never writable.
private func ownTables(_ frame: UInt64, _ report: inout Report) {
  var check = Check("memory", "own page tables")
  check.expect(map(Entry.page(frame)).value == 1, "mapping")
  check.expect(OwnTables.entry(page), equals: Entry.page(frame) | Entry.user, "the entry before any access")
  _ = load8(page)
  check.expect(OwnTables.entry(page) & 0x60, equals: Entry.accessed, "after a read")
  store8(page, 1)
  check.expect(OwnTables.entry(page) & 0x60, equals: Entry.accessed | Entry.dirty, "after a write")
  let keep = ~(Entry.accessed | Entry.dirty)
  check.expect(Kernel.call(.pagesProtect, both, Information.ownRoot, page, 1, keep).raw, equals: 1, "clearing them")
  check.expect(OwnTables.entry(page) & 0x60, equals: 0, "after clearing")
  store8(page, 2)
  check.expect(OwnTables.entry(page) & 0x60, equals: Entry.accessed | Entry.dirty, "after another write")
  for level in 1...UInt64(4) {
    check.expect(faults(OwnTables.entryAddress(page, level: level), writing: true), "a table is writable", level)
  }
  // The root as the recursive slot shows it: its own frame, readable, not writable, not executable.
  let recursive = OwnTables.entry(UInt64(APUS_TABLES_BASE), level: 4)
  check.expect(recursive & ~0x60, equals: Information.ownRoot << 12 | 1 | 4 | 1 << 63, "the recursive entry")
  check.expect(map(0).value == 1, "unmapping")
  check.expect(OwnTables.entry(page), equals: 0, "the entry after unmapping")
  report.finish(check)
}

private func kernelHalf(_ frame: UInt64, _ report: inout Report) {
  var check = Check("memory", "the kernel's half")
  let addresses: [6 of UInt64] = [
    0xffff_8000_0000_0000, UInt64(APUS_INFORMATION_BASE), UInt64(APUS_TABLES_BASE), 0xffff_8800_0000_0000,
    0xffff_ffff_8010_0000, 0xffff_ffff_ffff_f000,
  ]
  for index in addresses.indices {
    let address = addresses[index]
    refused(&check, .invalid, "mapping") { map(Entry.page(frame), at: address) }
    refused(&check, .invalid, "unmapping") { map(0, at: address) }
    refused(&check, .invalid, "protecting") {
      Kernel.call(.pagesProtect, both, Information.ownRoot, address, 1 | Entry.writable << 16, UInt64.max)
    }
    for level in 1...UInt64(3) {
      refused(&check, .invalid, "installing a table") {
        Kernel.call(.tableInstall, Slot.family, Information.ownRoot, address, level, frame)
      }
      refused(&check, .invalid, "removing a table") {
        Kernel.call(.tableRemove, Slot.family, Information.ownRoot, address, level)
      }
    }
  }
  // Every page of information is readable and not writable.
  let information = Information.page
  let end = information.timeline_offset + information.slice_count * 16
  var offset: UInt64 = 0
  while offset < end {
    check.expect(
      faults(UInt64(APUS_INFORMATION_BASE) + offset, writing: true), "an information page is writable", offset)
    check.expect(!faults(UInt64(APUS_INFORMATION_BASE) + offset), "an information page is not readable", offset)
    offset += 4096
  }
  // The own u-area is mapped, but what the processor record says about it is out of reach.
  check.expect(faults(0xffff_ffff_8011_0000), "the kernel's data is readable")
  report.finish(check)
}
