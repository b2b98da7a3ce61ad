// SPDX-License-Identifier: Apache-2.0
// AddressSpace.swift: which ranges of memory an application has.
//
// Regions say what should be there; the processor's own page tables, which the LibOS reads in place, say what
// is there. Each present entry holds one reference of its page. Entries with `AddressSpace.owned` map a page
// that belongs to this address space (or, after a fork, to it and its relatives); entries without it map a
// page of the region's source. An owned page may be written in place only while its reference count is 1.
// Everything that reads entries needs this address space to be the current one.

import ApusRuntime
import ApusUnix

/// The memory of one application; shared by its threads.
final class AddressSpace {
  /// Marks entries whose page is the application's own, not its source's.
  static var owned: UInt64 { PageTable.software0 }
  /// The address after the last that an application may map: the LibOS begins there.
  static var limit: UInt64 { 0x7000_0000_0000 }
  /// The least address that may be mapped (vm.mmap_min_addr).
  static var lowest: UInt64 { 0x1_0000 }
  /// The address after the stack.
  static var stackTop: UInt64 { 0x6fff_ffff_f000 }
  static var pageMask: UInt64 { 4095 }

  /// The frame of the level-4 page table.
  let root: UInt32
  /// In rising order, without overlaps.
  var regions: [Region] = []
  /// How many tasks run in this address space.
  var userCount = 1
  /// Where the data segment ends: the least program break.
  var breakStart: UInt64 = 0
  /// The program break (brk(2)).
  var breakEnd: UInt64 = 0
  /// New mappings are placed below this.
  var mappingTop: UInt64 = AddressSpace.stackTop - 0x1000_0000
  /// No hole above this is looked for: mapping is quick however many regions there are.
  private var searchTop = AddressSpace.stackTop - 0x1000_0000
  /// How far a stack may grow, in bytes.
  var stackLimit: UInt64 = 8 << 20
  /// Pages that mprotect made inaccessible: the processor cannot keep them in an entry that is not present.
  var hidden: [HiddenPage] = []
  private var lastFound = 0
  /// Where the last run of fresh pages ended, and how long it was to be.
  var freshEnd: UInt64 = 0
  var freshRun = AddressSpace.freshRun
  /// Pages that a fork copied at once for this child.
  var copies: [PageCopy] = []
  /// A fork has given this child its pages below this address.
  var sharedEnd: UInt64 = 0

  /// A page kept while its region has no access.
  struct HiddenPage {
    let address: UInt64
    let entry: UInt64
  }

  /// A child is being made: pages may be on their way to it.
  var isForking = false
  /// Which pages are away, in a family with a pager.
  var paged: PagedMemory?

  init(root: UInt32, pager: Pager? = nil) {
    self.root = root
    if let pager { paged = PagedMemory(pager) }
  }

  /// Takes a page for an application; the last ones are left to the LibOS itself, which cannot do without.
  @inline(__always) static func takePage(zeroed: Bool) -> Page? {
    if Page.freeCount > reserve, let page = Page.allocate(zeroed: zeroed) { return page }
    return takePageOfOthers(zeroed: zeroed)
  }

  /// Takes a page that another one makes room for, when a pager can arrange that.
  @inline(never) private static func takePageOfOthers(zeroed: Bool) -> Page? {
    guard let answer = PageShortage.answer, answer(PageServer.batch) else { return nil }
    return Page.allocate(zeroed: zeroed)
  }

  /// Pages that applications do not get.
  private static var reserve: Int { 128 }

  // MARK: Finding regions

  /// The index of the region that holds an address, or nil.
  ///
  /// - Complexity: O(1) for the region found last, else O(log n).
  @inline(__always) func index(of address: UInt64) -> Int? {
    if lastFound < regions.count, regions[lastFound].start <= address,
      address < regions[lastFound].end
    {
      return lastFound
    }
    let index = firstIndex(endingAfter: address)
    guard index < regions.count, regions[index].start <= address else { return nil }
    lastFound = index
    return index
  }

