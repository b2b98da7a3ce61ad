// SPDX-License-Identifier: Apache-2.0
// Location+Names.swift: making and removing names, with POSIX's rules.

import ApusRuntime

extension Location {
  /// Whether the directory may be changed by this process.
  func checkWritable(_ who: Credentials) throws(Errno) {
    try directory.check(AccessRights.write.union(.execute), who)
  }

  /// In a sticky directory, only owners remove names (inode(7)).
  func checkSticky(_ node: Inode, _ who: Credentials) throws(Errno) {
    if directory.mode.rawValue & FileMode.sticky == 0 || who.isSuperuser { return }
    guard who.user == node.user || who.user == directory.user else { throw .EPERM }
  }

  /// The owner of something made here: in a set-group directory, the directory's group.
  private func ownerHere(_ who: Credentials) -> Credentials {
    directory.mode.rawValue & FileMode.setGroup != 0 ? Credentials(user: who.user, group: directory.group) : who
  }

  /// Refuses a name that is taken, or that cannot be made.
  private func checkFree(_ who: Credentials) throws(Errno) {
    guard last == .name, node == nil else { throw .EEXIST }
    if directory.isRemoved { throw .ENOENT }
    try checkWritable(who)
  }

  /// Makes an empty regular file.
  public func createFile(permissions: UInt32, _ who: Credentials) throws(Errno) -> Inode {
    if hasTrailingSlash { throw .EISDIR }
    try checkFree(who)
    let file = RegularNode(directory.fileSystem, permissions: permissions & 0o7777, owner: ownerHere(who))
    try directory.add(file, name)
    return file
  }

  /// mkdir(2).
  public func makeDirectory(permissions: UInt32, _ who: Credentials) throws(Errno) {
    try checkFree(who)
    let inherited = directory.mode.rawValue & FileMode.setGroup
    let made = RamDirectory(
      directory.fileSystem, permissions: permissions & 0o1777 | inherited, owner: ownerHere(who))
    try directory.add(made, name)
  }

  /// mknod(2).
  public func makeNode(_ mode: FileMode, device: DeviceNumber, _ who: Credentials) throws(Errno) {
    if last == .name && node == nil && hasTrailingSlash { throw .ENOENT }
    try checkFree(who)
    let owner = ownerHere(who)
    let fileSystem = directory.fileSystem
    let made: Inode
    switch mode.kind {
    case .regular: made = RegularNode(fileSystem, permissions: mode.permissions, owner: owner)
    case .fifo: made = PipeNode(fileSystem, permissions: mode.permissions, owner: owner)
    case .socket: made = SocketNode(fileSystem, mode, owner: owner)
    case .characterDevice, .blockDevice:
      guard who.isSuperuser else { throw .EPERM }
      made = DeviceNode(fileSystem, mode, device: device, owner: owner)
    case .directory: throw .EPERM
    case .symbolicLink: throw .EINVAL
    }
    try directory.add(made, name)
  }

  /// symlink(2).
  public func makeSymbolicLink(to target: [UInt8], _ who: Credentials) throws(Errno) {
    guard !target.isEmpty else { throw .ENOENT }
    if last == .name && node == nil && hasTrailingSlash { throw .ENOENT }
    try checkFree(who)
    try directory.add(SymbolicLinkNode(directory.fileSystem, target: target, owner: ownerHere(who)), name)
  }

  /// link(2): another name for a file.
  public func makeLink(to file: Inode, _ who: Credentials) throws(Errno) {
    if last == .name && node == nil && hasTrailingSlash { throw .ENOENT }
    guard last == .name, node == nil else { throw .EEXIST }
    guard directory.fileSystem === file.fileSystem else { throw .EXDEV }
    guard file.asDirectory == nil else { throw .EPERM }
    try checkFree(who)
    try checkLinkable(file, who)
    guard file.linkCount < 65_000 else { throw .EMLINK }
    try directory.add(file, name)
  }

  /// Others' files get new names only from who may read and write them (proc_sys_fs(5), protected_hardlinks).
  private func checkLinkable(_ file: Inode, _ who: Credentials) throws(Errno) {
    if who.isSuperuser || who.user == file.user { return }
    let runsAsOther =
      file.mode.rawValue & FileMode.setUser != 0
      || file.mode.rawValue & (FileMode.setGroup | 0o010) == FileMode.setGroup | 0o010
    guard file.kind == .regular, !runsAsOther else { throw .EPERM }
    do throws(Errno) {
      try file.check(AccessRights.read.union(.write), who)
    } catch {
      throw .EPERM
    }
  }

