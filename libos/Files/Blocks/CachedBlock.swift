// SPDX-License-Identifier: Apache-2.0
// CachedBlock.swift: a block of a disk in a page of memory.

import ApusRuntime

/// A block in memory; whoever holds the object holds the page.
public final class CachedBlock {
  /// Its number on the device, in units of the cache's blocks.
  public let number: UInt64
  /// The contents.
  public let bytes: Bytes
  private let page: Page
  /// The cache's slot; -1: not in a cache any more.
  var slot = -1
  /// A read that is under way.
  var loading: BlockTransfer?
  /// Whether memory is newer than the device.
  public internal(set) var isChanged = false
  /// How its changes wait for the file system's order; 0: it may be written at any time, since nothing on the device
  /// points to it, or it holds a file's contents.
  public internal(set) var order: UInt8 = 0
  /// The commit since which the device has a use for the block; it is not reachable there before that one.
  var reachableSince = -1

  init?(_ number: UInt64, byteCount: Int) {
    guard let page = Page.allocate(zeroed: false) else { return nil }
    self.number = number
    self.page = page
    bytes = page.bytes.part(0, byteCount)
  }

  deinit { page.release() }
}
