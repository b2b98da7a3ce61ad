// SPDX-License-Identifier: Apache-2.0
// AttackTests.swift: apps/hostile/README.md names an adversary for every kind of attack on every call, and for each of the
// kernel's promises, and hostile has each that it names.

import ApusABI
import Foundation
import Testing

@Suite("Attacks")
struct AttackTests {
  static let page = "apps/hostile/README.md"
  static let columns = [
    "call", "missing, forged or foreign capability", "dropped", "too weak", "wild pointer", "wrong type",
    "another family's", "stale handle",
  ]

  /// The cells of each row of the table under a heading.
  static func rows(under heading: String) throws -> [[String]] {
    let text = try Repository.text(page)
    let start = try #require(text.range(of: "\n## \(heading)\n"), "the page has no section \(heading)")
    var rows: [[String]] = []
    for line in text[start.upperBound...].split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("## ") { break }
      guard line.hasPrefix("| "), line.hasSuffix(" |") else { continue }
      rows.append(
        line.dropFirst(2).dropLast(2).components(separatedBy: " | ").map { $0.trimmingCharacters(in: .whitespaces) })
    }
    return rows
  }

  /// The adversaries that a cell names, in backticks.
  static func names(in cell: String) -> [String] { cell.matches(of: /`([^`]+)`/).map { String($0.1) } }

  /// The string literals of each source of hostile.
  static func literals() throws -> [Set<String>] {
    try Repository.names(in: "apps/hostile").filter { $0.hasSuffix(".swift") }.map { name in
      let text = try Repository.text("apps/hostile/" + name)
      return Set(text.matches(of: /"([^"\\\n]+)"/).map { String($0.1) })
    }
  }

  /// The arguments that the table of calls names.
  static func arguments(of call: SystemCall) throws -> [String] {
    var comment = ""
    for line in try Repository.text("abi/ApusABI/SystemCall.swift").split(separator: "\n") {
      if line.contains("case \(call) = ") { break }
      comment = line.contains("///") ? comment + line : ""
    }
    let signature = try #require(comment.firstMatch(of: /`\(([^)]*)\) ->/))
    return signature.1.components(separatedBy: ", ")
  }

  /// Which columns cannot be empty for a call with these arguments.
  static func needed(_ arguments: [String]) -> Set<Int> {
    var needed: Set<Int> = []
    for argument in arguments {
      switch argument {
      case "cap", "caps": needed.formUnion([1, 2, 3])
      case "environment", "target": needed.formUnion([7])
      case "word", "bytes": needed.formUnion([4])
      case "list", "entries": needed.formUnion([4, 5])
      case "frame", "root", "u-area frame": needed.formUnion([5])
      default: break
      }
    }
    let resources = ["list", "entries", "frame", "root", "u-area frame", "environment", "slice", "slice or -1"]
    if needed.contains(1), arguments.contains(where: resources.contains) { needed.insert(6) }
    return needed
  }

  @Test("Each call has a row, in the order of the numbers")
  func eachCallHasARow() throws {
    let rows = try Self.rows(under: "Calls")
    #expect(rows.first == Self.columns)
    #expect(rows.dropFirst().map { $0[0] } == SystemCallPagesTests.calls.map { "\($0)" })
  }

  @Test("Each kind of attack that a call's arguments allow has an adversary", arguments: SystemCallPagesTests.numbers)
  func eachAttackHasAnAdversary(_ number: UInt32) throws {
    let call = try #require(SystemCall(rawValue: number))
    let row = try #require(try Self.rows(under: "Calls").first { $0[0] == "\(call)" })
    #expect(row.count == Self.columns.count)
    for column in Self.needed(try Self.arguments(of: call)).sorted() {
      #expect(!Self.names(in: row[column]).isEmpty, "\(call): nobody tries it with: \(Self.columns[column])")
    }
  }

  @Test("Each of the ten promises has an adversary")
  func eachPromiseHasAnAdversary() throws {
    let rows = try Self.rows(under: "Promises").dropFirst()
    #expect(rows.map { $0[0] } == (1...10).map { "\($0)" })
    for row in rows { #expect(!Self.names(in: row[2]).isEmpty, "nobody attacks promise \(row[0])") }
  }

  @Test("Hostile has each adversary that the page names")
  func adversariesExist() throws {
    let sources = try Self.literals()
    for heading in ["Calls", "Promises", "Resources"] {
      for name in try Self.rows(under: heading).dropFirst().flatMap({ $0.dropFirst() }).flatMap(Self.names(in:)) {
        let split = try #require(name.firstIndex(of: "/"), "\(name) is no group and name")
        let group = String(name[..<split])
        let check = String(name[name.index(after: split)...])
        // A group's helper may stand in another file than the name that it is given.
        let isThere = sources.contains { $0.contains(group) } && sources.contains { $0.contains(check) }
        #expect(isThere, "hostile has no check \(name)")
      }
    }
  }

  @Test("The page names each group of hostile")
  func groupsAreListed() throws {
    let text = try Repository.text(Self.page)
    for match in try Repository.text("apps/hostile/Main.swift").matches(of: /(?:run\(|names\()"([a-z-]+)"/) {
      #expect(text.contains("`\(match.1)`"), "the page does not name the group \(match.1)")
    }
  }
}
