// SPDX-License-Identifier: Apache-2.0
// Superblock.swift: the first block of an ext2 file system, decoded and checked (revisions 0 and 1).

import ApusRuntime

/// Where the superblock's fields are.
enum SuperblockField {
  static var inodesCount: Int { 0 }
  static var blocksCount: Int { 4 }
  static var reservedBlocks: Int { 8 }
  static var freeBlocks: Int { 12 }
  static var freeInodes: Int { 16 }
  static var firstDataBlock: Int { 20 }
  static var blockSize: Int { 24 }
  static var blocksPerGroup: Int { 32 }
  static var inodesPerGroup: Int { 40 }
  static var mountTime: Int { 44 }
  static var writeTime: Int { 48 }
  static var mountCount: Int { 52 }
  static var magic: Int { 56 }
  static var state: Int { 58 }
  static var revision: Int { 76 }
  static var firstInode: Int { 84 }
  static var inodeSize: Int { 88 }
  static var compatible: Int { 92 }
  static var incompatible: Int { 96 }
  static var readOnlyCompatible: Int { 100 }
  static var reservedTableBlocks: Int { 206 }
  static var wantedExtraSize: Int { 350 }
}

/// The numbers that everything else depends on.
public struct Superblock: Equatable, Sendable {
  /// How many inodes there are.
  public let inodeCount: UInt32
  /// How many blocks there are.
  public let blockCount: UInt32
  /// Blocks kept for the superuser.
  public let reservedBlockCount: UInt32
  /// The first block of group 0: 1 if blocks have 1024 bytes, else 0.
  public let firstDataBlock: UInt32
  /// The size of a block: 1024, 2048 or 4096.
  public let blockByteCount: Int
  /// Blocks in each group but the last.
  public let blocksPerGroup: UInt32
  /// Inodes in each group.
  public let inodesPerGroup: UInt32
  /// The size of an inode in the table.
  public let inodeByteCount: Int
  /// Inodes below are the file system's own, but for the root.
  public let firstInode: UInt32
  /// Features that concern nobody who does not know them.
  public let compatible: UInt32
  /// Features without which nothing can be understood.
  public let incompatible: UInt32
  /// Features without which nothing may be written.
  public let readOnlyCompatible: UInt32
  /// Bit 0: unmounted cleanly; bit 1: errors were found.
  public let state: UInt16
  /// Blocks after the group descriptors kept for more of them.
  public let reservedTableBlocks: UInt32
  /// How much of a large inode beyond 128 bytes new inodes use.
  public let extraInodeByteCount: UInt16

  /// Incompatible feature: entries of directories tell the kind of file.
  static var fileTypes: UInt32 { 0x2 }
  /// Compatible features that may be written without knowing more: preallocation of directories, AFS inodes, a journal
  /// (which is empty if the file system is clean), extended attributes, room for resizing, directory indices.
  static var harmlessCompatible: UInt32 { 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 }
  /// Compatible feature: directories may have indices.
  static var directoryIndex: UInt32 { 0x20 }
  /// Read-only compatible feature: not every group has a copy of the superblock.
  static var sparse: UInt32 { 0x1 }
  /// Read-only compatible feature: files of 2 GiB and more.
  static var largeFiles: UInt32 { 0x2 }

