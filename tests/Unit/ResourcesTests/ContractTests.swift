// SPDX-License-Identifier: Apache-2.0
// ContractTests.swift: which contracts are admitted, what each period gives, and what cannot be gained by tricks.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

/// A counter of 1 MHz makes round numbers: the shortest period is 500, a switch costs 5, the shortest slice is 25.
private let limits = ContractLimits(ticksPerSecond: 1_000_000)

@Suite struct ContractTests {
  let machine = Machine(environments: 6, contracts: 4)
  var contracts: Contracts<ContractView>
  var table: Environments

  init() throws {
    contracts = Contracts(records: ContractView(machine: machine), limits: limits, processor: 3)
    table = EnvironmentTable(environments: EnvironmentView(machine: machine), accounts: machine.ledger)
    machine.endowAll()
    for owner in ["a", "b", "c", "d", "e", "f"] {
      let account: UInt16 = owner == "c" ? 2 : 1
      let slot = try table.vacantSlot(for: account)
      _ = table.occupy(
        slot, account: account, under: capability(owner), root: 0, uareaFrame: 0, uareaAddress: 0)
    }
  }

  mutating func make(_ period: UInt64, _ slice: UInt64, for slot: UInt32, now: UInt64 = 0) throws -> UInt64 {
    try contracts.make(period: period, slice: slice, for: slot, in: table, now: now)
  }

  /// The environment that would run under a contract.
  func chosen(_ now: UInt64, canRun: (UInt32) -> Bool = { _ in true }) -> UInt32? {
    contracts.choose(now: now, canRun: canRun).map { machine.contracts[Int($0)].environment }
  }

