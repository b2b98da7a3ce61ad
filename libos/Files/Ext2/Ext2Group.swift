// SPDX-License-Identifier: Apache-2.0
// Ext2Group.swift: a block group's descriptor, and finding free blocks and inodes in its bitmaps.

import ApusRuntime

/// A block group.
struct Ext2Group {
  var blockBitmap: UInt32
  var inodeBitmap: UInt32
  var inodeTable: UInt32
  var freeBlocks: UInt32
  var freeInodes: UInt32
  var directories: UInt32
  var isChanged = false
  /// Where the search for a free inode begins: below, there is none.
  var inodeHint = 0

  init(_ bytes: Bytes) {
    blockBitmap = bytes.load(0, as: UInt32.self)
    inodeBitmap = bytes.load(4, as: UInt32.self)
    inodeTable = bytes.load(8, as: UInt32.self)
    freeBlocks = UInt32(bytes.load(12, as: UInt16.self))
    freeInodes = UInt32(bytes.load(14, as: UInt16.self))
    directories = UInt32(bytes.load(16, as: UInt16.self))
  }

  func encode(_ bytes: Bytes) {
    bytes.store(UInt16(truncatingIfNeeded: freeBlocks), at: 12)
    bytes.store(UInt16(truncatingIfNeeded: freeInodes), at: 14)
    bytes.store(UInt16(truncatingIfNeeded: directories), at: 16)
  }
}

extension Ext2 {
  /// Reads and checks all descriptors; an unreadable block is told as `truncated`.
  static func readGroups(_ cache: BlockCache, _ superblock: Superblock) throws(Damage) -> [Ext2Group] {
    var groups: [Ext2Group] = []
    let perBlock = UInt32(superblock.blockByteCount / 32)
    for index in 0..<superblock.groupCount {
      let place = UInt64(superblock.tableStart + index / perBlock)
      let block: CachedBlock
      do throws(CacheError) { block = try cache.read(place) } catch { throw Damage(.truncated, block: place) }
      let group = Ext2Group(block.bytes.part(Int(index % perBlock) * 32, 32))
      let start = superblock.start(of: index)
      let count = superblock.blockCount(of: index)
      let reserved = superblock.hasCopy(index) ? 1 + superblock.tableBlockCount + superblock.reservedTableBlocks : 0
      func isInside(_ first: UInt32, _ length: UInt32) -> Bool {
        first >= start && first - start >= reserved && first - start < count && length <= count - (first - start)
      }
      let table = superblock.inodeTableBlockCount
      let isApart =
        group.blockBitmap != group.inodeBitmap
        && (group.blockBitmap < group.inodeTable || group.blockBitmap - group.inodeTable >= table)
        && (group.inodeBitmap < group.inodeTable || group.inodeBitmap - group.inodeTable >= table)
      guard isInside(group.blockBitmap, 1), isInside(group.inodeBitmap, 1), isInside(group.inodeTable, table), isApart,
        group.freeBlocks <= count, group.freeInodes <= superblock.inodesPerGroup
      else { throw Damage(.groupDescriptor, block: place, value: UInt64(index)) }
      groups.append(group)
    }
    return groups
  }

  private func bitmap(_ number: UInt32) throws(FileError) -> CachedBlock { try block(UInt64(number)) }

  private func isSet(_ bitmap: CachedBlock, _ index: Int) -> Bool {
    bitmap.bytes[index >> 3] >> UInt8(index & 7) & 1 != 0
  }

  private func set(_ bitmap: CachedBlock, _ index: Int, _ value: Bool) {
    let bit = UInt8(1) << UInt8(index & 7)
    if value { bitmap.bytes[index >> 3] |= bit } else { bitmap.bytes[index >> 3] &= ~bit }
    cache.change(bitmap, order: BlockOrder.bookkeeping)
  }

  /// The first clear bit from `start` to `end`, or nil.
  private func clearBit(_ bitmap: CachedBlock, from start: Int, to end: Int) -> Int? {
    var index = start
    while index < end {
      if index & 63 == 0 && end - index >= 64 {
        let word = bitmap.bytes.load(index >> 3, as: UInt64.self)
        if word == .max {
          index += 64
          continue
        }
        return index + (~word).trailingZeroBitCount
      }
      if !isSet(bitmap, index) { return index }
      index += 1
    }
    return nil
  }

