// SPDX-License-Identifier: Apache-2.0
// Ext2.swift: an ext2 file system on a block device: mounting, and what all its parts share.

// Memory is ahead of the disk until a commit: inodes as objects, everything else in the cache's blocks. Which changes
// reach the disk in which order is told in Ext2+Commit.swift; the rule for everything here is that what lies on the disk
// and can be reached there is changed by the commit alone, and that what was freed is not used again before one.

import ApusRuntime

/// An ext2 file system.
public final class Ext2: DiskFileSystem {
  let cache: BlockCache
  let superblock: Superblock
  var groups: [Ext2Group] = []
  /// Why it may only be read; nil if it may be written.
  public internal(set) var readOnlyReason: Damage?
  /// Errors that were found since mounting; the superblock tells e2fsck.
  var hasErrors = false
  var isMounted = true

  private var inodeTable = NumberTable()
  private var inodeSlots: [Ext2Inode?] = []
  private var unusedInodeSlots: [Int32] = []
  /// How many inodes are kept in memory though nobody uses them.
  static var idleInodeLimit: Int { 1024 }
  private var sweepIndex = 0

  // What waits for the commit.
  var waitingEntries: [WaitingEntry] = []
  /// Entries that the disk does not have, sorted.
  var newEntries: [EntryPlace] = []
  var freedBlocks: [UInt32] = []
  var freedInodes: [UInt32] = []
  var waitingAttributeBlocks: [UInt64] = []
  /// Where files whose name is being replaced are kept for the moment; 0: not looked for yet.
  var lostAndFound: UInt32 = 0
  /// Blocks and inodes that are free for files now.
  var freeBlockCount: UInt64 = 0
  var freeInodeCount: UInt64 = 0
  /// Commits that were made, for those who measure.
  public internal(set) var commitCount = 0

  /// Mounts a file system.
  ///
  /// - Parameters:
  ///   - device: The disk.
  ///   - policy: What decides about its cache.
  ///   - readOnly: Whether nothing may be written.
  ///   - now: The time, in nanoseconds since 1970.
  /// - Throws: `damaged` with what makes the disk unusable; `device`; `noMemory`.
  public init(
    _ device: any BlockDevice, policy: any CachePolicy, readOnly: Bool = false, now: Int64
  ) throws(FileError) {
    superblock = try Self.readSuperblock(device)
    cache = BlockCache(device, blockByteCount: superblock.blockByteCount, policy: policy)
    do throws(Damage) { groups = try Self.readGroups(cache, superblock) } catch {
      if error.kind == .truncated { throw .device(.medium, block: error.block) }
      throw .damaged(error)
    }
    for group in groups {
      freeBlockCount += UInt64(group.freeBlocks)
      freeInodeCount += UInt64(group.freeInodes)
    }
    readOnlyReason = superblock.readOnlyReason
    if readOnly || device.isReadOnly, readOnlyReason == nil {
      readOnlyReason = Damage(.askedFor, block: UInt64(superblock.firstDataBlock))
    }
    guard try inode(2).isDirectory else {
      throw .damaged(Damage(.inodeKind, block: tablePlace(of: 2).block, value: 2))
    }
    if readOnlyReason == nil { try markMounted(now: now) }
  }

  /// The number of the root directory.
  public var root: UInt64 { 2 }
  var blockByteCount: Int { superblock.blockByteCount }
  var sectorsPerBlock: UInt32 { UInt32(superblock.blockByteCount / 512) }

  private static func readSuperblock(_ device: any BlockDevice) throws(FileError) -> Superblock {
    guard device.sectorCount >= 4 else { throw .damaged(Damage(.truncated, block: 0, value: device.sectorCount / 2)) }
    guard let page = Page.allocate(zeroed: true) else { throw .noMemory }
    defer { page.release() }
    let transfer = BlockTransfer(.read, firstSector: 2, memory: [page.bytes.part(0, 1024)])
    device.start(transfer)
    device.finish(transfer)
    if let error = transfer.error { throw .device(error, block: 0) }
    do throws(Damage) {
      return try Superblock(page.bytes.part(0, 1024), deviceByteCount: device.sectorCount * 512)
    } catch { throw .damaged(error) }
  }

