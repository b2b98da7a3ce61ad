// SPDX-License-Identifier: Apache-2.0
// PageCallTests.swift: pages filled with fresh frames and released with them in one step.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

/// The name of account 1, one below it, one beside that, and another account's.
private let own = capability("\0\u{1}")
private let below = capability("\0\u{1}x")
private let beside = capability("\0\u{1}y")
private let other = capability("\0\u{2}")

private let writable = PageEntry.present | PageEntry.writable

@Suite struct PageCallTests {
  var world = World()
  let root: UInt64
  let table: UInt64

  init() throws {
    root = try world.root("\0\u{1}")
    table = try world.build(root, at: 0, "\0\u{1}")
  }

  @discardableResult
  private mutating func fill(
    _ count: UInt64, at address: UInt64 = 0, bits: UInt64 = writable, tables: Capability = own,
    owner: Capability = own
  ) throws(SystemCallError) -> (first: UInt32, count: Int) {
    try world.ledger.fillPages(
      count, at: address, root: root, bits: bits, account: 1, tables: tables, owner: owner, charging: 1,
      in: world.tables)
  }

  @discardableResult
  private mutating func release(
    _ count: UInt64, at address: UInt64 = 0, tables: Capability = own, owner: Capability? = own
  ) throws(SystemCallError) -> UInt64 {
    try world.ledger.releasePages(
      count, at: address, root: root,
      caller: PageCaller(account: 1, currentRoot: UInt32(truncatingIfNeeded: root)), tables: tables, owner: owner,
      in: world.tables
    ).count
  }

  private func entry(_ index: Int) -> UInt64 { world.memory.entry(UInt32(table), index) }
  private var used: UInt32 { world.machine.accounts[1].frames.used }
  /// Says that an attempt is refused and changes nothing.
  private func refused(
    _ error: SystemCallError, _ comment: Comment, _ attempt: (inout Self) throws(SystemCallError) -> Void
  ) {
    world.refused(error, comment) { () throws(SystemCallError) in
      var copy = self
      try attempt(&copy)
    }
  }

  // MARK: Filling

  @Test mutating func filledPagesAreZeroedMappedAndCharged() throws {
    for frame in 1..<UInt32(64) where world.record(UInt64(frame)).type == UInt8(APUS_FRAME_FREE) {
      world.memory.setEntry(frame, 7, 0x5354_414c_45)
    }
    let free = world.ledger.freeCount
    let before = used
    let filled = try fill(3, at: 0x5000, owner: below)
    #expect(filled.count == 3)
    #expect(entry(5) >> 12 == UInt64(filled.first))
    for index in 5..<8 {
      let frame = entry(index) >> 12
      #expect(entry(index) == frame << 12 | 7)
      #expect(world.memory.entry(UInt32(frame), 7) == 0, "what another left there is seen")
      let record = world.record(frame)
      #expect(record.type == UInt8(APUS_FRAME_ORDINARY) && record.account == 1)
      #expect(record.guard == below.name && record.guard_length == 3)
      #expect(record.mappings == 1 && record.writable_mappings == 1 && record.pins == 0)
    }
    #expect(Set((5..<8).map { entry($0) >> 12 }).count == 3)
    #expect(world.ledger.freeCount == free - 3)
    #expect(used == before + 3)
    try fill(1, at: 0, bits: PageEntry.present)
    #expect(world.record(entry(0) >> 12).writable_mappings == 0)
  }

