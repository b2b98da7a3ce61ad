// SPDX-License-Identifier: Apache-2.0
// Tree.swift: a file system's whole contents as a value, from a disk or from the model that tests compare with.

import ApusFiles
import ApusRuntime

/// A file as comparisons see it.
struct Item: Equatable, CustomStringConvertible {
  var kind: NodeKind
  var permissions: UInt16 = 0
  var linkCount: UInt32 = 1
  var contents: [UInt8] = []

  var description: String {
    "\(kind) 0\(String(permissions, radix: 8)) \(linkCount) links, \(contents.count) bytes \(contents.prefix(8))"
  }
}

extension DiskFileSystem {
  func contents(of node: UInt64) throws(FileError) -> [UInt8] {
    let size = Int(try attributes(of: node).size)
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0xee, count: 7000)
    while bytes.count < size {
      let offset = UInt64(bytes.count)
      let outcome: Result<Int, FileError> = Bytes.withArray(&buffer) { memory in
        do throws(FileError) { return .success(try read(node, at: offset, into: memory)) } catch {
          return .failure(error)
        }
      }
      let count = try outcome.get()
      if count == 0 { break }
      bytes += buffer.prefix(count)
    }
    return bytes
  }

  @discardableResult
  func write(_ node: UInt64, at offset: UInt64, _ contents: [UInt8], now: Int64 = 0) throws(FileError) -> Int {
    var contents = contents
    let outcome: Result<Int, FileError> = Bytes.withArray(&contents) { memory in
      do throws(FileError) { return .success(try write(node, at: offset, from: memory, now: now)) } catch {
        return .failure(error)
      }
    }
    return try outcome.get()
  }

  func entries(of node: UInt64) throws(FileError) -> [NodeEntry] {
    var entries: [NodeEntry] = []
    var position: UInt64 = 0
    while let entry = try entry(of: node, after: position) {
      entries.append(entry)
      position = entry.position
      if entries.count > 100_000 { break }
    }
    return entries
  }

  /// Everything below a directory, by path; `lost+found` and what repairs put there left out.
  func tree(_ limit: Int = 100_000) throws(FileError) -> [String: Item] {
    var items: [String: Item] = [:]
    var left: [(path: String, node: UInt64)] = [("", root)]
    while let (path, node) = left.popLast() {
      for entry in try entries(of: node) where entry.name != [0x2e] && entry.name != [0x2e, 0x2e] {
        let name = path + "/" + String(decoding: entry.name, as: UTF8.self)
        if name == "/lost+found" { continue }
        let attributes = try attributes(of: entry.node)
        var item = Item(kind: attributes.kind, permissions: attributes.permissions, linkCount: attributes.linkCount)
        switch attributes.kind {
        case .directory:
          item.linkCount = 0
          if items.count < limit { left.append((name, entry.node)) }
        case .regular: item.contents = try contents(of: entry.node)
        case .symbolicLink: item.contents = try target(of: entry.node)
        default: break
        }
        items[name] = item
      }
    }
    return items
  }

  /// The node of a path from the root.
  func node(_ path: String) throws(FileError) -> UInt64 {
    var node = root
    for part in path.split(separator: "/") { node = try lookUp(Array(part.utf8), in: node) }
    return node
  }
}

/// A file system in a few lines, which nothing can go wrong with.
struct Model {
  struct File {
    var item: Item
    var names: [String: Int] = [:]
    var parent = 0
  }

  var files: [Int: File] = [1: File(item: Item(kind: .directory, permissions: 0o755))]
  private var last = 1

  mutating func make(_ item: Item, parent: Int) -> Int {
    last += 1
    files[last] = File(item: item, parent: parent)
    return last
  }

  mutating func enter(_ name: String, _ file: Int, in directory: Int) {
    files[directory]?.names[name] = file
    files[file]?.parent = directory
  }

  mutating func leave(_ name: String, _ directory: Int) {
    guard let file = files[directory]?.names.removeValue(forKey: name) else { return }
    files[file]?.item.linkCount -= 1
    if files[file]?.item.linkCount == 0 || files[file]?.item.kind == .directory { files[file] = nil }
  }

  /// Whether a directory is in another or is that one.
  func isBelow(_ directory: Int, _ other: Int) -> Bool {
    var above = directory
    while above != other {
      if above == 1 { return false }
      above = files[above]?.parent ?? 1
    }
    return true
  }

  var tree: [String: Item] {
    var items: [String: Item] = [:]
    var left = [("", 1)]
    while let (path, number) = left.popLast() {
      for (name, child) in files[number]?.names ?? [:] {
        guard var item = files[child]?.item else { continue }
        if item.kind == .directory {
          item.linkCount = 0
          left.append((path + "/" + name, child))
        }
        items[path + "/" + name] = item
      }
    }
    return items
  }
}

/// Where two trees differ, in a few lines.
func difference(_ found: [String: Item], _ expected: [String: Item]) -> [String] {
  var lines: [String] = []
  for name in Set(found.keys).union(expected.keys).sorted() where found[name] != expected[name] {
    lines.append(
      "\(name): \(found[name].map(\.description) ?? "none") instead of \(expected[name].map(\.description) ?? "none")")
  }
  return Array(lines.prefix(10))
}
