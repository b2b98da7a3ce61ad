// SPDX-License-Identifier: Apache-2.0
// CompatCommand.swift: `apus compat`: which Linux calls a program contains, against what Apus has.

import ArgumentParser
import Glibc
import LinuxCalls

struct Compat: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show which Linux calls a static program contains, and how well Apus has them.",
    discussion: """
      A call in the program's code need not ever be made. Ends with status 1 if one is absent from Apus.
      """)

  @Flag(help: "One JSON object instead of a table.")
  var json = false

  @Argument(help: "The program.")
  var program: String

  func run() throws {
    throw ExitCode(try execute())
  }

  private struct Row {
    let number: UInt32
    let name: String
    let level: String
    let note: String
    let sites: Int
  }

  private func execute() throws(Failure) -> Int32 {
    let found = try Program(named: Path(program.utf8), root: [])
    // A script has no calls of its own: those of what runs it count.
    let path = found.interpreters.last ?? found.path
    let scan: CallScan
    do throws(NotRunnable) { scan = try CallScan(path) } catch {
      throw Failure(sentence: "\(shown(path)) \(error.reason)", status: Status.notRunnable)
    }
    let rows = scan.sites.sorted { $0.key < $1.key }.map { Self.row($0.key, sites: $0.value) }
    let absent = rows.filter { $0.level == "absent" }.count
    print(json ? jsonText(rows, scan, path) : table(rows, scan))
    return absent == 0 ? 0 : 1
  }

  private static func row(_ number: UInt32, sites: Int) -> Row {
    guard let call = LinuxCall.named(Int(number)) else {
      return Row(number: number, name: "call \(number)", level: "absent", note: "Linux has no such call", sites: sites)
    }
    let (level, note) =
      switch call.level {
      case .full: ("full", "")
      case .partial(let text): ("partial", "\(text)")
      case .absent: ("absent", "")
      }
    return Row(number: number, name: "\(call.name)", level: level, note: note, sites: sites)
  }

  private func table(_ rows: [Row], _ scan: CallScan) -> String {
    func padded(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(width - text.count, 0))
    }
    let width = max(rows.map(\.name.count).max() ?? 0, 4)
    var lines = rows.map { row in
      let number = String(row.number)
      let note = row.note.isEmpty ? "" : "  " + row.note
      return String(repeating: " ", count: max(4 - number.count, 0)) + number + "  " + padded(row.name, width) + "  "
        + (note.isEmpty ? row.level : padded(row.level, 7) + note)
    }
    func count(_ level: String) -> Int { rows.filter { $0.level == level }.count }
    lines.append("")
    lines.append(
      "\(rows.count) calls: \(count("full")) full, \(count("partial")) partial, \(count("absent")) absent"
        + "; \(scan.undetermined) call sites with a number that could not be determined")
    return lines.joined(separator: "\n")
  }

  private func jsonText(_ rows: [Row], _ scan: CallScan, _ path: Path) -> String {
    let calls = rows.map { row in
      JSONText.object([
        ("number", String(row.number)), ("name", JSONText.string(row.name)),
        ("level", JSONText.string(row.level)), ("note", JSONText.string(row.note)),
        ("sites", String(row.sites)),
      ])
    }
    return JSONText.object([
      ("program", JSONText.string(shown(path))), ("calls", JSONText.array(calls)),
      ("undetermined", String(scan.undetermined)),
    ])
  }
}
