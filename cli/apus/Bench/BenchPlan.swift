// SPDX-License-Identifier: Apache-2.0
// BenchPlan.swift: which machines are booted how often, and what their samples come to.

/// The boots of one bench run in one configuration.
struct BenchPlan {
  let figures: [BenchFigure]
  let machine: BenchMachine
  /// Boots of each machine by the host's clock.
  let repetitions: Int
  let home: Home
  let programs: BenchPrograms
  /// Nil when it cannot be had.
  let twin: LinuxTwin?
  /// Nil: events are not counted.
  let events: BenchEventCounter?

  /// Samples of a metric, and what an operation did.
  private struct Series {
    var values: [Double] = []
    var events: BenchEvents?
  }

  /// Samples by machine and metric.
  private struct Samples {
    var apus: [ApusGuest: [BenchLine.Metric: Series]] = [:]
    var linux: [BenchLine.Metric: Series] = [:]
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
      let result = attempt("Apus, \(guest) program", counting, &complete) { counter throws(Failure) in
        try guest.boot(machine, counting, cases: cases, home: home, programs: programs, events: counter)
      }
      guard let result else { continue }
      let missing = add(
        result, counting, wanted: mine.filter { $0.target != nil }.map(\.key), to: &samples.apus[guest, default: [:]],
        bootsHere: guest == .native)
      note("Apus, \(guest) program", result.failure ?? missing, &complete)
    }
    guard let twin else { return }
    let wanted = figures.filter { $0.target != nil }.flatMap(\.twins)
    // Booting needs no case of its own; getppid is the shortest.
    let cases = names(figures.flatMap(\.twins).map(\.name).filter { $0 != Self.boot.name })
    let result = attempt("Linux", counting, &complete) { counter throws(Failure) in
      try twin.boot(machine, counting, cases: cases.isEmpty ? ["getppid"] : cases, events: counter)
    }
    guard let result else { return }
    let missing = add(result, counting, wanted: wanted, to: &samples.linux, bootsHere: true)
    note("Linux", result.failure ?? missing, &complete)
  }

  /// Boots once, with the events counted if that is asked for; once more without if it does not work.
  private func attempt(
    _ who: String, _ counting: BenchMachine.Counting, _ complete: inout Bool,
    _ boot: (BenchEventCounter?) throws(Failure) -> GuestResult
  ) -> GuestResult? {
    do throws(Failure) {
      guard counting == .instructions, let events else { return try boot(nil) }
      BenchFile.remove(events.output)
      var result = try boot(events)
      if result.failure == nil, events.complete(&result) { return result }
      let reason = result.failure ?? "the plugin's lines are not those of the metrics"
      Diagnostics.say("\(who): events are not counted: \(reason)")
      complete = false
      return try boot(nil)
    } catch {
      note(who, error.sentence, &complete)
      return nil
    }
  }

  private func note(_ who: String, _ reason: String?, _ complete: inout Bool) {
    guard let reason else { return }
    Diagnostics.say("\(who): \(reason)")
    complete = false
  }

  private func names(_ names: [String]) -> [String] {
    BenchFigure.names.filter { names.contains($0) }
  }

  /// Adds a boot's samples; returns what is missing among those wanted.
  private func add(
    _ result: GuestResult, _ counting: BenchMachine.Counting, wanted: [BenchLine.Metric],
    to samples: inout [BenchLine.Metric: Series], bootsHere: Bool
  ) -> String? {
    var seen: Set<BenchLine.Metric> = []
    for series in result.samples {
      switch counting {
      case .instructions:
        samples[series.metric, default: Series()].values += series.values
        samples[series.metric]?.events = series.events
      case .wall:
        // The counter does not start at power-on then: the host's clock times the boot.
        guard series.metric != Self.boot, !BenchFigure.isCount(series.metric), let clock = result.clock else {
          continue
        }
        samples[series.metric, default: Series()].values += series.values.map { $0 * 1e9 / clock }
      }
      seen.insert(series.metric)
    }
    if counting == .wall, bootsHere, let seconds = result.secondsToFirstLine {
      samples[Self.boot, default: Series()].values.append(seconds * 1e9)
      seen.insert(Self.boot)
    }
    let missing = wanted.filter { !seen.contains($0) }.map { "\($0.name) \($0.metric)" }
    return missing.isEmpty ? nil : "no figure for " + missing.joined(separator: ", ")
  }

  private func rows(_ kind: BenchKind, _ samples: Samples) -> [BenchRow] {
    figures.compactMap { figure in
      guard kind == .instructions || !figure.isCount else { return nil }
      let apus = samples.apus[figure.guest]?[figure.key]
      let ways = figure.twins.compactMap { way in samples.linux[way].map { (way: way, series: $0) } }
      let best = ways.min { (median($0.series.values) ?? .infinity) < (median($1.series.values) ?? .infinity) }
      // A figure beside the required ones stands only when Apus has it.
      guard figure.target != nil || apus != nil else { return nil }
      return BenchRow(
        figure: figure, configuration: machine.configuration, kind: kind, apus: apus?.values ?? [],
        linux: (best?.series.values ?? []).map { $0 * figure.twinScale }, way: best?.way,
        apusEvents: apus?.events, linuxEvents: best?.series.events?.scaled(by: figure.twinScale))
    }
  }
}
