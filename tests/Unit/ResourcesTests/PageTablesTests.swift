// SPDX-License-Identifier: Apache-2.0
// PageTablesTests.swift: the rules of making, linking, sharing and removing page tables.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

@Suite struct PageTablesTests {
  let own = capability("a")

  @Test func aRootIsZeroedAndGetsItsKernelHalf() throws {
    var world = World()
    let frame = try world.take()
    world.memory.setEntry(UInt32(frame), 5, 4711)
    try world.tables.makeRoot(frame, account: 1, by: own) { world.memory.setEntry($0, 300, 99) }
    #expect(world.memory.entry(UInt32(frame), 5) == 0)
    #expect(world.memory.entry(UInt32(frame), 300) == 99)
    #expect(world.record(frame).type == UInt8(APUS_FRAME_TABLE4))
  }

  @Test(arguments: [1, 2, 3, 4])
  func onlyAnOwnUnusedOrdinaryFrameBecomesATable(level: Int) throws {
    var world = World()
    let root = try world.root()
    try world.build(root, at: 0)
    // A table of a level that is not asked for, linked where it does not matter.
    let path = try #require(world.tables.walk(root: UInt32(root), address: 0, to: level == 1 ? 2 : 1))
    let mapped = try world.take()
    let pinned = try world.take()
    let foreign = try world.take("ab", account: 2)
    let secret = try world.take("b")
    try world.write([page(mapped)], at: 0, root: root)
    try world.ledger.pin(pinned)
    for (frame, error) in [
      (mapped, SystemCallError.inUse), (pinned, .inUse), (foreign, .denied), (secret, .denied),
      (UInt64(path.table), .wrongType), (63, .wrongType), (0, .wrongType), (64, .noSuchResource),
      (1 << 32 | mapped, .noSuchResource),
    ] {
      world.refused(error, "frame \(frame)") { () throws(SystemCallError) in
        if level == 4 {
          try world.tables.makeRoot(frame, account: 1, by: own) { _ in }
        } else {
          let address: UInt64 = level == 3 ? 1 << 39 : level == 2 ? 1 << 30 : 1 << 21
          try world.tables.installTable(
            frame, level: UInt64(level), at: address, root: root, account: 1, by: own)
        }
      }
    }
    world.ledger.unpin(UInt32(pinned))
    world.refused(.denied, "read only") { () throws(SystemCallError) in
      try world.tables.makeRoot(pinned, account: 1, by: capability("a", .read)) { _ in }
    }
  }

  @Test func anAddressSpaceIsChangedByItsAccountAndNameOnly() throws {
    var world = World()
    let root = try world.root("ab")
    let frame = try world.take("ab")
    for (number, account, owner, error) in [
      (root, UInt16(2), capability("ab"), SystemCallError.denied),
      (root, 1, capability("b"), .denied), (root, 1, capability("abc"), .denied),
      (root, 1, capability("ab", .read), .denied), (frame, 1, capability("ab"), .wrongType),
      (64, 1, capability("ab"), .noSuchResource),
      (root | 1 << 32, 1, capability("ab"), .noSuchResource),
    ] {
      world.refused(error) { () throws(SystemCallError) in
        try world.tables.installTable(
          frame, level: 3, at: 0, root: number, account: account, by: owner)
      }
      world.refused(error) { () throws(SystemCallError) in
        _ = try world.tables.removeTable(
          level: 3, at: 0, root: number, account: account, by: owner)
      }
      world.refused(error) { () throws(SystemCallError) in
        _ = try world.tables.removeRoot(number, account: account, by: owner)
      }
      world.refused(error) { () throws(SystemCallError) in
        try world.write([0], at: 0, root: number, account: account, tables: owner)
      }
    }
  }

  @Test func tablesAreLinkedFromTheTopDown() throws {
    var world = World()
    let root = try world.root()
    let frame = try world.take()
    for level in [UInt64(1), 2] {
      world.refused(.noTable) { () throws(SystemCallError) in
        try world.tables.installTable(frame, level: level, at: 0, root: root, account: 1, by: own)
      }
    }
    world.memory.setEntry(UInt32(frame), 7, 4711)
    try world.tables.installTable(frame, level: 3, at: 0, root: root, account: 1, by: own)
    #expect(world.memory.entry(UInt32(frame), 7) == 0, "a table begins empty")
    #expect(world.memory.entry(UInt32(root), 0) == frame << 12 | 7)
    #expect(world.record(frame).mappings == 1)
    let second = try world.take()
    world.refused(.tableExists) { () throws(SystemCallError) in
      try world.tables.installTable(second, level: 3, at: 0x1000, root: root, account: 1, by: own)
    }
  }

  @Test func onlyUserAddressesAndMiddleLevelsAreLinked() throws {
    var world = World()
    let root = try world.root()
    let frame = try world.take()
    for (level, address) in [
      (UInt64(3), UInt64(0x7fff_ffff_f000)), (3, 0x8000_0000_0000), (3, 0xffff_8000_0000_0000),
      (3, 1), (3, 0xfff), (0, 0), (4, 0), (5, 0), (.max, 0),
    ] {
      world.refused(.invalid) { () throws(SystemCallError) in
        try world.tables.installTable(
          frame, level: level, at: address, root: root, account: 1, by: own)
      }
      world.refused(.invalid) { () throws(SystemCallError) in
        _ = try world.tables.removeTable(
          level: level, at: address, root: root, account: 1, by: own)
      }
    }
    try world.tables.installTable(
      frame, level: 3, at: 0x7fff_ffff_e000, root: root, account: 1, by: own)
    #expect(world.memory.entry(UInt32(root), 255) != 0)
  }

