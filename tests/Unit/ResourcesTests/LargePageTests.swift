// SPDX-License-Identifier: Apache-2.0
// LargePageTests.swift: pages of 2 MiB and the tables behind them.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

@Suite struct LargePageTests {
  static let base: UInt64 = 512
  static let address: UInt64 = 3 << 21
  var world = World(frames: 2048)
  let root: UInt64
  let table: UInt64
  let parent: UInt32
  /// The large page's entry.
  var large: UInt64 { world.memory.entry(parent, 3) }
  /// Frames 512 to 1023: account 1's but for one, which account 2 shares.
  static let shared: UInt64 = base + 77

  init() throws {
    let numbers = Numbers(Array(Self.base..<Self.base + 512))
    for (owner, account, frames) in [
      ("a", UInt16(1), numbers.values.filter { $0 != Self.shared }), ("b", UInt16(2), [Self.shared]),
    ] {
      try world.ledger.allocateNamed(
        frames.count, in: Numbers(frames), under: capability(owner), account: account, keepsOwn: false,
        memory: world.memory)
    }
    root = try world.root()
    table = try world.build(root, at: Self.address)
    parent = try #require(world.tables.walk(root: UInt32(root), address: Self.address, to: 2)).table
    try world.write(numbers.values.map { page($0, writable: true) }, at: Self.address, root: root)
    #expect(complaint == nil)
  }

  private var complaint: String? { complaint(dead: nil) }

  private func complaint(dead: UInt16?) -> String? {
    let head = world.machine.records.firstIndex {
      $0.type == UInt8(APUS_FRAME_FREE) && $0.writable_mappings == .max
    }
    return brokenInvariant(
      of: world.machine, freeHead: head.map { UInt32($0) } ?? .max, freeCount: world.ledger.freeCount, dead: dead)
  }

  @discardableResult
  private func promote(
    at address: UInt64 = address, account: UInt16 = 1, by capability: Capability = capability("a")
  ) throws(SystemCallError) -> Maintenance {
    let promoted = try world.tables.promote(at: address, root: root, account: account, by: capability)
    if UInt64(promoted.table) != table { throw .noSuchResource }
    return promoted.maintenance
  }

  private func demote(_ table: UInt64? = nil, account: UInt16 = 1, by capability: Capability = capability("a"))
    throws(SystemCallError) -> Maintenance
  {
    try world.tables.demote(table ?? self.table, account: account, by: capability)
  }

  @Test func aTableBecomesALargePageAndATableAgain() throws {
    #expect(try promote() == .none)
    #expect(large == Self.base << 12 | 0x87)
    #expect(complaint == nil)
    #expect(world.tables.walk(root: UInt32(root), address: Self.address, to: 1) == nil)
    #expect(try demote() == .none)
    #expect(complaint == nil)
    #expect(world.tables.walk(root: UInt32(root), address: Self.address, to: 1)?.table == UInt32(table))
    #expect(world.memory.entry(UInt32(table), 511) == (Self.base + 511) << 12 | 7)
  }

  @Test func whatTheProcessorNotedIsKeptBothWays() throws {
    world.touch(table, 9)
    #expect(try promote() == .everything)
    #expect(large == Self.base << 12 | 0x87 | PageEntry.accessed)
    world.memory.setEntry(parent, 3, large | PageEntry.dirty)
    #expect(try demote() == .everything)
    for index in [0, 9, 511] {
      #expect(world.memory.entry(UInt32(table), index) & 0x60 == PageEntry.accessed | PageEntry.dirty)
    }
    #expect(complaint == nil)
  }

  @Test func whatAnotherProcessorNotesMeanwhileStays() throws {
    let (table, machine) = (Int(table), world.machine)
    try promote()
    world.memory.setEntry(parent, 3, large | PageEntry.accessed)
    machine.processor = { position in if position == table * 512 + 5 { machine.words[position] |= PageEntry.dirty } }
    _ = try demote()
    #expect(world.memory.entry(UInt32(table), 5) & 0x60 == 0x60)
    #expect(world.memory.entry(UInt32(table), 6) & 0x60 == 0x20)
  }

