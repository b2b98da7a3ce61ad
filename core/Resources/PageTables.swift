// SPDX-License-Identifier: Apache-2.0
// PageTables.swift: the address spaces, made of frames that the applications supplied.
//
// What always holds, and the tests recompute:
//  * An ordinary frame's `mappings` and `writable_mappings` are the numbers of present level-1 entries
//    that name it, in all tables of type TABLE1, linked or not.
//  * A table's `mappings` is the number of entries in tables of the next level that link it; a root's is the
//    number of environments that run in it.
//  * A link goes from a table to one of the next lower level and the same account. So an account's tables are
//    reached from its own roots only, and checking the root's account checks the whole path.
//  * A level-1 table with pins stands behind a large page: see PageTables+Large.swift.
//  * Entries of the kernel half (256 to 511 of a root) are the kernel's and are neither read nor written here.

import ApusABI
import ApusCapabilities
import CApusABI

/// Who asks for a change of an address space, and which one is loaded.
public struct PageCaller {
  /// The account of the caller.
  public let account: UInt16
  /// The root that the processor uses now.
  public let currentRoot: UInt32

  /// Names the caller.
  public init(account: UInt16, currentRoot: UInt32) {
    self.account = account
    self.currentRoot = currentRoot
  }
}

/// Where a walk ended.
public struct TablePath {
  /// The table's frame.
  public let table: UInt32
  /// Whether a table below the root on the way has more than one link, so that other addresses see it too.
  public let isShared: Bool
}

/// Consecutive entries in one level-1 table.
struct TableRun {
  let table: UInt32
  var index = 0
  var count = 512
  var isShared = false
}

/// The page tables in a machine's frames.
public struct PageTables<Frames: FrameStorage, Memory: TableMemory> {
  /// The frame table.
  public let frames: Frames
  /// The contents of the tables.
  public let memory: Memory

  /// Makes a view of the page tables; it keeps nothing of its own.
  public init(frames: Frames, memory: Memory) {
    self.frames = frames
    self.memory = memory
  }

  /// The first address above all user mappings.
  static var userLimit: UInt64 { UInt64(APUS_USER_LIMIT) }
  /// Entries of a root that belong to ring 3.
  static var userRootEntries: Int { 256 }

  /// The index of an address in a table of `level`.
  @inline(__always) static func index(of address: UInt64, level: Int) -> Int {
    Int(truncatingIfNeeded: address >> UInt64(truncatingIfNeeded: 3 &+ 9 &* level) & 511)
  }

  // MARK: Looking

  /// Finds the table of `level` (1 to 4) that translates an address.
  ///
  /// - Precondition: `root` is a root and the address is in the user half.
  @inline(__always) public func walk(root: UInt32, address: UInt64, to level: Int) -> TablePath? {
    var table = root
    var links: UInt32 = 1
    var current = 4
    while current > level {
      let entry = memory.entry(table, Self.index(of: address, level: current))
      guard entry & (PageEntry.present | PageEntry.large) == PageEntry.present else { return nil }
      table = PageEntry.frame(of: entry)
      links |= frames[table].mappings
      current &-= 1
    }
    return TablePath(table: table, isShared: links > 1)
  }

  /// The level-1 entry for a user address, or 0.
  ///
  /// - Precondition: `root` is a root.
  public func entry(root: UInt32, address: UInt64) -> UInt64 {
    guard address < Self.userLimit, let path = walk(root: root, address: address, to: 1) else {
      return 0
    }
    return memory.entry(path.table, Self.index(of: address, level: 1))
  }

  /// The entries for an address and the pages after it that are in the same table, at most `count`.
  ///
  /// - Precondition: `root` is a root and the addresses are in the user half.
  @inline(__always) func run(at address: UInt64, upTo count: UInt64, root: UInt32) -> TableRun? {
    guard let path = walk(root: root, address: address, to: 1) else { return nil }
    let index = Self.index(of: address, level: 1)
    let last = min(count, UInt64(truncatingIfNeeded: 512 &- index))
    return TableRun(table: path.table, index: index, count: Int(truncatingIfNeeded: last), isShared: path.isShared)
  }

  /// The entry for one page of an address space that a capability may change, plainly: by the root's very name.
  ///
  /// - Returns: Nothing where that is not so; `checkRange` and `run` know what is.
  @inline(__always) func plainRun(at address: UInt64, root: UInt64, by capability: Capability) -> TableRun? {
    guard address < Self.userLimit, address & 0xfff == 0, root < UInt64(frames.count) else { return nil }
    let root = UInt32(truncatingIfNeeded: root)
    guard frames[root].guard == capability.name,
      frames.state(of: root) == FrameState.owned(FrameType.table4, by: capability)
    else { return nil }
    return run(at: address, upTo: 1, root: root)
  }

