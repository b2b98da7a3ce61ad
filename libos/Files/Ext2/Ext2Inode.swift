// SPDX-License-Identifier: Apache-2.0
// Ext2Inode.swift: an inode in memory, and how it lies in the inode table.

import ApusRuntime

/// A file of an ext2 file system, as memory knows it; the table gets it when the file system commits.
final class Ext2Inode {
  let number: UInt32
  var mode: UInt16 = 0
  var user: UInt32 = 0
  var group: UInt32 = 0
  var size: UInt64 = 0
  /// Times are in nanoseconds since 1970.
  var accessTime: Int64 = 0
  var changeTime: Int64 = 0
  var modificationTime: Int64 = 0
  var birthTime: Int64 = 0
  /// When it was deleted, in seconds.
  var deletionTime: UInt32 = 0
  var linkCount: UInt16 = 0
  /// Blocks taken, the maps included, in units of 512 bytes.
  var sectors: UInt32 = 0
  var flags: UInt32 = 0
  /// Twelve blocks, then the maps of one, two and three levels.
  var pointers = InlineArray<15, UInt32>(repeating: 0)
  var attributeBlock: UInt32 = 0
  var generation: UInt32 = 0
  /// How much of the inode beyond 128 bytes is in use.
  var extraByteCount: UInt16 = 0

  /// Who uses it besides its names.
  var holdCount = 0
  /// Where the last read or write ended, to notice sequential readers.
  var lastReadEnd: UInt64 = 0
  /// Where the file's last block was put: the next one goes behind it.
  var allocationGoal: UInt32 = 0

  // What the commit has to know; see Ext2+Commit.swift.
  /// Whether the table has an older state.
  var isChanged = false
  /// Whether reading the contents needs something that the disk does not have: size or pointers.
  var isMapChanged = false
  /// Whether nothing is left of it but what the table has to be told.
  var isGone = false
  /// Whether the table says that it is not in use.
  var isNew = false
  /// Whether its deletion must reach the disk before the names that change their meaning.
  var clearsEarly = false
  /// Whether a name of it was given to another file since the last commit.
  var wasReplaced = false
  /// Whether the table must have it before any new inode: a directory that grew.
  var hasGrown = false
  /// Whether the directory's index was dropped and the disk does not know yet.
  var dropsIndex = false
  /// Entries of this directory whose change waits.
  var waitingEntryCount = 0
  /// How far above the leaves of a deleted tree a directory was.
  var deletionLevel = 0
  /// A new directory's parent.
  var parent: UInt32 = 0
  /// The block where a search for room in this directory begins.
  var roomHint: UInt64 = 0

  init(number: UInt32) { self.number = number }

  var kind: NodeKind? { NodeKind(rawValue: mode & 0o170000) }
  var isDirectory: Bool { mode & 0o170000 == NodeKind.directory.rawValue }
  var isRegular: Bool { mode & 0o170000 == NodeKind.regular.rawValue }

  /// EXT2_INDEX_FL: the directory has an index.
  static var indexFlag: UInt32 { 0x1000 }
  /// EXT2_IMMUTABLE_FL and EXT2_APPEND_FL are the caller's to obey; flags that change the meaning of the pointers are
  /// not understood: compressed blocks, extents, data in the inode.
  static var foreignFlags: UInt32 { 0x0000_0200 | 0x0008_0000 | 0x1000_0000 }

  /// A fast link has its text where others have pointers.
  func isFastLink(sectorsOfBlock: UInt32) -> Bool {
    mode & 0o170000 == NodeKind.symbolicLink.rawValue && sectors == (attributeBlock != 0 ? sectorsOfBlock : 0)
  }
}

// The table's form.
extension Ext2Inode {
  private static func time(_ bytes: Bytes, _ field: Int, extra: Int, _ extraEnd: Int) -> Int64 {
    let seconds = Int64(bytes.load(field, as: Int32.self))
    if extra + 4 > extraEnd { return seconds * 1_000_000_000 }
    // The two low bits continue the seconds beyond 2038, the others are nanoseconds.
    let more = bytes.load(extra, as: UInt32.self)
    return (seconds + Int64(more & 3) << 32) * 1_000_000_000 + Int64(min(more >> 2, 999_999_999))
  }

