// SPDX-License-Identifier: Apache-2.0
// TestCommand.swift: `apus test`: host tests, then machine tests, then the sum.

import ArgumentParser
import Glibc

struct Test: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run the tests: those on the host and those on the machine.",
    discussion: "The last line says how many passed, failed and were not run.")

  @Flag(help: "Run everything, at its full length.")
  var long = false

  @Flag(help: "Name the tests that pass, too.")
  var verbose = false

  @Flag(help: "Only the host's tests.")
  var host = false

  @Flag(help: "Only the machine's tests.")
  var machine = false

  @Argument(help: ArgumentHelp("Machine tests whose names contain one of these.", valueName: "name"))
  var names: [String] = []

  func run() throws {
    let home = try Home()
    var total = TestCount()
    if !machine, names.isEmpty { total += HostTests(home: home, isLong: long).run() }
    if !host { total += try machineTests(home) }
    Diagnostics.tell(total.text)
    if total.failed > 0 { throw ExitCode(1) }
  }

  private func machineTests(_ home: Home) throws(Failure) -> TestCount {
    var plan = TestPlan(home: home, isLong: long)
    var runs: [TestRun] = []
    let tally = Tally(verbose: verbose)
    for file in Self.files(home) {
      guard let testCase = try TestCase(file: file, below: home.path),
        names.isEmpty || names.contains(where: { testCase.name.contains($0) })
      else { continue }
      do throws(NotRun) { runs += try plan.runs(of: testCase) } catch {
        tally.add(testCase.name, .notRun(error.reason))
      }
    }
    TestRunner(parallel: 2) { run, verdict in tally.add(run.name, verdict) }.run(runs)
    let baseline = "bench/baseline"
    if names.isEmpty || names.contains(where: { baseline.contains($0) }) {
      tally.add(baseline, BenchBaseline.verdict(home))
    }
    return tally.count
  }

  /// Every file below the folders of machine tests, in order.
  private static func files(_ home: Home) -> [Path] {
    var found: [Path] = []
    var folders = ["/tests/Cases", "/tests/Conformance", "/tests/Machine"].map { home.path + Path($0.utf8) }
    while !folders.isEmpty {
      let folder = folders.removeFirst()
      for name in (try? HostFile.names(in: folder)) ?? [] {
        let path = folder + [HostFile.slash] + name
        guard let facts = try? HostFile.facts(path) else { continue }
        if facts.isDirectory { folders.append(path) }
        if facts.isRegular { found.append(path) }
      }
    }
    return found
  }
}

/// Counts verdicts and shows those that matter.
private final class Tally {
  var count = TestCount()
  private let verbose: Bool

  init(verbose: Bool) { self.verbose = verbose }

  func add(_ name: String, _ verdict: Verdict) {
    switch verdict {
    case .passed:
      count.passed += 1
      if verbose { Diagnostics.tell("pass     \(name)") }
    case .failed(let reason):
      count.failed += 1
      Diagnostics.tell("FAIL     \(name)")
      for line in reason.split(separator: "\n") { Diagnostics.tell("         \(line)") }
    case .notRun(let reason):
      count.skipped += 1
      let line = reason.split(separator: "\n").first.map(String.init) ?? ""
      Diagnostics.tell("not run  \(name): \(line)")
    }
  }
}
