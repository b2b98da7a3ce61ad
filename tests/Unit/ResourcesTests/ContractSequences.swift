// SPDX-License-Identifier: Apache-2.0
// ContractSequences.swift: random contracts and loads in virtual time, against what was promised.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI
import Testing

/// What an environment does with the time that it gets.
private enum Habit: CaseIterable {
  /// Never stops.
  case loops
  /// Works a while, sleeps a while, at random.
  case naps
  /// Uses nearly its whole slice and naps for a moment, hoping for another.
  case schemes
  /// Goes on a little past the end of its budget, each time.
  case overruns
  /// Gives up what is left, now and then.
  case yields
  /// Ends its contract after each slice and makes it anew.
  case renews
}

/// A CPU that runs contracts by the ledger, each decision at some cost, and keeps its own account of who got what.
private struct VirtualProcessor {
  let machine = Machine(environments: 16, contracts: 16)
  var contracts: Contracts<ContractView>
  var table: Environments
  var random: Seeded
  var now: UInt64 = 1000
  var habits: [Habit] = []
  var wakeTimes = [UInt64](repeating: 0, count: 16)
  /// When an environment that always loops had its first period, and all that it has had since.
  var firstBegins = [UInt64?](repeating: nil, count: 16)
  var received = [UInt64](repeating: 0, count: 16)
  var leastLag: Int64 = 0
  var besides: UInt64 = 0
  let start: UInt64

  init(seed: UInt64) {
    random = Seeded(seed)
    contracts = Contracts(
      records: ContractView(machine: machine), limits: ContractLimits(ticksPerSecond: 1_000_000_000), processor: 0)
    start = now
    machine.endowAll()
    table = EnvironmentTable(environments: EnvironmentView(machine: machine), accounts: machine.ledger)
    for slot in 0..<UInt32(16) {
      _ = table.occupy(slot, account: 1, under: capability("a"), root: 0, uareaFrame: 0, uareaAddress: 0)
    }
    while habits.count < 16 {
      let habit = habits.isEmpty ? .loops : random.pick(Habit.allCases)
      let period = UInt64.random(in: 500_000...random.pick([1_000_000, 20_000_000]), using: &random)
      let slice = max(25_000, period / 1000 * UInt64.random(in: 1...500, using: &random))
      guard make(period, slice, UInt32(habits.count)) else { break }
      habits.append(habit)
    }
  }

  mutating func make(_ period: UInt64, _ slice: UInt64, _ slot: UInt32) -> Bool {
    do throws(SystemCallError) {
      _ = try contracts.make(period: period, slice: slice, for: slot, in: table, now: now)
      return true
    } catch { return false }
  }

  /// One decision and what follows until the next.
  mutating func step() {
    let wakeTimes = wakeTimes
    let moment = now
    let choice = contracts.choose(now: now) { wakeTimes[Int($0)] <= moment }
    let event = contracts.nextEvent { wakeTimes[Int($0)] }
    checkShares()
    // The way from here into the environment; nobody is charged for it.
    let path = UInt64.random(in: 0...1500, using: &random)
    guard let choice else {
      // Others run, and may keep interrupts away for one long path of the kernel's.
      let until = max(event, now + 1) + path + (random.chance(10) ? 30_000 : 0)
      let end = min(until, now + 5_000_000)
      besides += end - now
      now = end
      return
    }
    let record = machine.contracts[Int(choice)]
    let slot = Int(record.environment)
    if firstBegins[slot] == nil { firstBegins[slot] = record.deadline - record.period }
    now += path
    run(choice, record, slot, until: max(event, now + 1))
  }

  private mutating func run(_ choice: UInt32, _ record: apus_contract, _ slot: Int, until event: UInt64) {
    var ticks = min(record.budget, event - min(now, event - 1))
    let stopsItself = ticks == record.budget || random.chance(30)
    switch habits[slot] {
    case .loops: break
    case .naps:
      if random.chance(30) {
        ticks = UInt64.random(in: 1...ticks, using: &random)
        wakeTimes[slot] = now + ticks + UInt64.random(in: 1...(2 * record.period), using: &random)
      }
    case .schemes:
      if ticks == record.budget, ticks > 10 {
        ticks -= UInt64.random(in: 0...6, using: &random)
        wakeTimes[slot] = now + ticks + UInt64.random(in: 1...100, using: &random)
      }
    case .overruns: if ticks == record.budget { ticks += UInt64.random(in: 0...2000, using: &random) }
    case .yields: break
    case .renews: break
    }
    now += ticks
    received[slot] += ticks
    contracts.charge(choice, ticks: ticks)
    if habits[slot] == .yields, random.chance(20) { contracts.giveUp(choice) }
    if habits[slot] == .renews, stopsItself {
      contracts.endAll(of: UInt32(slot), accounts: machine.ledger)
      _ = make(record.period, record.slice, UInt32(slot))
    }
    if habits[slot] == .renews, !machine.contracts.contains(where: { $0.environment == UInt32(slot) }) {
      _ = make(record.period, record.slice, UInt32(slot))
    }
  }

  /// At each moment an environment that always loops has had its slice in every period that is over.
  private mutating func checkShares() {
    for index in 0..<16 {
      let record = machine.contracts[index]
      guard record.environment < 16, habits[Int(record.environment)] == .loops,
        let begin = firstBegins[Int(record.environment)]
      else { continue }
      let due = (now - begin) / record.period * record.slice
      leastLag = min(leastLag, Int64(received[Int(record.environment)]) - Int64(due))
    }
  }
}

@Suite struct ContractSequences {
  @Test("No admitted contract misses its slice, whatever the others try", arguments: UInt64(1)...40)
  func promisesAreKept(seed: UInt64) {
    var processor = VirtualProcessor(seed: seed)
    for _ in 0..<4000 { processor.step() }
    for record in processor.machine.contracts where record.environment != UInt32(APUS_CONTRACT_FREE) {
      #expect(record.missed == 0, "\(processor.habits[Int(record.environment)])")
    }
    // Below this, a remainder waits for the next period.
    #expect(processor.leastLag >= -Int64(processor.contracts.limits.switchCost))
    // A tenth is nobody's by contract.
    let passed = processor.now - processor.start
    #expect(processor.besides * 100 >= passed * 9)
  }

  @Test("Nobody gets more than the share", arguments: UInt64(1)...40)
  func nobodyGetsMore(seed: UInt64) {
    var processor = VirtualProcessor(seed: seed)
    var records: [UInt32: apus_contract] = [:]
    for record in processor.machine.contracts where record.environment < 16 { records[record.environment] = record }
    for _ in 0..<4000 { processor.step() }
    let passed = processor.now - processor.start
    for (slot, record) in records {
      let most = (passed / record.period + 2) * (record.slice + processor.contracts.limits.switchCost)
      #expect(processor.received[Int(slot)] <= most, "\(processor.habits[Int(slot)])")
    }
  }
}
