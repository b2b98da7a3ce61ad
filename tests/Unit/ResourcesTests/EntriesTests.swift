// SPDX-License-Identifier: Apache-2.0
// EntriesTests.swift: the rules of writing and changing level-1 entries.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

@Suite struct EntriesTests {
  var world = World()
  let root: UInt64
  let table: UInt64
  let frame: UInt64

  init() throws {
    root = try world.root()
    table = try world.build(root, at: 0)
    frame = try world.take()
  }

  @Test func aPageIsMappedForRing3AndCounted() throws {
    #expect(try world.write([page(frame, writable: true), page(frame)], at: 0, root: root) == .none)
    #expect(world.memory.entry(UInt32(table), 0) == frame << 12 | 7)
    #expect(world.memory.entry(UInt32(table), 1) == frame << 12 | 5)
    #expect(world.record(frame).mappings == 2)
    #expect(world.record(frame).writable_mappings == 1)
    #expect(world.tables.entry(root: UInt32(root), address: 0x1000) == frame << 12 | 5)
    // Whatever an absent entry says, what is stored is 0: no half of it can lead a speculating processor astray.
    try world.write([frame << 12 | 2, 0], at: 0, root: root)
    #expect(world.memory.entry(UInt32(table), 0) == 0)
    #expect(world.record(frame).mappings == 0)
    #expect(world.record(frame).writable_mappings == 0)
  }

  @Test func everyBitThatAnApplicationMayChooseIsKept() throws {
    let bits =
      PageEntry.writable | PageEntry.accessed | PageEntry.dirty | PageEntry.software | PageEntry.protectionKey
      | PageEntry.noExecute
    try world.write([page(frame) | bits], at: 0, root: root)
    #expect(world.memory.entry(UInt32(table), 0) == frame << 12 | 5 | bits)
  }

  @Test(arguments: [3, 4, 7, 8] as [UInt64])
  func aBitThatIsTheKernelsIsRefused(bit: UInt64) throws {
    let good = page(frame)
    for position in 0..<3 {
      var batch = [good, good, good]
      batch[position] |= 1 << bit
      world.refused(.invalid) { () throws(SystemCallError) in
        try world.write(batch, at: 0, root: root)
      }
    }
    world.refused(.invalid) { () throws(SystemCallError) in
      try world.protect(1, at: 0, root: root, set: 1 << bit)
    }
    world.refused(.invalid) { () throws(SystemCallError) in
      try world.protect(1, at: 0, root: root, keep: ~(1 << bit))
    }
  }

  @Test func onlyOrdinaryFramesAreMappedUareasToo() throws {
    var world = world
    let uarea = try world.take()
    try world.ledger.pinUarea(uarea, account: 1, by: capability("a"))
    try world.write([page(uarea, writable: true)], at: 0, root: root)
    let tables = [1, 2, 3, 4].map {
      UInt64(world.tables.walk(root: UInt32(root), address: 0, to: $0)?.table ?? 0)
    }
    world.machine.records[63].type = UInt8(APUS_FRAME_ABSENT)
    for bad in tables + [0, 62, 63] {
      for isWritable in [false, true] {
        world.refused(.wrongType, "frame \(bad)") { () throws(SystemCallError) in
          try world.write([page(frame), page(bad, writable: isWritable)], at: 0, root: root)
        }
      }
    }
    for bad in [64, 65, 1 << 32 | frame, 0xff_ffff_ffff] as [UInt64] {
      world.refused(.noSuchResource, "frame \(bad)") { () throws(SystemCallError) in
        try world.write([page(frame), page(bad)], at: 0, root: root)
      }
    }
  }

  @Test func aFrameIsMappedWithNoMoreRightsThanHeld() throws {
    for (owner, isWritable, isAllowed) in [
      (capability("a"), true, true), (capability(""), true, true), (capability("ab"), false, false),
      (capability("b"), false, false), (capability("a", .read), false, true),
      (capability("a", .read), true, false), (capability("a", .write), true, false),
      (capability("a", .write), false, false), (capability("a", .none), false, false),
    ] {
      world.machine.beginJournal()
      let error = failure { () throws(SystemCallError) in
        try world.write([page(frame, writable: isWritable)], at: 0, root: root, mapped: owner)
      }
      #expect(error == (isAllowed ? nil : .denied))
      if !isAllowed { #expect(world.machine.isUnchanged) }
      try world.write([0], at: 0, root: root)
      #expect(
        failure { () throws(SystemCallError) in
          try world.write([0], at: 0, root: root, mapped: owner)
        } == nil, "unmapping needs no right to the frame")
    }
  }

