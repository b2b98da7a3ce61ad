// SPDX-License-Identifier: Apache-2.0
// PagesTests.swift: generated pages are current, links lead somewhere, decisions are numbered.

import Foundation
import Testing

@Suite("Pages")
struct PagesTests {
  @Test("The page of Linux calls is what the table says")
  func linuxCallsAreCurrent() throws {
    if ProcessInfo.processInfo.environment["APUS_WRITE_PAGES"] != nil {
      try LinuxCallsPage.text.write(
        to: Repository.root.appending(path: LinuxCallsPage.path), atomically: true, encoding: .utf8)
    }
    #expect(try Repository.text(LinuxCallsPage.path) == LinuxCallsPage.text)
  }

  @Test("Every link to a file leads to one", arguments: try Repository.documents())
  func linksLeadSomewhere(_ document: String) throws {
    let folder = Repository.root.appending(path: document).deletingLastPathComponent()
    for match in try Repository.text(document).matches(of: /\]\(([^)\s]+)\)/) {
      let target = String(match.1.split(separator: "#", omittingEmptySubsequences: false)[0])
      if target.isEmpty || target.contains("://") { continue }
      #expect(Repository.has(folder.appending(path: target)), "\(document) links to \(target)")
    }
  }

  @Test("Every file that a text names in backticks is there", arguments: try Repository.documents())
  func namedFilesExist(_ document: String) throws {
    let layers = "abi|core|machine|drivers|kernel|libos|apps|cli|tests|bench|tools|docs"
    let name = try Regex("`((?:\(layers))/[A-Za-z0-9_+./-]+)`")
    for match in try Repository.text(document).matches(of: name) {
      guard let path = match.output[1].substring.map(String.init) else { continue }
      #expect(Repository.has(Repository.root.appending(path: path)), "\(document) names \(path)")
    }
  }

  @Test("Decisions have numbers of their own, and the index has them all")
  func decisionsAreNumbered() throws {
    let pages = try Repository.names(in: "docs/decisions").filter { $0 != "README.md" }
    let index = try Repository.text("docs/decisions/README.md")
    #expect(Set(pages.map { $0.prefix(4) }).count == pages.count)
    for page in pages {
      #expect(UInt(page.prefix(4)) != nil && page.dropFirst(4).first == "-")
      #expect(index.contains("(\(page))"), "the index does not link \(page)")
      let text = try Repository.text("docs/decisions/" + page)
      for section in ["## Context", "## Decision", "## Consequences"] {
        #expect(text.contains("\n" + section + "\n"), "\(page) has no section \(section)")
      }
    }
  }

  @Test("The book's index has every chapter")
  func chaptersAreListed() throws {
    let index = try Repository.text("docs/book/README.md")
    for chapter in try Repository.names(in: "docs/book") where chapter != "README.md" {
      #expect(index.contains("(\(chapter))"), "the index does not link \(chapter)")
    }
  }
}
