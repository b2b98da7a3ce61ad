// SPDX-License-Identifier: Apache-2.0
// XN.swift: who owns which block of a disk, by proof: metadata says so in its owners' own words.

// The invention is MIT's (Kaashoek and others, SOSP '97): file systems lay out their metadata as they like and teach the
// kernel to read it by a deterministic program, `owns`. To allocate, a file system proposes a change of a block of
// metadata; the kernel makes it on a copy, asks `owns`, and accepts if exactly the claimed extent has been added.
//
// The set before the change is not computed: it is what the records say, since every change was checked when it was
// made, `owns` depends on nothing but the block, and nobody else writes metadata. So after a change each extent that
// `owns` tells of must be a known child or the claimed one, none told twice, and as many as there should be.
//
// Three rules keep the disk recoverable at each moment (Ganger and Patt, OSDI '94):
//
//  1. No pointer on the disk to metadata that the disk does not have. `taintCount` counts children that would break it,
//     or whose children would; a block with any is not written, unless its tree is temporary.
//  2. No block is used again while the disk has a pointer to it: it waits for the write of the block that pointed.
//  3. What moves has its new pointer on the disk before the old one goes.
//
// All work is bounded: by 64 levels, by the extents that one block tells of, by `extentLimit` blocks in a claim.

import ApusBPF

/// The ownership of a disk.
public struct XN<Memory: XNMemory> {
  /// Records, contents and programs.
  public let memory: Memory
  /// The roots of all trees.
  public internal(set) var roots = RootTable()
  private var stamp: UInt32 = 0
  /// Freed blocks that nothing on the disk points to any more, about to be free.
  var releasing: UInt32 = 0

  /// The most blocks of an extent.
  public static var extentLimit: UInt32 { 256 }
  /// The most extents that one block of metadata tells of.
  public static var childLimit: Int { 1024 }
  /// How high a tree of metadata can be.
  public static var heightLimit: UInt8 { 64 }
  /// Blocks at the beginning that are XN's own.
  public static var reservedCount: UInt32 { 1 + UInt32(Catalogue.templateLimit) }

  /// Starts with everything free but the catalogue.
  public init(memory: Memory) {
    self.memory = memory
    for block in 0..<memory.blockCount { memory[block] = BlockRecord() }
    for block in 0..<min(Self.reservedCount, memory.blockCount) { memory[block].state = .reserved }
  }

  // MARK: Asking

  /// Metadata that may be changed now.
  func metadata(_ block: UInt32) throws(XNError) -> BlockRecord {
    guard block < memory.blockCount else { throw .invalid }
    let record = memory[block]
    guard record.state == .owned, record.type != 0 else { throw .notMetadata }
    guard memory.isPresent(block) else { throw .notPresent }
    guard !record.isWriting else { throw .busy }
    return record
  }

  /// Whether a block's tree outlives a reboot.
  public func isPersistent(_ block: UInt32) -> Bool {
    var record = memory[block]
    while record.parent != 0 { record = memory[record.parent] }
    return !record.isTemporary
  }

  private func isClean(_ record: BlockRecord) -> Bool { record.isInitialised && record.taintCount == 0 }

  /// Changes a metadata's record, and those above as far as it makes them tainted or untaints them.
  func update(_ block: UInt32, _ change: (inout BlockRecord) -> Void) {
    var block = block
    var record = memory[block]
    let wasClean = isClean(record)
    change(&record)
    memory[block] = record
    var (before, after) = (wasClean, isClean(record))
    while before != after, record.parent != 0 {
      block = record.parent
      record = memory[block]
      let wasClean = isClean(record)
      if after { record.taintCount -= 1 } else { record.taintCount += 1 }
      memory[block] = record
      (before, after) = (wasClean, isClean(record))
    }
  }

  // MARK: Proof

  /// Asks the scratch block's `owns` program and passes each extent on.
  ///
  /// - Returns: Whether it says that the block is of its type, and the visitor took everything.
  func owned(_ type: UInt16, _ visitor: inout some ExtentVisitor) -> Bool {
    var world = TemplateWorld(memory: memory, visitor: visitor)
    let result = memory.withProgram(type, .owns) { world.run($0, 0, 0) }
    visitor = world.visitor
    return result == 1
  }

