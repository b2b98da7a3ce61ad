// SPDX-License-Identifier: Apache-2.0
// Pager.swift: a scan over more pages than there are frames, under the default policy and under the program's own.
//
// The words of the start command: `pager` alone tells what came of it, `pager trace` each row of faults as well, which
// the host draws, `pager bench` prints lines for the bench. The Linux twin is bench/programs/linux-pager.c.

import ApusABI

@c @used func native_fault(_ cause: UInt64, _ address: UInt64) -> Bool {
  // A page fault on a page that is not there (SDM vol. 3, 4.7).
  cause & 0xff == 14 && cause >> 32 & 1 == 0 && PagedMemory.bring(address)
}

/// The work: the same on Linux.
private struct Work {
  /// Passes so far, and the sum of their numbers, which is what a scanned word has been multiplied by.
  private(set) var passes: UInt64 = 0
  private(set) var sum: UInt64 = 0

  /// Adds to the first eight words of a page.
  @inline(__always) private func visit(_ page: UInt64, _ factor: UInt64) {
    let address = PagedMemory.address(of: page)
    var word: UInt64 = 0
    while word < 8 {
      store64(address + word * 8, load64(address + word * 8) &+ (word + 1) &* factor)
      word += 1
    }
  }

  /// Visits each scanned page, and after each one of the hot ones.
  mutating func pass() {
    passes += 1
    sum += passes
    var index: UInt64 = 0
    while index < PagedMemory.scanPages {
      visit(PagedMemory.hotPages + index, passes)
      visit((index &* 97 &+ passes) % PagedMemory.hotPages, passes)
      index += 1
    }
  }

  /// Whether memory holds what all passes together have to leave there.
  func isRight() -> Bool {
    var hot: UInt64 = 0
    for page in 0..<PagedMemory.pages {
      for word in 0..<UInt64(8) {
        let value = load64(PagedMemory.address(of: page) + word * 8)
        if page < PagedMemory.hotPages { hot += value } else if value != (word + 1) * sum { return false }
      }
    }
    return hot == PagedMemory.scanPages * 36 * sum
  }
}

/// What a policy came to.
private struct Outcome {
  var instructions: Measurement
  /// Faults in a thousand visits.
  var faults: Measurement
  var faultsInPass: UInt64 = 0
}

private let measuredPasses = 5

/// Two passes until the policy is settled, then those that count.
private func run(_ policy: Policy, _ work: inout Work, into outcome: inout Outcome) -> Bool {
  guard PagedMemory.begin(policy) else { return false }
  for pass in 0..<2 + measuredPasses {
    PagedMemory.trace.begin(pass: UInt64(pass))
    let faults = PagedMemory.faults.value
    if pass >= 2 { mark_begin() }
    let start = time_stamp()
    work.pass()
    let ticks = time_stamp() - start
    guard pass >= 2 else { continue }
    mark_end()
    outcome.faultsInPass = PagedMemory.faults.value - faults
    outcome.instructions.add(ticks, operations: PagedMemory.scanPages)
    outcome.faults.add(outcome.faultsInPass * 1000, operations: PagedMemory.scanPages)
  }
  return true
}

private func tell(_ name: StaticString, _ outcome: Outcome) {
  var line = Line()
  line.put(name)
  line.put(": ")
  line.put(outcome.faultsInPass)
  line.put(" faults in a pass over ")
  line.put(PagedMemory.scanPages)
  line.put(" pages; ")
  line.put(outcome.instructions.median / 1000)
  line.put(" ticks for each page")
  line.end()
}

/// Runs both policies.
///
/// - Returns: Whether memory is right, and the program's own policy has at most half of the default's faults.
func runProgram() -> Bool {
  let isBench = Native.hasWord("bench")
  if isBench { Measurement.tellStart() }
  guard PagedMemory.start() else { return false }
  if Native.hasWord("trace") { PagedMemory.trace.begin() }
  var work = Work()
  var clock = Outcome(
    instructions: Measurement("pager", "clock"), faults: Measurement("pager", "clock-faults"))
  var own = Outcome(instructions: Measurement("pager", "op"), faults: Measurement("pager", "faults"))
  guard run(.clock, &work, into: &clock) else { return false }
  if isBench {
    clock.instructions.tell()
    clock.faults.tell()
  }
  PagedMemory.trace.change()
  guard run(.lastScanned, &work, into: &own) else { return false }
  PagedMemory.trace.end()
  let isRight = work.isRight()
  if isBench {
    own.instructions.tell()
    own.faults.tell()
    if isRight { Measurement.tellEnd() }
    return isRight
  }
  tell("clock, the default", clock)
  tell("last scanned, its own", own)
  var line = Line()
  line.put(isRight ? "memory is right" : "memory is wrong")
  line.end()
  return isRight && own.faultsInPass * 2 <= clock.faultsInPass
}
