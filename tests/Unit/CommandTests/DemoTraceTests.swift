// SPDX-License-Identifier: Apache-2.0
// DemoTraceTests.swift: what pager, collector and tenants tell, as pictures: lines read, lines refused, what is drawn.

import Testing

@testable import apus

@Suite struct DemoTraceTests {
  @Test func `the rows of faults of pager`() throws {
    let trace = try #require(PagerTrace(["hello", "faults 0 0 0 9", "faults 1 6 4 9", "memory is right"]))
    #expect(
      trace.rows == [
        .init(policy: 0, pass: 0, first: 0, last: 9), .init(policy: 1, pass: 6, first: 4, last: 9),
      ])
    #expect(trace.drawing.contains("the program's own: 6 faults in the last pass"))
    #expect(trace.drawing.contains("clock, the default: 0 faults in the last pass"))
    #expect(trace.drawing.hasSuffix("</svg>\n"))
  }

  @Test(arguments: ["", "faults 0 0 0", "faults 2 0 0 1", "faults 0 0 5 4", "faults 0 x 0 1", "faults 0 64 0 1"])
  func `no rows of faults`(line: String) { #expect(PagerTrace([line[...]]) == nil) }

  @Test func `what a changed page cost collector`() throws {
    let lines: [Substring] = [
      "while the program goes on: 5 checkpoints of 1584 changed pages, 1279 faults; finding, protecting and faults took "
        + "745 ticks for each page of 1475 in all; checksum 5489312518479000231",
      "every image is what memory was",
    ]
    let bars = try #require(CollectorBars(lines))
    #expect(bars.bars == [.init(name: "while the program goes on", handling: 745, whole: 1475)])
    #expect(bars.drawing.contains(">745 of 1475<"))
    #expect(CollectorBars(["every image is what memory was"]) == nil)
  }

  @Test func `who held how much among the tenants`() throws {
    let trace = try #require(
      TenantsTrace([
        "tenants held 0 1 2 3 4", "tenants asked 5 1 60", "tenants taken 7 2 20", "tenants granted 9 0 60",
        "tenants held 10 4 3 2 1", "prompt: asked for 0",
      ]))
    #expect(trace.samples.map(\.held) == [[1, 2, 3, 4], [4, 3, 2, 1]])
    #expect(trace.events.map(\.kind) == ["asked", "taken", "granted"])
    for words in [">asked 60<", ">20 by force<", ">+60<", ">stubborn<"] { #expect(trace.drawing.contains(words)) }
  }

  @Test(arguments: [
    "tenants held 1 1 2 3", "tenants asked 1 4 60", "tenants lent 1 0 60", "tenants held 0 1 2 3 4",
    "tenants held 1 1 2 3 x",
  ])
  func `no trace of tenants`(line: String) { #expect(TenantsTrace([line[...]]) == nil) }
}
