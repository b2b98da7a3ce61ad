// SPDX-License-Identifier: Apache-2.0
// Region.swift: one range of an application's memory, and where its pages come from.

import ApusRuntime
import ApusUnix

/// What the application may do with a page; the bits of mmap(2)'s `PROT_*`.
struct Protection: Equatable {
  let rawValue: UInt8
  static var none: Protection { .init(rawValue: 0) }
  static var read: Protection { .init(rawValue: 1) }
  static var write: Protection { .init(rawValue: 2) }
  static var execute: Protection { .init(rawValue: 4) }
  static var readWrite: Protection { .init(rawValue: 3) }

  @inline(__always) func contains(_ other: Protection) -> Bool {
    rawValue & other.rawValue == other.rawValue
  }
}

/// A range of whole pages with one protection and one source.
struct Region {
  /// The first address.
  var start: UInt64
  /// The address after the last.
  var end: UInt64
  var protection: Protection
  /// Writes are seen by everybody who maps the source.
  var isShared: Bool
  /// The region grows downwards when the page below it is touched (a stack).
  var growsDown: Bool
  /// Where pages come from; nil: zeroes.
  var source: PageSource?
  /// Byte offset in the source of `start`.
  var offset: UInt64

  /// How many pages the region spans.
  var pageCount: Int { Int((end - start) >> 12) }

  /// The processor's bits for a page of this region that may be written at once, if the region may.
  var entryBits: UInt64 {
    var bits = PageTable.present
    if protection.contains(.write) { bits |= PageTable.writable }
    if !protection.contains(.execute) { bits |= PageTable.noExecute }
    return bits
  }

  /// Which page of the source lies at an address of the region.
  func sourceIndex(of address: UInt64) -> Int { Int((offset + (address - start)) >> 12) }

  /// Whether `other`, which begins where this one ends, continues it.
  func isContinued(by other: Region) -> Bool {
    guard end == other.start, protection == other.protection, isShared == other.isShared,
      growsDown == other.growsDown, source === other.source
    else { return false }
    return source == nil || offset + (end - start) == other.offset
  }
}

/// Something that owns pages which can be mapped.
class PageSource {
  /// How many pages there are at present.
  var pageCount: Int { 0 }
  /// What /proc/self/maps calls it.
  var name: [UInt8] { [] }

  /// A page, with a reference for the caller.
  ///
  /// - Throws: `EFAULT` beyond the end (the application gets SIGBUS), `ENOMEM`.
  func page(at index: Int) throws(Errno) -> Page { throw .EFAULT }
}

/// The pages of a file.
final class FileSource: PageSource {
  let file: OpenFile
  private let path: [UInt8]

  init(_ file: OpenFile, name: [UInt8]) {
    self.file = file
    path = name
  }

  override var pageCount: Int { Int((max(0, file.node.size) &+ 4095) >> 12) }
  override var name: [UInt8] { path }

  override func page(at index: Int) throws(Errno) -> Page {
    do throws(Errno) {
      return try file.page(at: index)
    } catch {
      throw error == .ENOSPC || error == .ENOMEM ? .ENOMEM : .EFAULT
    }
  }
}

/// Memory shared by a process and the children that it forks: pages appear when they are touched first.
final class SharedMemory: PageSource {
  private var frames: [UInt32]

  /// Memory without pages.
  ///
  /// - Throws: `ENOMEM` for more than the machine could ever hold: the table of pages is the LibOS's own memory.
  init(pageCount: Int) throws(Errno) {
    guard pageCount <= Page.totalCount * 2 else { throw .ENOMEM }
    frames = [UInt32](repeating: 0, count: pageCount)
  }

  deinit {
    for frame in frames where frame != 0 { Page(frame: frame).release() }
  }

  override var pageCount: Int { frames.count }
  override var name: [UInt8] { ascii("/dev/zero (deleted)") }

  override func page(at index: Int) throws(Errno) -> Page {
    guard index < frames.count else { throw .EFAULT }
    if frames[index] == 0 {
      guard let fresh = AddressSpace.takePage(zeroed: true) else { throw .ENOMEM }
      frames[index] = fresh.frame
    }
    let page = Page(frame: frames[index])
    page.retain()
    return page
  }
}
