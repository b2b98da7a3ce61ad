// SPDX-License-Identifier: Apache-2.0
// Ext2ImageTests.swift: images travel: made by mke2fs from a real tree, changed here, read by debugfs, and back.

import ApusRuntime
import Foundation
import Testing

@testable import ApusFiles

@Suite("ext2 images travel", .enabled(if: Tools.arePresent, "e2fsprogs are not installed"))
struct Ext2ImageTests {
  /// Makes a tree of real files below a folder of the workspace.
  private func makeTree(_ workspace: Workspace) throws -> String {
    let root = workspace.path + "/tree"
    let manager = FileManager.default
    try manager.createDirectory(atPath: root + "/many/deep/er", withIntermediateDirectories: true)
    var random = Seeded(7)
    for (name, size) in [
      ("empty", 0), ("one", 1), ("direct", 12 * 1024), ("single", 12 * 1024 + 1), ("double", 400_000),
    ] {
      try Data(random.bytes(size)).write(to: URL(fileURLWithPath: root + "/" + name))
    }
    for index in 0..<400 {
      try Data("file \(index)".utf8).write(to: URL(fileURLWithPath: root + "/many/some-name-of-a-file-\(index)"))
    }
    try manager.createSymbolicLink(atPath: root + "/fast", withDestinationPath: "many/deep")
    try manager.createSymbolicLink(
      atPath: root + "/slow", withDestinationPath: String(repeating: "very/", count: 40) + "far")
    try manager.linkItem(atPath: root + "/single", toPath: root + "/many/deep/er/again")
    let sparse = try #require(fopen(root + "/sparse", "w"))
    fseek(sparse, 700_000, SEEK_SET)
    fwrite("end", 1, 3, sparse)
    fclose(sparse)
    chmod(root + "/one", 0o4751)
    return root
  }

  /// A folder of the host as tests compare trees.
  private func hostTree(_ root: String) throws -> [String: Item] {
    var items: [String: Item] = [:]
    for name in try FileManager.default.subpathsOfDirectory(atPath: root) {
      var status = stat()
      lstat(root + "/" + name, &status)
      guard let kind = NodeKind(rawValue: UInt16(status.st_mode & 0o170000)) else { continue }
      var item = Item(kind: kind, permissions: UInt16(status.st_mode & 0o7777), linkCount: UInt32(status.st_nlink))
      switch kind {
      case .directory: item.linkCount = 0
      case .symbolicLink:
        item.contents = Array(try FileManager.default.destinationOfSymbolicLink(atPath: root + "/" + name).utf8)
      default: item.contents = [UInt8](try Data(contentsOf: URL(fileURLWithPath: root + "/" + name)))
      }
      if name != "lost+found" { items["/" + name] = item }
    }
    return items
  }

  /// What debugfs makes of an image.
  private func dumped(_ image: [UInt8], _ workspace: Workspace) throws -> [String: Item] {
    let file = try workspace.write(image, to: "dumped")
    let folder = workspace.path + "/out"
    try? FileManager.default.removeItem(atPath: folder)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let result = try Tools.run("debugfs", ["-R", "rdump / \(folder)", file])
    guard result.status == 0 else { throw ToolError(text: result.text) }
    return try hostTree(folder)
  }

  private func withoutLinks(_ tree: [String: Item]) -> [String: Item] {
    // debugfs writes each name of a file as a file of its own.
    tree.mapValues { Item(kind: $0.kind, permissions: $0.permissions, linkCount: 0, contents: $0.contents) }
  }

