// SPDX-License-Identifier: Apache-2.0
// PageTables+Everywhere.swift: taking all mappings of a frame away, in bounded, restartable steps.

import CApusABI

/// How far one bounded step may go.
///
/// The unit is ten to thirteen instructions, so that a step takes at most 30,000: the call
/// or the search before it belongs to the same path.
struct Budget {
  private(set) var left = 2000

  /// Looking at a frame record.
  static var record: Int { 2 }
  /// Giving a frame back.
  static var free: Int { 4 }
  /// Looking for a frame in a table of 512 entries.
  static var search: Int { 256 }
  /// Emptying a table of 512 entries.
  static var clear: Int { 512 }

  /// Whether nothing more may be begun.
  var isSpent: Bool { left <= 0 }

  mutating func spend(_ cost: Int) { left -= cost }
}

/// What a step of a search achieved.
public enum Search: Equatable, Sendable {
  /// Nothing maps the frame any more.
  case done
  /// Go on from this frame.
  case more(next: UInt32)
  /// All tables were searched, yet mappings exist: they were made behind the search. Begin again.
  case missed
}

/// The result of a step of a search.
public struct SearchStep: Equatable, Sendable {
  /// How far it got.
  public let progress: Search
  /// What the translation caches need now.
  public let maintenance: Maintenance
}

extension PageTables {
  /// Removes mappings of a frame from whichever address spaces have them, a bounded number of tables at a time.
  ///
  /// `cursor` is 0 at first, then what the last step returned.
  ///
  /// - Returns: How far this step got, and what the translation caches need.
  /// - Precondition: `frame` is in the frame table and applications can map it.
  public func unmapEverywhere(_ frame: UInt32, from cursor: UInt32) -> SearchStep {
    precondition(frames[frame].isOrdinary)
    var budget = Budget()
    var removed: UInt64 = 0
    var candidate = cursor
    while frames[frame].mappings > 0 {
      guard candidate < frames.count else {
        return SearchStep(progress: .missed, maintenance: Self.maintenance(after: removed))
      }
      if budget.isSpent {
        return SearchStep(
          progress: .more(next: candidate), maintenance: Self.maintenance(after: removed))
      }
      budget.spend(Budget.record)
      if frames[candidate].type == FrameType.table1 {
        budget.spend(Budget.search)
        removed |= remove(frame, from: candidate)
      }
      candidate += 1
    }
    return SearchStep(progress: .done, maintenance: Self.maintenance(after: removed))
  }

  /// Removes the entries of a level-1 table that name a frame.
  ///
  /// - Returns: The entries, or'ed.
  private func remove(_ frame: UInt32, from table: UInt32) -> UInt64 {
    let wanted = UInt64(frame) << 12 | PageEntry.present
    var union: UInt64 = 0
    for index in 0..<512 {
      let entry = memory.entry(table, index)
      if entry & (PageEntry.frameMask | PageEntry.present) != wanted { continue }
      uncount(entry)
      memory.setEntry(table, index, 0)
      union |= entry
    }
    return union
  }

  /// Removes the entries of a level-1 table that name frames of an account.
  ///
  /// - Returns: Whether a translation may be cached.
  func removeFrames(of account: UInt16, from table: UInt32) -> Bool {
    var union: UInt64 = 0
    for index in 0..<512 {
      let entry = memory.entry(table, index)
      if entry == 0 || frames[PageEntry.frame(of: entry)].account != account { continue }
      uncount(entry)
      memory.setEntry(table, index, 0)
      union |= entry
    }
    return union & PageEntry.accessed != 0
  }

  private static func maintenance(after removed: UInt64) -> Maintenance {
    removed & PageEntry.accessed != 0 ? .everything : .none
  }
}
