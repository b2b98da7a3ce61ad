// SPDX-License-Identifier: Apache-2.0
// RamFileSystem.swift: the tree that a family starts with: the boot image's files, /dev and /tmp.

import ApusRuntime

/// The family's files: the root directory and what the boot image brought.
public final class RamFileSystem {
  /// What numbers the inodes.
  public let fileSystem: FileSystem
  /// The directory that everything hangs from.
  public let root: RamDirectory
  private let superuser = Credentials()

  /// A tree with nothing but its root.
  public init() {
    // TMPFS_MAGIC, statfs(2).
    fileSystem = FileSystem(device: 0x11, typeName: "tmpfs", magic: 0x0102_1994, hasSpace: true)
    root = RamDirectory(fileSystem, permissions: 0o755, owner: superuser)
  }

  /// The directory of an absolute path, made if need be, with its parents.
  @discardableResult
  public func makeDirectories(_ path: [UInt8], permissions: UInt32 = 0o755) throws(Errno) -> DirectoryNode {
    var directory: DirectoryNode = root
    var index = 0
    while index < path.count {
      while index < path.count && path[index] == UInt8(ascii: "/") { index += 1 }
      let start = index
      while index < path.count && path[index] != UInt8(ascii: "/") { index += 1 }
      if start == index { break }
      let name = path[start..<index]
      if let found = try directory.find(name) {
        guard let below = found.asDirectory else { throw .ENOTDIR }
        directory = below
      } else {
        let isLast = index == path.count
        let made = RamDirectory(fileSystem, permissions: isLast ? permissions : 0o755, owner: superuser)
        try directory.add(made, Array(name))
        directory = made
      }
    }
    return directory
  }

  /// Enters a node under an absolute path whose parents are made if need be; it replaces what is there.
  public func place(_ node: Inode, at path: [UInt8]) throws(Errno) {
    var slash = path.count
    while slash > 0 && path[slash - 1] != UInt8(ascii: "/") { slash -= 1 }
    let name = Array(path[slash...])
    guard !name.isEmpty else { throw .EEXIST }
    let directory = try makeDirectories(Array(path[..<slash]))
    if try directory.find(name[...]) != nil {
      try directory.replace(name, with: node)
    } else {
      try directory.add(node, name)
    }
  }

  /// Makes the directories that programs expect and mounts /dev.
  public func furnish() throws(Errno) {
    for path in ["/tmp", "/var/tmp"] {
      try makeDirectories(bytes(path), permissions: 0o1777).mode.permissions = 0o1777
    }
    for path in ["/proc", "/dev", "/etc", "/root"] { try makeDirectories(bytes(path)) }
    try makeDirectories(bytes("/dev")).mount(makeDevices())
  }

  /// The tree of /dev.
  private func makeDevices() throws(Errno) -> DirectoryNode {
    let tree = FileSystem(device: 0x06, typeName: "devtmpfs", magic: 0x0102_1994, hasSpace: true)
    let directory = RamDirectory(tree, permissions: 0o755, owner: superuser)
    let nodes: [(String, UInt32, UInt32)] = [
      ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
      ("console", 5, 1), ("ptmx", 5, 2),
    ]
    for (name, major, minor) in nodes {
      let permissions: UInt32 = major == 5 && minor == 1 ? 0o600 : 0o666
      let node = DeviceNode(
        tree, FileMode(.characterDevice, permissions), device: DeviceNumber(major: major, minor: minor),
        owner: superuser)
      try directory.add(node, bytes(name))
    }
    let links: [(String, String)] = [
      ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
      ("stderr", "/proc/self/fd/2"),
    ]
    for (name, target) in links {
      try directory.add(SymbolicLinkNode(tree, target: bytes(target), owner: superuser), bytes(name))
    }
    let shared = RamDirectory(tree, permissions: 0o1777, owner: superuser)
    try directory.add(shared, bytes("shm"))
    try directory.add(RamDirectory(tree, permissions: 0o755, owner: superuser), bytes("pts"))
    return directory
  }
}

/// The bytes of a literal.
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