  @Test func whatCannotBeFilledIsRefusedWhole() throws {
    refused(.invalid, "no page") { (it) throws(SystemCallError) in try it.fill(0) }
    refused(.invalid, "more than a call zeroes") { (it) throws(SystemCallError) in try it.fill(65) }
    refused(.invalid, "in the middle of a page") { (it) throws(SystemCallError) in try it.fill(1, at: 8) }
    refused(.invalid, "beyond the user's half") { (it) throws(SystemCallError) in
      try it.fill(2, at: UInt64(APUS_USER_LIMIT) - 0x1000)
    }
    refused(.invalid, "not present") { (it) throws(SystemCallError) in try it.fill(1, bits: PageEntry.writable) }
    refused(.invalid, "the kernel's bit") { (it) throws(SystemCallError) in try it.fill(1, bits: writable | 1 << 8) }
    refused(.denied, "tables under a longer name") { (it) throws(SystemCallError) in try it.fill(1, tables: below) }
    refused(.denied, "tables of another account") { (it) throws(SystemCallError) in try it.fill(1, tables: other) }
    for rights in [Rights.read, .write, .grant] {
      refused(.denied, "frames by too few rights") { (it) throws(SystemCallError) in
        try it.fill(1, owner: capability("\0\u{1}", rights))
      }
    }
    refused(.noTable, "where no table is") { (it) throws(SystemCallError) in try it.fill(1, at: 1 << 21) }
  }

  @Test mutating func aMappedPageInTheRangeRefusesAll() throws {
    try fill(1, at: 0x3000)
    refused(.inUse, "the last of four") { (it) throws(SystemCallError) in try it.fill(4) }
    #expect(try fill(3).count == 3)
  }

  @Test mutating func fillingEndsAtATablesEndAndAtABudgets() throws {
    #expect(try fill(8, at: 510 << 12).count == 2)
    world.machine.accounts[1].frames.limit = used + 5
    #expect(try fill(8).count == 5)
    refused(.quotaExceeded, "the budget is used") { (it) throws(SystemCallError) in try it.fill(1, at: 0x8000) }
    world.machine.accounts[1].frames.limit = 1000
    let left = world.ledger.freeCount
    #expect(try fill(64, at: 0x10_0000).count == Int(left))
    #expect(world.ledger.freeCount == 0)
    refused(.exhausted, "no frame is free") { (it) throws(SystemCallError) in try it.fill(1, at: 0x8000) }
    #expect(try release(UInt64(left), at: 0x10_0000) == UInt64(left))
    #expect(world.ledger.freeCount == left)
  }

  // MARK: Releasing

