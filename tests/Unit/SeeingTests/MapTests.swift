// SPDX-License-Identifier: Apache-2.0
// MapTests.swift: memory read while it is written, and the map as cells, text, picture and recording.

import CApusABI
import Foundation
import Testing

@testable import apus

@Suite struct MachineMemoryTests {
  @Test func `the pages are found by their signature, behind what only looks like it`() throws {
    let file = try MemoryFile()
    // A signature on a page that makes no sense otherwise.
    file.put(UInt64(APUS_INFORMATION_MAGIC), at: 0x10_5000)
    #expect(try file.pages()?.address == file.address)
  }

  @Test(
    arguments: [
      { $0.magic = 1 }, { $0.frame_count = 1 }, { $0.processor_count = 0 }, { $0.extended_state_size = 0 },
      { $0.account_table_offset = 0 }, { $0.slice_count = 1 << 40 },
    ] as [@Sendable (inout apus_information) -> Void])
  func `pages that make no sense are not found`(change: @Sendable (inout apus_information) -> Void) throws {
    let file = try MemoryFile()
    file.change(change)
    #expect(try file.pages() == nil)
  }

  @Test func `a table that leaves memory is refused`() throws {
    let file = try MemoryFile()
    file.change { $0.revocation_table_offset = 1 << 50 }
    #expect(try file.pages()?.read() == nil)
  }

  @Test func `memory above 4 GiB lies behind that below`() throws {
    let file = try MemoryFile(frames: 1024)
    let memory = try MachineMemory(path: Path(file.path.utf8))
    file.put(0x1234 as UInt64, at: 3 << 20)
    #expect(memory.load(1 << 32, as: UInt64.self) == nil)
    memory.place(end: 1 << 32 | 1 << 20)
    #expect(memory.load(1 << 32, as: UInt64.self) == 0x1234)
    #expect(memory.load(3 << 20, as: UInt64.self) == nil)
    #expect(memory.load(1 << 32 | 1 << 20, as: UInt64.self) == nil)
  }

  @Test func `records that are written meanwhile are never torn`() throws {
    let file = try MemoryFile()
    let memory = try MachineMemory(path: Path(file.path.utf8))
    struct Pair: BitwiseCopyable { var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0) }
    let at: UInt64 = 5 << 20
    let writer = Thread {
      var value: UInt64 = 0
      while !Thread.current.isCancelled {
        value &+= 1
        file.put(Pair(words: (value, value, value, value)), at: at + value % 64 * 32)
      }
    }
    writer.start()
    defer { writer.cancel() }
    for _ in 0..<300 {
      let found = try #require(memory.records(at, count: 64, of: Pair.self))
      let torn = found.values.filter {
        $0.words.0 != $0.words.1 || $0.words.1 != $0.words.2 || $0.words.2 != $0.words.3
      }
      #expect(torn.count <= found.unsteady)
    }
  }
}

@Suite struct MapTests {
  private func machine() throws -> MemoryFile {
    let file = try MemoryFile()
    for index in 400..<464 { file.setFrame(index, APUS_FRAME_ORDINARY, account: 1) }
    for index in 464..<470 { file.setFrame(index, APUS_FRAME_TABLE1, account: 1) }
    file.setFrame(500, APUS_FRAME_ORDINARY, account: 7)
    file.setFrame(501, APUS_FRAME_COOLING, account: 7)
    file.setEnvironment(0) { $0.account = 1 }
    file.setEnvironment(2) { $0.account = 7 }
    file.setSlice(0, environment: 0)
    file.setSlice(1, environment: 2)
    file.setSlice(2, environment: 2)
    file.setAccount(1) { $0.frames = apus_budget(limit: 1000, used: 70) }
    return file
  }

  @Test func `each account has what its records say`() throws {
    let map = MachineMap(try machine().state())
    #expect(map.holdings.map(\.account) == [1, 7])
    #expect(map.holdings.map(\.ordinary) == [64, 1])
    #expect(map.holdings.map(\.tables) == [6, 0])
    #expect(map.holdings.map(\.cooling) == [0, 1])
    #expect(map.holdings.map(\.slices) == [1, 2])
    #expect(map.kernelFrames == 400)
    #expect(map.freeFrames == 2048 - 400 - 64 - 6 - 2)
    #expect(map.frames.map(\.count).reduce(0, +) == 2048)
  }