  @Test func aGuardThatEndsInZeroBytesIsNotAShorterOne() throws {
    // The guard is 61; the capability 61 00 has the same bits.
    let longer = try #require(
      Capability(name: capability("a").name, length: 2, rights: .all))
    world.refused(.denied) { () throws(SystemCallError) in
      try world.write([page(frame)], at: 0, root: root, mapped: longer)
    }
    try world.write([page(frame)], at: 0, root: root)
    world.refused(.denied) { () throws(SystemCallError) in
      try world.protect(1, at: 0, root: root, set: PageEntry.writable, mapped: longer)
    }
    #expect(throws: SystemCallError.denied) {
      try world.tables.checkRoot(root, account: 1, by: longer)
    }
  }

  @Test func aFrameOfAnotherAccountIsMappedByWhoHoldsItsName() throws {
    var world = world
    let other = try world.take("b", account: 2)
    try world.write([page(other)], at: 0, root: root, mapped: capability("b", .read))
    #expect(world.record(other).mappings == 1)
  }

  @Test func aCountThatIsFullIsNotPassed() throws {
    world.machine.records[Int(frame)].mappings = .max - 1
    world.refused(.exhausted) { () throws(SystemCallError) in
      try world.write([page(frame), page(frame)], at: 0, root: root)
    }
    try world.write([page(frame)], at: 0, root: root)
    #expect(world.record(frame).mappings == .max)
  }

  @Test func rangesEndBelowTheUserLimit() throws {
    var world = world
    try world.build(root, at: 0x7fff_ffff_e000)
    let last = UInt64(APUS_USER_LIMIT) - 0x1000
    try world.write([page(frame)], at: last, root: root)
    for (address, count) in [
      (last, UInt64(2)), (last + 0x1000, 1), (last + 0x1000, 0), (0xffff_8000_0000_0000, 1),
      (0xffff_ffff_ffff_f000, 1), (0xffff_ffff_ffff_f000, 2), (1, 1), (0x800, 1), (last, 513),
      (0, .max), (0, 1 << 52), (last, .max),
    ] as [(UInt64, UInt64)] {
      let entries = Array(repeating: page(frame), count: Int(min(count, 513)))
      world.refused(.invalid, "\(address), \(count)") { () throws(SystemCallError) in
        _ = try world.tables.writeEntries(
          Numbers(entries), count: count, at: address, root: root,
          caller: PageCaller(account: 1, currentRoot: 0), tables: capability(""),
          mapped: capability(""))
      }
      world.refused(.invalid, "\(address), \(count)") { () throws(SystemCallError) in
        try world.protect(count, at: address, root: root)
      }
    }
    #expect(try world.write([], at: 0, root: root) == .none)
  }

  @Test func ofALongRangeTheFirstPartIsDone() throws {
    var world = world
    try world.build(root, at: 0x20_0000)
    let caller = PageCaller(account: 1, currentRoot: 0)
    let entries = Numbers(Array(repeating: page(frame), count: 4000))
    let written = try world.tables.writeEntries(
      entries, count: 4000, at: 0x1000, root: root, caller: caller, tables: capability(""), mapped: capability(""))
    #expect(written.count == 512)
    #expect(world.record(frame).mappings == 512)
    let changed = try world.tables.protectEntries(
      count: 0xffff, at: 0x1000, root: root, set: PageEntry.writable, keep: ~0, caller: caller,
      tables: capability(""), mapped: capability(""))
    #expect(changed.count == 512)
    #expect(world.record(frame).writable_mappings == 512)
  }

  @Test func whatAnotherProcessorSetsMeanwhileIsNotLost() throws {
    var world = world
    let used = PageEntry.accessed | PageEntry.dirty
    try world.write([page(frame, writable: true)], at: 0, root: root)
    // Just before an entry is changed, ring 3 on another CPU writes to the page.
    func byAnother<Value>(_ body: () throws -> Value) rethrows -> Value {
      let machine = world.machine
      machine.processor = { position in
        if machine.words[position] != 0 { machine.words[position] |= used }
      }
      defer { machine.processor = nil }
      return try body()
    }
    let changed = try byAnother { try world.protect(1, at: 0, root: root, keep: ~PageEntry.writable) }
    #expect(changed == .range(address: 0, count: 1), "it may be cached")
    #expect(world.memory.entry(UInt32(table), 0) & used == used)
    try world.write([page(frame)], at: 0, root: root)
    #expect(try byAnother { try world.write([0], at: 0, root: root) } == .range(address: 0, count: 1))
    try world.write([page(frame)], at: 0, root: root)
    let tables = world.tables
    let released = try byAnother {
      try world.ledger.releasePages(
        1, at: 0, root: root, caller: PageCaller(account: 1, currentRoot: UInt32(root)), tables: capability(""),
        owner: nil, in: tables)
    }
    #expect(released.maintenance == .range(address: 0, count: 1))
    let removed = try byAnother {
      try tables.removeTable(level: 1, at: 0, root: root, account: 1, by: capability(""))
    }
    #expect(removed.maintenance == .everything)
  }

  @Test func aBatchCrossesFromOneTableIntoTheNext() throws {
    var world = world
    let batch = Array(repeating: page(frame, writable: true), count: 512)
    world.refused(.noTable) { () throws(SystemCallError) in
      try world.write(batch, at: 0x1000, root: root)
    }
    let next = try world.build(root, at: 0x20_0000)
    try world.write(batch, at: 0x1000, root: root)
    #expect(world.memory.entry(UInt32(table), 0) == 0)
    #expect(world.memory.entry(UInt32(table), 1) != 0)
    #expect(world.memory.entry(UInt32(table), 511) != 0)
    #expect(world.memory.entry(UInt32(next), 0) != 0)
    #expect(world.memory.entry(UInt32(next), 1) == 0)
    #expect(world.record(frame).mappings == 512)
    try world.protect(512, at: 0x1000, root: root, keep: ~PageEntry.writable)
    #expect(world.record(frame).writable_mappings == 0)
    try world.protect(2, at: 0x1f_f000, root: root, set: PageEntry.writable)
    #expect(world.record(frame).writable_mappings == 2)
    #expect(world.memory.entry(UInt32(next), 0) & 2 != 0)
    try world.write(Array(repeating: 0, count: 512), at: 0x1000, root: root)
    #expect(world.record(frame).mappings == 0)
    #expect(world.record(frame).writable_mappings == 0)
  }

  @Test func aRefusalInTheSecondTableUndoesTheFirst() throws {
    var world = world
    try world.build(root, at: 0x20_0000)
    let other = try world.take("b")
    try world.write([page(frame), page(other)], at: 0x1f_f000, root: root)
    world.refused(.denied) { () throws(SystemCallError) in
      try world.protect(
        2, at: 0x1f_f000, root: root, set: PageEntry.writable, mapped: capability("a"))
    }
    #expect(world.record(frame).writable_mappings == 0)
    world.refused(.denied) { () throws(SystemCallError) in
      try world.write(
        [page(frame, writable: true), page(other)], at: 0x1f_f000, root: root,
        mapped: capability("a"))
    }
  }

  @Test func protectingChangesPresentEntriesOnly() throws {
    let old = page(frame, writable: true) | PageEntry.dirty | 1 << 9
    try world.write([old, 0, old], at: 0, root: root)
    let kept = ~(PageEntry.writable | 1 << 9)
    #expect(
      try world.protect(3, at: 0, root: root, set: PageEntry.noExecute | 1 << 10, keep: kept) == .none)
    let new = (old | 4) & kept | PageEntry.noExecute | 1 << 10
    for (index, value) in [new, 0, new].enumerated() {
      #expect(world.memory.entry(UInt32(table), index) == value)
    }
    #expect(world.record(frame).writable_mappings == 0)
  }

  @Test func makingAPageWritableNeedsItsFrame() throws {
    try world.write([page(frame), 0, page(frame, writable: true)], at: 0, root: root)
    for owner in [capability("b"), capability("ab"), capability("a", .read)] {
      world.refused(.denied) { () throws(SystemCallError) in
        try world.protect(3, at: 0, root: root, set: PageEntry.writable, mapped: owner)
      }
      #expect(
        failure { () throws(SystemCallError) in
          try world.protect(1, at: 0x2000, root: root, set: PageEntry.writable, mapped: owner)
        } == nil, "what is writable already needs nothing")
      #expect(
        failure { () throws(SystemCallError) in
          try world.protect(3, at: 0, root: root, set: PageEntry.noExecute, mapped: owner)
        } == nil, "taking rights away needs nothing")
    }
    try world.protect(3, at: 0, root: root, set: PageEntry.writable, mapped: capability("a", .write))
    #expect(world.record(frame).writable_mappings == 2)
    try world.protect(
      3, at: 0, root: root, set: PageEntry.writable, keep: ~PageEntry.writable)
    #expect(world.record(frame).writable_mappings == 2, "set wins over keep")
  }

  @Test func theCachesAreKeptRight() throws {
    var world = world
    let second = try world.root()
    try world.write([page(frame), page(frame)], at: 0x4000, root: root)
    #expect(try world.write([0], at: 0x4000, root: root) == .none, "never accessed, so never cached")
    world.touch(table, 5)
    #expect(
      try world.protect(4, at: 0x3000, root: root, keep: ~PageEntry.dirty)
        == .range(address: 0x3000, count: 4))
    #expect(
      try world.protect(4, at: 0x3000, root: root, current: UInt32(second)) == .everything,
      "another address space is loaded")
    let level3 = try #require(world.tables.walk(root: UInt32(root), address: 0, to: 3)).table
    try world.tables.installTable(
      UInt64(level3), level: 3, at: 0, root: second, account: 1, by: capability("a"))
    #expect(try world.protect(1, at: 0x5000, root: root) == .everything, "a shared table")
    #expect(
      try world.write([page(frame)], at: 0x6000, root: root) == .none, "nothing was there")
    #expect(try world.write([page(frame)], at: 0x5000, root: root) == .everything)
    #expect(try world.write([0], at: 0x5000, root: root) == .none)
  }

  @Test func theArgumentOfProtectUnpacks() {
    #expect(PageEntry.unpacked(set: 0x1e62) == 0x8000_0000_0000_0e62)
    #expect(PageEntry.unpacked(set: 0xffff_ffff_ffff_e000) == 0)
  }
}