  /// Makes changes in the scratch block and checks what it owns then.
  ///
  /// - Parameters:
  ///   - block: The metadata.
  ///   - record: Its record.
  ///   - changes: The bytes that change.
  ///   - added: What it must own besides what it has.
  ///   - removed: The first block of what it must not own any more; 0: nothing.
  /// - Throws: `wrongOwnership`, `refusedByTemplate`, `invalid`.
  private mutating func propose(
    _ block: UInt32, _ record: BlockRecord, _ changes: some Modifications, added: Extent?, removed: UInt32
  ) throws(XNError) {
    guard changes.count <= 4096 else { throw .invalid }
    memory.copyToScratch(block)
    for index in 0..<changes.count {
      let (offset, byte) = changes[index]
      guard offset >= 0, offset < 4096 else { throw .invalid }
      memory.storeScratch(byte, offset)
    }
    // Wrapping is meant: a stamp that comes again after 2^32 checks was overwritten by all checks of its parent since.
    stamp &+= 1
    var checker = OwnershipChecker(memory: memory, parent: block, stamp: stamp, added: added, removed: removed)
    let isOfType = owned(record.type, &checker)
    guard checker.isRight else { throw .wrongOwnership }
    guard isOfType else { throw .refusedByTemplate }
    let expected = record.ownedCount + (added == nil ? 0 : 1) - (removed == 0 ? 0 : 1)
    guard checker.isAdded, checker.count == expected else { throw .wrongOwnership }
  }

  private func accept(_ block: UInt32, _ change: (inout BlockRecord) -> Void) {
    memory.copyFromScratch(block)
    memory[block].isChanged = true
    update(block, change)
  }

  // MARK: Changing

  /// Changes metadata that goes on owning what it owns.
  public mutating func modify(_ block: UInt32, _ changes: some Modifications) throws(XNError) {
    try propose(block, try metadata(block), changes, added: nil, removed: 0)
    accept(block) { _ in }
  }

  /// Whether an extent can be claimed.
  func check(_ extent: Extent) throws(XNError) {
    guard extent.count > 0, extent.count <= Self.extentLimit, extent.first < memory.blockCount,
      extent.count <= memory.blockCount - extent.first, extent.type == 0 || extent.count == 1,
      extent.type == 0 || memory.hasTemplate(extent.type)
    else { throw .invalid }
    for block in extent.first..<extent.first + extent.count where memory[block].state != .free { throw .notFree }
  }

  /// Allocates the extent that a change of metadata claims.
  ///
  /// - Parameters:
  ///   - extent: The extent, by its place; the caller chose it from the records, which everybody can read. Metadata is
  ///     zero at first, and in memory.
  ///   - parent: The metadata that changes.
  ///   - changes: The bytes that change.
  /// - Throws: Why not; then nothing has changed.
  public mutating func allocate(
    _ extent: Extent, for parent: UInt32, _ changes: some Modifications
  ) throws(XNError) {
    release()
    let record = try metadata(parent)
    try check(extent)
    guard record.ownedCount < UInt32(Self.childLimit) else { throw .wrongOwnership }
    if extent.type != 0 {
      try checkHeight(of: parent, above: 0)
      guard memory.isPresent(extent.first) else { throw .notPresent }
      try checkZero(extent.type)
    }
    try propose(parent, record, changes, added: extent, removed: 0)
    enter(extent, parent: parent)
    if extent.type != 0 { raise(parent, above: 0) }
    accept(parent) {
      $0.ownedCount += 1
      $0.taintCount += extent.type == 0 ? 0 : 1
    }
    guard extent.type != 0 else { return }
    Catalogue.clear(memory)
    memory.copyFromScratch(extent.first)
    memory[extent.first].isChanged = true
  }

  /// Makes the scratch block zero, which a template has to take for a block that owns nothing.
  func checkZero(_ type: UInt16) throws(XNError) {
    Catalogue.clear(memory)
    var nothing = NoExtents()
    guard owned(type, &nothing) else { throw .refusedByTemplate }
  }

  /// Makes the records of an extent that is somebody's now.
  func enter(_ extent: Extent, parent: UInt32) {
    var record = BlockRecord()
    record.state = .owned
    record.type = extent.type
    record.parent = parent
    record.count = extent.count
    memory[extent.first] = record
    record = BlockRecord()
    record.state = .part
    for block in extent.first + 1..<extent.first + extent.count { memory[block] = record }
  }

  /// Gives back the extent that a change of metadata lets go.
  ///
  /// The blocks are free at once if the disk has no pointer to them, else when the parent has been written.
  public mutating func free(_ first: UInt32, of parent: UInt32, _ changes: some Modifications) throws(XNError) {
    release()
    let record = try metadata(parent)
    let child = try self.child(first, of: parent)
    guard child.ownedCount == 0 else { throw .notEmpty }
    try propose(parent, record, changes, added: nil, removed: first)
    let isTaint = child.type != 0 && !isClean(child)
    accept(parent) {
      $0.ownedCount -= 1
      $0.taintCount -= isTaint ? 1 : 0
    }
    leave(first, parent)
  }

  private func child(_ first: UInt32, of parent: UInt32) throws(XNError) -> BlockRecord {
    guard first != 0, first < memory.blockCount else { throw .invalid }
    let child = memory[first]
    guard child.state == .owned, child.parent == parent else { throw .notMetadata }
    guard !child.isWriting, child.formerParent == 0, child.departureCount == 0, child.arrivals == 0,
      child.departures == 0
    else { throw .busy }
    return child
  }

