// SPDX-License-Identifier: Apache-2.0
// FrameLedgerTests.swift: the rules of taking, guarding, pinning and giving back frames.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

@Suite struct FrameLedgerTests {
  @Test func freeFramesAreHandedOutLowestFirstUntilNoneIsLeft() throws {
    var world = World(frames: 5)
    #expect(world.ledger.freeCount == 4)
    for frame in UInt64(1)...4 { #expect(try world.take() == frame) }
    #expect(throws: SystemCallError.exhausted) { try world.take() }
    #expect(world.ledger.freeCount == 0)
  }

  @Test func memoryInPiecesMakesOneList() throws {
    let machine = Machine(frames: 10)
    machine.endowAll()
    var ledger = Ledger(frames: FrameView(machine: machine), accounts: machine.ledger)
    ledger.addFree(6..<9)
    ledger.addFree(4..<4)
    ledger.addFree(1..<3)
    let list = Numbers(count: 10)
    let granted = try ledger.allocate(
      10, into: list, under: capability("a"), account: 1, keepsOwn: false,
      memory: MemoryView(machine: machine))
    #expect(granted == 5)
    #expect(list.values[..<5] == [1, 2, 6, 7, 8])
  }

  @Test func aTakenFrameCarriesItsOwnersNameAndAccount() throws {
    var world = World()
    let frame = try world.take("ab", account: 7)
    let record = world.record(frame)
    #expect(record.guard == packed(Array("ab".utf8)).bits)
    #expect(record.guard_length == 2)
    #expect(record.account == 7)
    #expect(record.isOrdinary && record.isUnused)
  }

  @Test func takingNeedsTheRightToWrite() throws {
    var world = World()
    let weak = capability("a", .read.union(.grant))
    let list = Numbers([5])
    #expect(throws: SystemCallError.denied) {
      try world.ledger.allocate(
        1, into: list, under: weak, account: 1, keepsOwn: false, memory: world.memory)
    }
    #expect(throws: SystemCallError.denied) {
      try world.ledger.allocateNamed(
        1, in: list, under: weak, account: 1, keepsOwn: false, memory: world.memory)
    }
  }

  @Test func oldContentsStayOnlyUnderTheSameGuardAndWhenAskedFor() throws {
    for (next, keepsOwn, stays) in [
      ("ab", true, true), ("ab", false, false), ("a", true, false), ("abc", true, false),
      ("b", true, false),
    ] {
      var world = World()
      let list = Numbers([9])
      try world.ledger.allocateNamed(
        1, in: list, under: capability("ab"), account: 1, keepsOwn: true, memory: world.memory)
      world.memory.setEntry(9, 100, 4711)
      try world.ledger.free(1, of: list, by: capability("ab"))
      try world.ledger.allocateNamed(
        1, in: list, under: capability(next), account: 2, keepsOwn: keepsOwn, memory: world.memory)
      #expect(world.memory.entry(9, 100) == (stays ? 4711 : 0), "\(next), \(keepsOwn)")
    }
  }

  @Test func namesOfUnequalLengthAreDifferentGuards() throws {
    var world = World()
    let short = try #require(Capability(name: 0, length: 1, rights: .all))
    let long = try #require(Capability(name: 0, length: 2, rights: .all))
    let list = Numbers([9])
    try world.ledger.allocateNamed(
      1, in: list, under: short, account: 1, keepsOwn: true, memory: world.memory)
    world.memory.setEntry(9, 100, 4711)
    try world.ledger.free(1, of: list, by: short)
    try world.ledger.allocateNamed(
      1, in: list, under: long, account: 1, keepsOwn: true, memory: world.memory)
    #expect(world.memory.entry(9, 100) == 0)
  }

  @Test func namedFramesAreTakenAllOrNone() throws {
    var world = World()
    let owned = try world.take()
    for (list, error) in [
      ([5, 6, 5], .invalid), ([5, owned, 6], .inUse), ([5, 0], .noSuchResource),
      ([5, 64], .noSuchResource), ([5, 1 << 32 | 6], .noSuchResource),
    ] as [([UInt64], SystemCallError)] {
      world.machine.beginJournal()
      #expect(throws: error) {
        try world.ledger.allocateNamed(
          list.count, in: Numbers(list), under: capability("a"), account: 1, keepsOwn: false,
          memory: world.memory)
      }
      #expect(world.machine.isUnchanged)
    }
    try world.ledger.allocateNamed(
      3, in: Numbers([63, 7, 30]), under: capability("a"), account: 1, keepsOwn: false,
      memory: world.memory)
    #expect(world.ledger.freeCount == 59)
  }

  @Test func framesAreGivenBackAllOrNone() throws {
    var world = World()
    let root = try world.root()
    try world.build(root, at: 0)
    let good = try world.take()
    let mapped = try world.take()
    let pinned = try world.take()
    let foreign = try world.take("b", account: 2)
    let uarea = try world.take()
    try world.write([page(mapped)], at: 0, root: root)
    try world.ledger.pin(pinned)
    try world.ledger.pinUarea(uarea, account: 1, by: capability("a"))
    for (list, error) in [
      ([good, good], .invalid), ([good, mapped], .inUse), ([good, pinned], .inUse),
      ([good, foreign], .denied), ([good, root], .wrongType), ([good, uarea], .inUse),
      ([good, 60], .wrongType), ([good, 0], .wrongType), ([good, 64], .noSuchResource),
      ([good, good | 1 << 32], .noSuchResource),
    ] as [([UInt64], SystemCallError)] {
      world.machine.beginJournal()
      #expect(throws: error, "\(list)") {
        try world.ledger.free(2, of: Numbers(list), by: capability("a"))
      }
      #expect(world.machine.isUnchanged)
    }
    #expect(throws: SystemCallError.denied) {
      try world.ledger.free(1, of: Numbers([good]), by: capability("a", .read))
    }
    let before = world.ledger.freeCount
    world.ledger.unpin(UInt32(pinned))
    try world.ledger.free(2, of: Numbers([good, pinned]), by: capability("a"))
    #expect(world.ledger.freeCount == before + 2)
  }

  @Test func framesAreGivenToAnotherAccountAllOrNone() throws {
    var world = World()
    let root = try world.root()
    try world.build(root, at: 0)
    let good = try world.take()
    let mapped = try world.take()
    let pinned = try world.take()
    let foreign = try world.take("b", account: 2)
    try world.write([page(mapped)], at: 0, root: root)
    try world.ledger.pin(pinned)
    world.memory.setEntry(UInt32(good), 100, 4711)
    func give(_ list: [UInt64], by owner: String = "a", to receiver: Capability) throws(SystemCallError) {
      try world.ledger.transfer(
        list.count, of: Numbers(list), by: capability(owner), to: receiver, account: 2)
    }
    for (list, error) in [
      ([good, good], .invalid), ([good, mapped], .inUse), ([good, pinned], .inUse), ([good, foreign], .denied),
      ([good, root], .wrongType), ([good, 60], .wrongType), ([good, 0], .wrongType), ([good, 64], .noSuchResource),
    ] as [([UInt64], SystemCallError)] {
      world.refused(error, "\(list)") { () throws(SystemCallError) in try give(list, to: capability("b")) }
    }
    world.refused(.denied) { () throws(SystemCallError) in try give([good], to: capability("b", .read)) }
    world.ledger.flushEpoch = 3
    world.refused(.flushPending) { () throws(SystemCallError) in try give([good], to: capability("b")) }
    world.ledger.flushEpoch = 0
    let used = world.machine.accounts[2].frames.used
    world.machine.accounts[2].frames.limit = used
    world.refused(.quotaExceeded) { () throws(SystemCallError) in try give([good], to: capability("b")) }
    world.machine.accounts[2].frames.limit = used + 1
    let own = world.machine.accounts[1].frames.used
    try give([good], to: capability("bc"))
    #expect(world.machine.accounts[1].frames.used == own - 1)
    #expect(world.machine.accounts[2].frames.used == used + 1)
    #expect(world.record(good).account == 2 && world.record(good).isOrdinary)
    #expect(world.record(good).isReached(by: capability("bc"), needing: .write))
    #expect(!world.record(good).isReached(by: capability("a"), needing: .read))
    #expect(world.memory.entry(UInt32(good), 100) == 4711)
  }

  @Test func aGuardOnlyGrowsLonger() throws {
    var world = World()
    let frame = try world.take("ab")
    let root = try world.root("ab")
    func set(_ name: String, by owner: Capability, frame: UInt64) throws(SystemCallError) {
      let (bits, length) = packed(Array(name.utf8))
      try world.ledger.setGuard(of: frame, to: bits, length: length, by: owner)
    }
    let own = capability("ab")
    world.refused(.invalid) { () throws(SystemCallError) in try set("ab", by: own, frame: frame) }
    world.refused(.invalid) { () throws(SystemCallError) in try set("a", by: own, frame: frame) }
    world.refused(.denied) { () throws(SystemCallError) in try set("axc", by: own, frame: frame) }
    world.refused(.denied) { () throws(SystemCallError) in
      try set("abc", by: capability("abc"), frame: frame)
    }
    world.refused(.denied) { () throws(SystemCallError) in
      try set("abc", by: capability("ab", .read), frame: frame)
    }
    world.refused(.wrongType) { () throws(SystemCallError) in try set("abc", by: own, frame: root) }
    world.refused(.noSuchResource) { () throws(SystemCallError) in
      try set("abc", by: own, frame: 64)
    }
    world.refused(.invalid, "stray bits after the name") { () throws(SystemCallError) in
      let (bits, _) = packed(Array("abcd".utf8))
      try world.ledger.setGuard(of: frame, to: bits, length: 3, by: own)
    }
    world.refused(.invalid, "nine bytes") { () throws(SystemCallError) in
      try world.ledger.setGuard(
        of: frame, to: packed(Array("abcdefgh".utf8)).bits, length: 9, by: own)
    }
    try set("abc", by: own, frame: frame)
    #expect(world.record(frame).isReached(by: capability("abc"), needing: .write))
    #expect(!world.record(frame).isReached(by: capability("abd"), needing: .read))
    try set("abcdefgh", by: capability("a"), frame: frame)
  }

  @Test func pinsAreCountedAndBounded() throws {
    var world = World()
    let frame = try world.take()
    let root = try world.root()
    for _ in 0..<UInt16.max { try world.ledger.pin(frame) }
    world.refused(.exhausted) { () throws(SystemCallError) in try world.ledger.pin(frame) }
    world.refused(.wrongType) { () throws(SystemCallError) in try world.ledger.pin(root) }
    world.refused(.wrongType) { () throws(SystemCallError) in try world.ledger.pin(60) }
    world.refused(.noSuchResource) { () throws(SystemCallError) in try world.ledger.pin(64) }
    for _ in 0..<UInt16.max { world.ledger.unpin(UInt32(frame)) }
    try world.ledger.free(1, of: Numbers([frame]), by: capability("a"))
  }

  @Test func aUareaMayBeMappedButNotFreedOrMadeATable() throws {
    var world = World()
    let root = try world.root()
    try world.build(root, at: 0)
    let frame = try world.take()
    let own = capability("a")
    try world.write([page(frame, writable: true)], at: 0, root: root)
    try world.ledger.pinUarea(frame, account: 1, by: own)
    try world.write([page(frame, writable: true)], at: 0x1000, root: root)
    try world.write([0, 0], at: 0, root: root)
    #expect(world.record(frame).isOrdinary && !world.record(frame).isUnused)
    world.refused(.inUse) { () throws(SystemCallError) in
      try world.tables.makeRoot(frame, account: 1, by: own) { _ in }
    }
    world.refused(.inUse) { () throws(SystemCallError) in
      try world.tables.installTable(frame, level: 1, at: 1 << 21, root: root, account: 1, by: own)
    }
    world.machine.beginJournal()
    #expect(throws: SystemCallError.inUse) {
      try world.ledger.free(1, of: Numbers([frame]), by: own)
    }
    #expect(world.machine.isUnchanged)
    try world.ledger.pinUarea(frame, account: 1, by: own)
    world.ledger.unpin(UInt32(frame))
    #expect(world.record(frame).pins == 1, "two environments may share a u-area")
    let (name, length) = packed(Array("ab".utf8))
    try world.ledger.setGuard(of: frame, to: name, length: length, by: own)
    world.ledger.unpin(UInt32(frame))
    try world.ledger.free(1, of: Numbers([frame]), by: own)
  }

  @Test func onlyAnOwnOrdinaryFrameIsPinnedAsAUarea() throws {
    var world = World()
    let root = try world.root()
    let foreign = try world.take("ab", account: 2)
    let good = try world.take()
    for (frame, owner, error) in [
      (foreign, capability("a"), SystemCallError.denied), (good, capability("b"), .denied),
      (good, capability("a", .read), .denied), (root, capability("a"), .wrongType),
      (60, capability("a"), .wrongType), (64, capability("a"), .noSuchResource),
      (1 << 32 | good, capability("a"), .noSuchResource),
    ] {
      world.refused(error) { () throws(SystemCallError) in
        try world.ledger.pinUarea(frame, account: 1, by: owner)
      }
    }
    for _ in 0..<UInt16.max { try world.ledger.pin(good) }
    world.refused(.exhausted) { () throws(SystemCallError) in
      try world.ledger.pinUarea(good, account: 1, by: capability("a"))
    }
  }
}