  @Test mutating func releasedFramesAreFreeAndNoLongerCharged() throws {
    let free = world.ledger.freeCount
    let before = used
    let first = UInt64(try fill(4).first)
    #expect(try release(4) == 4)
    for index in 0..<4 { #expect(entry(index) == 0) }
    #expect(world.record(first).type == UInt8(APUS_FRAME_FREE))
    #expect(world.ledger.freeCount == free)
    #expect(used == before)
    #expect(try fill(64, at: 0x10_0000).count == Int(min(64, free)), "the list of free frames is whole")
  }

  @Test mutating func aFrameThatSomethingElseUsesStays() throws {
    let first = UInt64(try fill(3).first)
    let frames = (0..<3).map { entry($0) >> 12 }
    #expect(frames[0] == first)
    try world.write([page(frames[1])], at: 0x20_0000 - 0x1000, root: root, tables: own, mapped: own)
    try world.ledger.pin(frames[2])
    let free = world.ledger.freeCount
    #expect(try release(3) == 3)
    #expect(world.ledger.freeCount == free + 1)
    #expect(world.record(frames[1]).type == UInt8(APUS_FRAME_ORDINARY) && world.record(frames[1]).mappings == 1)
    #expect(world.record(frames[2]).type == UInt8(APUS_FRAME_ORDINARY) && world.record(frames[2]).mappings == 0)
  }

  @Test mutating func aFrameThatTheNameDoesNotReachStays() throws {
    try fill(1, at: 0, owner: below)
    try fill(1, at: 0x1000, owner: beside)
    try fill(1, at: 0x2000, owner: own)
    let frames = (0..<3).map { entry($0) >> 12 }
    #expect(try release(3, owner: below) == 3)
    #expect(world.record(frames[0]).type == UInt8(APUS_FRAME_FREE), "its own")
    #expect(world.record(frames[1]).type == UInt8(APUS_FRAME_ORDINARY), "beside it")
    #expect(world.record(frames[2]).type == UInt8(APUS_FRAME_ORDINARY), "above it")
    try world.write([page(frames[1]), page(frames[2])], at: 0, root: root, tables: own, mapped: own)
    #expect(try release(2, owner: capability("\0\u{1}", .read)) == 2)
    #expect(world.record(frames[1]).type == UInt8(APUS_FRAME_ORDINARY), "without the right to write")
    try world.write([page(frames[1]), page(frames[2])], at: 0, root: root, tables: own, mapped: own)
    #expect(try release(2, owner: nil) == 2)
    #expect(world.record(frames[1]).type == UInt8(APUS_FRAME_ORDINARY), "without a name")
    try world.write([page(frames[1]), page(frames[2])], at: 0, root: root, tables: own, mapped: own)
    #expect(try release(2) == 2)
    #expect(world.record(frames[1]).type == UInt8(APUS_FRAME_FREE), "a name that dominates both")
    #expect(world.record(frames[2]).type == UInt8(APUS_FRAME_FREE), "the name itself")
  }

  @Test mutating func holesArePassedOverAndTheStepIsBounded() throws {
    try fill(1, at: 0x1000)
    try fill(1, at: 511 << 12)
    let free = world.ledger.freeCount
    #expect(try release(512) == 512)
    #expect(world.ledger.freeCount == free + 2)
    // Missing tables cost, too: a step ends before a terabyte is through.
    #expect(try release(1 << 28, at: 1 << 21) == 32 * 512)
    refused(.invalid, "beyond the user's half") { (it) throws(SystemCallError) in
      try it.release(2, at: UInt64(APUS_USER_LIMIT) - 0x1000)
    }
    refused(.denied, "tables of another account") { (it) throws(SystemCallError) in try it.release(1, tables: other) }
  }

  // MARK: One page

  private mutating func fillOne(at address: UInt64, of root: UInt64, by capability: Capability) -> UInt32? {
    world.ledger.fillPage(at: address, root: root, packed: writable, by: capability, in: world.tables)
  }
  private mutating func releaseOne(at address: UInt64, loaded: UInt64, by capability: Capability) -> Bool {
    world.ledger.releasePage(
      at: address, root: root, loaded: UInt32(truncatingIfNeeded: loaded), by: capability, in: world.tables)
  }

  @Test mutating func theShortWaysDoTheSameOrNothing() throws {
    let free = world.ledger.freeCount
    let filled = fillOne(at: 0, of: root, by: own)
    let frame = try #require(filled)
    #expect(entry(0) == UInt64(frame) << 12 | 7)
    #expect(world.record(UInt64(frame)).mappings == 1 && world.record(UInt64(frame)).writable_mappings == 1)
    #expect(world.ledger.freeCount == free - 1)
    let readable = capability("\0\u{1}", .read)
    world.machine.beginJournal()
    let refusedFills = [
      fillOne(at: 0, of: root, by: own), fillOne(at: 0x1000, of: root, by: other),
      fillOne(at: 0x1000, of: root, by: readable), fillOne(at: 1 << 21, of: root, by: own),
      fillOne(at: 0x1000, of: table, by: own), fillOne(at: 8, of: root, by: own),
    ]
    #expect(refusedFills == [nil, nil, nil, nil, nil, nil])
    let refusedReleases = [
      releaseOne(at: 0, loaded: root, by: other), releaseOne(at: 0, loaded: root, by: readable),
      releaseOne(at: 0, loaded: root + 1, by: own), releaseOne(at: 1 << 21, loaded: root, by: own),
    ]
    #expect(refusedReleases == [false, false, false, false])
    #expect(world.machine.isUnchanged)
    let isReleased = releaseOne(at: 0, loaded: root, by: own)
    #expect(isReleased)
    #expect(entry(0) == 0)
    #expect(world.ledger.freeCount == free)
    #expect(world.record(UInt64(frame)).type == UInt8(APUS_FRAME_FREE))
  }
}
