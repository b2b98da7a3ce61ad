// SPDX-License-Identifier: Apache-2.0
// Driver.swift: random operations on a file system and on its model at the same time.

import ApusFiles
import Testing

/// What an operation was, for the oracle of power cuts and for messages.
struct Step: CustomStringConvertible {
  enum Kind: String {
    case create, directory, write, truncate, link, symbolicLink, unlink, removeDirectory, rename, attributes,
      synchronize
  }
  var kind: Kind
  /// The paths concerned; what is below a directory that moves is, too.
  var paths: [String] = []
  /// Whether a directory moved to another directory or block: e2fsck may have to ask.
  var movesDirectory = false
  /// Of a rename: the name that stood for something else before.
  var replaced: String?
  var description: String { "\(kind) \(paths.joined(separator: " "))" }
}

struct Driver {
  let system: Ext2
  var model = Model()
  var random: Seeded
  /// How far into a file writes go.
  var reach = 30_000
  var names = 12
  private var nodes: [Int: UInt64]
  private(set) var now: Int64 = 1_700_000_000_000_000_000
  private(set) var failures: [FileError] = []

  init(_ system: Ext2, seed: Int) {
    self.system = system
    random = Seeded(seed)
    nodes = [1: system.root]
  }

  /// The same game on the same contents, mounted again.
  func continued(on system: Ext2) throws -> Driver {
    var driver = Driver(system, seed: 0)
    driver.model = model
    driver.random = random
    driver.now = now
    var left = [1]
    while let directory = left.popLast() {
      for (name, file) in model.files[directory]?.names ?? [:] {
        driver.nodes[file] = try system.lookUp(Array(name.utf8), in: driver.node(directory))
        if model.files[file]?.item.kind == .directory { left.append(file) }
      }
    }
    return driver
  }

  private mutating func directory() -> Int {
    model.files.filter { $0.value.item.kind == .directory }.keys.sorted().randomElement(using: &random) ?? 1
  }

  private mutating func name() -> String {
    let number = random.below(names)
    return number % 4 == 3 ? "a-longer-name-that-fills-directories-\(number)" : "n\(number)"
  }

  func path(_ directory: Int, _ name: String) -> String {
    var path = "/" + name
    var number = directory
    while number != 1 {
      let parent = model.files[number]?.parent ?? 1
      let own = model.files[parent]?.names.first { $0.value == number }?.key ?? "?"
      path = "/" + own + path
      number = parent
    }
    return path
  }

  /// A name that stands for something of a kind.
  private mutating func existing(_ isWanted: (Item) -> Bool) -> (directory: Int, name: String, file: Int)? {
    var all: [(Int, String, Int)] = []
    for (number, file) in model.files {
      for (name, child) in file.names where model.files[child].map({ isWanted($0.item) }) == true {
        all.append((number, name, child))
      }
    }
    all.sort { ($0.0, $0.1) < ($1.0, $1.1) }
    return all.randomElement(using: &random).map { (directory: $0.0, name: $0.1, file: $0.2) }
  }

  private func node(_ file: Int) -> UInt64 { nodes[file] ?? 0 }

  /// Makes one operation; both sides do it, or neither.
  mutating func step(_ choice: Int? = nil) throws -> Step? {
    now += 1_000_000_007
    switch choice ?? random.below(100) {
    case 0..<18: return try create()
    case 18..<26: return try makeDirectory()
    case 26..<50: return try write()
    case 50..<57: return try truncate()
    case 57..<62: return try link()
    case 62..<67: return try makeLink()
    case 67..<78: return try unlink()
    case 78..<82: return try removeDirectory()
    case 82..<95: return try rename()
    case 95..<98: return try setAttributes()
    default:
      try system.synchronize()
      return Step(kind: .synchronize)
    }
  }