  @Test mutating func periodsAndSlicesHaveLimits() throws {
    for (period, slice) in [
      (499, 100), (0, 0), (0, 100), (1000, 24), (1000, 0), (1000, 1001), (.max, 100), (.max, .max), (1 << 31 + 1, 100),
      (1000, .max),
    ] as [(UInt64, UInt64)] {
      #expect(throws: SystemCallError.invalid) { try contracts.admit(period: period, slice: slice, now: 0) }
    }
    #expect(try contracts.admit(period: 500, slice: 25, now: 0) == 60_000)
    #expect(try contracts.admit(period: 1 << 31, slice: 25, now: 0) == 1)
    #expect(try contracts.admit(period: 1000, slice: 895, now: 0) == 900_000)
    #expect(throws: SystemCallError.exhausted) {
      try contracts.admit(period: 1000, slice: 896, now: 0)
    }
  }

  @Test mutating func sharesAddUpToTheLimit() throws {
    _ = try make(1000, 495, for: 0)
    _ = try make(2000, 395, for: 1)
    #expect(contracts.share(now: 0) == 700_000)
    #expect(throws: SystemCallError.exhausted) { try make(1000, 196, for: 2) }
    // A budget binds an account's own; a share of another account does not count.
    machine.ledger.endow(2, .time, 99_999)
    #expect(throws: SystemCallError.quotaExceeded) { try make(1000, 95, for: 2) }
    machine.ledger.endow(2, .time, 100_000)
    _ = try make(1000, 95, for: 2)
    #expect(throws: SystemCallError.quotaExceeded) { try make(1000, 25, for: 2) }
    _ = try make(1000, 45, for: 3)
    #expect(throws: SystemCallError.exhausted) { try make(1 << 31, 25, for: 3) }  // no record
    #expect(machine.accounts[2].time.used == 100_000)
    #expect(machine.accounts[1].time.used == 750_000)
    contracts.endAll(of: 1, accounts: machine.ledger)
    contracts.endAll(of: 2, accounts: machine.ledger)
    #expect(machine.accounts[2].time.used == 0)
    #expect(machine.accounts[1].time.used == 550_000)
  }

  @Test mutating func namesAreOfContractsInForce() throws {
    let name = try make(1000, 100, for: 0)
    #expect(Contracts<ContractView>.processor(of: name) == 3)
    for wrong in [name ^ 1, name ^ 1 << 16, name ^ 1 << 32, 0, .max, name | 0xffff] {
      #expect(throws: SystemCallError.noSuchResource) {
        try contracts.end(wrong, by: capability(""), in: table)
      }
    }
    for owner in [capability("b"), capability("ab"), capability("a", .read)] {
      #expect(throws: SystemCallError.denied) { try contracts.end(name, by: owner, in: table) }
    }
    #expect(chosen(0) == 0)
    try contracts.end(name, by: capability("a"), in: table)
    #expect(throws: SystemCallError.noSuchResource) {
      try contracts.end(name, by: capability("a"), in: table)
    }
    #expect(chosen(1) == nil)
    let next = try make(1000, 100, for: 0, now: 2000)
    #expect(next != name)
    #expect(throws: SystemCallError.noSuchResource) {
      try contracts.end(name, by: capability("a"), in: table)
    }
    #expect(Int64(bitPattern: next) > 0)
  }

  @Test mutating func theEarliestDeadlineRuns() throws {
    _ = try make(4000, 1000, for: 0)
    _ = try make(1000, 200, for: 1)
    _ = try make(2000, 300, for: 2)
    #expect(chosen(0) == 1)
    #expect(chosen(0) { $0 != 1 } == 2)
    contracts.charge(1, ticks: 200)
    #expect(chosen(200) == 2)
    contracts.charge(2, ticks: 300)
    #expect(chosen(500) == 0)
    #expect(contracts.nextEvent { _ in .max } == 1000)
    contracts.charge(0, ticks: 500)
    #expect(chosen(1000) == 1)
    contracts.charge(1, ticks: 200)
    #expect(chosen(1200) == 0)
    contracts.charge(0, ticks: 500)
    #expect(chosen(1700) == nil)
    #expect(machine.contracts.map(\.missed) == [0, 0, 0, 0])
    // Nobody gets anything from here to 4100: a period of 1000 is missed whole three times, one of 2000 once.
    #expect(chosen(4100) == 1)
    #expect(machine.contracts.map(\.missed) == [0, 2, 1, 0])
    #expect(machine.contracts[1].deadline == 5000)
  }

  @Test mutating func aSleeperWakesAsItsContractSays() throws {
    _ = try make(1000, 100, for: 0)
    #expect(chosen(0) == 0)
    #expect(chosen(10) { _ in false } == nil)
    #expect(contracts.nextEvent { $0 == 0 ? 777 : 0 } == 777)
    // What is left is no more than its share of what remains of the period: it goes on.
    contracts.charge(0, ticks: 50)
    #expect(chosen(400) == 0)
    #expect(machine.contracts[0].deadline == 1000)
    // Now it is more: a new period begins.
    _ = chosen(410) { _ in false }
    #expect(chosen(900) == 0)
    #expect(machine.contracts[0].deadline == 1900)
    #expect(machine.contracts[0].budget == 100)
    // Nothing left: no sleep makes that more before the deadline.
    contracts.charge(0, ticks: 100)
    for now in stride(from: UInt64(1000), to: 1900, by: 50) {
      _ = chosen(now) { _ in false }
      #expect(chosen(now + 1) == nil)
    }
    #expect(chosen(1900) == 0)
    #expect(machine.contracts[0].missed == 0)
  }

  @Test mutating func overuseIsOwedAndARemainderIsKept() throws {
    _ = try make(1000, 100, for: 0)
    #expect(chosen(0) == 0)
    contracts.charge(0, ticks: 130)
    #expect(chosen(1000) == 0)
    #expect(machine.contracts[0].budget == 70)
    contracts.charge(0, ticks: 66)
    // Four ticks are less than a switch costs.
    #expect(chosen(1100) == nil)
    #expect(chosen(2000) == 0)
    #expect(machine.contracts[0].budget == 104)
    contracts.charge(0, ticks: 354)
    #expect(chosen(3000) == nil)
    #expect(chosen(4000) == nil)
    #expect(chosen(5000) == 0)
    #expect(machine.contracts[0].budget == 50)
    #expect(machine.contracts[0].used == 550)
    #expect(machine.contracts[0].missed == 0)
    contracts.giveUp(0)
    #expect(chosen(5001) == nil)
    #expect(chosen(6000) == 0)
    #expect(machine.contracts[0].budget == 100)
  }

  @Test mutating func timeThatWasUsedIsNotAdmittedAgain() throws {
    let name = try make(1000, 795, for: 0)
    #expect(chosen(100) == 0)
    contracts.charge(0, ticks: 795)
    try contracts.end(name, by: capability("a"), in: table)
    #expect(throws: SystemCallError.exhausted) { try make(1000, 795, for: 0, now: 900) }
    #expect(throws: SystemCallError.exhausted) { try make(1000, 795, for: 0, now: 1099) }
    let second = try make(1000, 795, for: 0, now: 1100)
    // One that never ran leaves nothing behind.
    try contracts.end(second, by: capability("a"), in: table)
    _ = try make(1000, 795, for: 1, now: 1100)
    // A death ends as a call does.
    #expect(chosen(1100) == 1)
    contracts.endAll(of: 1, accounts: machine.ledger)
    #expect(chosen(1200) == nil)
    #expect(throws: SystemCallError.exhausted) { try make(1000, 795, for: 1, now: 1200) }
  }

  @Test mutating func aBudgetIsGivenToAnother() throws {
    _ = try make(1000, 100, for: 0)
    #expect(chosen(0) == 0)
    contracts.give(0, to: 4)
    #expect(contracts.choose(now: 0) { $0 == 4 } == 0)
    #expect(machine.contracts[0].user == 4)
    // One that cannot run, or has died, leaves it to the owner.
    #expect(contracts.choose(now: 0) { $0 == 0 } == 0)
    #expect(machine.contracts[0].user == 0)
    contracts.give(0, to: 4)
    contracts.endAll(of: 4, accounts: machine.ledger)
    #expect(machine.contracts[0].user == 0)
    #expect(machine.contracts[0].environment == 0)
    // The next period's is the owner's, whoever had the rest of this one.
    contracts.give(0, to: 4)
    #expect(chosen(999) == 0)
    #expect(machine.contracts[0].user == 4)
    #expect(chosen(1000) == 0)
    #expect(machine.contracts[0].user == 0)
  }
}