  // MARK: Blocks

  func block(_ number: UInt64, _ use: BlockUse = .metadata) throws(FileError) -> CachedBlock {
    do throws(CacheError) { return try cache.read(number, use) } catch { throw FileError(error) }
  }

  /// A block that was just allocated, all zero; the disk has no way to it before the next commit.
  func freshBlock(_ number: UInt32, _ use: BlockUse) throws(FileError) -> CachedBlock {
    let block = try blankBlock(UInt64(number), use)
    block.bytes.fill(0)
    block.reachableSince = commitCount + 1
    cache.change(block, order: BlockOrder.any)
    return block
  }

  func blankBlock(_ number: UInt64, _ use: BlockUse) throws(FileError) -> CachedBlock {
    do throws(CacheError) { return try cache.blank(number, use) } catch { throw FileError(error) }
  }

  /// Notes a change of a block that is not a file's contents.
  func change(_ block: CachedBlock, order: UInt8) {
    cache.change(block, order: block.reachableSince > commitCount ? BlockOrder.any : order)
  }

  /// Records that the disk holds nonsense: nothing is written any more.
  func damage(_ kind: Damage.Kind, block: UInt64, value: UInt64) -> FileError {
    let damage = Damage(kind, block: block, value: value)
    hasErrors = true
    if readOnlyReason == nil { readOnlyReason = damage }
    return .damaged(damage)
  }

  /// Whether a pointer may lead here: a block that belongs to no group's own structures.
  func isDataBlock(_ number: UInt32) -> Bool {
    guard number > superblock.firstDataBlock, number < superblock.blockCount else { return false }
    let index = (number - superblock.firstDataBlock) / superblock.blocksPerGroup
    let group = groups[Int(index)]
    if number == group.blockBitmap || number == group.inodeBitmap { return false }
    if number >= group.inodeTable && number - group.inodeTable < superblock.inodeTableBlockCount { return false }
    if !superblock.hasCopy(index) { return true }
    let reserved = 1 + superblock.tableBlockCount + superblock.reservedTableBlocks
    return number - superblock.start(of: index) >= reserved
  }

  // MARK: Inodes

  /// Where an inode is: the block of its table, and the offset there.
  func tablePlace(of number: UInt32) -> (block: UInt64, offset: Int) {
    let group = groups[Int((number - 1) / superblock.inodesPerGroup)]
    let index = Int((number - 1) % superblock.inodesPerGroup)
    let perBlock = blockByteCount / superblock.inodeByteCount
    return (UInt64(group.inodeTable) + UInt64(index / perBlock), index % perBlock * superblock.inodeByteCount)
  }

  /// Whether names may stand for an inode.
  func isNameable(_ number: UInt32) -> Bool {
    number == 2 || number >= superblock.firstInode && number <= superblock.inodeCount
  }

  func loadedInode(_ number: UInt32) -> Ext2Inode? {
    guard let slot = inodeTable[UInt64(number)] else { return nil }
    return inodeSlots[slot]
  }

  /// The inode of a number, read and checked if memory does not have it.
  func inode(_ number: UInt64) throws(FileError) -> Ext2Inode {
    guard isMounted, number <= UInt64(superblock.inodeCount), isNameable(UInt32(number)) else { throw .notFound }
    if let inode = loadedInode(UInt32(number)) {
      guard !inode.isGone else { throw .notFound }
      return inode
    }
    let (place, offset) = tablePlace(of: UInt32(number))
    let table = try block(place)
    let inode = Ext2Inode(number: UInt32(number))
    inode.decode(table.bytes.part(offset, superblock.inodeByteCount))
    guard inode.kind != nil, inode.linkCount > 0 else { throw damage(.inodeKind, block: place, value: number) }
    let isMapped = inode.isDirectory || inode.isRegular
    let isConsistent =
      inode.size <= maximumFileByteCount && inode.flags & Ext2Inode.foreignFlags == 0
      && (!inode.isDirectory || inode.size > 0 && inode.size % UInt64(blockByteCount) == 0)
      && (isMapped || inode.size <= UInt64(blockByteCount))
      && (inode.attributeBlock == 0 || isDataBlock(inode.attributeBlock))
    guard isConsistent else { throw damage(.inodeFields, block: place, value: number) }
    keep(inode)
    return inode
  }

