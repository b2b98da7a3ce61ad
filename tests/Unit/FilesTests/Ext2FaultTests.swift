// SPDX-License-Identifier: Apache-2.0
// Ext2FaultTests.swift: hostile, truncated and foreign images, and disks that fail.

import ApusRuntime
import Testing

@testable import ApusFiles

@Suite("ext2 meets bad disks", .enabled(if: Tools.arePresent, "e2fsprogs are not installed"))
struct Ext2FaultTests {
  private func policy() -> LeastRecentlyUsed { LeastRecentlyUsed(capacity: 64) }

  private func refusal(_ image: [UInt8]) throws -> String {
    do throws(FileError) { _ = try Ext2(MemoryDisk(image), policy: policy(), now: 0) } catch {
      if case .damaged(let damage) = error { return String(decoding: damage.sentence, as: UTF8.self) }
      return "\(error)"
    }
    return "mounted"
  }

  @Test
  func unusableImagesAreRefusedWithASentence() throws {
    let workspace = try Workspace()
    let image = try workspace.makeImage("-b 1024", megabytes: 2)
    #expect(try refusal([]).hasPrefix("block 0: the device is smaller"))
    #expect(
      try refusal([UInt8](repeating: 0, count: 1 << 20))
        == "block 0: there is no ext2 file system here: wrong magic number 0")
    #expect(
      try refusal(Array(image.prefix(1 << 20))) == "block 1: the device is smaller than the file system; blocks 2048")
    let modern = try workspace.makeImage("-b 1024 -O none,extent,64bit,filetype", megabytes: 2)
    #expect(
      try refusal(modern).hasPrefix("block 1: the file system needs features that are not supported; feature bits"))
    var wrong = image
    wrong[1024 + SuperblockField.inodesPerGroup] ^= 8
    #expect(try refusal(wrong).hasPrefix("block 1: the superblock's sizes contradict each other; field at byte"))
    wrong = image
    wrong[2048 + 8] = 1  // The inode table of group 0.
    wrong[2048 + 9] = 0
    #expect(try refusal(wrong) == "block 2: a group descriptor points outside of its group; group 0")
  }

  @Test
  func anUncleanImageIsReadOnly() throws {
    let workspace = try Workspace()
    let disk = MemoryDisk(try workspace.makeImage("-b 1024", megabytes: 2))
    _ = try Ext2(disk, policy: policy(), now: 0)
    let again = try Ext2(disk, policy: policy(), now: 0)
    #expect(again.readOnlyReason?.kind == .notClean)
    let sentence = again.readOnlyReason.map { String(decoding: $0.sentence, as: UTF8.self) }
    #expect(sentence == "block 1: the file system was not unmounted: run e2fsck -fp; state 0")
    #expect(throws: FileError.readOnly) {
      try again.create([0x61], in: 2, NewNode(.regular, permissions: 0), now: 0)
    }
    #expect(try again.lookUp(Array("lost+found".utf8), in: 2) == 11)
    let image = disk.bytes
    try again.unmount(now: 1)
    #expect(disk.bytes == image)
  }

  @Test
  func anUnreadableBlockIsNamed() throws {
    let workspace = try Workspace()
    let disk = MemoryDisk(try workspace.makeImage("-b 1024", megabytes: 2))
    let system = try Ext2(disk, policy: policy(), now: 0)
    let node = try system.create([0x61], in: 2, NewNode(.regular, permissions: 0), now: 0)
    try system.write(node, at: 0, [UInt8](repeating: 5, count: 20_000))
    try system.unmount(now: 1)
    let again = try Ext2(disk, policy: policy(), now: 0)
    let bad = UInt64(try again.blockNumber(of: try again.inode(node), 15))
    disk.unreadable = bad * 2..<bad * 2 + 1
    #expect(throws: FileError.device(.medium, block: bad)) { try again.contents(of: node) }
    disk.unreadable = 0..<0
    #expect(try again.contents(of: node) == [UInt8](repeating: 5, count: 20_000))
  }

  /// The write that fails is each one in turn.
  @Test
  func aFailedWriteLosesNothingDurable() throws {
    let workspace = try Workspace()
    let image = try workspace.makeImage("-b 1024 -N 64", megabytes: 1)
    for count in 0..<40 {
      let disk = MemoryDisk(image)
      let system = try Ext2(disk, policy: policy(), now: 0)
      var driver = Driver(system, seed: count)
      driver.reach = 10_000
      for _ in 0..<30 { _ = try driver.step() }
      try system.synchronize()
      let durable = driver.model.tree
      disk.writesLeft = count
      var failure: FileError?
      do throws(FileError) {
        for index in 0..<20 {
          let node = try system.create(Array("new\(index)".utf8), in: 2, NewNode(.regular, permissions: 0o600), now: 1)
          try system.write(node, at: 0, [UInt8](repeating: 1, count: 5000))
        }
        for _ in 0..<40 { try system.synchronize() }
      } catch { failure = error }
      if let failure {
        guard case .device(.medium, _) = failure else {
          #expect(failure == .noSpace)
          continue
        }
        // A failed commit ends all writing; contents that could not leave the cache may try again.
        if let reason = system.readOnlyReason {
          #expect(reason.kind == .writeFailed)
          #expect(throws: FileError.readOnly) { try system.unlink([0x61], in: 2, now: 1) }
        }
      }
      disk.writesLeft = nil
      let outcome = try workspace.repaired(disk.bytes)
      let repaired = try #require(outcome.image, "write \(count): \(outcome.text)")
      let found = try Ext2(MemoryDisk(repaired), policy: policy(), readOnly: true, now: 0).tree()
      #expect(difference(found.filter { !$0.key.hasPrefix("/new") }, durable) == [], "write \(count)")
    }
  }

  @Test
  func aFullDiskIsAnErrorThatLosesNothing() throws {
    let workspace = try Workspace()
    let disk = MemoryDisk(try workspace.makeImage("-b 1024 -N 32", megabytes: 1))
    let system = try Ext2(disk, policy: policy(), now: 0)
    let kept = try system.create([0x61], in: 2, NewNode(.regular, permissions: 0o600), now: 0)
    try system.write(kept, at: 0, [UInt8](repeating: 7, count: 100_000))
    let filler = try system.create([0x62], in: 2, NewNode(.regular, permissions: 0o600), now: 0)
    var size: UInt64 = 0
    #expect(throws: FileError.noSpace) {
      while true { size += UInt64(try system.write(filler, at: size, [UInt8](repeating: 8, count: 9000))) }
    }
    #expect(try system.attributes(of: filler).size == size)
    #expect(throws: FileError.noSpace) {
      for index in 0..<40 {
        _ = try system.create([0x63, UInt8(index + 1)], in: 2, NewNode(.directory, permissions: 0), now: 0)
      }
    }
    // What is deleted can be used again, without anybody asking for it.
    try system.unlink([0x62], in: 2, now: 0)
    let second = try system.create([0x62], in: 2, NewNode(.regular, permissions: 0o600), now: 0)
    #expect(try system.write(second, at: 0, [UInt8](repeating: 9, count: 300_000)) == 300_000)
    try system.unmount(now: 1)
    try workspace.expectClean(disk)
    let again = try Ext2(disk, policy: policy(), now: 0)
    #expect(try again.contents(of: kept) == [UInt8](repeating: 7, count: 100_000))
  }

  // MARK: Bit flips

  /// The blocks that hold anything but files' contents, which are the ones to damage.
  private func metadata(_ system: Ext2) throws -> [Int] {
    var isMetadata = [Bool](repeating: false, count: Int(system.superblock.blockCount))
    for group in system.groups {
      for block in [group.blockBitmap, group.inodeBitmap] { isMetadata[Int(block)] = true }
      for block in 0..<system.superblock.inodeTableBlockCount { isMetadata[Int(group.inodeTable + block)] = true }
    }
    for block in 1...2 { isMetadata[block] = true }
    for node in 2...system.superblock.inodeCount {
      guard system.isNameable(node), let inode = try? system.inode(UInt64(node)) else { continue }
      if inode.isDirectory {
        for index in 0..<system.directoryBlockCount(inode) {
          isMetadata[Int(try system.blockNumber(of: inode, index))] = true
        }
      }
      guard inode.isRegular || inode.isDirectory else { continue }
      for pointer in 12..<15 where inode.pointers[pointer] != 0 { isMetadata[Int(inode.pointers[pointer])] = true }
    }
    return isMetadata.indices.filter { isMetadata[$0] }
  }

  /// Does what it can with an image, whatever comes back.
  private func exercise(_ disk: MemoryDisk, _ random: inout Seeded) {
    guard let system = try? Ext2(disk, policy: LeastRecentlyUsed(capacity: 40, changedLimit: 30), now: 0) else {
      return
    }
    var nodes: [UInt64] = [2]
    var files: [(UInt64, [UInt8], UInt64)] = []
    var index = 0
    var buffer = [UInt8](repeating: 0, count: 5000)
    while index < nodes.count, index < 60 {
      for entry in (try? system.entries(of: nodes[index])) ?? [] where files.count < 200 {
        files.append((nodes[index], entry.name, entry.node))
        nodes.append(entry.node)
      }
      _ = try? system.attributes(of: nodes[index])
      _ = try? system.target(of: nodes[index])
      for offset in [0, 11_000, 300_000, 70_000_000] as [UInt64] {
        _ = Bytes.withArray(&buffer) { memory in try? system.read(nodes[index], at: offset, into: memory) }
      }
      index += 1
    }
    for _ in 0..<30 {
      guard let (directory, name, node) = files.randomElement(using: &random) else { break }
      let other = files.randomElement(using: &random)
      switch random.below(9) {
      case 0: try? system.unlink(name, in: directory, now: 1)
      case 1: try? system.removeDirectory(name, in: directory, now: 1)
      case 2: _ = try? system.write(node, at: UInt64(random.below(400_000)), random.bytes(3000))
      case 3: try? system.truncate(node, to: UInt64(random.below(100_000)), now: 1)
      case 4:
        _ = try? system.create(random.bytes(5).map { $0 | 0x40 }, in: node, NewNode(.regular, permissions: 0), now: 1)
      case 5:
        _ = try? system.create(
          random.bytes(5).map { $0 | 0x40 }, in: directory, NewNode(.directory, permissions: 0), now: 1)
      case 6: if let other { try? system.rename(name, in: directory, to: other.1, in: other.0, now: 1) }
      case 7: try? system.link(node, as: random.bytes(6).map { $0 | 0x40 }, in: directory, now: 1)
      default: try? system.synchronize()
      }
    }
    try? system.unmount(now: 2)
    if let reason = system.readOnlyReason {
      #expect(String(decoding: reason.sentence, as: UTF8.self).hasPrefix("block "))
    }
  }

  @Test
  func flippedBitsDoNoHarmBeyondTheImage() throws {
    let workspace = try Workspace()
    let fresh = MemoryDisk(try workspace.makeImage("-b 1024 -N 128 -g 512", megabytes: 1))
    var system = try Ext2(fresh, policy: policy(), now: 0)
    var driver = Driver(system, seed: 3)
    for _ in 0..<150 { _ = try driver.step() }
    let large = try system.create(Array("large".utf8), in: 2, NewNode(.regular, permissions: 0o600), now: 1)
    try system.write(large, at: 290_000, [UInt8](repeating: 3, count: 9000))
    try system.unmount(now: 1)
    try workspace.expectClean(fresh)
    let image = fresh.bytes
    system = try Ext2(MemoryDisk(image), policy: policy(), readOnly: true, now: 0)
    let blocks = try metadata(system)
    var used: [Int] = []
    for block in blocks { used += (block * 1024..<block * 1024 + 1024).filter { image[$0] != 0 } }
    for seed in Extent.seeds(Extent.factor > 1 ? 10_000 : 300) {
      var random = Seeded(seed)
      let disk = MemoryDisk(image)
      for _ in 0...random.below(seed % 4 == 0 ? 40 : 3) {
        let place =
          random.percent(70)
          ? used[random.below(used.count)] : blocks[random.below(blocks.count)] * 1024 + random.below(1024)
        disk.bytes[place] ^= 1 << UInt8(random.below(8))
      }
      exercise(disk, &random)
      #expect(disk.strayCount == 0, "seed \(seed)")
    }
  }
}
