// SPDX-License-Identifier: Apache-2.0
// BenchTests.swift: the bench's pure parts: a program's lines, the kernel's payload, the archive, the report.

import Foundation
import Testing

@testable import apus

@Suite struct BenchLineTests {
  @Test func `samples, the clock, a failure and the end`() {
    let pipe = BenchLine.Metric(name: "pipe", metric: "op")
    #expect(
      BenchLine("noise @@ {\"case\":\"pipe\",\"metric\":\"op\",\"instructions\":2.00,\"samples\":[1.50,2,3e0]}\r")
        == .samples(of: pipe, [1.5, 2, 3], operations: nil))
    #expect(
      BenchLine("@@ {\"case\":\"pipe\",\"metric\":\"op\",\"instructions\":7}")
        == .samples(of: pipe, [7], operations: nil))
    #expect(
      BenchLine("@@ {\"case\":\"pipe\",\"metric\":\"op\",\"operations\":2000,\"samples\":[7]}")
        == .samples(of: pipe, [7], operations: 2000))
    #expect(BenchLine("@@ {\"clock\":1000}") == .clock(1000))
    #expect(BenchLine("@@ {\"failure\":\"fork\"}") == .failure("fork"))
    #expect(BenchLine("@@ {\"end\":true}") == .end)
  }

  @Test(arguments: [
    "", "@@", "@@ {", "@@ {}", "{\"end\":true}", "@@ {\"end\":true", "@@ {\"end\":false}", "@@ {\"clock\":0}",
    "@@ {\"clock\":fast}", "@@ {\"case\":\"pipe\",\"samples\":[1]}",
    "@@ {\"case\":\"pipe\",\"metric\":\"op\",\"samples\":[]}",
    "@@ {\"case\":\"pipe\",\"metric\":\"op\",\"samples\":[1,]}", "@@ {\"case\":\"pipe",
  ])
  func `what is no whole line is none`(text: String) {
    #expect(BenchLine(text) == nil)
  }
}

@Suite struct LZ4Tests {
  private func frame(_ blocks: [[UInt8]]) -> ArraySlice<UInt8> {
    var bytes = LZ4.legacyMagic
    for block in blocks { bytes += [UInt8(block.count), 0, 0, 0] + block }
    return bytes[...]
  }

  @Test func `literals and overlapping matches`() {
    // "ab", then 6 bytes from 2 back, then the literals "cd".
    let first: [UInt8] = [0x22, 0x61, 0x62, 2, 0, 0x20, 0x63, 0x64]
    let second: [UInt8] = [0x10, 0x65]
    #expect(
      LZ4.unpackLegacyFrame(frame([first, second]), size: 11) == Array("abababab".utf8) + Array("cde".utf8))
  }

  @Test func `lengths beyond fifteen`() {
    // One literal, then a run of 4 + 15 + 255 + 1 bytes from 1 back.
    let block: [UInt8] = [0x1f, 0x7a, 1, 0, 255, 1, 0x00]
    #expect(LZ4.unpackLegacyFrame(frame([block]), size: 276) == [UInt8](repeating: 0x7a, count: 276))
  }

  @Test(
    arguments: [
      [0x50, 0x61],  // literals beyond the end
      [0x12, 0x61, 2, 0],  // further back than the start
      [0x12, 0x61, 0, 0],  // from nowhere
      [0x12, 0x61, 1],  // half a distance
      [0xf0],  // half a length
    ] as [[UInt8]])
  func `a damaged block is refused`(block: [UInt8]) {
    #expect(LZ4.unpackLegacyFrame(frame([block]), size: 100) == nil)
  }

  @Test func `a block reaches back into itself only`() {
    #expect(LZ4.unpackLegacyFrame(frame([[0x20, 0x61, 0x62], [0x12, 0x63, 3, 0, 0x00]]), size: 9) == nil)
  }
}

@Suite struct InitialArchiveTests {
  @Test func `entries are aligned and the trailer ends them`() {
    var archive = InitialArchive()
    archive.add(program: "init", contents: [1, 2, 3, 4, 5])
    let bytes = archive.finished()
    #expect(bytes.count % 4 == 0)
    let head = String(decoding: bytes[..<110], as: UTF8.self)
    #expect(head.hasPrefix("070701" + "00000001" + "000081ed"))
    #expect(Array(head)[54..<62] == Array("00000005")[...])
    // Header and name are padded to four bytes, then come the contents, padded too.
    #expect(Array(bytes[110..<116]) == Array("init".utf8) + [0, 0])
    #expect(Array(bytes[116..<124]) == [1, 2, 3, 4, 5, 0, 0, 0])
    #expect(String(decoding: bytes[124..<130], as: UTF8.self) == "070701")
    #expect(String(decoding: bytes, as: UTF8.self).contains("TRAILER!!!"))
  }
}

