// SPDX-License-Identifier: Apache-2.0
// RingLink.swift: from the stack's frames to the kernel's gather call.

import ApusNet
import ApusRuntime

/// Sends frames through a ring, each by the filter that it mirrors.
final class RingLink: FrameLink {
  private let ring: PacketRing
  private let filters: FilterClaims
  private var pages = TransmitPages()
  /// Frames that no filter of ours allows to be sent, that the kernel refused, or that found no page.
  private(set) var unsent = 0

  init(_ ring: PacketRing, _ filters: FilterClaims) {
    self.ring = ring
    self.filters = filters
  }

  /// The card has taken nothing more: it is not asked again before the next turn.
  private(set) var isStuck = false

  var isFull: Bool {
    if ring.hasRoom { return false }
    if !isStuck { flush() }
    return !ring.hasRoom
  }

  /// Gives the card what is queued.
  func flush() {
    guard ring.isBacklogged else { return }
    let before = ring.sent
    unsent += ring.flush()
    isStuck = ring.isBacklogged && ring.sent == before
  }

  /// A new turn: the card may have room again.
  func begin() { isStuck = false }

  func send(_ head: Span<UInt8>, _ parts: FrameParts) {
    guard let header = ring.nextHeader else {
      unsent += 1
      return
    }
    let count = min(head.count, PacketRing.headerLimit)
    header.copy(head.extracting(0..<count))
    let filter = filters.filter(for: header.part(0, count))
    guard filter != 0 else {
      unsent += 1
      return
    }
    var used = 0
    if count < head.count {
      // What is too long for the kernel to copy goes from a page of ours.
      guard parts.count < FrameParts.limit, pages.isReady(ring), let page = pages.take(ring) else {
        unsent += 1
        return
      }
      page.bytes.copy(head.extracting(count..<head.count))
      ring.setPart(0, place: UInt64(page.frame) << 12, count: head.count - count)
      used = 1
    }
    for index in 0..<parts.count {
      let part = parts[index]
      ring.setPart(used, place: part.place, count: part.count)
      used += 1
    }
    ring.queue(headerCount: count, filter: filter, parts: used)
  }
}
