// SPDX-License-Identifier: Apache-2.0
// PageTable.swift: the application's address spaces. Reading entries costs no kernel call: an address space shows
// its own tables, accessed and dirty bits included, at a fixed address.

import ApusABI
import CRuntime

/// There is neither a page nor a frame left.
public struct OutOfMemory: Error {
  /// Makes the error.
  public init() {}
}

/// Edits of address spaces, and a view of the current one.
public enum PageTable {
  /// The entry maps a frame.
  public static var present: UInt64 { 1 }
  /// Ring 3 may write.
  public static var writable: UInt64 { 2 }
  /// The processor has used the entry.
  public static var accessed: UInt64 { 1 << 5 }
  /// The processor has written through the entry.
  public static var dirty: UInt64 { 1 << 6 }
  /// Of a level-2 entry: it maps 2 MiB.
  public static var large: UInt64 { 1 << 7 }
  /// The first bit that the processor leaves to software.
  public static var software0: UInt64 { 1 << 9 }
  /// The second bit that the processor leaves to software.
  public static var software1: UInt64 { 1 << 10 }
  /// The third bit that the processor leaves to software.
  public static var software2: UInt64 { 1 << 11 }
  /// No instruction is fetched from the page.
  public static var noExecute: UInt64 { 1 << 63 }
  private static var frameMask: UInt64 { 0x000f_ffff_ffff_f000 }

