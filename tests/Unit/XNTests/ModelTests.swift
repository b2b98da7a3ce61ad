// SPDX-License-Identifier: Apache-2.0
// ModelTests.swift: many owners at random, honest and not; after each step every rule is computed anew.

import Testing

@testable import ApusXN

@Suite("XN beside a model")
struct ModelTests {
  @Test(arguments: Amount.seeds(8 * Amount.factor))
  func everyRuleHoldsAfterEveryStep(_ seed: Int) throws {
    var world = try World(seed: seed)
    for step in 0..<600 {
      world.step()
      let complaints = world.complaints()
      #expect(complaints.isEmpty, "seed \(seed), step \(step): \(world.last)")
      if !complaints.isEmpty { return }
      if step % 50 == 49 {
        let wrong = try world.recoveryComplaints()
        #expect(wrong.isEmpty, "seed \(seed), step \(step)")
        if !wrong.isEmpty { return }
      }
    }
    #expect(world.acceptedCount > 100)
  }
}

private struct World {
  let disk: SimulatedDisk
  var xn: XN<SimulatedDisk>
  var random: Seeded
  var last = ""
  var acceptedCount = 0
  /// Metadata that was written since it was allocated, with the type it had then.
  var written: [UInt32: UInt16] = [:]

  init(seed: Int) throws {
    disk = try SimulatedDisk(blockCount: 160)
    xn = XN(memory: disk)
    random = Seeded(seed)
  }

  private var metadata: [UInt32] {
    (0..<disk.blockCount).filter { disk[$0].state == .owned && disk[$0].type != 0 }
  }
  private var all: [UInt32] { (0..<disk.blockCount).filter { disk[$0].state == .owned } }

  private mutating func freeExtent() -> Extent {
    let type = random.percent(45) ? UInt16(1 + random.below(2)) : 0
    return Extent(
      first: XN<SimulatedDisk>.reservedCount
        + UInt32(random.below(Int(disk.blockCount - XN<SimulatedDisk>.reservedCount))),
      count: type == 0 ? UInt32(1 + random.below(4)) : 1, type: type)
  }

  private func place(of first: UInt32, in parent: UInt32) -> Int? {
    let layout = Layout.of(disk[parent].type)
    return (0..<layout.entryCount).first { layout.entry($0, disk.contents[Int(parent)])?.first == first }
  }

  private mutating func emptyPlace(in parent: UInt32) -> Int {
    let layout = Layout.of(disk[parent].type)
    let empty = (0..<layout.entryCount).filter { layout.entry($0, disk.contents[Int(parent)]) == nil }
    return empty.randomElement(using: &random) ?? 0
  }

  private mutating func attempt(_ what: String, _ body: (inout World) throws -> Void) -> Bool {
    last = what
    do {
      try body(&self)
      acceptedCount += 1
      return true
    } catch { return false }
  }

  mutating func step() {
    let parent = metadata.randomElement(using: &random)
    switch random.below(20) {
    case 0:
      let block = freeExtent().first
      let (type, isTemporary) = (UInt16(1 + random.below(2)), random.percent(25))
      if attempt("root \(block)", { _ = try $0.xn.addRoot(block, type: type, name: 1, isTemporary: isTemporary) }) {
        written[block] = nil
      }
    case 1:
      let place = random.below(64)
      _ = attempt("remove root \(place)", { try $0.xn.removeRoot(place) })
    case 2...8:
      guard let parent else { return }
      let extent = freeExtent()
      let layout = Layout.of(disk[parent].type)
      var changes = layout.change(emptyPlace(in: parent), to: extent)
      // Some lie: another entry goes or comes along.
      if random.percent(15) {
        changes = changes + layout.change(random.below(layout.entryCount), to: random.percent(50) ? nil : freeExtent())
      }
      if attempt("allocate \(extent) for \(parent)", { try $0.xn.allocate(extent, for: parent, changes) }) {
        written[extent.first] = nil
      }
    case 9...11:
      guard let first = all.randomElement(using: &random) else { return }
      let owner = random.percent(90) ? disk[first].parent : parent ?? 0
      guard owner != 0, disk[owner].type != 0, let place = place(of: first, in: owner) else { return }
      let changes = Layout.of(disk[owner].type).change(place, to: nil)
      _ = attempt("free \(first) of \(owner)", { try $0.xn.free(first, of: owner, changes) })
    case 12...13:
      guard let first = all.randomElement(using: &random), let new = parent else { return }
      let old = disk[first].parent
      guard old != 0, let place = place(of: first, in: old) else { return }
      let extent = Extent(first: first, count: disk[first].count, type: disk[first].type)
      let leave = Layout.of(disk[old].type).change(place, to: nil)
      let arrive = Layout.of(disk[new].type).change(emptyPlace(in: new), to: extent)
      _ = attempt("move \(first) from \(old) to \(new)", { try $0.xn.move(first, from: old, leave, to: new, arrive) })
    case 14:
      guard let parent else { return }
      let layout = Layout.of(disk[parent].type)
      let changes =
        random.percent(50)
        ? Changes(list: [(random.below(4096), UInt8(random.below(256)))])
        : layout.change(random.below(layout.entryCount), to: freeExtent())
      _ = attempt("modify \(parent)", { try $0.xn.modify(parent, changes) })
    case 15...18:
      guard let parent, (try? xn.beginWrite(parent)) != nil else { return }
      last = "write \(parent)"
      let isDurable = random.percent(90)
      if isDurable {
        disk.disk[Int(parent)] = disk.contents[Int(parent)]
        written[parent] = disk[parent].type
      }
      xn.endWrite(parent, isDurable: isDurable)
      acceptedCount += 1
    default:
      last = "catalogue"
      xn.encodeCatalogue()
      disk.disk[0] = disk.scratch
      xn.catalogueWritten()
    }
  }

