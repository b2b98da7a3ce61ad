// SPDX-License-Identifier: Apache-2.0
// TransferTests.swift: chains of protected calls: their links and depths, in cases and against a model.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

@Suite struct TransferTests {
  let machine = Machine(environments: 12)
  var table: Environments
  var handles: [UInt64] = []

  init() throws {
    table = EnvironmentTable(environments: EnvironmentView(machine: machine), accounts: machine.ledger)
    machine.endowAll()
    for _ in 0..<12 {
      let slot = try table.vacantSlot(for: 1)
      handles.append(
        table.occupy(
          slot, account: 1, under: capability("a"), root: 0, uareaFrame: 0, uareaAddress: 0))
    }
  }

  func call(_ caller: UInt32, _ target: UInt32, deadline: UInt64 = .max) throws {
    let found = try table.checkTransfer(to: handles[Int(target)], from: caller, waits: true)
    #expect(found == target)
    table.beginTransfer(to: target, from: caller, deadline: deadline)
  }

  @Test func aCallIsAnswered() throws {
    machine.environments[0].running_on = 3
    try call(0, 1)
    #expect(table.isCalling(0))
    #expect(machine.environments[1].returns_to == handles[0])
    #expect(machine.environments[1].transfer_depth == 1)
    #expect(machine.environments[0].running_on == 0)
    #expect(machine.environments[1].running_on == 3)
    #expect(table.endOfChain(0) == 1)
    #expect(table.returnTransfer(from: 1) == 0)
    #expect(!table.isCalling(0))
    #expect(machine.environments[0].running_on == 3)
    #expect(machine.environments[1].transfer_depth == 0)
    #expect(table.returnTransfer(from: 1) == nil)
  }

  @Test func nineCannotWait() throws {
    for slot in 0..<UInt32(APUS_TRANSFER_CHAIN) { try call(slot, slot + 1) }
    #expect(throws: SystemCallError.exhausted) { try call(8, 9) }
    #expect(try table.checkTransfer(to: handles[9], from: 8, waits: false) == 9)
    #expect(table.endOfChain(0) == 8)
    for slot in (0..<UInt32(APUS_TRANSFER_CHAIN)).reversed() {
      #expect(table.returnTransfer(from: slot + 1) == slot)
    }
  }

