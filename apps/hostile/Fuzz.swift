// SPDX-License-Identifier: Apache-2.0
// Fuzz.swift: families that make calls at random, several at once, and what has to hold when they are gone.
//
// From each seed come three new families, each with a capability for the next one's resources, which call away,
// destroying themselves and each other sooner or later; those that die early have successors. After each seed the
// kernel's ledgers are recomputed, and a neighbour's memory and share of time have to be what they were.

import ApusABI

/// The seeds of a run.
struct FuzzPlan {
  /// The first seed, and how many there are.
  let first: UInt64
  let count: UInt64
  /// Calls that are made from each seed, at least.
  let calls: UInt64
  /// Whether the counter counts instructions, so that shares of time can be judged; only failures and the sum are
  /// told then, and all figures.
  let isVirtual: Bool
}

func fuzzChecks(_ report: inout Report) {
  fuzz(FuzzPlan(first: 1, count: 10, calls: 1000, isVirtual: false), &report)
}

/// For `make fuzz`: the start command says which seeds.
func seededFuzzChecks(_ report: inout Report) {
  let plan = FuzzPlan(
    first: StartCommand.number("first=") ?? 1, count: StartCommand.number("seeds=") ?? 50,
    calls: StartCommand.number("calls=") ?? 2200, isVirtual: true)
  fuzz(plan, &report)
}

private func fuzz(_ plan: FuzzPlan, _ report: inout Report) {
  var preparation = Check("fuzz", "preparation")
  guard mapStatistics(), let neighbour = FuzzNeighbour(), let ledger = FuzzLedger() else {
    return report.notTried(preparation)
  }
  ledger.verify(&preparation)
  if !plan.isVirtual || !preparation.holds { report.finish(preparation) }

  for seed in plan.first..<plan.first + plan.count {
    var check = Check("fuzz", "families that call at random, seed", seed)
    run(seed, plan, neighbour, ledger, &check)
    if !plan.isVirtual || !check.holds { report.finish(check) }
    // What comes after a failure has no meaning.
    if !check.holds { break }
  }
  neighbour.end()

  var sum = Check("fuzz", "calls that were made:", FuzzStatistics.calls)
  sum.expect(FuzzStatistics.calls >= plan.count * plan.calls, "too few", FuzzStatistics.calls)
  sum.expect(FuzzStatistics.neighbourRounds > plan.count, "rounds of the neighbour", FuzzStatistics.neighbourRounds)
  report.finish(sum)
  if plan.isVirtual { tellStatistics() }
}

private func mapStatistics() -> Bool {
  for page in 0..<FuzzStatistics.pages where OwnTables.entry(FuzzStatistics.base + page * 4096) == 0 {
    guard Memory.mapFresh(at: FuzzStatistics.base + page * 4096) != nil else { return false }
  }
  return true
}

// MARK: One seed

/// The account of a random family.
///
/// None is used twice within some dozens of seeds. All are in the account table.
private func account(_ seed: UInt64, _ number: UInt64) -> UInt64 { 0x0300 + (seed * 32 + number) % 0x0400 }

/// How many families one seed has at most, successors included.
private let familyLimit: UInt64 = 31

