// SPDX-License-Identifier: Apache-2.0
// FrameLedger+Pages.swift: taking frames and mapping them in one step, and unmapping pages and giving their frames
// back in one step: what a pager does most.
//
// A range that crosses the end of a level-1 table is filled up to there only; the caller goes on from where the call
// stopped. Releasing goes on by itself, over as many tables as its bound allows.

import ApusABI
import ApusCapabilities
import CApusABI

/// Pages that were given frames.
public struct FilledPages: Equatable, Sendable {
  /// The frame of the first page.
  public let first: UInt32
  /// How many pages.
  public let count: UInt32
}

/// Pages that were unmapped.
public struct ReleasedPages: Equatable, Sendable {
  /// How many pages, of whatever kind, lie behind the call.
  public let count: UInt64
  /// What the translation caches need.
  public let maintenance: Maintenance
}

extension FrameLedger {
  /// The most pages that one call fills: 64 frames are 32,768 stores.
  public static var fillLimit: UInt64 { 64 }
  /// The most pages that one call releases; a missing table counts as `holeCost`.
  public static var releaseLimit: UInt64 { 512 }
  static var holeCost: UInt64 { 16 }

  /// Takes free frames, whichever, and maps them zeroed at consecutive addresses where nothing is mapped.
  ///
  /// `tables` has to reach the root's guard with the right to write; the frames are guarded by the name of `owner`
  /// and charged to `account`. Fewer than `count` pages are filled at the end of a table, or when memory or the
  /// account's budget runs out.
  ///
  /// - Returns: The first frame, and how many pages were filled.
  /// - Throws: `invalid` for the address, the count (0, too many) or a bit that an application may not set; what
  ///   `checkRoot` throws; `denied` if `owner` cannot write or, for readable pages, read; `noTable`; `inUse` if
  ///   a page of the range is mapped; `exhausted`; `quotaExceeded`.
  public mutating func fillPages<Memory: TableMemory>(
    _ count: UInt64, at address: UInt64, root: UInt64, bits: UInt64, account: UInt16,
    tables capability: Capability, owner: Capability, charging: UInt16,
    in tables: PageTables<Frames, Memory>
  ) throws(SystemCallError) -> FilledPages {
    guard count &- 1 < Self.fillLimit, address < PageTables<Frames, Memory>.userLimit,
      address & 0xfff == 0, count << 12 <= PageTables<Frames, Memory>.userLimit &- address,
      bits & ~(PageEntry.changeable | PageEntry.present) == 0, bits & PageEntry.present != 0
    else { throw .invalid }
    let root = try tables.checkRoot(root, account: account, by: capability)
    guard owner.rights.contains(.read.union(.write)) else { throw .denied }
    guard let path = tables.walk(root: root, address: address, to: 1) else { throw .noTable }
    let index = PageTables<Frames, Memory>.index(of: address, level: 1)
    var wanted = min(Int(truncatingIfNeeded: count), 512 &- index)
    var offset = 0
    while offset < wanted {
      guard tables.memory.entry(path.table, index &+ offset) == 0 else { throw .inUse }
      offset &+= 1
    }
    guard freeHead != noFrame else { throw isCooling ? .flushPending : .exhausted }
    let room = accounts.room(.frames, of: charging)
    guard room > 0 else { throw .quotaExceeded }
    wanted = min(wanted, Int(truncatingIfNeeded: min(room, freeCount)))
    accounts.book(.frames, UInt32(truncatingIfNeeded: wanted), to: charging)

    let first = freeHead
    let entryBits = bits | PageEntry.user
    let writable: UInt32 = bits & PageEntry.writable != 0 ? 1 : 0
    offset = 0
    while offset < wanted {
      let frame = freeHead
      freeHead = frames[frame].mappings
      frames[frame].guard = owner.name
      frames[frame].guard_length = owner.length
      frames[frame].mappings = 1
      frames[frame].writable_mappings = writable
      frames[frame].account = charging
      frames[frame].type = FrameType.ordinary
      tables.memory.zero(frame: frame)
      tables.memory.setEntry(path.table, index &+ offset, UInt64(frame) << 12 | entryBits)
      offset &+= 1
    }
    freeCount &-= UInt32(truncatingIfNeeded: wanted)
    if freeHead != noFrame { frames[freeHead].writable_mappings = noFrame }
    return FilledPages(first: first, count: UInt32(truncatingIfNeeded: wanted))
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
  ) throws(SystemCallError) -> ReleasedPages {
    let limit = PageTables<Frames, Memory>.userLimit
    guard address < limit, address & 0xfff == 0, count <= (limit &- address) >> 12 else { throw .invalid }
    let root = try tables.checkRoot(root, account: caller.account, by: capability)
    var union: UInt64 = 0
    var isShared = root != caller.currentRoot
    var done: UInt64 = 0
    var budget = Self.releaseLimit
    while done < count, budget > 0 {
      let at = address &+ done << 12
      let index = PageTables<Frames, Memory>.index(of: at, level: 1)
      let piece = min(count &- done, UInt64(truncatingIfNeeded: 512 &- index))
      guard let path = tables.walk(root: root, address: at, to: 1) else {
        done &+= piece
        budget = budget > Self.holeCost ? budget &- Self.holeCost : 0
        continue
      }
      let part = min(piece, budget)
      if path.isShared { isShared = true }
      union |= release(
        Int(truncatingIfNeeded: part), table: path.table, index: index, owner: owner, in: tables)
      done &+= part
      budget &-= part
    }
    if union & PageEntry.accessed == 0 { return ReleasedPages(count: done, maintenance: .none) }
    return ReleasedPages(
      count: done,
      maintenance: isShared ? .everything : .range(address: address, count: Int(truncatingIfNeeded: done)))
  }

