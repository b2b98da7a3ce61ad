// SPDX-License-Identifier: Apache-2.0
// BenchBaseline.swift: the guarded instruction counts: what they were, kept in bench/baseline.json, and whether they
// have grown.
//
// The counts are Apus's own, by the tuned machine's counted boot, the same to the instruction in each run: no Linux,
// no wall clock. Under emulation, so they say nothing of time; they say that a path has become longer. Another version
// of the emulator has other firmware and other processors: counts of different versions are not compared.

/// Guarded figures by name, "program case metric".
struct BenchBaseline {
  /// How much a figure may grow.
  static let growth = 0.05

  /// The emulator's version, as far as it matters: "7.2".
  let emulator: String
  let instructions: [String: Double]

  init(_ instructions: [String: Double], emulator: String) {
    self.instructions = instructions
    self.emulator = emulator
  }

  /// Reads the committed file; nil when it is none.
  init?(text: String) {
    guard let values = BenchLine.object(text), !values.numbers.isEmpty, let emulator = values.texts["emulator"] else {
      return nil
    }
    self.init(values.numbers, emulator: emulator)
  }

  /// As it is committed: one figure a line, sorted.
  var text: String {
    let lines = instructions.sorted { $0.key < $1.key }.map { name, value in
      "  \(JSONText.string(name)): \(Int64(value.rounded(.up)))"
    }
    return "{\n" + (["  \"emulator\": \"\(emulator)\""] + lines).joined(separator: ",\n") + "\n}\n"
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
    return BenchBaseline(instructions, emulator: try version(of: machine.emulator))
  }

  /// "7.2" of "QEMU emulator version 7.2.22 (Debian ...)".
  static func version(of emulator: String) throws(Failure) -> String {
    let words = shown(try Tool.output(emulator, ["--version"], limit: 1 << 12)).split(separator: " ")
    guard let index = words.firstIndex(of: "version"), index + 1 < words.count else { return "unknown" }
    return words[index + 1].split(separator: ".").prefix(2).joined(separator: ".")
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
      let version = try version(of: try home.emulator())
      guard kept.emulator == version else {
        return .notRun("it was counted on QEMU \(kept.emulator), and this is \(version)")
      }
      let complaints = kept.complaints(about: try measure(home))
      guard !complaints.isEmpty else { return .passed }
      let advice = "where that is intended: apus bench --update-baseline, and why in the commit"
      return .failed((complaints + [advice]).joined(separator: "\n"))
    } catch { return .failed(error.sentence) }
  }
}
