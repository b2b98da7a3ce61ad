// SPDX-License-Identifier: Apache-2.0
// Page.swift: the pool of pages as host tests see it: one arena, counts by hand, as on the machine.

import Synchronization

/// The arena's size in pages; the memory behind it is the host's as soon as it is touched.
private let arenaPages = 1 << 16

/// What the pool knows; tests run in parallel, so all of it is behind a lock.
@safe private struct Pool: @unchecked Sendable {
  let base: UnsafeMutableRawPointer
  var counts: [Int32] = []
  var free: [UInt32] = []
  var limit = arenaPages
  var imageBase: UnsafeMutableRawPointer
  var imagePages = 0

  init() {
    unsafe base = UnsafeMutableRawPointer.allocate(byteCount: arenaPages * 4096, alignment: 4096)
    unsafe imageBase = base
  }
}

private let pool = Mutex(Pool())
private let imageBit: UInt32 = 0x8000_0000

/// One page of 4096 bytes, counted by hand.
public struct Page: Equatable, Sendable {
  /// Its number; image pages have the top bit set.
  public let frame: UInt32

  /// The page of a number.
  public init(frame: UInt32) { self.frame = frame }

  /// Takes a page from the pool, with a count of 1.
  public static func allocate(zeroed: Bool) -> Page? {
    let page: Page? = pool.withLock { pool in
      if pool.counts.count - pool.free.count >= pool.limit { return nil }
      if let frame = pool.free.popLast() {
        pool.counts[Int(frame)] = 1
        return Page(frame: frame)
      }
      pool.counts.append(1)
      return Page(frame: UInt32(pool.counts.count - 1))
    }
    // Pages that nobody asked to be clean come dirty, so that tests notice who relies on it.
    page?.bytes.fill(zeroed ? 0 : 0xa5)
    return page
  }

  /// A page of the boot image, retained.
  public static func inImage(offset: UInt64) -> Page { Page(frame: imageBit | UInt32(offset >> 12)) }

  /// Tests: the memory that stands for the boot image; it is never freed.
  public static func setImage(_ bytes: [UInt8]) -> Bytes {
    let size = (bytes.count + 4095) & ~4095
    let memory = unsafe UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 4096)
    let view = unsafe Bytes(base: memory, count: size)
    view.fill(0)
    view.copy(bytes)
    pool.withLock { pool in
      unsafe pool.imageBase = memory
      pool.imagePages = size >> 12
    }
    return view
  }

  /// One more user.
  public func retain() {
    if frame & imageBit != 0 { return }
    pool.withLock { $0.counts[Int(frame)] += 1 }
  }

  /// One user fewer; the last gives the page back.
  public func release() {
    if frame & imageBit != 0 { return }
    pool.withLock { pool in
      precondition(pool.counts[Int(frame)] > 0, "page \(frame) released too often")
      pool.counts[Int(frame)] -= 1
      if pool.counts[Int(frame)] == 0 { pool.free.append(frame) }
    }
  }

  /// How many users it has.
  public var referenceCount: Int { frame & imageBit != 0 ? 1 : pool.withLock { Int($0.counts[Int(frame)]) } }

  /// Its contents.
  public var bytes: Bytes {
    pool.withLock { pool in
      if frame & imageBit != 0 {
        precondition(Int(frame & ~imageBit) < pool.imagePages)
        return unsafe Bytes(base: pool.imageBase + Int(frame & ~imageBit) * 4096, count: 4096)
      }
      return unsafe Bytes(base: pool.base + Int(frame) * 4096, count: 4096)
    }
  }

  /// Pages that are left, and all pages.
  public static var freeCount: Int { pool.withLock { $0.limit - ($0.counts.count - $0.free.count) } }
  /// All pages of the arena.
  public static var totalCount: Int { arenaPages }

  /// Tests: pages in use.
  public static var usedCount: Int { pool.withLock { $0.counts.count - $0.free.count } }
}
