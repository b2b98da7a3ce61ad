// SPDX-License-Identifier: Apache-2.0
// Catalogue.swift: XN's own blocks: the roots of all trees in block 0, a template in each of the blocks behind it.

import ApusBPF

/// The form of the catalogue on the disk; numbers are little-endian.
public enum Catalogue {
  /// The most templates; template n is in block n.
  public static var templateLimit: Int { 32 }
  /// The most roots.
  public static var rootLimit: Int { 64 }
  /// The first eight bytes of block 0: "ApusXN01".
  public static var magic: UInt64 { 0x3130_4e58_7375_7041 }
  /// The first four bytes of a template: "XNT1".
  public static var templateMagic: UInt64 { 0x3154_4e58 }
  /// Where the roots are in block 0.
  ///
  /// Block 0: magic (8), count of blocks (4), zero, then from here roots of 16 bytes: block (4), type (2), whether there
  /// is one (2), name (8). The last eight bytes are the checksum of all before.
  public static var rootOffset: Int { 64 }
  /// Where the programs are in a template's block.
  ///
  /// A template: magic (4), number (2), slots of `owns`, `acl`, `size` (2 each), zero, then from here the slots. The
  /// last eight bytes are the checksum.
  public static var slotOffset: Int { 64 }
  /// Where the checksum is.
  public static var checksumOffset: Int { 4088 }
  /// How many slots the programs of a template can have together.
  public static var slotLimit: Int { (checksumOffset - slotOffset) / 8 }

  /// The checksum of the scratch block: FNV-1a over words, against foreign and torn blocks, not against forgers.
  static func checksum(_ memory: some XNMemory) -> UInt64 {
    var sum: UInt64 = 0xcbf2_9ce4_8422_2325
    for offset in stride(from: 0, to: checksumOffset, by: 8) {
      sum = (sum ^ memory.loadScratch(.doubleWord, offset)) &* 0x100_0000_01b3
    }
    return sum
  }

  static func store(_ value: UInt64, _ width: Int, at offset: Int, _ memory: some XNMemory) {
    for index in 0..<width {
      memory.storeScratch(UInt8(truncatingIfNeeded: value >> (8 * UInt64(index))), offset + index)
    }
  }

  static func clear(_ memory: some XNMemory) { for offset in 0..<4096 { memory.storeScratch(0, offset) } }

  /// Whether the scratch block is a template of a number, with its checksum right.
  ///
  /// - Returns: How many slots its programs have, `owns` first; nil if it is none.
  public static func template(_ type: UInt16, _ memory: some XNMemory) -> InlineArray<3, Int>? {
    guard memory.loadScratch(.word, 0) == templateMagic, memory.loadScratch(.halfWord, 4) == UInt64(type),
      memory.loadScratch(.doubleWord, checksumOffset) == checksum(memory)
    else { return nil }
    var counts = InlineArray<3, Int>(repeating: 0)
    for index in 0..<3 { counts[index] = Int(memory.loadScratch(.halfWord, 6 + 2 * index)) }
    return counts[0] + counts[1] + counts[2] <= slotLimit ? counts : nil
  }

  /// Writes a template into the scratch block.
  ///
  /// - Precondition: The programs have `slotLimit` slots at most together.
  public static func encodeTemplate(
    _ type: UInt16, owns: Span<UInt64>, acl: Span<UInt64>, size: Span<UInt64>, _ memory: some XNMemory
  ) {
    precondition(owns.count + acl.count + size.count <= slotLimit)
    clear(memory)
    store(templateMagic, 4, at: 0, memory)
    store(UInt64(type), 2, at: 4, memory)
    store(UInt64(owns.count), 2, at: 6, memory)
    store(UInt64(acl.count), 2, at: 8, memory)
    store(UInt64(size.count), 2, at: 10, memory)
    var offset = slotOffset
    for index in 0..<owns.count + acl.count + size.count {
      let rest = index - owns.count
      let slot = rest < 0 ? owns[index] : rest < acl.count ? acl[rest] : size[rest - acl.count]
      store(slot, 8, at: offset, memory)
      offset += 8
    }
    store(checksum(memory), 8, at: checksumOffset, memory)
  }
}