  /// The frame that an entry names.
  @inline(__always) public static func frame(of entry: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: (entry & frameMask) >> 12)
  }

  // MARK: Reading the current address space

  /// Where the entry that translates an address is seen.
  @inline(__always) private static func entryAddress(_ address: UInt64) -> UInt64 {
    UInt64(APUS_TABLES_BASE) + (address >> 12 & 0xf_ffff_ffff) << 3
  }

  @inline(__always) private static func load(_ address: UInt64) -> UInt64 {
    // SAFETY: the callers go down level by level, so the table is there.
    unsafe UnsafePointer<UInt64>(bitPattern: UInt(address)).unsafelyUnwrapped.pointee
  }

  /// Whether the current address space has a level-1 table for an address; if not, where to look next.
  @inline(__always) private static func hasTable(_ address: UInt64) -> (Bool, UInt64) {
    let first = entryAddress(address)
    let second = entryAddress(first)
    let third = entryAddress(second)
    let fourth = entryAddress(third)
    if load(fourth) & present == 0 { return (false, 1 << 39) }
    if load(third) & present == 0 { return (false, 1 << 30) }
    if load(second) & (present | large) != present { return (false, 1 << 21) }
    return (true, 1 << 21)
  }

  /// The level-1 entry for an address of the current space; 0 if there is no table.
  @inline(__always) public static func entry(at address: UInt64) -> UInt64 {
    hasTable(address).0 ? load(entryAddress(address)) : 0
  }

  /// The first 2 MiB-aligned address from `address` (rounded down) on and below `limit` that has a level-1 table.
  public static func nextTable(from address: UInt64, below limit: UInt64) -> UInt64? {
    var at = address & ~0x1f_ffff
    while at < limit {
      let (isThere, step) = hasTable(at)
      if isThere { return at }
      at = (at & ~(step - 1)) + step
    }
    return nil
  }

  /// The 4,096 bytes of an existing level-1 table of the current space; read-only.
  public static func table(at address: UInt64) -> Bytes {
    // SAFETY: the caller found the table with `nextTable`; the processor refuses writes.
    unsafe Bytes(
      base: UnsafeMutableRawPointer(bitPattern: UInt(entryAddress(address & ~0x1f_ffff))).unsafelyUnwrapped, count: 4096
    )
  }

  /// Room for 512 entries; the contents are lost when the execution suspends.
  public static var scratch: Bytes {
    // SAFETY: a page of the LibOS's own.
    unsafe Bytes(base: UnsafeMutableRawPointer(runtime_scratch_address()), count: 4096)
  }

  /// The current address space's root.
  public static var currentRoot: UInt32 { Execution.current.root }

  // MARK: Writing

  /// Writes consecutive entries.
  ///
  /// - Parameters:
  ///   - root: The address space.
  ///   - address: Of the first page.
  ///   - entries: 8 bytes each, at most 512.
  /// - Throws: If there is no frame for a table; nothing was written then.
  public static func write(root: UInt32, at address: UInt64, entries: Bytes) throws(OutOfMemory) {
    try write(root: root, at: address, entries: entries.address, count: entries.count >> 3)
  }

  /// Writes one entry.
  public static func write(root: UInt32, at address: UInt64, entry: UInt64) throws(OutOfMemory) {
    var entry = entry
    try unsafe withUnsafeMutablePointer(to: &entry) { (pointer) throws(OutOfMemory) in
      try write(root: root, at: address, entries: UInt64(UInt(bitPattern: pointer)), count: 1)
    }
  }

  private static func write(
    root: UInt32, at address: UInt64, entries: UInt64, count: Int
  ) throws(OutOfMemory) {
    while true {
      do throws(SystemCallError) {
        try kernelCall(.pagesWrite, CapabilitySlot.familyTwice, UInt64(root), address, UInt64(count), entries)
        return
      } catch {
        guard error == .noTable else { fail(error, address) }
        try install(root: root, at: address)
        let last = address + UInt64(count - 1) << 12
        if last >> 21 != address >> 21 { try install(root: root, at: last) }
      }
    }
  }

  /// Writes entries of the LibOS's own part, which all address spaces share.
  static func writeShared(at address: UInt64, _ entries: UnsafePointer<UInt64>, count: Int) {
    do throws(OutOfMemory) {
      try write(
        root: Runtime.currentRoot, at: address, entries: UInt64(UInt(bitPattern: entries)), count: count)
    } catch { runtimePanic("no frame for a page table of the LibOS") }
  }

  /// Changes present entries to `(entry & keep) | set`; ranges without tables are skipped.
  public static func protect(root: UInt32, at address: UInt64, count: Int, keep: UInt64, set: UInt64) {
    let packed = set & 0xfff | (set >> 63) << 12
    change(root: root, at: address, count: count) { (at, pages) throws(SystemCallError) in
      try kernelCall(
        .pagesProtect, CapabilitySlot.familyTwice, UInt64(root), at, UInt64(pages) | packed << 16, keep)
    }
  }

  /// Empties entries; ranges without tables are skipped.
  ///
  /// The frames stay the family's.
  public static func unmap(root: UInt32, at address: UInt64, count: Int) {
    var at = address
    var left = UInt64(count)
    while left > 0 {
      do throws(SystemCallError) {
        let done = try kernelCall(.pagesRelease, CapabilitySlot.familyTwice, UInt64(root), at, left, keepingFrames)
        at += done << 12
        left -= done
      } catch { fail(error, at) }
    }
  }

  /// The flag of `pagesRelease` by which no frame goes back to the kernel.
  private static var keepingFrames: UInt64 { 1 }

  /// Has the kernel take frames and map them, zeroed, in the LibOS's own part.
  ///
  /// - Parameters:
  ///   - address: Of the first page; nothing is mapped there.
  ///   - count: How many pages, at most 64.
  /// - Returns: How many there are: fewer at the end of a table, or when there are no more; 0: none.
  static func fillShared(at address: UInt64, count: Int) -> Int {
    let bits = writable | present | 1 << 12
    while true {
      do throws(SystemCallError) {
        let filled = try kernelCall(
          .pagesFill, CapabilitySlot.familyTwice, UInt64(Runtime.currentRoot), address, UInt64(count), bits)
        return Int(filled & 0xffff)
      } catch {
        guard error == .noTable else { return 0 }
        do throws(OutOfMemory) {
          try install(root: Runtime.currentRoot, at: address)
        } catch { return 0 }
      }
    }
  }

  // MARK: Large pages

  /// Makes one page of 2 MiB of 512 pages that map consecutive frames, from a multiple of 512 on, alike.
  ///
  /// What is behind it is reached as memory only: before any of it is mapped, protected or released otherwise, the page
  /// has to be demoted.
  ///
  /// - Parameters:
  ///   - root: The address space.
  ///   - address: A multiple of 2 MiB.
  /// - Returns: What `demote` needs.
  /// - Throws: `invalid` if the pages are not such, `noTable` if there are none, `inUse` if they are seen at another
  ///   address, too, by the same table.
  public static func promote(root: UInt32, at address: UInt64) throws(SystemCallError) -> UInt32 {
    UInt32(truncatingIfNeeded: try kernelCall(.pagesPromote, CapabilitySlot.family, UInt64(root), address))
  }

  /// Makes 512 pages of a large page again.
  ///
  /// - Parameter table: What `promote` returned.
  /// - Throws: `invalid` if they are pages already: the kernel took one of their frames by force.
  public static func demote(_ table: UInt32) throws(SystemCallError) {
    _ = try kernelCall(.pagesDemote, CapabilitySlot.family, UInt64(table))
  }

  /// The level-2 entry for an address of the current space, where that is a large page.
  public static func largeEntry(at address: UInt64) -> UInt64? {
    let second = entryAddress(entryAddress(address))
    let third = entryAddress(second)
    guard load(entryAddress(third)) & present != 0, load(third) & present != 0 else { return nil }
    let entry = load(second)
    return entry & (present | large) == present | large ? entry : nil
  }

  // MARK: Pieces of a table

  /// Calls the kernel for pieces that lie in one level-1 table.
  @inline(__always) private static func change(
    root: UInt32, at address: UInt64, count: Int, _ call: (UInt64, Int) throws(SystemCallError) -> Void
  ) {
    var at = address
    var left = count
    while left > 0 {
      let pages = min(left, 512 - Int(at >> 12 & 511))
      do throws(SystemCallError) {
        try call(at, pages)
      } catch {
        guard error == .noTable else { fail(error, at) }
      }
      at += UInt64(pages) << 12
      left -= pages
    }
  }

  private static func fail(_ error: SystemCallError, _ address: UInt64) -> Never {
    runtimePanic("the kernel refused a change of an address space: error, address", UInt64(error.rawValue), address)
  }

  // MARK: Tables and roots

  /// Makes a table of a level, and first those above it that are missing.
  ///
  /// A table that is there is left alone.
  private static func install(root: UInt32, at address: UInt64, level: UInt64 = 1) throws(OutOfMemory) {
    guard let frame = BareFrames.one() else { throw OutOfMemory() }
    while true {
      do throws(SystemCallError) {
        try kernelCall(.tableInstall, CapabilitySlot.family, UInt64(root), address, level, UInt64(frame))
        break
      } catch {
        switch error {
        case .noTable: try install(root: root, at: address, level: level + 1)
        case .tableExists:
          BareFrames.keep(frame)
          return
        default: fail(error, address)
        }
      }
    }
    guard address < UInt64(APUS_LIBOS_BASE) else { return }
    let record = unsafe PagePool.records + Int(frame)
    unsafe record.pointee.count = UInt32(truncatingIfNeeded: address >> 21) | UInt32(level) << 28
    unsafe record.pointee.next = PagePool.records[Int(root)].next
    PagePool.records[Int(root)].next = frame
  }

  /// Makes an address space with an empty user half and the family's LibOS.
  ///
  /// - Returns: Its root; nil if there is no frame.
  public static func makeRoot() -> UInt32? {
    guard let root = BareFrames.one() else { return nil }
    do throws(SystemCallError) {
      try kernelCall(.tableInstall, CapabilitySlot.family, 0, 0, 4, UInt64(root))
      try kernelCall(
        .tableInstall, CapabilitySlot.family, UInt64(root), UInt64(APUS_LIBOS_BASE), 3, UInt64(Runtime.sharedTable))
    } catch { fail(error, 0) }
    PagePool.records[Int(root)].next = noFrame
    return root
  }

  /// Removes all tables of the application; the pages were released before.
  public static func clearUserHalf(root: UInt32) {
    var table = PagePool.records[Int(root)].next
    while table != noFrame {
      let record = PagePool.records[Int(table)]
      let address = UInt64(record.count & 0x0fff_ffff) << 21
      do throws(SystemCallError) {
        try kernelCall(.tableRemove, CapabilitySlot.family, UInt64(root), address, UInt64(record.count >> 28))
      } catch { fail(error, address) }
      BareFrames.keep(table)
      table = record.next
    }
    PagePool.records[Int(root)].next = noFrame
  }

  /// Ends an address space that no environment runs in.
  public static func destroyRoot(root: UInt32) {
    clearUserHalf(root: root)
    do throws(SystemCallError) {
      try kernelCall(.tableRemove, CapabilitySlot.family, UInt64(root), UInt64(APUS_LIBOS_BASE), 3)
      try kernelCall(.tableRemove, CapabilitySlot.family, UInt64(root), 0, 4)
    } catch { fail(error, Information.mappings(of: root)) }
    BareFrames.keep(root)
  }
}
