// SPDX-License-Identifier: Apache-2.0
// AccountTests.swift: budgets are moved, never made: their sums balance whatever is tried.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

@Suite struct AccountTests {
  let machine = Machine(accounts: 8)
  var ledger: AccountLedger<AccountView> { machine.ledger }
  let total: UInt32 = 1000

  init() {
    for kind in AccountKind.all { ledger.endow(1, kind, total) }
  }

  func name(_ bytes: UInt8..., rights: Rights = .all) throws -> Capability {
    let (bits, length) = packed(bytes)
    return try #require(Capability(name: bits, length: length, rights: rights))
  }

  func limit(_ account: Int, _ kind: AccountKind = .frames) -> UInt32 { machine.accounts[account][kind].limit }

  func refused(_ expected: SystemCallError, _ body: () throws(SystemCallError) -> Void) {
    machine.beginJournal()
    #expect(failure(body) == expected)
    #expect(machine.isUnchanged)
  }

  @Test(arguments: AccountKind.all) func whatOneGainsTheOtherLoses(_ kind: AccountKind) throws {
    let root = try name()
    try ledger.setLimit(of: 2, kind, to: 300, giver: 1, by: root)
    #expect(limit(1, kind) == 700 && limit(2, kind) == 300)
    #expect(machine.accounts[2].parent == 1)
    try ledger.setLimit(of: 3, kind, to: 100, giver: 2, by: root)
    #expect(limit(1, kind) == 700 && limit(2, kind) == 200 && limit(3, kind) == 100)
    #expect(machine.accounts[3].parent == 2)
    try ledger.setLimit(of: 2, kind, to: 50, giver: 1, by: root)
    #expect(limit(1, kind) == 850)
    for other in AccountKind.all where other != kind { #expect(limit(1, other) == total) }
  }

  @Test func theNameHasToBeReachedWithTheRightToWrite() throws {
    for good in [try name(), try name(0), try name(0, 2), try name(0, 2, rights: .write)] {
      try ledger.setLimit(of: 2, .frames, to: 10, giver: 1, by: good)
      try ledger.setLimit(of: 2, .frames, to: 0, giver: 1, by: good)
    }
    let weak = [
      try name(0, 1), try name(0, 3), try name(2), try name(0, 2, 0),
      try name(0, 2, rights: .read.union(.grant)), try name(rights: .none),
    ]
    for capability in weak {
      refused(.denied) { () throws(SystemCallError) in
        try ledger.setLimit(of: 2, .frames, to: 10, giver: 1, by: capability)
      }
    }
  }

  @Test func limitsHaveBounds() throws {
    let root = try name()
    try ledger.charge(.frames, 400, to: 1)
    refused(.quotaExceeded) { () throws(SystemCallError) in
      try ledger.setLimit(of: 2, .frames, to: 601, giver: 1, by: root)
    }
    refused(.invalid) { () throws(SystemCallError) in
      try ledger.setLimit(of: 2, .frames, to: 1, giver: 8, by: root)
    }
    try ledger.setLimit(of: 2, .frames, to: 600, giver: 1, by: root)
    try ledger.charge(.frames, 20, to: 2)
    for (account, limit, error) in [
      (2, 19, SystemCallError.inUse), (2, 601, .quotaExceeded), (2, UInt32.max, .quotaExceeded),
      (1, 5, .invalid), (8, 1, .noSuchResource), (1 << 16 | 2, 1, .noSuchResource), (.max, 1, .noSuchResource),
    ] as [(UInt64, UInt32, SystemCallError)] {
      refused(error) { () throws(SystemCallError) in
        try ledger.setLimit(of: account, .frames, to: limit, giver: 1, by: root)
      }
    }
    try ledger.setLimit(of: 2, .frames, to: 20, giver: 1, by: root)
    #expect(limit(1) == 980)
  }

  @Test(arguments: AccountKind.all) func nobodyTakesMoreThanItsLimit(_ kind: AccountKind) throws {
    try ledger.setLimit(of: 2, kind, to: 5, giver: 1, by: try name())
    try ledger.charge(kind, 3, to: 2)
    #expect(ledger.room(kind, of: 2) == 2)
    refused(.quotaExceeded) { () throws(SystemCallError) in try ledger.charge(kind, 3, to: 2) }
    try ledger.charge(kind, 2, to: 2)
    ledger.release(kind, 4, of: 2)
    #expect(ledger.room(kind, of: 2) == 4)
    for account: UInt16 in [3, 8, .max] {
      refused(.quotaExceeded) { () throws(SystemCallError) in try ledger.charge(kind, 1, to: account) }
    }
  }

  @Test func aDeadAccountsBudgetGoesUpWhole() throws {
    let root = try name()
    for kind in AccountKind.all { try ledger.setLimit(of: 2, kind, to: 30, giver: 1, by: root) }
    for kind in AccountKind.all {
      try ledger.charge(kind, 1, to: 2)
      machine.beginJournal()
      #expect(!ledger.dissolve(2, to: 1))
      #expect(machine.isUnchanged)
      ledger.release(kind, 1, of: 2)
    }
    #expect(ledger.dissolve(2, to: 1))
    for kind in AccountKind.all { #expect(limit(1, kind) == total && limit(2, kind) == 0) }
    machine.beginJournal()
    #expect(ledger.dissolve(1, to: 1))
    #expect(machine.isUnchanged)
  }

  @Test func anEnvironmentAndItsSlicesAreCharged() throws {
    let machine = Machine(environments: 4, slices: 4, accounts: 4)
    let ledger = machine.ledger
    ledger.endow(2, .environments, 1)
    ledger.endow(2, .slices, 2)
    var table = Environments(environments: EnvironmentView(machine: machine), accounts: ledger)
    var timeline = Timeline(slices: SliceView(machine: machine))
    let slot = try table.vacantSlot(for: 2)
    _ = table.occupy(slot, account: 2, under: capability("a"), root: 0, uareaFrame: 0, uareaAddress: 0)
    #expect(throws: SystemCallError.quotaExceeded) { try table.vacantSlot(for: 2) }
    _ = try timeline.allocate(nil, for: slot, in: table)
    _ = try timeline.allocate(3, for: slot, in: table)
    #expect(throws: SystemCallError.quotaExceeded) { try timeline.allocate(nil, for: slot, in: table) }
    #expect(throws: SystemCallError.quotaExceeded) { try timeline.allocate(2, for: slot, in: table) }
    #expect(machine.accounts[2].slices.used == 2 && machine.slices[2].environment == UInt32(APUS_SLICE_FREE))
    try timeline.free(3, by: capability("a"), in: table)
    #expect(ledger.room(.slices, of: 2) == 1)
    table.beginDeath(slot, cause: 0, rip: 0, address: 0)
    #expect(ledger.room(.environments, of: 2) == 0, "a dying one counts")
    timeline.freeAll(of: slot, in: table)
    table.vacate(slot)
    #expect(ledger.room(.slices, of: 2) == 2 && ledger.room(.environments, of: 2) == 1)
  }
}
