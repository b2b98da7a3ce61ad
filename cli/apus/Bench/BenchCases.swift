// SPDX-License-Identifier: Apache-2.0
// BenchCases.swift: what is measured, on what, against which twin, and what is to be reached.

/// What a figure has to reach beside Linux's.
enum BenchTarget: Equatable {
  /// So many times better, in guest instructions.
  case times(Double)
  /// Better at all.
  case won

  /// In words for a table.
  var words: String {
    switch self {
    case .times(let factor): "≥ \(factor == factor.rounded() ? String(Int(factor)) : String(factor))"
    case .won: "> 1"
    }
  }

  func isReached(by ratio: Double) -> Bool {
    switch self {
    case .times(let factor): ratio >= factor
    case .won: ratio > 1
    }
  }

  /// Where a chart marks it.
  var ratio: Double {
    switch self {
    case .times(let factor): factor
    case .won: 1
    }
  }
}

/// One figure: what Apus measures, and what on Linux stands beside it.
struct BenchFigure {
  typealias Metric = BenchLine.Metric

  let name: String
  let metric: String
  /// Which Apus machine measures it.
  let guest: ApusGuest
  /// Linux's ways to do this work; the best of them is the one compared with.
  let twins: [Metric]
  /// The operation in words.
  let title: String
  /// The twin in words.
  let twin: String
  var target: BenchTarget?
  /// How many of the twin's operations do the work of one.
  var twinScale = 1.0

  var key: Metric { Metric(name: name, metric: metric) }
  /// A number of faults, the same by any clock.
  var isCount: Bool { Self.isCount(key) }

  static func isCount(_ metric: Metric) -> Bool { metric.metric.hasSuffix("faults") }

  /// A figure of the native program.
  private static func native(
    _ name: String, _ metric: String, _ twins: [(String, String)], _ title: String, _ twin: String,
    _ target: BenchTarget? = nil, scale: Double = 1
  ) -> BenchFigure {
    BenchFigure(
      name: name, metric: metric, guest: .native,
      twins: twins.map { Metric(name: $0.0, metric: $0.1) }, title: title, twin: twin, target: target,
      twinScale: scale)
  }

  /// A figure of the Linux program, on both systems.
  private static func binary(_ name: String, _ metric: String, _ title: String, _ target: BenchTarget? = nil)
    -> BenchFigure
  {
    BenchFigure(
      name: name, metric: metric, guest: .linux, twins: [Metric(name: name, metric: metric)],
      title: title, twin: "the same binary", target: target)
  }

  /// A figure of an application, which is a program of its own.
  private static func application(
    _ guest: ApusGuest, _ metric: String, _ twins: [String], _ title: String, _ twin: String,
    _ target: BenchTarget? = nil
  ) -> BenchFigure {
    BenchFigure(
      name: "\(guest)", metric: metric, guest: guest, twins: twins.map { Metric(name: "\(guest)", metric: $0) },
      title: title, twin: twin, target: target)
  }

  private static let signals = [("exception", "int3"), ("exception", "ud2")]
  private static let messages = [
    ("pipe", "op"), ("messages", "futex"), ("messages", "eventfd"), ("messages", "socket"),
  ]
  private static let maps = [("map1", "mmap"), ("map1", "mmap-populated"), ("map1", "mmap-fresh")]

  /// A figure of Appel and Li, with Linux's of the same name.
  private static func appel(_ metric: String, _ title: String, _ twin: String) -> BenchFigure {
    native("appel", metric, [("appel", metric)], title, twin, .won)
  }

