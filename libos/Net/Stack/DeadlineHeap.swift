// SPDX-License-Identifier: Apache-2.0
// DeadlineHeap.swift: which connection has to be looked at when, the earliest first.

/// A binary heap of deadlines, one for each slot at most.
///
/// A deadline that moves later stays where it is and is found out when it comes up: most of them move later with every
/// acknowledgement, and that costs nothing.
struct DeadlineHeap {
  private var entries: [(due: Instant, slot: Int)] = []
  /// Where a slot's entry is, or -1.
  private var positions: [Int] = []

  var first: Instant? { entries.first?.due }
  var count: Int { entries.count }

  /// Has a slot come up at `due`, or before.
  mutating func set(_ slot: Int, _ due: Instant) {
    while positions.count <= slot { positions.append(-1) }
    let position = positions[slot]
    if position >= 0 {
      guard due < entries[position].due else { return }
      entries[position].due = due
      rise(position)
    } else {
      entries.append((due, slot))
      positions[slot] = entries.count - 1
      rise(entries.count - 1)
    }
  }

  /// Takes out the earliest entry if it is due.
  ///
  /// - Returns: Its slot.
  mutating func removeDue(_ now: Instant) -> Int? {
    guard let earliest = entries.first, earliest.due <= now else { return nil }
    swap(0, entries.count - 1)
    entries.removeLast()
    positions[earliest.slot] = -1
    sink(0)
    return earliest.slot
  }

  private mutating func swap(_ left: Int, _ right: Int) {
    guard left != right else { return }
    entries.swapAt(left, right)
    positions[entries[left].slot] = left
    positions[entries[right].slot] = right
  }

  private mutating func rise(_ start: Int) {
    var child = start
    while child > 0, entries[child].due < entries[(child - 1) / 2].due {
      swap(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  private mutating func sink(_ start: Int) {
    var parent = start
    while true {
      var least = parent
      for child in 2 * parent + 1...2 * parent + 2
      where child < entries.count && entries[child].due < entries[least].due { least = child }
      guard least != parent else { return }
      swap(least, parent)
      parent = least
    }
  }
}