  /// The index of the first region that ends after an address; `regions.count` if none does.
  func firstIndex(endingAfter address: UInt64) -> Int {
    var low = 0
    var high = regions.count
    while low < high {
      let middle = (low + high) / 2
      if regions[middle].end <= address { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Whether no region overlaps a range.
  func isFree(_ start: UInt64, _ end: UInt64) -> Bool {
    let index = firstIndex(endingAfter: start)
    return index == regions.count || regions[index].start >= end
  }

  /// Whether regions cover a range without a hole.
  func isCovered(_ start: UInt64, _ end: UInt64) -> Bool {
    var index = firstIndex(endingAfter: start)
    var at = start
    while at < end {
      guard index < regions.count, regions[index].start <= at else { return false }
      at = regions[index].end
      index += 1
    }
    return true
  }

  /// A free range of a size below `mappingTop`: the highest one, but for holes that earlier searches passed over.
  ///
  /// - Throws: `ENOMEM` when there is none.
  func place(byteCount: UInt64) throws(Errno) -> UInt64 {
    if let address = search(byteCount, below: searchTop) ?? search(byteCount, below: mappingTop) {
      searchTop = address
      return address
    }
    throw .ENOMEM
  }

  private func search(_ byteCount: UInt64, below limit: UInt64) -> UInt64? {
    var top = limit
    var index = firstIndex(endingAfter: limit)
    if index < regions.count, regions[index].start < limit { top = regions[index].start }
    while true {
      let floor = index > 0 ? regions[index - 1].end : AddressSpace.lowest
      if top > floor, top - floor >= byteCount { return top - byteCount }
      guard index > 0 else { return nil }
      index -= 1
      top = min(top, regions[index].start)
    }
  }

  /// Throws `ENOMEM` when there are as many regions as a process may have (vm.max_map_count).
  func checkRegionCount() throws(Errno) {
    guard regions.count < AddressSpace.regionLimit else { throw .ENOMEM }
  }

  private static var regionLimit: Int { 65530 }

  // MARK: Changing regions

  /// Adds a region where nothing is, and joins it with neighbours that it continues.
  func insert(_ region: Region) {
    let index = firstIndex(endingAfter: region.start)
    if index > 0, regions[index - 1].isContinued(by: region) {
      regions[index - 1].end = region.end
      joinWithNext(index - 1)
      return
    }
    if index < regions.count, region.isContinued(by: regions[index]) {
      regions[index].offset = region.offset
      regions[index].start = region.start
      return
    }
    regions.insert(region, at: index)
  }

  func joinWithNext(_ index: Int) {
    guard index >= 0, index + 1 < regions.count,
      regions[index].isContinued(by: regions[index + 1])
    else { return }
    regions[index].end = regions[index + 1].end
    regions.remove(at: index + 1)
  }

  /// Makes a region boundary at an address inside of a region.
  func split(at address: UInt64) {
    guard let index = index(of: address), regions[index].start < address else { return }
    var upper = regions[index]
    upper.offset += address - upper.start
    upper.start = address
    upper.growsDown = false
    regions[index].end = address
    regions.insert(upper, at: index + 1)
  }

  /// Takes all memory out of a range.
  func unmap(_ start: UInt64, _ end: UInt64) {
    guard !isFree(start, end) else { return }
    if end <= mappingTop { searchTop = max(searchTop, end) }
    split(at: start)
    split(at: end)
    let first = firstIndex(endingAfter: start)
    var last = first
    while last < regions.count, regions[last].start < end {
      drop(regions[last].start, regions[last].end)
      last += 1
    }
    regions.removeSubrange(first..<last)
  }

  /// Releases the pages of a range and empties its entries; the regions stay.
  func drop(_ start: UInt64, _ end: UInt64) {
    var tables = TableWalk(start, end)
    while let part = tables.next() {
      if release(part) { PageTable.unmap(root: root, at: part.start, count: part.pageCount) }
    }
    if !hidden.isEmpty { dropHidden(start, end) }
    forgetAway(start, end)
  }

  /// Releases the pages of a part of one table without touching its entries.
  ///
  /// - Returns: Whether any page was present.
  @discardableResult
  private func release(_ part: TableWalk.Part) -> Bool {
    var any = false
    let table = PageTable.table(at: part.start)
    var offset = Int(part.start >> 12 & 511) * 8
    let endOffset = offset + part.pageCount * 8
    while offset < endOffset {
      let entry = table.load(offset, as: UInt64.self)
      if entry & PageTable.present != 0 {
        Page(frame: PageTable.frame(of: entry)).release()
        any = true
      }
      offset += 8
    }
    return any
  }

  private func dropHidden(_ start: UInt64, _ end: UInt64) {
    var index = hidden.count
    while index > 0 {
      index -= 1
      if hidden[index].address >= start, hidden[index].address < end {
        Page(frame: PageTable.frame(of: hidden[index].entry)).release()
        hidden.remove(at: index)
      }
    }
  }

  /// Gives up everything: all pages, all regions, all page tables below the root.
  func clear() {
    copies.removeAll()
    for index in 0..<regions.count {
      var tables = TableWalk(regions[index].start, regions[index].end)
      while let part = tables.next() { release(part) }
    }
    dropHidden(0, AddressSpace.limit)
    forgetAway(0, AddressSpace.limit)
    regions.removeAll()
    PageTable.clearUserHalf(root: root)
  }
}

/// The parts of a range that have level-1 tables in the current address space: of a great range that is mostly empty,
/// these are few.
struct TableWalk {
  /// Pages in one table.
  struct Part {
    let start: UInt64
    let end: UInt64
    var pageCount: Int { Int((end - start) >> 12) }
  }

  private var at: UInt64
  private let end: UInt64

  init(_ start: UInt64, _ end: UInt64) {
    at = start
    self.end = end
  }

  /// The next part; nil after the last.
  @inline(__always) mutating func next() -> Part? {
    guard at < end, let base = PageTable.nextTable(from: at, below: end) else { return nil }
    let part = Part(start: max(at, base), end: min(end, base + 0x20_0000))
    at = part.end
    return part
  }
}
