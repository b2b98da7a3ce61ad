// SPDX-License-Identifier: Apache-2.0
// DeadlineHeap.swift: which connection has to be looked at when, the earliest first.

/// A binary heap of deadlines.
///
/// An entry is never changed or taken out before its time: a deadline that moved later is found out when the entry comes
/// up. So a connection costs one entry, and one more each time its deadline moves earlier.
struct DeadlineHeap {
  struct Entry {
    var due: Instant
    var handle: TCPHandle
  }

  private var entries: [Entry] = []

  var first: Instant? { entries.first?.due }
  var count: Int { entries.count }

  mutating func insert(_ due: Instant, _ handle: TCPHandle) {
    entries.append(Entry(due: due, handle: handle))
    var child = entries.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard entries[child].due < entries[parent].due else { break }
      entries.swapAt(child, parent)
      child = parent
    }
  }

  /// Takes out the earliest entry if it is due.
  mutating func removeDue(_ now: Instant) -> TCPHandle? {
    guard let earliest = entries.first, earliest.due <= now else { return nil }
    entries.swapAt(0, entries.count - 1)
    entries.removeLast()
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < entries.count && entries[child].due < entries[least].due { least = child }
      guard least != parent else { break }
      entries.swapAt(parent, least)
      parent = least
    }
    return earliest.handle
  }
}
