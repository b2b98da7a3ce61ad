// SPDX-License-Identifier: Apache-2.0
// PageTables+Entries.swift: writing and changing level-1 entries in batches, the kernel's busiest loops.
//
// Both calls go through the whole batch twice: first to check and to count, which can be taken back, then to write
// entries. So one that fails has changed nothing. A batch of at most 512 pages lies in one level-1 table or in two
// neighbours. Entries that are not present are always 0, so that one comparison finds them.

import ApusABI
import ApusCapabilities
import CApusABI

extension PageTables {
  /// The most entries in one call.
  public static var batchLimit: UInt64 { 512 }

  /// The level-1 tables of a batch.
  private struct Batch {
    let address: UInt64
    let count: Int
    /// Index of the first entry in the first table.
    let index: Int
    /// How many entries are in the first table.
    let firstCount: Int
    let firstTable: UInt32
    let secondTable: UInt32
    /// Whether invalidating the batch's own addresses in the current address space is not enough.
    let reachesFurther: Bool

    /// What the caches need, given all the entries that were there, or'ed.
    func maintenance(after old: UInt64) -> Maintenance {
      if old & PageEntry.accessed == 0 { return .none }
      return reachesFurther ? .everything : .range(address: address, count: count)
    }
  }

  /// Finds the tables of a batch.
  private func batch(
    at address: UInt64, count: UInt64, root: UInt64, caller: PageCaller, by capability: Capability
  ) throws(SystemCallError) -> Batch {
    guard count <= Self.batchLimit, address < Self.userLimit, address & 0xfff == 0,
      count << 12 <= Self.userLimit - address
    else { throw .invalid }
    let root = try checkRoot(root, account: caller.account, by: capability)
    let count = Int(truncatingIfNeeded: count)
    let index = Self.index(of: address, level: 1)
    let firstCount = min(count, 512 - index)
    guard let first = walk(root: root, address: address, to: 1) else { throw .noTable }
    var second = first
    if firstCount < count {
      let boundary = address + UInt64(truncatingIfNeeded: firstCount) << 12
      guard let next = walk(root: root, address: boundary, to: 1) else { throw .noTable }
      second = next
    }
    return Batch(
      address: address, count: count, index: index, firstCount: firstCount,
      firstTable: first.table, secondTable: second.table,
      reachesFurther: first.isShared || second.isShared || root != caller.currentRoot)
  }

  // MARK: Writing

  /// Writes consecutive level-1 entries; one without the present bit unmaps.
  ///
  /// `tables` has to reach the root's guard with the right to write; `mapped` each frame's guard, with the right
  /// to write if the entry is writable.
  ///
  /// - Returns: What the translation caches need.
  /// - Throws: `invalid` for the address, the count or a bit that an application may not set; what `checkRoot`
  ///   throws; `noTable`; for the frames `noSuchResource`, `wrongType` (not ordinary), `denied`, `exhausted` (mapped as often as its record can count).
  public func writeEntries(
    _ entries: some EntryList, count: UInt64, at address: UInt64, root: UInt64,
    caller: PageCaller, tables: Capability, mapped: Capability
  ) throws(SystemCallError) -> Maintenance {
    let batch = try batch(at: address, count: count, root: root, caller: caller, by: tables)
    try claim(entries, count: batch.count, by: mapped)
    var old = replace(
      entries, from: 0, count: batch.firstCount, table: batch.firstTable, index: batch.index)
    if batch.firstCount < batch.count {
      old |= replace(
        entries, from: batch.firstCount, count: batch.count - batch.firstCount,
        table: batch.secondTable, index: 0)
    }
    return batch.maintenance(after: old)
  }

  /// Checks that each entry may be written, and counts the mappings that they are about to be.
  ///
  /// Checking and counting in one pass looks each record up once. If an entry is refused the counts of those
  /// before it are given back; no table has been touched by then.
  private func claim(
    _ entries: some EntryList, count: Int, by capability: Capability
  ) throws(SystemCallError) {
    // One test finds every entry that cannot pass for its bits alone; which error it is can be found at leisure.
    var forbidden = ~PageEntry.allowed
    if !capability.rights.contains(.read) { forbidden |= PageEntry.present }
    if !capability.rights.contains(.write) { forbidden |= PageEntry.writable }
    let frameCount = UInt64(frames.count)
    let mask = capability.mask
    var failure = SystemCallError.invalid
    var index = 0
    while index < count {
      let entry = entries[index]
      if entry & PageEntry.present != 0 {
        if entry & forbidden != 0 {
          failure = entry & ~PageEntry.allowed != 0 ? .invalid : .denied
          break
        }
        let number = (entry & PageEntry.frameMask) >> 12
        if number >= frameCount {
          failure = .noSuchResource
          break
        }
        let frame = UInt32(truncatingIfNeeded: number)
        if !frames[frame].isOrdinary {
          failure = .wrongType
          break
        }
        if (frames[frame].guard ^ capability.name) & mask != 0
          || frames[frame].guard_length < capability.length
        {
          failure = .denied
          break
        }
        frames[frame].mappings &+= 1
        if frames[frame].mappings == 0 {
          frames[frame].mappings = UInt32.max
          failure = .exhausted
          break
        }
        // Cannot wrap: never more than `mappings`.
        if entry & PageEntry.writable != 0 { frames[frame].writable_mappings &+= 1 }
      }
      index &+= 1
    }
    if index == count { return }
    for claimed in 0..<index where entries[claimed] & PageEntry.present != 0 {
      uncount(entries[claimed])
    }
    throw failure
  }