  /// Checks that a caller may change an address space.
  ///
  /// - Returns: The root's frame.
  /// - Throws: `noSuchResource` if it is no frame, `wrongType` if it is no root, `denied` if it is another
  ///   account's or the capability does not reach it with the right to write.
  @inline(__always) public func checkRoot(_ root: UInt64, account: UInt16, by capability: Capability)
    throws(SystemCallError) -> UInt32
  {
    try frames.owned(root, type: FrameType.table4, account: account, by: capability)
  }

  /// Checks a range of pages, and that a caller may change the address space that it lies in.
  ///
  /// - Returns: The root's frame.
  /// - Throws: `invalid` if it does not begin at a page or ends beyond the user half; what `checkRoot` throws.
  @inline(__always) func checkRange(
    _ count: UInt64, at address: UInt64, root: UInt64, account: UInt16, by capability: Capability
  ) throws(SystemCallError) -> UInt32 {
    guard address < Self.userLimit, address & 0xfff == 0, count <= (Self.userLimit &- address) >> 12 else {
      throw .invalid
    }
    return try checkRoot(root, account: account, by: capability)
  }

  // MARK: Roots

  /// Makes an ordinary, unused frame a root.
  ///
  /// The frame is zeroed; then `initialize` writes its kernel half.
  ///
  /// - Throws: `noSuchResource`, `wrongType` (not ordinary), `denied`, `inUse`.
  public func makeRoot(
    _ frame: UInt64, account: UInt16, by capability: Capability, initialize: (UInt32) -> Void
  ) throws(SystemCallError) {
    let frame = try frames.owned(frame, type: FrameType.ordinary, account: account, by: capability)
    guard frames[frame].isUnused else { throw .inUse }
    frames[frame].type = FrameType.table4
    memory.zero(frame: frame)
    initialize(frame)
  }

  /// Makes a root whose user half is empty an ordinary, zeroed frame again.
  ///
  /// - Returns: The frame.
  /// - Throws: What `checkRoot` throws; `inUse` if an environment runs in it or a table is linked.
  public func removeRoot(_ root: UInt64, account: UInt16, by capability: Capability) throws(SystemCallError) -> UInt32 {
    let root = try checkRoot(root, account: account, by: capability)
    guard frames[root].mappings == 0, isEmpty(root, entries: Self.userRootEntries) else { throw .inUse }
    memory.zero(frame: root)
    frames[root].type = FrameType.ordinary
    return root
  }

  /// Counts an environment that runs in an address space.
  ///
  /// There are fewer environments than the record can count.
  ///
  /// - Precondition: `root` is a root.
  public func retainRoot(_ root: UInt32) { frames[root].mappings += 1 }

  /// Ends what `retainRoot` began.
  ///
  /// - Precondition: `retainRoot` succeeded for this root once more than it has been released.
  public func releaseRoot(_ root: UInt32) { frames[root].mappings -= 1 }

  // MARK: Tables

  /// Links a table of `level` (1 to 3) for an address: an ordinary, unused frame, which becomes a zeroed table,
  /// or a table of that level which exists.
  ///
  /// No translation was possible before, so no cache can be stale.
  ///
  /// - Throws: `invalid` for the level or the address; what `checkRoot` throws for the root; `noSuchResource`,
  ///   `wrongType`, `denied`, `inUse` for the frame; `noTable` if the parent is missing, `tableExists` if a
  ///   table is linked there, `exhausted` if the table has as many links as its record can count.
  public func installTable(
    _ frame: UInt64, level: UInt64, at address: UInt64, root: UInt64, account: UInt16,
    by capability: Capability
  ) throws(SystemCallError) {
    guard level >= 1, level <= 3 else { throw .invalid }
    let level = Int(level)
    let root = try checkRange(1, at: address, root: root, account: account, by: capability)
    let isTable = frames[try frames.number(frame)].type == FrameType.table(level: level)
    let type = isTable ? FrameType.table(level: level) : FrameType.ordinary
    let frame = try frames.owned(frame, type: type, account: account, by: capability)
    let record = frames[frame]
    guard isTable ? record.pins == 0 : record.isUnused else { throw .inUse }
    guard record.mappings < UInt32.max else { throw .exhausted }
    guard let parent = walk(root: root, address: address, to: level + 1) else { throw .noTable }
    let index = Self.index(of: address, level: level + 1)
    guard memory.entry(parent.table, index) & PageEntry.present == 0 else { throw .tableExists }

    if !isTable {
      memory.zero(frame: frame)
      frames[frame].type = FrameType.table(level: level)
    }
    frames[frame].mappings = record.mappings + 1
    memory.setEntry(parent.table, index, UInt64(frame) << 12 | PageEntry.link)
  }

