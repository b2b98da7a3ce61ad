// SPDX-License-Identifier: Apache-2.0
// AddressSpace+Map.swift: mmap, mprotect, mremap, brk and madvise on the regions.

import ApusRuntime
import ApusUnix

extension AddressSpace {
  /// Changes what the application may do with a range that regions cover.
  ///
  /// - Throws: `ENOMEM` when there is a hole in the range.
  func protect(_ start: UInt64, _ end: UInt64, _ protection: Protection) throws(Errno) {
    guard isCovered(start, end) else { throw .ENOMEM }
    split(at: start)
    split(at: end)
    let first = firstIndex(endingAfter: start)
    var index = first
    while index < regions.count, regions[index].start < end {
      let old = regions[index].protection
      regions[index].protection = protection
      if old != protection { try adjustEntries(index, old) }
      index += 1
    }
    // Joining removes the next one: from the top down the indexes below stay right.
    while index >= first {
      joinWithNext(index - 1)
      index -= 1
    }
  }

  private func adjustEntries(_ index: Int, _ old: Protection) throws(Errno) {
    let region = regions[index]
    if region.protection == .none {
      hide(region.start, region.end)
      return
    }
    if old == .none { try show(region) }
    var keep = ~UInt64(0)
    var set: UInt64 = 0
    if !region.protection.contains(.write) { keep &= ~PageTable.writable }
    if region.protection.contains(.execute) {
      keep &= ~PageTable.noExecute
    } else {
      set |= PageTable.noExecute
    }
    // Pages become writable at the first write: only the fault handler knows which are this space's alone.
    var tables = TableWalk(region.start, region.end)
    while let part = tables.next() {
      PageTable.protect(root: root, at: part.start, count: part.pageCount, keep: keep, set: set)
    }
  }

  /// Takes the pages of a range out of the processor's reach; own pages are kept aside.
  private func hide(_ start: UInt64, _ end: UInt64) {
    var tables = TableWalk(start, end)
    while let part = tables.next() {
      var at = part.start
      while at < part.end {
        let entry = PageTable.entry(at: at)
        if entry & PageTable.present != 0 {
          if entry & AddressSpace.owned != 0 {
            hidden.append(HiddenPage(address: at, entry: entry))
          } else {
            Page(frame: PageTable.frame(of: entry)).release()
          }
        }
        at += 4096
      }
      PageTable.unmap(root: root, at: part.start, count: part.pageCount)
    }
  }

  /// Puts the pages that `hide` kept aside back in place.
  private func show(_ region: Region) throws(Errno) {
    var index = hidden.count
    while index > 0 {
      index -= 1
      let page = hidden[index]
      guard page.address >= region.start, page.address < region.end else { continue }
      hidden.remove(at: index)
      let frame = PageTable.frame(of: page.entry)
      let bits = region.entryBits & ~PageTable.writable | AddressSpace.owned
      do throws(OutOfMemory) {
        try write(page.address, UInt64(frame) << 12 | bits, owning: Page(frame: frame))
      } catch {
        throw .ENOMEM
      }
    }
  }

  /// Moves the program break.
  ///
  /// - Returns: The break after the call: unchanged when the request cannot be met (brk(2)).
  func moveBreak(to request: UInt64, limit: UInt64) -> UInt64 {
    guard request >= breakStart, request < AddressSpace.limit, request - breakStart <= limit
    else { return breakEnd }
    let oldPage = (breakEnd + 4095) & ~AddressSpace.pageMask
    let newPage = (request + 4095) & ~AddressSpace.pageMask
    if newPage > oldPage {
      guard isFree(oldPage, newPage + 4096) else { return breakEnd }
      insert(
        Region(
          start: oldPage, end: newPage, protection: .readWrite, isShared: false, growsDown: false,
          source: nil, offset: 0))
    } else if newPage < oldPage {
      unmap(newPage, oldPage)
    }
    breakEnd = request
    return request
  }

