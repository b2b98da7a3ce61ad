// SPDX-License-Identifier: Apache-2.0
// AddressSpace+Fault.swift: bringing pages in when they are touched, and copying them when they are written.

import ApusRuntime
import ApusUnix

/// What an application tried to do with memory.
enum MemoryAccess {
  case read
  case write
  case execute

  var needed: Protection {
    switch self {
    case .read: .read
    case .write: .write
    case .execute: .execute
    }
  }
}

/// What became of a page fault.
enum FaultOutcome {
  /// The access will succeed now.
  case resolved
  /// Nothing is mapped there (SEGV_MAPERR).
  case unmapped
  /// The region forbids it (SEGV_ACCERR).
  case forbidden
  /// It is the LibOS's own, and guarded (SEGV_PKUERR).
  case guarded
  /// The page lies beyond the end of its file (BUS_ADRERR).
  case beyondFile
  /// The family has no page left.
  case outOfMemory
}

extension AddressSpace {
  /// How many pages of a file are mapped at one fault.
  private static var fileWindow: UInt64 { 16 << 12 }
  /// How many fresh pages a sequential touch brings, at first and at most, and how many must be free for it.
  static var freshRun: Int { 4 }
  private static var freshRunLimit: Int { 16 }
  private static var freshReserve: Int { 256 }

  /// Makes an access possible, if the regions allow it.
  func fault(at address: UInt64, _ access: MemoryAccess) -> FaultOutcome {
    guard address < AddressSpace.limit else { return .unmapped }
    let page = address & ~AddressSpace.pageMask
    guard let index = index(of: address) ?? stackGrown(to: page) else { return .unmapped }
    let protection = regions[index].protection
    if !protection.contains(access.needed) {
      // Whatever may be written or executed may be read on x86.
      guard access == .read, protection != .none else { return .forbidden }
    }
    // Making room for it must not take the page itself.
    if let paged { paged.pager.promise(page, page + 4096) }
    let entry = PageTable.entry(at: page)
    do {
      if entry & PageTable.present == 0 {
        return try bringIn(page, index, access)
      }
      if access == .write, entry & PageTable.writable == 0 {
        return try makeWritable(page, index, entry)
      }
      return .resolved
    } catch {
      return .outOfMemory
    }
  }

  /// Extends a stack region down to a page, if one may grow so far.
  private func stackGrown(to page: UInt64) -> Int? {
    let index = firstIndex(endingAfter: page)
    guard index < regions.count, regions[index].growsDown, page >= AddressSpace.lowest,
      regions[index].end - page <= stackLimit
    else { return nil }
    // One page below the stack stays free, as a guard against running into another mapping.
    guard index == 0 || regions[index - 1].end + 4096 <= page else { return nil }
    regions[index].start = page
    return index
  }

  private func bringIn(
    _ page: UInt64, _ index: Int, _ access: MemoryAccess
  ) throws(OutOfMemory) -> FaultOutcome {
    if hasPagesAway, let outcome = try bringBack(page, index) { return outcome }
    guard regions[index].source != nil else {
      try bringFresh(page, index)
      return .resolved
    }
    do throws(Errno) {
      if regions[index].isShared || access != .write {
        try bringFromSource(page, index)
      } else {
        try bringCopy(page, index)
      }
      return .resolved
    } catch {
      if error == .ENOMEM { throw OutOfMemory() }
      return .beyondFile
    }
  }

  /// Maps a zeroed page, and a few more when the application walks upwards: the longer it does, the more.
  private func bringFresh(_ page: UInt64, _ index: Int) throws(OutOfMemory) {
    let bits = regions[index].entryBits | AddressSpace.owned
    var count = 1
    if page & 0x1f_ffff != 0, page > regions[index].start,
      PageTable.entry(at: page - 4096) & PageTable.present != 0,
      Page.freeCount > AddressSpace.freshReserve, !hasPagesAway
    {
      freshRun = page == freshEnd ? min(freshRun * 2, AddressSpace.freshRunLimit) : AddressSpace.freshRun
      let table = PageTable.table(at: page)
      let base = page & ~0x1f_ffff
      let end = min(
        regions[index].end, base + 0x20_0000, page + UInt64(freshRun) << 12)
      while page + UInt64(count) << 12 < end,
        table.load(Int((page - base) >> 12) * 8 + count * 8, as: UInt64.self) == 0
      {
        count += 1
      }
      freshEnd = page + UInt64(count) << 12
    }
    guard let first = AddressSpace.takePage(zeroed: true) else { throw OutOfMemory() }
    if paged != nil { for offset in 0..<count { noteBrought(page + UInt64(offset) << 12) } }
    let entry = UInt64(first.frame) << 12 | bits
    if count == 1 {
      try write(page, entry, owning: first)
      return
    }
    let entries = PageTable.scratch
    entries.store(entry, at: 0)
    var made = 1
    while made < count, let next = AddressSpace.takePage(zeroed: true) {
      entries.store(UInt64(next.frame) << 12 | bits, at: made * 8)
      made += 1
    }
    try write(page, entries, made)
  }

