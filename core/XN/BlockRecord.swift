// SPDX-License-Identifier: Apache-2.0
// BlockRecord.swift: what XN knows of each block of a disk, and the memory that it decides about.

import ApusBPF

/// What a block is to XN.
public enum BlockState: UInt8, Sendable {
  /// Nobody's.
  case free
  /// The first block of an extent that somebody's metadata owns; the record tells of all of it.
  case owned
  /// Another block of an extent.
  case part
  /// Given back, while the disk still has a pointer to it.
  case waiting
  /// XN's own: the catalogue.
  case reserved
}

/// A block's record.
///
/// Lists run through `next`; a block is on one at most; 0 ends them.
public struct BlockRecord: Sendable {
  /// What the block is.
  public internal(set) var state = BlockState.free
  /// Its type: 0 for data, or the number of a template.
  public internal(set) var type: UInt16 = 0
  /// Whose metadata owns it; 0: the catalogue, of roots.
  public internal(set) var parent: UInt32 = 0
  /// How many blocks the extent has.
  public internal(set) var count: UInt32 = 0
  /// How many extents this metadata owns.
  public internal(set) var ownedCount: UInt32 = 0
  /// How many of them are metadata that the disk does not have whole: nothing on the disk may point to those.
  public internal(set) var taintCount: UInt32 = 0
  /// How many children went elsewhere whose new parent is not on the disk yet.
  public internal(set) var departureCount: UInt32 = 0
  /// While a move is not on the disk: the old parent.
  public internal(set) var formerParent: UInt32 = 0
  /// How high the tree of metadata below is, at most.
  public internal(set) var height: UInt8 = 0
  /// The disk's version of the parent points here.
  public internal(set) var isPointedAt = false
  /// The disk has a version of this metadata.
  public internal(set) var isInitialised = false
  /// Memory is newer than the disk.
  public internal(set) var isChanged = false
  /// A write is under way; nothing may change meanwhile.
  public internal(set) var isWriting = false
  /// The root of a tree that is gone after a reboot and need not be whole on the disk.
  public internal(set) var isTemporary = false
  var next: UInt32 = 0
  /// Blocks that wait for this one to be written: freed ones, ones that arrived here, ones that left.
  var waiting: UInt32 = 0
  var arrivals: UInt32 = 0
  var departures: UInt32 = 0
  /// The check that counted this block last.
  var stamp: UInt32 = 0

  /// The record of a free block.
  public init() {}
}

/// A part of a disk that is owned as one.
public struct Extent: Equatable, Sendable {
  /// The first block.
  public var first: UInt32
  /// How many blocks; 1 for metadata.
  public var count: UInt32
  /// 0 for data, or the number of a template.
  public var type: UInt16

  /// Describes an extent.
  public init(first: UInt32, count: UInt32, type: UInt16) {
    self.first = first
    self.count = count
    self.type = type
  }
}

/// Which of a template's programs is meant.
public enum TemplateProgram: UInt8, Sendable {
  /// Tells what a block of metadata owns.
  case owns
  /// Tells who may do what with it and with what it owns.
  case acl
  /// Tells how many of its bytes are in use.
  case size
}

/// The memory and the disk that XN decides about, as the kernel and the tests provide it.
///
/// Blocks have 4096 bytes. Block numbers that XN passes are below `blockCount`, offsets below 4096.
public protocol XNMemory {
  /// How many blocks the disk has.
  var blockCount: UInt32 { get }
  /// The records.
  subscript(block: UInt32) -> BlockRecord { get nonmutating set }
  /// Whether a block's contents are in memory.
  func isPresent(_ block: UInt32) -> Bool
  /// Copies a block's contents, which are in memory, to the scratch block.
  func copyToScratch(_ block: UInt32)
  /// Copies the scratch block to a block's contents in memory, which nobody else can write.
  func copyFromScratch(_ block: UInt32)
  /// Reads little-endian from the scratch block; the whole access lies in it.
  func loadScratch(_ width: AccessWidth, _ offset: Int) -> UInt64
  /// Writes a byte of the scratch block.
  func storeScratch(_ byte: UInt8, _ offset: Int)
  /// Words of a program's stack, `ProgramLimits.stackByteCount / 8` of them.
  subscript(stack index: Int) -> UInt64 { get nonmutating set }
  /// Reads a block from the disk into the scratch block; for recovery only.
  ///
  /// - Returns: Whether the disk could.
  func readToScratch(_ block: UInt32) -> Bool
  /// Runs a body with the program of a template that is installed; an empty one if it has none.
  func withProgram<R>(_ type: UInt16, _ program: TemplateProgram, _ body: (Span<UInt64>) -> R) -> R
  /// Whether a template of a number is installed and verified.
  func hasTemplate(_ type: UInt16) -> Bool
}

/// Changes to a block of metadata: copies that nobody else can change meanwhile.
public protocol Modifications {
  /// How many bytes change; at most 4096.
  var count: Int { get }
  /// The offset and the new value of the byte of an index.
  subscript(index: Int) -> (offset: Int, byte: UInt8) { get }
}

/// Why XN refuses.
public enum XNError: Error, Equatable, Sendable {
  /// No such block, no such template, an extent of no or too many blocks, or one of metadata with more than one.
  case invalid
  /// The block is no metadata, or not the parent that it is said to be.
  case notMetadata
  /// The metadata is not in memory: read it first.
  case notPresent
  /// Blocks of the extent are not free.
  case notFree
  /// The metadata's `owns` program says that it is not of its type, or ran wrong.
  case refusedByTemplate
  /// After the change the metadata would own something else than what it has and what was claimed.
  case wrongOwnership
  /// It still owns something.
  case notEmpty
  /// A write of it is under way, or a move of it is not on the disk yet.
  case busy
  /// Something below it is not on the disk yet: write that first.
  case tainted
  /// What moved away from it is not on the disk at its new place yet: write that first.
  case wouldLose
  /// The tree would be more than 64 levels high, or contain itself.
  case tooHigh
  /// Its `acl` program says no.
  case notPermitted
  /// No free place in the catalogue.
  case catalogueFull
}
