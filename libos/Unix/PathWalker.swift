// SPDX-License-Identifier: Apache-2.0
// PathWalker.swift: from a path to a file (path_resolution(7)).

import ApusRuntime

/// Where paths start and which permissions new files do not get; shared by tasks made with CLONE_FS.
public final class FileContext {
  /// Where absolute paths start.
  public var root: DirectoryNode
  /// Where relative paths start.
  public var working: DirectoryNode
  /// The permissions that new files do not get (umask(2)).
  public var mask: UInt32

  /// A context.
  public init(root: DirectoryNode, working: DirectoryNode, mask: UInt32 = 0o022) {
    self.root = root
    self.working = working
    self.mask = mask
  }

  /// The same for a new process.
  public func copy() -> FileContext { FileContext(root: root, working: working, mask: mask) }
}

/// What the last component of a path is.
public enum LastComponent {
  /// A name that can be made, removed, renamed.
  case name
  /// `.`
  case dot
  /// `..`
  case dotDot
  /// Nothing but slashes.
  case root
}

/// Where a path leads: a directory, a name in it, and what is there.
public struct Location {
  /// The directory that has, or would have, the last component.
  public var directory: DirectoryNode
  /// The last component; empty unless `last` is `.name`.
  public var name: [UInt8]
  /// What is there; nil: nothing.
  public var node: Inode?
  /// What the last component is.
  public var last: LastComponent
  /// Whether slashes follow the last component: it must be a directory.
  public var hasTrailingSlash: Bool
}

/// Walks paths for one process.
public struct PathWalker {
  /// Root and working directory.
  public let context: FileContext
  /// Who walks.
  public let credentials: Credentials
  /// Where relative paths start.
  public let base: DirectoryNode

  /// A walker whose relative paths start at the working directory, or at `base`.
  public init(_ context: FileContext, _ credentials: Credentials, base: DirectoryNode? = nil) {
    self.context = context
    self.credentials = credentials
    self.base = base ?? context.working
  }

  /// Longest component, and longest path with its closing zero (limits.h).
  public static var nameLimit: Int { 255 }
  /// The longest path, with its closing zero (PATH_MAX).
  public static var pathLimit: Int { 4096 }
  private static var linkLimit: Int { 40 }

  /// How the last component is treated.
  public enum Intent {
    /// It is looked up; a symbolic link is followed.
    case follow
    /// It is looked up; a symbolic link is what is meant, unless a slash follows.
    case noFollow
    /// It is a name to make, remove or rename: never followed.
    case name
  }

  /// The file of a path.
  ///
  /// - Throws: `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`.
  public func node(_ path: [UInt8], followLast: Bool = true) throws(Errno) -> Inode {
    guard let node = try walk(path, followLast ? .follow : .noFollow).node else { throw .ENOENT }
    return node
  }

  /// The directory of a path.
  public func directory(_ path: [UInt8]) throws(Errno) -> DirectoryNode {
    guard let directory = try node(path).asDirectory else { throw .ENOTDIR }
    return directory
  }

  /// Walks a path to its last component.
  ///
  /// - Returns: Where it leads; `node` is nil if only the last component is missing.
  public func walk(_ path: [UInt8], _ intent: Intent) throws(Errno) -> Location {
    guard !path.isEmpty else { throw .ENOENT }
    guard path.count < Self.pathLimit else { throw .ENAMETOOLONG }
    let slash = UInt8(ascii: "/")
    let dot = UInt8(ascii: ".")
    var pending = path
    var index = 0
    var links = 0
    var directory = path[0] == slash ? context.root : base
    while true {
      while index < pending.count && pending[index] == slash { index += 1 }
      let start = index
      while index < pending.count && pending[index] != slash { index += 1 }
      let end = index
      if start == end {
        return Location(directory: directory, name: [], node: directory, last: .root, hasTrailingSlash: false)
      }
      while index < pending.count && pending[index] == slash { index += 1 }
      let isLast = index == pending.count
      let hasTrailingSlash = isLast && index != end
      if end - start > Self.nameLimit { throw .ENAMETOOLONG }
      try directory.check(.execute, credentials)

      if pending[start] == dot && end - start == 1 {
        if isLast {
          return Location(
            directory: directory, name: [], node: directory, last: .dot, hasTrailingSlash: hasTrailingSlash)
        }
        continue
      }
      if pending[start] == dot && end - start == 2 && pending[start + 1] == dot {
        directory = above(directory)
        if isLast {
          return Location(
            directory: directory, name: [], node: directory, last: .dotDot, hasTrailingSlash: hasTrailingSlash)
        }
        continue
      }

      guard var node = try directory.find(pending[start..<end]) else {
        guard isLast else { throw .ENOENT }
        return Location(
          directory: directory, name: Array(pending[start..<end]), node: nil, last: .name,
          hasTrailingSlash: hasTrailingSlash)
      }
      if let link = node.asSymbolicLink, !isLast || follows(intent, hasTrailingSlash) {
        links += 1
        if links > Self.linkLimit { throw .ELOOP }
        guard let target = try link.targetNode() else {
          var text = try link.target()
          if text.isEmpty { throw .ENOENT }
          // What is still to be walked, with its slash: a trailing one stays.
          text.append(contentsOf: pending[end...])
          guard text.count < Self.pathLimit else { throw .ENAMETOOLONG }
          if text[0] == slash { directory = context.root }
          pending = text
          index = 0
          continue
        }
        node = target
      }
      if let below = node.asDirectory {
        let below = below.top
        if isLast {
          return Location(
            directory: directory, name: Array(pending[start..<end]), node: below, last: .name,
            hasTrailingSlash: hasTrailingSlash)
        }
        directory = below
        continue
      }
      guard isLast else { throw .ENOTDIR }
      if hasTrailingSlash && !isName(intent) { throw .ENOTDIR }
      return Location(
        directory: directory, name: Array(pending[start..<end]), node: node, last: .name,
        hasTrailingSlash: hasTrailingSlash)
    }
  }

