// SPDX-License-Identifier: Apache-2.0
// RevocationTests.swift: what is asked of whom, against a model that keeps every request apart.

import ApusABI
import ApusResources
import CApusABI
import Testing

final class RevocationMemory {
  var records: [apus_revocation]
  init(_ count: Int) { records = Array(repeating: apus_revocation(), count: count) }
}

struct RevocationView: RecordTable {
  let memory: RevocationMemory
  var count: UInt32 { UInt32(memory.records.count) }
  subscript(index: UInt32) -> apus_revocation {
    get { memory.records[Int(index)] }
    nonmutating set { memory.records[Int(index)] = newValue }
  }
}

typealias Requests = Revocations<RevocationView>

func requests(_ count: Int = 8) -> Requests { Requests(records: RevocationView(memory: RevocationMemory(count))) }

@Suite struct RevocationTests {
  private func expectForget(
    _ table: inout Requests, _ account: UInt16, _ frame: UInt32, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let forgotten = table.forget(account)
    #expect(forgotten == frame, sourceLocation: sourceLocation)
  }

  private func expectPays(
    _ table: inout Requests, _ account: UInt16, _ expected: Bool, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let pays = table.pays(account, sliceTicks: 100)
    #expect(pays == expected, sourceLocation: sourceLocation)
  }

  @Test func aRequestIsALevelAndATime() throws {
    var table = requests()
    #expect(table.nextDeadline == .max)
    do {
      let answer = try table.request(100, of: .frames, from: 3, held: 500, deadline: 1000, requester: 7, authority: 2)
      #expect(answer == 100)
    }
    #expect(table.nextDeadline == 1000)
    #expect(table.outstanding(.frames, from: 3, held: 500) == 100)
    #expect(table.outstanding(.frames, from: 3, held: 450) == 50)
    #expect(table.outstanding(.frames, from: 3, held: 399) == 0)
    #expect(table.outstanding(.frames, from: 3, held: 700) == 300, "taking others meanwhile gains nothing")
    #expect(table.outstanding(.slices, from: 3, held: 700) == 0)
    #expect(table.due(at: 999) == nil)
    let due = try #require(table.due(at: 1000))
    #expect(due.account == 3 && due.kind == .frames && due.allowed == 400)
    let closed = table.close(due, missed: 7)
    #expect(closed.requester == 7 && closed.granted == 100)
    #expect(table.due(at: .max) == nil)
    #expect(table.nextDeadline == .max)
    #expect(table.records[due.index].frames.missed == 7)
  }

  @Test func requestsAddUpAndTheEarliestDeadlineCounts() throws {
    var table = requests()
    do {
      let answer = try table.request(100, of: .frames, from: 3, held: 500, deadline: 1000, requester: 7, authority: 2)
      #expect(answer == 100)
    }
    // A later, smaller wish takes nothing back, whoever makes it.
    do {
      let answer = try table.request(1, of: .frames, from: 3, held: 500, deadline: .max, requester: 7, authority: 2)
      #expect(answer == 1)
    }
    #expect(table.nextDeadline == 1000)
    #expect(table.outstanding(.frames, from: 3, held: 500) == 101)
    do {
      let answer = try table.request(50, of: .frames, from: 3, held: 380, deadline: 900, requester: 7, authority: 2)
      #expect(answer == 50)
    }
    #expect(table.nextDeadline == 900)
    #expect(table.due(at: 900)?.allowed == 330)
  }

  @Test func theBudgetGoesToWhoStandsHighest() throws {
    var table = requests()
    for (requester, authority) in [(UInt16(3), UInt8(2)), (9, 1), (3, 2), (8, 1), (3, 8)] {
      _ = try table.request(
        10, of: .frames, from: 3, held: 500, deadline: 1000, requester: requester, authority: authority)
    }
    let due = try #require(table.due(at: 1000))
    let closed = table.close(due, missed: 0)
    #expect(closed.requester == 8 && closed.granted == 50)
    // What is not used goes over, and no more.
    let machine = Machine()
    machine.endowAll()
    machine.accounts[3].frames = apus_budget(limit: 100, used: 70)
    machine.ledger.cede(.frames, 50, from: 3, to: 8)
    #expect(machine.accounts[3].frames.limit == 70)
    #expect(machine.accounts[8].frames.limit == 10_000_030)
    machine.ledger.cede(.frames, 50, from: 8, to: 8)
    machine.ledger.cede(.frames, 50, from: 8, to: 16)
    #expect(machine.accounts[8].frames.limit == 10_000_030)
  }

