// SPDX-License-Identifier: Apache-2.0
// GuestSpace.swift: the address space of one environment, read from the machine's memory through its page tables.

import CApusABI

/// What an environment sees of memory (SDM volume 3, 4.5: four levels of tables of 512 entries).
struct GuestSpace {
  /// Neighbouring pages with the same rights.
  struct Stretch: Equatable {
    let address: UInt64
    let isWritable, isExecutable: Bool
    /// Physical addresses of the pages, in order.
    fileprivate(set) var pages: [UInt64]

    var byteCount: UInt64 { UInt64(pages.count) * 4096 }
  }

  let memory: MachineMemory
  /// Frame of the level-4 table.
  let root: UInt32

  private enum Entry {
    static let present: UInt64 = 1
    static let writable: UInt64 = 2
    static let large: UInt64 = 1 << 7
    static let noExecute: UInt64 = 1 << 63
    static let address: UInt64 = 0x000f_ffff_ffff_f000
  }

  private func entry(_ table: UInt64, _ index: UInt64) -> UInt64? {
    // Applications have no large pages.
    guard let entry = memory.load(table + index * 8, as: UInt64.self), entry & Entry.present != 0 else { return nil }
    return entry
  }

  /// The next table below an entry.
  private func table(_ table: UInt64, _ index: UInt64) -> UInt64? {
    guard let entry = entry(table, index), entry & Entry.large == 0 else { return nil }
    return entry & Entry.address
  }

  /// A word at an address; nil where nothing is mapped.
  func word(_ address: UInt64) -> UInt64? {
    guard address < UInt64(APUS_USER_LIMIT), address & 7 == 0 else { return nil }
    var at = UInt64(root) << 12
    for level in [UInt64(3), 2, 1] {
      guard let next = table(at, address >> (12 + 9 * level) & 511) else { return nil }
      at = next
    }
    guard let entry = entry(at, address >> 12 & 511) else { return nil }
    return memory.load(entry & Entry.address + address & 4095, as: UInt64.self)
  }

  /// Everything that is mapped below the kernel's half, in ascending order.
  func stretches() -> [Stretch] {
    var stretches: [Stretch] = []
    for first in UInt64(0)..<256 {
      guard let third = table(UInt64(root) << 12, first) else { continue }
      for second in UInt64(0)..<512 {
        guard let directory = table(third, second) else { continue }
        for middle in UInt64(0)..<512 {
          guard let last = table(directory, middle) else { continue }
          for index in UInt64(0)..<512 {
            guard let entry = entry(last, index) else { continue }
            add(entry, at: first << 39 | second << 30 | middle << 21 | index << 12, to: &stretches)
          }
        }
      }
    }
    return stretches
  }

  private func add(_ entry: UInt64, at address: UInt64, to stretches: inout [Stretch]) {
    let isWritable = entry & Entry.writable != 0
    let isExecutable = entry & Entry.noExecute == 0
    if let last = stretches.last, last.address + last.byteCount == address, last.isWritable == isWritable,
      last.isExecutable == isExecutable
    {
      stretches[stretches.count - 1].pages.append(entry & Entry.address)
    } else {
      stretches.append(
        Stretch(
          address: address, isWritable: isWritable, isExecutable: isExecutable, pages: [entry & Entry.address]))
    }
  }
}
