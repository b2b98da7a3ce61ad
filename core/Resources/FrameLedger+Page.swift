// SPDX-License-Identifier: Apache-2.0
// FrameLedger+Page.swift: one page filled or released, or a few released: the ways that a pager takes most, kept short.
//
// They check everything that `fillPages` and `releasePages` check, and say nothing about what they found: where a
// check fails, or the case is not the plain one, they have changed nothing, and the caller asks the longer way, which
// knows each error. One capability stands for both authorities; its name has at least two bytes, which are the account.

import ApusABI
import ApusCapabilities
import CApusABI

extension PageTables {
  /// The level-1 table for a page of an address space that a capability may change.
  ///
  /// - Parameters:
  ///   - address: The page's address.
  ///   - root: The root, as the caller names it.
  ///   - capability: The caller's authority: plainly, by the root's very name or that followed by zeroes.
  ///   - alone: Whether none of the tables on the way may have another link, at which other addresses see it.
  /// - Returns: The table's frame.
  @inline(__always) func plainTable(
    for address: UInt64, root: UInt64, by capability: Capability, alone: Bool
  ) -> UInt32? {
    guard address < Self.userLimit, address & 0xfff == 0, root < UInt64(frames.count) else { return nil }
    let table4 = UInt32(truncatingIfNeeded: root)
    // Exactly the type, the account and the length: a root has no pins.
    guard frames[table4].guard == capability.name,
      frames.state(of: table4)
        == FrameState.word(
          account: UInt16(truncatingIfNeeded: capability.name >> 48), type: FrameType.table4,
          guardLength: capability.length)
    else { return nil }
    let entry4 = memory.entry(table4, Self.index(of: address, level: 4))
    guard entry4 & PageEntry.present != 0 else { return nil }
    let table3 = PageEntry.frame(of: entry4)
    let entry3 = memory.entry(table3, Self.index(of: address, level: 3))
    guard entry3 & PageEntry.present != 0 else { return nil }
    let table2 = PageEntry.frame(of: entry3)
    let entry2 = memory.entry(table2, Self.index(of: address, level: 2))
    guard entry2 & PageEntry.present != 0 else { return nil }
    let table1 = PageEntry.frame(of: entry2)
    if alone, frames[table3].mappings | frames[table2].mappings | frames[table1].mappings != 1 { return nil }
    return table1
  }
}

extension FrameLedger {
  /// Takes a free frame and maps it, zeroed, where nothing is mapped.
  ///
  /// - Returns: The frame; nothing if `fillPages` has to decide.
  @inline(__always) public mutating func fillPage<Memory: TableMemory>(
    at address: UInt64, root: UInt64, bits: UInt64, by capability: Capability,
    in tables: PageTables<Frames, Memory>
  ) -> UInt32? {
    guard bits & ~PageEntry.changeable == PageEntry.present,
      capability.rights.contains(.read.union(.write)),
      let table = tables.plainTable(for: address, root: root, by: capability, alone: false)
    else { return nil }
    let index = PageTables<Frames, Memory>.index(of: address, level: 1)
    let frame = freeHead
    let account = UInt16(truncatingIfNeeded: capability.name >> 48)
    guard tables.memory.entry(table, index) == 0, frame != noFrame, UInt32(account) < accounts.accounts.count
    else { return nil }
    let used = accounts.accounts[UInt32(account)].frames.used
    guard used != accounts.accounts[UInt32(account)].frames.limit else { return nil }

    accounts.accounts[UInt32(account)].frames.used = used &+ 1
    let next = frames[frame].mappings
    frames[frame].guard = capability.name
    frames[frame].mappings = 1
    frames[frame].writable_mappings = UInt32(truncatingIfNeeded: bits >> 1 & 1)
    frames.setState(
      of: frame,
      to: FrameState.word(account: account, type: FrameType.ordinary, guardLength: capability.length))
    freeHead = next
    if next != noFrame { frames[next].writable_mappings = noFrame }
    freeCount &-= 1
    tables.memory.zero(frame: frame)
    tables.memory.setEntry(table, index, UInt64(frame) << 12 | bits | PageEntry.user)
    return frame
  }

  /// Unmaps a page of the loaded address space whose frame nothing else maps or pins, and gives that back.
  ///
  /// - Returns: Whether it did, and its translation may be cached; if not `releasePages` has to decide.
  @inline(__always) public mutating func releasePage<Memory: TableMemory>(
    at address: UInt64, root: UInt64, loaded: UInt32, by capability: Capability,
    in tables: PageTables<Frames, Memory>
  ) -> Bool {
    // A frame that another CPU may still reach is not free yet.
    guard root == UInt64(loaded), capability.rights.contains(.write), flushEpoch == 0,
      let table = tables.plainTable(for: address, root: root, by: capability, alone: true)
    else { return false }
    let index = PageTables<Frames, Memory>.index(of: address, level: 1)
    let account = UInt16(truncatingIfNeeded: capability.name >> 48)
    let entry = tables.memory.entry(table, index)
    let frame = PageEntry.frame(of: entry)
    guard entry != 0, frames[frame].mappings == 1, frames[frame].guard == capability.name,
      frames.state(of: frame)
        == FrameState.word(account: account, type: FrameType.ordinary, guardLength: capability.length)
    else { return false }

    tables.memory.setEntry(table, index, 0)
    accounts.release(.frames, 1, of: account)
    let head = freeHead
    frames.setState(
      of: frame, to: FrameState.word(account: 0, type: FrameType.free, guardLength: capability.length))
    frames[frame].mappings = head
    frames[frame].writable_mappings = noFrame
    if head != noFrame { frames[head].writable_mappings = frame }
    freeHead = frame
    freeCount &+= 1
    return true
  }

  /// The same for pages in one table, as far as they are plain.
  ///
  /// - Returns: How many pages from the first on; 0 if `releasePages` has to decide.
  @inline(__always) public mutating func releasePlainPages<Memory: TableMemory>(
    _ count: UInt64, at address: UInt64, root: UInt64, loaded: UInt32, by capability: Capability,
    in tables: PageTables<Frames, Memory>
  ) -> UInt64 {
    guard root == UInt64(loaded), capability.rights.contains(.write), flushEpoch == 0,
      let table = tables.plainTable(for: address, root: root, by: capability, alone: true)
    else { return 0 }
    let index = PageTables<Frames, Memory>.index(of: address, level: 1)
    guard count &- 1 < UInt64(truncatingIfNeeded: 512 &- index) else { return 0 }
    let count = Int(truncatingIfNeeded: count)
    let left = releaseRun(count, table: table, end: index &+ count, owner: capability, in: tables)
    return UInt64(truncatingIfNeeded: count &- left)
  }
}
