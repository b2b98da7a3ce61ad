// SPDX-License-Identifier: Apache-2.0
// NativeMemory.swift: frames, page-table entries and words that outlive a function, for a native program that pages.

import ApusABI

/// A word of the program's own memory that a fault handler and the rest of the program share.
struct SharedWord {
  private let address: UInt64

  /// The word of a number, below 500; the rest is for what stands between a call and its arguments.
  init(_ number: UInt64) { address = address_of_native_words() + number * 8 }

  var value: UInt64 {
    get { load64(address) }
    nonmutating set { store64(address, newValue) }
  }
}

/// A table of words in pages of its own.
struct WordTable {
  let address: UInt64

  subscript(index: UInt64) -> UInt64 {
    get { load64(address + index * 8) }
    nonmutating set { store64(address + index * 8, newValue) }
  }
}

/// Pages of the program's own address space.
enum Pages {
  static var size: UInt64 { 4096 }
  static var present: UInt64 { 1 }
  static var writable: UInt64 { 2 }
  static var accessed: UInt64 { 1 << 5 }
  static var dirty: UInt64 { 1 << 6 }
  static var noExecute: UInt64 { 1 << 63 }
  /// The same in the arguments of a call.
  private static var noExecuteFlag: UInt64 { 1 << 12 }
  private static var frameMask: UInt64 { 0x000f_ffff_ffff_f000 }

  /// Where the program's pages can be: a region for each use, each of at most 1 GiB.
  static func region(_ number: UInt64) -> UInt64 { UInt64(APUS_LIBOS_BASE) + (number + 1) << 30 }

  /// The root of the address space; it is looked up once.
  private static let rootWord: UInt64 = 511
  static var root: UInt64 {
    let word = SharedWord(rootWord)
    if word.value == 0 { word.value = environment_root(Environment.first.slot) }
    return word.value
  }

  /// The entry of a page, read in the page table itself: no kernel call.
  ///
  /// Its table has to be there.
  @inline(__always) static func entry(at address: UInt64) -> UInt64 {
    load64(UInt64(APUS_TABLES_BASE) + ((address >> 12) & 0xf_ffff_ffff) * 8)
  }

  @inline(__always) static func frame(of entry: UInt64) -> UInt64 { (entry & frameMask) >> 12 }

  /// Maps zeroed frames, taken from the kernel.
  ///
  /// - Returns: False if there were too few.
  static func fill(_ address: UInt64, count: UInt64) -> Bool {
    guard makeTables(address, count: count) else { return false }
    var done: UInt64 = 0
    while done < count {
      let part = Native.call(
        .pagesFill, Native.family, root, address + done * size, min(64, count - done),
        present | writable | noExecuteFlag)
      guard let part, part & 0xffff > 0 else { return false }
      done += part & 0xffff
    }
    return true
  }

  /// Makes the page tables of a range of a region in which nothing was mapped before.
  static func makeTables(_ address: UInt64, count: UInt64) -> Bool {
    guard makeTable(address, level: 2) else { return false }
    var at = address
    while at < address + count * size {
      guard makeTable(at, level: 1) else { return false }
      at += 512 * size
    }
    return true
  }

  private static func makeTable(_ address: UInt64, level: UInt64) -> Bool {
    let list = SharedWord(510)
    let place = address_of_native_words() + 510 * 8
    guard Native.call(.frameAllocate, Native.family, place, 1, 0) != nil else { return false }
    if Native.call(.tableInstall, Native.family, root, address, level, list.value) != nil { return true }
    // There is one already.
    return Native.call(.frameFree, Native.family, place, 1) != nil
  }

  /// Writes one entry; 0 unmaps.
  ///
  /// - Parameters:
  ///   - entry: The entry.
  ///   - address: Of the page.
  ///   - frames: Slot of the capability that reaches the frame.
  /// - Returns: False if the kernel refused.
  @inline(__always) static func write(_ entry: UInt64, at address: UInt64, frames: UInt64 = Native.family) -> Bool {
    let word = SharedWord(509)
    word.value = entry
    return Native.call(
      .pagesWrite, Native.family | frames << 8, root, address, 1, address_of_native_words() + 509 * 8) != nil
  }

  /// Changes the entries of pages that are there: clears bits, then sets some of the lower twelve.
  static func change(_ address: UInt64, count: UInt64, clear: UInt64, set: UInt64 = 0) -> Bool {
    var done: UInt64 = 0
    while done < count {
      guard
        let part = Native.call(
          .pagesProtect, Native.family, root, address + done * size, min(512, count - done) | set << 16, ~clear)
      else { return false }
      done += part
    }
    return true
  }
}
