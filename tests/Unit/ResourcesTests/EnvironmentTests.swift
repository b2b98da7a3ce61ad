// SPDX-License-Identifier: Apache-2.0
// EnvironmentTests.swift: handles, quotas, states, turns and granted capabilities.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

@Suite struct EnvironmentTests {
  let machine = Machine(environments: 6)
  var table: Environments

  init() {
    table = EnvironmentTable(environments: EnvironmentView(machine: machine), accounts: machine.ledger)
    machine.endowAll()
    machine.accounts[1].environments.limit = 4
  }

  mutating func make(_ owner: String = "a", account: UInt16 = 1) throws -> UInt64 {
    let slot = try table.vacantSlot(for: account)
    return table.occupy(
      slot, account: account, under: capability(owner), root: 5, uareaFrame: 6, uareaAddress: 0x7000)
  }

  mutating func end(_ handle: UInt64) throws {
    let slot = try table.slot(of: handle)
    table.beginDeath(slot, cause: 14, rip: 1, address: 2)
    table.vacate(slot)
  }

  @Test mutating func aHandleNamesOneLifeOfASlot() throws {
    let first = try make()
    #expect(first != 0)
    #expect(try table.slot(of: first) == 0)
    try end(first)
    let second = try make()
    #expect(try table.slot(of: second) == 0)
    #expect(first != second)
    let rest = [first, 0, 7, 1, second + 1, second ^ 1 << 40, .max, 1 << 32]
    for stale in rest {
      #expect(throws: SystemCallError.noSuchResource, "\(stale)") { try table.slot(of: stale) }
    }
  }

  @Test mutating func aHandleIsNeverNegativeAndNeverZero() throws {
    machine.environments[0].generation = 0x7fff_ffff
    let last = try make()
    #expect(last >> 63 == 0)
    try end(last)
    let next = try make()
    #expect(next >> 63 == 0)
    #expect(next >> 32 != 0)
    #expect(next != last)
    try end(next)
    #expect(throws: SystemCallError.noSuchResource) { try table.slot(of: last) }
  }

  @Test mutating func aDyingEnvironmentIsNoLongerNamedButHoldsItsSlot() throws {
    let handle = try make()
    table.beginDeath(0, cause: 14, rip: 0x1234, address: 0x5678)
    #expect(throws: SystemCallError.noSuchResource) { try table.slot(of: handle) }
    #expect(machine.accounts[1].environments.used == 1)
    #expect(table.liveCount(of: 1) == 0)
    #expect(try table.vacantSlot(for: 1) == 1)
    table.vacate(0)
    #expect(machine.accounts[1].environments.used == 0)
    #expect(machine.environments[0].last_rip == 0x1234)
    #expect(try table.vacantSlot(for: 1) == 0)
  }

  @Test mutating func oneAccountCannotTakeAllSlots() throws {
    for _ in 0..<4 { _ = try make() }
    #expect(throws: SystemCallError.quotaExceeded) { try table.vacantSlot(for: 1) }
    _ = try make("b", account: 2)
    _ = try make("b", account: 2)
    #expect(throws: SystemCallError.exhausted, "no slot") { try table.vacantSlot(for: 3) }
    table.beginDeath(1, cause: 0, rip: 0, address: 0)
    #expect(throws: SystemCallError.exhausted, "a dying one counts") { try table.vacantSlot(for: 1) }
    table.vacate(1)
    #expect(try table.vacantSlot(for: 1) == 1)
  }

  @Test mutating func anEnvironmentIsReachedByItsName() throws {
    let handle = try make("ab")
    #expect(try table.slot(of: handle, by: capability("a"), needing: .write) == 0)
    for owner in [capability("b"), capability("abc"), capability("a", .read)] {
      #expect(throws: SystemCallError.denied) {
        try table.slot(of: handle, by: owner, needing: .write)
      }
    }
  }

  @Test mutating func aNewEnvironmentHasNoCapability() throws {
    let handle = try make()
    machine.environments[0].setCapability(capability("x"), at: 2)
    try end(handle)
    #expect(machine.environments[0].capability(at: 2) == nil)
    _ = try make()
    for index in UInt64(0)..<8 {
      #expect(machine.environments[0].capability(at: index) == nil)
    }
    #expect(machine.environments[0].uarea_address == 0x7000)
    #expect(machine.environments[0].root == 5)
    #expect(machine.environments[0].uarea_frame == 6)
  }

  @Test mutating func grantingNeedsTheRightToGrantAndReach() throws {
    let handle = try make("a")
    let authority = capability("a")
    try table.grant(capability("s"), to: handle, at: 7, by: authority)
    #expect(machine.environments[0].capability(at: 7) == capability("s"))
    #expect(throws: SystemCallError.denied) {
      try table.grant(capability("s", .read.union(.write)), to: handle, at: 0, by: authority)
    }
    #expect(throws: SystemCallError.denied) {
      try table.grant(capability("s"), to: handle, at: 0, by: capability("b"))
    }
    #expect(throws: SystemCallError.denied) {
      try table.grant(capability("s"), to: handle, at: 0, by: capability("a", .read))
    }
    #expect(throws: SystemCallError.noSuchResource) {
      try table.grant(capability("s"), to: handle + 1, at: 0, by: authority)
    }
    #expect(machine.environments[0].capability(at: 0) == nil)
  }

  @Test mutating func aSleeperWaitsUntilItIsWoken() throws {
    _ = try make()
    #expect(machine.environments[0].wait_deadline == .max, "one that never slept waits for no time")
    #expect(table.takeTurn(0, sliceTicks: 100) == .runs)
    table.sleep(0, word: 0x8000, value: 3, deadline: 99)
    #expect(machine.environments[0].wait_word == 0x8000)
    #expect(machine.environments[0].wait_value == 3)
    #expect(machine.environments[0].wait_deadline == 99)
    #expect(table.takeTurn(0, sliceTicks: 100) == .waits)
    #expect(table.liveCount(of: 1) == 1)
    table.wake(0)
    #expect(machine.environments[0].wait_word == 0)
    #expect(machine.environments[0].wait_deadline == .max, "nor does one that is awake")
    #expect(table.takeTurn(0, sliceTicks: 100) == .runs)
    table.beginDeath(0, cause: 0, rip: 0, address: 0)
    table.wake(0)
    #expect(machine.environments[0].state == UInt32(APUS_ENVIRONMENT_DYING))
    #expect(table.takeTurn(0, sliceTicks: 100) == .waits)
  }

  @Test mutating func eachSlicesWorthOfExcessCostsOneTurn() throws {
    _ = try make()
    machine.environments[0].excess_ticks = 99
    #expect(table.takeTurn(0, sliceTicks: 100) == .runs)
    machine.environments[0].excess_ticks = 250
    let turns = (0..<4).map { _ in table.takeTurn(0, sliceTicks: 100) }
    #expect(turns == [.forfeits, .forfeits, .runs, .runs])
    #expect(machine.environments[0].slices_forfeited == 2)
    machine.environments[0].slices_forfeited = .max
    #expect(table.takeTurn(0, sliceTicks: 100) == .runs, "no number is too large")
  }
}