  /// Maps pages of the source: the one that was touched and its neighbours in the same window.
  private func bringFromSource(_ page: UInt64, _ index: Int) throws(Errno) {
    let region = regions[index]
    guard let source = region.source else { return }
    var bits = region.entryBits
    if !region.isShared { bits &= ~PageTable.writable }
    let first = try source.page(at: region.sourceIndex(of: page))
    let window = page & ~(AddressSpace.fileWindow - 1)
    var low = page
    var high = page + 4096
    let limit = min(
      region.end, window + AddressSpace.fileWindow,
      region.start + UInt64(max(0, source.pageCount - region.sourceIndex(of: region.start))) << 12)
    // A neighbour that is away must not be taken for one that was never there.
    let alone = hasPagesAway
    while !alone, low > max(window, region.start), PageTable.entry(at: low - 4096) == 0 { low -= 4096 }
    while !alone, high < limit, PageTable.entry(at: high) == 0 { high += 4096 }
    let entries = PageTable.scratch
    var count = 0
    var at = low
    while at < high {
      let neighbour: Page
      if at == page {
        neighbour = first
      } else {
        // A neighbour that is not to be had ends the run after the page, or begins it anew before.
        do throws(Errno) {
          neighbour = try source.page(at: region.sourceIndex(of: at))
        } catch {
          if at > page { break }
          releaseEntries(entries, count)
          count = 0
          low = at + 4096
          at = low
          continue
        }
      }
      entries.store(UInt64(neighbour.frame) << 12 | bits, at: count * 8)
      count += 1
      at += 4096
    }
    do throws(OutOfMemory) {
      try write(low, entries, count)
    } catch {
      throw .ENOMEM
    }
  }

  /// Maps a private copy of a page of the source.
  private func bringCopy(_ page: UInt64, _ index: Int) throws(Errno) {
    guard let source = regions[index].source else { return }
    let original = try source.page(at: regions[index].sourceIndex(of: page))
    defer { original.release() }
    guard let copy = AddressSpace.takePage(zeroed: false) else { throw .ENOMEM }
    copy.bytes.copy(original.bytes)
    noteBrought(page)
    do throws(OutOfMemory) {
      try write(
        page, UInt64(copy.frame) << 12 | regions[index].entryBits | AddressSpace.owned,
        owning: copy)
    } catch {
      throw .ENOMEM
    }
  }

  /// Lets a present page be written: in place if nobody else has it, else as a copy.
  private func makeWritable(
    _ page: UInt64, _ index: Int, _ entry: UInt64
  ) throws(OutOfMemory) -> FaultOutcome {
    let original = Page(frame: PageTable.frame(of: entry))
    let isOwn = entry & AddressSpace.owned != 0 && original.referenceCount == 1
    if isOwn || regions[index].isShared {
      PageTable.protect(root: root, at: page, count: 1, keep: ~0, set: PageTable.writable)
      return .resolved
    }
    guard let copy = AddressSpace.takePage(zeroed: false) else { throw OutOfMemory() }
    copy.bytes.copy(original.bytes)
    noteBrought(page)
    try write(
      page, UInt64(copy.frame) << 12 | regions[index].entryBits | AddressSpace.owned, owning: copy)
    original.release()
    return .resolved
  }

  /// Writes one entry; without a page table for it, the page goes back.
  func write(_ address: UInt64, _ entry: UInt64, owning page: Page) throws(OutOfMemory) {
    do throws(OutOfMemory) {
      try PageTable.write(root: root, at: address, entry: entry)
    } catch {
      page.release()
      throw error
    }
  }

  /// Writes the first `count` of `entries`; without page tables for them, their pages go back.
  func write(_ address: UInt64, _ entries: Bytes, _ count: Int) throws(OutOfMemory) {
    do throws(OutOfMemory) {
      try PageTable.write(root: root, at: address, entries: entries.part(0, count * 8))
    } catch {
      releaseEntries(entries, count)
      throw error
    }
  }

  private func releaseEntries(_ entries: Bytes, _ count: Int) {
    for index in 0..<count {
      let entry = entries.load(index * 8, as: UInt64.self)
      if entry & PageTable.present != 0 { Page(frame: PageTable.frame(of: entry)).release() }
    }
  }

  // MARK: For the LibOS's own accesses

  /// Makes a range readable, or writable, for the LibOS.
  ///
  /// - Throws: `EFAULT` when the application itself could not access it, `ENOMEM`.
  @inline(__always) func ensure(_ start: UInt64, count: Int, write: Bool) throws(Errno) {
    guard start < AddressSpace.limit, UInt64(bitPattern: Int64(count)) <= AddressSpace.limit - start
    else { throw .EFAULT }
    if let paged { paged.pager.promise(start, start + UInt64(count)) }
    let needed = write ? PageTable.present | PageTable.writable : PageTable.present
    var page = start & ~AddressSpace.pageMask
    let end = start + UInt64(count)
    while page < end {
      if PageTable.entry(at: page) & needed != needed {
        try ensureByFault(max(page, start), write: write)
      }
      page += 4096
    }
  }

  private func ensureByFault(_ address: UInt64, write: Bool) throws(Errno) {
    switch fault(at: address, write ? .write : .read) {
    case .resolved: return
    case .outOfMemory: throw .ENOMEM
    case .unmapped, .forbidden, .guarded, .beyondFile: throw .EFAULT
    }
  }
}