  @Test func aTableMayBeLinkedAgainButNotByAnotherAccount() throws {
    var world = World()
    let first = try world.root()
    let second = try world.root()
    let foreign = try world.root("a", account: 2)
    try world.build(first, at: 0)
    let table = UInt64(try #require(world.tables.walk(root: UInt32(first), address: 0, to: 3)).table)
    let lower = UInt64(try #require(world.tables.walk(root: UInt32(first), address: 0, to: 2)).table)
    try world.tables.installTable(table, level: 3, at: 1 << 39, root: second, account: 1, by: own)
    #expect(world.record(table).mappings == 2)
    world.refused(.denied) { () throws(SystemCallError) in
      try world.tables.installTable(table, level: 3, at: 0, root: foreign, account: 2, by: own)
    }
    world.refused(.denied, "its name is out of reach") { () throws(SystemCallError) in
      try world.tables.installTable(
        table, level: 3, at: 2 << 39, root: second, account: 1, by: capability("ab"))
    }
    world.refused(.wrongType) { () throws(SystemCallError) in
      try world.tables.installTable(lower, level: 3, at: 2 << 39, root: second, account: 1, by: own)
    }
    #expect(world.tables.walk(root: UInt32(second), address: 1 << 39, to: 1)?.isShared == true)
    #expect(try world.tables.removeTable(level: 3, at: 0, root: first, account: 1, by: own).frame == UInt32(table))
    #expect(world.record(table).type == UInt8(APUS_FRAME_TABLE3))
    #expect(world.tables.walk(root: UInt32(second), address: 1 << 39, to: 1)?.isShared == false)
  }

  @Test func linksBeyondTheCountAreRefused() throws {
    var world = World()
    let root = try world.root()
    try world.build(root, at: 0)
    let table = try #require(world.tables.walk(root: UInt32(root), address: 0, to: 3)).table
    world.machine.records[Int(table)].mappings = .max
    world.refused(.exhausted) { () throws(SystemCallError) in
      try world.tables.installTable(
        UInt64(table), level: 3, at: 1 << 39, root: root, account: 1, by: own)
    }
  }

  @Test func theLastLinkOfAPageTableUnmapsItsPages() throws {
    var world = World()
    let root = try world.root()
    let table = try world.build(root, at: 0)
    let frame = try world.take()
    try world.write([page(frame, writable: true), page(frame)], at: 0x1000, root: root)
    #expect(world.record(frame).mappings == 2)
    try world.tables.installTable(table, level: 1, at: 1 << 21, root: root, account: 1, by: own)
    _ = try world.tables.removeTable(level: 1, at: 0, root: root, account: 1, by: own)
    #expect(world.record(frame).mappings == 2, "another link sees them still")
    let removed = try world.tables.removeTable(level: 1, at: 1 << 21, root: root, account: 1, by: own)
    #expect(removed.frame == UInt32(table))
    #expect(removed.maintenance == .none, "never accessed")
    #expect(world.record(frame).mappings == 0)
    #expect(world.record(frame).writable_mappings == 0)
    #expect(world.record(table).type == UInt8(APUS_FRAME_ORDINARY))
    #expect((0..<512).allSatisfy { world.memory.entry(UInt32(table), $0) == 0 })
    try world.ledger.free(2, of: Numbers([frame, table]), by: own)
  }

  @Test func anAccessedLinkIsInvalidatedEverywhere() throws {
    var world = World()
    let root = try world.root()
    try world.build(root, at: 0)
    let parent = try #require(world.tables.walk(root: UInt32(root), address: 0, to: 2)).table
    world.touch(UInt64(parent), 0)
    let removed = try world.tables.removeTable(level: 1, at: 0, root: root, account: 1, by: own)
    #expect(removed.maintenance == .everything)
  }

  @Test func tablesThatAreNotEmptyStay() throws {
    var world = World()
    let root = try world.root()
    try world.build(root, at: 0)
    for level in [UInt64(2), 3] {
      world.refused(.inUse) { () throws(SystemCallError) in
        _ = try world.tables.removeTable(level: level, at: 0, root: root, account: 1, by: own)
      }
    }
    world.refused(.inUse) { () throws(SystemCallError) in
      _ = try world.tables.removeRoot(root, account: 1, by: own)
    }
    for level in [UInt64(1), 2, 3] {
      _ = try world.tables.removeTable(level: level, at: 0, root: root, account: 1, by: own)
      world.refused(.noTable) { () throws(SystemCallError) in
        _ = try world.tables.removeTable(level: level, at: 0, root: root, account: 1, by: own)
      }
    }
    world.tables.retainRoot(UInt32(root))
    world.refused(.inUse, "an environment runs in it") { () throws(SystemCallError) in
      _ = try world.tables.removeRoot(root, account: 1, by: own)
    }
    world.tables.releaseRoot(UInt32(root))
    world.memory.setEntry(UInt32(root), 256, 0x1023)
    #expect(try world.tables.removeRoot(root, account: 1, by: own) == UInt32(root))
    #expect(world.memory.entry(UInt32(root), 256) == 0, "the kernel half does not leak")
  }
}