  @Test(arguments: ["-b 1024", "-b 2048 -I 128", "-b 4096"])
  func aRealTreeIsReadChangedAndReadBack(_ shape: String) throws {
    let workspace = try Workspace()
    let root = try makeTree(workspace)
    let disk = MemoryDisk(try workspace.makeImage(shape, megabytes: 8, tree: root))
    // Indices as the kernel would have made them.
    let indexed = try workspace.write(disk.bytes, to: "indexed")
    _ = try Tools.run("e2fsck", ["-f", "-y", "-D", indexed])
    disk.bytes = try workspace.read("indexed")
    let system = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 200), now: 0)
    #expect(difference(try system.tree(), try hostTree(root)) == [])
    let many = try system.node("/many")
    #expect(try system.inode(many).flags & Ext2Inode.indexFlag != 0)

    // Removing keeps the index true, adding lets it go.
    for index in 0..<100 { try system.unlink(Array("some-name-of-a-file-\(index * 3)".utf8), in: many, now: 1) }
    try system.synchronize()
    try system.unmount(now: 2)
    try workspace.expectClean(disk)
    let again = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 200), now: 0)
    for index in 0..<150 {
      let node = try again.create(
        Array("another-name-\(index)".utf8), in: many, NewNode(.regular, permissions: 0o640), now: 3)
      try again.write(node, at: UInt64(index * 100), Array("text \(index)".utf8))
    }
    #expect(try again.inode(many).flags & Ext2Inode.indexFlag == 0)
    try again.rename(Array("double".utf8), in: 2, to: Array("one".utf8), in: 2, now: 4)
    try again.truncate(try again.node("/sparse"), to: 600_000, now: 4)
    let expected = try again.tree()
    #expect(expected.count == 411 - 100 + 150)
    try again.unmount(now: 5)
    try workspace.expectClean(disk)
    #expect(
      difference(try dumped(disk.bytes, workspace), withoutLinks(expected)).filter { !$0.contains(" links") } == [])
    let kept = try dumped(disk.bytes, workspace)
    #expect(difference(withoutLinks(kept), withoutLinks(expected)) == [])
  }

  @Test
  func whatDebugfsWritesIsReadHere() throws {
    let workspace = try Workspace()
    let disk = MemoryDisk(try workspace.makeImage("-b 1024", megabytes: 4))
    let system = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 50), now: 0)
    let directory = try system.create(Array("mine".utf8), in: 2, NewNode(.directory, permissions: 0o755), now: 1)
    try system.unmount(now: 2)
    #expect(directory >= 11)
    let image = try workspace.write(disk.bytes, to: "foreign")
    let contents = [UInt8](repeating: 0x61, count: 50_000)
    _ = try workspace.write(contents, to: "source")
    let script = try workspace.write(
      Array("cd mine\nwrite \(workspace.path)/source theirs\nsymlink link theirs\nmknod null c 1 3\n".utf8),
      to: "script")
    let result = try Tools.run("debugfs", ["-w", "-f", script, image])
    #expect(result.status == 0)
    let again = try Ext2(MemoryDisk(try workspace.read("foreign")), policy: LeastRecentlyUsed(capacity: 50), now: 3)
    #expect(try again.contents(of: try again.node("/mine/theirs")) == contents)
    #expect(try again.target(of: try again.node("/mine/link")) == Array("theirs".utf8))
    let device = try again.attributes(of: try again.node("/mine/null"))
    #expect(device.kind == .characterDevice && device.device == 0x103)
  }

  @Test
  func largeFilesWithHoles() throws {
    let workspace = try Workspace()
    let disk = MemoryDisk(try workspace.makeImage("-b 1024", megabytes: 4))
    let system = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 16), now: 0)
    let node = try system.create(Array("large".utf8), in: 2, NewNode(.regular, permissions: 0o600), now: 1)
    // One block each below one, two and three levels of maps.
    let places: [UInt64] = [0, 100_000, 50_000_000, 5_000_000_000]
    for place in places { try system.write(node, at: place, Array("here \(place)".utf8)) }
    #expect(try system.attributes(of: node).size == 5_000_000_000 + 15)
    #expect(throws: FileError.tooLarge) { try system.truncate(node, to: 1 << 40, now: 1) }
    try system.unmount(now: 2)
    try workspace.expectClean(disk)
    let again = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 16), now: 3)
    var buffer = [UInt8](repeating: 1, count: 2000)
    for place in places {
      let count = try Bytes.withArray(&buffer) { memory in Result { try again.read(node, at: place, into: memory) } }
        .get()
      let text = Array("here \(place)".utf8)
      #expect(Array(buffer.prefix(min(count, text.count))) == text)
      #expect(buffer[text.count..<count].allSatisfy { $0 == 0 })
    }
    try again.truncate(node, to: 60_000_000, now: 4)
    try again.truncate(node, to: 100_005, now: 4)
    try again.unmount(now: 5)
    try workspace.expectClean(disk)
  }

  @Test
  func timesAndOwnersAreKept() throws {
    let workspace = try Workspace()
    for shape in ["-b 1024 -I 256", "-b 1024 -I 128"] {
      let disk = MemoryDisk(try workspace.makeImage(shape, megabytes: 2))
      let system = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 50), now: 0)
      let node = try system.create(
        Array("file".utf8), in: 2, NewNode(.regular, permissions: 0o600, user: 70_001, group: 90_002), now: 5)
      var change = AttributeChange()
      // 2100-01-01 with nanoseconds needs the large inode's extra bits; 1965 needs the sign.
      change.modificationTime = shape.hasSuffix("256") ? 4_102_444_800_123_456_789 : 1_000_000_000
      change.accessTime = -150_000_000_000_000_000
      try system.setAttributes(of: node, change, now: 6_000_000_000)
      try system.unmount(now: 7)
      try workspace.expectClean(disk)
      let found = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 50), now: 0).attributes(of: node)
      #expect(found.user == 70_001 && found.group == 90_002)
      #expect(found.modificationTime == change.modificationTime)
      #expect(found.accessTime == change.accessTime)
      #expect(found.changeTime == 6_000_000_000)
    }
  }

  @Test
  func aFileWithoutNamesStaysAsLongAsItIsHeld() throws {
    let workspace = try Workspace()
    let disk = MemoryDisk(try workspace.makeImage("-b 1024", megabytes: 2))
    let system = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 50), now: 0)
    let free = system.space.freeBlocks
    let node = try system.create(Array("file".utf8), in: 2, NewNode(.regular, permissions: 0o600), now: 1)
    try system.write(node, at: 0, [UInt8](repeating: 9, count: 30_000))
    try system.synchronize()
    try system.hold(node)
    try system.unlink(Array("file".utf8), in: 2, now: 2)
    try system.synchronize()
    try system.write(node, at: 100, [1, 2, 3])
    #expect(try system.contents(of: node).count == 30_000)
    try system.release(node)
    #expect(throws: FileError.notFound) { try system.attributes(of: node) }
    try system.synchronize()
    #expect(system.space.freeBlocks == free)
    // The same, and the power goes while it is held: the repair takes the space back.
    let other = try system.create(Array("file".utf8), in: 2, NewNode(.regular, permissions: 0o600), now: 1)
    try system.write(other, at: 0, [UInt8](repeating: 9, count: 30_000))
    try system.hold(other)
    try system.synchronize()
    try system.unlink(Array("file".utf8), in: 2, now: 2)
    try system.synchronize()
    let outcome = try workspace.repaired(disk.bytes)
    let repaired = try #require(outcome.image, "\(outcome.text)")
    #expect(try Ext2(MemoryDisk(repaired), policy: LeastRecentlyUsed(capacity: 50), now: 3).space.freeBlocks == free)
    try system.unmount(now: 4)
    try workspace.expectClean(disk)
  }
}
