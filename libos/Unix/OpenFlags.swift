// SPDX-License-Identifier: Apache-2.0
// OpenFlags.swift: the flags of open(2), with Linux's values on x86_64.

/// Flags of an open file: its access mode, what open does, and its status.
public struct OpenFlags: Equatable {
  /// The bits as programs know them.
  public var rawValue: UInt32

  /// Takes a number as it is.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// O_RDONLY: no bits.
  public static var readOnly: OpenFlags { .init(rawValue: 0) }
  /// O_WRONLY.
  public static var writeOnly: OpenFlags { .init(rawValue: 1) }
  /// O_RDWR.
  public static var readWrite: OpenFlags { .init(rawValue: 2) }
  /// O_CREAT.
  public static var create: OpenFlags { .init(rawValue: 0o100) }
  /// O_EXCL.
  public static var exclusive: OpenFlags { .init(rawValue: 0o200) }
  /// O_NOCTTY.
  public static var noControllingTerminal: OpenFlags { .init(rawValue: 0o400) }
  /// O_TRUNC.
  public static var truncate: OpenFlags { .init(rawValue: 0o1000) }
  /// O_APPEND.
  public static var append: OpenFlags { .init(rawValue: 0o2000) }
  /// O_NONBLOCK.
  public static var nonBlocking: OpenFlags { .init(rawValue: 0o4000) }
  /// O_DSYNC.
  public static var dataSync: OpenFlags { .init(rawValue: 0o10000) }
  /// O_ASYNC.
  public static var async: OpenFlags { .init(rawValue: 0o20000) }
  /// O_DIRECT.
  public static var direct: OpenFlags { .init(rawValue: 0o40000) }
  /// O_LARGEFILE, which the kernel sets by itself on x86_64.
  public static var largeFile: OpenFlags { .init(rawValue: 0o100000) }
  /// O_DIRECTORY.
  public static var directory: OpenFlags { .init(rawValue: 0o200000) }
  /// O_NOFOLLOW.
  public static var noFollow: OpenFlags { .init(rawValue: 0o400000) }
  /// O_NOATIME.
  public static var noAccessTime: OpenFlags { .init(rawValue: 0o1000000) }
  /// O_CLOEXEC.
  public static var closeOnExec: OpenFlags { .init(rawValue: 0o2000000) }
  /// O_SYNC, which includes O_DSYNC.
  public static var sync: OpenFlags { .init(rawValue: 0o4010000) }
  /// O_PATH.
  public static var path: OpenFlags { .init(rawValue: 0o10000000) }
  /// O_TMPFILE, which includes O_DIRECTORY.
  public static var temporary: OpenFlags { .init(rawValue: 0o20200000) }

  /// What fcntl(F_SETFL) may change.
  public static var settable: OpenFlags { .init(rawValue: 0o2000 | 0o4000 | 0o20000 | 0o40000 | 0o1000000) }

  /// Whether every bit of `other` is set.
  public func contains(_ other: OpenFlags) -> Bool { rawValue & other.rawValue == other.rawValue }
  /// Both together.
  public func union(_ other: OpenFlags) -> OpenFlags { .init(rawValue: rawValue | other.rawValue) }
  /// Without the bits of `other`.
  public func subtracting(_ other: OpenFlags) -> OpenFlags { .init(rawValue: rawValue & ~other.rawValue) }
  /// What both have.
  public func intersection(_ other: OpenFlags) -> OpenFlags { .init(rawValue: rawValue & other.rawValue) }

  /// The access mode, 0-3.
  public var accessMode: UInt32 { rawValue & 3 }
  /// Whether reading is allowed.
  public var isReadable: Bool { (accessMode == 0 || accessMode == 2) && !contains(.path) }
  /// Whether writing is allowed.
  public var isWritable: Bool { (accessMode == 1 || accessMode == 2) && !contains(.path) }

  /// The permissions that an existing file must grant.
  ///
  /// Mode 3 asks for both and grants neither (open(2)).
  public var neededRights: AccessRights {
    if contains(.path) { return .none }
    var rights: AccessRights
    switch accessMode {
    case 0: rights = .read
    case 1: rights = .write
    default: rights = AccessRights.read.union(.write)
    }
    if contains(.truncate) { rights = rights.union(.write) }
    return rights
  }
}
