// SPDX-License-Identifier: Apache-2.0
// Recovery.swift: who owns what, computed anew from the disk: the roots, and what `owns` says of each block below.

import ApusBPF

/// What recovery found wrong; everything else it has put right by then.
public struct RecoveryProblem: Equatable, Sendable {
  /// What is wrong.
  public enum Kind: UInt8, Sendable {
    /// Block 0 is no catalogue of this disk: nothing is known of anything.
    case noCatalogue
    /// A root or metadata of a template that is not there.
    case noTemplate
    /// The disk could not read metadata: what it owns is not known.
    case unreadable
    /// Metadata is not what its type says: what it tells of beyond this point is not known.
    case notOfItsType
    /// Metadata tells of blocks that are not on the disk, or too many in one extent.
    case outOfRange
    /// Metadata tells of blocks that another block owns: a move was cut off, or somebody lied before. The metadata
    /// cannot be changed but by dropping them.
    case ownedTwice
    /// The tree is too high.
    case tooHigh
  }

  /// What is wrong.
  public let kind: Kind
  /// The metadata concerned.
  public let block: UInt32
  /// The blocks that it tells of.
  public let extent: Extent
}

extension XN {
  /// Rebuilds all records from the disk.
  ///
  /// Afterwards every tree of the catalogue owns what it did when it was last
  /// written, and everything else is free.
  ///
  /// - Parameter report: Gets each problem.
  public mutating func recover(_ report: (RecoveryProblem) -> Void) {
    self = XN(memory: memory)
    let nothing = Extent(first: 0, count: 0, type: 0)
    guard memory.readToScratch(0), memory.loadScratch(.doubleWord, 0) == Catalogue.magic,
      memory.loadScratch(.word, 8) == UInt64(memory.blockCount),
      memory.loadScratch(.doubleWord, Catalogue.checksumOffset) == Catalogue.checksum(memory)
    else {
      report(RecoveryProblem(kind: .noCatalogue, block: 0, extent: nothing))
      return
    }
    var scan = Scan(memory: memory)
    for place in 0..<Catalogue.rootLimit {
      let offset = Catalogue.rootOffset + 16 * place
      guard memory.loadScratch(.halfWord, offset + 6) != 0 else { continue }
      let block = UInt32(truncatingIfNeeded: memory.loadScratch(.word, offset))
      let type = UInt16(truncatingIfNeeded: memory.loadScratch(.halfWord, offset + 4))
      guard type != 0, scan.take(Extent(first: block, count: 1, type: type)) else { continue }
      roots.blocks[place] = block
      roots.names[place] = memory.loadScratch(.doubleWord, offset + 8)
    }
    tell(&scan, report)
    while let block = scan.next() {
      scan.parent = block
      let type = memory[block].type
      if !memory.hasTemplate(type) {
        scan.note(.noTemplate, nothing)
      } else if !memory.readToScratch(block) {
        scan.note(.unreadable, nothing)
      } else if !owned(type, &scan) {
        scan.note(.notOfItsType, nothing)
      }
      tell(&scan, report)
    }
  }

  private func tell(_ scan: inout Scan<Memory>, _ report: (RecoveryProblem) -> Void) {
    for index in 0..<scan.problemCount { report(scan.problems[index]) }
    scan.problemCount = 0
  }
}

/// The walk over all metadata: a list of blocks to be asked, through their records.
private struct Scan<Memory: XNMemory>: ExtentVisitor {
  let memory: Memory
  var parent: UInt32 = 0
  /// Of one block, no more than so many are told.
  var problems = InlineArray<16, RecoveryProblem>(
    repeating: RecoveryProblem(kind: .tooHigh, block: 0, extent: Extent(first: 0, count: 0, type: 0)))
  var problemCount = 0
  private var first: UInt32 = 0
  private var last: UInt32 = 0

  init(memory: Memory) { self.memory = memory }

  mutating func note(_ kind: RecoveryProblem.Kind, _ extent: Extent) {
    guard problemCount < problems.count else { return }
    problems[problemCount] = RecoveryProblem(kind: kind, block: parent, extent: extent)
    problemCount += 1
  }

  mutating func next() -> UInt32? {
    guard first != 0 else { return nil }
    let block = first
    first = memory[block].next
    memory[block].next = 0
    return block
  }

  /// Enters an extent for the parent; what is wrong is noted, and the walk goes on.
  mutating func take(_ extent: Extent) -> Bool {
    guard extent.count > 0, extent.count <= XN<Memory>.extentLimit, extent.first < memory.blockCount,
      extent.count <= memory.blockCount - extent.first, extent.type == 0 || extent.count == 1
    else {
      note(.outOfRange, extent)
      return true
    }
    for block in extent.first..<extent.first + extent.count where memory[block].state != .free {
      note(.ownedTwice, extent)
      return true
    }
    var level: UInt8 = 0
    var above = parent
    while above != 0 {
      level += 1
      above = memory[above].parent
    }
    guard extent.type == 0 || level < XN<Memory>.heightLimit else {
      note(.tooHigh, extent)
      return true
    }
    var record = BlockRecord()
    record.state = .part
    for block in extent.first..<extent.first + extent.count { memory[block] = record }
    record.state = .owned
    record.type = extent.type
    record.parent = parent
    record.count = extent.count
    record.isPointedAt = true
    record.isInitialised = extent.type != 0
    memory[extent.first] = record
    if parent != 0 { memory[parent].ownedCount += 1 }
    guard extent.type != 0 else { return true }
    raise()
    if first == 0 { first = extent.first } else { memory[last].next = extent.first }
    last = extent.first
    return true
  }

  private func raise() {
    var height: UInt8 = 1
    var block = parent
    while block != 0, memory[block].height < height {
      memory[block].height = height
      height += 1
      block = memory[block].parent
    }
  }
}
