// SPDX-License-Identifier: Apache-2.0
// Ext2+Rename.swift: moving names, so that a cut leaves the old state or the new one.

import ApusRuntime

extension Ext2 {
  /// Moves a name, replacing what has the new one already.
  public func rename(
    _ name: [UInt8], in directory: UInt64, to newName: [UInt8], in newDirectory: UInt64, now: Int64
  ) throws(FileError) {
    try beginChange()
    let old = try self.directory(directory)
    let new = try self.directory(newDirectory)
    let move = try checkedMove(name, old, newName, new)
    guard let move else { return }
    if let target = move.target, target.isDirectory || target.wasReplaced, hasWork {
      // What was in a replaced directory has to be deleted on the disk before it.
      try commit()
      return try rename(name, in: directory, to: newName, in: newDirectory, now: now)
    }
    if move.target == nil { try settleNewName(newName, new) }
    // The commit may have changed where the entries are.
    guard let source = try find(name, in: old) else { throw .notFound }
    if let target = move.target, let place = try find(newName, in: new) {
      try replace(place, of: new, target, with: move.inode, now: now)
    } else {
      let isFree = try find(newName, in: new, includingLeaving: true) == nil
      let stays = move.inode.isDirectory && old.number == new.number && isFree
      let isMoved = stays ? try moveEntry(source, of: old, to: newName, move.inode) : false
      if !isMoved { try addEntry(newName, for: move.inode, in: new) }
    }
    guard let leaving = try find(name, in: old) else { throw .notFound }
    try removeEntry(leaving, of: old)
    if move.inode.isDirectory && old.number != new.number { try moveParent(of: move.inode, from: old, to: new) }
    move.inode.changeTime = now
    move.inode.isChanged = true
    for directory in [old, new] {
      directory.modificationTime = now
      directory.changeTime = now
      directory.isChanged = true
    }
  }

  private var hasWork: Bool {
    !waitingEntries.isEmpty || !newEntries.isEmpty || !freedInodes.isEmpty || cache.orderedCount > 0
  }

  private func settleNewName(_ name: [UInt8], _ directory: Ext2Inode) throws(FileError) {
    guard directory.waitingEntryCount > 0, let leaving = try find(name, in: directory, includingLeaving: true),
      leaving.inode == 0, let old = loadedInode(leaving.storedInode), old.isDirectory
    else { return }
    try commit()
  }

  /// Checks everything that can be wrong with a move.
  ///
  /// - Returns: What moves, and what it replaces; nil if both names stand for the same file.
  private func checkedMove(
    _ name: [UInt8], _ old: Ext2Inode, _ newName: [UInt8], _ new: Ext2Inode
  ) throws(FileError) -> (inode: Ext2Inode, target: Ext2Inode?)? {
    for name in [name, newName] {
      guard name.count <= 255 else { throw .nameTooLong }
      var isValid = !name.isEmpty && name != [0x2e] && name != [0x2e, 0x2e]
      for byte in name where byte == 0 || byte == UInt8(ascii: "/") { isValid = false }
      guard isValid else { throw .invalid }
    }
    guard new.linkCount > 0, let source = try find(name, in: old) else { throw .notFound }
    let inode = try inode(UInt64(source.inode))
    guard inode.number != 2 else { throw .invalid }
    if inode.isDirectory { try checkAbove(new, isNot: inode) }
    guard let place = try find(newName, in: new) else {
      if inode.isDirectory && old.number != new.number && new.linkCount >= Self.linkLimit { throw .tooManyLinks }
      return (inode, nil)
    }
    if place.inode == source.inode { return nil }
    let target = try self.inode(UInt64(place.inode))
    if inode.isDirectory {
      guard target.isDirectory else { throw .notDirectory }
      guard target.number != 2, try isEmpty(target) else { throw .notEmpty }
    } else if target.isDirectory {
      throw .isDirectory
    }
    return (inode, target)
  }

  /// Refuses to move a directory below itself.
  private func checkAbove(_ directory: Ext2Inode, isNot moved: Ext2Inode) throws(FileError) {
    var above = directory
    var steps: UInt32 = 0
    while above.number != moved.number {
      if above.number == 2 { return }
      steps += 1
      guard let parent = try find([0x2e, 0x2e], in: above), steps <= superblock.inodeCount else {
        throw damage(.directoryDots, block: tablePlace(of: above.number).block, value: UInt64(above.number))
      }
      above = try self.directory(UInt64(parent.inode))
    }
    throw .invalid
  }

  /// Lets a name stand for another file, without a moment on the disk when it stands for nothing.
  private func replace(
    _ place: FoundEntry, of directory: Ext2Inode, _ target: Ext2Inode, with inode: Ext2Inode, now: Int64
  ) throws(FileError) {
    let isLast = target.isDirectory || target.linkCount <= 1
    if isLast && !target.isDirectory && place.storedInode == target.number && !target.isNew {
      // Until the name means the new file and the old one is deleted, the old one needs some name.
      try addStandIn(for: target, near: directory)
    }
    try setEntry(place, of: directory, to: inode, isLate: false)
    if target.isDirectory {
      if directory.linkCount > 2 { directory.linkCount -= 1 }
      target.clearsEarly = true
      target.linkCount = 0
    } else {
      target.linkCount -= min(1, target.linkCount)
      target.wasReplaced = target.linkCount > 0
    }
    target.changeTime = now
    target.isChanged = true
    if target.linkCount > 0 { return }
    target.deletionTime = deletionTime(now)
    if target.holdCount == 0 { try delete(target, now: now) }
  }

  /// Enters a file into lost+found for the time of a commit, or beside its old name where there is none.
  private func addStandIn(for inode: Ext2Inode, near directory: Ext2Inode) throws(FileError) {
    if lostAndFound == 0 {
      let name = StaticString("lost+found").bytes
      lostAndFound = UInt32.max
      if let found = try find(name, in: try self.directory(2)) { lostAndFound = found.inode }
    }
    var keeper = directory
    if lostAndFound != .max, let known = try? self.inode(UInt64(lostAndFound)), known.isDirectory, known.linkCount > 0 {
      keeper = known
    }
    var name = StaticString("#").bytes + decimal(UInt64(inode.number))
    while try find(name, in: keeper, includingLeaving: true) != nil { name.append(UInt8(ascii: "~")) }
    try addEntry(name, for: inode, in: keeper, staysHidden: true)
  }

  /// Tells a directory that has moved who is above it.
  private func moveParent(of inode: Ext2Inode, from old: Ext2Inode, to new: Ext2Inode) throws(FileError) {
    guard let up = try find([0x2e, 0x2e], in: inode) else {
      throw damage(.directoryDots, block: tablePlace(of: inode.number).block, value: UInt64(inode.number))
    }
    if inode.isNew {
      let block = try block(up.place.block)
      patch(block, up.place.offset, new.number, 2)
      change(block, order: BlockOrder.entries)
      inode.parent = new.number
    } else {
      try setEntry(up, of: inode, to: new, isLate: false)
    }
    if old.linkCount > 2 { old.linkCount -= 1 }
    new.linkCount += 1
  }
}
