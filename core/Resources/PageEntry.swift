// SPDX-License-Identifier: Apache-2.0
// PageEntry.swift: the bits of a page-table entry and which of them an application may choose.
//
// Intel SDM vol. 3, 4.5.4, tables 4-15 to 4-20. All levels share the bits used here.

/// The bits of a page-table entry.
public enum PageEntry {
  /// The entry maps a page or links a table.
  public static var present: UInt64 { 1 << 0 }
  /// Writing is allowed.
  public static var writable: UInt64 { 1 << 1 }
  /// Ring 3 may use the entry; set in every entry that an application has.
  public static var user: UInt64 { 1 << 2 }
  /// The processor has used the entry; without this bit no translation through it is cached (SDM 4.10.2.3).
  public static var accessed: UInt64 { 1 << 5 }
  /// The processor has written to the page.
  public static var dirty: UInt64 { 1 << 6 }
  /// What the processor notes in an entry by itself.
  static var traces: UInt64 { accessed | dirty }
  /// In an entry of level 2: it maps 2 MiB and links no table.
  public static var large: UInt64 { 1 << 7 }
  /// Bits that the processor ignores: 9 to 11 and 52 to 58.
  public static var software: UInt64 { 0x07f0_0000_0000_0e00 }
  /// The protection key, by which ring 3 withholds rights from itself: bits 59 to 62.
  ///
  /// SDM vol. 3, 4.6.2. Where keys are off the processor ignores it.
  public static var protectionKey: UInt64 { 0xf << 59 }
  /// Fetching instructions is forbidden.
  public static var noExecute: UInt64 { 1 << 63 }
  /// The frame number, in place.
  public static var frameMask: UInt64 { 0x000f_ffff_ffff_f000 }

  /// What an application may change in an entry that is present.
  public static var changeable: UInt64 { writable | accessed | dirty | software | noExecute }
  /// What an application may set in an entry that it writes.
  ///
  /// Not among these: cache control and the PAT bit (memory types are the kernel's), global (it would outlive an
  /// address-space switch).
  public static var allowed: UInt64 { present | user | changeable | protectionKey | frameMask }

  /// The bits of an entry that links a page table: what it may allow is decided at level 1.
  static var link: UInt64 { present | writable | user }

  /// The frame that a present entry in a table names: such an entry was checked when it was written.
  @inline(__always) public static func frame(of entry: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: (entry & frameMask) >> 12)
  }

  /// The lower bits of an entry, and no-execute in bit 12.
  @inline(__always) static func packed(_ bits: UInt64) -> UInt64 { bits & 0xfff | bits >> 51 & 0x1000 }

  /// Unpacks the `set` argument of a protect call: entry bits 0 to 11, and no-execute in bit 12.
  public static func unpacked(set packed: UInt64) -> UInt64 {
    (packed & 0xfff) | (packed >> 12 & 1) << 63
  }
}

/// What the kernel must do to the translation caches after an operation, before ring 3 runs again.
public enum Maintenance: Equatable, Sendable {
  /// Nothing: no cached translation can be stale.
  case none
  /// Invalidate `count` pages from `address` on in the current address space.
  case range(address: UInt64, count: Int)
  /// Invalidate all of ring 3's translations, in every address space.
  case everything

  /// What is needed after a change of `count` entries from `address` on.
  ///
  /// - Parameters:
  ///   - old: The entries that were there, or'ed.
  ///   - address: Address of the first page.
  ///   - count: How many pages.
  ///   - reachesFurther: Whether other addresses or address spaces may see the same entries.
  init(after old: UInt64, at address: UInt64, _ count: Int, reachesFurther: Bool) {
    if old & PageEntry.accessed == 0 {
      self = .none
    } else {
      self = reachesFurther ? .everything : .range(address: address, count: count)
    }
  }
}
