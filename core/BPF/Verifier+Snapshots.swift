// SPDX-License-Identifier: Apache-2.0
// Verifier+Snapshots.swift: states written down in the arena, restored, and compared with the current one.
//
// A snapshot is: the depth; the regions' proven sizes, two to a word; for each frame its header (where its caller goes
// on, and which registers follow), its occupied stack slots, and the values. Registers that will not be read again are
// left out: what is left out was never looked at on the way from the snapshot. Numbers that decide nothing are
// remembered as any number.

/// How a remembered state relates to the current one.
enum Coverage {
  case none
  /// Every value that the current state allows, the remembered one allows too.
  case covers
  /// Both allow the same.
  case same
}

/// Which identity of the current state stands for which of a remembered one.
private struct IdentityMap {
  private var old = InlineArray<16, UInt32>(repeating: 0)
  private var new = InlineArray<16, UInt32>(repeating: 0)
  private var count = 0

  mutating func agree(_ first: UInt32, _ second: UInt32) -> Bool {
    for index in 0..<count where old[index] == first { return new[index] == second && second != 0 }
    guard count < 16 else { return false }
    old[count] = first
    new[count] = second
    count += 1
    return true
  }
}

extension Verifier where Memory: ~Copyable {
  private func liveRegisters(_ frame: Int) -> UInt16 {
    if frame == depth { return mark(slot).liveRegisters.bits & 0x3ff }
    // A caller gets r0 back and loses r1 to r5.
    return mark(returnSlot(frame + 1)).liveRegisters.bits & 0x3c0
  }

  /// The registers of a frame that have a value which may be read.
  private func presentRegisters(_ frame: Int) -> UInt16 {
    let live = liveRegisters(frame)
    var present: UInt16 = 0
    for number in 0..<FrameShape.registerCount where live >> UInt16(number) & 1 != 0 {
      let kind = UInt8(truncatingIfNeeded: memory[registerIndex(frame, number)])
      if kind != ValueKind.uninitialised.rawValue { present |= 1 << UInt16(number) }
    }
    return present
  }

  /// How many words a snapshot may need.
  func snapshotBound() -> Int {
    var bound = 5
    for frame in 0...depth {
      bound +=
        2 + AbstractValue.wordCount
        * (FrameShape.registerCount + occupiedSlots(frame).nonzeroBitCount)
    }
    return bound
  }

  /// The registers of a frame whose values decide something.
  private func decidingRegisters(_ frame: Int) -> UInt16 {
    mark(frame == depth ? slot : returnSlot(frame + 1)).decidingRegisters.bits
  }

  /// What has to be remembered of a register.
  private func essence(_ frame: Int, _ number: Int, deciding: UInt16) -> AbstractValue {
    let value = value(at: registerIndex(frame, number))
    return value.kind == .number && deciding >> UInt16(number) & 1 == 0 ? .anyNumber : value
  }

  /// A number that is the same for states which `compareSnapshot` finds to be the same.
  func fingerprint() -> UInt32 {
    var mixed = UInt64(slot)
    for frame in 0...depth {
      let present = presentRegisters(frame)
      let deciding = decidingRegisters(frame)
      for number in 0..<FrameShape.registerCount where present >> UInt16(number) & 1 != 0 {
        mixed = Self.mix(mixed, essence(frame, number, deciding: deciding).scalar)
      }
      var occupied = occupiedSlots(frame)
      while occupied != 0 {
        mixed = Self.mix(mixed, stackSlot(frame, occupied.trailingZeroBitCount).scalar)
        occupied &= occupied - 1
      }
    }
    return UInt32(truncatingIfNeeded: mixed >> 32)
  }

  private static func mix(_ mixed: UInt64, _ scalar: Scalar) -> UInt64 {
    // An odd factor near 2^64 divided by the golden ratio spreads every bit upwards (Knuth, TAOCP 6.4).
    ((mixed ^ scalar.least) &* 0x9e37_79b9_7f4a_7c15 ^ scalar.greatest &* 31) &* 0x9e37_79b9_7f4a_7c15
  }

