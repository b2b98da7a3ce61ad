// SPDX-License-Identifier: Apache-2.0
// PageTables+Entries.swift: writing and changing level-1 entries in batches, the kernel's busiest loops.
//
// Both calls go through the whole batch twice: first to check and to count, which can be taken back, then to write
// entries. So one that fails has changed nothing. Of a longer range a call does the first 512 pages, which lie in one
// level-1 table or in two neighbours: that bounds its time.
// Entries that are not present are always 0, so that one comparison finds them.

import ApusABI
import ApusCapabilities
import CApusABI

extension PageTables {
  /// The most entries that one call does.
  public static var batchLimit: UInt64 { 512 }

  /// The entries of a batch.
  private struct Batch {
    let first, second: TableRun
    let count: Int
    /// Whether invalidating the batch's own addresses in the current address space is not enough.
    let reachesFurther: Bool
  }

  /// Finds the entries of a batch.
  private func batch(
    at address: UInt64, count: UInt64, root: UInt64, caller: PageCaller, by capability: Capability
  ) throws(SystemCallError) -> Batch {
    let root = try checkRange(count, at: address, root: root, account: caller.account, by: capability)
    let count = min(count, Self.batchLimit)
    guard let first = run(at: address, upTo: count, root: root) else { throw .noTable }
    let left = count &- UInt64(truncatingIfNeeded: first.count)
    var second = TableRun(table: first.table, count: 0)
    if left > 0 {
      guard let next = run(at: address &+ (count &- left) << 12, upTo: left, root: root) else { throw .noTable }
      second = next
    }
    return Batch(
      first: first, second: second, count: Int(truncatingIfNeeded: count),
      reachesFurther: first.isShared || second.isShared || root != caller.currentRoot)
  }

  // MARK: Writing

  /// Writes consecutive level-1 entries; one without the present bit unmaps.
  ///
  /// `tables` has to reach the root's guard with the right to write; `mapped` each frame's guard, with the right
  /// to write if the entry is writable.
  ///
  /// - Returns: How many were written, `batchLimit` at most, and what the translation caches need.
  /// - Throws: `invalid` for the address, the count or a bit that an application may not set; what `checkRoot`
  ///   throws; `noTable`; for the frames `noSuchResource`, `wrongType` (not ordinary), `denied`, `exhausted` (mapped as often as its record can count).
  public func writeEntries(
    _ entries: some EntryList, count: UInt64, at address: UInt64, root: UInt64,
    caller: PageCaller, tables: Capability, mapped: Capability
  ) throws(SystemCallError) -> (count: Int, maintenance: Maintenance) {
    let batch = try batch(at: address, count: count, root: root, caller: caller, by: tables)
    try claim(entries, count: batch.count, by: mapped)
    let old = replace(entries, from: 0, batch.first) | replace(entries, from: batch.first.count, batch.second)
    return (batch.count, Maintenance(after: old, at: address, batch.count, reachesFurther: batch.reachesFurther))
  }

  /// Checks that each entry may be written, and counts the mappings that they are about to be.
  ///
  /// Checking and counting in one pass looks each record up once. If an entry is refused the counts of those
  /// before it are given back; no table has been touched by then.
  private func claim(_ entries: some EntryList, count: Int, by capability: Capability) throws(SystemCallError) {
    // One test finds every entry that cannot pass for its bits alone; which error it is can be found at leisure.
    var forbidden = ~PageEntry.allowed
    if !capability.rights.contains(.read) { forbidden |= PageEntry.present }
    if !capability.rights.contains(.write) { forbidden |= PageEntry.writable }
    var claimed = 0
    do throws(SystemCallError) {
      while claimed < count {
        let entry = entries[claimed]
        if entry & PageEntry.present != 0 {
          if entry & forbidden != 0 { throw entry & ~PageEntry.allowed != 0 ? .invalid : .denied }
          let frame = try frames.number((entry & PageEntry.frameMask) >> 12)
          guard frames[frame].isOrdinary else { throw .wrongType }
          guard capability.covers(guard: frames[frame].guard, length: frames[frame].guard_length) else { throw .denied }
          guard frames[frame].mappings < UInt32.max else { throw .exhausted }
          frames[frame].mappings &+= 1
          // Cannot wrap: never more than `mappings`.
          if entry & PageEntry.writable != 0 { frames[frame].writable_mappings &+= 1 }
        }
        claimed &+= 1
      }
    } catch {
      for index in 0..<claimed where entries[index] & PageEntry.present != 0 { uncount(entries[index]) }
      throw error
    }
  }