  /// unlink(2).
  public func unlink(_ who: Credentials) throws(Errno) {
    guard last == .name else { throw .EISDIR }
    guard let node else { throw .ENOENT }
    try checkWritable(who)
    try checkSticky(node, who)
    if node.asDirectory != nil { throw .EISDIR }
    if hasTrailingSlash { throw .ENOTDIR }
    try directory.remove(name)
  }

  /// rmdir(2).
  public func removeDirectory(_ who: Credentials) throws(Errno) {
    switch last {
    case .name: break
    case .dot: throw .EINVAL
    case .dotDot: throw .ENOTEMPTY
    case .root: throw .EBUSY
    }
    guard let node else { throw .ENOENT }
    try checkWritable(who)
    try checkSticky(node, who)
    guard let target = node.asDirectory else { throw .ENOTDIR }
    if target.covered != nil { throw .EBUSY }
    guard target.isEmpty else { throw .ENOTEMPTY }
    try directory.remove(name)
    target.isRemoved = true
    target.linkCount = 0
  }
}

/// Flags of renameat2(2).
public struct RenameFlags: Equatable {
  /// The number as programs know it.
  public var rawValue: UInt32
  /// Takes a number as it is.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// What is there is replaced.
  public static var none: RenameFlags { .init(rawValue: 0) }
  /// RENAME_NOREPLACE: the new name must be free.
  public static var noReplace: RenameFlags { .init(rawValue: 1) }
  /// RENAME_EXCHANGE: the two names swap their files.
  public static var exchange: RenameFlags { .init(rawValue: 2) }
}

// Renaming.
extension Location {
  /// rename(2) and renameat2(2): this name becomes that one.
  public func rename(to target: Location, _ flags: RenameFlags, _ who: Credentials) throws(Errno) {
    guard flags.rawValue <= 2 else { throw .EINVAL }
    guard last == .name, target.last == .name else {
      throw flags == .noReplace && target.last != .name ? .EEXIST : .EBUSY
    }
    guard let node else { throw .ENOENT }
    if flags == .noReplace && target.node != nil { throw .EEXIST }
    if flags == .exchange && target.node == nil { throw .ENOENT }
    guard directory.fileSystem === target.directory.fileSystem else { throw .EXDEV }
    let source = node.asDirectory
    if source == nil && (hasTrailingSlash || (target.hasTrailingSlash && flags != .exchange)) { throw .ENOTDIR }
    // A directory cannot come to lie in itself.
    if let source, source.isAbove(target.directory) { throw .EINVAL }
    if let over = target.node?.asDirectory, over.isAbove(directory) {
      throw flags == .exchange ? .EINVAL : .ENOTEMPTY
    }
    try checkWritable(who)
    try checkSticky(node, who)
    try target.checkWritable(who)
    if target.directory.isRemoved { throw .ENOENT }
    if let over = target.node { try target.checkSticky(over, who) }
    if source?.covered != nil || target.node?.asDirectory?.covered != nil { throw .EBUSY }

    if flags == .exchange, let over = target.node {
      if over === node { return }
      try exchange(node, over, target)
      return
    }
    if let over = target.node {
      if over === node { return }  // two names of one file: nothing to do
      if let overDirectory = over.asDirectory {
        guard source != nil else { throw .EISDIR }
        guard overDirectory.isEmpty else { throw .ENOTEMPTY }
      } else if source != nil {
        throw .ENOTDIR
      }
      try directory.remove(name)
      try target.directory.replace(target.name, with: node)
      if let overDirectory = over.asDirectory {
        overDirectory.isRemoved = true
        overDirectory.linkCount = 0
      }
    } else {
      try directory.remove(name)
      try target.directory.add(node, target.name)
    }
  }

  private func exchange(_ node: Inode, _ over: Inode, _ target: Location) throws(Errno) {
    try directory.replace(name, with: over)
    try target.directory.replace(target.name, with: node)
  }
}

extension DirectoryNode {
  /// Whether `other` is this directory or lies below it.
  func isAbove(_ other: DirectoryNode) -> Bool {
    var current: DirectoryNode? = other
    while let directory = current {
      if directory === self { return true }
      current = directory.parent
    }
    return false
  }
}