@Suite struct BenchEventTests {
  @Test func `a line of the plugin, for one operation`() {
    let events = BenchEvents("1000 800 20 10 4 2 0 1", operations: 10)
    #expect(events?[.kernelInstructions] == 80)
    #expect(events?[.addressSpaceLoads] == 1)
    #expect(events?[.registerWrites] == 0.1)
    #expect(events?.scaled(by: 2)[.kernelExits] == 4)
  }

  @Test(arguments: ["", "1 2 3", "1 2 3 4 5 6 7 eight", "1 2 3 4 5 6 7 8 9"])
  func `what is no whole line is none`(text: String) {
    #expect(BenchEvents(text, operations: 1) == nil)
  }
}

@Suite struct BenchReportTests {
  private func figure(_ target: BenchTarget? = nil) -> BenchFigure {
    BenchFigure(
      name: "pipe", metric: "op", guest: .linux, twins: [], title: "a pipe", twin: "the same binary", target: target)
  }

  private func row(
    apus: [Double], linux: [Double], _ configuration: BenchConfiguration = .tuned,
    _ kind: BenchKind = .instructions
  ) -> BenchRow {
    var figure = BenchFigure.all.first { $0.name == "pipe" && $0.metric == "protected" } ?? figure()
    figure.target = .times(5)
    return BenchRow(figure: figure, configuration: configuration, kind: kind, apus: apus, linux: linux)
  }

  @Test func `medians and their ratio`() {
    #expect(
      BenchReport.json(BenchRow(figure: figure(), kind: .wall, apus: [300, 100, 200], linux: [1000, 1001])) == """
        {"case":"pipe","metric":"op","program":"linux","configuration":"tuned","kind":"wall","unit":"ns","apus":200,\
        "linux":1000.5,"ratio":5,"samples":{"apus":[300,100,200],"linux":[1000,1001]},"title":"a pipe",\
        "twin":"the same binary"}
        """)
  }

  @Test func `a missing side is null`() {
    let text = BenchReport.json(row(apus: [35], linux: []))
    #expect(text.contains("\"apus\":35,\"linux\":null,\"ratio\":null"))
    #expect(text.contains("\"events\":{\"apus\":null,\"linux\":null}"))
    let table = BenchReport.tables([row(apus: [], linux: [1_234_567])], conditions: [], whole: true)
    #expect(table.contains("1,234,567") && table.contains("not measured"))
  }

  @Test func `the lower ratio is claimed, with the wall clock of the same configuration`() {
    let rows = [
      row(apus: [10], linux: [100], .tuned), row(apus: [10], linux: [40], .stock),
      row(apus: [1], linux: [9], .tuned, .wall), row(apus: [1], linux: [7], .stock, .wall),
    ]
    let claims = BenchClaim.all(rows)
    #expect(claims.count == 1)
    #expect(claims.first?.counted.ratio == 4)
    #expect(claims.first?.wall?.ratio == 7)
    #expect(claims.first?.isReached == false)
    #expect(BenchReport.summary(claims).contains("MISSED"))
  }

  @Test func `a target is reached or it is not`() {
    #expect(BenchTarget.times(20).isReached(by: 20) && !BenchTarget.times(20).isReached(by: 19.9))
    #expect(BenchTarget.won.isReached(by: 1.01) && !BenchTarget.won.isReached(by: 1))
  }

  @Test func `a chart has a bar and a mark for each claim`() {
    let svg = BenchChart.svg(BenchClaim.all([row(apus: [10], linux: [100])]))
    #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n"))
    #expect(svg.contains(">10.0</text>"))
    // One line for each power of ten from 0.1 to 100, the legend's mark and the target's.
    #expect(svg.components(separatedBy: "<line ").count - 1 == 4 + 2)
  }

  @Test func `every figure is there once and has its twin`() {
    #expect(Set(BenchFigure.all.map { "\($0.guest) \($0.key)" }).count == BenchFigure.all.count)
    #expect(BenchFigure.all.allSatisfy { !$0.twins.isEmpty && !$0.title.isEmpty })
  }
}

@Suite struct BenchBaselineTests {
  @Test func `what is written is read`() {
    let baseline = BenchBaseline(["native null op": 36, "linux fork op": 64_913.2], emulator: "7.2")
    let read = BenchBaseline(text: baseline.text)
    #expect(read?.instructions == ["native null op": 36, "linux fork op": 64_914])
    #expect(read?.emulator == "7.2")
    #expect(BenchBaseline(text: "") == nil && BenchBaseline(text: "{\"a\":1}") == nil)
  }

  @Test func `growth of more than a twentieth is told with both figures`() {
    let kept = BenchBaseline(["a": 1000, "b": 1000, "c": 1000], emulator: "7.2")
    let complaints = kept.complaints(about: BenchBaseline(["a": 1050, "b": 1051, "d": 9], emulator: "7.2"))
    #expect(
      complaints == [
        "b: 1,051 instructions, 5.1 % more than the guarded 1,000", "c: guarded, and not measured any more",
      ])
  }
}
