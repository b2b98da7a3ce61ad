// SPDX-License-Identifier: Apache-2.0
// PagedMemory.swift: more pages than frames: what is away lies in a store, and a fault brings it back.
//
// The program has `frames` frames of its own budget and a store beside them, which stands for a disk or another family:
// no page of the store is ever mapped into the paged region, every page that comes or goes is copied. All that the
// fault handler needs stands in words and tables of the program's memory; page tables are read where the kernel shows
// them.

import ApusABI

/// Which page goes when all frames are in use.
enum Policy: UInt64 {
  /// The clock in the order of addresses: LibUnix's default (libos/Unix/PageReplacement.swift).
  case clock
  /// Of the pages that are only scanned, the one that came last: it is needed again later than any other.
  case lastScanned
}

/// The paged region and its store.
enum PagedMemory {
  static let pages: UInt64 = 4864
  static let frames: UInt64 = 4096
  /// The first pages are visited all the time; the others are scanned.
  static let hotPages: UInt64 = 256
  static var scanPages: UInt64 { pages - hotPages }

  static var region: UInt64 { Pages.region(0) }
  /// The frames of the budget, seen at a second address each, so that they can be filled before they are mapped.
  private static var window: UInt64 { Pages.region(1) }
  private static var store: UInt64 { Pages.region(2) }
  /// By slot, which is a frame of the budget: its page-table entry, and the page that it has.
  private static var entries: WordTable { WordTable(address: Pages.region(3)) }
  private static var pageOfSlot: WordTable { WordTable(address: Pages.region(3) + frames * 8) }
  /// By page: its slot and one, or 0 while it is away.
  private static var slotOfPage: WordTable { WordTable(address: Pages.region(3) + frames * 16) }
  /// Slots of scanned pages in the order in which they came.
  private static var scanned: WordTable { WordTable(address: Pages.region(3) + frames * 16 + pages * 8) }
  private static var tableBytes: UInt64 { frames * 24 + pages * 8 }

  private static var policy: SharedWord { SharedWord(0) }
  static var faults: SharedWord { SharedWord(1) }
  private static var used: SharedWord { SharedWord(2) }
  private static var hand: SharedWord { SharedWord(3) }
  private static var scannedCount: SharedWord { SharedWord(4) }
  /// The page of the last fault, and the first of those in a row that came before it; for the picture.
  static var trace: FaultTrace { FaultTrace() }

  static func address(of page: UInt64) -> UInt64 { region + page * Pages.size }

  /// Takes the frames; nothing is in the paged region then.
  static func start() -> Bool {
    guard Pages.fill(window, count: frames), Pages.fill(store, count: pages),
      Pages.fill(Pages.region(3), count: (tableBytes + 4095) / 4096), Pages.makeTables(region, count: pages)
    else { return false }
    for slot in 0..<frames {
      let frame = Pages.frame(of: Pages.entry(at: window + slot * Pages.size))
      entries[slot] = frame << 12 | Pages.present | Pages.writable | Pages.noExecute
    }
    return true
  }

  /// Sends every page away and begins with a policy.
  static func begin(_ new: Policy) -> Bool {
    for slot in 0..<used.value {
      guard sendAway(slot) else { return false }
    }
    used.value = 0
    hand.value = 0
    scannedCount.value = 0
    policy.value = new.rawValue
    return true
  }

  // MARK: Faults

  /// Brings the page of an address.
  ///
  /// - Returns: False if it is no page of the region, or is there.
  static func bring(_ address: UInt64) -> Bool {
    let page = (address &- region) / Pages.size
    guard page < pages, slotOfPage[page] == 0 else { return false }
    faults.value += 1
    trace.note(page)
    var slot = used.value
    if slot < frames {
      used.value = slot + 1
    } else {
      slot = policy.value == Policy.clock.rawValue ? chooseByClock() : chooseLastScanned()
      guard sendAway(slot) else { return false }
    }
    copy_words(window + slot * Pages.size, store + page * Pages.size, Pages.size)
    guard Pages.write(entries[slot], at: region + page * Pages.size) else { return false }
    pageOfSlot[slot] = page
    slotOfPage[page] = slot + 1
    if page >= hotPages, policy.value == Policy.lastScanned.rawValue {
      scanned[scannedCount.value] = slot
      scannedCount.value += 1
    }
    return true
  }

  /// Unmaps the page of a slot, and copies it into the store if it has been written.
  private static func sendAway(_ slot: UInt64) -> Bool {
    let page = pageOfSlot[slot]
    let entry = Pages.entry(at: region + page * Pages.size)
    guard Pages.write(0, at: region + page * Pages.size) else { return false }
    if entry & Pages.dirty != 0 {
      copy_words(store + page * Pages.size, window + slot * Pages.size, Pages.size)
    }
    slotOfPage[page] = 0
    return true
  }

  /// The first page at the hand or behind it that was not used since the hand passed it last.
  private static func chooseByClock() -> UInt64 {
    while true {
      let page = hand.value
      hand.value = page + 1 < pages ? page + 1 : 0
      let slot = slotOfPage[page]
      guard slot != 0 else { continue }
      let address = region + page * Pages.size
      if Pages.entry(at: address) & Pages.accessed == 0 { return slot - 1 }
      _ = Pages.change(address, count: 1, clear: Pages.accessed)
    }
  }

  private static func chooseLastScanned() -> UInt64 {
    scannedCount.value -= 1
    return scanned[scannedCount.value]
  }
}

/// Pages that faulted one after the other, told as a line for each row of them: what the picture is drawn from.
struct FaultTrace {
  private var isOn: SharedWord { SharedWord(16) }
  private var first: SharedWord { SharedWord(17) }
  private var next: SharedWord { SharedWord(18) }
  private var pass: SharedWord { SharedWord(19) }
  private var count: SharedWord { SharedWord(20) }
  private var policy: SharedWord { SharedWord(21) }

  func begin() { isOn.value = 1 }

  func end() {
    flush()
    isOn.value = 0
  }

  /// From here on the other policy's.
  func change() {
    flush()
    policy.value += 1
  }

  /// A pass begins.
  func begin(pass number: UInt64) {
    flush()
    pass.value = number
  }

  func note(_ page: UInt64) {
    guard isOn.value != 0 else { return }
    if count.value > 0, next.value != page { flush() }
    if count.value == 0 { first.value = page }
    count.value += 1
    next.value = page + 1
  }

  private func flush() {
    guard isOn.value != 0, count.value > 0 else { return }
    var line = Line()
    line.put("faults ")
    line.put(policy.value)
    line.put(" ")
    line.put(pass.value)
    line.put(" ")
    line.put(first.value)
    line.put(" ")
    line.put(next.value - 1)
    line.end()
    count.value = 0
  }
}
