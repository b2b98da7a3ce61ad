// SPDX-License-Identifier: Apache-2.0
// RegularNode.swift: a regular file of the RAM file system: pages, with holes.

import ApusRuntime

/// A regular file, made of pages of the family's pool and of the boot image.
///
/// Page n holds bytes n * 4096 and on. A missing page is a hole and reads as zero. Mappings share the file's
/// own pages, so that what is written here is seen there at once. Bytes of the last page past the end are zero.
public final class RegularNode: Inode {
  /// Pages from the start of the file.
  private var pages: [Page?] = []
  /// Pages far behind the rest, of files with great holes.
  private var distant = SparsePages()
  private var presentCount = 0
  private var byteCount: Int64 = 0
  /// The file's data in the boot image, as far as they are still valid: pages that `pages` does not have.
  private var imageOffset: UInt64 = 0
  private var imagePages = 0

  /// Open files that may write, and programs that run from the file: never both (open(2), ETXTBSY).
  var writerCount = 0
  var programCount = 0

  /// How far apart pages may lie in the array before the sparse list takes them.
  private static var gapLimit: Int { 4096 }

  /// Makes an empty file.
  public init(_ fileSystem: FileSystem, permissions: UInt32, owner: Credentials) {
    super.init(fileSystem, FileMode(.regular, permissions), owner: owner)
  }

  /// Makes a file whose data lie in the boot image.
  public convenience init(
    _ fileSystem: FileSystem, permissions: UInt32, owner: Credentials, imageOffset: UInt64, size: Int64
  ) {
    self.init(fileSystem, permissions: permissions, owner: owner)
    self.imageOffset = imageOffset
    byteCount = size
    imagePages = Int((size + 4095) >> 12)
  }

  deinit {
    for page in pages { page?.release() }
    for (_, page) in distant.entries { page.release() }
  }

  public override var size: Int64 { byteCount }
  public override var pageCount: Int { max(presentCount, imagePages) }
  public override var asRegular: RegularNode? { self }

  public override func open(_ flags: OpenFlags, _ opener: Opener) throws(Errno) -> OpenFile {
    if flags.isWritable && programCount > 0 { throw .ETXTBSY }
    return RegularFile(self, flags)
  }

  public override func openProgram(_ opener: Opener) throws(Errno) -> OpenFile {
    if writerCount > 0 { throw .ETXTBSY }
    return ProgramFile(self)
  }

  /// The page at an index, or nil for a hole; not retained.
  private func present(_ index: Int) -> Page? {
    if index < pages.count, let page = pages[index] { return page }
    if index < imagePages {
      let page = Page.inImage(offset: imageOffset + UInt64(index) << 12)
      put(page, index)
      return page
    }
    return distant.isEmpty ? nil : distant[index]
  }

  /// Enters a page where a hole was.
  private func put(_ page: Page, _ index: Int) {
    presentCount += 1
    if index < pages.count {
      pages[index] = page
    } else if index - pages.count <= Self.gapLimit || index < imagePages {
      while pages.count < index { pages.append(nil) }
      pages.append(page)
    } else {
      distant[index] = page
    }
  }

  /// The page at an index, made if there is none; not retained.
  private func demand(_ index: Int, zeroed: Bool) throws(Errno) -> Page {
    if let page = present(index) { return page }
    // An eighth of the pool is for processes alone: a full file system is an error that programs can handle.
    guard Page.freeCount > Page.totalCount >> 3, let page = Page.allocate(zeroed: zeroed) else { throw .ENOSPC }
    put(page, index)
    return page
  }

  /// The page that holds bytes from `index * 4096` on, for a mapping.
  ///
  /// - Returns: The file's own page, retained.
  /// - Throws: `ENXIO` past the end of the file; `ENOSPC` if a hole could not be filled.
  public func page(at index: Int) throws(Errno) -> Page {
    guard index >= 0, Int64(index) < (byteCount + 4095) >> 12 else { throw .ENXIO }
    let page = try demand(index, zeroed: true)
    page.retain()
    return page
  }

  /// Copies contents out.
  ///
  /// - Returns: How many bytes; 0 at or past the end.
  public func read(_ into: Bytes, at offset: Int64) -> Int {
    guard offset < byteCount else { return 0 }
    let total = Int(min(Int64(into.count), byteCount - offset))
    var done = 0
    while done < total {
      let position = Int(offset) + done
      let inPage = position & 4095
      let span = min(4096 - inPage, total - done)
      if let page = present(position >> 12) {
        into.copy(page.bytes.part(inPage, span), to: done)
      } else {
        into.part(done, span).fill(0)
      }
      done += span
    }
    contentsRead()
    return total
  }