/// The roots of all trees, which are in memory always.
public struct RootTable: Sendable {
  /// The root blocks; 0: no root.
  public internal(set) var blocks = InlineArray<64, UInt32>(repeating: 0)
  /// What the file systems call them.
  public internal(set) var names = InlineArray<64, UInt64>(repeating: 0)
  /// Roots that were removed and are in the disk's catalogue still.
  var leaving = InlineArray<64, UInt32>(repeating: 0)
}

extension XN {
  /// Makes a free block the root of a new tree, with all bytes zero.
  ///
  /// - Parameters:
  ///   - block: The block.
  ///   - type: Its template; its `owns` has to say that a zero block is of the type and owns nothing.
  ///   - name: What the file system finds it by.
  ///   - isTemporary: Whether it is gone after a reboot, and need not be whole on the disk before.
  /// - Returns: Its place in the catalogue.
  /// - Throws: Why not; then nothing has changed.
  public mutating func addRoot(
    _ block: UInt32, type: UInt16, name: UInt64, isTemporary: Bool
  ) throws(XNError) -> Int {
    release()
    guard type != 0 else { throw .invalid }
    try check(Extent(first: block, count: 1, type: type))
    guard memory.isPresent(block) else { throw .notPresent }
    var place = 0
    while roots.blocks[place] != 0 || roots.leaving[place] != 0 {
      place += 1
      guard place < Catalogue.rootLimit else { throw .catalogueFull }
    }
    try checkZero(type)
    memory.copyFromScratch(block)
    enter(Extent(first: block, count: 1, type: type), parent: 0)
    memory[block].isTemporary = isTemporary
    memory[block].isChanged = true
    roots.blocks[place] = block
    roots.names[place] = name
    return place
  }

  /// Takes a root that owns nothing out of the catalogue; its block is free when the disk's catalogue has been written.
  public mutating func removeRoot(_ place: Int) throws(XNError) {
    guard place >= 0, place < Catalogue.rootLimit, roots.blocks[place] != 0 else { throw .invalid }
    let block = roots.blocks[place]
    let record = memory[block]
    guard record.ownedCount == 0 else { throw .notEmpty }
    guard !record.isWriting, record.departureCount == 0, record.departures == 0, record.arrivals == 0 else {
      throw .busy
    }
    roots.blocks[place] = 0
    memory[block].state = .waiting
    if record.isPointedAt { roots.leaving[place] = block } else { drop(block) }
  }

  private mutating func drop(_ block: UInt32) {
    memory[block].next = releasing
    releasing = block
    release()
  }

  /// Writes the catalogue into the scratch block: roots that the disk has whole and that are to outlive a reboot.
  public func encodeCatalogue() {
    Catalogue.clear(memory)
    Catalogue.store(Catalogue.magic, 8, at: 0, memory)
    Catalogue.store(UInt64(memory.blockCount), 4, at: 8, memory)
    for place in 0..<Catalogue.rootLimit where isRecorded(place) {
      let offset = Catalogue.rootOffset + 16 * place
      Catalogue.store(UInt64(roots.blocks[place]), 4, at: offset, memory)
      Catalogue.store(UInt64(memory[roots.blocks[place]].type), 2, at: offset + 4, memory)
      Catalogue.store(1, 2, at: offset + 6, memory)
      Catalogue.store(roots.names[place], 8, at: offset + 8, memory)
    }
    Catalogue.store(Catalogue.checksum(memory), 8, at: Catalogue.checksumOffset, memory)
  }

  private func isRecorded(_ place: Int) -> Bool {
    let block = roots.blocks[place]
    return block != 0 && memory[block].isInitialised && !memory[block].isTemporary
  }

  /// The catalogue that was encoded last is on the disk, and a flush behind it; no root has changed meanwhile.
  public mutating func catalogueWritten() {
    for place in 0..<Catalogue.rootLimit {
      if isRecorded(place) { memory[roots.blocks[place]].isPointedAt = true }
      let block = roots.leaving[place]
      roots.leaving[place] = 0
      if block != 0 { drop(block) }
    }
  }
}
