// SPDX-License-Identifier: Apache-2.0
// PageSource.swift: bytes in pages, with running checksums: what segments are cut out of, at any length, for ever.

// Theory of operation. For every 64 bytes of a page the sum of all bytes before them is kept, two bytes for each. The sum
// of any part is the difference of two of these, and at most 63 bytes added at either end. So a segment's checksum costs
// the same whatever its length, and no cut is special: what the peer's MSS, a range or a retransmission asks for.

import ApusNet
import ApusRuntime

/// Bytes that lie in pages of the pool and do not change.
final class PageSource: PayloadSource {
  private let pages: [Page]
  /// Where the bytes begin in the first page; a multiple of 64.
  private let origin: Int
  /// How many bytes there are.
  let count: Int
  /// The sum of everything before each block of 64 bytes.
  private let sums: [UInt16]
  /// The sum of everything.
  let whole: UInt16
  private static var block: Int { 64 }

  /// Bytes in pages, each with a reference that goes with this object.
  init(_ pages: [Page], origin: Int = 0, count: Int) {
    self.pages = pages
    self.origin = origin
    self.count = count
    var sums: [UInt16] = []
    sums.reserveCapacity(count / Self.block + 1)
    var sum = Checksum()
    var at = 0
    while at < count {
      sums.append(sum.folded)
      let part = min(Self.block, count - at)
      Self.view(pages, origin + at, part).withSpan { sum.add($0) }
      at += part
    }
    sums.append(sum.folded)
    self.sums = sums
    whole = sum.folded
  }

  deinit { for page in pages { page.release() } }

  private static func view(_ pages: [Page], _ at: Int, _ count: Int) -> Bytes {
    pages[at >> 12].bytes.part(at & 4095, count)
  }

  /// A copy of bytes, in pages of its own; nil if there is no memory.
  static func copy(_ bytes: [UInt8]) -> PageSource? {
    var pages: [Page] = []
    var at = 0
    while at < bytes.count {
      guard let page = Page.allocate(zeroed: false) else {
        for page in pages { page.release() }
        return nil
      }
      let part = min(4096, bytes.count - at)
      page.bytes.copy(bytes.span.extracting(at..<at + part))
      pages.append(page)
      at += part
    }
    return PageSource(pages, count: bytes.count)
  }

  func sum(_ offset: Int, _ count: Int) -> UInt16 {
    if count == self.count { return whole }
    let end = offset + count
    var first = (offset + Self.block - 1) / Self.block
    let last = end / Self.block
    var sum = Checksum()
    if first > last {
      add(offset, end, to: &sum)
    } else {
      // The difference of two sums is the sum with the complement (RFC 1071, 2).
      sum.add(sums[last])
      sum.add(~sums[first])
      first *= Self.block
      if offset < first { add(offset, first, to: &sum) }
      if last * Self.block < end { add(last * Self.block, end, to: &sum) }
    }
    let folded = sum.folded
    return offset & 1 == 0 ? folded : folded.byteSwapped
  }

  /// Adds bytes of one block; one at an odd place is the low half of a word.
  private func add(_ from: Int, _ end: Int, to sum: inout Checksum) {
    var from = from
    if from & 1 == 1 {
      sum.add(UInt16(Self.view(pages, origin + from, 1)[0]))
      from += 1
    }
    guard from < end else { return }
    Self.view(pages, origin + from, end - from).withSpan { sum.add($0) }
  }

  func run(_ offset: Int, _ count: Int) -> FramePart? {
    let at = origin + offset
    let place = at & 4095
    return FramePart(place: UInt64(pages[at >> 12].frame) << 12 | UInt64(place), count: min(count, 4096 - place))
  }

  func copy(_ offset: Int, _ count: Int, to packet: inout [UInt8]) {
    var at = origin + offset
    let end = at + count
    while at < end {
      let part = min(4096 - at & 4095, end - at)
      packet += Self.view(pages, at, part).array
      at += part
    }
  }
}

/// Pages that small things are put into, one behind the other.
struct PageShelf {
  private var page: Page?
  private var used = 0

  /// Puts bytes on the shelf; nil if there is no memory.
  mutating func put(_ bytes: [UInt8]) -> PageSource? {
    guard bytes.count <= 4096 else { return PageSource.copy(bytes) }
    if page == nil || used + bytes.count > 4096 {
      page?.release()
      page = Page.allocate(zeroed: false)
      used = 0
    }
    guard let page else { return nil }
    page.retain()
    page.bytes.copy(bytes.span, to: used)
    let source = PageSource([page], origin: used, count: bytes.count)
    used = (used + bytes.count + 63) & ~63
    return source
  }
}
