// SPDX-License-Identifier: Apache-2.0
// FileMode.swift: the type and permissions of a file, and device numbers (inode(7)).

/// The kinds of file, with the values of the mode's type bits.
public enum FileKind: UInt32 {
  case fifo = 0o010000
  case characterDevice = 0o020000
  case directory = 0o040000
  case blockDevice = 0o060000
  case regular = 0o100000
  case symbolicLink = 0o120000
  case socket = 0o140000

  /// The value in a directory entry (DT_* of getdents(2)).
  public var directoryEntryType: UInt8 { UInt8(rawValue >> 12) }
}

/// A file's kind and its permission bits in one number, as in `st_mode`.
public struct FileMode: Equatable {
  /// The number.
  public var rawValue: UInt32

  /// Takes a number as it is.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// A kind with permissions.
  public init(_ kind: FileKind, _ permissions: UInt32) {
    rawValue = kind.rawValue | (permissions & 0o7777)
  }

  /// The kind; a number without one counts as a regular file (mknod(2)).
  public var kind: FileKind { FileKind(rawValue: rawValue & 0o170000) ?? .regular }

  /// The twelve bits that chmod(2) sets.
  public var permissions: UInt32 {
    get { rawValue & 0o7777 }
    set { rawValue = (rawValue & ~0o7777) | (newValue & 0o7777) }
  }

  /// S_ISUID: the program runs as its owner.
  public static var setUser: UInt32 { 0o4000 }
  /// S_ISGID: the program runs in its group; a directory hands its group on.
  public static var setGroup: UInt32 { 0o2000 }
  /// S_ISVTX: in this directory only owners remove names.
  public static var sticky: UInt32 { 0o1000 }
}

/// A device's major and minor number, packed as Linux packs them for programs (makedev(3)).
public struct DeviceNumber: Equatable {
  /// The packed number.
  public let rawValue: UInt64

  /// Takes a packed number.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Packs two numbers.
  public init(major: UInt32, minor: UInt32) {
    let (major, minor) = (UInt64(major), UInt64(minor))
    rawValue = (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xff) << 12 | (major & ~0xfff) << 32
  }

  /// The driver's number.
  public var major: UInt32 { UInt32(truncatingIfNeeded: (rawValue >> 8 & 0xfff) | (rawValue >> 32 & ~0xfff)) }
  /// The device's number.
  public var minor: UInt32 { UInt32(truncatingIfNeeded: (rawValue & 0xff) | (rawValue >> 12 & 0xffff_ff00)) }
}

/// Everything that stat(2) and statx(2) tell.
public struct FileStatus {
  /// The file system's number.
  public var device: UInt64 = 0
  /// The file's number in it.
  public var inode: UInt64 = 0
  /// Kind and permissions.
  public var mode = FileMode(rawValue: 0)
  /// How many names it has.
  public var linkCount: UInt32 = 1
  /// The user's id.
  public var user: UInt32 = 0
  /// The group's id.
  public var group: UInt32 = 0
  /// Of a device node: which device.
  public var representedDevice: UInt64 = 0
  /// Length in bytes.
  public var size: Int64 = 0
  /// What transfers should be multiples of.
  public var blockSize: Int64 = 4096
  /// Space taken, in units of 512 bytes.
  public var blocks: Int64 = 0
  /// Times are in nanoseconds since 1970.
  public var accessTime: Int64 = 0
  /// When the contents changed last.
  public var modificationTime: Int64 = 0
  /// When anything changed last.
  public var changeTime: Int64 = 0
  /// When it was made.
  public var birthTime: Int64 = 0

  /// All zero.
  public init() {}
}

/// What a permission check asks for, with the values of access(2).
public struct AccessRights: Equatable {
  /// The bits.
  public var rawValue: UInt32
  /// Makes a set from its bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// To run a file, or to go through a directory (X_OK).
  public static var execute: AccessRights { .init(rawValue: 1) }
  /// To write (W_OK).
  public static var write: AccessRights { .init(rawValue: 2) }
  /// To read (R_OK).
  public static var read: AccessRights { .init(rawValue: 4) }
  /// Nothing: only that it is there (F_OK).
  public static var none: AccessRights { .init(rawValue: 0) }

  /// Both together.
  public func union(_ other: AccessRights) -> AccessRights { .init(rawValue: rawValue | other.rawValue) }
  /// Whether all of `other` is asked for.
  public func contains(_ other: AccessRights) -> Bool { rawValue & other.rawValue == other.rawValue }
}

/// On whose behalf files are used: the file-system ids and groups of a process.
public struct Credentials {
  /// The user's id.
  public var user: UInt32
  /// The group's id.
  public var group: UInt32
  /// The supplementary groups' ids.
  public var groups: [UInt32]

  /// Some ids; the superuser's by default.
  public init(user: UInt32 = 0, group: UInt32 = 0, groups: [UInt32] = []) {
    self.user = user
    self.group = group
    self.groups = groups
  }

  /// Whether checks are waived.
  public var isSuperuser: Bool { user == 0 }

  /// Whether the process belongs to a group.
  public func belongs(to other: UInt32) -> Bool {
    if group == other { return true }
    for member in groups where member == other { return true }
    return false
  }
}