private func run(
  _ seed: UInt64, _ plan: FuzzPlan, _ neighbour: FuzzNeighbour, _ ledger: FuzzLedger, _ check: inout Check
) {
  var random = FuzzRandom(seed: seed &* 0x9e37_79b9_7f4a_7c15)
  let tables = OwnTables.sum()
  let calls = FuzzStatistics.calls
  let share = FuzzShare(neighbour)
  var families: InlineArray<3, FuzzFamily?> = .init(repeating: nil)
  var made: UInt64 = 0
  var turns: UInt64 = 0
  var lastCalls = calls
  while FuzzStatistics.calls - calls < plan.calls, turns < 1200 {
    for place in 0..<FuzzPlace.families where made < familyLimit && turns % 4 == 0 {
      if let family = families[Int(place)], family.isLive { continue }
      if let family = families[Int(place)] { FuzzFamily.endAll(of: family.account) }
      // Its victim is the family that comes next, or all that the next one shares.
      let victim = account(seed, made + 1) << 48 | (random.oneIn(2) ? 1 << 40 : 0)
      guard
        let family = FuzzFamily(
          account: account(seed, made), place: place, body: address_of_hostile_body_fuzz(),
          victim: (victim, victim >> 40 & 1 != 0 ? 3 : 2), words: (random.next(), FuzzBody.calls))
      else { break }
      families[Int(place)] = family
      made += 1
      // The one whose victim it is may have taken its slices before it began.
      _ = family.start(on: (seed + made) % Information.page.processor_count)
    }
    Kernel.yield()
    turns += 1
    // Where nobody else runs meanwhile a moment can be looked at.
    if turns & 7 == 0, Information.page.processor_count == 1 { ledger.verifyAmidst(&check) }
    // Families that sleep for good, or gave their slices back, make room.
    if turns & 15 == 0 {
      if FuzzStatistics.calls == lastCalls {
        for number in 0...made { FuzzFamily.endAll(of: account(seed, number)) }
      }
      lastCalls = FuzzStatistics.calls
    }
  }
  for number in 0...made { FuzzFamily.endAll(of: account(seed, number)) }
  _ = ledger.settle(turns: 100)
  // What one of them took in the name of a family without environments is nobody's to return but ours.
  for number in 0...made where ledger.charges(account(seed, number)) { FuzzFamily.sweep(account(seed, number)) }
  check.expect(ledger.settle(turns: 20_000), "what the dead had has not come back, frames", ledger.missing)
  ledger.verify(&check)
  check.expect(OwnTables.sum() == tables, "the page tables of the first family changed")
  neighbour.verify(&check)
  if plan.isVirtual { share.verify(&check) }
}

/// The neighbour's share of time, in the kernel's own counts.
private struct FuzzShare {
  private let neighbour: FuzzNeighbour
  private let slot: UInt64
  private let start: UInt64
  private let turns: UInt64
  private let ticks: UInt64
  private let ownTurns: UInt64

  init(_ neighbour: FuzzNeighbour) {
    self.neighbour = neighbour
    slot = Information.ownSlot
    start = time_stamp()
    turns = Self.turns(of: neighbour.family.record)
    ticks = neighbour.family.record.ticks_used
    ownTurns = Information.environment(slot: slot).slices_used
  }

  /// Turns that a slice had, and those that it paid with: several emulated CPUs run in turn, and what one of them misses
  /// meanwhile of its slice's end is excess time.
  private static func turns(of record: apus_environment) -> UInt64 { record.slices_used + record.slices_forfeited }

  /// Its one slice had as many turns as the first family's, and beside that it had what its contract says.
  ///
  /// Somebody in a critical section keeps everybody waiting until its bound, so a few periods may be late.
  func verify(_ check: inout Check) {
    let record = neighbour.family.record
    let turns = Self.turns(of: record) - turns
    let own = Information.environment(slot: slot).slices_used - ownTurns
    check.expect(turns + 2 >= own, "the neighbour had fewer turns than another with one slice", turns)
    let elapsed = time_stamp() - start
    let share = (record.ticks_used - ticks) * 1000 / elapsed
    FuzzStatistics.noteShare(share)
    check.expect(
      share >= 1000 / FuzzNeighbour.period, "the neighbour's time is less than its contract says, per mille", share)
  }
}

// MARK: Telling

/// Lines that `tools/fuzz` adds up: calls of each number, those that succeeded, ticks of the longest.
private func tellStatistics() {
  for number in 0..<FuzzGrammar.numbers where SystemCall(rawValue: UInt32(number)) != nil {
    var line = Line()
    line.put("fuzz call ")
    line.put(number)
    line.put(" made ")
    line.put(FuzzStatistics.calls(of: number))
    line.put(" succeeded ")
    line.put(FuzzStatistics.successes(of: number))
    line.put(" ticks ")
    line.put(FuzzStatistics.longest(of: number))
    line.send()
  }
  var line = Line()
  line.put("fuzz total ")
  line.put(FuzzStatistics.calls)
  line.put(" succeeded ")
  line.put(FuzzStatistics.successes)
  line.put(" environments ")
  line.put(FuzzStatistics.attackers)
  line.put(" share ")
  line.put(FuzzStatistics.leastShare)
  line.send()
}
