// SPDX-License-Identifier: Apache-2.0
// Ext2+Commit.swift: brings the disk from one consistent state to the next, so that a cut in between can be repaired.

// ext2 has no journal. What e2fsck repairs without asking (-p) is little: names that stand for unused inodes go, counts
// of links and free blocks are set right, a size grows to the last block. Everything else, such as an inode in use
// without a name, or a block that two files have, makes it stop. So the disk passes through such states only, by these
// steps, each durable before the next begins:
//
//  1. Directories whose index is not kept say so.
//  2. Contents; blocks that nothing on the disk points to yet; new names, which stand for inodes not yet in use.
//  3. Maps that the disk has, now that what they point to is there.
//  4. Directories that grew; deleted files whose name the disk will give to another one.
//  5. New directories, from above to below; then new files and all other changed inodes.
//  6. Names that change their meaning.
//  7. Deleted files, then deleted directories from below to above: nothing is without a name before it is deleted.
//  8. Names that go; a directory's move within one block; free counts. What was freed may be used again after this.
//
// A file whose name is given to another one by rename(2) has a second name from step 2 to step 8, so that both the old
// and the new file have a name at every moment. Only a directory that moves to another directory, or to another block
// of its own, has two names from step 6 to step 8, which e2fsck repairs only if it may ask.

import ApusRuntime

/// How a changed block waits for the commit.
enum BlockOrder {
  /// It may be written at any time.
  static var any: UInt8 { 0 }
  /// Directory entries: step 2.
  static var entries: UInt8 { 1 }
  /// Maps: step 3.
  static var map: UInt8 { 2 }
  /// Bitmaps and counts, which e2fsck computes anew: step 8.
  static var bookkeeping: UInt8 { 3 }
  /// Written by the step that changes it.
  static var inTurn: UInt8 { 4 }
}

extension Ext2 {
  /// Brings everything onto the disk.
  ///
  /// - Throws: `device`, and then nothing is written any more, since nobody knows what the disk has.
  func commit() throws(FileError) {
    do throws(FileError) { try performSteps() } catch {
      if readOnlyReason == nil { readOnlyReason = Damage(.writeFailed, block: 0, value: UInt64(commitCount)) }
      throw error
    }
  }

  private func performSteps() throws(FileError) {
    try tellIndices()
    try writeBlocks { $0.order <= BlockOrder.entries }
    try writeBlocks { $0.order == BlockOrder.map }
    try writeInodes(inodes { $0.isChanged && !$0.isNew && ($0.linkCount > 0 ? $0.hasGrown : $0.clearsEarly) })
    try writeNewDirectories()
    try writeInodes(inodes { $0.isChanged && $0.linkCount > 0 && !($0.isNew && $0.isDirectory) })
    try changeEntries { !$0.isLate }
    try writeDeleted()
    try changeEntries(flushing: false) { $0.isLate }
    try releaseFreed()
    try storeCounts()
    try writeBlocks { $0.order == BlockOrder.bookkeeping }
    waitingEntries = []
    newEntries = []
    for inode in inodes({ _ in true }) {
      inode.waitingEntryCount = 0
      inode.deletionLevel = 0
      inode.wasReplaced = false
      inode.clearsEarly = false
      inode.roomHint = 0
      if inode.isGone { forget(inode) }
    }
    commitCount += 1
  }

  private func write(_ blocks: [CachedBlock]) throws(FileError) {
    do throws(CacheError) { try cache.write(blocks) } catch { throw FileError(error) }
  }

  private func flush() throws(FileError) {
    do throws(CacheError) { try cache.flush() } catch { throw FileError(error) }
  }

  private func writeBlocks(_ isWanted: (CachedBlock) -> Bool) throws(FileError) {
    try write(cache.changed(isWanted))
    try flush()
  }

  /// Step 1: nothing of such a directory but the flag may be told this early.
  private func tellIndices() throws(FileError) {
    var tables: [CachedBlock] = []
    for inode in inodes({ $0.dropsIndex }) {
      let (number, offset) = tablePlace(of: inode.number)
      let table = try block(number)
      table.bytes.store(table.bytes.load(offset + 32, as: UInt32.self) & ~Ext2Inode.indexFlag, at: offset + 32)
      cache.change(table, order: BlockOrder.inTurn)
      tables.append(table)
      inode.dropsIndex = false
    }
    try write(unique(tables))
    try flush()
  }

  /// Each block once; inodes come in order, so that those of a block are neighbours.
  private func unique(_ blocks: [CachedBlock]) -> [CachedBlock] {
    var found: [CachedBlock] = []
    for block in blocks.sorted(by: { $0.number < $1.number }) where found.last !== block { found.append(block) }
    return found
  }

  private func writeInodes(_ inodes: [Ext2Inode]) throws(FileError) {
    var tables: [CachedBlock] = []
    for inode in inodes {
      // A new file that lost its name before the disk had it is none of the disk's business.
      if inode.isNew && inode.linkCount == 0 { continue }
      let (number, offset) = tablePlace(of: inode.number)
      let table = try block(number)
      let bytes = table.bytes.part(offset, superblock.inodeByteCount)
      if inode.isNew { bytes.fill(0) }
      inode.encode(bytes)
      cache.change(table, order: BlockOrder.inTurn)
      if tables.last !== table { tables.append(table) }
      inode.isChanged = false
      inode.isMapChanged = false
      inode.isNew = false
      inode.hasGrown = false
    }
    try write(unique(tables))
    try flush()
  }

