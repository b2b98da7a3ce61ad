// SPDX-License-Identifier: Apache-2.0
// World.swift: a small machine with address spaces in it, for tests of single rules.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

/// A machine of which a test sets up what it needs.
struct World {
  let machine: Machine
  var ledger: Ledger
  let tables: Tables
  let memory: MemoryView

  /// All frames but number 0 are free; frame 0 is the kernel's, so that 0 can stand for a mistake.
  init(frames count: Int = 64) {
    machine = Machine(frames: count)
    memory = MemoryView(machine: machine)
    ledger = Ledger(frames: FrameView(machine: machine), accounts: machine.ledger)
    machine.endowAll()
    tables = Tables(frames: ledger.frames, memory: memory)
    ledger.reserveForKernel(0..<1)
    ledger.addFree(1..<UInt32(count))
  }

  func record(_ frame: UInt64) -> apus_frame { machine.records[Int(frame)] }

  /// Takes a frame for an account.
  mutating func take(_ owner: String = "a", account: UInt16 = 1) throws -> UInt64 {
    let list = Numbers(count: 1)
    _ = try ledger.allocate(
      1, into: list, under: capability(owner), account: account, keepsOwn: false, memory: memory)
    return list.values[0]
  }

  /// Makes a root.
  mutating func root(_ owner: String = "a", account: UInt16 = 1) throws -> UInt64 {
    let frame = try take(owner, account: account)
    try tables.makeRoot(frame, account: account, by: capability(owner)) { _ in }
    return frame
  }

  /// Links new tables down to level 1 for an address, where they are missing.
  @discardableResult
  mutating func build(
    _ root: UInt64, at address: UInt64, _ owner: String = "a", account: UInt16 = 1
  ) throws -> UInt64 {
    for level in [3, 2, 1] where tables.walk(root: UInt32(root), address: address, to: level) == nil {
      try tables.installTable(
        take(owner, account: account), level: UInt64(level), at: address, root: root,
        account: account, by: capability(owner))
    }
    let path = try #require(tables.walk(root: UInt32(root), address: address, to: 1))
    return UInt64(path.table)
  }

  /// Writes entries with everybody's authority and the address space loaded.
  @discardableResult
  func write(
    _ entries: [UInt64], at address: UInt64, root: UInt64, account: UInt16 = 1,
    tables authority: Capability = capability(""), mapped: Capability = capability(""),
    current: UInt32? = nil
  ) throws(SystemCallError) -> Maintenance {
    try tables.writeEntries(
      Numbers(entries), count: UInt64(entries.count), at: address, root: root,
      caller: PageCaller(account: account, currentRoot: current ?? UInt32(truncatingIfNeeded: root)),
      tables: authority, mapped: mapped
    ).maintenance
  }

  /// Changes entries with everybody's authority and the address space loaded.
  @discardableResult
  func protect(
    _ count: UInt64, at address: UInt64, root: UInt64, set: UInt64 = 0, keep: UInt64 = ~0,
    account: UInt16 = 1, mapped: Capability = capability(""), current: UInt32? = nil
  ) throws(SystemCallError) -> Maintenance {
    try tables.protectEntries(
      count: count, at: address, root: root, set: set, keep: keep,
      caller: PageCaller(account: account, currentRoot: current ?? UInt32(truncatingIfNeeded: root)),
      tables: capability(""), mapped: mapped
    ).maintenance
  }

  /// Runs an operation that must fail and must leave everything as it was.
  func refused(
    _ expected: SystemCallError, _ comment: Comment? = nil,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws(SystemCallError) -> Void
  ) {
    machine.beginJournal()
    #expect(failure(body) == expected, comment, sourceLocation: sourceLocation)
    #expect(machine.isUnchanged, comment, sourceLocation: sourceLocation)
  }

  /// Marks an entry as the processor does when ring 3 uses it.
  func touch(_ table: UInt64, _ index: Int) {
    let entry = memory.entry(UInt32(table), index)
    memory.setEntry(UInt32(table), index, entry | PageEntry.accessed)
  }
}

/// An entry that maps a frame.
func page(_ frame: UInt64, writable: Bool = false) -> UInt64 {
  frame << 12 | PageEntry.present | (writable ? PageEntry.writable : 0)
}
