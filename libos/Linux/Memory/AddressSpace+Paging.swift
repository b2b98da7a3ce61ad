// SPDX-License-Identifier: Apache-2.0
// AddressSpace+Paging.swift: pages that go to the page server, and come back when they are touched.

import ApusRuntime
import ApusUnix

/// What an address space knows of its pages that are away; there is one only in a family with a pager.
final class PagedMemory {
  let pager: Pager
  /// Which page goes next.
  let policy: PageReplacement
  var swapped = SwappedPages()
  /// How many pages of the last batch found room.
  var lastSent = 0

  init(_ pager: Pager) {
    self.pager = pager
    policy = pager.policy.make()
  }
}

extension AddressSpace: ResidentPages {
  // MARK: For the policy

  /// Whether a page could go: present, not a file's own, and not promised to a call.
  ///
  /// One that relatives have too, after a fork, is free when the last of them has given it up. While a fork is going
  /// on such a page may be on its way to the child.
  private func couldGo(_ page: UInt64, _ entry: UInt64) -> Bool {
    let mine = PageTable.present | AddressSpace.owned
    return entry & mine == mine && (!isForking || Page(frame: PageTable.frame(of: entry)).referenceCount == 1)
      && paged?.pager.isPromised(page) == false
  }

  func candidate(from address: UInt64) -> UInt64? {
    var index = firstIndex(endingAfter: address)
    while index < regions.count {
      let region = regions[index]
      if !region.isShared {
        var tables = TableWalk(max(region.start, address & ~AddressSpace.pageMask), region.end)
        while let part = tables.next() {
          let table = PageTable.table(at: part.start)
          var page = part.start
          var offset = Int(part.start >> 12 & 511) * 8
          while page < part.end {
            let entry = table.load(offset, as: UInt64.self)
            if entry != 0, couldGo(page, entry) { return page }
            page += 4096
            offset += 8
          }
        }
      }
      index += 1
    }
    return nil
  }

  func takeAccessed(_ page: UInt64) -> Bool {
    guard PageTable.entry(at: page) & PageTable.accessed != 0 else { return false }
    PageTable.protect(root: root, at: page, count: 1, keep: ~PageTable.accessed, set: 0)
    return true
  }

  // MARK: Going

  /// A page on its way to the server.
  private struct Leaving {
    let page: UInt64
    let entry: UInt64
  }

  /// Makes pages free; this address space has to be the current one.
  ///
  /// - Returns: How many.
  func evict(_ count: Int, _ pager: Pager) -> Int {
    guard let paged else { return 0 }
    Exclusive.begin()
    defer { Exclusive.end() }
    var freed = 0
    while freed < count {
      var leaving: [Leaving] = []
      let before = freed
      while freed + leaving.count < count, leaving.count < PageServer.batch,
        let page = paged.policy.victim(among: self)
      {
        let entry = PageTable.entry(at: page)
        // Whoever touches it from here on waits for this to end.
        PageTable.unmap(root: root, at: page, count: 1)
        if canBeMadeAgain(page, Page(frame: PageTable.frame(of: entry))) {
          Page(frame: PageTable.frame(of: entry)).release()
          pager.countDropped()
          freed += 1
        } else {
          PageServer.window(leaving.count).copy(Page(frame: PageTable.frame(of: entry)).bytes)
          leaving.append(Leaving(page: page, entry: entry))
        }
      }
      guard send(leaving, paged) == leaving.count else { return freed + paged.lastSent }
      freed += leaving.count
      if freed == before { return freed }
    }
    return freed
  }

  /// Has the pages in the window kept, and puts back those for which there is no room.
  private func send(_ leaving: [Leaving], _ paged: PagedMemory) -> Int {
    let kept = leaving.isEmpty ? [] : paged.pager.keep(leaving.count)
    for index in 0..<leaving.count {
      let page = Page(frame: PageTable.frame(of: leaving[index].entry))
      if index < kept.count {
        paged.swapped.insert(leaving[index].page, kept[index])
        page.release()
      } else {
        // Its table is there: nothing was taken from it meanwhile.
        try? PageTable.write(root: root, at: leaving[index].page, entry: leaving[index].entry & ~4)
      }
    }
    paged.lastSent = kept.count
    return kept.count
  }