  /// Step 5: a directory after the one above, or what is in it would be in nothing.
  private func writeNewDirectories() throws(FileError) {
    var left = inodes { $0.isNew && $0.isDirectory && $0.linkCount > 0 }
    while !left.isEmpty {
      var ready: [Ext2Inode] = []
      var later: [Ext2Inode] = []
      for inode in left {
        var isBelowNew = false
        for other in left where other.number == inode.parent { isBelowNew = true }
        if isBelowNew { later.append(inode) } else { ready.append(inode) }
      }
      guard !ready.isEmpty else { throw damage(.nesting, block: 0, value: UInt64(left[0].number)) }
      try writeInodes(ready)
      left = later
    }
  }

  /// Steps 6 and 8.
  private func changeEntries(flushing: Bool = true, _ isWanted: (WaitingEntry) -> Bool) throws(FileError) {
    var blocks: [CachedBlock] = []
    for change in waitingEntries where isWanted(change) {
      let block = try block(change.place.block)
      if change.inode == 0 {
        try erase(block, change.place.offset)
      } else {
        patch(block, change.place.offset, change.inode, change.type)
      }
      cache.change(block, order: BlockOrder.inTurn)
      if blocks.last !== block { blocks.append(block) }
    }
    try write(unique(blocks))
    if flushing { try flush() }
  }

  /// Step 7.
  private func writeDeleted() throws(FileError) {
    let deleted = inodes { $0.isChanged && $0.linkCount == 0 && !$0.isNew }
    try writeInodes(deleted.filter { !$0.isDirectory })
    var level = 0
    var left = deleted.filter { $0.isDirectory }
    while !left.isEmpty {
      try writeInodes(left.filter { $0.deletionLevel <= level })
      left = left.filter { $0.deletionLevel > level }
      level += 1
    }
  }

  private func superblockBytes() throws(FileError) -> (block: CachedBlock, bytes: Bytes) {
    let block = try block(blockByteCount == 1024 ? 1 : 0)
    return (block, block.bytes.part(blockByteCount == 1024 ? 0 : 1024, 1024))
  }

  private func storeCounts() throws(FileError) {
    var isChanged = false
    for index in groups.indices where groups[index].isChanged {
      let perBlock = blockByteCount / 32
      let table = try block(UInt64(superblock.tableStart) + UInt64(index / perBlock))
      groups[index].encode(table.bytes.part(index % perBlock * 32, 32))
      groups[index].isChanged = false
      cache.change(table, order: BlockOrder.bookkeeping)
      isChanged = true
    }
    if !isChanged { return }
    let (block, bytes) = try superblockBytes()
    bytes.store(UInt32(truncatingIfNeeded: freeBlockCount), at: SuperblockField.freeBlocks)
    bytes.store(UInt32(truncatingIfNeeded: freeInodeCount), at: SuperblockField.freeInodes)
    cache.change(block, order: BlockOrder.bookkeeping)
  }

  // MARK: Mounting and synchronizing

  /// Says on the disk that the file system is in use: after a cut, e2fsck looks at all of it.
  func markMounted(now: Int64) throws(FileError) {
    let (block, bytes) = try superblockBytes()
    bytes.store(superblock.state & ~1, at: SuperblockField.state)
    bytes.store(bytes.load(SuperblockField.mountCount, as: UInt16.self) &+ 1, at: SuperblockField.mountCount)
    bytes.store(UInt32(truncatingIfNeeded: now / 1_000_000_000), at: SuperblockField.mountTime)
    cache.change(block, order: BlockOrder.bookkeeping)
    try writeBlocks { $0.order == BlockOrder.bookkeeping }
  }

  /// Makes everything durable.
  public func synchronize() throws(FileError) {
    guard isMounted else { throw .readOnly }
    if let reason = readOnlyReason {
      // Read-only from the start: everything is on the disk.
      if hasErrors || reason.kind == .writeFailed { throw .damaged(reason) }
      return
    }
    try commit()
  }

  /// Makes a file durable, by a commit unless only its contents changed.
  public func synchronize(_ node: UInt64, dataOnly: Bool) throws(FileError) {
    let inode = try inode(node)
    guard dataOnly, !inode.isMapChanged, !inode.isNew, readOnlyReason == nil else { return try synchronize() }
    try writeBlocks { $0.order == BlockOrder.any }
  }

  /// Makes everything durable and says so in the superblock.
  public func unmount(now: Int64) throws(FileError) {
    guard isMounted else { throw .readOnly }
    defer {
      isMounted = false
      cache.drain()
    }
    try synchronize()
    if readOnlyReason != nil { return }
    for inode in inodes({ $0.linkCount == 0 && !$0.isGone }) { try delete(inode, now: now) }
    try commit()
    let (block, bytes) = try superblockBytes()
    bytes.store(superblock.state | 1, at: SuperblockField.state)
    bytes.store(UInt32(truncatingIfNeeded: now / 1_000_000_000), at: SuperblockField.writeTime)
    cache.change(block, order: BlockOrder.bookkeeping)
    try writeBlocks { $0.order == BlockOrder.bookkeeping }
  }
}
