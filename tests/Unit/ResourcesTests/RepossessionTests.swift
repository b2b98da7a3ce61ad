// SPDX-License-Identifier: Apache-2.0
// RepossessionTests.swift: what is taken by force: no more, no less, from nobody else, and mapped nowhere afterwards.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

@Suite struct RepossessionTests {
  private func entry(_ kind: RevocationKind, _ number: UInt64) -> UInt64 {
    kind.rawValue << UInt64(APUS_REPOSSESSION_KIND_SHIFT) | number
  }

  /// How many frames an account holds.
  private func held(_ account: UInt16, _ world: World) -> UInt32 {
    UInt32(world.machine.records.count { $0.account == account && $0.type != UInt8(APUS_FRAME_FREE) })
  }

  private func complaint(_ world: World) -> String? {
    let head = world.machine.records.firstIndex {
      $0.type == UInt8(APUS_FRAME_FREE) && $0.writable_mappings == .max
    }
    return brokenInvariant(
      of: world.machine, freeHead: head.map { UInt32($0) } ?? .max, freeCount: world.ledger.freeCount, dead: nil)
  }

  /// Takes by force down to a level.
  ///
  /// - Returns: The frames, in the order in which they were told, and how many steps it took.
  private func take(
    down allowed: UInt32, from account: UInt16 = 1, list: [UInt64] = [], in world: inout World,
    between: (inout World) throws -> Void = { _ in }
  ) throws -> (frames: [UInt64], steps: UInt64, held: Bool) {
    var repossession = Repossession()
    var told: [UInt64] = []
    repossession.begin(DueRevocation(index: 0, account: account, kind: .frames, allowed: allowed))
    let listed = repossession.takeListed(
      Numbers(list), count: list.count, held: held(account, world), from: world.ledger
    ) { told.append(UInt64($0)) }
    #expect(Int(listed) == told.count)
    var steps: UInt64 = 1
    var isHeld = false
    while repossession.isBusy {
      steps += 1
      if repossession.isChoosing {
        let before = told.count
        let taken = repossession.takeNext(held: held(account, world), from: world.ledger) { told.append(UInt64($0)) }
        #expect(Int(taken) == told.count - before)
      } else {
        let tables = world.tables
        let step = repossession.giveBack(to: &world.ledger, tables: tables)
        if step.leavesHeld { isHeld = true }
      }
      #expect(complaint(world) == nil)
      for account in UInt16(1)...2 { #expect(world.machine.accounts[Int(account)].frames.used == held(account, world)) }
      try between(&world)
      guard steps < 100_000 else { break }
    }
    if !isHeld { #expect(world.machine.accounts[0].frames.used == 0) }
    return (told, steps, isHeld)
  }

  /// Two accounts that map each other's frames, in several tables.
  private func world(frames: Int, each: Int) throws -> (World, [UInt64], [UInt64]) {
    var world = World(frames: frames)
    var owned: [[UInt64]] = []
    for account in UInt16(1)...2 {
      owned.append(try (0..<each).map { _ in try world.take("s", account: account) })
    }
    for account in UInt16(1)...2 {
      let root = try world.root("a", account: account)
      for table in UInt64(0)..<3 {
        let level1 = try world.build(root, at: table << 21, "a", account: account)
        try world.write(
          (owned[0] + owned[1]).prefix(512).map { page($0, writable: table == 1) }, at: table << 21, root: root,
          account: account)
        world.touch(level1, 3)
      }
    }
    return (world, owned[0], owned[1])
  }

  @Test func whatIsMissingIsTakenInFrameOrderAndNoMore() throws {
    var (world, mine, others) = try world(frames: 1500, each: 200)
    let before = held(1, world)
    let free = world.ledger.freeCount
    let result = try take(down: before - 50, in: &world)
    #expect(result.frames == Array(mine.sorted().prefix(50)))
    #expect(held(1, world) == before - 50)
    #expect(world.ledger.freeCount == free + 50)
    for frame in result.frames { #expect(world.record(frame).type == UInt8(APUS_FRAME_FREE)) }
    for frame in mine.sorted().dropFirst(50) + others { #expect(world.record(frame).mappings == 6) }
    // Nobody gets the contents: the guard that the frame had last is no family's.
    #expect(result.frames.allSatisfy { world.record($0).guard_length == 8 && world.record($0).guard == 0 })
  }

  @Test func theListComesFirstAndIsNotBelieved() throws {
    var (world, mine, others) = try world(frames: 1500, each: 200)
    try world.ledger.pin(mine[180])
    let table = try #require(
      world.machine.records.firstIndex { $0.account == 1 && $0.type == UInt8(APUS_FRAME_TABLE1) })
    let list = [
      0, .max, 1 << 63, entry(.frames, 1 << 32), entry(.frames, 1500), entry(.frames, (1 << 56) - 1),
      entry(.slices, mine[150]), entry(.frames, 0), entry(.frames, others[3]), entry(.frames, mine[180]),
      entry(.frames, UInt64(table)), entry(.frames, mine[170]), entry(.frames, mine[170]), mine[160],
      entry(.frames, mine[165]), 3 << 56 | mine[166],
    ]
    let before = held(1, world)
    let result = try take(down: before - 4, list: list, in: &world)
    #expect(result.frames.prefix(2) == [mine[170], mine[165]])
    #expect(result.frames.dropFirst(2) == mine.sorted().prefix(2))
    #expect(held(1, world) == before - 4)
    #expect(others.allSatisfy { world.record($0).account == 2 && world.record($0).mappings == 6 })
  }

  @Test func pinnedFramesAndTablesStay() throws {
    var (world, mine, _) = try world(frames: 1500, each: 200)
    for frame in mine.prefix(20) { try world.ledger.pin(frame) }
    let tables = world.machine.records.count { $0.account == 1 && $0.isTable }
    let result = try take(down: 0, in: &world)
    #expect(result.frames.sorted() == mine.dropFirst(20).sorted())
    #expect(Int(held(1, world)) == 20 + tables)
    #expect(!result.held)
  }

  @Test func aPinThatComesBetweenHoldsTheFrameAndNothingElse() throws {
    var (world, mine, _) = try world(frames: 1500, each: 200)
    var isPinned = false
    let before = world.ledger.freeCount
    let result = try take(down: held(1, world) - 30, in: &world) { world in
      // A sleeper's word: the page is still mapped, though the frame has changed hands.
      guard !isPinned, let first = mine.first, world.record(first).account == 0 else { return }
      try world.ledger.pin(first)
      isPinned = true
    }
    #expect(result.held)
    #expect(world.ledger.freeCount == before + 29)
    #expect(world.record(mine[0]).account == 0 && world.record(mine[0]).mappings == 0)
  }

  @Test func nobodyMapsWhatIsBeingTaken() throws {
    var (world, mine, _) = try world(frames: 3000, each: 200)
    let root = UInt64(
      try #require(world.machine.records.firstIndex { $0.account == 1 && $0.type == UInt8(APUS_FRAME_TABLE4) }))
    var refusals = 0
    let result = try take(down: held(1, world) - 100, in: &world) { world in
      let taken = mine.first { world.record($0).account == 0 && world.record($0).isOrdinary }
      guard let taken else { return }
      let error = failure { () throws(SystemCallError) in
        try world.write([page(taken)], at: 0x3000, root: root, mapped: capability("s"))
      }
      #expect(error == .denied)
      let freeing = failure { () throws(SystemCallError) in
        try world.ledger.free(1, of: Numbers([taken]), by: capability("s"))
      }
      #expect(freeing == .denied)
      refusals += 1
    }
    #expect(refusals > 0)
    #expect(result.frames.count == 100)
  }

  @Test(arguments: UInt64(1)...12) func everybodyGoesOnMeanwhile(seed: UInt64) throws {
    var random = Seeded(seed)
    var (world, mine, others) = try world(frames: 4000, each: 250)
    let both = mine + others
    let root = UInt64(
      try #require(world.machine.records.firstIndex { $0.account == 2 && $0.type == UInt8(APUS_FRAME_TABLE4) }))
    let start = held(1, world)
    let allowed = UInt32.random(in: 20..<start, using: &random)
    let result = try take(down: allowed, in: &world) { world in
      for _ in 0..<3 {
        let frame = random.pick(both)
        let index = UInt64.random(in: 0..<512, using: &random)
        _ = failure { () throws(SystemCallError) in
          try world.write(
            [random.chance(50) ? page(frame) : 0], at: index << 12, root: root, account: 2, mapped: capability("s"))
        }
        _ = try? world.ledger.free(1, of: Numbers([random.pick(both)]), by: capability("s"))
        if random.chance(30) { _ = try world.take("s", account: random.chance(50) ? 1 : 2) }
      }
    }
    #expect(Set(result.frames).isSubset(of: world.machine.records.indices.map { UInt64($0) }))
    #expect(world.machine.records.allSatisfy { $0.account != 0 || !$0.isOrdinary }, "nothing is left under way")
    #expect(result.steps <= Repossession.stepBound(frameCount: 4000))
  }

  @Test func slicesOfAnAccount() throws {
    let machine = Machine(frames: 0, environments: 8, slices: 16)
    machine.endowAll()
    var environments = EnvironmentTable(environments: EnvironmentView(machine: machine), accounts: machine.ledger)
    var timeline = Timeline(slices: SliceView(machine: machine))
    for account in [UInt16(1), 2, 1] {
      let slot = try environments.vacantSlot(for: account)
      _ = environments.occupy(
        slot, account: account, under: capability("a"), root: 0, uareaFrame: 0, uareaAddress: 0)
      for _ in 0..<3 { _ = try timeline.allocate(nil, for: slot, in: environments) }
    }
    #expect(machine.accounts[1].slices.used == 6)
    do {
      let isTaken = timeline.repossess(4, from: 1, in: environments)
      #expect(isTaken == false, "another's")
    }
    do {
      let isTaken = timeline.repossess(12, from: 1, in: environments)
      #expect(isTaken == false, "free")
    }
    do {
      let isTaken = timeline.repossess(16, from: 1, in: environments)
      #expect(isTaken == false, "none")
    }
    do {
      let isTaken = timeline.repossess(.max, from: 1, in: environments)
      #expect(isTaken == false)
    }
    do {
      let isTaken = timeline.repossess(8, from: 1, in: environments)
      #expect(isTaken == true)
    }
    do {
      let isTaken = timeline.repossess(8, from: 1, in: environments)
      #expect(isTaken == false, "gone")
    }
    #expect(timeline.highWater == 8)
    #expect(machine.accounts[1].slices.used == 5)
    #expect(machine.accounts[2].slices.used == 3)
  }
}
