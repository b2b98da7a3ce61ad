// SPDX-License-Identifier: Apache-2.0
// Ext2+Names.swift: making, linking, moving and removing files.

import ApusRuntime

/// `.` and `..`.
private func isDots(_ name: [UInt8]) -> Bool { name == [0x2e] || name == [0x2e, 0x2e] }

extension Ext2 {
  /// EXT2_LINK_MAX: how many names a file can have.
  static var linkLimit: UInt16 { 32_000 }

  /// What a name in a directory stands for.
  public func lookUp(_ name: [UInt8], in directory: UInt64) throws(FileError) -> UInt64 {
    guard name.count <= 255 else { throw .nameTooLong }
    guard let found = try find(name, in: try self.directory(directory)) else { throw .notFound }
    return UInt64(found.inode)
  }

  private func check(_ name: [UInt8]) throws(FileError) {
    guard name.count <= 255 else { throw .nameTooLong }
    var isValid = !name.isEmpty
    for byte in name where byte == 0 || byte == UInt8(ascii: "/") { isValid = false }
    guard isValid else { throw .invalid }
  }

  /// What every operation on a name that is to appear begins with: the directory, without that name.
  private func directoryForNew(_ name: [UInt8], _ number: UInt64) throws(FileError) -> Ext2Inode {
    try check(name)
    try beginChange()
    let directory = try self.directory(number)
    guard directory.linkCount > 0 else { throw .notFound }
    if try find(name, in: directory) != nil { throw .exists }
    try settleConflict(name, directory)
    return directory
  }

  /// A directory that was removed under a name has to be gone from the disk before the name is used again: what was
  /// in it must be deleted before itself.
  private func settleConflict(_ name: [UInt8], _ directory: Ext2Inode) throws(FileError) {
    guard directory.waitingEntryCount > 0, let leaving = try find(name, in: directory, includingLeaving: true),
      leaving.inode == 0, let old = loadedInode(leaving.storedInode), old.isDirectory, old.linkCount == 0
    else { return }
    try commit()
  }

  private func touch(_ directory: Ext2Inode, _ now: Int64) {
    directory.modificationTime = now
    directory.changeTime = now
    directory.isChanged = true
  }

  private func newInode(
    _ mode: UInt16, in directory: Ext2Inode, user: UInt32, group: UInt32, now: Int64
  ) throws(FileError) -> Ext2Inode {
    let isDirectory = mode & 0o170000 == NodeKind.directory.rawValue
    let number = try allocateInode(near: directory.number, isDirectory: isDirectory)
    let inode = Ext2Inode(number: number)
    inode.mode = mode
    inode.user = user
    inode.group = group
    inode.accessTime = now
    inode.modificationTime = now
    inode.changeTime = now
    inode.birthTime = now
    inode.generation = UInt32(truncatingIfNeeded: now / 1000) ^ number
    inode.extraByteCount = superblock.extraInodeByteCount
    inode.linkCount = isDirectory ? 2 : 1
    inode.isNew = true
    inode.isChanged = true
    inode.isMapChanged = true
    inode.parent = directory.number
    keep(inode)
    return inode
  }

  /// Undoes `newInode` for a file that could not get its name.
  private func abandon(_ inode: Ext2Inode) throws(FileError) {
    inode.linkCount = 0
    try delete(inode, now: 0)
  }

  /// Makes a file, a directory or a device node.
  public func create(
    _ name: [UInt8], in directory: UInt64, _ new: NewNode, now: Int64
  ) throws(FileError) -> UInt64 {
    let directory = try directoryForNew(name, directory)
    guard new.kind != .symbolicLink else { throw .invalid }
    let isDirectory = new.kind == .directory
    if isDirectory && directory.linkCount >= Self.linkLimit { throw .tooManyLinks }
    let inode = try newInode(
      new.kind.rawValue | new.permissions & 0o7777, in: directory, user: new.user, group: new.group, now: now)
    do throws(FileError) {
      if isDirectory { try fillDirectory(inode, parent: directory.number) }
      if new.kind == .characterDevice || new.kind == .blockDevice { setDevice(new.device, of: inode) }
      try addEntry(name, for: inode, in: directory)
    } catch {
      try abandon(inode)
      throw error
    }
    if isDirectory { directory.linkCount += 1 }
    touch(directory, now)
    return UInt64(inode.number)
  }

  private func fillDirectory(_ inode: Ext2Inode, parent: UInt32) throws(FileError) {
    let (number, _) = try allocatedBlock(of: inode, 0)
    let bytes = try freshBlock(number, .metadata).bytes
    let type: UInt8 = superblock.hasFileTypes ? 2 : 0
    bytes.store(inode.number, at: 0)
    bytes.store(UInt16(12), at: 4)
    bytes.copy([1, type, 0x2e], to: 6)
    bytes.store(parent, at: 12)
    bytes.store(UInt16(blockByteCount - 12), at: 16)
    bytes.copy([2, type, 0x2e, 0x2e], to: 18)
    inode.size = UInt64(blockByteCount)
  }

  /// Makes a symbolic link.
  public func makeLink(
    _ name: [UInt8], in directory: UInt64, to target: [UInt8], user: UInt32, group: UInt32, now: Int64
  ) throws(FileError) -> UInt64 {
    let directory = try directoryForNew(name, directory)
    guard target.count < blockByteCount else { throw .nameTooLong }
    guard !target.isEmpty else { throw .notFound }
    let inode = try newInode(
      NodeKind.symbolicLink.rawValue | 0o777, in: directory, user: user, group: group, now: now)
    do throws(FileError) {
      try setTarget(target, of: inode)
      try addEntry(name, for: inode, in: directory)
    } catch {
      try abandon(inode)
      throw error
    }
    touch(directory, now)
    return UInt64(inode.number)
  }