  // MARK: The rules, computed from contents alone

  /// What a block's contents own.
  private func owned(_ block: UInt32, _ type: UInt16, onDisk: Bool) -> [Extent] {
    Layout.of(type).extents(onDisk ? disk.disk[Int(block)] : disk.contents[Int(block)])
  }

  /// The trees of the disk, from its catalogue: each extent with its owners there.
  private func diskTrees() -> (owners: [UInt32: Set<UInt32>], complaints: [String]) {
    var owners: [UInt32: Set<UInt32>] = [:]
    var complaints: [String] = []
    var left: [(UInt32, UInt16, UInt32)] = []
    let catalogue = disk.disk[0]
    for place in 0..<64 where catalogue[64 + 16 * place + 6] == 1 && catalogue[0] == 0x41 {
      let at = 64 + 16 * place
      left.append((UInt32(catalogue[at]) | UInt32(catalogue[at + 1]) << 8, UInt16(catalogue[at + 4]), 0))
    }
    while let (block, type, parent) = left.popLast() {
      if owners[block, default: []].contains(parent) { continue }
      owners[block, default: []].insert(parent)
      if type == 0 { continue }
      // Rule 1: metadata that the disk points to is on the disk, as what it is now.
      guard written[block] == type else {
        complaints.append("the disk points to metadata \(block) that was not written")
        continue
      }
      for extent in owned(block, type, onDisk: true) { left.append((extent.first, extent.type, block)) }
    }
    return (owners, complaints)
  }

  func complaints() -> [String] {
    var complaints: [String] = []
    var owner: [UInt32: UInt32] = [:]
    for parent in metadata {
      var taint: UInt32 = 0
      for extent in owned(parent, disk[parent].type, onDisk: false) {
        let child = disk[extent.first]
        if child.state != .owned || child.parent != parent || child.count != extent.count || child.type != extent.type {
          complaints.append("\(parent) owns \(extent), whose record says otherwise")
        }
        if child.type != 0 && !(child.isInitialised && child.taintCount == 0) { taint += 1 }
        for block in extent.first..<extent.first + extent.count {
          if let other = owner.updateValue(parent, forKey: block) {
            complaints.append("\(block) belongs to \(other) and \(parent)")
          }
          if block != extent.first && disk[block].state != .part {
            complaints.append("\(block) is no part of \(extent)")
          }
        }
      }
      if taint != disk[parent].taintCount {
        complaints.append("\(parent): taint \(disk[parent].taintCount), should be \(taint)")
      }
    }
    for block in 0..<disk.blockCount {
      let record = disk[block]
      let isRoot = record.state == .owned && record.parent == 0
      if record.state == .owned && !isRoot && owner[block] != record.parent {
        complaints.append("nobody owns \(block)")
      }
      if record.state == .free && owner[block] != nil { complaints.append("\(block) is free and owned") }
    }
    let (owners, more) = diskTrees()
    complaints += more
    for (block, parents) in owners {
      // Rule 2: what the disk points to is not free, nor somebody else's but by a move.
      let record = disk[block]
      if record.state == .free { complaints.append("the disk points to \(block), which is free") }
      guard record.state == .owned else { continue }
      let known: Set<UInt32> = [record.parent, record.formerParent]
      // Within a subtree that was freed whole, and waits, anything may still be pointed to.
      for parent in parents where !known.contains(parent) && disk[parent].state == .owned {
        complaints.append("the disk says that \(parent) owns \(block), which is \(record.parent)'s")
      }
    }
    // Rule 3: what the disk's version of a persistent tree had and nobody freed, it still has somewhere.
    for block in all where disk[block].isPointedAt && owners[block] == nil {
      var above = block
      var isReachable = true
      while disk[above].parent != 0 {
        if !disk[above].isPointedAt { isReachable = false }
        above = disk[above].parent
      }
      if isReachable && disk[above].isPointedAt && xn.isPersistent(block) {
        complaints.append("the disk lost \(block)")
      }
    }
    return Array(complaints.prefix(5))
  }

  /// What is wrong with the records that recovery makes of the disk.
  func recoveryComplaints() throws -> [String] {
    let copy = try SimulatedDisk(blockCount: disk.blockCount)
    copy.disk = disk.disk
    copy.contents = disk.disk
    var recovered = XN(memory: copy)
    var problems: [RecoveryProblem] = []
    recovered.recover { problems.append($0) }
    if disk.disk[0][0] != 0x41 { return problems.map(\.kind) == [.noCatalogue] ? [] : ["\(problems)"] }
    let owners = diskTrees().owners
    var complaints: [String] = problems.filter { $0.kind != .ownedTwice }.map { "\($0)" }
    for block in 0..<disk.blockCount {
      let record = copy[block]
      guard record.state == .owned else {
        if owners[block] != nil { complaints.append("recovery forgot \(block)") }
        continue
      }
      if owners[block]?.contains(record.parent) != true {
        complaints.append("recovery gave \(block) to \(record.parent)")
      }
    }
    let twice = owners.values.filter { $0.count > 1 }.count
    if problems.count < twice { complaints.append("\(twice) blocks have two owners, \(problems.count) were told") }
    return complaints
  }
}
