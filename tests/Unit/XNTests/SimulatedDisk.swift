// SPDX-License-Identifier: Apache-2.0
// SimulatedDisk.swift: a disk whose blocks XN owns, with two file systems' templates and what they mean in Swift.

import ApusBPF
import ApusBPFTools

@testable import ApusXN

/// How a file system lays its pointers out.
struct Layout: Sendable {
  let type: UInt16
  let entryCount: Int
  let offset: @Sendable (Int) -> Int
  let owns: String

  /// Type 1: eight bytes an entry, from the front: block (4), count (2), type (2).
  static let forward = Layout(
    type: 1, entryCount: 24, offset: { 16 + 8 * $0 },
    owns: """
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
      if r7 < 24 goto loop
      r0 = 1
      exit
      bad:
      r0 = 0
      exit
      """)
  /// Type 2: sixteen bytes an entry at the end of the block.
  static let backward = Layout(
    type: 2, entryCount: 12, offset: { 3000 + 16 * $0 },
    owns: """
      r6 = r1
      r7 = 0
      loop:
      r1 = *(u32 *)(r6 + 3000)
      if r1 == 0 goto skip
      r2 = *(u16 *)(r6 + 3004)
      if r2 == 0 goto bad
      r3 = *(u16 *)(r6 + 3006)
      call 1
      skip:
      r6 += 16
      r7 += 1
      if r7 < 12 goto loop
      r0 = 1
      exit
      bad:
      r0 = 0
      exit
      """)

  static func of(_ type: UInt16) -> Layout { type == 1 ? forward : backward }

  func entry(_ index: Int, _ bytes: [UInt8]) -> Extent? {
    let at = offset(index)
    let first =
      UInt32(bytes[at]) | UInt32(bytes[at + 1]) << 8 | UInt32(bytes[at + 2]) << 16 | UInt32(bytes[at + 3]) << 24
    let count = UInt32(bytes[at + 4]) | UInt32(bytes[at + 5]) << 8
    let type = UInt16(bytes[at + 6]) | UInt16(bytes[at + 7]) << 8
    return first == 0 ? nil : Extent(first: first, count: count, type: type)
  }

  func extents(_ bytes: [UInt8]) -> [Extent] { (0..<entryCount).compactMap { entry($0, bytes) } }

  /// The change that makes an entry what it is to be.
  func change(_ index: Int, to extent: Extent?) -> Changes {
    let extent = extent ?? Extent(first: 0, count: 0, type: 0)
    var changes = Changes()
    for byte in 0..<4 { changes.list.append((offset(index) + byte, UInt8(extent.first >> (8 * UInt32(byte)) & 0xff))) }
    for byte in 0..<2 {
      changes.list.append((offset(index) + 4 + byte, UInt8(extent.count >> (8 * UInt32(byte)) & 0xff)))
    }
    for byte in 0..<2 {
      changes.list.append((offset(index) + 6 + byte, UInt8(extent.type >> (8 * UInt16(byte)) & 0xff)))
    }
    return changes
  }
}

struct Changes: Modifications {
  var list: [(Int, UInt8)] = []
  var count: Int { list.count }
  subscript(index: Int) -> (offset: Int, byte: UInt8) { list[index] }

  static func + (left: Changes, right: Changes) -> Changes { Changes(list: left.list + right.list) }
}

final class SimulatedDisk: XNMemory {
  let blockCount: UInt32
  private var records: [BlockRecord]
  var contents: [[UInt8]]
  var disk: [[UInt8]]
  var scratch = [UInt8](repeating: 0, count: 4096)
  private var stack = [UInt64](repeating: 0, count: ProgramLimits.stackByteCount / 8)
  var programs: [UInt16: [[UInt64]]] = [:]

  init(blockCount: UInt32) throws {
    self.blockCount = blockCount
    records = Array(repeating: BlockRecord(), count: Int(blockCount))
    // What lies around in memory and on the disk is nobody's and must not matter.
    contents = Array(repeating: [UInt8](repeating: 0x77, count: 4096), count: Int(blockCount))
    disk = contents
    // The principal of a block is in its first eight bytes; others may read it if byte 8 is 1.
    let acl = try Assembler.assemble(
      """
      r0 = 1
      r4 = *(u64 *)(r1 + 0)
      if r4 == r2 goto yes
      r0 = 0
      if r3 != 0 goto yes
      r0 = *(u8 *)(r1 + 8)
      r0 &= 1
      yes:
      exit
      """)
    let size = try Assembler.assemble("r0 = 4096\nexit\n")
    for layout in [Layout.forward, .backward] {
      programs[layout.type] = [try Assembler.assemble(layout.owns), acl, size]
    }
  }

  subscript(block: UInt32) -> BlockRecord {
    get { records[Int(block)] }
    set { records[Int(block)] = newValue }
  }
  subscript(stack index: Int) -> UInt64 {
    get { stack[index] }
    set { stack[index] = newValue }
  }
  func isPresent(_ block: UInt32) -> Bool { true }
  func copyToScratch(_ block: UInt32) { scratch = contents[Int(block)] }
  func copyFromScratch(_ block: UInt32) { contents[Int(block)] = scratch }
  func loadScratch(_ width: AccessWidth, _ offset: Int) -> UInt64 {
    (0..<width.byteCount).reversed().reduce(0) { $0 << 8 | UInt64(scratch[offset + $1]) }
  }
  func storeScratch(_ byte: UInt8, _ offset: Int) { scratch[offset] = byte }
  func readToScratch(_ block: UInt32) -> Bool {
    scratch = disk[Int(block)]
    return true
  }
  func hasTemplate(_ type: UInt16) -> Bool { programs[type] != nil }
  func withProgram<R>(_ type: UInt16, _ program: TemplateProgram, _ body: (Span<UInt64>) -> R) -> R {
    let slots = programs[type]?[Int(program.rawValue)] ?? []
    return body(slots.span)
  }
}
