// SPDX-License-Identifier: Apache-2.0
// Ext2+Directory.swift: entries of directories: finding, adding, removing, changing what they stand for.

// An entry that the disk has is not touched before the commit: that it is to go, or to stand for another file, is noted
// in a list that every look-up asks. Entries that the disk does not have come and go in memory at once.

import ApusRuntime

/// Where an entry begins.
struct EntryPlace: Comparable {
  var block: UInt64
  var offset: Int

  static func < (left: EntryPlace, right: EntryPlace) -> Bool {
    left.block != right.block ? left.block < right.block : left.offset < right.offset
  }
}

/// What is to become of an entry at the next commit.
struct WaitingEntry {
  let place: EntryPlace
  let directory: UInt32
  /// What it will stand for; 0: it goes.
  var inode: UInt32
  var type: UInt8
  /// Whether it changes together with the entries that go.
  var isLate: Bool
}

/// An entry as look-ups see it.
struct FoundEntry {
  let place: EntryPlace
  let inode: UInt32
  let type: UInt8
  /// What the block itself says; 0: unused.
  let storedInode: UInt32
}

/// An entry's fields in its block: inode (4), length (2), length of the name (1), type (1), name.
struct RawEntry {
  let offset: Int
  let inode: UInt32
  let length: Int
  let nameLength: Int
  let type: UInt8

  static func space(forName count: Int) -> Int { (8 + count + 3) & ~3 }
  /// The bytes it needs; the rest up to `length` is free.
  var usedLength: Int { inode == 0 ? 0 : Self.space(forName: nameLength) }
}

extension NodeKind {
  /// The type in a directory's entry.
  var entryType: UInt8 {
    switch self {
    case .regular: 1
    case .directory: 2
    case .characterDevice: 3
    case .blockDevice: 4
    case .fifo: 5
    case .socket: 6
    case .symbolicLink: 7
    }
  }

  init?(entryType: UInt8) {
    let kinds: InlineArray<7, NodeKind> = [
      .regular, .directory, .characterDevice, .blockDevice, .fifo, .socket, .symbolicLink,
    ]
    guard entryType >= 1, entryType <= 7 else { return nil }
    self = kinds[Int(entryType) - 1]
  }
}

extension Ext2 {
  /// Reads and checks the entry at an offset of a directory's block.
  func rawEntry(_ block: CachedBlock, _ offset: Int) throws(FileError) -> RawEntry {
    let bytes = block.bytes
    guard offset + 8 <= blockByteCount else {
      throw damage(.directoryEntry, block: block.number, value: UInt64(offset))
    }
    let inode = bytes.load(offset, as: UInt32.self)
    let length = Int(bytes.load(offset + 4, as: UInt16.self))
    let nameLength = Int(bytes[offset + 6])
    // Without the feature, the length of the name has two bytes, and the type is 0.
    let type = superblock.hasFileTypes ? bytes[offset + 7] & 7 : 0
    guard length >= 8, length & 3 == 0, length <= blockByteCount - offset,
      inode == 0 || nameLength > 0 && RawEntry.space(forName: nameLength) <= length,
      superblock.hasFileTypes || bytes[offset + 7] == 0
    else { throw damage(.directoryEntry, block: block.number, value: UInt64(offset)) }
    guard inode == 0 || isNameable(inode) else { throw damage(.inodeNumber, block: block.number, value: UInt64(inode)) }
    return RawEntry(offset: offset, inode: inode, length: length, nameLength: nameLength, type: type)
  }

  func directoryBlockCount(_ directory: Ext2Inode) -> UInt64 {
    min(directory.size / UInt64(blockByteCount), UInt64(superblock.blockCount))
  }

  func directoryBlock(_ directory: Ext2Inode, _ index: UInt64) throws(FileError) -> CachedBlock {
    let number = try blockNumber(of: directory, index)
    guard number != 0 else {
      throw damage(.directoryHole, block: tablePlace(of: directory.number).block, value: UInt64(directory.number))
    }
    return try block(UInt64(number))
  }

  private func hasName(_ block: CachedBlock, _ offset: Int, _ name: [UInt8]) -> Bool {
    guard Int(block.bytes[offset + 6]) == name.count, offset + 8 + name.count <= blockByteCount else { return false }
    for index in name.indices where block.bytes[offset + 8 + index] != name[index] { return false }
    return true
  }

