// SPDX-License-Identifier: Apache-2.0
// XN+Writing.swift: which metadata may go to the disk when, and what its arrival there means.

import ApusBPF

extension XN {
  /// Whether a block of metadata may be written now.
  ///
  /// - Throws: `tainted` (rule 1), `wouldLose` (rule 3), and why it is no metadata that can be written.
  public func checkWrite(_ block: UInt32) throws(XNError) {
    let record = try metadata(block)
    guard record.departureCount == 0 else { throw .wouldLose }
    guard record.taintCount == 0 || !isPersistent(block) else { throw .tainted }
  }

  /// A write of the block begins: until its end the block cannot change.
  ///
  /// - Throws: What `checkWrite` throws.
  public func beginWrite(_ block: UInt32) throws(XNError) {
    try checkWrite(block)
    memory[block].isWriting = true
  }

  /// The write has ended.
  ///
  /// - Parameters:
  ///   - block: The block.
  ///   - isDurable: Whether the block is on the disk and a flush behind it; if not, everything is as before.
  public mutating func endWrite(_ block: UInt32, isDurable: Bool) {
    guard block < memory.blockCount, memory[block].isWriting else { return }
    memory[block].isWriting = false
    guard isDurable else { return }
    memory[block].isChanged = false
    let record = memory[block]
    // The disk points to what the block owns now, and to nothing else.
    memory.copyToScratch(block)
    var pointing = Pointing(memory: memory, parent: block)
    _ = owned(record.type, &pointing)
    update(block) { $0.isInitialised = true }
    endWaiting(of: block)
    release()
  }

  private mutating func endWaiting(of block: UInt32) {
    let record = memory[block]
    memory[block].waiting = 0
    memory[block].arrivals = 0
    memory[block].departures = 0
    var child = record.waiting
    if child != 0 {
      while memory[child].next != 0 { child = memory[child].next }
      memory[child].next = releasing
      releasing = record.waiting
    }
    child = record.arrivals
    while child != 0 {
      let next = memory[child].next
      let old = memory[child].formerParent
      memory[old].departureCount -= 1
      memory[child].next = memory[old].departures
      memory[old].departures = child
      child = next
    }
    child = record.departures
    while child != 0 {
      let next = memory[child].next
      memory[child].formerParent = 0
      memory[child].next = 0
      child = next
    }
  }

  /// Asks the `acl` program that guards a block: its own if it is metadata, else that of the metadata that owns it.
  ///
  /// - Parameters:
  ///   - block: The first block of an extent.
  ///   - principal: Who asks, in the terms of the file system.
  ///   - mayWrite: Whether for more than reading.
  /// - Throws: `notPermitted`; `notPresent` if the metadata that guards the block is not in memory.
  public func checkAccess(_ block: UInt32, principal: UInt64, mayWrite: Bool) throws(XNError) {
    guard block < memory.blockCount, memory[block].state == .owned else { throw .invalid }
    let guardian = memory[block].type == 0 ? memory[block].parent : block
    guard memory.isPresent(guardian) else { throw .notPresent }
    guard ask(guardian, .acl, principal, mayWrite ? 1 : 0) == 1 else { throw .notPermitted }
  }

  /// How many bytes of a block of metadata are in use, as its template says.
  public func size(_ block: UInt32) throws(XNError) -> Int {
    _ = try metadata(block)
    guard let size = ask(block, .size, 0, 0), size <= 4096 else { throw .refusedByTemplate }
    return Int(size)
  }

  private func ask(_ block: UInt32, _ program: TemplateProgram, _ first: UInt64, _ second: UInt64) -> UInt64? {
    memory.copyToScratch(block)
    return memory.withProgram(memory[block].type, program) { slots in
      var world = TemplateWorld(memory: memory, visitor: NoExtents())
      return world.run(slots, first, second)
    }
  }
}

/// Notes that the disk points to what a block owns.
private struct Pointing<Memory: XNMemory>: ExtentVisitor {
  let memory: Memory
  let parent: UInt32

  func take(_ extent: Extent) -> Bool {
    if extent.first < memory.blockCount, memory[extent.first].parent == parent {
      memory[extent.first].isPointedAt = true
    }
    return true
  }
}
