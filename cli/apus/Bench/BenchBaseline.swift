// SPDX-License-Identifier: Apache-2.0
// BenchBaseline.swift: the guarded instruction counts: what they were, kept in bench/baseline.json, and whether they
// have grown.
//
// The counts are Apus's own, by the tuned machine's counted boot, the same to the instruction in each run: no Linux,
// no wall clock. Under emulation, so they say nothing of time; they say that a path has become longer.

/// Guarded figures by name, "program case metric".
struct BenchBaseline {
  /// How much a figure may grow.
  static let growth = 0.05

  private(set) var instructions: [String: Double]

  init(_ instructions: [String: Double]) { self.instructions = instructions }

  /// Reads the committed file; nil when it is none.
  init?(text: String) {
    guard let values = BenchLine.numbers(text), !values.isEmpty else { return nil }
    instructions = values
  }

  /// As it is committed: one figure a line, sorted.
  var text: String {
    let lines = instructions.sorted { $0.key < $1.key }.map { name, value in
      "  \(JSONText.string(name)): \(Int64(value.rounded(.up)))"
    }
    return "{\n" + lines.joined(separator: ",\n") + "\n}\n"
  }

  /// Compares a measurement with this; a sentence for each guarded figure that grew or went missing.
  func complaints(about measured: BenchBaseline) -> [String] {
    instructions.sorted { $0.key < $1.key }.compactMap { name, before in
      guard let now = measured.instructions[name] else { return "\(name): guarded, and not measured any more" }
      // The file holds whole numbers, rounded up.
      guard now > before * (1 + Self.growth) else { return nil }
      let percent = ((now / before - 1) * 1000).rounded() / 10
      return "\(name): \(BenchReport.grouped(now)) instructions, \(percent) % more than the guarded "
        + BenchReport.grouped(before)
    }
  }

  // MARK: Measuring

  static func file(_ home: Home) -> String { shown(home.path) + "/bench/baseline.json" }

  /// Counts every figure of Apus once: two boots, some seconds.
  static func measure(_ home: Home) throws(Failure) -> BenchBaseline {
    let root = shown(home.path)
    let programs = try BenchPrograms(root: root, folder: root + "/build/bench/programs")
    let machine = BenchMachine(configuration: .tuned, emulator: try home.emulator(), ticksPerSecond: nil)
    var instructions: [String: Double] = [:]
    for guest in ApusGuest.allCases {
      let cases = BenchFigure.names.filter { name in
        BenchFigure.all.contains { $0.name == name && $0.guest == guest }
      }
      let result = try guest.boot(
        machine, .instructions, cases: cases, home: home, programs: programs, events: nil)
      if let reason = result.failure {
        throw Failure(sentence: "Apus, \(guest) program: \(reason)", status: BenchFailure.status)
      }
      for series in result.samples
      where BenchFigure.all.contains(where: { $0.key == series.metric && $0.guest == guest }) {
        instructions["\(guest) \(series.metric.name) \(series.metric.metric)"] = median(series.values)
      }
    }
    return BenchBaseline(instructions)
  }

  /// The check of `apus test`.
  static func verdict(_ home: Home) -> Verdict {
    guard ["gcc", "clang", "cc"].contains(where: { HostFile.findProgram(Path($0.utf8)) != nil }) else {
      return .notRun("there is no C compiler")
    }
    do throws(Failure) {
      guard let kept = BenchBaseline(text: shown(try BenchFile.read(file(home)))) else {
        return .failed("\(file(home)) holds no figures")
      }
      let complaints = kept.complaints(about: try measure(home))
      guard !complaints.isEmpty else { return .passed }
      let advice = "where that is intended: apus bench --update-baseline, and why in the commit"
      return .failed((complaints + [advice]).joined(separator: "\n"))
    } catch { return .failed(error.sentence) }
  }
}