  private static func store(_ time: Int64, _ bytes: Bytes, _ field: Int, extra: Int, _ extraEnd: Int) {
    var seconds = time / 1_000_000_000
    var nanoseconds = time % 1_000_000_000
    if nanoseconds < 0 {
      seconds -= 1
      nanoseconds += 1_000_000_000
    }
    let low = Int32(truncatingIfNeeded: seconds)
    if field >= 0 { bytes.store(low, at: field) }
    if extra + 4 > extraEnd { return }
    let epoch = UInt32(truncatingIfNeeded: (seconds - Int64(low)) >> 32) & 3
    bytes.store(epoch | UInt32(nanoseconds) << 2, at: extra)
  }

  /// Reads the fields; whether they make sense is for the caller to check.
  ///
  /// - Parameter bytes: The inode in the table, 128 bytes at least.
  func decode(_ bytes: Bytes) {
    mode = bytes.load(0, as: UInt16.self)
    user = UInt32(bytes.load(2, as: UInt16.self)) | UInt32(bytes.load(120, as: UInt16.self)) << 16
    group = UInt32(bytes.load(24, as: UInt16.self)) | UInt32(bytes.load(122, as: UInt16.self)) << 16
    size = UInt64(bytes.load(4, as: UInt32.self))
    if isRegular { size |= UInt64(bytes.load(108, as: UInt32.self)) << 32 }
    deletionTime = bytes.load(20, as: UInt32.self)
    linkCount = bytes.load(26, as: UInt16.self)
    sectors = bytes.load(28, as: UInt32.self)
    flags = bytes.load(32, as: UInt32.self)
    for index in 0..<15 { pointers[index] = bytes.load(40 + 4 * index, as: UInt32.self) }
    generation = bytes.load(100, as: UInt32.self)
    attributeBlock = bytes.load(104, as: UInt32.self)
    extraByteCount = bytes.count > 128 ? bytes.load(128, as: UInt16.self) : 0
    let end = 128 + Int(extraByteCount)
    if end > bytes.count { extraByteCount = 0 }
    accessTime = Self.time(bytes, 8, extra: 140, end)
    changeTime = Self.time(bytes, 12, extra: 132, end)
    modificationTime = Self.time(bytes, 16, extra: 136, end)
    birthTime = end >= 148 ? Self.time(bytes, 144, extra: 148, end) : 0
  }

  /// Writes the fields; bytes that mean nothing here keep what they have.
  func encode(_ bytes: Bytes) {
    bytes.store(mode, at: 0)
    bytes.store(UInt16(truncatingIfNeeded: user), at: 2)
    bytes.store(UInt16(truncatingIfNeeded: user >> 16), at: 120)
    bytes.store(UInt16(truncatingIfNeeded: group), at: 24)
    bytes.store(UInt16(truncatingIfNeeded: group >> 16), at: 122)
    bytes.store(UInt32(truncatingIfNeeded: size), at: 4)
    if isRegular { bytes.store(UInt32(truncatingIfNeeded: size >> 32), at: 108) }
    bytes.store(deletionTime, at: 20)
    bytes.store(linkCount, at: 26)
    bytes.store(sectors, at: 28)
    bytes.store(flags, at: 32)
    for index in 0..<15 { bytes.store(pointers[index], at: 40 + 4 * index) }
    bytes.store(generation, at: 100)
    bytes.store(attributeBlock, at: 104)
    if bytes.count > 128 { bytes.store(extraByteCount, at: 128) }
    let end = 128 + Int(extraByteCount)
    Self.store(accessTime, bytes, 8, extra: 140, end)
    Self.store(changeTime, bytes, 12, extra: 132, end)
    Self.store(modificationTime, bytes, 16, extra: 136, end)
    if end >= 148 { Self.store(birthTime, bytes, 144, extra: 148, end) }
  }
}
