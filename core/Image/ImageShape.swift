// SPDX-License-Identifier: Apache-2.0
// ImageShape.swift: the boot image's numbers, and what can be wrong with an image.
//
// The shape itself is `struct apus_image` of the ABI header. It is repeated here as offsets because this module
// imports nothing; the host tests compare each with the C structures.

/// Offsets and sizes of the boot image's structures in bytes.
public enum ImageShape {
  /// The first eight bytes: "Apusime1".
  public static let magic: UInt64 = 0x3165_6d69_7375_7041
  /// Everything that may be mapped starts at a multiple of this.
  public static let pageSize: UInt64 = 4096
  /// How many segments of a LibOS an image holds at most.
  public static let segmentLimit = 8

  /// Size of the header.
  public static let headerSize = 400
  /// Size of one segment's record in the header.
  public static let segmentSize = 40
  /// Size of one file's record in the entry table.
  public static let entrySize = 72

  static let sizeOffset = 8
  static let startOffset = 16
  static let segmentCountOffset = 24
  static let segmentsOffset = 32
  static let entryTableOffset = 352
  static let entryCountOffset = 360
  static let stringsOffset = 368
  static let stringsSizeOffset = 376
  static let commandOffset = 384
  static let commandSizeOffset = 392

  /// The next multiple of the page size.
  static func pageAligned(_ size: UInt64) -> UInt64 {
    (size + (pageSize - 1)) / pageSize * pageSize
  }
}

/// The file types of `st_mode` (inode(7)).
public enum FileMode {
  /// The bits that hold the type.
  public static let typeMask: UInt32 = 0o170000
  /// A directory.
  public static let directory: UInt32 = 0o040000
  /// A regular file.
  public static let regular: UInt32 = 0o100000
  /// A symbolic link.
  public static let symbolicLink: UInt32 = 0o120000
}

/// Why an image cannot be made or read.
public enum ImageError: Error, Equatable {
  /// The bytes end before the structure does, or a structure points outside of them.
  case truncated
  /// The first bytes are not a boot image's.
  case badMagic
  /// More segments than the header has room for.
  case tooManySegments
  /// A segment's address is not a multiple of the page size, or it is larger in the image than in memory.
  case badSegment
  /// A path is not absolute, ends with a slash, or holds a zero byte.
  case badPath
  /// An entry stands before the directory that holds it, or twice.
  case badOrder
  /// A hard link to an entry that is no regular file before it.
  case badHardLink
  /// A string of the start command holds a zero byte, or the command's parts are not all there.
  case badCommand
}

/// A part of the LibOS as it lies in memory.
public struct ImageSegment: Equatable, Sendable {
  /// Where it goes; page-aligned.
  public var address: UInt64
  /// How many of its bytes the image holds.
  public var fileSize: UInt64
  /// How many bytes it has in memory; the rest is zero.
  public var memorySize: UInt64
  /// `executable` and `writable`.
  public var flags: UInt64

  /// The processor may run it.
  public static let executable: UInt64 = 1
  /// The LibOS may write to it.
  public static let writable: UInt64 = 2

  /// Describes a segment.
  public init(address: UInt64, fileSize: UInt64, memorySize: UInt64, flags: UInt64) {
    self.address = address
    self.fileSize = fileSize
    self.memorySize = memorySize
    self.flags = flags
  }
}

/// A file, a directory or a symbolic link of the guest's first file tree.
public struct ImageEntry: Equatable, Sendable {
  /// What an entry holds.
  public enum Content: Equatable, Sendable {
    /// Nothing: a directory.
    case directory
    /// So many bytes.
    case file(size: UInt64)
    /// The target of a symbolic link.
    case symbolicLink(target: [UInt8])
    /// The same file as the entry at this index.
    case hardLink(index: Int)
  }

  /// Absolute, no trailing slash.
  public var path: [UInt8]
  /// What it holds.
  public var content: Content
  /// Type and permissions, as in `struct stat`.
  public var mode: UInt32
  /// The owner.
  public var user: UInt32
  /// The owner's group.
  public var group: UInt32
  /// When it was changed last, in seconds since 1970.
  public var modified: Int64

  /// Describes an entry.
  public init(
    path: [UInt8], content: Content, mode: UInt32, user: UInt32 = 0, group: UInt32 = 0,
    modified: Int64 = 0
  ) {
    self.path = path
    self.content = content
    self.mode = mode
    self.user = user
    self.group = group
    self.modified = modified
  }
}
