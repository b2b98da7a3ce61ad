// SPDX-License-Identifier: Apache-2.0
// BenchTests.swift: the bench's pure parts: a program's lines, the kernel's payload, the archive, the report.

import Testing

@testable import apus

@Suite struct BenchLineTests {
  @Test func `samples, the clock, a failure and the end`() {
    let pipe = BenchLine.Metric(name: "pipe", metric: "op")
    #expect(
      BenchLine("noise @@ {\"case\":\"pipe\",\"metric\":\"op\",\"instructions\":2.00,\"samples\":[1.50,2,3e0]}\r")
        == .samples(of: pipe, [1.5, 2, 3]))
    #expect(
      BenchLine("@@ {\"case\":\"pipe\",\"metric\":\"op\",\"instructions\":7}") == .samples(of: pipe, [7]))
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

@Suite struct BenchReportTests {
  private func row(apus: [Double], linux: [Double]) -> BenchRow {
    BenchRow(
      figure: BenchFigure(name: "pipe", metric: "op", guest: .linux, twins: [], twin: "the same binary"),
      kind: .instructions, apus: apus, linux: linux)
  }

  @Test func `medians and their ratio`() {
    #expect(
      BenchReport.json(row(apus: [300, 100, 200], linux: [1000, 1001])) == """
        {"case":"pipe","metric":"op","kind":"instructions","unit":"instructions","apus":200,"linux":1000.5,\
        "ratio":5,"samples":{"apus":[300,100,200],"linux":[1000,1001]},"twin":"the same binary"}
        """)
  }

  @Test func `a missing side is null`() {
    let text = BenchReport.json(row(apus: [35], linux: []))
    #expect(text.contains("\"apus\":35,\"linux\":null,\"ratio\":null"))
    #expect(BenchReport.table([row(apus: [], linux: [1_234_567])]).contains("1,234,567"))
  }

  @Test func `every case has its figure`() {
    for name in BenchFigure.names {
      #expect(BenchFigure.all.contains { $0.name == name && $0.metric == "op" })
    }
    #expect(Set(BenchFigure.all.map(\.key)).count == BenchFigure.all.count)
    #expect(BenchFigure.all.allSatisfy { BenchFigure.names.contains($0.name) })
  }
}
