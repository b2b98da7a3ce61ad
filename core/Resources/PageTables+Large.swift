// SPDX-License-Identifier: Apache-2.0
// PageTables+Large.swift: pages of 2 MiB, each with the level-1 table that it was made of standing behind it.
//
// A table whose 512 entries map 512 consecutive frames alike can be replaced by one entry of level 2. The table keeps
// its entries, so that every count holds as before, and its record says where the large page is; nothing reaches the
// table until it takes its place again. So the frames of a large page are as ordinary as any, need not be one owner's,
// and can be taken from it by force. What is saved is not memory but translations.

import ApusABI
import ApusCapabilities
import CApusABI

extension PageTables {
  /// Makes one large page of the pages of a level-1 table.
  ///
  /// - Returns: The table, which stands behind the page, and what the translation caches need.
  /// - Throws: `invalid` if the address is no multiple of 2 MiB or the entries do not map 512 consecutive frames alike,
  ///   from a multiple of 512 on; what `checkRoot` throws; `noTable`; `inUse` if the table has another link.
  public func promote(
    at address: UInt64, root: UInt64, account: UInt16, by capability: Capability
  ) throws(SystemCallError) -> (table: UInt32, maintenance: Maintenance) {
    let root = try checkRange(512, at: address, root: root, account: account, by: capability)
    guard address & 0x1f_f000 == 0 else { throw .invalid }
    guard let parent = walk(root: root, address: address, to: 2)?.table,
      let table = walk(root: root, address: address, to: 1)?.table
    else { throw .noTable }
    guard frames[table].mappings == 1 else { throw .inUse }
    let first = memory.entry(table, 0) & ~PageEntry.traces
    guard first & PageEntry.present != 0, first & 0x1f_f000 == 0 else { throw .invalid }
    var traces: UInt64 = 0
    for index in 0..<512 {
      let entry = memory.entry(table, index)
      guard entry & ~PageEntry.traces == first &+ UInt64(truncatingIfNeeded: index) << 12 else { throw .invalid }
      traces |= entry & PageEntry.traces
    }
    let index = Self.index(of: address, level: 2)
    frames[table].large_parent = parent
    frames[table].pins = UInt16(truncatingIfNeeded: index &+ 1)
    memory.setEntry(parent, index, first | traces | PageEntry.large)
    return (table, traces & PageEntry.accessed != 0 ? .everything : .none)
  }

  /// Makes pages of a large page again.
  ///
  /// - Returns: What the translation caches need.
  /// - Throws: `noSuchResource` if it is no frame, `wrongType` if it is no level-1 table, `denied` if it is another
  ///   account's or the capability does not reach it with the right to write; `invalid` if no large page is before it.
  public func demote(_ table: UInt64, account: UInt16, by capability: Capability) throws(SystemCallError) -> Maintenance
  {
    let table = try frames.owned(table, type: FrameType.table1, account: account, by: capability)
    guard frames[table].pins != 0 else { throw .invalid }
    return demote(table) ? .everything : .none
  }

  /// Puts a table in the place of its large page; each of its pages inherits what the processor noted for the whole.
  ///
  /// - Returns: Whether a translation may be cached.
  private func demote(_ table: UInt32) -> Bool {
    let (parent, index) = (frames[table].large_parent, Int(frames[table].pins) &- 1)
    frames[table].large_parent = 0
    frames[table].pins = 0
    // Reclaiming may have emptied the parent before it came here.
    guard memory.entry(parent, index) != 0 else {
      frames[table].mappings = 0
      return false
    }
    let link = UInt64(table) << 12 | PageEntry.link | PageEntry.accessed
    let traces = memory.exchangeEntry(parent, index, link) & PageEntry.traces
    guard traces != 0 else { return false }
    for index in 0..<512 {
      let entry = memory.entry(table, index)
      if entry != 0 { _ = memory.changeEntry(table, index, from: entry, keep: ~0, set: traces) }
    }
    return true
  }

  /// Unmaps the pages of a level-1 table, or those whose frames are an account's.
  ///
  /// A large page that had such is none any more.
  ///
  /// - Returns: Whether a translation may be cached.
  func unmapAll(_ table: UInt32, of account: UInt16? = nil) -> Bool {
    let old = unmap(TableRun(table: table), of: account)
    let wasLarge = old != 0 && frames[table].pins != 0 && demote(table)
    return wasLarge || old & PageEntry.accessed != 0
  }
}