  /// Takes a free block, near a goal if possible.
  ///
  /// - Parameter goal: The block wished for; 0: anywhere.
  /// - Returns: The block.
  /// - Throws: `noSpace`.
  func allocateBlock(near goal: UInt32) throws(FileError) -> UInt32 {
    guard freeBlockCount > 0 else { throw .noSpace }
    let hasGoal = goal > superblock.firstDataBlock && goal < superblock.blockCount
    let offset = hasGoal ? goal - superblock.firstDataBlock : 0
    let first = offset / superblock.blocksPerGroup
    for step in 0...superblock.groupCount {
      let index = (first + step) % superblock.groupCount
      if groups[Int(index)].freeBlocks == 0 { continue }
      let map = try bitmap(groups[Int(index)].blockBitmap)
      let count = Int(superblock.blockCount(of: index))
      let wished = step == 0 ? Int(offset % superblock.blocksPerGroup) : 0
      guard let bit = clearBit(map, from: wished, to: count) else {
        // From a goal in the middle, the group's beginning comes last of all.
        if wished == 0 { throw damage(.counts, block: UInt64(superblock.tableStart), value: UInt64(index)) }
        continue
      }
      let number = superblock.start(of: index) + UInt32(bit)
      guard isDataBlock(number) else { throw damage(.bitmap, block: map.number, value: UInt64(number)) }
      set(map, bit, true)
      groups[Int(index)].freeBlocks -= 1
      groups[Int(index)].isChanged = true
      freeBlockCount -= 1
      return number
    }
    throw .noSpace
  }

  /// Notes that a block belongs to nobody any more; it can be used again after the next commit.
  func freeBlock(_ number: UInt32) {
    cache.discard(UInt64(number))
    freedBlocks.append(number)
  }

  /// Takes a free inode.
  ///
  /// - Parameters:
  ///   - parent: The directory that it will be in.
  ///   - isDirectory: Directories of the root are spread over the groups.
  /// - Returns: The inode's number.
  /// - Throws: `noSpace`.
  func allocateInode(near parent: UInt32, isDirectory: Bool) throws(FileError) -> UInt32 {
    guard freeInodeCount > 0 else { throw .noSpace }
    var first = (parent - 1) / superblock.inodesPerGroup
    if isDirectory && parent == 2 {
      for index in groups.indices
      where groups[index].freeInodes > 0 && groups[index].directories < groups[Int(first)].directories {
        first = UInt32(index)
      }
    }
    for step in 0..<superblock.groupCount {
      let index = Int((first + step) % superblock.groupCount)
      if groups[index].freeInodes == 0 { continue }
      let map = try bitmap(groups[index].inodeBitmap)
      // Inodes of group 0 below the first are the file system's own.
      let least = index == 0 ? Int(superblock.firstInode) - 1 : 0
      let start = max(least, groups[index].inodeHint)
      guard let bit = clearBit(map, from: start, to: Int(superblock.inodesPerGroup)) else {
        throw damage(.counts, block: UInt64(superblock.tableStart), value: UInt64(index))
      }
      set(map, bit, true)
      groups[index].inodeHint = bit + 1
      groups[index].freeInodes -= 1
      groups[index].directories += isDirectory ? 1 : 0
      groups[index].isChanged = true
      freeInodeCount -= 1
      return UInt32(index) * superblock.inodesPerGroup + UInt32(bit) + 1
    }
    throw .noSpace
  }

  /// Gives everything that was freed before a commit back, now that the disk has no way to it.
  ///
  /// - Throws: `damaged` if something was free already: two files had it.
  func releaseFreed() throws(FileError) {
    for number in freedBlocks {
      let offset = number - superblock.firstDataBlock
      let index = Int(offset / superblock.blocksPerGroup)
      let map = try bitmap(groups[index].blockBitmap)
      let bit = Int(offset % superblock.blocksPerGroup)
      guard isSet(map, bit) else { throw damage(.bitmap, block: map.number, value: UInt64(number)) }
      set(map, bit, false)
      groups[index].freeBlocks += 1
      groups[index].isChanged = true
      freeBlockCount += 1
    }
    freedBlocks = []
    for number in freedInodes {
      let index = Int((number - 1) / superblock.inodesPerGroup)
      let map = try bitmap(groups[index].inodeBitmap)
      let bit = Int((number - 1) % superblock.inodesPerGroup)
      guard isSet(map, bit) else { throw damage(.bitmap, block: map.number, value: UInt64(number)) }
      set(map, bit, false)
      groups[index].inodeHint = min(groups[index].inodeHint, bit)
      groups[index].freeInodes += 1
      groups[index].isChanged = true
      freeInodeCount += 1
    }
    freedInodes = []
  }
}
