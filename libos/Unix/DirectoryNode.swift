// SPDX-License-Identifier: Apache-2.0
// DirectoryNode.swift: directories: names, where they hang, and what is mounted on them.

import ApusRuntime

/// One line of a directory, for getdents(2).
public struct DirectoryEntry {
  /// The name, without a slash.
  public var name: [UInt8]
  /// The number of the file that it stands for.
  public var inode: UInt64
  /// What kind of file that is.
  public var kind: FileKind
  /// Where reading goes on after this entry; stays valid while other entries come and go.
  public var position: Int64

  /// An entry.
  public init(name: [UInt8], inode: UInt64, kind: FileKind, position: Int64) {
    self.name = name
    self.inode = inode
    self.kind = kind
    self.position = position
  }
}

/// A directory of any file system.
///
/// The parent's entries hold the child and the child holds its parent, so a tree stays; removing a directory
/// cuts the first of the two references, and the removed one goes with its last user.
open class DirectoryNode: Inode {
  /// The directory above; nil at the root of everything.
  ///
  /// It is kept when this one is removed: `..` goes on working.
  public final var parent: DirectoryNode?
  /// The name in the parent.
  public final var name: [UInt8] = []
  /// Whether rmdir(2) took it away.
  public final var isRemoved = false
  /// The root of another file system that covers this directory.
  public final var mounted: DirectoryNode?
  /// On the root of a mounted file system: the directory it covers.
  public final var covered: DirectoryNode?

  /// Makes an empty directory that hangs nowhere.
  public init(_ fileSystem: FileSystem, permissions: UInt32, owner: Credentials, number: UInt64? = nil) {
    super.init(fileSystem, FileMode(.directory, permissions), owner: owner, number: number)
    linkCount = 2
  }

  /// Gives the parents up one after the other: left to themselves, those of a deep removed directory would
  /// release each other recursively, and the LibOS's stack is small.
  deinit {
    var above = parent
    parent = nil
    while above != nil, isKnownUniquelyReferenced(&above) {
      let further = above?.parent
      above?.parent = nil
      above = further
    }
  }

  open override var asDirectory: DirectoryNode? { self }
  open override func truncate(to size: Int64) throws(Errno) { throw .EISDIR }
  open override func open(_ flags: OpenFlags, _ opener: Opener) throws(Errno) -> OpenFile {
    if flags.isWritable { throw .EISDIR }
    return DirectoryFile(self, flags)
  }

  /// What a name stands for, or nil.
  open func find(_ name: ArraySlice<UInt8>) throws(Errno) -> Inode? { nil }

  /// The first entry whose position is greater than `position`.
  ///
  /// `.` and `..` are not among them: their positions are 1 and 2.
  open func entry(after position: Int64) -> DirectoryEntry? { nil }

  /// Whether there are no entries.
  open var isEmpty: Bool { entry(after: 2) == nil }

  /// Enters a name that is not there.
  open func add(_ node: Inode, _ name: [UInt8]) throws(Errno) { throw .EPERM }

  /// Takes a name out.
  open func remove(_ name: [UInt8]) throws(Errno) { throw .EPERM }

  /// Lets a name stand for another file; it keeps its position.
  open func replace(_ name: [UInt8], with node: Inode) throws(Errno) { throw .EPERM }

  /// Covers this directory with another file system's root.
  public final func mount(_ root: DirectoryNode) {
    mounted = root
    root.parent = parent
    root.name = name
    root.covered = self
  }

  /// The directory that walking reaches here: what is mounted on top, or itself.
  public final var top: DirectoryNode {
    var directory = self
    while let next = directory.mounted { directory = next }
    return directory
  }
}

/// A directory of the RAM file system.
public final class RamDirectory: DirectoryNode {
  private var table = NameTable()

  public override var size: Int64 { Int64(table.count + 2) * 32 }
  public override var isEmpty: Bool { table.count == 0 }
  public override func find(_ name: ArraySlice<UInt8>) throws(Errno) -> Inode? { table.find(name) }
  public override func entry(after position: Int64) -> DirectoryEntry? { table.entry(after: position) }

  public override func add(_ node: Inode, _ name: [UInt8]) throws(Errno) {
    if isRemoved { throw .ENOENT }
    table.insert(name, node)
    settle(node, name)
    contentsChanged()
  }

  public override func remove(_ name: [UInt8]) throws(Errno) {
    guard let node = table.remove(name[...]) else { throw .ENOENT }
    leave(node)
    contentsChanged()
  }

