// SPDX-License-Identifier: Apache-2.0
// FileTree.swift: the file tree that the guest starts with, gathered from the host.

import ApusImage
import Glibc

/// Entries of an image, parents before children, and where each one's data comes from.
struct FileTree {
  enum Source {
    case none
    case bytes([UInt8])
    case host(Path)
  }

  private(set) var entries: [ImageEntry] = []
  private(set) var sources: [Source] = []
  private var indexes: [Path: Int] = [:]
  /// Bytes of file data, each file counted in whole pages.
  private(set) var dataSize: UInt64 = 0
  /// Files that a guest cannot have: devices, sockets, pipes, other file systems.
  private(set) var skipped: [Path] = []

  func contains(_ path: Path) -> Bool { indexes[path] != nil }

  /// Adds a directory and those above it, unless they are there.
  mutating func addDirectory(_ path: Path, mode: UInt32 = 0o755) {
    guard indexes[path] == nil else { return }
    let parts = PathWalk.components(path)
    if !parts.isEmpty { addDirectory(PathWalk.join(Array(parts.dropLast()))) }
    add(
      ImageEntry(path: path, content: .directory, mode: FileMode.directory | mode, modified: Self.now), .none)
  }

  /// Adds a small file made here, unless there is one.
  mutating func addFile(_ path: Path, bytes: [UInt8], mode: UInt32 = 0o644) {
    guard indexes[path] == nil else { return }
    addDirectory(PathWalk.join(Array(PathWalk.components(path).dropLast())))
    add(
      ImageEntry(
        path: path, content: .file(size: UInt64(bytes.count)), mode: FileMode.regular | mode,
        modified: Self.now),
      .bytes(bytes))
  }

  /// Adds a file of the host under another path; one that is there is replaced by nothing.
  mutating func addFile(_ path: Path, from host: Path, _ facts: FileFacts) {
    guard indexes[path] == nil else { return }
    addDirectory(PathWalk.join(Array(PathWalk.components(path).dropLast())))
    addEntry(path, .file(size: facts.size), facts, .host(host))
  }

  /// Adds a file of the host with the symbolic links that lead to it.
  mutating func addWalk(_ walk: PathWalk) {
    for step in walk.steps {
      switch step {
      case .directory(let path, _): addDirectory(path)
      case .symbolicLink(let path, let target, let facts):
        guard !contains(path) else { continue }
        addEntry(path, .symbolicLink(target: target), facts, .none)
      case .file(let path, let facts):
        guard !contains(path) else { continue }
        addEntry(path, .file(size: facts.size), facts, .host(path))
      }
    }
  }

  /// Adds everything below a directory of the host as the guest's root, up to `limit` bytes of file data.
  mutating func addTree(_ root: Path, limit: UInt64) throws(Failure) {
    var first: [HardLinkKey: Int] = [:]
    var device: UInt64?
    var pending: [Path] = [[]]
    while let folder = pending.popLast() {
      let place = folder.isEmpty ? [HostFile.slash] : folder
      do throws(HostError) {
        if folder.isEmpty {
          let facts = try HostFile.facts(root + place)
          device = facts.device
          addEntry(place, .directory, facts, .none)
        }
        var folders: [Path] = []
        for name in try HostFile.names(in: root + place) {
          let path = folder + [HostFile.slash] + name
          let facts = try HostFile.facts(root + path)
          if facts.isDirectory {
            addEntry(path, .directory, facts, .none)
            if facts.device == device { folders.append(path) } else { skipped.append(path) }
          } else if facts.isSymbolicLink {
            addEntry(path, .symbolicLink(target: try HostFile.linkTarget(root + path)), facts, .none)
          } else if facts.isRegular {
            let key = HardLinkKey(device: facts.device, inode: facts.inode)
            if facts.linkCount > 1, let index = first[key] {
              addEntry(path, .hardLink(index: index), facts, .none)
              continue
            }
            first[key] = entries.count
            addEntry(path, .file(size: facts.size), facts, .host(root + path))
            guard dataSize <= limit else { return }
          } else {
            skipped.append(path)
          }
        }
        pending += folders.reversed()
      } catch {
        throw Failure(
          sentence: "\(shown(root + place)) cannot be packed: \(error.words)", status: Status.machine)
      }
    }
  }

  /// Adds what programs expect of any system and the tree does not have.
  mutating func addSkeleton(withAccounts: Bool) {
    addDirectory([HostFile.slash])
    addDirectory(Path("/tmp".utf8), mode: 0o1777)
    addDirectory(Path("/dev".utf8))
    addDirectory(Path("/proc".utf8), mode: 0o555)
    guard withAccounts else { return }
    addDirectory(Path("/root".utf8), mode: 0o700)
    addFile(
      Path("/etc/passwd".utf8),
      bytes: Array(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n".utf8))
    addFile(Path("/etc/group".utf8), bytes: Array("root:x:0:\nnogroup:x:65534:\n".utf8))
    addFile(Path("/etc/hostname".utf8), bytes: Array("apus\n".utf8))
  }

  /// When the files were made that are made here.
  private static let now = Int64(time(nil))

  private struct HardLinkKey: Hashable {
    let device: UInt64
    let inode: UInt64
  }

  private mutating func addEntry(
    _ path: Path, _ content: ImageEntry.Content, _ facts: FileFacts, _ source: Source
  ) {
    add(
      ImageEntry(
        path: path, content: content, mode: facts.mode, user: facts.user, group: facts.group,
        modified: facts.modified),
      source)
  }

  private mutating func add(_ entry: ImageEntry, _ source: Source) {
    indexes[entry.path] = entries.count
    entries.append(entry)
    sources.append(source)
    if case .file(let size) = entry.content { dataSize += (size + 4095) / 4096 * 4096 }
  }
}