  private func follows(_ intent: Intent, _ hasTrailingSlash: Bool) -> Bool {
    switch intent {
    case .follow: true
    case .noFollow: hasTrailingSlash
    case .name: false
    }
  }

  private func isName(_ intent: Intent) -> Bool {
    if case .name = intent { return true }
    return false
  }

  /// The directory above, but not above the process's root.
  private func above(_ directory: DirectoryNode) -> DirectoryNode {
    if directory === context.root { return directory }
    return directory.parent?.top ?? directory
  }
}

// From files back to paths.
extension PathWalker {
  /// The absolute path of a directory, as the process sees it.
  ///
  /// - Throws: `ENOENT` if it has been removed.
  public func path(of directory: DirectoryNode) throws(Errno) -> [UInt8] { try context.path(of: directory) }

  /// The absolute path where a file was found.
  public func path(of file: OpenFile) -> [UInt8] { context.path(of: file) }
}

extension FileContext {
  /// The absolute path of a directory, as getcwd(2) tells it.
  ///
  /// - Throws: `ENOENT` if it has been removed.
  public func path(of directory: DirectoryNode) throws(Errno) -> [UInt8] {
    var components: [[UInt8]] = []
    var current = directory
    while current !== root {
      if current.isRemoved { throw .ENOENT }
      guard let parent = current.parent else {
        // Outside the process's root.
        return Self.join(components, prefix: Array("(unreachable)".utf8))
      }
      components.append(current.covered?.name ?? current.name)
      current = parent.top
    }
    return Self.join(components, prefix: [])
  }

  private static func join(_ reversed: [[UInt8]], prefix: [UInt8]) -> [UInt8] {
    var path = prefix
    var index = reversed.count
    while index > 0 {
      index -= 1
      path.append(UInt8(ascii: "/"))
      path.append(contentsOf: reversed[index])
    }
    if path.count == prefix.count { path.append(UInt8(ascii: "/")) }
    return path
  }

  /// The path of an open file, as /proc/self/fd shows it.
  public func path(of file: OpenFile) -> [UInt8] {
    if let directory = file.node.asDirectory {
      do throws(Errno) { return try path(of: directory) } catch { return deleted(directory.name) }
    }
    guard let place = file.place else { return file.anonymousName() }
    return path(of: place, node: file.node)
  }

  /// The path of a file that was found at a place.
  public func path(of place: Place, node: Inode) -> [UInt8] {
    var result: [UInt8] = []
    // What never had a place in the tree, such as a memory file, hangs in a directory of its own.
    let isNowhere = place.directory.parent == nil && place.directory.isEmpty
    if !isNowhere {
      do throws(Errno) { result = try path(of: place.directory) } catch { return deleted(place.name) }
    }
    if result.last != UInt8(ascii: "/") { result.append(UInt8(ascii: "/")) }
    result.append(contentsOf: place.name)
    var isThere = false
    do throws(Errno) {
      if let found = try place.directory.find(place.name[...]), found === node { isThere = true }
    } catch {}
    if !isThere { result.append(contentsOf: " (deleted)".utf8) }
    return result
  }

  private func deleted(_ name: [UInt8]) -> [UInt8] {
    [UInt8(ascii: "/")] + name + Array(" (deleted)".utf8)
  }
}

/// Where a file was found when it was opened.
public struct Place {
  /// The directory that has the name.
  public let directory: DirectoryNode
  /// The name.
  public let name: [UInt8]

  /// A place.
  public init(directory: DirectoryNode, name: [UInt8]) {
    self.directory = directory
    self.name = name
  }
}
