// SPDX-License-Identifier: Apache-2.0
// Deadline.swift: a periodic task beside eight endless loops: with a contract it meets every deadline, without it misses.
//
// The task is released each millisecond and has to have done a fixed piece of work, a fifth of that, by the next
// release. Arguments: `periods N`; `without N` for the periods of the control run.

import ApusABI

private enum Task {
  static var period: UInt64 { ticks_per_second() / 1000 }
  /// Guaranteed in each period.
  static var slice: UInt64 { period * 3 / 10 }
  /// Of 200 instructions each.
  static var rounds: UInt64 { 1000 }
}

/// What a run of the task came to.
private struct Outcome {
  var periods: UInt64 = 0
  var missed: UInt64 = 0
  /// The latest end after a release, in ticks.
  var latest: UInt64 = 0

  func tell(_ name: StaticString) {
    var line = Line()
    line.put(name)
    line.put(": ")
    line.put(missed)
    line.put(" of ")
    line.put(periods)
    line.put(" deadlines missed; the latest end was ")
    line.put(thousandths: latest * 1000 / Task.period)
    line.put(" periods after its release")
    line.end()
  }
}

/// Does the work of so many periods.
private func run(periods: UInt64) -> Outcome {
  var outcome = Outcome()
  var release = time_stamp() + 2 * Task.period
  for _ in 0..<periods {
    Native.sleep(until: release)
    work(Task.rounds)
    let late = time_stamp() - release
    outcome.periods += 1
    outcome.latest = max(outcome.latest, late)
    // Releases that have passed while the task was late are not made up for: each deadline is judged by itself.
    if late > Task.period { outcome.missed += 1 }
    release += max(1, late / Task.period + (late % Task.period == 0 ? 0 : 1)) * Task.period
  }
  return outcome
}

/// Runs the task with a contract, then without.
///
/// - Returns: Whether no deadline was missed with the contract, and some without: otherwise there was no load.
func runProgram() -> Bool {
  for place in 0..<UInt64(8) {
    guard let loop = Environment(place: place, body: address_of_native_spin()), loop.takeSlice() else { return false }
  }
  let first = Environment.first
  guard let contract = Native.call(.contract, Native.family, first.handle, Task.period, Task.slice, 0) else {
    return false
  }
  let with = run(periods: Native.number(after: "periods") ?? 1000)
  with.tell("with a contract")
  let missed = contract_missed(contract)
  guard Native.call(.contractEnd, Native.family, contract) != nil else { return false }
  let without = run(periods: Native.number(after: "without") ?? 20)
  without.tell("without")
  return with.missed == 0 && missed == 0 && without.missed > without.periods / 2
}
