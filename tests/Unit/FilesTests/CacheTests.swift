// SPDX-License-Identifier: Apache-2.0
// CacheTests.swift: policies of a cache, and how many transfers and flushes operations take.

import Testing

@testable import ApusFiles

/// An application's own choice: the block that came last leaves first.
private final class LastInFirstOut: CachePolicy {
  let capacity = 8
  let readAheadCount = 0
  let changedLimit = 1000
  private var slots: [Int] = []
  func entered(_ slot: Int, _ use: BlockUse) { slots.append(slot) }
  func used(_ slot: Int) {}
  func left(_ slot: Int) { slots.removeAll { $0 == slot } }
  func victim(_ mayLeave: (Int) -> Bool) -> Int? { slots.last(where: mayLeave) }
}

@Suite("The block cache")
struct CacheTests {
  private func cache(_ policy: any CachePolicy) -> BlockCache {
    var bytes = [UInt8](repeating: 0, count: 100 * 1024)
    for block in 0..<100 { bytes[block * 1024] = UInt8(block) }
    return BlockCache(MemoryDisk(bytes), blockByteCount: 1024, policy: policy)
  }

  @Test
  func thePolicyDecidesWhatStays() throws {
    // Twelve blocks in turn through a cache of eight: the least recently used policy misses each time.
    let usual = cache(LeastRecentlyUsed(capacity: 8))
    let own = cache(LastInFirstOut())
    for _ in 0..<10 {
      for block in 0..<12 as Range<UInt64> {
        #expect(try usual.read(block).bytes[0] == UInt8(block))
        #expect(try own.read(block).bytes[0] == UInt8(block))
      }
    }
    #expect(usual.readCount == 120)
    #expect(own.readCount < 70)
  }

  @Test
  func whatWaitsForAnOrderDoesNotLeave() throws {
    let cache = cache(LeastRecentlyUsed(capacity: 8))
    let block = try cache.read(5)
    block.bytes[0] = 0xff
    cache.change(block, order: 1)
    let other = try cache.read(6)
    other.bytes[0] = 0xfe
    cache.change(other, order: 0)
    for number in 20..<60 as Range<UInt64> { _ = try cache.read(number) }
    let disk = try #require(cache.device as? MemoryDisk)
    #expect(disk.bytes[5 * 1024] == 5)
    #expect(disk.bytes[6 * 1024] == 0xfe)
    #expect(try cache.present(5) === block)
    try cache.write(cache.changed { _ in true })
    #expect(disk.bytes[5 * 1024] == 0xff)
    #expect(cache.orderedCount == 0)
  }

  @Test
  func neighboursAreReadInOneTransfer() throws {
    let cache = cache(LeastRecentlyUsed(capacity: 64))
    cache.prefetch(10, count: 20)
    #expect(cache.readCount == 1)
    for number in 10..<30 as Range<UInt64> { #expect(try cache.read(number).bytes[0] == UInt8(number)) }
    #expect(cache.readCount == 1)
  }
}

@Suite("What ext2 asks of the disk", .enabled(if: Tools.arePresent, "e2fsprogs are not installed"))
struct CommitTests {
  @Test
  func manyFilesAreMadeDurableWithFewFlushes() throws {
    let workspace = try Workspace()
    let disk = MemoryDisk(try workspace.makeImage("-b 1024", megabytes: 4))
    let system = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 2000), now: 0)
    disk.isRecording = true
    for index in 0..<200 {
      let node = try system.create(Array("file\(index)".utf8), in: 2, NewNode(.regular, permissions: 0o600), now: 1)
      try system.write(node, at: 0, [UInt8](repeating: 1, count: 3000))
    }
    #expect(disk.events.isEmpty)
    try system.synchronize()
    let flushes = disk.events.filter { if case .flush = $0 { true } else { false } }.count
    #expect(flushes <= 5)
  }

  @Test
  func fdatasyncOfAnOverwriteWritesContentsOnly() throws {
    let workspace = try Workspace()
    let disk = MemoryDisk(try workspace.makeImage("-b 1024", megabytes: 4))
    let system = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 200), now: 0)
    let node = try system.create([0x61], in: 2, NewNode(.regular, permissions: 0o600), now: 1)
    try system.write(node, at: 0, [UInt8](repeating: 1, count: 5000))
    try system.synchronize(node, dataOnly: true)
    let place = Int(try system.blockNumber(of: try system.inode(node), 2))
    disk.isRecording = true
    try system.write(node, at: 2048, [UInt8](repeating: 2, count: 1024), now: 9)
    try system.synchronize(node, dataOnly: true)
    #expect(disk.bytes[place * 1024] == 2)
    #expect(disk.events.count == 2)
    // What makes the file longer takes a commit.
    try system.write(node, at: 5000, [UInt8](repeating: 2, count: 4000), now: 9)
    try system.synchronize(node, dataOnly: true)
    let cut = try workspace.repaired(disk.bytes)
    let found = try Ext2(MemoryDisk(try #require(cut.image)), policy: LeastRecentlyUsed(capacity: 200), now: 0)
    #expect(try found.contents(of: try found.node("/a")).count == 9000)
  }
}