  /// Enters an inode into memory.
  func keep(_ inode: Ext2Inode) {
    let slot: Int
    if let unused = unusedInodeSlots.popLast() {
      slot = Int(unused)
    } else {
      slot = inodeSlots.count
      inodeSlots.append(nil)
    }
    inodeSlots[slot] = inode
    inodeTable.insert(UInt64(inode.number), slot)
  }

  func forget(_ inode: Ext2Inode) {
    guard let slot = inodeTable[UInt64(inode.number)] else { return }
    inodeTable.remove(UInt64(inode.number))
    inodeSlots[slot] = nil
    unusedInodeSlots.append(Int32(slot))
  }

  /// Lets some inodes go that say nothing the table does not say; only where an operation begins, since later ones
  /// may be in its hands.
  func forgetIdleInodes() {
    if inodeTable.count <= Self.idleInodeLimit { return }
    for _ in 0..<min(64, inodeSlots.count) {
      sweepIndex = (sweepIndex + 1) % inodeSlots.count
      guard let inode = inodeSlots[sweepIndex], isIdle(inode) else { continue }
      forget(inode)
    }
  }

  private func isIdle(_ inode: Ext2Inode) -> Bool {
    !inode.isChanged && !inode.isNew && inode.holdCount == 0 && inode.waitingEntryCount == 0 && !inode.wasReplaced
      && inode.linkCount > 0 && inode.deletionLevel == 0
  }

  /// Inodes for which a condition holds, by number.
  func inodes(_ isWanted: (Ext2Inode) -> Bool) -> [Ext2Inode] {
    var found: [Ext2Inode] = []
    for slot in inodeSlots { if let inode = slot, isWanted(inode) { found.append(inode) } }
    return found.sorted { $0.number < $1.number }
  }

  func directory(_ number: UInt64) throws(FileError) -> Ext2Inode {
    let inode = try inode(number)
    guard inode.isDirectory else { throw .notDirectory }
    return inode
  }

  /// What every operation that changes something begins with.
  func beginChange() throws(FileError) {
    guard readOnlyReason == nil, isMounted else { throw .readOnly }
    forgetIdleInodes()
    try commitIfFull()
  }

  /// Commits when much waits, or when room has to be given back; only between two complete changes.
  func commitIfFull() throws(FileError) {
    let isFull = freeBlockCount < 64 && !freedBlocks.isEmpty || freeInodeCount < 8 && !freedInodes.isEmpty
    if isFull || cache.orderedCount + waitingEntries.count >= cache.policy.changedLimit { try commit() }
  }

  /// What statfs(2) tells.
  public var space: SpaceSummary {
    let free = freeBlockCount + UInt64(freedBlocks.count)
    let reserved = UInt64(superblock.reservedBlockCount)
    var own: UInt64 = UInt64(superblock.firstDataBlock)
    for index in 0..<superblock.groupCount {
      if superblock.hasCopy(index) { own += UInt64(1 + superblock.tableBlockCount + superblock.reservedTableBlocks) }
      own += 2 + UInt64(superblock.inodeTableBlockCount)
    }
    let total = UInt64(superblock.blockCount)
    return SpaceSummary(
      blockByteCount: blockByteCount, blocks: total > own ? total - own : 0, freeBlocks: free,
      availableBlocks: free > reserved ? free - reserved : 0, nodes: UInt64(superblock.inodeCount),
      freeNodes: freeInodeCount + UInt64(freedInodes.count), nameByteCount: 255)
  }
}
