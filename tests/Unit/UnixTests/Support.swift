// SPDX-License-Identifier: Apache-2.0
// Support.swift: short forms for the tests of ApusUnix.

import ApusRuntime
import Testing

@testable import ApusUnix

/// A tree with a walker of the superuser.
struct Tree {
  let files = RamFileSystem()
  let context: FileContext
  var who = Credentials()

  init() {
    context = FileContext(root: files.root, working: files.root)
  }

  var walker: PathWalker { PathWalker(context, who) }

  func place(_ path: String) throws(Errno) -> Location { try walker.walk(Array(path.utf8), .name) }
  func node(_ path: String, follow: Bool = true) throws(Errno) -> Inode {
    try walker.node(Array(path.utf8), followLast: follow)
  }
  func makeDirectory(_ path: String, _ permissions: UInt32 = 0o755) throws(Errno) {
    try place(path).makeDirectory(permissions: permissions, who)
  }
  @discardableResult func makeFile(_ path: String, _ contents: String = "") throws(Errno) -> Inode {
    let made = try place(path).createFile(permissions: 0o644, who)
    if !contents.isEmpty {
      let file = try made.open(.readWrite, Opener())
      _ = try file.put(Array(contents.utf8))
    }
    return made
  }
  func link(_ target: String, _ path: String) throws(Errno) {
    try place(path).makeSymbolicLink(to: Array(target.utf8), who)
  }
  func hardLink(_ from: String, _ to: String) throws(Errno) {
    try place(to).makeLink(to: try node(from, follow: false), who)
  }
  func unlink(_ path: String) throws(Errno) { try place(path).unlink(who) }
  func removeDirectory(_ path: String) throws(Errno) { try place(path).removeDirectory(who) }
  func rename(_ from: String, _ to: String, _ flags: RenameFlags = .none) throws(Errno) {
    try place(from).rename(to: try place(to), flags, who)
  }
  func contents(_ path: String) throws(Errno) -> String {
    let file = try node(path).open(.readOnly, Opener())
    return String(decoding: try file.take(1 << 20), as: UTF8.self)
  }
  func names(_ path: String) throws(Errno) -> [String] {
    let file = try node(path).open(.readOnly, Opener())
    var names: [String] = []
    while let entry = try file.nextEntry() {
      names.append(String(decoding: entry.name, as: UTF8.self))
      file.offset = entry.position
    }
    return names
  }
}

extension OpenFile {
  /// Reads at most `count` bytes.
  func take(_ count: Int) throws(Errno) -> [UInt8] {
    var buffer = [UInt8](repeating: 0xee, count: count)
    let result: Result<Int, Errno> = Bytes.withArray(&buffer) { bytes in
      do throws(Errno) { return .success(try self.read(bytes)) } catch { return .failure(error) }
    }
    return Array(buffer[..<(try result.get())])
  }

  /// Writes bytes.
  func put(_ contents: [UInt8]) throws(Errno) -> Int {
    var buffer = contents
    let result: Result<Int, Errno> = Bytes.withArray(&buffer) { bytes in
      do throws(Errno) { return .success(try self.write(bytes)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  /// Writes bytes at a position.
  func put(_ contents: [UInt8], at position: Int64) throws(Errno) -> Int {
    var buffer = contents
    let result: Result<Int, Errno> = Bytes.withArray(&buffer) { bytes in
      do throws(Errno) { return .success(try self.pwrite(bytes, at: position)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  /// Reads at a position.
  func take(_ count: Int, at position: Int64) throws(Errno) -> [UInt8] {
    var buffer = [UInt8](repeating: 0xee, count: count)
    let result: Result<Int, Errno> = Bytes.withArray(&buffer) { bytes in
      do throws(Errno) { return .success(try self.pread(bytes, at: position)) } catch { return .failure(error) }
    }
    return Array(buffer[..<(try result.get())])
  }
}

/// The bytes of some text.
func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Counts its wake-ups.
final class CountingWaiter: Waiter {
  var count = 0
  func wake() { count += 1 }
}

/// Numbers that look random and are the same each time (xorshift64).
struct Sequence64 {
  private var state: UInt64
  init(seed: UInt64) { state = seed &* 2_862_933_555_777_941_757 | 1 }
  mutating func next(below limit: Int) -> Int {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Int(state % UInt64(limit))
  }
}