  /// Writes the current state down.
  ///
  /// - Parameters:
  ///   - start: Where the snapshot begins.
  ///   - isWhole: Whether numbers are kept that decide nothing.
  /// - Returns: The index after the snapshot.
  mutating func writeSnapshot(at start: Int, isWhole: Bool) -> Int {
    memory[start] = UInt64(depth)
    for pair in 0..<4 {
      memory[start + 1 + pair] =
        UInt64(provenSizes[2 * pair]) | UInt64(provenSizes[2 * pair + 1]) << 32
    }
    var index = start + 5
    for frame in 0...depth {
      let present = presentRegisters(frame)
      let deciding = isWhole ? 0x7ff : decidingRegisters(frame)
      memory[index] = UInt64(UInt32(returnSlot(frame))) | UInt64(present) << 32
      memory[index + 1] = occupiedSlots(frame)
      index += 2
      for number in 0..<FrameShape.registerCount where present >> UInt16(number) & 1 != 0 {
        index = essence(frame, number, deciding: deciding).write(to: &memory, at: index)
      }
      var occupied = occupiedSlots(frame)
      while occupied != 0 {
        let slot = occupied.trailingZeroBitCount
        index = value(at: slotIndex(frame, slot)).write(to: &memory, at: index)
        occupied &= occupied - 1
      }
    }
    return index
  }

  /// Makes a snapshot the current state.
  mutating func readSnapshot(at start: Int) {
    let frames = Int(memory[start])
    for pair in 0..<4 {
      let sizes = memory[start + 1 + pair]
      provenSizes[2 * pair] = UInt32(truncatingIfNeeded: sizes)
      provenSizes[2 * pair + 1] = UInt32(truncatingIfNeeded: sizes >> 32)
    }
    var index = start + 5
    for frame in 0...frames {
      depth = frame
      clearFrame()
      setReturnSlot(Int(memory[index] & 0xffff_ffff))
      let present = memory[index] >> 32
      var occupied = memory[index + 1]
      memory[frameStart(frame) + FrameShape.occupiedSlots] = occupied
      index += 2
      for number in 0..<FrameShape.registerCount where present >> UInt64(number) & 1 != 0 {
        set(AbstractValue(memory, at: &index), at: registerIndex(frame, number))
      }
      while occupied != 0 {
        set(AbstractValue(memory, at: &index), at: slotIndex(frame, occupied.trailingZeroBitCount))
        occupied &= occupied - 1
      }
    }
  }

  /// Compares a remembered state with the current one.
  func compareSnapshot(at start: Int) -> Coverage {
    guard memory[start] == UInt64(depth) else { return .none }
    var isSame = true
    for pair in 0..<4 {
      let sizes = memory[start + 1 + pair]
      let first = UInt32(truncatingIfNeeded: sizes)
      let second = UInt32(truncatingIfNeeded: sizes >> 32)
      guard first <= provenSizes[2 * pair], second <= provenSizes[2 * pair + 1] else {
        return .none
      }
      if first != provenSizes[2 * pair] || second != provenSizes[2 * pair + 1] { isSame = false }
    }
    var identities = IdentityMap()
    var index = start + 5
    for frame in 0...depth {
      guard memory[index] & 0xffff_ffff == UInt64(returnSlot(frame)) else { return .none }
      let present = memory[index] >> 32
      let remembered = memory[index + 1]
      index += 2
      let deciding = decidingRegisters(frame)
      if present != UInt64(presentRegisters(frame)) { isSame = false }
      for number in 0..<FrameShape.registerCount where present >> UInt64(number) & 1 != 0 {
        let old = AbstractValue(memory, at: &index)
        let new = essence(frame, number, deciding: deciding)
        guard Self.covers(old, new, &identities, &isSame) else { return .none }
      }
      if remembered != occupiedSlots(frame) { isSame = false }
      var occupied = remembered
      while occupied != 0 {
        let old = AbstractValue(memory, at: &index)
        let new = stackSlot(frame, occupied.trailingZeroBitCount)
        guard Self.covers(old, new, &identities, &isSame) else { return .none }
        occupied &= occupied - 1
      }
    }
    return isSame ? .same : .covers
  }

  private static func covers(
    _ old: AbstractValue, _ new: AbstractValue, _ identities: inout IdentityMap,
    _ isSame: inout Bool
  ) -> Bool {
    guard old.kind == new.kind, old.initialisedBytes & ~new.initialisedBytes == 0 else {
      return false
    }
    if old.isAddress || old.isLength {
      guard old.place == new.place, !new.mayBeZero || old.mayBeZero, !old.isLength || new.isLength
      else { return false }
    }
    guard old.scalar.contains(new.scalar) else { return false }
    if old.identity != 0 {
      guard identities.agree(old.identity, new.identity) else { return false }
      guard old.distance == new.distance, old.proven <= new.proven else { return false }
    }
    if old.scalar != new.scalar || old.mayBeZero != new.mayBeZero || old.isLength != new.isLength
      || old.proven != new.proven || old.initialisedBytes != new.initialisedBytes
      || (old.identity == 0) != (new.identity == 0)
    {
      isSame = false
    }
    return true
  }
}
