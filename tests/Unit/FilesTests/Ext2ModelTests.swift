// SPDX-License-Identifier: Apache-2.0
// Ext2ModelTests.swift: random operations on ext2 and on a model; the contents have to be equal and e2fsck content.

import ApusFiles
import Testing

@Suite("ext2 beside a model", .enabled(if: Tools.arePresent, "e2fsprogs are not installed"))
struct Ext2ModelTests {
  static let shapes = [
    "-b 1024", "-b 1024 -I 128 -g 1024 -N 512", "-b 2048", "-b 4096 -I 256",
    "-b 1024 -I 128 -O none,sparse_super,large_file,ext_attr", "-b 4096 -O none -I 128",
  ]

  @Test(arguments: Extent.seeds(6 * Extent.factor))
  func contentsAreTheModels(_ seed: Int) throws {
    let workspace = try Workspace()
    let shape = Self.shapes[seed % Self.shapes.count]
    let disk = MemoryDisk(try workspace.makeImage(shape, megabytes: 3))
    // A small cache makes blocks come and go, a small limit commits often.
    let limit = seed % 3 == 0 ? 6 : 10_000
    var system = try Ext2(
      disk, policy: LeastRecentlyUsed(capacity: seed % 2 == 0 ? 24 : 400, changedLimit: limit), now: 0)
    var driver = Driver(system, seed: seed)
    for round in 0..<4 {
      for _ in 0..<250 { _ = try driver.step() }
      let found = difference(try system.tree(), driver.model.tree)
      #expect(found.isEmpty, "seed \(seed), round \(round), before unmounting: \(found)")
      try system.unmount(now: driver.now)
      #expect(disk.underWay == 0)
      let complaint = try workspace.complaint(disk.bytes)
      #expect(complaint == nil, "seed \(seed), round \(round)")
      system = try Ext2(disk, policy: LeastRecentlyUsed(capacity: 60), now: driver.now)
      let kept = difference(try system.tree(), driver.model.tree)
      #expect(kept.isEmpty, "seed \(seed), round \(round), after mounting again: \(kept)")
      #expect(disk.strayCount == 0)
      guard found.isEmpty, kept.isEmpty, complaint == nil else { return }
      driver = try driver.continued(on: system)
    }
  }
}
