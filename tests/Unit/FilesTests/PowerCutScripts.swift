// SPDX-License-Identifier: Apache-2.0
// PowerCutScripts.swift: the power goes at every write of workloads that each need one step of the commit's order.

import Testing

@testable import ApusFiles

@Suite("The power goes at a bad moment", .enabled(if: Tools.arePresent, "e2fsprogs are not installed"))
struct PowerCutScripts {
  private let workspace: Workspace
  private let disk: MemoryDisk
  private let system: Ext2

  init() throws {
    workspace = try Workspace()
    disk = MemoryDisk(try workspace.makeImage("-b 1024 -N 64", megabytes: 1))
    system = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 400), now: 0)
  }

  private func make(_ name: String, _ contents: [UInt8]) throws {
    let node = try system.create(Array(name.utf8), in: 2, NewNode(.regular, permissions: 0o600), now: 1)
    try system.write(node, at: 0, contents)
  }

  /// Cuts at every write of a change and its commit; e2fsck -p has to repair what is left.
  private func cut(_ change: () throws -> Void, _ judge: ([String: Item]) -> Bool) throws {
    try system.synchronize()
    let base = disk.bytes
    disk.isRecording = true
    try change()
    try system.synchronize()
    let cut = PowerCut(base: base, events: disk.events)
    var random = Seeded(1)
    for count in 0...disk.events.count {
      for choice in 0..<5 {
        let mask = random.next()
        let image = cut.image(after: count) { choice == 0 || choice > 1 && mask >> UInt64($0 & 63) & 1 != 0 }
        let outcome = try workspace.repaired(image)
        let repaired = try #require(outcome.image, "after \(count) events: \(outcome.text)")
        try workspace.expectClean(MemoryDisk(repaired))
        let found = try Ext2(MemoryDisk(repaired), policy: LeastRecentlyUsed(capacity: 64), readOnly: true, now: 0)
          .tree()
        #expect(judge(found), "after \(count) events: \(found)")
      }
    }
  }

  @Test
  func aReplacedNameStandsForTheOldOrTheNew() throws {
    let (old, new) = ([UInt8](repeating: 1, count: 3000), [UInt8](repeating: 2, count: 5000))
    try make("old", old)
    try make("new", new)
    try cut {
      try system.rename(Array("new".utf8), in: 2, to: Array("old".utf8), in: 2, now: 2)
    } _: { found in
      let contents = found["/old"]?.contents
      return contents == new || contents == old && found["/new"]?.contents == new
    }
  }

  @Test
  func aNewTreeIsThereFromAboveToBelow() throws {
    try cut {
      var parent: UInt64 = 2
      for level in 0..<5 as Range<UInt8> {
        parent = try system.create([0x61 + level], in: parent, NewNode(.directory, permissions: 0o755), now: 1)
        let node = try system.create([0x66], in: parent, NewNode(.regular, permissions: 0o600), now: 1)
        try system.write(node, at: 0, [UInt8](repeating: level, count: 2000))
      }
    } _: { _ in
      true
    }
  }

  @Test
  func aTreeGoesFromBelowToAbove() throws {
    var parents: [UInt64] = [2]
    for level in 0..<4 as Range<UInt8> {
      let parent = parents[parents.count - 1]
      parents.append(try system.create([0x61 + level], in: parent, NewNode(.directory, permissions: 0o755), now: 1))
      let node = try system.create(
        [0x66], in: parents[parents.count - 1], NewNode(.regular, permissions: 0o600), now: 1)
      try system.write(node, at: 0, [UInt8](repeating: level, count: 2000))
    }
    try cut {
      for level in (0..<4).reversed() {
        try system.unlink([0x66], in: parents[level + 1], now: 2)
        try system.removeDirectory([0x61 + UInt8(level)], in: parents[level], now: 2)
      }
    } _: { _ in
      true
    }
  }

  @Test
  func nobodySeesWhatOthersDeleted() throws {
    // The free blocks are full of what another file had.
    try make("secret", [UInt8](repeating: 0x55, count: 700_000))
    try system.synchronize()
    try system.unlink(Array("secret".utf8), in: 2, now: 1)
    try system.synchronize()
    let kept = [UInt8](repeating: 0x11, count: 20_000)
    try make("file", kept)
    try cut {
      try system.write(try system.node("/file"), at: 20_000, [UInt8](repeating: 0xaa, count: 8_000))
    } _: { found in
      guard let contents = found["/file"]?.contents, contents.count >= kept.count else { return false }
      return contents.prefix(kept.count) == kept[...] && contents.allSatisfy { $0 != 0x55 }
    }
  }
}