  /// Every figure, in the order of the cases.
  static let all: [BenchFigure] = [
    native("null", "op", [("getppid", "op")], "null kernel call", "getppid", .times(3)),
    native(
      "exception", "op", signals, "exception to the application and back, vectors saved",
      "trap, signal handler, rt_sigreturn", .times(20)),
    native(
      "exception", "minimal", signals, "exception, handler that saves what it uses",
      "trap, signal handler, rt_sigreturn"),
    appel("trap", "Appel-Li trap: protection fault and back", "SIGSEGV, handler, rt_sigreturn"),
    appel("prot1", "Appel-Li prot1: protection of a page", "mprotect"),
    appel("prot100", "Appel-Li prot100: 100 pages lose writing", "one mprotect"),
    appel("unprot100", "Appel-Li unprot100: 100 pages regain it", "one mprotect"),
    appel("dirty", "Appel-Li dirty: was the page written?", "pread of /proc/self/pagemap"),
    appel("appel1", "Appel-Li appel1: prot1 + trap + unprot1", "mprotect in a SIGSEGV handler"),
    appel("appel2", "Appel-Li appel2: prot100 + trap + unprot1, a page", "mprotect in a SIGSEGV handler"),
    native(
      "map1", "op", maps, "map a zeroed page, touch, unmap; populated region", "mmap, touch, munmap, at its cheapest",
      .times(18)),
    native(
      "map1", "fresh", [("map1", "mmap-fresh")], "the same, page table and all", "mmap, touch, munmap, alone in 2 MiB"),
    native("map100", "op", [("map100", "mmap")], "map 100 zeroed pages, touch, unmap", "mmap, touch, munmap"),
    native(
      "unmap100", "op", [("unmap100", "munmap"), ("unmap100", "munmap-populated")],
      "unmap and give back, a page of 100", "one munmap of 100 touched pages", .times(29)),
    native(
      "unmap100", "unmap-only", [("unmap100", "munmap"), ("unmap100", "munmap-populated")],
      "unmap alone (frames kept: less than munmap's work)", "one munmap of 100 touched pages"),
    native("yield", "op", [("yield", "sched_yield")], "yield in an address space, one way", "sched_yield, threads"),
    native(
      "switch", "op", [("switch", "sched_yield")], "switch between address spaces, one way",
      "sched_yield, processes"),
    native(
      "pct", "op", messages, "protected control transfer between two families, one way",
      "pipe, futex, eventfd or Unix socket, one way", .times(10)),
    native(
      "rpc", "op", messages, "null RPC between two families", "pipe, futex, eventfd or Unix socket, there and back",
      .times(20), scale: 2),
    native(
      "pipe", "transfer", [("pipe", "op")], "pipe between two families, its reader called, a byte one way",
      "pipe between processes", .times(5)),
    native(
      "pipe", "protected", [("pipe", "op")], "pipe between two families, a byte one way",
      "pipe between processes", .times(5)),
    binary("pipe", "op", "pipe, a byte one way (binary, within one trust domain)"),
    binary("fork", "op", "fork + exit + wait (binary, within one trust domain)", .times(1)),
    binary("exec", "op", "fork + exec + wait (binary, within one trust domain)", .times(1)),
    binary("exec", "vfork", "vfork + exec + wait (binary, within one trust domain)"),
    binary("getppid", "op", "getppid (binary)"),
    native(
      "boot", "op", [("boot", "op")], "power-on to the first ring-3 instruction", "power-on to /init's first",
      .times(50)),
    binary("exception", "int3", "int3, signal handler, back (binary)"),
    binary("exception", "ud2", "ud2, signal handler, back (binary)"),
    binary("appel", "trap", "trap (binary)"),
    binary("appel", "prot1", "prot1 (binary)"),
    binary("appel", "prot100", "prot100 (binary)"),
    binary("appel", "unprot100", "unprot100 (binary)"),
    binary("appel", "appel1", "appel1 (binary)"),
    binary("appel", "appel2", "appel2 (binary)"),
    binary("map1", "mmap", "mmap, touch, munmap (binary)"),
    binary("map1", "mmap-populated", "the same in a populated region (binary)"),
    binary("map1", "first-touch", "first touch of a page (binary)"),
    binary("map100", "mmap", "mmap, touch, munmap of 100 pages (binary)"),
    binary("unmap100", "munmap", "munmap of 100 pages, a page (binary)"),
    binary("yield", "sched_yield", "sched_yield between threads (binary)"),
    binary("switch", "sched_yield", "sched_yield between processes (binary)"),
    binary("messages", "futex", "futex, a word one way (binary)"),
    binary("messages", "eventfd", "eventfd, one way (binary)"),
    binary("messages", "socket", "Unix socket, a byte one way (binary)"),
    application(
      .pager, "op", ["swap", "swap-locked", "swap-generations", "userfaultfd"],
      "pager: a scan beyond its frames, its own policy, a page",
      "swap on a RAM disk, in three ways, or its policy by userfaultfd", .times(2)),
    application(
      .pager, "clock", ["swap", "swap-generations"], "the same under the default policy, the clock",
      "swap on a RAM disk, Linux's policy"),
    application(
      .pager, "faults", ["swap-faults", "swap-locked-faults", "swap-generations-faults", "userfaultfd-faults"],
      "pager: faults in 1,000 pages (a count, no instructions)", "the fewest of these"),
    application(
      .pager, "clock-faults", ["swap-faults", "swap-generations-faults"],
      "the same under the clock (a count, no instructions)",
      "swap, Linux's policy"),
    application(
      .collector, "op", ["sigsegv"], "collector: finding and protecting a changed page while the program goes on",
      "mprotect and SIGSEGV", .times(5)),
    application(.collector, "whole", ["sigsegv-whole"], "the same with the program's work and the copy", "the same"),
    application(
      .collector, "still", ["soft-dirty", "sigsegv"], "collector: finding a changed page, the program stands still",
      "soft-dirty bits of /proc/self/pagemap"),
    application(
      .collector, "faults", ["sigsegv-faults"], "collector: faults in 1,000 changed pages (a count, no instructions)",
      "mprotect and SIGSEGV"),
  ]

  /// The cases' names, in order.
  static let names = all.reduce(into: [String]()) { names, figure in
    if !names.contains(figure.name) { names.append(figure.name) }
  }
}

/// Wall-clock or counted.
enum BenchKind: String {
  case instructions
  case wall
}

/// How processor and Linux are set.
enum BenchConfiguration: String, CaseIterable {
  /// At Linux's best: mitigations off, a lean processor.
  case tuned
  /// As Linux is delivered.
  case stock
}

/// One line of the report.
struct BenchRow {
  let figure: BenchFigure
  var configuration = BenchConfiguration.tuned
  let kind: BenchKind
  /// Per operation: guest instructions, or nanoseconds.
  let apus: [Double]
  let linux: [Double]
  /// Which of Linux's ways was the best.
  var way: BenchLine.Metric?
  /// What else an operation does; nil when it was not counted.
  var apusEvents: BenchEvents?
  var linuxEvents: BenchEvents?

  var unit: String { figure.isCount ? "faults" : kind == .instructions ? "instructions" : "ns" }
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
