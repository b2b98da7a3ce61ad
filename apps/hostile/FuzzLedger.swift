// SPDX-License-Identifier: Apache-2.0
// FuzzLedger.swift: the kernel's ledgers recomputed from what its information pages and the page tables show.

import ApusABI

/// What the frame table, the environments and the timelines have to say once only the first family and its neighbour
/// are left.
struct FuzzLedger {
  /// For each frame the mappings that this address space has: all, and writable ones in the upper half.
  private static func own(_ frame: UInt64) -> UInt64 { FuzzPlace.arrays + frame * 8 }
  /// For each frame what others have had from the beginning: mappings, writable ones from bit 24, pins from bit 48.
  private static func others(_ frame: UInt64) -> UInt64 { FuzzPlace.arrays + 0x10_0000 + frame * 8 }

  private let frameCount: UInt64
  private let free: UInt64
  private let environments: UInt64
  private let slices: UInt64
  private let budgets: Balance

  /// Notes what there is before any attack.
  init?() {
    frameCount = Information.page.frame_count
    guard frameCount * 8 <= 0x10_0000, Memory.makeTables(for: FuzzPlace.arrays, root: Information.ownRoot) else {
      return nil
    }
    let pages = (frameCount * 8 + 4095) / 4096
    for page in 0..<pages {
      guard Memory.mapFresh(at: FuzzPlace.arrays + page * 4096) != nil,
        Memory.mapFresh(at: FuzzPlace.arrays + 0x10_0000 + page * 4096) != nil
      else { return nil }
    }
    environments = Information.environmentsInUse
    slices = Self.slicesOwned
    budgets = Balance()
    Self.countOwn(frameCount)
    for number in 0..<frameCount {
      let frame = Information.frame(number)
      if frame.type == UInt8(APUS_FRAME_FREE) { continue }
      let own = load64(Self.own(number))
      store64(
        Self.others(number),
        (UInt64(frame.mappings) &- own & 0xff_ffff) | (UInt64(frame.writable_mappings) &- own >> 32) << 24
          | UInt64(frame.pins) << 48)
    }
    free = free_frames()
  }

  /// Slices that somebody owns.
  private static var slicesOwned: UInt64 {
    var count: UInt64 = 0
    for slice in 0..<Information.page.slice_count where Information.slice(slice).environment != APUS_SLICE_FREE {
      count += 1
    }
    return count
  }

  /// Waits until what the dead had has come back.
  func settle(turns: UInt64) -> Bool {
    waitUntil(turns: turns) { free_frames() >= free && Information.environmentsInUse <= environments }
  }

  /// Frames that have not come back.
  var missing: UInt64 { free &- free_frames() }

  /// Whether frames are charged to an account, or slots of the environment table.
  func charges(_ account: UInt64) -> Bool {
    for number in 0..<frameCount where UInt64(Information.frame(number).account) == account { return true }
    return false
  }

