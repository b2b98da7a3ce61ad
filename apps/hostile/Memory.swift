// SPDX-License-Identifier: Apache-2.0
// Memory.swift: frames, page tables and mappings of the first family, which the checks build and take apart.

import ApusABI

/// Bits of page-table entries.
enum Entry {
  static var present: UInt64 { 1 }
  static var writable: UInt64 { 2 }
  static var user: UInt64 { 4 }
  static var accessed: UInt64 { 0x20 }
  static var dirty: UInt64 { 0x40 }
  static var noExecute: UInt64 { 1 << 63 }

  static func page(_ frame: UInt64, writable: Bool = true, executable: Bool = false) -> UInt64 {
    frame << 12 | present | (writable ? self.writable : 0) | (executable ? 0 : noExecute)
  }
}

enum Memory {
  static var page: UInt64 { 4096 }
  /// A region of 2 MiB that only the checks use; its tables are made once.
  static var region: UInt64 { UInt64(APUS_LIBOS_BASE) + 0x4000_0000 }
  /// Where children's u-areas and stacks lie, 64 KiB for each.
  static var children: UInt64 { region + 0x20_0000 }
  /// A list for calls; its second page is `list2`.
  static var list: UInt64 { address_of_hostile_words() }
  static var list2: UInt64 { list + page }
  /// Table and frame authority in one argument.
  static func both(_ tables: UInt64, _ frames: UInt64) -> UInt64 { tables | frames << 8 }

  /// Takes one frame, zeroed.
  static func takeFrame(_ slot: UInt64 = Slot.family) -> UInt64? {
    guard Kernel.call(.frameAllocate, slot, list, 1, 0).value == 1 else { return nil }
    return load64(list)
  }

  /// Gives one frame back.
  @discardableResult static func giveBack(_ frame: UInt64, _ slot: UInt64 = Slot.family) -> Answer {
    store64(list, frame)
    return Kernel.call(.frameFree, slot, list, 1)
  }

  /// Writes one level-1 entry of the own address space.
  @discardableResult
  static func write(
    _ entry: UInt64, at address: UInt64, by caps: UInt64 = both(Slot.family, Slot.family)
  ) -> Answer {
    store64(list, entry)
    return Kernel.call(.pagesWrite, caps, Information.ownRoot, address, 1, list)
  }

  /// Maps a fresh frame; the frame's number.
  static func mapFresh(at address: UInt64, writable: Bool = true) -> UInt64? {
    guard let frame = takeFrame() else { return nil }
    guard write(Entry.page(frame, writable: writable), at: address).value == 1 else { return nil }
    return frame
  }

  /// Unmaps a page and gives its frame back.
  @discardableResult static func unmapAndGiveBack(_ address: UInt64) -> Bool {
    let frame = OwnTables.frame(address)
    return write(0, at: address).value == 1 && giveBack(frame).value == 1
  }

  /// Gives an address space the page tables for an address, where they are missing.
  static func makeTables(for address: UInt64, root: UInt64, _ slot: UInt64 = Slot.family) -> Bool {
    var level: UInt64 = 3
    while level >= 1 {
      guard let frame = takeFrame(slot) else { return false }
      let answer = Kernel.call(.tableInstall, slot, root, address, level, frame)
      if answer.error == .tableExists { giveBack(frame, slot) } else if answer.value == nil { return false }
      level -= 1
    }
    return true
  }
}
