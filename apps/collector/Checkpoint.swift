// SPDX-License-Identifier: Apache-2.0
// Checkpoint.swift: an image of memory as it was at a moment, made while the program goes on; of what changed only.
//
// What changed since the last checkpoint stands in the page table: the processor sets a dirty bit, and a program reads
// its own page table without a kernel call. These pages lose the right to be written until they are saved. Whoever
// writes to one meanwhile faults, and the handler saves it first. All other pages are left alone and cost nothing.

import ApusABI

/// The memory, its image, and which pages of it are to be saved.
enum Checkpoint {
  static let pages: UInt64 = 1024

  private static var memory: UInt64 { Pages.region(0) }
  private static var image: UInt64 { Pages.region(1) }
  /// Pages that changed, in order.
  private static var changed: WordTable { WordTable(address: Pages.region(2)) }
  /// By page: 1 while it has to be saved.
  private static var pending: WordTable { WordTable(address: Pages.region(2) + pages * 8) }

  static var changedCount: SharedWord { SharedWord(0) }
  private static var saved: SharedWord { SharedWord(1) }
  static var faults: SharedWord { SharedWord(2) }

  static func start() -> Bool {
    Pages.fill(memory, count: pages) && Pages.fill(image, count: pages) && Pages.fill(Pages.region(2), count: 4)
  }

  @inline(__always) static func word(_ page: UInt64, _ word: UInt64) -> UInt64 {
    memory + page * Pages.size + word * 8
  }

  /// Everything is zero and nothing has changed.
  static func reset() -> Bool {
    zero_words(memory, pages * Pages.size)
    zero_words(image, pages * Pages.size)
    return Pages.change(memory, count: pages, clear: Pages.dirty, set: Pages.writable)
  }

  /// From here on the image is to become what memory is now.
  static func begin() -> Bool {
    find()
    for index in 0..<changedCount.value { pending[changed[index]] = 1 }
    saved.value = 0
    return forEachRun { Pages.change($0, count: $1, clear: Pages.dirty | Pages.writable) }
  }

  /// Makes the image what memory is now, at once: the program stands still.
  static func saveAtOnce() -> Bool {
    find()
    for index in 0..<changedCount.value { save(changed[index]) }
    return forEachRun { Pages.change($0, count: $1, clear: Pages.dirty) }
  }

  /// Lists what changed.
  private static func find() {
    var count: UInt64 = 0
    for page in 0..<pages where Pages.entry(at: memory + page * Pages.size) & Pages.dirty != 0 {
      changed[count] = page
      count += 1
    }
    changedCount.value = count
  }

  /// Saves one page, if one is left.
  @inline(__always) static func step() {
    while saved.value < changedCount.value {
      let page = changed[saved.value]
      saved.value += 1
      if pending[page] != 0 { return save(page) }
    }
  }

  /// Saves what is left, and lets the pages be written again.
  static func finish() -> Bool {
    while saved.value < changedCount.value { step() }
    return forEachRun { Pages.change($0, count: $1, clear: 0, set: Pages.writable) }
  }

  /// A page that may not be written was written to: it is saved first.
  ///
  /// - Returns: False if it is none of these.
  static func release(_ address: UInt64) -> Bool {
    let page = (address &- memory) / Pages.size
    guard page < pages else { return false }
    faults.value += 1
    if pending[page] != 0 { save(page) }
    return Pages.change(memory + page * Pages.size, count: 1, clear: 0, set: Pages.writable)
  }

  /// Copies so many pages, whichever: what saving costs by itself.
  static func copy(_ count: UInt64) {
    for page in 0..<count { copy_words(image + page * Pages.size, memory + page * Pages.size, Pages.size) }
  }

  private static func save(_ page: UInt64) {
    copy_words(image + page * Pages.size, memory + page * Pages.size, Pages.size)
    pending[page] = 0
  }

  /// Neighbouring pages among those that changed are one call.
  private static func forEachRun(_ body: (UInt64, UInt64) -> Bool) -> Bool {
    var index: UInt64 = 0
    while index < changedCount.value {
      let first = changed[index]
      var count: UInt64 = 1
      while index + count < changedCount.value, changed[index + count] == first + count { count += 1 }
      guard body(memory + first * Pages.size, count) else { return false }
      index += count
    }
    return true
  }

  /// Mixes the image into a checksum.
  static func mix(_ checksum: UInt64) -> UInt64 {
    var result = checksum
    var at: UInt64 = 0
    while at < pages * Pages.size {
      result = (result ^ load64(image + at)) &* 0x100_0000_01b3
      at += 8
    }
    return result
  }
}