  /// Everything is accounted for.
  func verify(_ check: inout Check) {
    check.expect(free_frames(), equals: free, "free frames")
    check.expect(Information.environmentsInUse, equals: environments, "environments")
    check.expect(Self.slicesOwned, equals: slices, "slices that are owned")
    // Sums may be torn while the last budget is on its way back.
    // A sum that a slice's end interrupts misses what the kernel moves meanwhile: only one that differs for good counts.
    var sums = Balance()
    _ = waitUntil(turns: 100) {
      sums = Balance()
      return sums.isEqual(to: budgets)
    }
    budgets.compare(with: sums, &check)
    Balance.verify(Budget.own, &check)
    Balance.verify(FuzzNeighbour.account, &check)
    for slot in 0..<Information.page.environment_count {
      let record = Information.environment(slot: slot)
      if record.state == UInt32(APUS_ENVIRONMENT_FREE) { continue }
      check.expect(record.state != UInt32(APUS_ENVIRONMENT_DYING), "a dead environment that is not buried", slot)
      var owned: UInt32 = 0
      for slice in 0..<Information.page.slice_count where UInt64(Information.slice(slice).environment) == slot {
        owned += 1
      }
      check.expect(UInt64(record.slices_owned), equals: UInt64(owned), "slices of an environment")
    }
    Self.countOwn(frameCount)
    var found: UInt64 = 0
    var heads: UInt64 = 0
    for number in 0..<frameCount {
      let frame = Information.frame(number)
      switch Int32(frame.type) {
      case APUS_FRAME_FREE:
        found += 1
        if frame.writable_mappings == UInt32.max { heads += 1 }
        check.expect(UInt64(frame.account | frame.pins), equals: 0, "a free frame that is charged or pinned")
        checkLinks(number, frame, &check)
      case APUS_FRAME_ABSENT, APUS_FRAME_KERNEL: break
      default:
        let own = load64(Self.own(number))
        let others = load64(Self.others(number))
        check.expect(
          UInt64(frame.mappings), equals: (own & 0xffff_ffff) + (others & 0xff_ffff), "mappings that the tables show")
        check.expect(
          UInt64(frame.writable_mappings), equals: own >> 32 + (others >> 24 & 0xff_ffff),
          "writable mappings that the tables show")
        check.expect(UInt64(frame.pins), equals: others >> 48, "pins of a frame")
        check.expect(
          frame.account == 1 || UInt64(frame.account) == FuzzNeighbour.account, "a frame that a dead family still has",
          number)
      }
    }
    check.expect(found, equals: free, "frames of the type free")
    check.expect(heads, equals: 1, "beginnings of the list of free frames")
  }

  private func checkLinks(_ number: UInt64, _ frame: apus_frame, _ check: inout Check) {
    if frame.mappings != UInt32.max {
      let next = Information.frame(UInt64(frame.mappings))
      check.expect(
        next.type == UInt8(APUS_FRAME_FREE) && UInt64(next.writable_mappings) == number, "the list of free frames",
        number)
    }
    if frame.writable_mappings != UInt32.max {
      let last = Information.frame(UInt64(frame.writable_mappings))
      check.expect(
        last.type == UInt8(APUS_FRAME_FREE) && UInt64(last.mappings) == number, "the list of free frames", number)
    }
  }

  /// What has to hold at any moment, whoever lives: to be asked within one slice.
  func verifyAmidst(_ check: inout Check) {
    let turns = uarea_word(UInt32(UA_SLICE_BEGINS))
    var found: UInt64 = 0
    for number in 0..<frameCount where Information.frameType(number) == UInt8(APUS_FRAME_FREE) { found += 1 }
    let free = free_frames()
    var owned: UInt64 = 0
    for slot in 0..<Information.page.environment_count {
      let record = Information.environment(slot: slot)
      if record.state != UInt32(APUS_ENVIRONMENT_FREE) { owned += UInt64(record.slices_owned) }
    }
    let slices = Self.slicesOwned
    // Somebody else ran meanwhile: this says nothing.
    if uarea_word(UInt32(UA_SLICE_BEGINS)) != turns { return }
    check.expect(found, equals: free, "frames of the type free, amidst")
    check.expect(owned, equals: slices, "slices that environments own, amidst")
  }

  // MARK: The page tables

  private static func countOwn(_ frameCount: UInt64) {
    for number in 0..<frameCount { store64(own(number), 0) }
    // The root is held by the environment that runs in it.
    store64(own(Information.ownRoot), 1)
    count(level: 4, from: 0, entries: 256, frameCount)
  }

  private static func count(level: UInt64, from address: UInt64, entries: UInt64, _ frameCount: UInt64) {
    let span: UInt64 = 1 << (3 + 9 * level)
    for index in 0..<entries {
      let part = address + index * span
      let entry = load64(OwnTables.entryAddress(part, level: level))
      if entry & 1 == 0 { continue }
      let frame = (entry & 0x000f_ffff_ffff_f000) >> 12
      if frame >= frameCount { continue }
      let isWritable = level == 1 && entry & Entry.writable != 0
      store64(own(frame), load64(own(frame)) &+ (isWritable ? 1 << 32 | 1 : 1))
      if level > 1 { count(level: level - 1, from: part, entries: 512, frameCount) }
    }
  }
}
