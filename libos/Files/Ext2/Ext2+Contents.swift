// SPDX-License-Identifier: Apache-2.0
// Ext2+Contents.swift: reading, writing and cutting files, and the texts of symbolic links.

import ApusRuntime

extension Ext2 {
  private func regular(_ node: UInt64) throws(FileError) -> Ext2Inode {
    let inode = try inode(node)
    if inode.isDirectory { throw .isDirectory }
    guard inode.isRegular else { throw .invalid }
    return inode
  }

  /// Copies contents out; holes read as zero.
  public func read(_ node: UInt64, at offset: UInt64, into memory: Bytes) throws(FileError) -> Int {
    let inode = try regular(node)
    guard offset < inode.size else { return 0 }
    let total = Int(min(UInt64(memory.count), inode.size - offset))
    if total == 0 { return 0 }
    try fetchAhead(inode, offset, total)
    var done = 0
    while done < total {
      let position = offset + UInt64(done)
      let inBlock = Int(position % UInt64(blockByteCount))
      let span = min(blockByteCount - inBlock, total - done)
      let number = try blockNumber(of: inode, position / UInt64(blockByteCount))
      if number == 0 {
        memory.part(done, span).fill(0)
      } else {
        memory.part(done, span).copy(try block(UInt64(number), .data).bytes.part(inBlock, span))
      }
      done += span
    }
    inode.lastReadEnd = offset + UInt64(total)
    return total
  }

  /// Starts all reads of a request at once, and some more for who reads in sequence.
  private func fetchAhead(_ inode: Ext2Inode, _ offset: UInt64, _ count: Int) throws(FileError) {
    let size = UInt64(blockByteCount)
    let first = offset / size
    var end = (offset + UInt64(count) + size - 1) / size
    if offset == inode.lastReadEnd && offset > 0 { end += UInt64(max(0, cache.policy.readAheadCount)) }
    end = min(end, (inode.size + size - 1) / size, first + UInt64(max(1, cache.policy.capacity / 4)))
    if end - first < 2 { return }
    var runStart: UInt64 = 0
    var runCount = 0
    for index in first..<end {
      let number = UInt64(try blockNumber(of: inode, index))
      if number != 0, number == runStart + UInt64(runCount), runCount > 0 {
        runCount += 1
        continue
      }
      if runCount > 0 { cache.prefetch(runStart, count: runCount) }
      runStart = number
      runCount = number == 0 ? 0 : 1
    }
    if runCount > 0 { cache.prefetch(runStart, count: runCount) }
  }

  /// Copies contents in, block by block; fewer than all only if space runs out.
  public func write(_ node: UInt64, at offset: UInt64, from memory: Bytes, now: Int64) throws(FileError) -> Int {
    try beginChange()
    let inode = try regular(node)
    if memory.count == 0 { return 0 }
    let limit = maximumFileByteCount
    guard offset < limit else { throw .tooLarge }
    let total = Int(min(UInt64(memory.count), limit - offset))
    if offset > inode.size { try clearTail(inode) }
    var done = 0
    while done < total {
      let position = offset + UInt64(done)
      let inBlock = Int(position % UInt64(blockByteCount))
      let span = min(blockByteCount - inBlock, total - done)
      do throws(FileError) {
        if done > 0 { try commitIfFull() }
        try writeBlock(inode, position / UInt64(blockByteCount), inBlock, memory.part(done, span))
      } catch {
        if done == 0 || error != .noSpace { throw error }
        break
      }
      done += span
      if position + UInt64(span) > inode.size {
        inode.size = position + UInt64(span)
        inode.isMapChanged = true
      }
      inode.modificationTime = now
      inode.changeTime = now
      inode.isChanged = true
    }
    inode.lastReadEnd = 0
    return done
  }

  private func writeBlock(_ inode: Ext2Inode, _ index: UInt64, _ inBlock: Int, _ memory: Bytes) throws(FileError) {
    let (number, isNew) = try allocatedBlock(of: inode, index)
    let block: CachedBlock
    if isNew {
      block = try freshBlock(number, .data)
    } else if memory.count == blockByteCount {
      block = try blankBlock(UInt64(number), .data)
    } else {
      block = try self.block(UInt64(number), .data)
    }
    block.bytes.copy(memory, to: inBlock)
    cache.change(block, order: BlockOrder.any)
  }

  /// Makes what lies behind the end of a file in its last block zero, before the end moves away.
  private func clearTail(_ inode: Ext2Inode) throws(FileError) {
    let inBlock = Int(inode.size % UInt64(blockByteCount))
    if inBlock == 0 { return }
    let number = try blockNumber(of: inode, inode.size / UInt64(blockByteCount))
    if number == 0 { return }
    let block = try block(UInt64(number), .data)
    block.bytes.from(inBlock).fill(0)
    cache.change(block, order: BlockOrder.any)
  }

  /// Cuts or extends a file.
  public func truncate(_ node: UInt64, to size: UInt64, now: Int64) throws(FileError) {
    try beginChange()
    let inode = try regular(node)
    guard size <= maximumFileByteCount else { throw .tooLarge }
    if size < inode.size {
      try freeBlocks(of: inode, from: (size + UInt64(blockByteCount) - 1) / UInt64(blockByteCount))
      inode.size = size
    }
    try clearTail(inode)
    inode.size = size
    inode.modificationTime = now
    inode.changeTime = now
    inode.isChanged = true
    inode.isMapChanged = true
  }

  /// The text of a symbolic link.
  public func target(of node: UInt64) throws(FileError) -> [UInt8] {
    let inode = try inode(node)
    guard inode.kind == .symbolicLink else { throw .invalid }
    let place = tablePlace(of: inode.number).block
    let length = Int(inode.size)
    if inode.isFastLink(sectorsOfBlock: sectorsPerBlock) {
      guard length > 0, length < 60 else { throw damage(.link, block: place, value: UInt64(length)) }
      var text: [UInt8] = []
      for index in 0..<length {
        text.append(UInt8(truncatingIfNeeded: inode.pointers[index >> 2] >> (8 * UInt32(index & 3))))
      }
      return text
    }
    let number = try blockNumber(of: inode, 0)
    guard number != 0, length > 0, length <= blockByteCount else {
      throw damage(.link, block: place, value: UInt64(length))
    }
    return try block(UInt64(number)).bytes.part(0, length).array
  }

  /// Puts a link's text where it belongs: into the pointers if it is short, else into a block.
  func setTarget(_ target: [UInt8], of inode: Ext2Inode) throws(FileError) {
    if target.count < 60 {
      for (index, byte) in target.enumerated() {
        inode.pointers[index >> 2] |= UInt32(byte) << (8 * UInt32(index & 3))
      }
    } else {
      let (number, _) = try allocatedBlock(of: inode, 0)
      try freshBlock(number, .metadata).bytes.copy(target)
    }
    inode.size = UInt64(target.count)
  }
}
