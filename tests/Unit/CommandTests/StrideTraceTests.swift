// SPDX-License-Identifier: Apache-2.0
// StrideTraceTests.swift: reading the trace of apps/stride and drawing it.

import Testing

@testable import apus

@Suite struct StrideTraceTests {
  private func read(_ text: String) -> StrideTrace? { StrideTrace(text.split(separator: "\n")) }

  @Test func `quanta are read, other lines passed over`() throws {
    let trace = try #require(read("quantum 1000 0 990 0\nshares\nquantum 2000 1 990 985\n"))
    #expect(
      trace.quanta == [
        StrideTrace.Quantum(time: 1000, client: 0, totals: [990, 0]),
        StrideTrace.Quantum(time: 2000, client: 1, totals: [990, 985]),
      ])
  }

  @Test(arguments: [
    "", "shares 3 : 2 : 1", "quantum", "quantum ", "quantum 1 0", "quantum 1000 2 990 0", "quantum x 0 1",
    "quantum 1000 -1 990 0", "quantum 0 0 0", "quantum 1e300 0 1", "quantum 1000 0 990 0\nquantum 2000 0 990",
  ])
  func `what is no trace is none`(text: String) {
    #expect(read(text) == nil)
  }

  @Test func `a drawing has a line for each client and a box for each quantum`() throws {
    let lines = (1...100).map { "quantum \($0 * 1000) \($0 % 3) \($0 * 500) \($0 * 300) \($0 * 200)" }
    let drawing = try #require(read(lines.joined(separator: "\n"))).drawing
    #expect(drawing.hasPrefix("<svg xmlns=\"http://www.w3.org/2000/svg\""))
    #expect(drawing.hasSuffix("</svg>\n"))
    #expect(drawing.components(separatedBy: "stroke-width=\"2\"") == 3)
    #expect(drawing.components(separatedBy: "<rect x=") == 60)
    for share in ["50.0 %", "30.0 %", "20.0 %"] { #expect(drawing.contains(share)) }
  }
}

extension String {
  /// How often a text occurs.
  fileprivate func components(separatedBy text: String) -> Int {
    var count = 0
    var rest = self[...]
    while let range = rest.range(ofText: text) {
      count += 1
      rest = rest[range...]
    }
    return count
  }
}

extension Substring {
  /// Where a text ends that occurs in this one.
  fileprivate func range(ofText text: String) -> Index? {
    var at = startIndex
    while at < endIndex {
      if self[at...].hasPrefix(text) { return index(at, offsetBy: text.count) }
      at = index(after: at)
    }
    return nil
  }
}