  public override func replace(_ name: [UInt8], with node: Inode) throws(Errno) {
    guard let old = table.replace(name[...], node) else { throw .ENOENT }
    leave(old)
    settle(node, name)
    contentsChanged()
  }

  /// Counts the link that a new entry is, and those of `..`.
  private func settle(_ node: Inode, _ name: [UInt8]) {
    if let directory = node.asDirectory {
      directory.parent = self
      directory.name = name
      linkCount += 1
    } else {
      node.linkCount += 1
    }
    node.changeTime = Inode.now
  }

  private func leave(_ node: Inode) {
    if node.asDirectory != nil { linkCount -= 1 } else { node.linkCount -= 1 }
    node.changeTime = Inode.now
  }
}

/// The names of a directory: an open-addressed hash table over a list in order of creation.
///
/// The list's order is what getdents(2) shows; a position is an entry's serial number, which removals of other
/// entries do not touch.
struct NameTable {
  private struct Entry {
    var name: [UInt8]
    var hash: UInt32
    var position: Int64
    var node: Inode?  // nil: removed
  }

  private var entries: [Entry] = []
  /// Index into `entries` plus one; 0: never used; -1: was used.
  private var slots: [Int32] = []
  private var usedSlots = 0
  private var lastPosition: Int64 = 2
  private(set) var count = 0

  /// FNV-1a: names are short and nobody outside the family chooses them.
  private static func hash(_ name: ArraySlice<UInt8>) -> UInt32 {
    var hash: UInt32 = 0x811c_9dc5
    for byte in name { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
    return hash
  }

  private func slot(of name: ArraySlice<UInt8>) -> Int? {
    if count == 0 { return nil }
    let hash = Self.hash(name)
    let mask = slots.count - 1
    var slot = Int(hash) & mask
    while true {
      let value = slots[slot]
      if value == 0 { return nil }
      if value > 0 {
        let index = Int(value) - 1
        if entries[index].hash == hash && entries[index].name[...] == name { return slot }
      }
      slot = (slot + 1) & mask
    }
  }

  func find(_ name: ArraySlice<UInt8>) -> Inode? {
    guard let slot = slot(of: name) else { return nil }
    return entries[Int(slots[slot]) - 1].node
  }

  mutating func insert(_ name: [UInt8], _ node: Inode) {
    if (usedSlots + 1) * 4 > slots.count * 3 || entries.count > 2 * count + 16 { rebuild() }
    lastPosition += 1
    let hash = Self.hash(name[...])
    entries.append(Entry(name: name, hash: hash, position: lastPosition, node: node))
    count += 1
    place(hash, entries.count)
  }

  private mutating func place(_ hash: UInt32, _ value: Int) {
    let mask = slots.count - 1
    var slot = Int(hash) & mask
    while slots[slot] > 0 { slot = (slot + 1) & mask }
    if slots[slot] == 0 { usedSlots += 1 }
    slots[slot] = Int32(value)
  }

  /// Drops removed entries and makes the table fit.
  private mutating func rebuild() {
    if entries.count != count {
      var live: [Entry] = []
      live.reserveCapacity(count + 1)
      for entry in entries where entry.node != nil { live.append(entry) }
      entries = live
    }
    var capacity = 8
    while capacity < (count + 1) * 2 { capacity *= 2 }
    slots = [Int32](repeating: 0, count: capacity)
    usedSlots = 0
    for index in entries.indices { place(entries[index].hash, index + 1) }
  }

  mutating func remove(_ name: ArraySlice<UInt8>) -> Inode? {
    guard let slot = slot(of: name) else { return nil }
    let index = Int(slots[slot]) - 1
    let node = entries[index].node
    entries[index].node = nil
    slots[slot] = -1
    count -= 1
    return node
  }

  mutating func replace(_ name: ArraySlice<UInt8>, _ node: Inode) -> Inode? {
    guard let slot = slot(of: name) else { return nil }
    let index = Int(slots[slot]) - 1
    let old = entries[index].node
    entries[index].node = node
    return old
  }

  func entry(after position: Int64) -> DirectoryEntry? {
    // Serial numbers grow along the list: halve.
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].position <= position { low = middle + 1 } else { high = middle }
    }
    while low < entries.count {
      if let node = entries[low].node {
        return DirectoryEntry(
          name: entries[low].name, inode: node.number, kind: node.kind, position: entries[low].position)
      }
      low += 1
    }
    return nil
  }
}
