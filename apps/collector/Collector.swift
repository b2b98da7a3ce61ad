// SPDX-License-Identifier: Apache-2.0
// Collector.swift: collects what changed: checkpoints of a program that writes on while they are made.
//
// Word of the start command: `bench` prints lines for the bench. The Linux twin is bench/programs/linux-collector.c.

import ApusABI

@c @used func native_fault(_ cause: UInt64, _ address: UInt64) -> Bool {
  // A write to a page that is there and may not be written (SDM vol. 3, 4.7).
  cause & 0xff == 14 && cause >> 32 & 3 == 3 && Checkpoint.release(address)
}

/// The program: writes to words of a window of pages that moves on with each epoch.
///
/// The same on Linux.
private struct Mutator {
  static let window: UInt64 = 256
  static let writes: UInt64 = 2048
  private var state: UInt64 = 1

  /// Half of an epoch; `between` runs after every eighth write.
  @inline(__always) mutating func write(epoch: UInt64, between: () -> Void) {
    var count: UInt64 = 0
    while count < Self.writes {
      // Knuth's MMIX generator.
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let random = state >> 33
      let page = (epoch * 61 + random % Self.window) % Checkpoint.pages
      let address = Checkpoint.word(page, random >> 8 & 511)
      store64(address, load64(address) &+ epoch &+ count)
      count += 1
      if count & 7 == 0 { between() }
    }
  }
}

/// What all images together come to, as in a program without any of this; bench/programs/linux-collector.c has it, too.
private let expectedChecksum: UInt64 = 5_489_312_518_479_000_231

private let settling: UInt64 = 1
private let epochs: UInt64 = 6

/// How checkpoints are made.
private enum Way {
  /// While the program goes on.
  case goingOn
  /// All at once, the program standing still.
  case standingStill
}

/// Figures of a way.
private struct Outcome {
  var whole: Measurement
  /// What finding the changed pages, protecting them and faults cost.
  var handling: Measurement
  var faults = Measurement("collector", "faults")
  var changed: UInt64 = 0
  var faultCount: UInt64 = 0
  var checksum: UInt64 = 0xcbf2_9ce4_8422_2325
  /// Of each epoch: ticks, and pages that changed.
  var ticks: InlineArray<8, UInt64> = .init(repeating: 0)
  var counts: InlineArray<8, UInt64> = .init(repeating: 0)

  init(_ whole: StaticString, _ handling: StaticString) {
    self.whole = Measurement("collector", whole)
    self.handling = Measurement("collector", handling)
  }
}

private func run(_ way: Way, _ outcome: inout Outcome) -> Bool {
  guard Checkpoint.reset() else { return false }
  var mutator = Mutator()
  for epoch in 0..<epochs {
    let faults = Checkpoint.faults.value
    if epoch >= settling { mark_begin() }
    let start = time_stamp()
    mutator.write(epoch: epoch) {}
    switch way {
    case .goingOn:
      guard Checkpoint.begin() else { return false }
      mutator.write(epoch: epoch) { Checkpoint.step() }
      guard Checkpoint.finish() else { return false }
    case .standingStill:
      guard Checkpoint.saveAtOnce() else { return false }
      mutator.write(epoch: epoch) {}
    }
    let ticks = time_stamp() - start
    if epoch >= settling { mark_end() }
    outcome.checksum = Checkpoint.mix(outcome.checksum)
    let count = Checkpoint.changedCount.value
    outcome.ticks[Int(epoch)] = ticks
    outcome.counts[Int(epoch)] = count
    guard epoch >= settling else { continue }
    outcome.whole.add(ticks, operations: count)
    outcome.faults.add((Checkpoint.faults.value - faults) * 1000, operations: count)
    outcome.changed += count
    outcome.faultCount += Checkpoint.faults.value - faults
  }
  runBare(&outcome)
  return outcome.checksum == expectedChecksum
}

/// The same writes and as many copies, with nothing that finds out what changed: the difference is what that costs.
///
/// The copies are of other pages, and nobody looks at them.
private func runBare(_ outcome: inout Outcome) {
  var mutator = Mutator()
  for epoch in 0..<epochs {
    let start = time_stamp()
    mutator.write(epoch: epoch) {}
    mutator.write(epoch: epoch) {}
    Checkpoint.copy(outcome.counts[Int(epoch)])
    let ticks = time_stamp() - start
    guard epoch >= settling else { continue }
    let whole = outcome.ticks[Int(epoch)]
    outcome.handling.add(whole > ticks ? whole - ticks : 0, operations: outcome.counts[Int(epoch)])
  }
}

private func tell(_ name: StaticString, _ outcome: Outcome) {
  var line = Line()
  line.put(name)
  line.put(": ")
  line.put(epochs - settling)
  line.put(" checkpoints of ")
  line.put(outcome.changed)
  line.put(" changed pages, ")
  line.put(outcome.faultCount)
  line.put(" faults; finding, protecting and faults took ")
  line.put(outcome.handling.median / 1000)
  line.put(" ticks for each page of ")
  line.put(outcome.whole.median / 1000)
  line.put(" in all; checksum ")
  line.put(outcome.checksum)
  line.end()
}

/// Makes the checkpoints in both ways.
///
/// - Returns: Whether every image was what memory had been.
func runProgram() -> Bool {
  let isBench = Native.hasWord("bench")
  if isBench { Measurement.tellStart() }
  var goingOn = Outcome("whole", "op")
  var standingStill = Outcome("still-whole", "still")
  guard Checkpoint.start() else { return false }
  let isRight = run(.goingOn, &goingOn) && run(.standingStill, &standingStill)
  if isBench {
    goingOn.whole.tell()
    goingOn.handling.tell()
    goingOn.faults.tell()
    standingStill.whole.tell()
    standingStill.handling.tell()
    if isRight { Measurement.tellEnd() }
    return isRight
  }
  tell("while the program goes on", goingOn)
  tell("while it stands still", standingStill)
  var line = Line()
  line.put(isRight ? "every image is what memory was" : "an image is not what memory was")
  line.end()
  return isRight
}
