// SPDX-License-Identifier: Apache-2.0
// PagesTests.swift: the shorter ways for one page do what the long ways do, or nothing at all.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

@Suite struct PagesTests {
  /// The name of an account is its number.
  private static func owner(_ account: UInt64, _ rights: Rights = .all, more: UInt64? = nil) -> Capability {
    let name = account << 48 | (more ?? 0) << 40
    return Capability(name: name, length: more == nil ? 2 : 3, rights: rights) ?? capability("")
  }

  /// An address space of account 1 with two level-1 tables; account 2 may take frames, too.
  private func world(_ own: Capability = owner(1)) throws -> (World, root: UInt64) {
    var world = World(frames: 40)
    func take() throws -> UInt64 {
      let list = Numbers(count: 1)
      _ = try world.ledger.allocate(1, into: list, under: own, account: 1, keepsOwn: false, memory: world.memory)
      return list.values[0]
    }
    let root = try take()
    try world.tables.makeRoot(root, account: 1, by: own) { _ in }
    for (level, address) in [(3, 0), (2, 0), (1, 0), (1, 0x20_0000)] as [(UInt64, UInt64)] {
      try world.tables.installTable(take(), level: level, at: address, root: root, account: 1, by: own)
    }
    world.machine.accounts[1].frames.limit = 20
    return (world, root)
  }

  private func state(_ world: World) -> [[UInt64]] {
    world.machine.records.map(\.bits) + [world.machine.words, [UInt64(world.ledger.freeCount)]]
      + world.machine.accounts.map { $0.bits.map { UInt64($0) } }
  }

  @Test(arguments: UInt64(1)...30) func theShorterWaysDoTheSame(seed: UInt64) throws {
    var random = Seeded(seed)
    var (short, root) = try world()
    var (long, _) = try world()
    var taken = (fills: 0, releases: 0)
    for _ in 0..<300 {
      let address: UInt64 = random.pick([
        0, 0x1000, 0x1f_f000, 0x20_0000, 0x20_1000, 0x21_0000, 0x40_0000, 0x1001, 1 << 47,
      ])
      let space: UInt64 = random.chance(95) ? root : random.pick([0, root + 1, 1 << 33 | root])
      let owner =
        random.chance(85)
        ? Self.owner(1)
        : random.pick([
          Self.owner(1, .read), Self.owner(1, .write), Self.owner(2), Self.owner(1, more: 0), Self.owner(1, more: 7),
        ])
      let account = UInt16(truncatingIfNeeded: owner.name >> 48)
      if random.chance(50) {
        let packed: UInt64 =
          random.chance(90) ? random.pick([1, 3, 0x23, 0x1003]) : random.pick([0, 2, 5, 0x81, 0x2003])
        let frame = short.ledger.fillPage(at: address, root: space, packed: packed, by: owner, in: short.tables)
        guard let frame else { continue }
        let filled = try long.ledger.fillPages(
          1, at: address, root: space, bits: PageEntry.unpacked(set: packed), account: account, tables: owner,
          owner: owner, charging: account,
          in: long.tables)
        #expect(filled == (frame, 1))
        taken.fills += 1
      } else {
        let loaded = random.chance(90) ? UInt32(truncatingIfNeeded: space) : 3
        let isDone = short.ledger.releasePage(
          at: address, root: space, loaded: loaded, by: owner, in: short.tables)
        guard isDone else { continue }
        let released = try long.ledger.releasePages(
          1, at: address, root: space, caller: PageCaller(account: account, currentRoot: loaded), tables: owner,
          owner: owner, in: long.tables)
        #expect(released.count == 1)
        taken.releases += 1
      }
      let isSame = state(short) == state(long)
      try #require(isSame)
      if random.chance(10) {
        // Somebody else maps a page's frame, or pins it: the way is no longer the plain one.
        let table = try #require(short.tables.walk(root: UInt32(root), address: 0, to: 1)).table
        let entry = short.memory.entry(table, 0)
        if entry != 0 {
          let staysPinned = random.chance(30)
          for world in [short, long] {
            try world.write([entry & ~PageEntry.user], at: 0x1f_f000, root: root)
            try world.ledger.pin(UInt64(PageEntry.frame(of: entry)))
            if !staysPinned { world.ledger.unpin(PageEntry.frame(of: entry)) }
          }
        }
      }
    }
    #expect(taken.fills > 5 && taken.releases > 5)
  }

