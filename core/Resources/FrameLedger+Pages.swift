// SPDX-License-Identifier: Apache-2.0
// FrameLedger+Pages.swift: taking frames and mapping them in one step, and unmapping pages and giving their frames
// back in one step: what a pager does most.
//
// A range that crosses the end of a level-1 table is filled up to there only; the caller goes on from where the call
// stopped. Releasing goes on by itself, over as many tables as its bound allows.

import ApusABI
import ApusCapabilities
import CApusABI

extension FrameLedger {
  /// The most pages that one call fills: 64 frames are 32,768 stores.
  public static var fillLimit: UInt64 { 64 }
  /// The most pages that one call releases; a missing table counts as `holeCost`.
  public static var releaseLimit: UInt64 { 512 }
  static var holeCost: UInt64 { 16 }

  /// Takes free frames, whichever, and maps them zeroed at consecutive addresses where nothing is mapped.
  ///
  /// `tables` has to reach the root's guard with the right to write; the frames are guarded by the name of `owner`
  /// and charged to `charging`. Fewer than `count` pages are filled at the end of a table, or when memory or the
  /// account's budget runs out.
  ///
  /// - Returns: The first frame, and how many pages were filled.
  /// - Throws: `invalid` for the address, the count (0, too many) or a bit that an application may not set; what
  ///   `checkRoot` throws; `denied` if `owner` cannot write or, for readable pages, read; `noTable`; `inUse` if
  ///   a page of the range is mapped; `exhausted`; `quotaExceeded`.
  public mutating func fillPages<Memory: TableMemory>(
    _ count: UInt64, at address: UInt64, root: UInt64, bits: UInt64, account: UInt16, tables capability: Capability,
    owner: Capability, charging: UInt16, in tables: PageTables<Frames, Memory>
  ) throws(SystemCallError) -> (first: UInt32, count: Int) {
    guard count &- 1 < Self.fillLimit, bits & ~PageEntry.changeable == PageEntry.present else { throw .invalid }
    let root = try tables.checkRange(count, at: address, root: root, account: account, by: capability)
    guard owner.rights.contains(.read.union(.write)) else { throw .denied }
    guard let run = tables.run(at: address, upTo: count, root: root) else { throw .noTable }
    for index in run.index..<run.index &+ run.count {
      guard tables.memory.entry(run.table, index) == 0 else { throw .inUse }
    }
    let first = freeHead
    let granted = try chargeUp(to: run.count, charging)
    fill(
      TableRun(table: run.table, index: run.index, count: granted), bits, owner: owner, account: charging, in: tables)
    return (first, granted)
  }

  /// Maps free frames, zeroed, which have been charged.
  @inline(__always) private mutating func fill<Memory: TableMemory>(
    _ run: TableRun, _ bits: UInt64, owner: Capability, account: UInt16, in tables: PageTables<Frames, Memory>
  ) {
    let owned = FrameState.owned(FrameType.ordinary, account, guardLength: owner.length)
    for offset in 0..<run.count {
      // The first of the list, without the looks at its neighbours that any frame would need.
      let frame = freeHead
      freeHead = frames[frame].mappings
      if freeHead != noFrame { frames[freeHead].writable_mappings = noFrame }
      freeCount &-= 1
      frames[frame].guard = owner.name
      frames.setState(of: frame, to: owned)
      frames[frame].mappings = 1
      frames[frame].writable_mappings = UInt32(truncatingIfNeeded: bits >> 1 & 1)
      tables.memory.zero(frame: frame)
      tables.memory.setEntry(run.table, run.index &+ offset, UInt64(frame) << 12 | bits | PageEntry.user)
    }
  }

  /// Unmaps consecutive pages, and gives back each frame that nothing maps or pins any longer and that `owner`
  /// reaches with the right to write.
  ///
  /// Pages that are not mapped, and addresses without tables, are passed over. Without `owner` no frame is given
  /// back.
  ///
  /// - Returns: How far it got, at least one page if any was asked for, and what the translation caches need.
  /// - Throws: `invalid` for the address or the count; what `checkRoot` throws.
  public mutating func releasePages<Memory: TableMemory>(
    _ count: UInt64, at address: UInt64, root: UInt64, caller: PageCaller, tables capability: Capability,
    owner: Capability?, in tables: PageTables<Frames, Memory>
  ) throws(SystemCallError) -> (count: UInt64, maintenance: Maintenance) {
    let root = try tables.checkRange(count, at: address, root: root, account: caller.account, by: capability)
    let owner = owner?.rights.contains(.write) == true ? owner : nil
    var union: UInt64 = 0
    var isShared = root != caller.currentRoot
    var done: UInt64 = 0
    var budget = Self.releaseLimit
    while done < count, budget > 0 {
      let at = address &+ done << 12
      guard let run = tables.run(at: at, upTo: min(count &- done, budget), root: root) else {
        done = min(count, done &+ 512 &- at >> 12 & 511)
        budget &-= min(budget, Self.holeCost)
        continue
      }
      if run.isShared { isShared = true }
      union |= release(run, owner: owner, in: tables)
      done &+= UInt64(truncatingIfNeeded: run.count)
      budget &-= UInt64(truncatingIfNeeded: run.count)
    }
    return (done, Maintenance(after: union, at: address, Int(truncatingIfNeeded: done), reachesFurther: isShared))
  }

