// SPDX-License-Identifier: Apache-2.0
// Guard.swift: a protection key against wild writes of the family's own applications into their LibOS.
//
// Every page of the LibOS's part carries the key. The entries in Guard.S give themselves the right to write and take it
// away on the way back (PKRU, SDM vol. 3, 4.6.2). That is no boundary: whoever executes WRPKRU has the right as well.

import ApusABI
import CRuntime

/// The guard of the LibOS's own pages.
public enum Guard {
  /// The key of the LibOS's pages; all others have key 0.
  public static var key: UInt64 { 1 }
  /// Whether it is up.
  @safe nonisolated(unsafe) public private(set) static var isOn = false

  /// What an entry that maps a writable page of the LibOS's own says beside the frame.
  @safe nonisolated(unsafe) private(set) static var ownBits =
    PageTable.present | PageTable.writable | PageTable.noExecute

  private static var entryBits: UInt64 { key << 59 }

  /// Puts the guard up, before the first application runs.
  ///
  /// - Returns: False if the kernel has not switched protection keys on, as it was not asked to or the CPU has none.
  public static func raise() -> Bool {
    guard Information.page.protection_keys != 0 else { return false }
    ownBits |= entryBits
    var at = UInt64(APUS_LIBOS_BASE)
    let end = at + 1 << 39
    while at < end, let base = PageTable.nextTable(from: at, below: end) {
      mark(base)
      at = base + 0x20_0000
    }
    isOn = true
    Execution.current.setEntries()
    return true
  }

  /// Gives the key to the pages of a level-1 table.
  private static func mark(_ base: UInt64) {
    let entries = PageTable.table(at: base)
    let marked = PageTable.scratch
    for offset in stride(from: 0, to: 4096, by: 8) {
      let entry = entries.load(offset, as: UInt64.self)
      marked.store(entry & PageTable.present != 0 ? entry | entryBits : 0, at: offset)
    }
    do throws(OutOfMemory) {
      try PageTable.write(root: Runtime.currentRoot, at: base, entries: marked)
    } catch { runtimePanic("no frame for a page table that is there") }
  }
}