  @Test func whoIsBusyIsNotEntered() throws {
    try call(0, 1)
    for (caller, target) in [(1, 0), (2, 1), (2, 0), (1, 1)] as [(UInt32, UInt32)] {
      #expect(throws: SystemCallError.inUse) { try call(caller, target) }
    }
    machine.environments[3].running_on = 1
    #expect(throws: SystemCallError.inUse) { try call(2, 3) }
    #expect(throws: SystemCallError.noSuchResource) {
      try table.checkTransfer(to: handles[4] + 1 << 32, from: 2, waits: false)
    }
  }

  @Test func theFirstDeadlineThatHasPassedEndsTheWait() throws {
    try call(0, 1, deadline: 300)
    try call(1, 2, deadline: 200)
    try call(2, 3)
    #expect(table.earliestDeadline(above: 3) == 200)
    #expect(table.expiredCaller(from: 0, now: 199) == nil)
    #expect(table.expiredCaller(from: 0, now: 200) == 1)
    #expect(table.expiredCaller(from: 0, now: 300) == 0)
    #expect(table.expiredCaller(from: 2, now: 300) == nil)
    let cut = table.failTransfer(of: 1, failure: APUS_TRANSFER_EXPIRED)
    #expect(cut == CutTransfers(caller: 1, callee: 2))
    #expect(machine.environments[1].transfer_failure == UInt32(APUS_TRANSFER_EXPIRED))
    #expect(table.endOfChain(0) == 1)
    #expect(machine.environments[1].transfer_depth == 1)
    #expect(machine.environments[3].transfer_depth == 1)
    #expect(table.returnTransfer(from: 3) == 2)
    #expect(table.returnTransfer(from: 2) == nil)
  }

  @Test func theMiddleOfAChainDies() throws {
    try call(0, 1)
    try call(1, 2)
    try call(2, 3)
    let cut = table.beginDeath(1, cause: 0, rip: 0, address: 0)
    #expect(cut == CutTransfers(caller: 0, callee: 2))
    #expect(machine.environments[0].transfer_failure == UInt32(APUS_TRANSFER_DIED))
    #expect(machine.environments[0].state == UInt32(APUS_ENVIRONMENT_RUNNABLE))
    #expect(machine.environments[3].transfer_depth == 1)
  }

  @Test func itsSlicesRunTheEndOfItsChain() throws {
    try call(0, 1)
    #expect(table.takeTurn(0, sliceTicks: 10) == .runs)
    table.sleep(1, word: 0, value: 0, deadline: .max)
    #expect(table.takeTurn(0, sliceTicks: 10) == .waits)
    table.wake(1)
    machine.environments[1].running_on = 2
    #expect(table.takeTurn(0, sliceTicks: 10) == .waits, "another CPU runs it")
    machine.environments[1].running_on = 0
    // The caller owes for its chain.
    machine.environments[0].excess_ticks = 10
    machine.environments[1].excess_ticks = 100
    #expect(table.takeTurn(0, sliceTicks: 10) == .forfeits)
    #expect(table.takeTurn(0, sliceTicks: 10) == .runs)
  }

  // MARK: A model

  /// Calls, returns, deadlines, sleep, deaths and births at random.
  ///
  /// The model keeps whole chains as lists.
  @Test(arguments: 1...UInt64(40)) mutating func randomSequences(_ seed: UInt64) throws {
    var random = Seeded(seed)
    var chains: [[UInt32]] = (0..<12).map { [$0] }
    var done: [String: Int] = [:]
    func index(of slot: UInt32) -> Int? { chains.firstIndex { $0.contains(slot) } }
    for step in 0..<2000 {
      let slot = UInt32.random(in: 0..<12, using: &random)
      let other = UInt32.random(in: 0..<12, using: &random)
      let place = index(of: slot)
      switch Int.random(in: 0..<20, using: &random) {
      case 0...9:
        // Only the last of a chain can run and call.
        guard let place, chains[place].last == slot, !isAsleep(slot) else { continue }
        let expected: SystemCallError?
        if let target = index(of: other) {
          let isBusy = chains[target].count > 1 || slot == other
          expected = isBusy ? .inUse : chains[place].count > 8 ? .exhausted : nil
        } else {
          expected = .noSuchResource
        }
        let found = failure { () throws(SystemCallError) in
          _ = try table.checkTransfer(to: handles[Int(other)], from: slot, waits: true)
        }
        #expect(found == expected, "seed \(seed), step \(step)")
        if expected == nil {
          table.wake(other)
          table.beginTransfer(
            to: other, from: slot, deadline: random.chance(50) ? .max : .random(in: 0..<1000, using: &random))
          chains.removeAll { $0 == [other] }
          chains[index(of: slot) ?? 0].append(other)
          done["call", default: 0] += 1
        }
      case 10...12:
        guard let place, chains[place].last == slot, !isAsleep(slot) else { continue }
        let caller = chains[place].count > 1 ? chains[place][chains[place].count - 2] : nil
        #expect(table.returnTransfer(from: slot) == caller, "seed \(seed), step \(step)")
        if caller != nil {
          chains[place].removeLast()
          chains.append([slot])
          done["return", default: 0] += 1
        }
      case 13...16:
        let now = UInt64.random(in: 0..<1000, using: &random)
        guard let caller = table.expiredCaller(from: slot, now: now) else { continue }
        let place = try #require(index(of: caller))
        let cut = try #require(chains[place].firstIndex(of: caller))
        // None between where the search began and what it found has passed its deadline.
        for above in chains[place][..<cut].drop(while: { $0 != slot }) {
          #expect(machine.environments[Int(above)].transfer_deadline > now)
        }
        let told = table.failTransfer(of: caller, failure: APUS_TRANSFER_EXPIRED)
        #expect(told == CutTransfers(caller: caller, callee: chains[place][cut + 1]))
        split(&chains, place, after: cut)
        done["deadline", default: 0] += 1
      case 17...18:
        if isAsleep(slot) {
          table.wake(slot)
        } else if let place, chains[place].last == slot {
          table.sleep(slot, word: 0, value: 0, deadline: .max)
        }
      default:
        if let place, let position = chains[place].firstIndex(of: slot) {
          let caller = position > 0 ? chains[place][position - 1] : nil
          let callee = position + 1 < chains[place].count ? chains[place][position + 1] : nil
          #expect(table.beginDeath(slot, cause: 0, rip: 0, address: 0) == CutTransfers(caller: caller, callee: callee))
          table.vacate(slot)
          split(&chains, place, after: position)
          if let place = index(of: slot) {
            chains[place].removeAll { $0 == slot }
            chains.removeAll(where: \.isEmpty)
          }
          done["death", default: 0] += 1
        } else if let vacant = try? table.vacantSlot(for: 1) {
          handles[Int(vacant)] = table.occupy(
            vacant, account: 1, under: capability("a"), root: 0, uareaFrame: 0, uareaAddress: 0)
          chains.append([vacant])
        }
      }
      if let complaint = complaint(chains) {
        Issue.record("seed \(seed), step \(step): \(complaint)")
        return
      }
    }
    for name in ["call", "return", "deadline", "death"] { #expect((done[name] ?? 0) > 3, "hardly any \(name)") }
  }

  private func isAsleep(_ slot: UInt32) -> Bool {
    machine.environments[Int(slot)].state == UInt32(APUS_ENVIRONMENT_SLEEPING)
  }

  private func split(_ chains: inout [[UInt32]], _ place: Int, after position: Int) {
    let rest = Array(chains[place][(position + 1)...])
    chains[place].removeSubrange((position + 1)...)
    if !rest.isEmpty { chains.append(rest) }
  }

  /// What the records say otherwise than the model.
  private func complaint(_ chains: [[UInt32]]) -> String? {
    for chain in chains {
      for (position, slot) in chain.enumerated() {
        let record = machine.environments[Int(slot)]
        let isLast = position == chain.count - 1
        if record.returns_to != (position == 0 ? 0 : handles[Int(chain[position - 1])]) { return "\(slot) serves whom" }
        if record.transfer_target != (isLast ? 0 : handles[Int(chain[position + 1])]) { return "\(slot) calls whom" }
        if table.isCalling(slot) == isLast { return "\(slot)'s state" }
        if record.transfer_depth != (isLast ? UInt16(position) : 0) { return "\(slot)'s depth" }
        if table.endOfChain(slot) != chain[chain.count - 1] { return "\(slot)'s end of the chain" }
        if chain.count > Int(APUS_TRANSFER_CHAIN) + 1 { return "a chain of \(chain.count)" }
      }
    }
    return nil
  }
}
