// SPDX-License-Identifier: Apache-2.0
// AddressSpace+Paging.swift: pages that go to the page server, and come back when they are touched.

import ApusRuntime
import ApusUnix

/// A page that one address space has given up and others may have.
struct SharedPage {
  let address: UInt64
  let frame: UInt32
  /// Its slot at the page server; nil: what a first touch brings is the same.
  let slot: UInt32?
}

/// What an address space knows of its pages that are away; there is one only in a family with a pager.
final class PagedMemory {
  let pager: Pager
  /// Which page goes next.
  let policy: PageReplacement
  var swapped = SwappedPages()

  init(_ pager: Pager) {
    self.pager = pager
    policy = pager.policy.make()
  }
}

extension AddressSpace: ResidentPages {
  // MARK: For the policy

  /// Whether a page could go: present, not a file's own, and not promised to a call.
  ///
  /// One that relatives have too, after a fork, goes for all of them. While a fork is going on such a page may be on its
  /// way to the child.
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
    /// It was in no page table: mprotect had made it inaccessible.
    let wasHidden: Bool
  }

  /// The next page that goes: what nobody can use goes before what the policy chooses.
  private func nextToGo(_ paged: PagedMemory) -> Leaving? {
    if !isForking, let page = hidden.popLast() {
      return Leaving(page: page.address, entry: page.entry, wasHidden: true)
    }
    guard let page = paged.policy.victim(among: self) else { return nil }
    let entry = PageTable.entry(at: page)
    // Whoever touches it from here on waits for this to end.
    PageTable.unmap(root: root, at: page, count: 1)
    return Leaving(page: page, entry: entry, wasHidden: false)
  }

  /// Makes pages free; this address space has to be the current one.
  ///
  /// - Returns: How many.
  func evict(_ count: Int, _ pager: Pager) -> Int {
    guard let paged else { return 0 }
    Exclusive.begin()
    defer { Exclusive.end() }
    var gone = GonePages()
    while gone.count < count {
      var leaving: [Leaving] = []
      let before = gone.count
      while gone.count + leaving.count < count, leaving.count < PageServer.batch, let next = nextToGo(paged) {
        let page = Page(frame: PageTable.frame(of: next.entry))
        if canBeMadeAgain(next.page, page) {
          gone.add(next.page, page, slot: nil)
          pager.countDropped()
        } else {
          PageServer.window(leaving.count).copy(page.bytes)
          leaving.append(next)
        }
      }
      let all = send(leaving, paged, &gone)
      if !all || gone.count == before { break }
    }
    return gone.freed + pager.withdraw(gone.shared, from: self)
  }

  /// Has the pages in the window kept, and puts back those for which there is no room.
  ///
  /// - Returns: Whether there was room for all.
  private func send(_ leaving: [Leaving], _ paged: PagedMemory, _ gone: inout GonePages) -> Bool {
    let kept = leaving.isEmpty ? [] : paged.pager.keep(leaving.count)
    for index in 0..<leaving.count {
      let next = leaving[index]
      if index < kept.count {
        paged.swapped.insert(next.page, kept[index])
        gone.add(next.page, Page(frame: PageTable.frame(of: next.entry)), slot: kept[index])
      } else if next.wasHidden {
        hidden.append(HiddenPage(address: next.page, entry: next.entry))
      } else {
        // Its table is there: nothing was taken from it meanwhile.
        try? PageTable.write(root: root, at: next.page, entry: next.entry & ~4)
      }
    }
    return kept.count == leaving.count
  }

  // MARK: Pages of relatives

  /// Pages that an address space has given up.
  private struct GonePages {
    /// How many came free.
    var freed = 0
    /// Those that relatives still have.
    var shared: [SharedPage] = []
    var count: Int { freed + shared.count }

    /// Ends the address space's reference.
    mutating func add(_ address: UInt64, _ page: Page, slot: UInt32?) {
      if page.referenceCount == 1 {
        freed += 1
      } else {
        shared.append(SharedPage(address: address, frame: page.frame, slot: slot))
      }
      page.release()
    }
  }

  /// Gives up pages that a relative has given up, where they are the same here; this address space has to be the
  /// current one.
  ///
  /// - Returns: How many came free.
  func withdraw(_ pages: [SharedPage]) -> Int {
    guard let paged, !isForking else { return 0 }
    var freed = 0
    for shared in pages where has(shared) {
      let page = Page(frame: shared.frame)
      if let slot = shared.slot {
        guard paged.pager.retain(slot) else { continue }
        paged.swapped.insert(shared.address, slot)
      } else {
        guard canBeMadeAgain(shared.address, page) else { continue }
      }
      if let index = hiddenIndex(of: shared) {
        hidden.remove(at: index)
      } else {
        PageTable.unmap(root: root, at: shared.address, count: 1)
      }
      if page.referenceCount == 1 { freed += 1 }
      page.release()
    }
    return freed
  }

  /// Whether a relative's page is here at the same address, and could go.
  private func has(_ shared: SharedPage) -> Bool {
    guard let index = index(of: shared.address), !regions[index].isShared else { return false }
    let entry = PageTable.entry(at: shared.address)
    if entry == 0 { return hiddenIndex(of: shared) != nil }
    return PageTable.frame(of: entry) == shared.frame && couldGo(shared.address, entry)
  }

  private func hiddenIndex(of shared: SharedPage) -> Int? {
    hidden.firstIndex { $0.address == shared.address && PageTable.frame(of: $0.entry) == shared.frame }
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
