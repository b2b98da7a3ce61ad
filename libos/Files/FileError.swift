// SPDX-License-Identifier: Apache-2.0
// FileError.swift: why an operation of a file system failed, and what is wrong with a disk, in a sentence.

import ApusRuntime

/// What was found wrong on a disk.
public struct Damage: Error, Equatable, Sendable {
  /// What is wrong.
  public enum Kind: UInt8, Sendable {
    case notExt2
    case truncated
    case geometry
    case incompatibleFeature
    case unknownFeature
    case groupDescriptor
    case notClean
    case recordedError
    case inodeNumber
    case inodeKind
    case inodeFields
    case blockPointer
    case directoryEntry
    case directoryDots
    case directoryHole
    case link
    case bitmap
    case attributes
    case counts
    case nesting
    case writeFailed
    case askedFor
  }

  /// What is wrong.
  public let kind: Kind
  /// The block where it was found, in the file system's blocks.
  public let block: UInt64
  /// The number found there, or the inode concerned.
  public let value: UInt64

  /// Describes damage.
  public init(_ kind: Kind, block: UInt64, value: UInt64 = 0) {
    self.kind = kind
    self.block = block
    self.value = value
  }

  private var text: StaticString {
    switch kind {
    case .notExt2: "there is no ext2 file system here: wrong magic number"
    case .truncated: "the device is smaller than the file system; blocks"
    case .geometry: "the superblock's sizes contradict each other; field at byte"
    case .incompatibleFeature: "the file system needs features that are not supported; feature bits"
    case .unknownFeature: "the file system may only be read; unsupported feature bits"
    case .groupDescriptor: "a group descriptor points outside of its group; group"
    case .notClean: "the file system was not unmounted: run e2fsck -fp; state"
    case .recordedError: "the file system has a record of errors: run e2fsck -f; state"
    case .inodeNumber: "an entry names an impossible inode"
    case .inodeKind: "an inode has an impossible kind or is not in use; inode"
    case .inodeFields: "an inode's fields contradict each other; inode"
    case .blockPointer: "a pointer leads outside of the file system's data; block"
    case .directoryEntry: "a directory entry is malformed; byte"
    case .directoryDots: "a directory lacks its first two entries; inode"
    case .directoryHole: "a directory has a hole; inode"
    case .link: "a symbolic link's length is impossible; inode"
    case .bitmap: "a bitmap says free of what is in use, or the reverse; number"
    case .attributes: "an extended attribute block is malformed; inode"
    case .counts: "the free counts contradict the bitmaps; group"
    case .nesting: "directories contain each other; inode"
    case .writeFailed: "a write failed, so that nothing more is written; commit"
    case .askedFor: "mounted read-only, or the device takes no writes"
    }
  }

  /// One sentence that names the block, in ASCII.
  public var sentence: [UInt8] {
    StaticString("block ").bytes + decimal(block) + StaticString(": ").bytes + text.bytes
      + StaticString(" ").bytes + decimal(value)
  }
}

/// Why an operation failed; nothing was changed unless the operation says otherwise.
public enum FileError: Error, Equatable {
  /// No such name.
  case notFound
  /// The name is taken.
  case exists
  /// A directory is needed.
  case notDirectory
  /// A directory cannot be used so.
  case isDirectory
  /// The directory has entries.
  case notEmpty
  /// A name of more than 255 bytes, or a link's text longer than a block.
  case nameTooLong
  /// A name that is empty or has a slash or a zero byte, a kind that cannot be made, a directory moved below itself.
  case invalid
  /// No free block or inode.
  case noSpace
  /// The file would be larger than it can be.
  case tooLarge
  /// The file or directory has as many names as it can have.
  case tooManyLinks
  /// The file system may only be read.
  case readOnly
  /// No memory for another block.
  case noMemory
  /// The device failed at a block.
  case device(DeviceError, block: UInt64)
  /// The disk holds nonsense; from now on the file system may only be read.
  case damaged(Damage)

  init(_ error: CacheError) {
    switch error {
    case .device(let error, let block): self = .device(error, block: block)
    case .noMemory: self = .noMemory
    }
  }
}

/// A number in decimal digits.
func decimal(_ value: UInt64) -> [UInt8] {
  var digits: [UInt8] = []
  var rest = value
  repeat {
    digits.append(UInt8(ascii: "0") + UInt8(rest % 10))
    rest /= 10
  } while rest > 0
  digits.reverse()
  return digits
}
