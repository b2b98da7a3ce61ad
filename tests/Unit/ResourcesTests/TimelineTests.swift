// SPDX-License-Identifier: Apache-2.0
// TimelineTests.swift: owning slices, and whose turn is next.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

@Suite struct TimelineTests {
  let machine = Machine(environments: 4, slices: 8)
  var timeline: Timeline<SliceView>
  var table: Environments

  init() throws {
    timeline = Timeline(slices: SliceView(machine: machine))
    table = EnvironmentTable(environments: EnvironmentView(machine: machine), accounts: machine.ledger)
    machine.endowAll()
    for owner in ["a", "b", "c"] {
      let slot = try table.vacantSlot(for: 1)
      _ = table.occupy(
        slot, account: 1, under: capability(owner), root: 0, uareaFrame: 0, uareaAddress: 0)
    }
  }

  /// The slices that run in a number of turns, beginning after `index`.
  func run(_ turns: Int, after index: UInt32, takeTurn: (UInt32) -> Turn = { _ in .runs }) -> [NextSlice] {
    var last = index
    return (0..<turns).map { _ in
      let next = timeline.next(after: last, takeTurn: takeTurn)
      if case .slice(let slice) = next { last = slice }
      return next
    }
  }

  @Test mutating func slicesAreTakenByNumberOrLowestFirst() throws {
    #expect(try timeline.allocate(nil, for: 0, in: table) == 0)
    #expect(try timeline.allocate(3, for: 1, in: table) == 3)
    #expect(try timeline.allocate(nil, for: 1, in: table) == 1)
    #expect(throws: SystemCallError.inUse) { try timeline.allocate(3, for: 0, in: table) }
    for number: UInt64 in [8, 9, 1 << 32, .max] {
      #expect(throws: SystemCallError.noSuchResource) {
        try timeline.allocate(number, for: 0, in: table)
      }
    }
    #expect(machine.environments[0].slices_owned == 1)
    #expect(machine.environments[1].slices_owned == 2)
    #expect(timeline.owner(of: 3) == 1)
    #expect(timeline.owner(of: 2) == nil)
    #expect(timeline.owner(of: 8) == nil)
    for _ in 0..<5 { _ = try timeline.allocate(nil, for: 2, in: table) }
    #expect(throws: SystemCallError.exhausted) { try timeline.allocate(nil, for: 2, in: table) }
  }

  @Test mutating func aSliceIsGivenBackByWhoReachesItsOwner() throws {
    _ = try timeline.allocate(5, for: 0, in: table)
    for owner in [capability("b"), capability("ab"), capability("a", .read)] {
      #expect(throws: SystemCallError.denied) { try timeline.free(5, by: owner, in: table) }
    }
    for number: UInt64 in [0, 4, 8, .max, 1 << 32 | 5] {
      #expect(throws: SystemCallError.noSuchResource) {
        try timeline.free(number, by: capability(""), in: table)
      }
    }
    #expect(machine.environments[0].slices_owned == 1)
    try timeline.free(5, by: capability("a"), in: table)
    #expect(machine.environments[0].slices_owned == 0)
    #expect(timeline.owner(of: 5) == nil)
    #expect(timeline.highWater == 0)
  }

  @Test mutating func allSlicesOfAnEnvironmentComeBack() throws {
    for slot in [0, 1, 0, 1, 0] as [UInt32] { _ = try timeline.allocate(nil, for: slot, in: table) }
    timeline.freeAll(of: 0, in: table)
    #expect(machine.environments[0].slices_owned == 0)
    #expect(machine.environments[1].slices_owned == 2)
    #expect(timeline.highWater == 4)
    timeline.freeAll(of: 1, in: table)
    #expect(timeline.highWater == 0)
    #expect(run(1, after: 0) == [.nobody])
  }

  @Test mutating func slicesTakeTurnsInOrder() throws {
    for (index, slot) in [(0, 0), (2, 1), (3, 0), (6, 2)] as [(UInt64, UInt32)] {
      _ = try timeline.allocate(index, for: slot, in: table)
    }
    #expect(run(5, after: 0) == [.slice(2), .slice(3), .slice(6), .slice(0), .slice(2)])
    #expect(run(1, after: 7) == [.slice(0)])
    #expect(run(1, after: .max) == [.slice(0)])
    #expect(
      run(3, after: 0) { $0 == 0 ? .waits : .runs } == [.slice(2), .slice(6), .slice(2)])
    #expect(run(1, after: 0) { _ in .waits } == [.nobody])
    #expect(run(1, after: 0) { $0 == 1 ? .forfeits : .waits } == [.forfeited])
    timeline.countRun(of: 6)
    #expect(machine.slices[6].used == 1)
  }

  @Test mutating func whoOwesLosesTurnsToTheOthers() throws {
    for slot in [0, 1] as [UInt32] { _ = try timeline.allocate(nil, for: slot, in: table) }
    machine.environments[0].excess_ticks = 200
    let table = table
    let turns = run(5, after: 1) { table.takeTurn($0, sliceTicks: 100) }
    #expect(turns == [.slice(1), .slice(1), .slice(0), .slice(1), .slice(0)])
    #expect(machine.environments[0].slices_forfeited == 2)
  }
}