  /// Puts a block that was given back where it waits.
  private mutating func leave(_ first: UInt32, _ parent: UInt32) {
    var child = memory[first]
    child.state = .waiting
    if child.isPointedAt {
      child.next = memory[parent].waiting
      memory[parent].waiting = first
    } else {
      child.next = releasing
      releasing = first
    }
    memory[first] = child
    release()
  }

  /// Makes some of what nothing on the disk points to free.
  ///
  /// - Returns: Whether nothing is left to be made free.
  @discardableResult
  public mutating func release() -> Bool {
    for _ in 0..<8 {
      guard releasing != 0 else { return true }
      let first = releasing
      let record = memory[first]
      releasing = record.next
      if record.waiting != 0 {
        // What waited for this block's write waits for nothing now: the disk has no way to this block. One step each.
        let waiting = record.waiting
        var after = memory[waiting]
        memory[first].waiting = after.next
        after.next = first
        memory[waiting] = after
        memory[first].next = releasing
        releasing = waiting
        continue
      }
      for block in first..<first + record.count { memory[block] = BlockRecord() }
    }
    return releasing == 0
  }

  // MARK: Moving

  /// Whether a tree stays below the limit if something of a height comes below a block.
  private func checkHeight(of parent: UInt32, above height: UInt8) throws(XNError) {
    var height = height + 1
    var block = parent
    while block != 0, memory[block].height < height {
      guard height < Self.heightLimit else { throw .tooHigh }
      height += 1
      block = memory[block].parent
    }
  }

  func raise(_ parent: UInt32, above height: UInt8) {
    var height = height + 1
    var block = parent
    while block != 0, memory[block].height < height {
      memory[block].height = height
      height += 1
      block = memory[block].parent
    }
  }

  /// Moves an extent from one block of metadata to another, both changing in one step.
  ///
  /// - Throws: `busy` also if the old parent waits for something that moved there, or the new one for something that
  ///   left it: so nobody ever waits for himself.
  public mutating func move(
    _ first: UInt32, from old: UInt32, _ oldChanges: some Modifications, to new: UInt32,
    _ newChanges: some Modifications
  ) throws(XNError) {
    release()
    let oldRecord = try metadata(old)
    let newRecord = try metadata(new)
    let child = try self.child(first, of: old)
    guard old != new else { throw .invalid }
    guard oldRecord.arrivals == 0, newRecord.departureCount == 0 else { throw .busy }
    guard newRecord.ownedCount < UInt32(Self.childLimit) else { throw .wrongOwnership }
    var above = new
    while above != 0 {
      guard above != first else { throw .tooHigh }
      above = memory[above].parent
    }
    if child.type != 0 { try checkHeight(of: new, above: child.height) }
    let extent = Extent(first: first, count: child.count, type: child.type)
    // The new parent's proof first, on the copy only; then the old one's; then nothing can fail any more.
    try propose(new, newRecord, newChanges, added: extent, removed: 0)
    try propose(old, oldRecord, oldChanges, added: nil, removed: first)
    let isTaint = child.type != 0 && !isClean(child)
    accept(old) {
      $0.ownedCount -= 1
      $0.taintCount -= isTaint ? 1 : 0
    }
    memory.copyToScratch(new)
    for index in 0..<newChanges.count { memory.storeScratch(newChanges[index].byte, newChanges[index].offset) }
    memory[first].parent = new
    accept(new) {
      $0.ownedCount += 1
      $0.taintCount += isTaint ? 1 : 0
    }
    if child.type != 0 { raise(new, above: child.height) }
    guard child.isPointedAt else { return }
    memory[first].isPointedAt = false
    memory[first].formerParent = old
    memory[first].next = memory[new].arrivals
    memory[new].arrivals = first
    memory[old].departureCount += 1
  }
}

/// Compares what `owns` tells of with what the records say.
private struct OwnershipChecker<Memory: XNMemory>: ExtentVisitor {
  let memory: Memory
  let parent: UInt32
  let stamp: UInt32
  let added: Extent?
  let removed: UInt32
  var isAdded: Bool
  var isRight = true
  var count: UInt32 = 0

  init(memory: Memory, parent: UInt32, stamp: UInt32, added: Extent?, removed: UInt32) {
    self.memory = memory
    self.parent = parent
    self.stamp = stamp
    self.added = added
    self.removed = removed
    isAdded = added == nil
  }

  mutating func take(_ extent: Extent) -> Bool {
    count += 1
    if !isAdded, extent == added {
      isAdded = true
      return true
    }
    isRight = false
    guard extent.first < memory.blockCount, extent.first != removed else { return false }
    var child = memory[extent.first]
    guard child.state == .owned, child.parent == parent, child.count == extent.count, child.type == extent.type,
      child.stamp != stamp
    else { return false }
    child.stamp = stamp
    memory[extent.first] = child
    isRight = true
    return true
  }
}