  /// Runs an operation that has to fail exactly if it should.
  private mutating func attempt<T>(_ expected: FileError?, _ body: () throws(FileError) -> T) throws -> T? {
    do throws(FileError) {
      let value = try body()
      if let expected { Issue.record("succeeded instead of \(expected)") }
      return value
    } catch {
      // A full disk is part of the game; the model does not know of space.
      if error != .noSpace { #expect(error == expected) }
      failures.append(error)
      return nil
    }
  }

  mutating func create() throws -> Step? {
    let (directory, name) = (directory(), name())
    let isTaken = model.files[directory]?.names[name] != nil
    let permissions = UInt16(random.below(0o1000))
    let new = NewNode(.regular, permissions: permissions)
    let (system, parent, time) = (system, node(directory), now)
    let path = path(directory, name)
    guard
      let made = try attempt(
        isTaken ? .exists : nil,
        { () throws(FileError) in
          try system.create(Array(name.utf8), in: parent, new, now: time)
        })
    else { return nil }
    let file = model.make(Item(kind: .regular, permissions: permissions), parent: directory)
    nodes[file] = made
    model.enter(name, file, in: directory)
    return Step(kind: .create, paths: [path])
  }

  mutating func makeDirectory() throws -> Step? {
    let (directory, name) = (directory(), name())
    let isTaken = model.files[directory]?.names[name] != nil
    let (system, parent, time) = (system, node(directory), now)
    let path = path(directory, name)
    guard
      let made = try attempt(
        isTaken ? .exists : nil,
        { () throws(FileError) in
          try system.create(Array(name.utf8), in: parent, NewNode(.directory, permissions: 0o755), now: time)
        })
    else { return nil }
    let file = model.make(Item(kind: .directory, permissions: 0o755), parent: directory)
    nodes[file] = made
    model.enter(name, file, in: directory)
    return Step(kind: .directory, paths: [path])
  }

  mutating func makeLink() throws -> Step? {
    let (directory, name) = (directory(), name())
    let isTaken = model.files[directory]?.names[name] != nil
    let text = random.bytes(1 + random.below(random.percent(50) ? 60 : 300)).map { $0 & 0x3f | 0x40 }
    let (system, parent, time) = (system, node(directory), now)
    let path = path(directory, name)
    guard
      let made = try attempt(
        isTaken ? .exists : nil,
        { () throws(FileError) in
          try system.makeLink(Array(name.utf8), in: parent, to: text, user: 0, group: 0, now: time)
        })
    else { return nil }
    let file = model.make(Item(kind: .symbolicLink, permissions: 0o777, contents: text), parent: directory)
    nodes[file] = made
    model.enter(name, file, in: directory)
    return Step(kind: .symbolicLink, paths: [path])
  }

  /// The other names of a file.
  private func paths(of file: Int) -> [String] {
    var paths: [String] = []
    for (number, other) in model.files {
      for (name, child) in other.names where child == file { paths.append(path(number, name)) }
    }
    return paths
  }

  mutating func write() throws -> Step? {
    guard let (_, _, file) = existing({ $0.kind == .regular }), let old = model.files[file]?.item.contents else {
      return nil
    }
    let offset = random.percent(40) ? old.count : random.below(reach)
    let contents = random.bytes(1 + random.below(random.percent(70) ? 3000 : 12_000))
    let (system, node, time) = (system, node(file), now)
    guard
      let count = try attempt(
        nil,
        { () throws(FileError) in
          try system.write(node, at: UInt64(offset), contents, now: time)
        })
    else { return nil }
    var new = old
    if new.count < offset + count { new += [UInt8](repeating: 0, count: offset + count - new.count) }
    new.replaceSubrange(offset..<offset + count, with: contents.prefix(count))
    model.files[file]?.item.contents = new
    return Step(kind: .write, paths: paths(of: file))
  }

  mutating func truncate() throws -> Step? {
    guard let (_, _, file) = existing({ $0.kind == .regular }), let old = model.files[file]?.item.contents else {
      return nil
    }
    let size = random.percent(30) ? 0 : random.below(reach)
    let (system, node, time) = (system, node(file), now)
    guard try attempt(nil, { () throws(FileError) in try system.truncate(node, to: UInt64(size), now: time) }) != nil
    else { return nil }
    model.files[file]?.item.contents =
      size <= old.count ? Array(old.prefix(size)) : old + [UInt8](repeating: 0, count: size - old.count)
    return Step(kind: .truncate, paths: paths(of: file))
  }

  mutating func link() throws -> Step? {
    guard let (_, _, file) = existing({ $0.kind != .directory }) else { return nil }
    let (directory, name) = (directory(), name())
    let isTaken = model.files[directory]?.names[name] != nil
    let (system, node, parent, time) = (system, node(file), node(directory), now)
    let all = paths(of: file) + [path(directory, name)]
    guard
      try attempt(
        isTaken ? .exists : nil,
        { () throws(FileError) in
          try system.link(node, as: Array(name.utf8), in: parent, now: time)
        }) != nil
    else { return nil }
    model.enter(name, file, in: directory)
    model.files[file]?.item.linkCount += 1
    return Step(kind: .link, paths: all)
  }

  mutating func unlink() throws -> Step? {
    guard let (directory, name, file) = existing({ $0.kind != .directory }) else { return nil }
    let (system, parent, time) = (system, node(directory), now)
    let all = paths(of: file)
    guard
      try attempt(nil, { () throws(FileError) in try system.unlink(Array(name.utf8), in: parent, now: time) }) != nil
    else { return nil }
    model.leave(name, directory)
    return Step(kind: .unlink, paths: all)
  }

  mutating func removeDirectory() throws -> Step? {
    guard let (directory, name, file) = existing({ $0.kind == .directory }) else { return nil }
    let isFull = model.files[file]?.names.isEmpty == false
    let (system, parent, time) = (system, node(directory), now)
    let path = path(directory, name)
    guard
      try attempt(
        isFull ? .notEmpty : nil,
        { () throws(FileError) in
          try system.removeDirectory(Array(name.utf8), in: parent, now: time)
        }) != nil
    else { return nil }
    model.leave(name, directory)
    return Step(kind: .removeDirectory, paths: [path])
  }

  mutating func rename() throws -> Step? {
    guard let (old, oldName, file) = existing({ _ in true }), let item = model.files[file]?.item else { return nil }
    let (new, newName) = (random.percent(50) ? old : directory(), name())
    let target = model.files[new]?.names[newName]
    var expected: FileError?
    if item.kind == .directory && model.isBelow(new, file) {
      expected = .invalid
    } else if let target, target != file, let other = model.files[target] {
      if item.kind == .directory {
        expected = other.item.kind != .directory ? .notDirectory : other.names.isEmpty ? nil : .notEmpty
      } else if other.item.kind == .directory {
        expected = .isDirectory
      }
    }
    let all = paths(of: file) + (target.map { paths(of: $0) } ?? []) + [path(new, newName)]
    let (system, from, to, time) = (system, node(old), node(new), now)
    guard
      try attempt(
        expected,
        { () throws(FileError) in
          try system.rename(Array(oldName.utf8), in: from, to: Array(newName.utf8), in: to, now: time)
        }) != nil
    else { return nil }
    if target == file { return Step(kind: .rename) }
    if target != nil { model.leave(newName, new) }
    model.files[old]?.names[oldName] = nil
    model.enter(newName, file, in: new)
    return Step(
      kind: .rename, paths: all, movesDirectory: item.kind == .directory,
      replaced: target != nil ? path(new, newName) : nil)
  }

  mutating func setAttributes() throws -> Step? {
    guard let (_, _, file) = existing({ $0.kind == .regular }) else { return nil }
    var change = AttributeChange()
    let permissions = UInt16(random.below(0o1000))
    change.permissions = permissions
    let (system, node, time) = (system, node(file), now)
    guard try attempt(nil, { () throws(FileError) in try system.setAttributes(of: node, change, now: time) }) != nil
    else { return nil }
    model.files[file]?.item.permissions = permissions
    return Step(kind: .attributes, paths: paths(of: file))
  }
}