  /// Whether a page's contents are what a first touch would bring.
  private func canBeMadeAgain(_ address: UInt64, _ page: Page) -> Bool {
    guard let index = index(of: address) else { return false }
    let region = regions[index]
    guard let source = region.source else { return page.bytes.isZero }
    do throws(Errno) {
      let original = try source.page(at: region.sourceIndex(of: address))
      defer { original.release() }
      return page.bytes.isEqual(to: original.bytes)
    } catch {
      return false
    }
  }

  // MARK: Coming back

  /// Brings a page back that is away.
  ///
  /// - Returns: Nil if it is not away.
  func bringBack(_ page: UInt64, _ index: Int) throws(OutOfMemory) -> FaultOutcome? {
    guard let paged, let slot = paged.swapped[page] else { return nil }
    Exclusive.begin()
    defer { Exclusive.end() }
    guard let fresh = AddressSpace.takePage(zeroed: false) else { throw OutOfMemory() }
    guard paged.pager.fetch(slot, into: fresh) else {
      fresh.release()
      throw OutOfMemory()
    }
    try write(
      page, UInt64(fresh.frame) << 12 | regions[index].entryBits | AddressSpace.owned, owning: fresh)
    paged.swapped.remove(page)
    paged.pager.release(slot)
    paged.policy.brought(page)
    return .resolved
  }

  /// Whether the pages of a range are all here, so that neighbours can be brought without a look at each.
  var hasPagesAway: Bool { paged?.swapped.isEmpty == false }

  /// A page has come that could go again.
  @inline(__always) func noteBrought(_ page: UInt64) { paged?.policy.brought(page) }

  // MARK: What happens to the address space meanwhile

  /// Forgets the pages of a range that are away.
  func forgetAway(_ start: UInt64, _ end: UInt64) {
    guard let paged, !paged.swapped.isEmpty else { return }
    paged.swapped.removeAll(from: start, to: end) { _, slot in paged.pager.release(slot) }
  }

  /// Moves the pages of a range that are away to another place.
  func moveAway(from start: UInt64, to place: UInt64, byteCount: UInt64) {
    guard let paged, !paged.swapped.isEmpty else { return }
    var moved: [(UInt64, UInt32)] = []
    paged.swapped.removeAll(from: start, to: start + byteCount) { page, slot in moved.append((page, slot)) }
    for (page, slot) in moved { paged.swapped.insert(page - start + place, slot) }
  }

  /// Gives a forked child the pages that are away; each side gets its own copy when it touches one.
  func shareAway(with child: AddressSpace) throws(OutOfMemory) {
    guard let paged else { return }
    let childPaged = PagedMemory(paged.pager)
    child.paged = childPaged
    var failed = false
    paged.swapped.forEach { page, slot in
      guard let index = index(of: page), !regions[index].isShared, !failed else { return }
      if paged.pager.retain(slot) {
        childPaged.swapped.insert(page, slot)
      } else {
        failed = true
      }
    }
    if failed { throw OutOfMemory() }
  }
}

extension Bytes {
  /// Whether all bytes are zero; the count is a multiple of 8.
  var isZero: Bool {
    var union: UInt64 = 0
    var offset = 0
    while offset < count {
      union |= load(offset, as: UInt64.self)
      offset += 8
    }
    return union == 0
  }

  /// Whether the bytes equal others; the counts are the same multiple of 8.
  func isEqual(to other: Bytes) -> Bool {
    var offset = 0
    while offset < count {
      if load(offset, as: UInt64.self) != other.load(offset, as: UInt64.self) { return false }
      offset += 8
    }
    return true
  }
}
