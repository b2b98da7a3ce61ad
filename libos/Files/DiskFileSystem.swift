// SPDX-License-Identifier: Apache-2.0
// DiskFileSystem.swift: what a LibOS mounts: files by number, and what can be done with them.

import ApusRuntime

/// The kinds of file, with the values of the mode's type bits (inode(7)).
public enum NodeKind: UInt16, Sendable {
  case fifo = 0o010000
  case characterDevice = 0o020000
  case directory = 0o040000
  case blockDevice = 0o060000
  case regular = 0o100000
  case symbolicLink = 0o120000
  case socket = 0o140000
}

/// Everything that stat(2) tells of a file; times are in nanoseconds since 1970.
public struct NodeAttributes: Equatable, Sendable {
  /// The kind.
  public var kind: NodeKind = .regular
  /// The twelve permission bits.
  public var permissions: UInt16 = 0
  /// The owner's user id.
  public var user: UInt32 = 0
  /// The owner's group id.
  public var group: UInt32 = 0
  /// How many names it has.
  public var linkCount: UInt32 = 0
  /// Length in bytes.
  public var size: UInt64 = 0
  /// Space taken, in units of 512 bytes.
  public var sectors: UInt64 = 0
  /// Of a device node: major and minor number, as makedev(3) packs them.
  public var device: UInt64 = 0
  /// When it was read last.
  public var accessTime: Int64 = 0
  /// When the contents changed last.
  public var modificationTime: Int64 = 0
  /// When anything changed last.
  public var changeTime: Int64 = 0
  /// When it was made; 0 if the disk does not say.
  public var birthTime: Int64 = 0

  /// All zero.
  public init() {}
}

/// What `setAttributes` changes; nil leaves something as it is.
public struct AttributeChange: Sendable {
  /// The twelve permission bits.
  public var permissions: UInt16?
  /// The owner's user id.
  public var user: UInt32?
  /// The owner's group id.
  public var group: UInt32?
  /// When it was read last.
  public var accessTime: Int64?
  /// When the contents changed last.
  public var modificationTime: Int64?

  /// Changes nothing.
  public init() {}
}

/// What a new file is to be.
public struct NewNode: Sendable {
  /// The kind; symbolic links are made by `makeLink`.
  public var kind: NodeKind
  /// The twelve permission bits.
  public var permissions: UInt16
  /// The owner's user id.
  public var user: UInt32
  /// The owner's group id.
  public var group: UInt32
  /// Of a device node: which device, as makedev(3) packs it.
  public var device: UInt64

  /// Describes a file to be made.
  public init(_ kind: NodeKind, permissions: UInt16, user: UInt32 = 0, group: UInt32 = 0, device: UInt64 = 0) {
    self.kind = kind
    self.permissions = permissions
    self.user = user
    self.group = group
    self.device = device
  }
}

/// One line of a directory.
public struct NodeEntry: Equatable, Sendable {
  /// The name, without a slash.
  public var name: [UInt8]
  /// The number of the file that it stands for.
  public var node: UInt64
  /// Its kind, if the directory says.
  public var kind: NodeKind?
  /// Where reading goes on after this entry.
  public var position: UInt64
}

/// What statfs(2) tells.
public struct SpaceSummary: Equatable, Sendable {
  /// The size of a block in bytes.
  public var blockByteCount: Int
  /// How many blocks files can have.
  public var blocks: UInt64
  /// How many are free.
  public var freeBlocks: UInt64
  /// How many are free for others than the superuser.
  public var availableBlocks: UInt64
  /// How many files there can be.
  public var nodes: UInt64
  /// How many there still can be.
  public var freeNodes: UInt64
  /// The longest name in bytes.
  public var nameByteCount: Int
}

/// A file system on a disk.
///
/// docs/storage.md says of each operation what is durable when it returns. One operation at a time: who mounts it for several threads holds a lock around each call. Times are arguments, in
/// nanoseconds since 1970. Permissions are the caller's to check. A file that has no name left stays as long as
/// somebody holds it.
public protocol DiskFileSystem: AnyObject {
  /// The number of the root directory.
  var root: UInt64 { get }
  /// Why it may only be read; nil if it may be written.
  var readOnlyReason: Damage? { get }
  /// What a name in a directory stands for; `.` and `..` are names, too.
  func lookUp(_ name: [UInt8], in directory: UInt64) throws(FileError) -> UInt64
  /// What stat(2) tells.
  func attributes(of node: UInt64) throws(FileError) -> NodeAttributes
  /// Changes owner, permissions or times.
  func setAttributes(of node: UInt64, _ change: AttributeChange, now: Int64) throws(FileError)
  /// Makes a file, a directory or a device node under a name that is not taken.
  func create(_ name: [UInt8], in directory: UInt64, _ new: NewNode, now: Int64) throws(FileError) -> UInt64
  /// Makes a symbolic link.
  func makeLink(
    _ name: [UInt8], in directory: UInt64, to target: [UInt8], user: UInt32, group: UInt32, now: Int64
  ) throws(FileError) -> UInt64
  /// The text of a symbolic link.
  func target(of node: UInt64) throws(FileError) -> [UInt8]
  /// Gives a file another name.
  func link(_ node: UInt64, as name: [UInt8], in directory: UInt64, now: Int64) throws(FileError)
  /// Takes a name of something that is no directory away.
  func unlink(_ name: [UInt8], in directory: UInt64, now: Int64) throws(FileError)
  /// Takes an empty directory away.
  func removeDirectory(_ name: [UInt8], in directory: UInt64, now: Int64) throws(FileError)
  /// Moves a name, replacing what has the new one already.
  func rename(
    _ name: [UInt8], in directory: UInt64, to newName: [UInt8], in newDirectory: UInt64, now: Int64
  ) throws(FileError)
  /// Copies contents out; returns how many bytes, 0 at or past the end.
  func read(_ node: UInt64, at offset: UInt64, into memory: Bytes) throws(FileError) -> Int
  /// Copies contents in, extending the file; returns how many bytes, fewer than given only if space ran out.
  func write(_ node: UInt64, at offset: UInt64, from memory: Bytes, now: Int64) throws(FileError) -> Int
  /// Cuts or extends a file.
  func truncate(_ node: UInt64, to size: UInt64, now: Int64) throws(FileError)
  /// The first entry whose position is greater than `position`; 0 begins. `.` and `..` are among them.
  func entry(of directory: UInt64, after position: UInt64) throws(FileError) -> NodeEntry?
  /// Somebody uses the file: it stays even without a name.
  func hold(_ node: UInt64) throws(FileError)
  /// Ends a use; the last one of a file without a name frees it.
  func release(_ node: UInt64) throws(FileError)
  /// Makes a file's contents and all changes before durable; with `dataOnly` (fdatasync(2)), what reading it needs.
  func synchronize(_ node: UInt64, dataOnly: Bool) throws(FileError)
  /// Makes everything durable.
  func synchronize() throws(FileError)
  /// Makes everything durable and marks the file system clean; nothing may be called afterwards.
  func unmount(now: Int64) throws(FileError)
  /// What statfs(2) tells.
  var space: SpaceSummary { get }
}
