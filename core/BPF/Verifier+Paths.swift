// SPDX-License-Identifier: Apache-2.0
// Verifier+Paths.swift: remembered states, branches kept for later, and the length of the longest path.

/// A remembered state in words; a snapshot follows.
private enum NodeShape {
  /// The slot, and in the upper half the remembered state of the same slot that is next in the list.
  static var place: Int { 0 }
  /// The state that the path came from, and in the upper half how many paths from here are not finished.
  static var parent: Int { 1 }
  /// How many instructions lie between the parent and this state.
  static var distance: Int { 2 }
  /// The most instructions from here to the end on any finished path.
  static var worst: Int { 3 }
  /// The state's fingerprint, and in the upper half the next state of the same bucket.
  static var fingerprint: Int { 4 }
  static var wordCount: Int { 5 }
}

/// What is kept for each slot: its newest remembered state, and how often paths arrived and were found explored.
private struct SlotRecord {
  var bits: UInt64

  var newest: Int {
    get { Int(bits & 0xffff_ffff) }
    set { bits = bits & ~0xffff_ffff | UInt64(newValue) }
  }
  var visits: UInt64 { bits >> 32 & 0xffff }
  var hits: UInt64 { bits >> 48 }

  mutating func visit() { if visits < 0xffff { bits += 1 << 32 } }
  mutating func hit() { if hits < 0xffff { bits += 1 << 48 } }

  /// A loop that goes on for long, and whose states never meet again, remembers only some of them.
  var isWorthRemembering: Bool { visits < 64 || hits > 0 || visits % 8 == 0 }
}

/// A branch kept for later in words; a snapshot follows.
private enum BranchShape {
  static var wordCount: Int { 4 }
}

extension Verifier where Memory: ~Copyable {
  /// How many of a slot's newest states are compared, besides those with the same fingerprint.
  private var comparedStateLimit: Int { 16 }

  private var record: SlotRecord {
    get { SlotRecord(bits: memory[slotCount + slot]) }
    set { memory[slotCount + slot] = newValue.bits }
  }

  private func bucketIndex(_ fingerprint: UInt32) -> Int {
    2 * slotCount + Self.frameAreaWordCount + Int(fingerprint) % Self.bucketCount
  }

  /// Looks whether the path's state has been explored, and remembers it if not.
  ///
  /// - Returns: Whether the path ends here.
  mutating func arrive() throws(Rejection) -> Bool {
    guard mark(slot).isJumpTarget else { return false }
    record.visit()
    let fingerprint = fingerprint()
    if let rest = try lookUp(fingerprint) {
      record.hit()
      try require(pathLength + rest <= contract.instructionLimit, .tooManyInstructions)
      finishPath(distance + rest)
      return true
    }
    if record.isWorthRemembering { remember(fingerprint) }
    return false
  }

  /// Finds how many instructions the longest path from here takes, if that has been explored.
  private mutating func lookUp(_ fingerprint: UInt32) throws(Rejection) -> UInt64? {
    var node = Int(memory[bucketIndex(fingerprint)])
    while node != 0 {
      let isCandidate =
        memory[node + NodeShape.fingerprint] & 0xffff_ffff == UInt64(fingerprint)
        && memory[node + NodeShape.place] & 0xffff_ffff == UInt64(slot)
      if isCandidate, let rest = try rest(of: node) { return rest }
      work += 1
      node = Int(memory[node + NodeShape.fingerprint] >> 32)
    }
    node = record.newest
    for _ in 0..<comparedStateLimit where node != 0 {
      if let rest = try rest(of: node) { return rest }
      node = Int(memory[node + NodeShape.place] >> 32)
    }
    return nil
  }

  /// The instructions left at a remembered state, if it covers the current one.
  private mutating func rest(of node: Int) throws(Rejection) -> UInt64? {
    work += 1 + snapshotBound() / 64
    let coverage = compareSnapshot(at: node + NodeShape.wordCount)
    let isFinished = memory[node + NodeShape.parent] >> 32 == 0
    guard coverage == .same || (coverage == .covers && isFinished) else { return nil }
    try require(isFinished, .endlessLoop)
    return memory[node + NodeShape.worst]
  }

  private mutating func remember(_ fingerprint: UInt32) {
    guard arenaBottom + NodeShape.wordCount + snapshotBound() <= arenaTop else { return }
    let node = arenaBottom
    let bucket = bucketIndex(fingerprint)
    memory[node + NodeShape.place] = UInt64(slot) | UInt64(record.newest) << 32
    memory[node + NodeShape.parent] = UInt64(owner) | 1 << 32
    memory[node + NodeShape.distance] = distance
    memory[node + NodeShape.worst] = 0
    memory[node + NodeShape.fingerprint] = UInt64(fingerprint) | memory[bucket] << 32
    memory[bucket] = UInt64(node)
    record.newest = node
    arenaBottom = writeSnapshot(at: node + NodeShape.wordCount, isWhole: false)
    owner = node
    distance = 0
  }

  /// Ends the current path, which takes so many instructions from its owner on.
  mutating func finishPath(_ length: UInt64) {
    var length = length
    var node = owner
    while node != 0 {
      memory[node + NodeShape.worst] = max(memory[node + NodeShape.worst], length)
      memory[node + NodeShape.parent] -= 1 << 32
      guard memory[node + NodeShape.parent] >> 32 == 0 else { return }
      length = memory[node + NodeShape.distance] + memory[node + NodeShape.worst]
      node = Int(memory[node + NodeShape.parent] & 0xffff_ffff)
    }
    worst = max(worst, length)
  }

  /// Keeps the current state, at a branch, to continue later as if the branch were taken.
  mutating func keepForLater() throws(Rejection) {
    let bound = BranchShape.wordCount + snapshotBound()
    try require(arenaBottom + bound <= arenaTop, .tooComplex)
    work += bound / 32
    let end = writeSnapshot(at: arenaBottom, isWhole: true)
    let length = end - arenaBottom
    // Moved up from its end; the gap may be too small for both, and is never too small for one.
    var index = length - 1
    while index >= 0 {
      memory[arenaTop - length + index] = memory[arenaBottom + index]
      index -= 1
    }
    arenaTop -= length + BranchShape.wordCount
    memory[arenaTop] = UInt64(length)
    memory[arenaTop + 1] = UInt64(slot) | UInt64(owner) << 32
    memory[arenaTop + 2] = distance
    memory[arenaTop + 3] = pathLength
    if owner != 0 { memory[owner + NodeShape.parent] += 1 << 32 }
  }

  /// Continues with a branch kept for later.
  ///
  /// - Returns: Whether there was one.
  mutating func resume(_ program: Span<UInt64>) throws(Rejection) -> Bool {
    while arenaTop < memory.count {
      let length = Int(memory[arenaTop])
      slot = Int(memory[arenaTop + 1] & 0xffff_ffff)
      owner = Int(memory[arenaTop + 1] >> 32)
      distance = memory[arenaTop + 2]
      pathLength = memory[arenaTop + 3]
      readSnapshot(at: arenaTop + BranchShape.wordCount)
      arenaTop += BranchShape.wordCount + length
      if try takeBranch(program) { return true }
      finishPath(distance)
    }
    return false
  }
}
