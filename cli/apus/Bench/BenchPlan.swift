// SPDX-License-Identifier: Apache-2.0
// BenchPlan.swift: which machines are booted how often, and what their samples come to.

/// The boots of one bench run.
struct BenchPlan {
  let figures: [BenchFigure]
  let machine: BenchMachine
  /// Boots of each machine by the host's clock.
  let repetitions: Int
  let home: Home
  let programs: BenchPrograms
  /// Nil when it cannot be had.
  let twin: LinuxTwin?

  /// Samples by system and metric.
  private struct Samples {
    var apus: [BenchLine.Metric: [Double]] = [:]
    var linux: [BenchLine.Metric: [Double]] = [:]
  }

  private static let boot = BenchLine.Metric(name: "boot", metric: "op")

  /// Runs everything.
  ///
  /// - Returns: The rows, and whether every machine did its part.
  func run() -> (rows: [BenchRow], complete: Bool) {
    var complete = true
    var counted = Samples()
    var timed = Samples()
    // One counted boot: a second one gives the same figures but for the host's entropy.
    runOnce(.instructions, &counted, &complete)
    // Apus and Linux take turns, so that a host that changes its speed changes both.
    for _ in 0..<repetitions { runOnce(.wall, &timed, &complete) }
    let rows = rows(.instructions, counted) + (repetitions > 0 ? rows(.wall, timed) : [])
    return (rows, complete)
  }

  private func runOnce(
    _ counting: BenchMachine.Counting, _ samples: inout Samples, _ complete: inout Bool
  ) {
    for guest in ApusGuest.allCases {
      let mine = figures.filter { $0.guest == guest }
      guard !mine.isEmpty else { continue }
      let cases = names(mine.map(\.name))
      do throws(Failure) {
        let result = try guest.boot(
          machine, counting, cases: cases, home: home, programs: programs)
        let missing = add(
          result, counting, wanted: mine.map(\.key), to: &samples.apus,
          bootsHere: guest == .native)
        if let reason = result.failure ?? missing {
          Diagnostics.say("Apus, \(guest) program: \(reason)")
          complete = false
        }
      } catch {
        Diagnostics.say("Apus, \(guest) program: \(error.sentence)")
        complete = false
      }
    }
    guard let twin else { return }
    do throws(Failure) {
      let twins = figures.flatMap(\.twins)
      // Booting needs no case of its own; getppid is the shortest.
      let cases = names(twins.map(\.name).filter { $0 != Self.boot.name })
      let result = try twin.boot(machine, counting, cases: cases.isEmpty ? ["getppid"] : cases)
      let missing = add(result, counting, wanted: twins, to: &samples.linux, bootsHere: true)
      if let reason = result.failure ?? missing {
        Diagnostics.say("Linux: \(reason)")
        complete = false
      }
    } catch {
      Diagnostics.say("Linux: \(error.sentence)")
      complete = false
    }
  }

  private func names(_ names: [String]) -> [String] {
    BenchFigure.names.filter { names.contains($0) }
  }

  /// Adds a boot's samples; returns what is missing among those wanted.
  private func add(
    _ result: GuestResult, _ counting: BenchMachine.Counting, wanted: [BenchLine.Metric],
    to samples: inout [BenchLine.Metric: [Double]], bootsHere: Bool
  ) -> String? {
    var seen: Set<BenchLine.Metric> = []
    for (metric, values) in result.samples {
      switch counting {
      case .instructions:
        samples[metric, default: []] += values
      case .wall:
        // The counter does not start at power-on then: the host's clock times the boot.
        guard metric != Self.boot, let clock = result.clock else { continue }
        samples[metric, default: []] += values.map { $0 * 1e9 / clock }
      }
      seen.insert(metric)
    }
    if counting == .wall, bootsHere, let seconds = result.secondsToFirstLine {
      samples[Self.boot, default: []].append(seconds * 1e9)
      seen.insert(Self.boot)
    }
    let missing = wanted.filter { $0.metric == "op" && !seen.contains($0) }
    return missing.isEmpty ? nil : "no figure for " + missing.map(\.name).joined(separator: ", ")
  }

  private func rows(_ kind: BenchKind, _ samples: Samples) -> [BenchRow] {
    figures.compactMap { figure in
      let apus = samples.apus[figure.key] ?? []
      let candidates = figure.twins.compactMap { samples.linux[$0] }
      let best = candidates.min { (median($0) ?? .infinity) < (median($1) ?? .infinity) } ?? []
      // A figure beside the required ones stands only when Apus has it.
      guard figure.metric == "op" || !apus.isEmpty else { return nil }
      return BenchRow(figure: figure, kind: kind, apus: apus, linux: best)
    }
  }
}
