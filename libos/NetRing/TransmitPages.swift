// SPDX-License-Identifier: Apache-2.0
// TransmitPages.swift: pages that parts of frames are sent from, used again in turn.

import ApusRuntime

/// Pages in the order in which they were used.
///
/// The card takes packets in order; one that overtook another would at worst send what its checksum gives away.
struct TransmitPages {
  private var pages: [(page: Page, number: UInt64)] = []
  private var next = 0
  /// As many as there can be packets at the card and in the queue.
  private static var limit: Int { 96 }

  /// Whether there is a page to write to.
  mutating func isReady(_ ring: PacketRing) -> Bool {
    if !pages.isEmpty, isDone(pages[next].number, ring) { return true }
    guard pages.count < Self.limit, let page = Page.allocate(zeroed: false) else { return false }
    pages.insert((page, 0), at: next)
    return true
  }

  /// The page that `isReady` told of, for the packet that is queued next.
  mutating func take(_ ring: PacketRing) -> Page? {
    guard !pages.isEmpty else { return nil }
    let page = pages[next].page
    pages[next].number = ring.nextNumber + 1
    next = next + 1 == pages.count ? 0 : next + 1
    return page
  }

  /// Whether the card is done with a packet; numbers that were never reached are those of packets that were refused.
  private func isDone(_ number: UInt64, _ ring: PacketRing) -> Bool {
    let transmitted = ring.transmitted
    return transmitted >= number || transmitted == ring.sent && !ring.isBacklogged
  }
}