  /// Gives a file another name.
  public func link(_ node: UInt64, as name: [UInt8], in directory: UInt64, now: Int64) throws(FileError) {
    let directory = try directoryForNew(name, directory)
    let inode = try inode(node)
    if inode.isDirectory { throw .isDirectory }
    guard inode.linkCount > 0 else { throw .notFound }
    guard inode.linkCount < Self.linkLimit else { throw .tooManyLinks }
    try addEntry(name, for: inode, in: directory)
    inode.linkCount += 1
    inode.changeTime = now
    inode.isChanged = true
    touch(directory, now)
  }

  /// Takes a name away.
  public func unlink(_ name: [UInt8], in directory: UInt64, now: Int64) throws(FileError) {
    try beginChange()
    guard !isDots(name) else { throw .invalid }
    let directory = try self.directory(directory)
    guard var found = try find(name, in: directory) else { throw .notFound }
    let inode = try inode(UInt64(found.inode))
    if inode.isDirectory { throw .isDirectory }
    if inode.wasReplaced && inode.linkCount == 1 {
      // Its old name must mean the new file on the disk before it may be deleted there.
      try commit()
      guard let again = try find(name, in: directory) else { throw .notFound }
      found = again
    }
    try removeEntry(found, of: directory)
    touch(directory, now)
    try dropLink(of: inode, now: now)
  }

  /// One name fewer; the last one takes the file along unless somebody holds it.
  private func dropLink(of inode: Ext2Inode, now: Int64) throws(FileError) {
    inode.linkCount = inode.isDirectory || inode.linkCount == 0 ? 0 : inode.linkCount - 1
    inode.changeTime = now
    inode.isChanged = true
    if inode.linkCount > 0 { return }
    inode.deletionTime = deletionTime(now)
    if inode.holdCount == 0 { try delete(inode, now: now) }
  }

  /// What e2fsck takes for a time: less than the count of inodes would be a link of ext3's list of orphans.
  func deletionTime(_ now: Int64) -> UInt32 {
    max(superblock.inodeCount + 1, UInt32(truncatingIfNeeded: max(0, now) / 1_000_000_000))
  }

  /// Takes an empty directory away.
  public func removeDirectory(_ name: [UInt8], in directory: UInt64, now: Int64) throws(FileError) {
    try beginChange()
    guard !isDots(name) else { throw .invalid }
    let directory = try self.directory(directory)
    guard let found = try find(name, in: directory) else { throw .notFound }
    let inode = try inode(UInt64(found.inode))
    guard inode.isDirectory else { throw .notDirectory }
    guard inode.number != 2 else { throw .invalid }
    guard try isEmpty(inode) else { throw .notEmpty }
    try removeEntry(found, of: directory)
    removed(inode, from: directory)
    touch(directory, now)
    try dropLink(of: inode, now: now)
  }

  private func removed(_ inode: Ext2Inode, from directory: Ext2Inode) {
    if directory.linkCount > 2 { directory.linkCount -= 1 }
    directory.deletionLevel = max(directory.deletionLevel, inode.deletionLevel + 1)
  }

  /// Gives back everything that a file without names has.
  func delete(_ inode: Ext2Inode, now: Int64) throws(FileError) {
    let index = Int((inode.number - 1) / superblock.inodesPerGroup)
    if inode.isDirectory {
      waitingEntries.removeAll { $0.directory == inode.number }
      inode.waitingEntryCount = 0
      if groups[index].directories > 0 { groups[index].directories -= 1 }
      groups[index].isChanged = true
    }
    let hasMap =
      inode.isRegular || inode.isDirectory
      || inode.kind == .symbolicLink && !inode.isFastLink(sectorsOfBlock: sectorsPerBlock)
    if hasMap { try freeBlocks(of: inode, from: 0) }
    try dropAttributes(of: inode)
    inode.size = 0
    freedInodes.append(inode.number)
    inode.holdCount = 0
    inode.isGone = true
    if inode.isNew { forget(inode) }
  }

  /// Extended attributes are in a block that several files can share.
  private func dropAttributes(of inode: Ext2Inode) throws(FileError) {
    let number = inode.attributeBlock
    if number == 0 { return }
    let block = try block(UInt64(number))
    let count = block.bytes.load(4, as: UInt32.self)
    guard block.bytes.load(0, as: UInt32.self) == 0xea02_0000, count > 0 else {
      throw damage(.attributes, block: UInt64(number), value: UInt64(inode.number))
    }
    inode.attributeBlock = 0
    inode.isChanged = true
    if inode.sectors >= sectorsPerBlock { inode.sectors -= sectorsPerBlock }
    if count == 1 {
      freeBlock(number)
    } else {
      block.bytes.store(count - 1, at: 4)
      change(block, order: BlockOrder.bookkeeping)
    }
  }

  /// Keeps a file even without a name.
  public func hold(_ node: UInt64) throws(FileError) { try inode(node).holdCount += 1 }

  /// Ends a use; the last one of a file without a name frees it.
  public func release(_ node: UInt64) throws(FileError) {
    let inode = try inode(node)
    guard inode.holdCount > 0 else { return }
    inode.holdCount -= 1
    guard inode.holdCount == 0, inode.linkCount == 0, readOnlyReason == nil else { return }
    try delete(inode, now: inode.changeTime)
  }
}