  /// The index of the first waiting entry that is not before a place.
  private func waitingIndex(_ place: EntryPlace) -> Int {
    var low = 0
    var high = waitingEntries.count
    while low < high {
      let middle = (low + high) / 2
      if waitingEntries[middle].place < place { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// What waits for an entry, as an index.
  func waiting(_ place: EntryPlace) -> Int? {
    let index = waitingIndex(place)
    return index < waitingEntries.count && waitingEntries[index].place == place ? index : nil
  }

  private func newEntryIndex(_ place: EntryPlace) -> Int {
    var low = 0
    var high = newEntries.count
    while low < high {
      let middle = (low + high) / 2
      if newEntries[middle] < place { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private func isNew(_ place: EntryPlace) -> Bool {
    let index = newEntryIndex(place)
    return index < newEntries.count && newEntries[index] == place
  }

  /// The entry as look-ups see it; its inode is 0 if it is unused or about to go.
  private func effective(_ raw: RawEntry, in block: CachedBlock, of directory: Ext2Inode) -> FoundEntry {
    let place = EntryPlace(block: block.number, offset: raw.offset)
    if directory.waitingEntryCount > 0, let index = waiting(place) {
      let change = waitingEntries[index]
      return FoundEntry(place: place, inode: change.inode, type: change.type, storedInode: raw.inode)
    }
    return FoundEntry(place: place, inode: raw.inode, type: raw.type, storedInode: raw.inode)
  }

  /// Finds a name.
  ///
  /// - Parameters:
  ///   - name: The name.
  ///   - directory: Where.
  ///   - includingLeaving: Whether an entry that is about to go is found, too.
  /// - Returns: The entry, or nil.
  /// - Throws: `damaged`, `device`.
  func find(
    _ name: [UInt8], in directory: Ext2Inode, includingLeaving: Bool = false
  ) throws(FileError) -> FoundEntry? {
    for index in 0..<directoryBlockCount(directory) {
      let block = try directoryBlock(directory, index)
      var offset = 0
      while offset < blockByteCount {
        let raw = try rawEntry(block, offset)
        if raw.inode != 0 || directory.waitingEntryCount > 0, hasName(block, offset, name) {
          let found = effective(raw, in: block, of: directory)
          if found.inode != 0 || includingLeaving && raw.inode != 0 { return found }
        }
        offset += raw.length
      }
    }
    return nil
  }

  /// Whether a directory has nothing but its first two entries.
  func isEmpty(_ directory: Ext2Inode) throws(FileError) -> Bool {
    var position: UInt64 = 0
    while let entry = try entry(of: UInt64(directory.number), after: position) {
      if entry.name != [0x2e] && entry.name != [0x2e, 0x2e] { return false }
      position = entry.position
    }
    return true
  }

  /// The first entry behind a position; positions are offsets in the directory plus one.
  public func entry(of node: UInt64, after position: UInt64) throws(FileError) -> NodeEntry? {
    let directory = try directory(node)
    let size = UInt64(blockByteCount)
    for index in position / size..<max(position / size, directoryBlockCount(directory)) {
      let block = try directoryBlock(directory, index)
      var offset = 0
      while offset < blockByteCount {
        let raw = try rawEntry(block, offset)
        let here = index * size + UInt64(offset) + 1
        offset += raw.length
        if here <= position { continue }
        let found = effective(raw, in: block, of: directory)
        if found.inode == 0 { continue }
        let name = block.bytes.part(raw.offset + 8, raw.nameLength).array
        return NodeEntry(
          name: name, node: UInt64(found.inode), kind: NodeKind(entryType: found.type), position: here)
      }
    }
    return nil
  }

  // MARK: Changing

  /// Notes what an entry that the disk has will be.
  private func wait(_ change: WaitingEntry, stored: UInt32, _ directory: Ext2Inode) {
    let index = waitingIndex(change.place)
    if index < waitingEntries.count && waitingEntries[index].place == change.place {
      if change.inode == stored {
        waitingEntries.remove(at: index)
        directory.waitingEntryCount -= 1
      } else {
        waitingEntries[index] = change
      }
    } else if change.inode != stored {
      waitingEntries.insert(change, at: index)
      directory.waitingEntryCount += 1
    }
  }

  /// Lets an entry stand for another file.
  func setEntry(
    _ entry: FoundEntry, of directory: Ext2Inode, to inode: Ext2Inode, isLate: Bool = false
  ) throws(FileError) {
    let type = inode.kind?.entryType ?? 0
    if isNew(entry.place) {
      let block = try block(entry.place.block)
      patch(block, entry.place.offset, inode.number, type)
      change(block, order: BlockOrder.entries)
      return
    }
    wait(
      WaitingEntry(place: entry.place, directory: directory.number, inode: inode.number, type: type, isLate: isLate),
      stored: entry.storedInode, directory)
  }

  func patch(_ block: CachedBlock, _ offset: Int, _ inode: UInt32, _ type: UInt8) {
    block.bytes.store(inode, at: offset)
    if superblock.hasFileTypes { block.bytes[offset + 7] = type }
  }

  /// Takes an entry away.
  func removeEntry(_ entry: FoundEntry, of directory: Ext2Inode) throws(FileError) {
    let index = newEntryIndex(entry.place)
    if index < newEntries.count && newEntries[index] == entry.place {
      newEntries.remove(at: index)
      let block = try block(entry.place.block)
      try erase(block, entry.place.offset)
      change(block, order: BlockOrder.entries)
      directory.roomHint = 0
      return
    }
    wait(
      WaitingEntry(place: entry.place, directory: directory.number, inode: 0, type: 0, isLate: true),
      stored: entry.storedInode, directory)
  }

  /// Gives an entry's space to the one before it.
  func erase(_ block: CachedBlock, _ offset: Int) throws(FileError) {
    let raw = try rawEntry(block, offset)
    var before = 0
    if offset == 0 {
      block.bytes.store(UInt32(0), at: 0)
      return
    }
    while true {
      let entry = try rawEntry(block, before)
      guard before + entry.length < offset else {
        guard before + entry.length == offset else {
          throw damage(.directoryEntry, block: block.number, value: UInt64(offset))
        }
        block.bytes.store(UInt16(entry.length + raw.length), at: before + 4)
        return
      }
      before += entry.length
    }
  }

  /// Enters a name that is not there.
  ///
  /// - Parameters:
  ///   - name: The name.
  ///   - inode: What it stands for.
  ///   - directory: Where.
  ///   - staysHidden: Whether the name is for the disk only and goes with the commit.
  /// - Throws: `noSpace` if the directory cannot grow.
  func addEntry(
    _ name: [UInt8], for inode: Ext2Inode, in directory: Ext2Inode, staysHidden: Bool = false
  ) throws(FileError) {
    if directory.waitingEntryCount > 0, let leaving = try find(name, in: directory, includingLeaving: true) {
      // The name goes with the commit anyway: let it stay, for the new file. What it stood for is deleted first.
      if let old = loadedInode(leaving.storedInode), old.linkCount == 0 { old.clearsEarly = true }
      try setEntry(leaving, of: directory, to: inode)
      return
    }
    let (block, raw) = try room(RawEntry.space(forName: name.count), in: directory)
    let offset = insert(name, into: block, raw, inode.number, inode.kind?.entryType ?? 0)
    let place = EntryPlace(block: block.number, offset: offset)
    change(block, order: BlockOrder.entries)
    dropIndex(of: directory)
    if staysHidden {
      wait(
        WaitingEntry(place: place, directory: directory.number, inode: 0, type: 0, isLate: true),
        stored: inode.number, directory)
    } else {
      newEntries.insert(place, at: newEntryIndex(place))
    }
  }

  /// Moves a name within one block of the disk, so that there is no moment with two of them or none.
  ///
  /// - Returns: Whether there was room.
  func moveEntry(_ entry: FoundEntry, of directory: Ext2Inode, to name: [UInt8], _ inode: Ext2Inode) throws(FileError)
    -> Bool
  {
    if isNew(entry.place) || entry.storedInode != inode.number { return false }
    let block = try block(entry.place.block)
    guard let raw = try room(RawEntry.space(forName: name.count), in: block, of: directory) else { return false }
    let offset = insert(name, into: block, raw, 0, 0)
    change(block, order: BlockOrder.entries)
    dropIndex(of: directory)
    wait(
      WaitingEntry(
        place: EntryPlace(block: block.number, offset: offset), directory: directory.number, inode: inode.number,
        type: inode.kind?.entryType ?? 0, isLate: true), stored: 0, directory)
    return true
  }

  private func dropIndex(of directory: Ext2Inode) {
    if directory.flags & Ext2Inode.indexFlag == 0 { return }
    directory.flags &= ~Ext2Inode.indexFlag
    directory.dropsIndex = !directory.isNew
    directory.isChanged = true
  }

  private func insert(_ name: [UInt8], into block: CachedBlock, _ raw: RawEntry, _ inode: UInt32, _ type: UInt8) -> Int
  {
    let offset = raw.offset + raw.usedLength
    let length = raw.length - raw.usedLength
    if raw.usedLength > 0 { block.bytes.store(UInt16(raw.usedLength), at: raw.offset + 4) }
    block.bytes.store(UInt16(length), at: offset + 4)
    block.bytes[offset + 6] = UInt8(name.count)
    block.bytes[offset + 7] = 0
    block.bytes.copy(name, to: offset + 8)
    patch(block, offset, inode, type)
    return offset
  }

  /// An entry of a block with so many free bytes behind it.
  private func room(_ need: Int, in block: CachedBlock, of directory: Ext2Inode) throws(FileError) -> RawEntry? {
    var offset = 0
    while offset < blockByteCount {
      let raw = try rawEntry(block, offset)
      let isPromised =
        raw.inode == 0 && directory.waitingEntryCount > 0
        && waiting(EntryPlace(block: block.number, offset: offset)) != nil
      let used = isPromised ? RawEntry.space(forName: raw.nameLength) : raw.usedLength
      if raw.length - used >= need {
        if !isPromised { return raw }
      }
      offset += raw.length
    }
    return nil
  }

  /// An entry with so many free bytes behind it; the directory grows if there is none.
  private func room(_ need: Int, in directory: Ext2Inode) throws(FileError) -> (CachedBlock, RawEntry) {
    let count = directoryBlockCount(directory)
    for index in min(directory.roomHint, count)..<count {
      let block = try directoryBlock(directory, index)
      if let raw = try room(need, in: block, of: directory) {
        directory.roomHint = index
        return (block, raw)
      }
    }
    let (number, _) = try allocatedBlock(of: directory, count)
    let block = try freshBlock(number, .metadata)
    block.bytes.store(UInt16(blockByteCount), at: 4)
    directory.size += UInt64(blockByteCount)
    directory.hasGrown = !directory.isNew
    directory.roomHint = count
    return (block, try rawEntry(block, 0))
  }
}
