// SPDX-License-Identifier: Apache-2.0
// FrameLedger+Reclaim.swift: everything that a dead account held comes back, in bounded, restartable steps.
//
// Three passes over the frame table. The first empties the account's page tables, which leaves each without
// links, as a table is only linked by tables of its own account. The second gives back every frame that nothing
// uses. If frames are left that other accounts map, a third pass takes those mappings away by force, for all
// frames at once, and the second is repeated. What is pinned (a device may still reach it) stays charged to the
// account until the pin ends: the kernel tries again then.

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
  /// Emptying a table of 512 entries.
  static var clear: Int { 512 }
  /// The same of this table: one behind a large page is gone through three times.
  static func clear(_ table: apus_frame) -> Int { table.pins == 0 ? clear : 3 * clear }

  /// Whether nothing more may be begun.
  var isSpent: Bool { left <= 0 }

  mutating func spend(_ cost: Int) { left -= cost }
}

/// How far the reclaiming of an account has come.
public struct ReclaimCursor: Equatable, Sendable {
  enum Pass: UInt8 { case tables, frames, mappings }

  var pass = Pass.tables
  var frame: UInt32 = 0
  /// Frames of the account that this second pass found mapped, and those that it found pinned or retained.
  var mapped: UInt32 = 0
  var held: UInt32 = 0

  /// Begins at the beginning.
  public init() {}
}

/// The result of a step.
public enum ReclaimProgress: Equatable, Sendable {
  /// There is more to do: call again with the same cursor.
  case more
  /// Every frame of the account is free.
  case done
  /// So many frames are pinned, or are roots that an environment still uses. Calling again tries them again.
  case held(UInt32)
}

/// The result of a step of reclaiming.
public struct ReclaimStep: Equatable, Sendable {
  /// How far it got.
  public let progress: ReclaimProgress
  /// Whether all of ring 3's translations have to be invalidated before ring 3 runs again.
  public let needsInvalidation: Bool
}

extension FrameLedger {
  /// Takes one bounded step in freeing all frames that are charged to an account.
  ///
  /// - Precondition: No environment of the account can run, and none is made until the last step.
  public mutating func reclaimStep<Memory: TableMemory>(
    _ account: UInt16, cursor: inout ReclaimCursor, tables: PageTables<Frames, Memory>
  ) -> ReclaimStep {
    var budget = Budget()
    var isCached = false
    let count = frames.count
    while !budget.isSpent {
      if cursor.frame == count {
        if let progress = finishPass(&cursor) {
          return ReclaimStep(progress: progress, needsInvalidation: isCached)
        }
        continue
      }
      budget.spend(Budget.record)
      let frame = cursor.frame
      cursor.frame += 1
      let record = frames[frame]
      switch cursor.pass {
      case .tables:
        guard record.account == account, record.isTable else { continue }
        budget.spend(Budget.clear(record))
        if empty(frame, type: record.type, tables: tables) { isCached = true }
      case .frames:
        guard record.account == account, record.isTable || record.isOrdinary else { continue }
        if record.isUnused {
          // A root keeps the kernel half until here.
          if record.type == FrameType.table4 { tables.memory.zero(frame: frame) }
          putBack(frame)
          budget.spend(Budget.free)
        } else if record.pins != 0 || record.isTable {
          cursor.held += 1
        } else {
          cursor.mapped += 1
        }
      case .mappings:
        guard record.type == FrameType.table1 else { continue }
        budget.spend(Budget.clear(record))
        if tables.unmapAll(frame, of: account) { isCached = true }
      }
    }
    return ReclaimStep(progress: .more, needsInvalidation: isCached)
  }

  /// Empties a table; a root that is still in use keeps its tables.
  private func empty<Memory: TableMemory>(
    _ table: UInt32, type: UInt8, tables: PageTables<Frames, Memory>
  ) -> Bool {
    if type == FrameType.table1 { return tables.unmapAll(table) }
    let isRoot = type == FrameType.table4
    if isRoot && frames[table].mappings > 0 { return false }
    return tables.unlinkAll(table, isRoot: isRoot)
  }

  /// Chooses what follows a pass.
  ///
  /// - Returns: Nothing while there is another pass to make.
  private func finishPass(_ cursor: inout ReclaimCursor) -> ReclaimProgress? {
    let finished = cursor
    cursor = ReclaimCursor()
    switch finished.pass {
    case .tables, .mappings:
      cursor.pass = .frames
      return nil
    case .frames:
      if finished.mapped > 0 {
        cursor.pass = .mappings
        return nil
      }
      return finished.held > 0 ? .held(finished.held) : .done
    }
  }
}