  /// Writes claimed entries and ends the mappings that were there.
  ///
  /// - Returns: The entries that were there, or'ed.
  private func replace(_ entries: some EntryList, from first: Int, _ run: TableRun) -> UInt64 {
    var union: UInt64 = 0
    for offset in 0..<run.count {
      let entry = entries[first &+ offset]
      let isPresent = entry & PageEntry.present != 0
      let old = memory.exchangeEntry(run.table, run.index &+ offset, isPresent ? entry | PageEntry.user : 0)
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
  /// - Returns: How many were changed, `batchLimit` at most, and what the translation caches need.
  /// - Throws: `invalid` for the address, the count or a bit that an application may not change; what
  ///   `checkRoot` throws; `noTable`; `denied` for a frame that cannot be made writable.
  public func protectEntries(
    count: UInt64, at address: UInt64, root: UInt64, set: UInt64, keep: UInt64,
    caller: PageCaller, tables: Capability, mapped: Capability
  ) throws(SystemCallError) -> (count: Int, maintenance: Maintenance) {
    guard set & ~PageEntry.changeable == 0, keep | PageEntry.changeable == ~0 else { throw .invalid }
    let batch = try batch(at: address, count: count, root: root, caller: caller, by: tables)
    if set & PageEntry.writable != 0 {
      guard countWritable(batch.first, by: mapped) else { throw .denied }
      guard countWritable(batch.second, by: mapped) else {
        _ = countWritable(batch.first, step: .max, by: mapped)
        throw .denied
      }
    }
    let old = change(batch.first, set: set, keep: keep) | change(batch.second, set: set, keep: keep)
    return (batch.count, Maintenance(after: old, at: address, batch.count, reachesFurther: batch.reachesFurther))
  }

  /// Counts the read-only entries of a run as writable: all of them, or none if one may not be.
  ///
  /// - Parameters:
  ///   - run: The entries.
  ///   - step: Minus one takes the counts back.
  ///   - capability: The authority over the frames.
  /// - Returns: Whether each may be written.
  private func countWritable(_ run: TableRun, step: UInt32 = 1, by capability: Capability) -> Bool {
    let mask = capability.mask
    // No guard is so long.
    let length = capability.rights.contains(.write) ? capability.length : 9
    for offset in 0..<run.count {
      let entry = memory.entry(run.table, run.index &+ offset)
      if entry & (PageEntry.present | PageEntry.writable) != PageEntry.present { continue }
      let frame = PageEntry.frame(of: entry)
      // Most have the very name.
      let isPlain = frames[frame].guard == capability.name && frames[frame].guard_length == length
      if !isPlain, (frames[frame].guard ^ capability.name) & mask != 0 || frames[frame].guard_length < length {
        _ = countWritable(TableRun(table: run.table, index: run.index, count: offset), step: .max, by: capability)
        return false
      }
      // Cannot wrap: never more than `mappings`.
      frames[frame].writable_mappings &+= step
    }
    return true
  }

  /// Changes the present entries; those that become writable are counted already.
  ///
  /// - Returns: The entries that were there, or'ed.
  private func change(_ run: TableRun, set: UInt64, keep: UInt64) -> UInt64 {
    memory.isShared
      ? change(run, set: set, keep: keep, inOneStep: true) : change(run, set: set, keep: keep, inOneStep: false)
  }

  /// Each way has a loop of its own, which asks nothing.
  @inline(__always) private func change(_ run: TableRun, set: UInt64, keep: UInt64, inOneStep: Bool) -> UInt64 {
    let lost = PageEntry.writable & ~(keep | set)
    var union: UInt64 = 0
    for offset in 0..<run.count {
      var old = memory.entry(run.table, run.index &+ offset)
      if old == 0 { continue }
      if inOneStep {
        old = memory.changeEntry(run.table, run.index &+ offset, from: old, keep: keep, set: set)
      } else {
        memory.setEntry(run.table, run.index &+ offset, old & keep | set)
      }
      union |= old
      // As in `uncount`, a wrap would only keep the frame for good.
      if old & lost != 0 { frames[PageEntry.frame(of: old)].writable_mappings &-= 1 }
    }
    return union
  }
}
