// SPDX-License-Identifier: Apache-2.0
// NameTests.swift: names are made, removed and renamed by POSIX's rules.

import Testing

@testable import ApusUnix

@Suite struct NameTests {
  @Test func takenNamesAndMissingOnes() throws {
    let tree = Tree()
    try tree.makeDirectory("/d")
    try tree.makeFile("/f")
    #expect(throws: Errno.EEXIST) { try tree.makeDirectory("/d") }
    #expect(throws: Errno.EEXIST) { try tree.makeDirectory("/f") }
    #expect(throws: Errno.EEXIST) { try tree.makeDirectory("/") }
    #expect(throws: Errno.EEXIST) { try tree.makeDirectory("/d/.") }
    #expect(throws: Errno.EEXIST) { try tree.link("x", "/f") }
    #expect(throws: Errno.ENOENT) { try tree.makeDirectory("/no/d") }
    #expect(throws: Errno.EISDIR) { try tree.makeFile("/g/") }
    #expect(throws: Errno.ENOENT) { try tree.unlink("/g") }
    #expect(throws: Errno.EISDIR) { try tree.unlink("/d") }
    #expect(throws: Errno.ENOTDIR) { try tree.unlink("/f/") }
    #expect(throws: Errno.ENOTDIR) { try tree.removeDirectory("/f") }
    #expect(throws: Errno.EINVAL) { try tree.removeDirectory("/d/.") }
    #expect(throws: Errno.ENOTEMPTY) { try tree.removeDirectory("/d/..") }
    #expect(throws: Errno.EBUSY) { try tree.removeDirectory("/") }
    try tree.makeDirectory("/e/")
    try tree.makeFile("/e/x")
    #expect(throws: Errno.ENOTEMPTY) { try tree.removeDirectory("/e") }
  }

  @Test func linkCountsFollowNames() throws {
    let tree = Tree()
    let file = try tree.makeFile("/f", "text")
    #expect(file.linkCount == 1)
    try tree.hardLink("/f", "/g")
    #expect(file.linkCount == 2)
    try tree.unlink("/f")
    #expect(file.linkCount == 1)
    #expect(try tree.contents("/g") == "text")
    try tree.rename("/g", "/h")
    #expect(file.linkCount == 1)
    let root = try tree.node("/")
    #expect(root.linkCount == 2)
    try tree.makeDirectory("/d")
    try tree.makeDirectory("/d/e")
    #expect(root.linkCount == 3)
    try tree.rename("/d/e", "/e")
    #expect(root.linkCount == 4)
    #expect(try tree.node("/d").linkCount == 2)
    try tree.removeDirectory("/e")
    #expect(root.linkCount == 3)
    #expect(throws: Errno.EPERM) { try tree.hardLink("/d", "/x") }
  }

  @Test func anUnlinkedFileLivesWhileItIsOpen() throws {
    let tree = Tree()
    let before = tree.files.fileSystem.inodeCount
    var file: OpenFile? = try tree.makeFile("/f", "still here").open(.readOnly, Opener())
    try tree.unlink("/f")
    #expect(file?.node.linkCount == 0)
    #expect(try file?.take(100) == ascii("still here"))
    #expect(tree.files.fileSystem.inodeCount == before + 1)
    file = nil
    #expect(tree.files.fileSystem.inodeCount == before)
  }

  @Test func renameReplaces() throws {
    let tree = Tree()
    try tree.makeFile("/a", "A")
    try tree.makeFile("/b", "B")
    try tree.rename("/a", "/b")
    #expect(try tree.contents("/b") == "A")
    #expect(throws: Errno.ENOENT) { try tree.node("/a") }
    try tree.makeDirectory("/d")
    try tree.makeDirectory("/e")
    try tree.rename("/d", "/e")
    #expect(try tree.names("/") == [".", "..", "b", "e"])
  }

