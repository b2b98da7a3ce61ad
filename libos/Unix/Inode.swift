// SPDX-License-Identifier: Apache-2.0
// Inode.swift: what every file has, whatever its kind: number, owner, permissions, times (inode(7)).

import ApusRuntime

/// A mounted tree of files: it numbers its inodes and says what statfs(2) tells.
public final class FileSystem {
  /// The number in `st_dev`.
  public let device: UInt64
  /// The name in /proc/mounts.
  public let typeName: String
  /// The number in statfs(2).
  public let magic: Int64
  /// Whether its files take pages of the pool, so that statfs(2) tells of space.
  public let hasSpace: Bool
  private var lastNumber: UInt64 = 0
  /// How many inodes live.
  public internal(set) var inodeCount = 0

  /// Makes a tree without files.
  public init(device: UInt64, typeName: String, magic: Int64, hasSpace: Bool = false) {
    self.hasSpace = hasSpace
    self.device = device
    self.typeName = typeName
    self.magic = magic
  }

  func nextNumber() -> UInt64 {
    lastNumber += 1
    return lastNumber
  }
}

/// A file of any kind.
///
/// Subclasses add the contents. An inode lives as long as somebody refers to it: a directory entry, an open file, a mapping. So an
/// unlinked file that is still open keeps its contents until the last of these is gone.
open class Inode {
  /// The tree that it belongs to.
  public final let fileSystem: FileSystem
  /// Its number there.
  public final let number: UInt64
  /// Kind and permissions.
  public final var mode: FileMode
  /// The owner's user id.
  public final var user: UInt32
  /// The owner's group id.
  public final var group: UInt32
  /// How many names it has.
  public final var linkCount: UInt32 = 0
  /// Times are in nanoseconds since 1970.
  public final var accessTime: Int64
  /// When the contents changed last.
  public final var modificationTime: Int64
  /// When anything changed last.
  public final var changeTime: Int64
  /// When it was made.
  public final let birthTime: Int64
  /// Locks that processes hold on the file; nil as long as nobody asked for one.
  public final var locks: FileLocks?

  /// The queue of open files that are always ready: nobody is ever told here.
  final lazy var quietQueue = WaitQueue()

  /// Makes a file that has no name yet.
  ///
  /// - Parameters:
  ///   - fileSystem: The tree that it belongs to.
  ///   - mode: Kind and permissions.
  ///   - owner: Whose it is.
  ///   - number: Its number; nil: the next one.
  public init(_ fileSystem: FileSystem, _ mode: FileMode, owner: Credentials, number: UInt64? = nil) {
    self.fileSystem = fileSystem
    self.number = number ?? fileSystem.nextNumber()
    self.mode = mode
    user = owner.user
    group = owner.group
    let now = Inode.now
    accessTime = now
    modificationTime = now
    changeTime = now
    birthTime = now
    fileSystem.inodeCount += 1
  }

  deinit { fileSystem.inodeCount -= 1 }

  /// The wall clock, as file times count it.
  public static var now: Int64 { Int64(truncatingIfNeeded: Clock.realtimeNanoseconds) }

  /// The kind of file.
  public final var kind: FileKind { mode.kind }

  /// Length of the contents in bytes.
  open var size: Int64 { 0 }

  /// Pages taken by the contents.
  open var pageCount: Int { 0 }

  /// Of a device node: which device.
  open var representedDevice: DeviceNumber { DeviceNumber(rawValue: 0) }

  /// The directory that this is, or nil. (Embedded Swift has no casts between classes.)
  open var asDirectory: DirectoryNode? { nil }
  /// The symbolic link that this is, or nil.
  open var asSymbolicLink: SymbolicLinkNode? { nil }
  /// The place of a local socket that this is, or nil.
  open var asSocketNode: SocketNode? { nil }
  /// The regular file of the RAM file system that this is, or nil.
  open var asRegular: RegularNode? { nil }

  /// Makes an open file of this inode; permissions have been checked, O_TRUNC has been done.
  open func open(_ flags: OpenFlags, _ opener: Opener) throws(Errno) -> OpenFile { throw .ENXIO }

  /// Makes an open file to run as a program.
  ///
  /// - Throws: `ETXTBSY` if somebody has it open for writing; what `open` throws.
  open func openProgram(_ opener: Opener) throws(Errno) -> OpenFile { try open(.readOnly, opener) }

  /// Cuts or extends the contents.
  open func truncate(to size: Int64) throws(Errno) { throw .EINVAL }

  /// What stat(2) tells.
  open func status() -> FileStatus {
    var status = FileStatus()
    status.device = fileSystem.device
    status.inode = number
    status.mode = mode
    status.linkCount = linkCount
    status.user = user
    status.group = group
    status.representedDevice = representedDevice.rawValue
    status.size = size
    status.blocks = Int64(pageCount) * 8
    status.accessTime = accessTime
    status.modificationTime = modificationTime
    status.changeTime = changeTime
    status.birthTime = birthTime
    return status
  }

