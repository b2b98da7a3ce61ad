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
      empty. bench/README.md says how everything is measured and what the figures do not mean.
      """)

  @Argument(help: "The cases to measure.")
  var names: [String] = []

  @Flag(help: "Print one JSON object a line.")
  var json = false

  @Flag(help: "Linux as it is delivered, instead of at its best (mitigations off, lean processor).")
  var stock = false

  @Option(help: "Boots of each system by the wall clock; 0 for instructions only.")
  var repetitions = 3

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
    guard try measure() else { throw ExitCode(BenchFailure.status) }
  }

  /// - Returns: Whether every machine did its part.
  private func measure() throws(Failure) -> Bool {
    let home = try Home()
    let root = shown(home.path)
    let build = root + "/build"
    let programs = try BenchPrograms(root: root, folder: build + "/bench/programs")
    let machine = BenchMachine(
      stock: stock, emulator: try home.emulator(), ticksPerSecond: programs.hostTicksPerSecond())
    var twin: LinuxTwin?
    do throws(Failure) {
      twin = try LinuxTwin(folder: build + "/twin", programs: programs)
    } catch {
      Diagnostics.say("\(error.sentence); Linux's column stays empty")
    }
    let plan = BenchPlan(
      figures: BenchFigure.all.filter { names.isEmpty || names.contains($0.name) },
      machine: machine, repetitions: repetitions, home: home, programs: programs, twin: twin)
    let (rows, complete) = plan.run()

    let lines = rows.map { BenchReport.json($0) + "\n" }.joined()
    try BenchFile.write(Array(lines.utf8), to: build + "/bench/" + Self.timeStamp() + ".jsonl")
    let text = json ? lines : BenchReport.table(rows) + "\n"
    Descriptor.writeAll(1, Array(text.utf8))
    return complete
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