  @Test func renameRefuses() throws {
    let tree = Tree()
    try tree.makeDirectory("/d")
    try tree.makeDirectory("/d/e")
    try tree.makeFile("/f")
    #expect(throws: Errno.EINVAL) { try tree.rename("/d", "/d/e/x") }
    #expect(throws: Errno.EINVAL) { try tree.rename("/d", "/d/e") }
    #expect(throws: Errno.ENOTEMPTY) { try tree.rename("/d/e", "/d") }
    #expect(throws: Errno.EISDIR) { try tree.rename("/f", "/d") }
    #expect(throws: Errno.ENOTDIR) { try tree.rename("/d", "/f") }
    #expect(throws: Errno.ENOTDIR) { try tree.rename("/f", "/g/") }
    #expect(throws: Errno.EBUSY) { try tree.rename("/d/.", "/x") }
    #expect(throws: Errno.ENOENT) { try tree.rename("/x", "/y") }
    try tree.makeDirectory("/full")
    try tree.makeFile("/full/x")
    #expect(throws: Errno.ENOTEMPTY) { try tree.rename("/d", "/full") }
  }

  @Test func renameFlags() throws {
    let tree = Tree()
    try tree.makeFile("/a", "A")
    try tree.makeDirectory("/d")
    try tree.makeFile("/d/x", "X")
    #expect(throws: Errno.EEXIST) { try tree.rename("/a", "/d/x", .noReplace) }
    #expect(throws: Errno.ENOENT) { try tree.rename("/a", "/no", .exchange) }
    #expect(throws: Errno.EINVAL) { try tree.rename("/d", "/d/x", .exchange) }
    try tree.rename("/a", "/d", .exchange)
    #expect(try tree.contents("/d") == "A")
    #expect(try tree.contents("/a/x") == "X")
    #expect(try tree.node("/a/..") === tree.files.root)
  }

  @Test func renameOfTwoNamesOfOneFileDoesNothing() throws {
    let tree = Tree()
    try tree.makeFile("/a", "A")
    try tree.hardLink("/a", "/b")
    try tree.rename("/a", "/b")
    #expect(try tree.names("/") == [".", "..", "a", "b"])
  }

  @Test func permissionsGuardNames() throws {
    var tree = Tree()
    try tree.makeDirectory("/open", 0o777)
    try tree.makeDirectory("/sticky", 0o1777)
    try tree.makeDirectory("/closed", 0o755)
    try tree.makeFile("/sticky/theirs")
    try tree.makeFile("/open/theirs")
    tree.who = Credentials(user: 5, group: 5)
    #expect(throws: Errno.EACCES) { try tree.makeFile("/closed/x") }
    #expect(throws: Errno.EACCES) { try tree.rename("/open/theirs", "/closed/x") }
    #expect(throws: Errno.EPERM) { try tree.unlink("/sticky/theirs") }
    try tree.unlink("/open/theirs")
    let mine = try tree.makeFile("/sticky/mine")
    #expect(mine.user == 5)
    try tree.unlink("/sticky/mine")
  }

  @Test func directoryPositionsSurviveRemovals() throws {
    let tree = Tree()
    for index in 0..<100 { try tree.makeFile("/n\(index)") }
    let file = try tree.node("/").open(.readOnly, Opener())
    var seen: [String] = []
    while let entry = try file.nextEntry() {
      let name = String(decoding: entry.name, as: UTF8.self)
      seen.append(name)
      file.offset = entry.position
      // `rm -r` removes while it reads.
      if name.hasPrefix("n") { try tree.unlink("/" + name) }
    }
    #expect(seen == [".", ".."] + (0..<100).map { "n\($0)" })
    #expect(try tree.names("/") == [".", ".."])
  }

  @Test func deepRemovedDirectoriesGoWithoutRecursion() throws {
    let tree = Tree()
    var path: [DirectoryNode] = [tree.files.root]
    for _ in 0..<100_000 {
      let below = RamDirectory(tree.files.fileSystem, permissions: 0o755, owner: Credentials())
      try path[path.count - 1].add(below, ascii("d"))
      path.append(below)
    }
    var leaf: DirectoryNode? = path.last
    while path.count > 1 {
      path.removeLast()
      try path[path.count - 1].remove(ascii("d"))
    }
    #expect(leaf?.parent != nil)
    #expect(tree.files.fileSystem.inodeCount == 100_001)
    leaf = nil
    #expect(tree.files.fileSystem.inodeCount == 1)
  }