  @Test func nothingButATableOfConsecutiveFramesMappedAlikeWillDo() throws {
    let entries = (Self.base..<Self.base + 512).map { page($0, writable: true) }
    func refuses(_ error: SystemCallError, _ comment: Comment) {
      world.refused(error, comment) { () throws(SystemCallError) in try promote() }
    }
    for (index, entry) in [
      (0, page(Self.base)), (3, page(Self.base + 3)), (511, 0), (0, 0), (200, page(Self.base + 201, writable: true)),
      (511, page(Self.base + 511, writable: true) | PageEntry.noExecute),
      (8, page(Self.base + 8, writable: true) | 1 << 9),
    ] {
      try world.write([entry], at: Self.address + UInt64(index) << 12, root: root)
      refuses(.invalid, "entry \(index) is \(entry)")
      try world.write([entries[index]], at: Self.address + UInt64(index) << 12, root: root)
    }
    try world.write(Array(entries.dropLast()), at: Self.address + 4096, root: root)
    refuses(.invalid, "shifted by one page")
  }

  @Test mutating func alignedInMemoryAndInTheAddressSpace() throws {
    // Frames 513 to 1024, consecutive and alike, from no multiple of 512 on.
    let list = Numbers([Self.base + 512])
    try world.ledger.allocateNamed(
      1, in: list, under: capability("a"), account: 1, keepsOwn: false, memory: world.memory)
    try world.write((Self.base + 1...Self.base + 512).map { page($0) }, at: Self.address, root: root)
    world.refused(.invalid) { () throws(SystemCallError) in try promote() }
    world.refused(.invalid, "between") { () throws(SystemCallError) in try promote(at: Self.address + 4096) }
    world.refused(.invalid, "not even a page") { () throws(SystemCallError) in try promote(at: Self.address + 1) }
    world.refused(.invalid, "kernel half") { () throws(SystemCallError) in try promote(at: 1 << 47) }
    world.refused(.noTable, "nothing there") { () throws(SystemCallError) in try promote(at: Self.address + 1 << 21) }
    world.refused(.noTable, "nor above") { () throws(SystemCallError) in try promote(at: 1 << 40) }
  }

  @Test func onlyByWhoMayChangeTheAddressSpace() throws {
    world.refused(.denied) { () throws(SystemCallError) in try promote(by: capability("b")) }
    world.refused(.denied) { () throws(SystemCallError) in try promote(by: capability("a", .read)) }
    world.refused(.denied) { () throws(SystemCallError) in try promote(account: 2) }
    try promote()
    world.refused(.noTable, "twice") { () throws(SystemCallError) in try promote() }
    world.refused(.denied) { () throws(SystemCallError) in _ = try demote(by: capability("b")) }
    world.refused(.denied) { () throws(SystemCallError) in _ = try demote(by: capability("a", .read)) }
    world.refused(.denied) { () throws(SystemCallError) in _ = try demote(account: 2) }
    world.refused(.wrongType) { () throws(SystemCallError) in _ = try demote(UInt64(parent)) }
    world.refused(.wrongType) { () throws(SystemCallError) in _ = try demote(Self.base) }
    world.refused(.noSuchResource) { () throws(SystemCallError) in _ = try demote(1 << 40) }
    _ = try demote()
    world.refused(.invalid, "no large page") { () throws(SystemCallError) in _ = try demote() }
  }

  @Test func aTableWithAnotherLinkIsRefused() throws {
    try world.tables.installTable(table, level: 1, at: 5 << 21, root: root, account: 1, by: capability("a"))
    world.refused(.inUse) { () throws(SystemCallError) in try promote() }
    _ = try world.tables.removeTable(level: 1, at: 5 << 21, root: root, account: 1, by: capability("a"))
    try promote()
  }