  /// Notes that the contents have changed.
  public final func contentsChanged() {
    let now = Inode.now
    modificationTime = now
    changeTime = now
  }

  /// Notes that the contents have been read: only if that says something new (mount(8), relatime).
  public final func contentsRead() {
    if accessTime > modificationTime && accessTime > changeTime { return }
    accessTime = Inode.now
  }
}

// Permissions and attributes.
extension Inode {
  /// Refuses what the permission bits do not grant (path_resolution(7)).
  public final func check(_ rights: AccessRights, _ who: Credentials) throws(Errno) {
    if rights == .none { return }
    if who.isSuperuser {
      // The superuser runs a file only if somebody may.
      if rights.contains(.execute) && kind != .directory && mode.permissions & 0o111 == 0 { throw .EACCES }
      return
    }
    let granted: UInt32
    if who.user == user {
      granted = mode.rawValue >> 6 & 7
    } else if who.belongs(to: group) {
      granted = mode.rawValue >> 3 & 7
    } else {
      granted = mode.rawValue & 7
    }
    guard granted & rights.rawValue == rights.rawValue else { throw .EACCES }
  }

  /// chmod(2).
  public final func changePermissions(_ permissions: UInt32, _ who: Credentials) throws(Errno) {
    guard who.isSuperuser || who.user == user else { throw .EPERM }
    if kind == .symbolicLink { throw .EOPNOTSUPP }
    var permissions = permissions & 0o7777
    if !who.isSuperuser && kind != .directory && !who.belongs(to: group) { permissions &= ~FileMode.setGroup }
    mode.permissions = permissions
    changeTime = Inode.now
  }

  /// chown(2); nil leaves an id as it is.
  public final func changeOwner(user newUser: UInt32?, group newGroup: UInt32?, _ who: Credentials) throws(Errno) {
    if !who.isSuperuser {
      if let newUser, newUser != user || who.user != user { throw .EPERM }
      if let newGroup, who.user != user || !(newGroup == group || who.belongs(to: newGroup)) { throw .EPERM }
    }
    if let newUser { user = newUser }
    if let newGroup { group = newGroup }
    if kind == .regular && (newUser != nil || newGroup != nil) {
      mode.permissions &= ~FileMode.setUser
      if mode.permissions & 0o010 != 0 { mode.permissions &= ~FileMode.setGroup }
    }
    changeTime = Inode.now
  }

  /// A time for utimensat(2).
  public enum TimeChange {
    case keep
    case now
    case set(Int64)
  }

  /// utimensat(2): the owner may set any time; who may write may set both to now.
  public final func changeTimes(
    access: TimeChange, modification: TimeChange, _ who: Credentials
  ) throws(Errno) {
    var onlyNow = true
    if case .now = access {} else { onlyNow = false }
    if case .now = modification {} else { onlyNow = false }
    if case .keep = access, case .keep = modification { return }
    if !who.isSuperuser && who.user != user {
      guard onlyNow else { throw .EPERM }
      try check(.write, who)
    }
    let now = Inode.now
    switch access {
    case .keep: break
    case .now: accessTime = now
    case .set(let time): accessTime = time
    }
    switch modification {
    case .keep: break
    case .now: modificationTime = now
    case .set(let time): modificationTime = time
    }
    changeTime = now
  }

  /// After a write by somebody else than the superuser, a program loses its set-id bits.
  public final func dropSetIdentifiers(_ who: Credentials) {
    if mode.rawValue & (FileMode.setUser | FileMode.setGroup) == 0 || who.isSuperuser { return }
    mode.permissions &= ~FileMode.setUser
    if mode.permissions & 0o010 != 0 { mode.permissions &= ~FileMode.setGroup }
  }
}

/// Who opens a file, for inodes whose open file depends on that (terminals, /proc).
public struct Opener {
  /// The process's terminal, if it has one.
  public var terminal: Terminal?
  /// What device nodes stand for; nil: there are no devices.
  public var devices: Devices?

  /// An opener.
  public init(terminal: Terminal? = nil, devices: Devices? = nil) {
    self.terminal = terminal
    self.devices = devices
  }
}

/// A symbolic link.
open class SymbolicLinkNode: Inode {
  private let text: [UInt8]

  /// Makes a link to a path.
  public init(_ fileSystem: FileSystem, target: [UInt8], owner: Credentials, number: UInt64? = nil) {
    text = target
    super.init(fileSystem, FileMode(.symbolicLink, 0o777), owner: owner, number: number)
  }

  /// The path that the link stands for.
  open func target() throws(Errno) -> [UInt8] { text }

  /// The inode itself, of a link in /proc that stands for a file and not for a path.
  open func targetNode() throws(Errno) -> Inode? { nil }

  open override var size: Int64 { Int64(text.count) }
  open override var asSymbolicLink: SymbolicLinkNode? { self }
  open override func open(_ flags: OpenFlags, _ opener: Opener) throws(Errno) -> OpenFile { throw .ELOOP }
}