  /// Changes the size of a mapping, and its place if that is allowed (mremap(2)).
  func remap(
    _ start: UInt64, oldSize: UInt64, newSize: UInt64, mayMove: Bool, to fixed: UInt64?
  ) throws(Errno) -> UInt64 {
    guard let index = index(of: start) else { throw .EFAULT }
    guard start + oldSize <= regions[index].end else { throw .EFAULT }
    if fixed == nil {
      if newSize <= oldSize {
        if newSize < oldSize { unmap(start + newSize, start + oldSize) }
        return start
      }
      if oldSize > 0, regions[index].end == start + oldSize,
        start + newSize <= AddressSpace.limit, isFree(start + oldSize, start + newSize)
      {
        regions[index].end = start + newSize
        joinWithNext(index)
        return start
      }
      guard mayMove else { throw .ENOMEM }
    }
    let place: UInt64
    if let fixed {
      guard fixed + newSize <= start || fixed >= start + oldSize else { throw .EINVAL }
      unmap(fixed, fixed + newSize)
      if newSize < oldSize { unmap(start + newSize, start + oldSize) }
      place = fixed
    } else {
      place = try self.place(byteCount: newSize)
    }
    let moved = min(oldSize, newSize)
    split(at: start)
    split(at: start + moved)
    guard let source = self.index(of: start) else { throw .EFAULT }
    var region = regions[source]
    region.end = place + newSize
    region.start = place
    try moveEntries(from: start, to: place, byteCount: moved)
    moveAway(from: start, to: place, byteCount: moved)
    if moved > 0 {
      for index in 0..<hidden.count
      where hidden[index].address >= start
        && hidden[index].address < start + moved
      {
        let page = hidden[index]
        hidden[index] = HiddenPage(address: page.address - start + place, entry: page.entry)
      }
      regions.remove(at: source)
    }
    insert(region)
    return place
  }

  private func moveEntries(
    from start: UInt64, to place: UInt64, byteCount: UInt64
  ) throws(Errno) {
    var tables = TableWalk(start, start + byteCount)
    while let part = tables.next() {
      let entries = PageTable.scratch
      var any = false
      for index in 0..<part.pageCount {
        let entry = PageTable.entry(at: part.start + UInt64(index) << 12)
        entries.store(entry, at: index * 8)
        if entry != 0 { any = true }
      }
      if any {
        do throws(OutOfMemory) {
          try PageTable.write(
            root: root, at: place + (part.start - start),
            entries: entries.part(0, part.pageCount * 8))
        } catch {
          // What has moved so far is mapped twice: the new place is given up, the old one stays whole.
          forgetEntries(place, part.start - start)
          throw .ENOMEM
        }
      }
    }
    forgetEntries(start, byteCount)
  }

  /// Empties the entries of a range whose pages are somebody else's concern.
  private func forgetEntries(_ start: UInt64, _ byteCount: UInt64) {
    var tables = TableWalk(start, start + byteCount)
    while let part = tables.next() {
      PageTable.unmap(root: root, at: part.start, count: part.pageCount)
    }
  }

  /// Forgets the contents of a range: anonymous memory is zero again, file pages come anew (MADV_DONTNEED).
  func discard(_ start: UInt64, _ end: UInt64) {
    var index = firstIndex(endingAfter: start)
    while index < regions.count, regions[index].start < end {
      drop(max(start, regions[index].start), min(end, regions[index].end))
      index += 1
    }
  }

  /// How many pages are present.
  func residentPageCount() -> Int {
    var count = 0
    for region in regions {
      var tables = TableWalk(region.start, region.end)
      while let part = tables.next() {
        var at = part.start
        while at < part.end {
          if PageTable.entry(at: at) & PageTable.present != 0 { count += 1 }
          at += 4096
        }
      }
    }
    return count
  }

  /// The text of /proc/self/maps.
  func mapsText() -> [UInt8] {
    var text: [UInt8] = []
    for region in regions {
      text.append(hexadecimal: region.start, digits: 8)
      text.append(0x2d)
      text.append(hexadecimal: region.end, digits: 8)
      text.append(0x20)
      text.append(region.protection.contains(.read) ? 0x72 : 0x2d)
      text.append(region.protection.contains(.write) ? 0x77 : 0x2d)
      text.append(region.protection.contains(.execute) ? 0x78 : 0x2d)
      text.append(region.isShared ? 0x73 : 0x70)
      text.append(0x20)
      text.append(hexadecimal: region.source == nil ? 0 : region.offset, digits: 8)
      text += ascii(region.source == nil ? " 00:00 0 " : " 00:01 1 ")
      if let source = region.source {
        text += ascii("                 ")
        text += source.name
      } else if region.growsDown {
        text += ascii("                         [stack]")
      } else if region.start >= breakStart, region.end <= (breakEnd + 4095) & ~4095,
        region.end > region.start, breakEnd > breakStart
      {
        text += ascii("                         [heap]")
      }
      text.append(0x0a)
    }
    return text
  }
}
