// SPDX-License-Identifier: Apache-2.0
// PathWalkerTests.swift: paths lead where path_resolution(7) says.

import Testing

@testable import ApusUnix

@Suite struct PathWalkerTests {
  private func tree() throws -> Tree {
    let tree = Tree()
    try tree.makeDirectory("/a")
    try tree.makeDirectory("/a/b")
    try tree.makeFile("/a/file", "hello")
    try tree.link("/a/b", "/tob")
    try tree.link("file", "/a/tofile")
    try tree.link("missing", "/a/dangling")
    try tree.link("loop2", "/loop1")
    try tree.link("loop1", "/loop2")
    return tree
  }

  @Test(arguments: [
    ("/a/file", "/a/file"), ("a/file", "/a/file"), ("//a///file", "/a/file"), ("/a/./file", "/a/file"),
    ("/a/b/../file", "/a/file"), ("/../../a/file", "/a/file"), ("/a/tofile", "/a/file"),
    ("/tob/../file", "/a/file"), ("/tob/", "/a/b"), ("/tob/.", "/a/b"), ("/", "/"), (".", "/"),
  ])
  func aPathFindsItsFile(path: String, expected: String) throws {
    let tree = try tree()
    #expect(try tree.node(path) === tree.node(expected))
  }

  @Test(arguments: [
    ("", Errno.ENOENT), ("/missing", .ENOENT), ("/missing/x", .ENOENT), ("/a/file/x", .ENOTDIR),
    ("/a/file/", .ENOTDIR), ("/a/dangling", .ENOENT), ("/loop1", .ELOOP), ("/a/tofile/", .ENOTDIR),
    ("/" + String(repeating: "n", count: 256), .ENAMETOOLONG),
    ("/" + String(repeating: "a/", count: 2048), .ENAMETOOLONG),
  ])
  func aWrongPathHasItsError(path: String, expected: Errno) throws {
    let tree = try tree()
    #expect(throws: expected) { try tree.node(path) }
  }

  @Test func aLinkIsFollowedOnlyWhenAsked() throws {
    let tree = try tree()
    #expect(try tree.node("/a/tofile", follow: false).kind == .symbolicLink)
    #expect(try tree.node("/tob/", follow: false).kind == .directory)
    #expect(try tree.node("/loop1", follow: false).kind == .symbolicLink)
  }

  @Test func fortyLinksAreFollowedAndNoMore() throws {
    let tree = Tree()
    try tree.makeFile("/l0")
    for index in 1...41 { try tree.link("l\(index - 1)", "/l\(index)") }
    #expect(try tree.node("/l40") === tree.node("/l0"))
    #expect(throws: Errno.ELOOP) { try tree.node("/l41") }
  }

  @Test func creatingThroughADanglingLinkNamesItsTarget() throws {
    let tree = try tree()
    let place = try tree.walker.walk(ascii("/a/dangling"), .follow)
    #expect(place.node == nil)
    #expect(place.name == ascii("missing"))
    #expect(try place.directory === tree.node("/a"))
  }

  @Test func aProcessDoesNotLeaveItsRoot() throws {
    let tree = try tree()
    let context = FileContext(
      root: try #require(try tree.node("/a").asDirectory), working: try #require(try tree.node("/a/b").asDirectory))
    let walker = PathWalker(context, Credentials())
    #expect(try walker.node(ascii("../../../file")) === tree.node("/a/file"))
    #expect(try context.path(of: context.working) == ascii("/b"))
    #expect(try context.path(of: tree.files.root) == ascii("(unreachable)/"))
  }

  @Test func searchNeedsPermission() throws {
    var tree = try tree()
    try tree.node("/a").changePermissions(0o644, tree.who)
    tree.who = Credentials(user: 7, group: 7)
    #expect(throws: Errno.EACCES) { try tree.node("/a/file") }
    #expect(try tree.node("/a").kind == .directory)
  }

  @Test func aMountedTreeCoversItsDirectory() throws {
    let tree = try tree()
    let other = RamFileSystem()
    try other.root.add(RegularNode(other.fileSystem, permissions: 0o600, owner: Credentials()), ascii("inside"))
    try #require(try tree.node("/a/b").asDirectory).mount(other.root)
    #expect(try tree.node("/a/b") === other.root)
    #expect(try tree.node("/a/b/inside").kind == .regular)
    #expect(try tree.node("/a/b/../file").kind == .regular)
    #expect(try tree.node("/tob/inside").kind == .regular)
    #expect(try tree.context.path(of: other.root) == ascii("/a/b"))
    #expect(throws: Errno.EBUSY) { try tree.removeDirectory("/a/b") }
    #expect(throws: Errno.EBUSY) { try tree.rename("/a/b", "/a/c") }
    #expect(throws: Errno.EXDEV) { try tree.rename("/a/file", "/a/b/file") }
  }

  @Test func aRenamedDirectoryHasItsNewPath() throws {
    let tree = try tree()
    let directory = try #require(try tree.node("/a/b").asDirectory)
    try tree.rename("/a", "/z")
    #expect(try tree.context.path(of: directory) == ascii("/z/b"))
    try tree.removeDirectory("/z/b")
    #expect(throws: Errno.ENOENT) { try tree.context.path(of: directory) }
  }

  @Test func anOpenFileKnowsItsPath() throws {
    let tree = try tree()
    let place = try tree.place("/a/file")
    let file = try #require(place.node).open(.readOnly, Opener())
    file.place = Place(directory: place.directory, name: place.name)
    #expect(file.path == ascii("/a/file"))
    try tree.unlink("/a/file")
    #expect(file.path == ascii("/a/file (deleted)"))
  }
}
