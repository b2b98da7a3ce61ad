// SPDX-License-Identifier: Apache-2.0
// AddressSpace+Fork.swift: the child's copy-on-write image of its parent's memory.

import ApusRuntime
import ApusUnix

extension AddressSpace {
  /// A gap of absent pages longer than this ends a batch of entries.
  private static var gapLimit: Int { 16 }

  /// Makes the child's address space: the same regions, the same own pages, none of them writable in place.
  ///
  /// One pass over the parent's level-1 tables. Pages of files are left out: the child finds them again when it
  /// touches them, which most children never do before they exec.
  ///
  /// - Parameter writtenSoon: Addresses that both sides write to at once, such as the stack pointer: their pages are
  ///   copied now, which saves two faults each.
  /// - Returns: The child's, not yet used by any execution.
  /// - Throws: When there are too few pages; the parent is as before then.
  func forked(writtenSoon: [UInt64]) throws(OutOfMemory) -> AddressSpace {
    guard let childRoot = PageTable.makeRoot() else { throw OutOfMemory() }
    let child = AddressSpace(root: childRoot)
    child.regions = regions
    child.breakStart = breakStart
    child.breakEnd = breakEnd
    child.mappingTop = mappingTop
    child.stackLimit = stackLimit
    child.hidden = hidden
    for page in hidden { Page(frame: PageTable.frame(of: page.entry)).retain() }
    for address in writtenSoon {
      child.copies.append(PageCopy(address: address & ~AddressSpace.pageMask, page: nil))
    }
    isForking = true
    defer { isForking = false }
    do throws(OutOfMemory) {
      for index in 0..<regions.count where !regions[index].isShared {
        try share(regions[index].start, regions[index].end, with: child)
      }
      // Last: what the fork itself had to page out is among them.
      try shareAway(with: child)
    } catch {
      takeBack(from: child)
      throw error
    }
    child.sharedEnd = AddressSpace.limit
    return child
  }

  /// A page that a fork copied at once, or is to copy.
  struct PageCopy {
    let address: UInt64
    var page: Page?
  }

  /// Takes back what a fork has given to a child that will not run; the parent has not run since either.
  func takeBack(from child: AddressSpace) {
    let mine = PageTable.present | AddressSpace.owned
    for region in regions where !region.isShared {
      var tables = TableWalk(region.start, min(region.end, child.sharedEnd))
      while let part = tables.next() {
        var page = part.start
        while page < part.end {
          let entry = PageTable.entry(at: page)
          if entry & mine == mine, child.copy(at: page)?.page == nil {
            Page(frame: PageTable.frame(of: entry)).release()
          }
          page += 4096
        }
      }
    }
    for copy in child.copies { copy.page?.release() }
    child.forgetAway(0, AddressSpace.limit)
    for page in hidden { Page(frame: PageTable.frame(of: page.entry)).release() }
    PageTable.destroyRoot(root: child.root)
  }

  private func copy(at address: UInt64) -> PageCopy? {
    for copy in copies where copy.address == address { return copy }
    return nil
  }

  /// The child's own page at an address, if the fork copied it at once.
  func copiedPage(at address: UInt64) -> Page? { copy(at: address & ~AddressSpace.pageMask)?.page }

  /// Gives the child the own pages of a range.
  private func share(
    _ start: UInt64, _ end: UInt64, with child: AddressSpace
  ) throws(OutOfMemory) {
    let mine = PageTable.present | AddressSpace.owned
    var at = start
    while at < end, let base = PageTable.nextTable(from: at, below: end) {
      at = max(at, base)
      let last = min(end, base + 0x20_0000)
      let table = PageTable.table(at: base)
      var batch = Batch()
      var page = at
      var offset = Int((at - base) >> 12) * 8
      while page < last {
        let entry = table.load(offset, as: UInt64.self)
        if entry & mine == mine {
          if batch.count > 0, Int((page - batch.end) >> 12) > AddressSpace.gapLimit {
            try flush(&batch, into: child)
          }
          if try child.takesCopy(of: entry, at: page) {
            // The batch is made read-only in the parent; this page stays as it is.
            try flush(&batch, into: child)
            try child.mapCopy(of: entry, at: page)
          } else {
            batch.add(entry, at: page)
          }
        }
        page += 4096
        offset += 8
      }
      try flush(&batch, into: child)
      at = last
    }
  }

  /// Consecutive entries on their way into the child; they lie in the shared scratch page.
  private struct Batch {
    var start: UInt64 = 0
    var end: UInt64 = 0
    var count = 0
    var writableStart: UInt64 = 0
    var writableEnd: UInt64 = 0

    @inline(__always) mutating func add(_ entry: UInt64, at page: UInt64) {
      let entries = PageTable.scratch
      if count == 0 {
        start = page
        end = page
        writableStart = 0
      }
      while end < page {
        entries.store(UInt64(0), at: count * 8)
        count += 1
        end += 4096
      }
      let dropped = PageTable.writable | PageTable.accessed | PageTable.dirty
      entries.store(entry & ~dropped, at: count * 8)
      count += 1
      end = page + 4096
      Page(frame: PageTable.frame(of: entry)).retain()
      if entry & PageTable.writable != 0 {
        if writableStart == 0 { writableStart = page }
        writableEnd = page + 4096
      }
    }
  }

  private func flush(
    _ batch: inout Batch, into child: AddressSpace
  ) throws(OutOfMemory) {
    guard batch.count > 0 else { return }
    let count = batch.count
    batch.count = 0
    try child.write(batch.start, PageTable.scratch, count)
    child.sharedEnd = batch.end
    if batch.writableStart != 0 {
      PageTable.protect(
        root: root, at: batch.writableStart,
        count: Int((batch.writableEnd - batch.writableStart) >> 12), keep: ~PageTable.writable,
        set: 0)
    }
  }

  /// Whether a page is one of those that are copied at once; the copy is made then.
  @inline(__always)
  private func takesCopy(of entry: UInt64, at address: UInt64) throws(OutOfMemory) -> Bool {
    for index in 0..<copies.count where copies[index].address == address {
      guard copies[index].page == nil else { return true }
      guard let copy = AddressSpace.takePage(zeroed: false) else { throw OutOfMemory() }
      copy.bytes.copy(Page(frame: PageTable.frame(of: entry)).bytes)
      copies[index].page = copy
      return true
    }
    return false
  }

  private func mapCopy(of entry: UInt64, at address: UInt64) throws(OutOfMemory) {
    guard let page = copiedPage(at: address), let index = index(of: address) else { return }
    try PageTable.write(
      root: root, at: address,
      entry: UInt64(page.frame) << 12 | regions[index].entryBits | AddressSpace.owned)
  }
}