  /// Copies contents in, extending the file.
  ///
  /// - Returns: How many bytes; fewer than given only when space ran out on the way.
  /// - Throws: `ENOSPC` or `EFBIG`, when nothing could be written.
  public func write(_ from: Bytes, at offset: Int64) throws(Errno) -> Int {
    guard from.count > 0 else { return 0 }
    guard offset <= Int64.max - Int64(from.count) else { throw .EFBIG }
    if offset > byteCount { clearTail() }
    var done = 0
    while done < from.count {
      let position = Int(offset) + done
      let inPage = position & 4095
      let span = min(4096 - inPage, from.count - done)
      let page: Page
      do throws(Errno) {
        page = try demand(position >> 12, zeroed: span < 4096)
      } catch {
        if done == 0 { throw error }
        break
      }
      page.bytes.copy(from.part(done, span), to: inPage)
      done += span
    }
    byteCount = max(byteCount, offset + Int64(done))
    contentsChanged()
    return done
  }

  /// Clears what a mapping may have written behind the end of the file.
  private func clearTail() {
    let inPage = Int(byteCount & 4095)
    if inPage != 0, let page = present(Int(byteCount >> 12)) { page.bytes.from(inPage).fill(0) }
  }

  public override func truncate(to size: Int64) throws(Errno) {
    guard size >= 0 else { throw .EINVAL }
    if programCount > 0 { throw .ETXTBSY }
    if size < byteCount {
      let keep = Int((size + 4095) >> 12)
      while pages.count > keep {
        if let page = pages.removeLast() {
          page.release()
          presentCount -= 1
        }
      }
      imagePages = min(imagePages, keep)
      if !distant.isEmpty {
        while let last = distant.entries.last, last.place >= keep {
          last.page.release()
          distant[last.place] = nil
          presentCount -= 1
        }
      }
      byteCount = size
      clearTail()
    } else if size > byteCount {
      clearTail()
      byteCount = size
    }
    contentsChanged()
  }

  /// fallocate(2) without flags: fills holes so that later writes cannot run out of space.
  public func allocate(_ offset: Int64, _ length: Int64, keepSize: Bool) throws(Errno) {
    let (end, overflow) = offset.addingReportingOverflow(length)
    guard !overflow else { throw .EFBIG }
    guard (length >> 12) < Int64(Page.freeCount) else { throw .ENOSPC }
    if !keepSize && end > byteCount { clearTail() }
    var index = Int(offset >> 12)
    while Int64(index) << 12 < end {
      _ = try demand(index, zeroed: true)
      index += 1
    }
    if !keepSize { byteCount = max(byteCount, end) }
    contentsChanged()
  }

  /// fallocate(2) with FALLOC_FL_PUNCH_HOLE: makes a part read as zero, the size stays.
  public func punch(_ offset: Int64, _ length: Int64) {
    let end = min(byteCount, offset.addingReportingOverflow(length).overflow ? byteCount : offset + length)
    var position = offset
    while position < end {
      let inPage = Int(position & 4095)
      let span = min(4096 - inPage, Int(end - position))
      if let page = present(Int(position >> 12)) { page.bytes.part(inPage, span).fill(0) }
      position += Int64(span)
    }
    contentsChanged()
  }

  /// Where the next data or the next hole begins (lseek(2), SEEK_DATA and SEEK_HOLE).
  public func next(data: Bool, from offset: Int64) throws(Errno) -> Int64 {
    guard offset >= 0, offset < byteCount else { throw .ENXIO }
    let end = Int((byteCount + 4095) >> 12)
    var index = Int(offset >> 12)
    // Behind the array, pages are few: look at each rather than at each index.
    let near = max(pages.count, imagePages)
    while index < min(near, end) {
      if (present(index) != nil) == data { return max(offset, Int64(index) << 12) }
      index += 1
    }
    if data {
      var best = Int.max
      for (place, _) in distant.entries where place >= index && place < best { best = place }
      guard best < end else { throw .ENXIO }
      return max(offset, Int64(best) << 12)
    }
    while index < end {
      if distant[index] == nil { return max(offset, Int64(index) << 12) }
      index += 1
    }
    return byteCount
  }
}
