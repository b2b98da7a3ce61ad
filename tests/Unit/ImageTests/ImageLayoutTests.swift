// SPDX-License-Identifier: Apache-2.0
// ImageLayoutTests.swift: images are laid out in pages, read back as they were, and refused when malformed.

import ApusImage
import Testing

private let command = StartCommand(
  settings: [.init(key: Array("trace".utf8), value: Array("1".utf8))], program: Array("/bin/x".utf8),
  arguments: [Array("x".utf8), [], Array("a b".utf8), []], environment: [Array("A=1".utf8)])

private func plan(
  _ entries: [ImageEntry], segments: [ImageSegment] = []
) throws(ImageError) -> ImageLayout {
  try ImageLayout(segments: segments, start: 1, entries: entries, command: command)
}

/// The image's bytes with zeros where data belongs.
private func bytes(_ layout: ImageLayout) -> [UInt8] {
  layout.head + [UInt8](repeating: 0, count: Int(layout.size) - layout.head.count)
}

@Suite struct ImageLayoutTests {
  let tree: [ImageEntry] = [
    .directory("/"), .directory("/bin"), .file("/bin/x", size: 5000), .file("/empty", size: 0),
    .link("/l", to: "bin/x"), .hardLink("/h", to: 2), .file("/last", size: 4096),
  ]

  @Test func `a tree is read back as it was written`() throws {
    let layout = try plan(tree)
    let reader = try ImageReader(bytes(layout))
    #expect(reader.entryCount == tree.count)
    for index in tree.indices {
      let (entry, offset) = try reader.entry(index)
      #expect(entry == tree[index])
      #expect(offset == layout.dataOffsets[index])
    }
    #expect(try reader.command() == command)
  }

  @Test func `data lies in pages of its own, in order and without overlap`() throws {
    let segments = [
      ImageSegment(address: 0x1000, fileSize: 4097, memorySize: 9000, flags: 1),
      ImageSegment(address: 0x4000, fileSize: 0, memorySize: 100, flags: 2),
    ]
    let layout = try plan(tree, segments: segments)
    var end = UInt64(layout.head.count)
    let sizes = segments.map(\.fileSize) + [0, 0, 5000, 0, 0, 0, 4096]
    for (offset, size) in zip(layout.segmentOffsets + layout.dataOffsets, sizes) where size > 0 {
      #expect(offset % 4096 == 0)
      #expect(offset >= end)
      end = offset + size
    }
    #expect(layout.size % 4096 == 0)
    #expect(layout.size >= end)
    let reader = try ImageReader(bytes(layout))
    for index in segments.indices {
      #expect(try reader.segment(index).segment == segments[index])
      #expect(try reader.segment(index).offset == layout.segmentOffsets[index])
    }
  }

  @Test(arguments: [
    ([ImageEntry.file("/bin/x", size: 1)], ImageError.badOrder),
    ([.directory("/"), .directory("/a"), .directory("/a")], .badOrder),
    ([.file("/a", size: 1), .file("/a/b", size: 1)], .badOrder),
    ([.directory("a")], .badPath),
    ([.directory("/a/")], .badPath),
    ([.file("/a\0b", size: 1)], .badPath),
    ([.directory("/a"), .hardLink("/b", to: 0)], .badHardLink),
    ([.hardLink("/b", to: 0)], .badHardLink),
    ([.link("/l", to: "")], .badPath),
  ])
  func `a malformed tree is refused`(entries: [ImageEntry], expected: ImageError) {
    #expect(throws: expected) { try plan(entries) }
  }

  @Test func `too many or misplaced segments are refused`() {
    let good = ImageSegment(address: 0x1000, fileSize: 1, memorySize: 1, flags: 0)
    #expect(throws: ImageError.tooManySegments) {
      try plan([], segments: [ImageSegment](repeating: good, count: 9))
    }
    #expect(throws: ImageError.badSegment) {
      try plan([], segments: [ImageSegment(address: 0x1001, fileSize: 1, memorySize: 1, flags: 0)])
    }
    #expect(throws: ImageError.badSegment) {
      try plan([], segments: [ImageSegment(address: 0x1000, fileSize: 2, memorySize: 1, flags: 0)])
    }
  }

  @Test func `a truncated image is refused at every length`() throws {
    let whole = bytes(try plan(tree))
    for length in stride(from: 0, to: whole.count, by: 97) {
      #expect(throws: ImageError.truncated) { try ImageReader([UInt8](whole[..<length])) }
    }
  }

  @Test func `whatever the bytes, a reader does not reach outside`() throws {
    let whole = bytes(try plan(tree))
    var generator = SeededGenerator(state: 0x5eed)
    for _ in 0..<3000 {
      var damaged = whole
      for _ in 0..<4 {
        let position = Int.random(in: 0..<1100, using: &generator)
        damaged[position] = UInt8.random(in: 0...255, using: &generator)
      }
      guard let reader = try? ImageReader(damaged) else { continue }
      for index in 0..<reader.segmentCount { _ = try? reader.segment(index) }
      for index in 0..<min(reader.entryCount, 100) { _ = try? reader.entry(index) }
      _ = try? reader.command()
    }
  }
}

@Suite struct StartCommandTests {
  @Test func `empty arguments survive`() throws {
    #expect(try StartCommand(decoding: command.encoded()) == command)
  }

  @Test func `the wire format is the ABI's`() throws {
    let text = try String(decoding: command.encoded(), as: UTF8.self)
    #expect(text == "trace=1\0arguments=4\0\0/bin/x\0x\0\0a b\0\0\0A=1\0")
  }

  @Test func `a command cut anywhere before its environment is refused`() throws {
    let whole = try command.encoded()
    for length in 0..<(whole.count - 4) {
      #expect(throws: ImageError.badCommand) { try StartCommand(decoding: [UInt8](whole[..<length])) }
    }
  }

  @Test func `strings with zero bytes are refused`() {
    var bad = command
    bad.arguments = [[1, 0, 2]]
    #expect(throws: ImageError.badCommand) { try bad.encoded() }
    bad = command
    bad.program = []
    #expect(throws: ImageError.badCommand) { try bad.encoded() }
    bad = command
    bad.settings = [.init(key: Array("a=b".utf8), value: [])]
    #expect(throws: ImageError.badCommand) { try bad.encoded() }
  }
}

/// Numbers that are the same in every run (splitmix64).
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