  /// Releases pages of one table.
  ///
  /// - Returns: The entries that were there, or'ed.
  private mutating func release<Memory: TableMemory>(
    _ run: TableRun, owner: Capability?, in tables: PageTables<Frames, Memory>
  ) -> UInt64 {
    guard let owner else { return tables.unmap(run) }
    var union: UInt64 = 0
    var left = run.count
    while left > 0 {
      let index = run.index &+ run.count &- left
      if owner.length >= 2, flushEpoch == 0 {
        let rest = releaseMany(left, table: run.table, at: index, owner: owner, in: tables)
        // Some of them may be in the translation caches.
        if rest < left { union |= PageEntry.accessed }
        if rest == 0 { break }
        if rest < left {
          left = rest
          continue
        }
      }
      left &-= 1
      let entry = tables.memory.entry(run.table, index)
      if entry == 0 { continue }
      union |= tables.memory.exchangeEntry(run.table, index, 0)
      tables.uncount(entry)
      let frame = PageEntry.frame(of: entry)
      if frames[frame].mappings == 0, frames[frame].pins == 0,
        owner.covers(guard: frames[frame].guard, length: frames[frame].guard_length)
      {
        putBack(frame)
      }
    }
    return union
  }

  /// Releases pages as long as each frame has exactly the owner's name and account and no other mapping, and is free
  /// at once, as no other CPU can have a stale translation.
  ///
  /// The head of the list and the count are written at the end only, so that the loop has all in registers.
  ///
  /// - Parameters:
  ///   - count: How many entries, at least one.
  ///   - table: The level-1 table.
  ///   - index: The first of them.
  ///   - owner: Whose frames.
  ///   - tables: The page tables.
  /// - Returns: How many entries are left, from the first that is none of these.
  @inline(__always) private mutating func releasePlain<Memory: TableMemory>(
    _ count: Int, table: UInt32, at index: Int, owner: Capability, in tables: PageTables<Frames, Memory>
  ) -> Int {
    let frames = self.frames
    let owned = FrameState.owned(FrameType.ordinary, by: owner)
    let free = FrameState.free(guardLength: owner.length)
    var head = freeHead
    var freed: UInt32 = 0
    var left = count
    var offset = index
    repeat {
      let entry = tables.memory.entry(table, offset)
      if entry != 0 {
        let frame = PageEntry.frame(of: entry)
        guard frames[frame].mappings == 1, frames[frame].guard == owner.name, frames.state(of: frame) == owned
        else { break }
        tables.memory.setEntry(table, offset, 0)
        frames.setState(of: frame, to: free)
        frames[frame].mappings = head
        // At the end of the list there is no frame.
        if head < frames.count { frames[head].writable_mappings = frame }
        head = frame
        freed &+= 1
      }
      offset &+= 1
      left &-= 1
    } while left != 0
    guard freed > 0 else { return left }
    freeHead = head
    frames[head].writable_mappings = noFrame
    freeCount &+= freed
    accounts.release(.frames, freed, of: UInt16(truncatingIfNeeded: owner.name >> 48))
    return left
  }

  /// The same, apart: inside of a larger function the loop would not have all in registers.
  @inline(never) private mutating func releaseMany<Memory: TableMemory>(
    _ count: Int, table: UInt32, at index: Int, owner: Capability, in tables: PageTables<Frames, Memory>
  ) -> Int {
    releasePlain(count, table: table, at: index, owner: owner, in: tables)
  }

  // MARK: One page

  /// `fillPages` of one page by one capability, as long as everything is plain.
  ///
  /// - Returns: The frame; nothing, and nothing has changed, if `fillPages` has to decide.
  @inline(__always) public mutating func fillPage<Memory: TableMemory>(
    at address: UInt64, root: UInt64, packed: UInt64, by capability: Capability, in tables: PageTables<Frames, Memory>
  ) -> UInt32? {
    let account = UInt16(truncatingIfNeeded: capability.name >> 48)
    guard packed & ~PageEntry.packed(PageEntry.changeable) == PageEntry.present,
      capability.rights.contains(.read.union(.write)), freeHead != noFrame, accounts.room(.frames, of: account) > 0,
      let run = tables.plainRun(at: address, root: root, by: capability), tables.memory.entry(run.table, run.index) == 0
    else { return nil }
    accounts.book(.frames, 1, to: account)
    let frame = freeHead
    fill(
      TableRun(table: run.table, index: run.index, count: 1), PageEntry.unpacked(set: packed), owner: capability,
      account: account, in: tables)
    return frame
  }

  /// `releasePages` of one page of the loaded address space by one capability, as long as everything is plain.
  ///
  /// - Returns: Whether it did, and its translation may be cached; if not, nothing has changed.
  @inline(__always) public mutating func releasePage<Memory: TableMemory>(
    at address: UInt64, root: UInt64, loaded: UInt32, by capability: Capability, in tables: PageTables<Frames, Memory>
  ) -> Bool {
    guard root == UInt64(loaded), capability.rights.contains(.write), flushEpoch == 0,
      let run = tables.plainRun(at: address, root: root, by: capability), !run.isShared
    else { return false }
    return releasePlain(1, table: run.table, at: run.index, owner: capability, in: tables) == 0
  }
}
