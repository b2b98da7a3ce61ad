// SPDX-License-Identifier: Apache-2.0
// DiskTests.swift: what `apus disk` says of images; those of XN are laid out here byte by byte.

import ApusBPFTools
import Foundation
import Testing

@testable import apus

/// An image of XN's, by the form that core/XN/Catalogue.swift states.
private struct Layout {
  var bytes: [UInt8]

  init(blockCount: Int) throws {
    bytes = [UInt8](repeating: 0, count: blockCount * 4096)
    bytes.replaceSubrange(0..<8, with: Array("ApusXN01".utf8))
    put(blockCount, 4, at: 8)
    // Template 1: entries of eight bytes from byte 16 on: block (4), count (2), type (2).
    let owns = try Assembler.assemble(
      """
      r6 = r1
      r7 = 0
      loop:
      r1 = *(u32 *)(r6 + 16)
      if r1 == 0 goto skip
      r2 = *(u16 *)(r6 + 20)
      if r2 == 0 goto bad
      r3 = *(u16 *)(r6 + 22)
      call 1
      skip:
      r6 += 8
      r7 += 1
      if r7 < 16 goto loop
      r0 = 1
      exit
      bad:
      r0 = 0
      exit
      """)
    let other = try Assembler.assemble("r0 = 1\nexit\n")
    bytes.replaceSubrange(4096..<4100, with: Array("XNT1".utf8))
    put(1, 2, at: 4100)
    put(owns.count, 2, at: 4102)
    put(other.count, 2, at: 4104)
    put(other.count, 2, at: 4106)
    for (index, slot) in (owns + other + other).enumerated() {
      for byte in 0..<8 { bytes[4096 + 64 + 8 * index + byte] = UInt8(truncatingIfNeeded: slot >> (8 * UInt64(byte))) }
    }
    seal(1)
  }

  mutating func put(_ value: Int, _ width: Int, at offset: Int) {
    for index in 0..<width { bytes[offset + index] = UInt8(value >> (8 * index) & 0xff) }
  }

  /// FNV-1a over the words before the last.
  mutating func seal(_ block: Int) {
    var sum: UInt64 = 0xcbf2_9ce4_8422_2325
    for word in 0..<511 {
      let value = (0..<8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64(bytes[block * 4096 + 8 * word + $1]) }
      sum = (sum ^ value) &* 0x100_0000_01b3
    }
    for byte in 0..<8 { bytes[block * 4096 + 4088 + byte] = UInt8(truncatingIfNeeded: sum >> (8 * UInt64(byte))) }
  }

  mutating func addRoot(_ place: Int, _ block: Int, name: String) {
    put(block, 4, at: 64 + 16 * place)
    put(1, 2, at: 64 + 16 * place + 4)
    put(1, 2, at: 64 + 16 * place + 6)
    for (index, byte) in name.utf8.enumerated() { bytes[64 + 16 * place + 8 + index] = byte }
    seal(0)
  }

  mutating func own(_ block: Int, _ entry: Int, _ first: Int, _ count: Int, type: Int = 0) {
    put(first, 4, at: block * 4096 + 16 + 8 * entry)
    put(count, 2, at: block * 4096 + 20 + 8 * entry)
    put(type, 2, at: block * 4096 + 22 + 8 * entry)
  }

  func contents() throws -> DiskContents {
    let path = NSTemporaryDirectory() + "/apus-disk-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try DiskContents.of(try DiskImage(path))
  }
}

@Suite("apus disk")
struct DiskTests {
  @Test
  func everyBlockOfXNIsExplained() throws {
    var layout = try Layout(blockCount: 128)
    layout.addRoot(0, 40, name: "mail")
    layout.addRoot(3, 41, name: "kv")
    layout.own(40, 0, 50, 4)
    layout.own(40, 1, 60, 1, type: 1)
    layout.own(60, 7, 70, 2)
    layout.own(41, 2, 80, 1)
    let contents = try layout.contents()
    #expect(contents.problems == [])
    #expect(contents.title == "XN, 128 blocks of 4096 bytes")
    #expect(
      contents.extents == [
        "40: metadata of template 1, owns 2, root 0 mail", "41: metadata of template 1, owns 1, root 3 kv",
        "50-53: data, of block 40, root 0 mail", "60: metadata of template 1, owns 1, of block 40, root 0 mail",
        "70-71: data, of block 60, root 0 mail", "80: data, of block 41, root 3 kv",
      ])
    #expect(
      contents.summary == [
        "own structures: 33 blocks, 132 KiB", "root 0 mail: 6 blocks, 24 KiB of data, 2 of metadata",
        "root 3 kv: 1 blocks, 4 KiB of data, 1 of metadata", "free: 85 blocks, 340 KiB",
      ])
    let map = DiskMap(contents: contents)
    #expect(map.lines[1] == String(repeating: "#", count: 33) + ".......AB........aaaa......A...")
    #expect(map.lines[2] == "......aa........b" + String(repeating: ".", count: 47))
    #expect(map.svg.hasSuffix("</svg>\n") && map.svg.contains("<title>root 0 mail, metadata</title>"))
  }

  @Test
  func whatIsWrongIsTold() throws {
    var layout = try Layout(blockCount: 128)
    layout.addRoot(0, 40, name: "a")
    layout.addRoot(1, 41, name: "b")
    layout.own(40, 0, 50, 4)
    layout.own(41, 0, 53, 2)
    layout.own(41, 1, 127, 2)
    layout.own(40, 1, 60, 1, type: 9)
    layout.own(40, 2, 61, 1, type: 1)
    layout.own(61, 0, 40, 1, type: 1)
    layout.own(61, 1, 70, 0)
    #expect(
      try layout.contents().problems == [
        "block 41: tells of blocks 53 and on, 2 of them, which another block owns; it keeps them",
        "block 41: tells of blocks 127 and on, 2 of them, type 0, which cannot be",
        "block 60: its template is not on this disk, or the verifier refuses it",
        "block 61: tells of block 40, which another block owns; it keeps them",
        "block 61: its template says that it is not of its type; what it owns is not known",
      ])
    layout.bytes[100] ^= 1
    #expect(
      try layout.contents().problems == [
        "block 0: the catalogue's size or checksum is wrong; nothing is known of any other block"
      ])
    // A program that never ends does not get past the verifier.
    layout.bytes[100] ^= 1
    layout.put(0x05, 8, at: 4096 + 64)
    layout.put(0xffff, 2, at: 4096 + 66)
    layout.seal(1)
    #expect(try layout.contents().problems.first == "block 1: the verifier refuses the program owns of template 1")
  }

  @Test
  func foreignFilesAreRefused() throws {
    var layout = try Layout(blockCount: 2)
    layout.bytes = [UInt8](repeating: 0, count: 8192)
    #expect(throws: Failure.self) { try layout.contents() }
    layout.bytes[1024 + 56] = 0x53
    layout.bytes[1024 + 57] = 0xef
    #expect(throws: Failure.self) { try layout.contents() }
  }
}