  @Test func `a cell is its most frequent owner's, and few frames among free ones are seen`() throws {
    let map = MachineMap(try machine().state())
    let cells = map.cells(framesPerCell: 64)
    #expect(cells.count == 32)
    #expect(cells[0].owner.kind == .kernel)
    #expect(cells[6].owner == cells[6].owner && cells[6].owner.account == 1 && !cells[6].isSpeckled)
    #expect(cells[7].owner.account == 1 && cells[7].isSpeckled)
    #expect(cells[8].owner.kind == .free)
    #expect(map.framesPerCell(cells: 100) == 32)
    #expect(map.framesPerCell(cells: 4000) == 1)
  }

  @Test func `without colours a map is letters, as wide as it may be`() throws {
    let map = MachineMap(try machine().state())
    var colors = OwnerColors()
    colors.see(map)
    let style = TextStyle(columns: 32, rows: 24, isColored: false)
    let lines = MapText(map: map, colors: colors, style: style, names: [7: "sort"]).lines
    let text = lines.joined(separator: "\n")
    #expect(!text.contains("\u{1b}"))
    #expect(text.contains("#aa") && text.contains("cpu 0   abb."))
    #expect(text.contains("b  7 sort "))
    #expect(lines.dropFirst().prefix { !$0.hasPrefix("slices") }.allSatisfy { $0.count <= 32 })
  }

  @Test func `with colours each account has its own, and each line ends plain`() throws {
    let map = MachineMap(try machine().state())
    var colors = OwnerColors()
    colors.see(map)
    #expect(colors.color(account: 1) != colors.color(account: 7))
    let lines = MapText(map: map, colors: colors, style: TextStyle(columns: 80, rows: 24, isColored: true)).lines
    #expect(lines.filter { $0.contains("\u{1b}[48") }.allSatisfy { $0.contains("\u{1b}[0m") })
  }

  @Test func `the JSON is one and has the sums`() throws {
    let map = MachineMap(try machine().state())
    let object = try JSONSerialization.jsonObject(with: Data(map.json([("machine", "\"m\"")]).utf8)) as? [String: Any]
    #expect(object?["machine"] as? String == "m")
    #expect(object?["kernel"] as? Int == 400)
    #expect((object?["slices"] as? [[Any]])?.count == 1)
  }

  @Test func `the picture is XML, with names that are escaped`() throws {
    let map = MachineMap(try machine().state())
    var colors = OwnerColors()
    colors.see(map)
    let text = MapDrawing(map: map, colors: colors, title: "a < b & c", names: [7: "<x>"]).text
    #expect(text.contains("a &lt; b &amp; c") && text.contains("&lt;x&gt;"))
    #expect(try XMLText.isWellFormed(text))
  }

  @Test func `a recording keeps what changed and has a slider`() throws {
    let file = try machine()
    var recording = MapRecording(title: "m")
    recording.add(MachineMap(try file.state()), milliseconds: 0, names: [:])
    recording.add(MachineMap(try file.state()), milliseconds: 100, names: [:])
    file.setFrame(600, APUS_FRAME_ORDINARY, account: 9)
    recording.add(MachineMap(try file.state()), milliseconds: 200, names: [:])
    let page = recording.page
    #expect(page.components(separatedBy: "<svg").count - 1 == 2)
    #expect(page.contains("max=\"2\"") && page.contains("const times = [0,100,200];"))
    #expect(!page.contains("http://") || page.components(separatedBy: "http://").count == 3, "only the SVG name space")
  }
}

enum XMLText {
  /// Whether every element that begins ends, in order.
  static func isWellFormed(_ text: String) throws -> Bool {
    var open: [Substring] = []
    for piece in text.split(separator: "<").dropFirst(text.hasPrefix("<") ? 0 : 1) {
      guard let end = piece.firstIndex(of: ">") else { return false }
      let tag = piece[..<end]
      if tag.hasPrefix("/") {
        guard open.popLast() == tag.dropFirst() else { return false }
      } else if !tag.hasSuffix("/") {
        open.append(tag.prefix { $0 != " " })
      }
    }
    return open.isEmpty
  }
}
