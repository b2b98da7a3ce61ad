// SPDX-License-Identifier: Apache-2.0
// SparsePages.swift: pages far apart in a file, in order of their places.
//
// An array and not a dictionary: Swift's hash tables compute with floating point, which LibOS code must not touch.

import ApusRuntime

/// A few pages at any places of a file.
struct SparsePages {
  /// The pages with their places, in ascending order.
  private(set) var entries: [(place: Int, page: Page)] = []

  var isEmpty: Bool { entries.isEmpty }

  /// The position of the first entry at or behind a place.
  private func position(of place: Int) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].place < place { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// The page at a place.
  ///
  /// - Complexity: O(log n) to read, O(n) to write.
  subscript(place: Int) -> Page? {
    get {
      let at = position(of: place)
      return at < entries.count && entries[at].place == place ? entries[at].page : nil
    }
    set {
      let at = position(of: place)
      let isThere = at < entries.count && entries[at].place == place
      if isThere { entries.remove(at: at) }
      if let newValue { entries.insert((place, newValue), at: at) }
    }
  }
}
