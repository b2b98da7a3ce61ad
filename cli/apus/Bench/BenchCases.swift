// SPDX-License-Identifier: Apache-2.0
// BenchCases.swift: what is measured, on what, and against which twin.

/// One figure: what Apus measures, and what on Linux stands beside it.
struct BenchFigure {
  typealias Metric = BenchLine.Metric

  let name: String
  let metric: String
  /// Which Apus machine measures it.
  let guest: ApusGuest
  /// Linux's ways to do this work; the best of them is the one compared with.
  let twins: [Metric]
  /// The twin in words.
  let twin: String

  var key: Metric { Metric(name: name, metric: metric) }

  /// A figure of the native program.
  private static func native(_ name: String, _ metric: String, _ twins: [(String, String)], _ twin: String)
    -> BenchFigure
  {
    BenchFigure(
      name: name, metric: metric, guest: .native,
      twins: twins.map { Metric(name: $0.0, metric: $0.1) }, twin: twin)
  }

  /// A figure of the Linux program, on both systems.
  private static func binary(_ name: String, _ metric: String) -> BenchFigure {
    BenchFigure(
      name: name, metric: metric, guest: .linux, twins: [Metric(name: name, metric: metric)],
      twin: "the same binary")
  }

  private static let signals = [("exception", "int3"), ("exception", "ud2")]

  /// Every figure, in the order of the cases.
  static let all: [BenchFigure] = [
    native("null", "op", [("getppid", "op")], "getppid"),
    native("exception", "op", signals, "trap, signal handler, rt_sigreturn"),
    native("exception", "minimal", signals, "trap, signal handler, rt_sigreturn"),
    binary("exception", "int3"),
    binary("exception", "ud2"),
    native(
      "map1", "op", [("map1", "mmap"), ("map1", "mmap-populated")], "mmap, touch, munmap of a page"),
    binary("map1", "mmap"),
    binary("map1", "mmap-populated"),
    binary("map1", "mprotect"),
    binary("map1", "first-touch"),
    native("map100", "op", [("map100", "mprotect")], "one mprotect of 100 touched pages"),
    native("map100", "unprotect", [("map100", "mprotect-back")], "one mprotect of 100 touched pages"),
    native("map100", "map", [("map100", "mmap")], "mmap, touch, munmap of 100 pages"),
    binary("map100", "mprotect"),
    binary("map100", "mprotect-back"),
    binary("map100", "mmap"),
    native("yield", "op", [("yield", "sched_yield")], "sched_yield between two processes"),
    binary("yield", "sched_yield"),
    binary("fork", "op"),
    binary("exec", "op"),
    binary("pipe", "op"),
    binary("getppid", "op"),
    native("boot", "op", [("boot", "op")], "power-on to /init's first instruction"),
  ]

  /// The cases' names, in order.
  static let names = ["null", "exception", "map1", "map100", "yield", "fork", "exec", "pipe", "getppid", "boot"]
}

/// Wall-clock or counted.
enum BenchKind: String {
  case instructions
  case wall
}

/// One line of the report.
struct BenchRow {
  let figure: BenchFigure
  let kind: BenchKind
  /// Per operation: guest instructions, or nanoseconds.
  let apus: [Double]
  let linux: [Double]

  var unit: String { kind == .instructions ? "instructions" : "ns" }
  var apusMedian: Double? { median(apus) }
  var linuxMedian: Double? { median(linux) }
  /// How many times better Apus is.
  var ratio: Double? {
    guard let apus = apusMedian, let linux = linuxMedian, apus > 0 else { return nil }
    return linux / apus
  }
}

func median(_ values: [Double]) -> Double? {
  guard !values.isEmpty else { return nil }
  let sorted = values.sorted()
  return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
}