  @Test mutating func theTableBehindIsOutOfReach() throws {
    try promote()
    let byA = capability("a")
    world.refused(.inUse, "a second link") { () throws(SystemCallError) in
      try world.tables.installTable(table, level: 1, at: 5 << 21, root: root, account: 1, by: byA)
    }
    let another = try world.take()
    world.refused(.tableExists, "another table in its place") { () throws(SystemCallError) in
      try world.tables.installTable(another, level: 1, at: Self.address, root: root, account: 1, by: byA)
    }
    world.refused(.noTable, "unlinking") { () throws(SystemCallError) in
      _ = try world.tables.removeTable(level: 1, at: Self.address, root: root, account: 1, by: byA)
    }
    world.refused(.inUse, "the table above") { () throws(SystemCallError) in
      _ = try world.tables.removeTable(level: 2, at: Self.address, root: root, account: 1, by: byA)
    }
    world.refused(.noTable, "writing") { () throws(SystemCallError) in
      try world.write([0], at: Self.address, root: root)
    }
    world.refused(.noTable, "protecting") { () throws(SystemCallError) in
      try world.protect(1, at: Self.address, root: root)
    }
    world.refused(.inUse, "freeing a frame of it") { () throws(SystemCallError) in
      try world.ledger.free(1, of: Numbers([Self.base + 4]), by: byA)
    }
    world.refused(.wrongType, "freeing the table") { () throws(SystemCallError) in
      try world.ledger.free(1, of: Numbers([table]), by: byA)
    }
    let tables = world.tables
    let caller = PageCaller(account: 1, currentRoot: UInt32(root))
    let released = try world.ledger.releasePages(
      512, at: Self.address, root: root, caller: caller, tables: byA, owner: byA, in: tables)
    #expect(released.count == 512 && released.maintenance == .none)
    #expect(world.record(Self.base).mappings == 1)
    #expect(complaint == nil)
  }

  @Test mutating func aFrameTakenByForceLeavesPages() throws {
    try promote()
    world.memory.setEntry(parent, 3, large | PageEntry.accessed | PageEntry.dirty)
    #expect(world.ledger.repossess(Self.base + 100, from: 1))
    var cursor = ReclaimCursor()
    let tables = world.tables
    var invalidations = 0
    // The kernel's own account has no tables: passes over frames, mappings, frames again.
    while true {
      let step = world.ledger.reclaimStep(UInt16(APUS_ACCOUNT_REVOKED), cursor: &cursor, tables: tables)
      if step.needsInvalidation { invalidations += 1 }
      #expect(complaint == nil)
      if step.progress == .done { break }
    }
    #expect(invalidations == 1)
    #expect(world.record(Self.base + 100).type == UInt8(APUS_FRAME_FREE))
    #expect(world.record(table).pins == 0)
    #expect(world.memory.entry(UInt32(table), 100) == 0)
    #expect(world.memory.entry(UInt32(table), 101) == (Self.base + 101) << 12 | 0x67)
  }

  @Test(arguments: [UInt16(1), 2]) mutating func whenAnAccountEndsAllOfItComesBack(account: UInt16) throws {
    try promote()
    let tables = world.tables
    var cursor = ReclaimCursor()
    while true {
      let step = world.ledger.reclaimStep(account, cursor: &cursor, tables: tables)
      #expect(complaint(dead: account) == nil)
      if step.progress != .more {
        #expect(step.progress == .done)
        break
      }
    }
    #expect(world.machine.records.allSatisfy { $0.account != account })
    if account == 2 {
      #expect(world.record(table).pins == 0 && world.memory.entry(UInt32(table), 77) == 0)
      #expect(world.tables.walk(root: UInt32(root), address: Self.address, to: 1)?.table == UInt32(table))
    } else {
      #expect(world.record(Self.shared).mappings == 0)
    }
  }

  /// The parent is looked at before the table, as its number is lower, and the other way round.
  @Test func whicheverTableIsReclaimedFirst() throws {
    #expect(parent < table)
    var other = World(frames: 2048)
    let frames = Array(Self.base..<Self.base + 512)
    try other.ledger.allocateNamed(
      512, in: Numbers(frames), under: capability("a"), account: 1, keepsOwn: false, memory: other.memory)
    try other.ledger.allocateNamed(
      2, in: Numbers([1500, 1200]), under: capability("a"), account: 1, keepsOwn: false, memory: other.memory)
    let root = try other.root()
    for (level, frame) in [(3, try other.take()), (2, 1500), (1, 1200)] as [(UInt64, UInt64)] {
      try other.tables.installTable(frame, level: level, at: 0, root: root, account: 1, by: capability("a"))
    }
    try other.write(frames.map { page($0) }, at: 0, root: root)
    #expect(try other.tables.promote(at: 0, root: root, account: 1, by: capability("a")).table == 1200)
    var cursor = ReclaimCursor()
    let tables = other.tables
    while other.ledger.reclaimStep(1, cursor: &cursor, tables: tables).progress == .more {}
    #expect(other.machine.records.allSatisfy { $0.account != 1 })
    #expect(other.ledger.freeCount == 2047)
  }
}