  @Test func whatIsNotPlainChangesNothing() throws {
    var (world, root) = try world()
    let own = Self.owner(1)
    let first = world.ledger.fillPage(at: 0, root: root, packed: 3, by: own, in: world.tables)
    let frame = UInt64(try #require(first))
    func refused(_ body: (inout World) -> Bool, _ comment: Comment) {
      var world = world
      world.machine.beginJournal()
      #expect(body(&world) == false, comment)
      #expect(world.machine.isUnchanged, comment)
    }
    func fills(_ comment: Comment, _ address: UInt64, _ packed: UInt64 = 3, by owner: Capability = own) {
      let tables = world.tables
      refused({ $0.ledger.fillPage(at: address, root: root, packed: packed, by: owner, in: tables) != nil }, comment)
    }
    fills("mapped", 0)
    fills("no table", 0x40_0000)
    fills("no page", 0x1001)
    fills("beyond the user half", UInt64(APUS_USER_LIMIT))
    fills("not present", 0x1000, 2)
    fills("a bit of the kernel's", 0x1000, 1 | 1 << 7)
    fills("a bit that is packed nowhere", 0x1000, 1 | 1 << 13)
    fills("no right to write", 0x1000, by: Self.owner(1, .read))
    fills("no right to read", 0x1000, by: Self.owner(1, .write))
    fills("another's root", 0x1000, by: Self.owner(2))
    fills("not the root's very name", 0x1000, by: Self.owner(1, more: 0))
    let used = world.machine.accounts[1].frames.used
    world.machine.accounts[1].frames.limit = used
    fills("no budget", 0x1000)
    world.machine.accounts[1].frames.limit = 20

    func releases(_ world: World, _ root: UInt64, _ comment: Comment, loaded: UInt64? = nil, by owner: Capability = own)
    {
      let tables = world.tables
      refused(
        {
          $0.ledger.releasePage(
            at: 0, root: root, loaded: UInt32(truncatingIfNeeded: loaded ?? root), by: owner, in: tables)
        }, comment)
    }
    releases(world, root, "not loaded", loaded: root + 1)
    releases(world, root, "no right to write", by: Self.owner(1, .read))
    releases(world, root, "another's root", by: Self.owner(2))
    try world.ledger.pin(frame)
    releases(world, root, "pinned")
    world.ledger.unpin(UInt32(frame))
    try world.write([page(frame)], at: 0x1000, root: root)
    releases(world, root, "mapped twice")
    try world.write([0], at: 0x1000, root: root)
    world.ledger.flushEpoch = 1
    releases(world, root, "another CPU may have a translation")
    world.ledger.flushEpoch = 0
    let table = try #require(world.tables.walk(root: UInt32(root), address: 0, to: 1)).table
    try world.tables.installTable(UInt64(table), level: 1, at: 0x40_0000, root: root, account: 1, by: own)
    releases(world, root, "a table with two links")
    _ = try world.tables.removeTable(level: 1, at: 0x40_0000, root: root, account: 1, by: own)
    let tables = world.tables
    let isDone = world.ledger.releasePage(at: 0, root: root, loaded: UInt32(root), by: own, in: tables)
    #expect(isDone)
    #expect(world.record(frame).type == UInt8(APUS_FRAME_FREE))
    #expect(world.machine.accounts[1].frames.used == used - 1)
  }

  @Test func aNameOfTheSameLengthIsNotEnough() throws {
    let own = Self.owner(1, more: 7)
    let other = Self.owner(1, more: 8)
    var (world, root) = try world(own)
    let tables = world.tables
    let filled = world.ledger.fillPage(at: 0, root: root, packed: 3, by: other, in: tables)
    #expect(filled == nil)
    let list = Numbers(count: 1)
    _ = try world.ledger.allocate(1, into: list, under: other, account: 1, keepsOwn: false, memory: world.memory)
    try world.write([page(list.values[0])], at: 0x1000, root: root)
    let isDone = world.ledger.releasePage(at: 0x1000, root: root, loaded: UInt32(root), by: own, in: tables)
    #expect(!isDone)
    #expect(world.record(list.values[0]).type == UInt8(APUS_FRAME_ORDINARY))
  }

  /// The kernel's half has tables, too, and room in them.
  @Test func theKernelsHalfIsNotFilled() throws {
    var (world, root) = try world()
    let tables = world.tables
    world.memory.setEntry(UInt32(root), 256, world.memory.entry(UInt32(root), 0))
    for address in [1 << 47, 1 << 47 | 0x3000, 0xffff_8000_0000_3000] as [UInt64] {
      let filled = world.ledger.fillPage(at: address, root: root, packed: 3, by: Self.owner(1), in: tables)
      #expect(filled == nil)
    }
  }
}