  /// Releases pages of one table.
  ///
  /// - Returns: The entries that were there, or'ed.
  private mutating func release<Memory: TableMemory>(
    _ count: Int, table: UInt32, index: Int, owner: Capability?, in tables: PageTables<Frames, Memory>
  ) -> UInt64 {
    guard let owner, owner.rights.contains(.write) else {
      return Self.unmap(count, table: table, index: index, in: tables)
    }
    var union: UInt64 = 0
    var left = count
    while left > 0 {
      if flushEpoch == 0, owner.length >= 2 {
        let rest = releaseRun(left, table: table, end: index &+ count, owner: owner, in: tables)
        // Some of them may be in the translation caches.
        if rest < left { union |= PageEntry.accessed }
        left = rest
        if left == 0 { return union }
      }
      let offset = index &+ count &- left
      let entry = tables.memory.entry(table, offset)
      left &-= 1
      if entry == 0 { continue }
      tables.memory.setEntry(table, offset, 0)
      union |= entry
      tables.uncount(entry)
      putBackIfUnused(PageEntry.frame(of: entry), by: owner)
    }
    return union
  }

  /// Gives an ordinary frame back if nothing uses it and a capability that can write reaches it.
  private mutating func putBackIfUnused(_ frame: UInt32, by owner: Capability) {
    guard frames[frame].mappings == 0, frames[frame].pins == 0,
      owner.covers(guard: frames[frame].guard, length: frames[frame].guard_length)
    else { return }
    putBack(frame)
  }

  /// Unmaps pages of one table and gives no frame back.
  ///
  /// - Returns: The entries that were there, or'ed.
  private static func unmap<Memory: TableMemory>(
    _ count: Int, table: UInt32, index: Int, in tables: PageTables<Frames, Memory>
  ) -> UInt64 {
    var union: UInt64 = 0
    for offset in index..<index &+ count {
      let entry = tables.memory.entry(table, offset)
      if entry == 0 { continue }
      tables.memory.setEntry(table, offset, 0)
      tables.uncount(entry)
      union |= entry
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
  ///   - end: The index behind the last of them.
  ///   - owner: Whose frames.
  ///   - tables: The page tables.
  /// - Returns: How many entries are left, from the first that is none of these.
  @inline(never) mutating func releaseRun<Memory: TableMemory>(
    _ count: Int, table: UInt32, end: Int, owner: Capability, in tables: PageTables<Frames, Memory>
  ) -> Int {
    let frames = self.frames
    let account = UInt16(truncatingIfNeeded: owner.name >> 48)
    let owned = FrameState.word(account: account, type: FrameType.ordinary, guardLength: owner.length)
    let free = FrameState.word(account: 0, type: FrameType.free, guardLength: owner.length)
    var head = freeHead
    var freed: UInt32 = 0
    var left = count
    var offset = end &- count
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
    accounts.release(.frames, freed, of: account)
    return left
  }
}