  /// A table that was unlinked.
  public struct Removed {
    /// The table's frame; ordinary and zeroed if that was its last link.
    public let frame: UInt32
    /// What the translation caches need.
    public let maintenance: Maintenance
  }

  /// Unlinks the table of `level` (1 to 3) for an address.
  ///
  /// With its last link a level-1 table's entries are unmapped, and the frame becomes ordinary.
  ///
  /// - Throws: `invalid` for the level or the address; what `checkRoot` throws; `noTable` if no table is linked
  ///   there; `inUse` if this is the last link of a level-2 or level-3 table that is not empty.
  public func removeTable(
    level: UInt64, at address: UInt64, root: UInt64, account: UInt16, by capability: Capability
  ) throws(SystemCallError) -> Removed {
    guard level >= 1, level <= 3 else { throw .invalid }
    let level = Int(level)
    let root = try checkRange(1, at: address, root: root, account: account, by: capability)
    guard let parent = walk(root: root, address: address, to: level + 1) else { throw .noTable }
    let index = Self.index(of: address, level: level + 1)
    let entry = memory.entry(parent.table, index)
    guard entry & (PageEntry.present | PageEntry.large) == PageEntry.present else { throw .noTable }
    let table = PageEntry.frame(of: entry)
    let isLast = frames[table].mappings == 1
    guard !isLast || level == 1 || isEmpty(table, entries: 512) else { throw .inUse }

    // A link that was never accessed led no walk, so nothing below it can be cached.
    let isCached = memory.exchangeEntry(parent.table, index, 0) & PageEntry.accessed != 0
    frames[table].mappings -= 1
    if isLast {
      if level == 1 { _ = unmap(TableRun(table: table)) }
      frames[table].type = FrameType.ordinary
    }
    return Removed(frame: table, maintenance: isCached ? .everything : .none)
  }

  /// Whether the first `entries` entries of a table are all empty.
  func isEmpty(_ table: UInt32, entries: Int) -> Bool {
    var union: UInt64 = 0
    for index in 0..<entries { union |= memory.entry(table, index) }
    return union == 0
  }

  // MARK: Entries that go

  /// Takes one mapping away from the frame that a present level-1 entry names.
  ///
  /// The subtractions wrap: a check would cost the batch loops six instructions a page, and a count that was too
  /// low becomes one so high that the frame is never given away. The tests hold the counts to be exact.
  @inline(__always) func uncount(_ entry: UInt64) {
    let frame = PageEntry.frame(of: entry)
    frames[frame].mappings &-= 1
    if entry & PageEntry.writable != 0 { frames[frame].writable_mappings &-= 1 }
  }

  /// Unmaps the pages of a run, or those whose frames are an account's.
  ///
  /// - Returns: The entries that were there, or'ed.
  func unmap(_ run: TableRun, of account: UInt16? = nil) -> UInt64 {
    var union: UInt64 = 0
    for offset in 0..<run.count {
      let entry = memory.entry(run.table, run.index &+ offset)
      if entry == 0 || account != nil && frames[PageEntry.frame(of: entry)].account != account { continue }
      uncount(entry)
      union |= memory.exchangeEntry(run.table, run.index &+ offset, 0)
    }
    return union
  }

  /// Unlinks every table below a table of level 2 to 4, user half only.
  ///
  /// A table behind a large page finds out by itself.
  ///
  /// - Returns: Whether a translation may be cached.
  func unlinkAll(_ table: UInt32, isRoot: Bool) -> Bool {
    var union: UInt64 = 0
    for index in 0..<(isRoot ? Self.userRootEntries : 512) {
      let entry = memory.entry(table, index)
      if entry == 0 { continue }
      if entry & PageEntry.large == 0 { frames[PageEntry.frame(of: entry)].mappings -= 1 }
      union |= memory.exchangeEntry(table, index, 0)
    }
    return union & PageEntry.accessed != 0
  }
}