  /// Random operations on the tree and on a dictionary of absolute paths must agree.
  @Test(arguments: 1...8)
  func randomOperationsMatchASimpleModel(seed: Int) throws {
    var random = Sequence64(seed: UInt64(seed))
    let tree = Tree()
    var model = Model()
    for step in 0..<3000 {
      let first = model.randomPath(&random)
      let second = model.randomPath(&random)
      let operation = random.next(below: 6)
      func attempt(_ body: () throws(Errno) -> Void) -> Errno? {
        do throws(Errno) { try body() } catch { return error }
        return nil
      }
      let found: Errno?
      let expected: Errno?
      switch operation {
      case 0:
        found = attempt { () throws(Errno) in try tree.makeDirectory(first) }
        expected = model.add(first, isDirectory: true)
      case 1:
        found = attempt { () throws(Errno) in try tree.makeFile(first) }
        expected = model.add(first, isDirectory: false)
      case 2:
        found = attempt { () throws(Errno) in try tree.unlink(first) }
        expected = model.unlink(first)
      case 3:
        found = attempt { () throws(Errno) in try tree.removeDirectory(first) }
        expected = model.removeDirectory(first)
      default:
        found = attempt { () throws(Errno) in try tree.rename(first, second) }
        expected = model.rename(first, second)
      }
      #expect(found == expected, "step \(step): \(operation) \(first) \(second)")
      if found != expected { return }
    }
    for (path, isDirectory) in model.entries {
      #expect((try tree.node(path).kind == .directory) == isDirectory)
      if isDirectory {
        let names = try tree.names(path).filter { $0 != "." && $0 != ".." }
        #expect(Set(names) == model.children(path))
      }
    }
  }
}

/// Paths and whether they are directories: what the tree must be equal to.
private struct Model {
  var entries: [String: Bool] = ["/": true]

  func randomPath(_ random: inout Sequence64) -> String {
    var path = ""
    for _ in 0...random.next(below: 3) { path += "/" + ["a", "b", "c"][random.next(below: 3)] }
    return path
  }

  private func parent(_ path: String) -> String {
    let cut = path.lastIndex(of: "/") ?? path.startIndex
    return cut == path.startIndex ? "/" : String(path[..<cut])
  }

  /// What stands in the way to a path's last component.
  private func obstacle(_ path: String) -> Errno? {
    var current = ""
    for part in parent(path).split(separator: "/") {
      current += "/" + part
      guard let isDirectory = entries[current] else { return .ENOENT }
      if !isDirectory { return .ENOTDIR }
    }
    return nil
  }

  func children(_ path: String) -> Set<String> {
    let prefix = path == "/" ? "/" : path + "/"
    var names: Set<String> = []
    for key in entries.keys where key.hasPrefix(prefix) && key != "/" {
      let rest = key.dropFirst(prefix.count)
      if !rest.contains("/") { names.insert(String(rest)) }
    }
    return names
  }

  mutating func add(_ path: String, isDirectory: Bool) -> Errno? {
    if let error = obstacle(path) { return error }
    if entries[path] != nil { return .EEXIST }
    entries[path] = isDirectory
    return nil
  }

  mutating func unlink(_ path: String) -> Errno? {
    if let error = obstacle(path) { return error }
    guard let isDirectory = entries[path] else { return .ENOENT }
    if isDirectory { return .EISDIR }
    entries[path] = nil
    return nil
  }

  mutating func removeDirectory(_ path: String) -> Errno? {
    if let error = obstacle(path) { return error }
    guard let isDirectory = entries[path] else { return .ENOENT }
    if !isDirectory { return .ENOTDIR }
    if !children(path).isEmpty { return .ENOTEMPTY }
    entries[path] = nil
    return nil
  }

  mutating func rename(_ from: String, _ to: String) -> Errno? {
    if let error = obstacle(from) { return error }
    if let error = obstacle(to) { return error }
    guard let isDirectory = entries[from] else { return .ENOENT }
    if isDirectory && (to + "/").hasPrefix(from + "/") && to != from { return .EINVAL }
    if isDirectory && to == from { return nil }
    if entries[to] == true && from.hasPrefix(to + "/") { return .ENOTEMPTY }
    if from == to { return nil }
    if let over = entries[to] {
      if over && !isDirectory { return .EISDIR }
      if !over && isDirectory { return .ENOTDIR }
      if over && !children(to).isEmpty { return .ENOTEMPTY }
    }
    var moved: [String: Bool] = [:]
    for (key, value) in entries where key == from || key.hasPrefix(from + "/") {
      moved[to + key.dropFirst(from.count)] = value
      entries[key] = nil
    }
    for (key, value) in moved { entries[key] = value }
    return nil
  }
}