  @Test func theMinimumStays() throws {
    var table = requests()
    let minimum = Requests.defaultMinimumFrames
    do {
      let answer = try table.request(
        .max, of: .frames, from: 3, held: minimum + 5, deadline: 10, requester: 7, authority: 2)
      #expect(answer == 5)
    }
    #expect(throws: SystemCallError.exhausted) {
      _ = try table.request(1, of: .frames, from: 3, held: minimum + 5, deadline: 10, requester: 7, authority: 2)
    }
    #expect(throws: SystemCallError.exhausted) {
      _ = try table.request(1, of: .frames, from: 4, held: minimum, deadline: 10, requester: 7, authority: 2)
    }
    #expect(table.index(of: 4) == nil, "a refused request leaves no record")
    // Raised while a request is on its way: it counts when the time comes.
    try table.setMinimum(minimum + 3, of: .frames, account: 3)
    #expect(table.due(at: 10)?.allowed == minimum + 3)
    try table.setMinimum(0, of: .slices, account: 5)
    do {
      let answer = try table.request(9, of: .slices, from: 5, held: 4, deadline: 10, requester: 7, authority: 2)
      #expect(answer == 4)
    }
  }

  @Test func recordsRunOutWithoutHarm() throws {
    var table = requests(2)
    _ = try table.request(1, of: .frames, from: 1, held: 100, deadline: 10, requester: 7, authority: 2)
    try table.setMinimum(3, of: .frames, account: 2)
    #expect(throws: SystemCallError.exhausted) { try table.setMinimum(3, of: .frames, account: 3) }
    #expect(throws: SystemCallError.exhausted) {
      _ = try table.request(1, of: .frames, from: 3, held: 100, deadline: 5, requester: 7, authority: 2)
    }
    #expect(table.nextDeadline == 10)
    expectForget(&table, 1, 0)
    #expect(table.index(of: 0) == nil, "a record that is free is nobody's")
    #expect(table.nextDeadline == .max)
    do {
      let answer = try table.setVector(77, of: 3)
      #expect(answer == 0)
    }
    do {
      let answer = try table.setVector(78, of: 3)
      #expect(answer == 77)
    }
    expectForget(&table, 3, 78)
    expectForget(&table, 3, 0)
    #expect(table.records[1].frames.minimum == 3)
  }

  @Test func theVectorHasRoomAsFarAsItWasRead() throws {
    var table = requests()
    do {
      let answer = try table.setVector(9, of: 1)
      #expect(answer == 0)
    }
    let index = try #require(table.index(of: 1))
    let room = Int(APUS_REPOSSESSION_ENTRIES)
    for place in 0..<room { #expect(table.noteTaken(index, .frames, consumed: 0) == place) }
    #expect(table.noteTaken(index, .frames, consumed: 0) == nil)
    #expect(table.noteTaken(index, .frames, consumed: 1) == 0)
    #expect(table.noteTaken(index, .frames, consumed: 1) == nil)
    // What the LibOS writes there is an allegation.
    #expect(table.noteTaken(index, .frames, consumed: .max) == nil)
    #expect(table.noteTaken(index, .frames, consumed: UInt64(room) + 2) == nil)
    #expect(table.noteTaken(index, .frames, consumed: UInt64(room) + 1) == 1)
    #expect(Int(table.records[index].frames.taken) == room + 6)
    do {
      let answer = try table.setVector(0, of: 1)
      #expect(answer == 9)
    }
    #expect(table.noteTaken(index, .slices, consumed: 0) == nil, "no vector")
    #expect(table.records[index].slices.taken == 1)
  }

  @Test func debtsArePaidInWholeSlices() {
    var table = requests()
    #expect(!table.hasDebt)
    table.charge(3, ticks: 250)
    #expect(!table.hasDebt, "an account that is forgotten owes nothing")
    #expect(throws: Never.self) { try table.setMinimum(1, of: .frames, account: 3) }
    table.charge(3, ticks: 250)
    #expect(table.hasDebt)
    expectPays(&table, 4, false)
    expectPays(&table, 3, true)
    expectPays(&table, 3, true)
    expectPays(&table, 3, false)
    table.charge(3, ticks: 50)
    expectPays(&table, 3, true)
    #expect(!table.hasDebt)
  }

  // MARK: Random sequences

  /// What a request is, said the long way: every wish by itself.
  private struct Wish {
    var counts: [UInt32] = []
    var deadlines: [UInt64] = []
    var heldAtFirst: UInt32 = 0
  }
  private struct Account {
    var minimum: [RevocationKind: UInt32] = [:]
    var wishes: [RevocationKind: Wish] = [:]
  }

  @Test(arguments: UInt64(1)...40) func randomRequests(seed: UInt64) throws {
    var random = Seeded(seed)
    var table = requests(6)
    var model: [UInt16: Account] = [:]
    var now: UInt64 = 0
    for _ in 0..<400 {
      let account = UInt16.random(in: 1...9, using: &random)
      let kind: RevocationKind = random.chance(50) ? .frames : .slices
      let usual = kind == .frames ? Requests.defaultMinimumFrames : Requests.defaultMinimumSlices
      let hasRoom = model[account] != nil || model.count < 6
      switch Int.random(in: 0..<10, using: &random) {
      case 0:
        let minimum = UInt32.random(in: 0...60, using: &random)
        let error = failure { () throws(SystemCallError) in
          try table.setMinimum(minimum, of: kind, account: account)
        }
        #expect((error == nil) == hasRoom)
        if hasRoom { model[account, default: Account()].minimum[kind] = minimum }
      case 1:
        expectForget(&table, account, 0)
        model[account] = nil
      case 2...6:
        let held = UInt32.random(in: 0...200, using: &random)
        let count = random.chance(10) ? UInt32.max : UInt32.random(in: 1...80, using: &random)
        let deadline = now + UInt64.random(in: 1...50, using: &random)
        var granted: UInt32?
        let error = failure { () throws(SystemCallError) in
          granted = try table.request(
            count, of: kind, from: account, held: held, deadline: deadline, requester: 7, authority: 2)
        }
        // The model: what the account may hold after all wishes so far, and what is left above its minimum.
        let wish = model[account]?.wishes[kind]
        var level = Int(held)
        if let wish { level = min(level, Int(wish.heldAtFirst) - wish.counts.reduce(0) { $0 + Int($1) }) }
        let minimum = Int(model[account]?.minimum[kind] ?? usual)
        let expected = min(Int(count), level - minimum)
        guard hasRoom, expected > 0 else {
          #expect(error == .exhausted)
          break
        }
        #expect(granted.map { Int($0) } == expected)
        var next = wish ?? Wish(heldAtFirst: held)
        next.heldAtFirst = UInt32(level)
        next.counts = [UInt32(expected)]
        next.deadlines.append(deadline)
        model[account, default: Account()].wishes[kind] = next
      default:
        now += UInt64.random(in: 0...20, using: &random)
        while let due = table.due(at: now) {
          let wish = try #require(model[due.account]?.wishes[due.kind])
          let least = due.kind == .frames ? Requests.defaultMinimumFrames : Requests.defaultMinimumSlices
          let minimum = model[due.account]?.minimum[due.kind] ?? least
          #expect(wish.deadlines.min().map { $0 <= now } == true)
          #expect(due.allowed == max(minimum, wish.heldAtFirst - wish.counts.reduce(0, +)))
          _ = table.close(due, missed: 0)
          model[due.account]?.wishes[due.kind] = nil
        }
      }
      let deadlines = model.values.flatMap { $0.wishes.values.compactMap { $0.deadlines.min() } }
      #expect(table.nextDeadline == deadlines.min() ?? .max)
      for account in UInt16(1)...9 { #expect((table.index(of: account) != nil) == (model[account] != nil)) }
    }
  }
}
