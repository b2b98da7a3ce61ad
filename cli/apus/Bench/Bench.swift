// SPDX-License-Identifier: Apache-2.0
// Bench.swift: `apus bench`: measures Apus and its Linux twin in the same emulator and compares them.

import ArgumentParser
import Glibc

struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure Apus and Linux side by side, in guest instructions and in wall-clock time.",
    discussion: """
      Cases: \(BenchFigure.names.joined(separator: " ")). All of them when none is named.

      Linux is Debian's cloud kernel in the same QEMU machine. Without it (no network, no apt) its column stays \
      empty. A whole run leaves table.md, results.json and chart.svg in build/bench. bench/README.md says how everything is measured and what the figures do not mean.
      """)

  @Argument(help: "The cases to measure.")
  var names: [String] = []

  @Flag(help: "Print one JSON object a line.")
  var json = false

  @Flag(help: "Only with Linux as it is delivered.")
  var stock = false

  @Flag(help: "Only with Linux at its best (mitigations off, lean processor).")
  var tuned = false

  @Option(help: "Boots of each system by the wall clock; 0 for instructions only.")
  var repetitions = 3

  @Flag(help: "Compare Apus's instruction counts with bench/baseline.json, and nothing else.")
  var checkBaseline = false

  @Flag(help: "Write Apus's instruction counts into bench/baseline.json.")
  var updateBaseline = false

  func validate() throws {
    let unknown = names.filter { !BenchFigure.names.contains($0) }
    guard unknown.isEmpty else {
      throw ValidationError(
        "no case is called \(unknown.joined(separator: ", ")); there are: "
          + BenchFigure.names.joined(separator: ", "))
    }
    guard (0...1000).contains(repetitions) else {
      throw ValidationError("--repetitions takes a number from 0 to 1000")
    }
  }

  func run() throws {
    let home = try Home()
    if updateBaseline {
      let text = try BenchBaseline.measure(home).text
      try BenchFile.write(Array(text.utf8), to: BenchBaseline.file(home))
    } else if checkBaseline {
      switch BenchBaseline.verdict(home) {
      case .passed: break
      case .failed(let reason), .notRun(let reason):
        throw Failure(sentence: "bench/baseline: \(reason)", status: BenchFailure.status)
      }
    } else {
      guard try measure(home) else { throw ExitCode(BenchFailure.status) }
    }
  }

  /// - Returns: Whether every machine did its part.
  private func measure(_ home: Home) throws(Failure) -> Bool {
    let root = shown(home.path)
    let build = root + "/build"
    let programs = try BenchPrograms(root: root, folder: build + "/bench/programs")
    var twin: LinuxTwin?
    do throws(Failure) {
      twin = try LinuxTwin(folder: build + "/twin", programs: programs)
    } catch {
      Diagnostics.say("\(error.sentence); Linux's column stays empty")
    }
    let ticksPerSecond = programs.hostTicksPerSecond()
    var rows: [BenchRow] = []
    var complete = true
    for configuration in stock == tuned ? BenchConfiguration.allCases : stock ? [.stock] : [.tuned] {
      let machine = BenchMachine(
        configuration: configuration, emulator: try home.emulator(), ticksPerSecond: ticksPerSecond)
      let plan = BenchPlan(
        figures: BenchFigure.all.filter { names.isEmpty || names.contains($0.name) },
        machine: machine, repetitions: repetitions, home: home, programs: programs, twin: twin,
        events: programs.eventPlugin.map { .init(plugin: $0, output: build + "/bench/events.txt") })
      let (more, wasComplete) = plan.run()
      rows += more
      complete = complete && wasComplete
    }
    try report(rows, conditions(home, twin), folder: build + "/bench")
    return complete
  }

  private func report(_ rows: [BenchRow], _ conditions: [(String, String)], folder: String) throws(Failure) {
    let lines = rows.map { BenchReport.json($0) + "\n" }.joined()
    try BenchFile.write(Array(lines.utf8), to: folder + "/" + Self.timeStamp() + ".jsonl")
    // Part of a run must not pass for the whole.
    if names.isEmpty {
      let whole = BenchReport.tables(rows, conditions: conditions, whole: true)
      try BenchFile.write(Array(whole.utf8), to: folder + "/table.md")
      try BenchFile.write(
        Array(BenchReport.json(rows, conditions: conditions).utf8), to: folder + "/results.json")
      try BenchFile.write(Array(BenchChart.svg(BenchClaim.all(rows)).utf8), to: folder + "/chart.svg")
    }
    let text = json ? lines : BenchReport.tables(rows, conditions: conditions, whole: false)
    Descriptor.writeAll(1, Array(text.utf8))
  }

  /// What the figures depend on.
  private func conditions(_ home: Home, _ twin: LinuxTwin?) throws(Failure) -> [(String, String)] {
    let emulator = try home.emulator()
    func firstLine(_ bytes: [UInt8]?) -> String? {
      bytes.flatMap { shown($0).split(separator: "\n").first.map(String.init) }
    }
    let version = firstLine(try? Tool.output(emulator, ["--version"], limit: 1 << 12)) ?? emulator
    let processor = (try? Tool.output("cat", ["/proc/cpuinfo"], limit: 1 << 12)).flatMap { bytes in
      shown(bytes).split(separator: "\n").first { $0.hasPrefix("model name") }?.split(separator: ":").last
    }
    let commit = firstLine(
      try? Tool.output("git", ["-C", shown(home.path), "rev-parse", "--short=12", "HEAD"], limit: 1 << 12))
    var words = [
      ("emulator", "\(version), tcg, machine microvm, 1 processor, 256 MiB"),
      ("host", processor.map { Words.trimmed($0) } ?? "unknown"),
      ("Linux", twin?.package ?? "not there"),
      ("Apus", commit.map { "commit \($0)" } ?? "unknown commit"),
      ("repetitions by the wall clock", String(repetitions)),
      ("date", Self.timeStamp()),
    ]
    for configuration in BenchConfiguration.allCases {
      let machine = BenchMachine(configuration: configuration, emulator: emulator, ticksPerSecond: nil)
      words.append(
        (
          configuration.rawValue,
          "-cpu \(machine.processor) for both; Linux: \(machine.linuxOptions(.instructions).joined(separator: " "))"
        ))
    }
    return words
  }

  /// Now, as part of a file's name.
  private static func timeStamp() -> String {
    var now = time(nil)
    var parts = tm()
    gmtime_r(&now, &parts)
    var text = [CChar](repeating: 0, count: 32)
    let count = strftime(&text, text.count, "%Y%m%dT%H%M%SZ", &parts)
    return String(decoding: text[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
