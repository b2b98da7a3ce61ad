// SPDX-License-Identifier: Apache-2.0
// SystemCallPagesTests.swift: docs/systemcalls has a page for each call of the table, and none besides.

import ApusABI
import Testing

@Suite("System call pages")
struct SystemCallPagesTests {
  /// Every case of the table; an enum of Embedded Swift cannot list its own.
  static var calls: [SystemCall] { numbers.compactMap { SystemCall(rawValue: $0) } }
  static let numbers = (UInt32(0)..<256).filter { SystemCall(rawValue: $0) != nil }

  static func hexadecimal(_ number: UInt32) -> String {
    let digits = String(number, radix: 16)
    return digits.count < 2 ? "0" + digits : digits
  }

  static func pageName(_ call: SystemCall) -> String { "\(hexadecimal(call.rawValue))-\(call).md" }

  @Test("The table ends below the numbers that are searched")
  func theTableIsSearchedWhole() throws {
    let table = try Repository.text("abi/ApusABI/SystemCall.swift")
    let cases = table.split(separator: "\n").filter { $0.contains(/^\s*case \w+ = 0x/) }
    #expect(cases.count == Self.calls.count)
  }

  @Test("Each call has a page with its title, its number and every section", arguments: numbers)
  func eachCallHasAPage(_ number: UInt32) throws {
    let call = try #require(SystemCall(rawValue: number))
    let page = try Repository.text("docs/systemcalls/" + Self.pageName(call))
    let lines = page.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    #expect(lines.first == "# \(call)")
    #expect(lines.contains { $0.hasPrefix("Number `0x\(Self.hexadecimal(call.rawValue))`: `\(call)(") })
    for section in ["## Checks, in this order", "## Faults", "## What changes", "## Cost"] {
      #expect(lines.contains(section), "\(call) has no section \(section)")
    }
  }

  @Test("Each page shows the arguments that the table names", arguments: numbers)
  func eachPageHasTheArguments(_ number: UInt32) throws {
    let call = try #require(SystemCall(rawValue: number))
    let table = try Repository.text("abi/ApusABI/SystemCall.swift")
    let page = try Repository.text("docs/systemcalls/" + Self.pageName(call))
    var comment = ""
    for line in table.split(separator: "\n") {
      if line.contains("case \(call) = ") { break }
      comment = line.contains("///") ? comment + line : ""
    }
    // The table says `(cap, slice or -1, environment) -> slice`; the page has a row for each.
    let signature = try #require(comment.firstMatch(of: /`\(([^)]*)\) ->/))
    let arguments = signature.1.split(separator: ", ")
    let rows = page.split(separator: "\n").filter { $0.contains(/^\| `[^`]*` \| r/) }
    #expect(rows.count == arguments.count, "the page has \(rows.count) arguments, the table \(arguments.count)")
  }

  @Test("No page is left over, and the index has them all")
  func noPageIsLeftOver() throws {
    let pages = try Repository.names(in: "docs/systemcalls").filter { $0 != "README.md" }
    #expect(pages == Self.calls.map(Self.pageName).sorted())
    let index = try Repository.text("docs/systemcalls/README.md")
    for call in Self.calls {
      let row = "| `0x\(Self.hexadecimal(call.rawValue))` | [\(call)](\(Self.pageName(call))) |"
      #expect(index.contains(row), "no row for \(call)")
    }
  }

  @Test("The index names each error with its value")
  func errorsAreListed() throws {
    let index = try Repository.text("docs/systemcalls/README.md")
    let errors = (UInt8(0)...255).compactMap { SystemCallError(rawValue: $0) }
    for error in errors { #expect(index.contains("| \(error.rawValue) | `\(error)` |")) }
    #expect(index.split(separator: "\n").filter { $0.contains(/^\| \d+ \| `/) }.count == errors.count)
  }
}