  /// Writes claimed entries into one table and ends the mappings that were there.
  ///
  /// - Returns: The entries that were there, or'ed.
  private func replace(
    _ entries: some EntryList, from first: Int, count: Int, table: UInt32, index: Int
  ) -> UInt64 {
    var union: UInt64 = 0
    for offset in 0..<count {
      let entry = entries[first &+ offset]
      let old = memory.entry(table, index &+ offset)
      let isPresent = entry & PageEntry.present != 0
      memory.setEntry(table, index &+ offset, isPresent ? entry | PageEntry.user : 0)
      if old != 0 {
        union |= old
        uncount(old)
      }
    }
    return union
  }

  // MARK: Changing

  /// Changes consecutive level-1 entries that are present to `(entry & keep) | set`; passes over the others.
  ///
  /// `keep` is a mask with zeroes for the bits to clear and ones for all others. `tables` has to reach the root's
  /// guard with the right to write; if `set` makes pages writable, `mapped` has to reach the frames of those that
  /// were not, with the same right.
  ///
  /// - Returns: What the translation caches need.
  /// - Throws: `invalid` for the address, the count or a bit that an application may not change; what
  ///   `checkRoot` throws; `noTable`; `denied` for a frame that cannot be made writable.
  public func protectEntries(
    count: UInt64, at address: UInt64, root: UInt64, set: UInt64, keep: UInt64,
    caller: PageCaller, tables: Capability, mapped: Capability
  ) throws(SystemCallError) -> Maintenance {
    guard set & ~PageEntry.changeable == 0, keep | PageEntry.changeable == ~0 else {
      throw .invalid
    }
    let batch = try batch(at: address, count: count, root: root, caller: caller, by: tables)
    let secondCount = batch.count - batch.firstCount
    var old: UInt64
    if set & PageEntry.writable != 0 {
      try claimWritable(batch, secondCount: secondCount, by: mapped)
      old = change(
        batch.firstCount, table: batch.firstTable, index: batch.index, set: set, keep: keep)
      old |= change(secondCount, table: batch.secondTable, index: 0, set: set, keep: keep)
    } else if keep & PageEntry.writable != 0 {
      old = change(
        batch.firstCount, table: batch.firstTable, index: batch.index, set: set, keep: keep)
      old |= change(secondCount, table: batch.secondTable, index: 0, set: set, keep: keep)
    } else {
      old = changeToReadOnly(
        batch.firstCount, table: batch.firstTable, index: batch.index, set: set, keep: keep)
      old |= changeToReadOnly(
        secondCount, table: batch.secondTable, index: 0, set: set, keep: keep)
    }
    return batch.maintenance(after: old)
  }

  /// Checks that each present entry of a batch is writable or may become so, and counts those that do.
  ///
  /// If one is refused the counts of those before it are given back; no table has been touched by then.
  private func claimWritable(
    _ batch: Batch, secondCount: Int, by capability: Capability
  ) throws(SystemCallError) {
    var claimed = claimWritable(
      batch.firstCount, table: batch.firstTable, index: batch.index, by: capability)
    if claimed == batch.firstCount {
      claimed += claimWritable(secondCount, table: batch.secondTable, index: 0, by: capability)
    }
    if claimed == batch.count { return }
    let firstClaimed = min(claimed, batch.firstCount)
    unclaimWritable(firstClaimed, table: batch.firstTable, index: batch.index)
    unclaimWritable(claimed - firstClaimed, table: batch.secondTable, index: 0)
    throw .denied
  }

  /// Counts the read-only entries of a range in one table as writable, up to the first that may not be.
  ///
  /// - Returns: How many entries, of whatever kind, come before that one.
  private func claimWritable(
    _ count: Int, table: UInt32, index: Int, by capability: Capability
  ) -> Int {
    let mask = capability.mask
    let isPowerless = !capability.rights.contains(.write)
    for offset in 0..<count {
      let entry = memory.entry(table, index &+ offset)
      if entry & (PageEntry.present | PageEntry.writable) != PageEntry.present { continue }
      let frame = PageEntry.frame(of: entry)
      if (frames[frame].guard ^ capability.name) & mask != 0
        || frames[frame].guard_length < capability.length || isPowerless
      {
        return offset
      }
      // Cannot wrap: never more than `mappings`.
      frames[frame].writable_mappings &+= 1
    }
    return count
  }

  /// Takes the counts of `claimWritable` back.
  private func unclaimWritable(_ count: Int, table: UInt32, index: Int) {
    for offset in 0..<count {
      let entry = memory.entry(table, index + offset)
      if entry & (PageEntry.present | PageEntry.writable) != PageEntry.present { continue }
      frames[PageEntry.frame(of: entry)].writable_mappings -= 1
    }
  }

  /// Changes the present entries of a range in one table; writable ones stay so, others were claimed.
  ///
  /// - Returns: The entries that were there, or'ed.
  private func change(
    _ count: Int, table: UInt32, index: Int, set: UInt64, keep: UInt64
  ) -> UInt64 {
    var union: UInt64 = 0
    for offset in 0..<count {
      let old = memory.entry(table, index &+ offset)
      if old == 0 { continue }
      union |= old
      memory.setEntry(table, index &+ offset, old & keep | set)
    }
    return union
  }

  /// Changes the present entries of a range in one table, of which none stays writable.
  ///
  /// - Returns: The entries that were there, or'ed.
  private func changeToReadOnly(
    _ count: Int, table: UInt32, index: Int, set: UInt64, keep: UInt64
  ) -> UInt64 {
    var union: UInt64 = 0
    for offset in 0..<count {
      let old = memory.entry(table, index &+ offset)
      if old == 0 { continue }
      union |= old
      memory.setEntry(table, index &+ offset, old & keep | set)
      // As in `uncount`, a wrap would only keep the frame for good.
      if old & PageEntry.writable != 0 {
        frames[PageEntry.frame(of: old)].writable_mappings &-= 1
      }
    }
    return union
  }
}
