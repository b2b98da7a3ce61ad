// SPDX-License-Identifier: Apache-2.0
// ReclaimTests.swift: taking all mappings of a frame, and everything of an account, in bounded steps.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

@Suite struct ReclaimTests {
  /// Runs a reclaim to its end and counts its steps.
  private func reclaim(
    _ account: UInt16, in world: inout World, between: (inout World) throws -> Void = { _ in }
  ) throws -> (progress: ReclaimProgress, steps: Int, invalidations: Int) {
    var cursor = ReclaimCursor()
    var invalidations = 0
    for steps in 1..<10_000 {
      let tables = world.tables
      let step = world.ledger.reclaimStep(account, cursor: &cursor, tables: tables)
      if step.needsInvalidation { invalidations += 1 }
      if step.progress != .more { return (step.progress, steps, invalidations) }
      try between(&world)
    }
    return (.more, 10_000, invalidations)
  }

  private func complaint(_ world: World, dead: UInt16? = nil) -> String? {
    let head = world.machine.records.firstIndex {
      $0.type == UInt8(APUS_FRAME_FREE) && $0.writable_mappings == .max
    }
    return brokenInvariant(
      of: world.machine, freeHead: head.map { UInt32($0) } ?? .max, freeCount: world.ledger.freeCount,
      dead: dead)
  }

  @Test func everythingOfAnAccountComesBack() throws {
    var world = World(frames: 9000)
    let before = world.ledger.freeCount
    let keeper = try world.root("k", account: 2)
    for space in UInt64(0)..<4 {
      let root = try world.root()
      for table in UInt64(0)..<12 {
        try world.build(root, at: table << 21 | space << 39)
        let frames = try (0..<100).map { _ in try world.take() }
        try world.write(frames.map { page($0, writable: true) }, at: table << 21 | space << 39, root: root)
      }
    }
    let uarea = try world.take()
    try world.ledger.pinUarea(uarea, account: 1, by: capability("a"))
    world.ledger.unpin(UInt32(uarea))
    let result = try reclaim(1, in: &world) { world in #expect(complaint(world, dead: 1) == nil) }
    #expect(result.progress == .done)
    #expect(result.steps > 10, "each step is bounded")
    #expect(result.invalidations == 0)
    #expect(complaint(world) == nil)
    #expect(world.ledger.freeCount == before - 1)
    #expect(world.record(keeper).type == UInt8(APUS_FRAME_TABLE4))
  }

  @Test func mappingsInOtherAccountsAreTakenByForce() throws {
    var world = World()
    let keeper = try world.root("k", account: 2)
    let table = try world.build(keeper, at: 0, "k", account: 2)
    let own = try world.take("k", account: 2)
    let shared = try world.take("s")
    try world.write([page(shared, writable: true), page(own)], at: 0, root: keeper, account: 2)
    world.touch(table, 0)
    let before = world.ledger.freeCount
    let result = try reclaim(1, in: &world)
    #expect(result.progress == .done)
    #expect(result.invalidations == 1)
    #expect(complaint(world) == nil)
    #expect(world.ledger.freeCount == before + 1)
    #expect(world.memory.entry(UInt32(table), 0) == 0)
    #expect(world.memory.entry(UInt32(table), 1) == own << 12 | 5)
  }

  @Test func pinnedFramesStayChargedUntilThePinEnds() throws {
    var world = World()
    let frames = try (0..<5).map { _ in try world.take() }
    try world.ledger.pin(frames[1])
    try world.ledger.pin(frames[3])
    let before = world.ledger.freeCount
    #expect(try reclaim(1, in: &world).progress == .held(2))
    #expect(world.ledger.freeCount == before + 3)
    #expect(world.record(frames[1]).account == 1)
    #expect(world.record(frames[1]).isOrdinary)
    world.ledger.unpin(UInt32(frames[1]))
    #expect(try reclaim(1, in: &world).progress == .held(1))
    world.ledger.unpin(UInt32(frames[3]))
    #expect(try reclaim(1, in: &world).progress == .done)
    #expect(world.ledger.freeCount == before + 5)
  }

  @Test func aRootThatIsStillLoadedIsHeldWhole() throws {
    var world = World()
    let root = try world.root()
    try world.build(root, at: 0)
    world.tables.retainRoot(UInt32(root))
    world.memory.setEntry(UInt32(root), 300, 0x1023)
    #expect(try reclaim(1, in: &world).progress == .held(2), "the root and the table that it links")
    #expect(world.memory.entry(UInt32(root), 300) == 0x1023)
    #expect(complaint(world) == nil)
    world.tables.releaseRoot(UInt32(root))
    #expect(try reclaim(1, in: &world).progress == .done)
    #expect(world.ledger.freeCount == 63)
    #expect((0..<512).allSatisfy { world.memory.entry(UInt32(root), $0) == 0 })
  }

  @Test func othersMayGoOnMeanwhile() throws {
    var world = World(frames: 2000)
    let keeper = try world.root("k", account: 2)
    try world.build(keeper, at: 0, "k", account: 2)
    let root = try world.root()
    for table in UInt64(0)..<40 { try world.build(root, at: table << 21) }
    let shared = try (0..<30).map { _ in try world.take("s") }
    var random = Seeded(5)
    let result = try reclaim(1, in: &world) { world in
      // Whoever holds the name may map what is left, and free what nobody maps.
      let frame = random.pick(shared)
      let index = UInt64.random(in: 0..<512, using: &random)
      _ = failure { () throws(SystemCallError) in
        try world.write([page(frame)], at: index << 12, root: keeper, account: 2, mapped: capability("s"))
      }
      _ = try? world.ledger.free(1, of: Numbers([random.pick(shared)]), by: capability("s"))
      _ = try world.take("k", account: 2)
      #expect(complaint(world, dead: 1) == nil)
    }
    #expect(result.progress == .done)
    #expect(complaint(world) == nil)
    #expect(world.machine.records.allSatisfy { $0.account != 1 })
  }
}