  /// Decodes and checks a superblock.
  ///
  /// - Parameters:
  ///   - bytes: 1024 bytes, which are at byte 1024 of the file system.
  ///   - deviceByteCount: How large the device is.
  /// - Throws: What makes it unusable.
  public init(_ bytes: Bytes, deviceByteCount: UInt64) throws(Damage) {
    func word(_ field: Int) -> UInt32 { bytes.load(field, as: UInt32.self) }
    func half(_ field: Int) -> UInt16 { bytes.load(field, as: UInt16.self) }
    guard half(SuperblockField.magic) == 0xef53 else {
      throw Damage(.notExt2, block: 0, value: UInt64(half(SuperblockField.magic)))
    }
    let logarithm = word(SuperblockField.blockSize)
    guard logarithm <= 2 else { throw Damage(.geometry, block: 0, value: UInt64(SuperblockField.blockSize)) }
    blockByteCount = 1024 << Int(logarithm)
    let home: UInt64 = logarithm == 0 ? 1 : 0
    func require(_ holds: Bool, _ field: Int) throws(Damage) {
      guard holds else { throw Damage(.geometry, block: home, value: UInt64(field)) }
    }
    let revision = word(SuperblockField.revision)
    try require(revision <= 1, SuperblockField.revision)
    inodeByteCount = revision == 0 ? 128 : Int(half(SuperblockField.inodeSize))
    firstInode = revision == 0 ? 11 : word(SuperblockField.firstInode)
    compatible = revision == 0 ? 0 : word(SuperblockField.compatible)
    incompatible = revision == 0 ? 0 : word(SuperblockField.incompatible)
    readOnlyCompatible = revision == 0 ? 0 : word(SuperblockField.readOnlyCompatible)
    guard incompatible & ~Self.fileTypes == 0 else {
      throw Damage(.incompatibleFeature, block: home, value: UInt64(incompatible & ~Self.fileTypes))
    }
    inodeCount = word(SuperblockField.inodesCount)
    blockCount = word(SuperblockField.blocksCount)
    reservedBlockCount = min(word(SuperblockField.reservedBlocks), blockCount)
    firstDataBlock = word(SuperblockField.firstDataBlock)
    blocksPerGroup = word(SuperblockField.blocksPerGroup)
    inodesPerGroup = word(SuperblockField.inodesPerGroup)
    state = half(SuperblockField.state)
    reservedTableBlocks = compatible & 0x10 != 0 ? UInt32(half(SuperblockField.reservedTableBlocks)) : 0
    let size = inodeByteCount
    try require(size >= 128 && size <= blockByteCount && size & (size - 1) == 0, SuperblockField.inodeSize)
    extraInodeByteCount = size > 128 ? min(32, half(SuperblockField.wantedExtraSize)) & ~3 : 0
    try require(firstInode >= 11 && firstInode <= inodeCount && inodeCount < .max, SuperblockField.firstInode)
    try require(firstDataBlock == UInt32(home), SuperblockField.firstDataBlock)
    try require(blockCount > firstDataBlock, SuperblockField.blocksCount)
    guard UInt64(blockCount) * UInt64(blockByteCount) <= deviceByteCount else {
      throw Damage(.truncated, block: home, value: UInt64(blockCount))
    }
    let bits = UInt32(8 * blockByteCount)
    try require(blocksPerGroup >= 64 && blocksPerGroup <= bits, SuperblockField.blocksPerGroup)
    let inodesPerBlock = UInt32(blockByteCount / size)
    try require(
      inodesPerGroup > 0 && inodesPerGroup <= bits && inodesPerGroup % inodesPerBlock == 0,
      SuperblockField.inodesPerGroup)
    try require(
      UInt64(inodesPerGroup) * UInt64(groupCount) == UInt64(inodeCount), SuperblockField.inodesCount)
    try require(UInt64(tableStart) + UInt64(tableBlockCount) < UInt64(blockCount), SuperblockField.blocksCount)
    try require(
      reservedTableBlocks < blocksPerGroup && tableBlockCount < blocksPerGroup, SuperblockField.reservedTableBlocks)
  }

  /// How many groups there are.
  public var groupCount: UInt32 { (blockCount - firstDataBlock - 1) / blocksPerGroup + 1 }
  /// The block after the superblock: the first of the group descriptors.
  public var tableStart: UInt32 { firstDataBlock + 1 }
  /// How many blocks the group descriptors take.
  public var tableBlockCount: UInt32 {
    UInt32((UInt64(groupCount) * 32 + UInt64(blockByteCount) - 1) / UInt64(blockByteCount))
  }
  /// How many blocks of each group its inodes take.
  public var inodeTableBlockCount: UInt32 { inodesPerGroup / UInt32(blockByteCount / inodeByteCount) }
  /// Whether entries of directories tell the kind of file.
  public var hasFileTypes: Bool { incompatible & Self.fileTypes != 0 }

  /// Why it may not be written although it can be read; nil if it may.
  public var readOnlyReason: Damage? {
    let home = UInt64(firstDataBlock)
    let unknown = readOnlyCompatible & ~(Self.sparse | Self.largeFiles) | compatible & ~Self.harmlessCompatible
    if unknown != 0 { return Damage(.unknownFeature, block: home, value: UInt64(unknown)) }
    if state & 2 != 0 { return Damage(.recordedError, block: home, value: UInt64(state)) }
    if state & 1 == 0 { return Damage(.notClean, block: home, value: UInt64(state)) }
    return nil
  }

  /// Whether a group begins with a copy of the superblock and the group descriptors.
  public func hasCopy(_ group: UInt32) -> Bool {
    if readOnlyCompatible & Self.sparse == 0 || group <= 1 { return true }
    for base in [3, 5, 7] as [UInt32] {
      var power = base
      while power < group { power *= base }
      if power == group { return true }
    }
    return false
  }

  /// The first block of a group.
  public func start(of group: UInt32) -> UInt32 { firstDataBlock + group * blocksPerGroup }

  /// How many blocks a group has.
  public func blockCount(of group: UInt32) -> UInt32 { min(blocksPerGroup, blockCount - start(of: group)) }
}
