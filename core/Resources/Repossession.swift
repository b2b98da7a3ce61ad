// SPDX-License-Identifier: Apache-2.0
// Repossession.swift: the abort protocol for frames and slices: what is not given back in time is taken, in bounded
// steps.
//
// A frame that is taken changes hands at once: from then on it belongs to the kernel's own account, under a guard that
// no family's capability reaches, so that nobody maps it again. The mappings that exist, in whichever address space,
// go in one sweep over all page tables for all frames taken; then the frames are free. That is the same machinery
// that collects what a dead account leaves. Page tables and pinned frames are never taken.

import ApusABI
import ApusCapabilities
import CApusABI

/// What a step of taking by force came to.
public struct RepossessionStep: Equatable, Sendable {
  /// Whether all of ring 3's translations have to be invalidated before ring 3 runs again.
  public let needsInvalidation: Bool
  /// Whether frames of the kernel's account are left, which somebody pinned: they go when the pin ends.
  public let leavesHeld: Bool
}

extension FrameLedger {
  /// Breaks the owner's hold on a frame.
  ///
  /// - Returns: False, and nothing changed, if it is no frame of the account's or one that is not taken by force.
  public func repossess(_ number: UInt64, from account: UInt16) -> Bool {
    guard number < UInt64(frames.count) else { return false }
    let frame = UInt32(truncatingIfNeeded: number)
    let record = frames[frame]
    guard record.isOrdinary, record.account == account, record.pins == 0 else { return false }
    frames[frame].account = UInt16(APUS_ACCOUNT_REVOKED)
    accounts.release(.frames, 1, of: account)
    accounts.book(.frames, 1, to: UInt16(APUS_ACCOUNT_REVOKED))
    frames[frame].guard = 0
    frames[frame].guard_length = 8
    return true
  }
}

/// Frames on their way from an account that did not give them back to the free list.
public struct Repossession {
  private enum Phase { case idle, choosing, returning }

  private var phase = Phase.idle
  private var frame: UInt32 = 0
  private var cursor = ReclaimCursor()
  /// The request that is being served.
  public private(set) var due: DueRevocation?

  /// Nothing is on its way.
  public init() {}

  /// Whether there is work left.
  public var isBusy: Bool { phase != .idle }
  /// Whether frames are being chosen; otherwise they are on their way back.
  public var isChoosing: Bool { phase == .choosing }

  /// Begins to choose for a request.
  ///
  /// - Precondition: `isChoosing` is false.
  public mutating func begin(_ due: DueRevocation) {
    precondition(phase != .choosing)
    self.due = due
    frame = 0
    phase = .choosing
  }

  /// Chooses no more: what was taken so far goes its way.
  public mutating func giveUp() {
    guard phase == .choosing else { return }
    phase = .returning
    cursor = .returning
    due = nil
  }

  /// Takes the frames that a list names, as far as they are the account's to lose.
  ///
  /// - Parameters:
  ///   - list: Entries, kind << 56 | number; anything may stand there.
  ///   - count: How many of them to look at.
  ///   - held: How many frames the account holds.
  ///   - ledger: Where frames change hands.
  ///   - note: Is told of each frame taken.
  /// - Returns: How many were taken.
  public func takeListed(
    _ list: some FrameList, count: Int, held: UInt32,
    from ledger: FrameLedger<some FrameStorage, some RecordTable<apus_account>>,
    note: (UInt32) -> Void
  ) -> UInt32 {
    guard let due else { return 0 }
    var taken: UInt32 = 0
    for index in 0..<count {
      if held - taken <= due.allowed { break }
      guard let number = RevocationKind.frames.number(in: list[index]), ledger.repossess(number, from: due.account)
      else { continue }
      note(UInt32(truncatingIfNeeded: number))
      taken += 1
    }
    return taken
  }

  /// Takes frames in the order of their numbers, a bounded number of them at a time.
  ///
  /// When it has enough, or has seen all, `isChoosing` is false.
  ///
  /// - Parameters:
  ///   - held: How many frames the account holds.
  ///   - ledger: Where frames change hands.
  ///   - note: Is told of each frame taken.
  /// - Returns: How many were taken.
  public mutating func takeNext(
    held: UInt32, from ledger: FrameLedger<some FrameStorage, some RecordTable<apus_account>>, note: (UInt32) -> Void
  ) -> UInt32 {
    guard phase == .choosing, let due else { return 0 }
    var budget = Budget()
    var taken: UInt32 = 0
    while held - taken > due.allowed, frame < ledger.frames.count {
      if budget.isSpent { return taken }
      budget.spend(Budget.record)
      if ledger.repossess(UInt64(frame), from: due.account) {
        budget.spend(Budget.note)
        note(frame)
        taken += 1
      }
      frame += 1
    }
    giveUp()
    return taken
  }

  /// Removes mappings of what was taken and puts it on the free list, a bounded piece at a time.
  ///
  /// - Precondition: `isBusy`, and not `isChoosing`.
  public mutating func giveBack<Frames: FrameStorage, Accounts: RecordTable<apus_account>, Memory: TableMemory>(
    to ledger: inout FrameLedger<Frames, Accounts>, tables: PageTables<Frames, Memory>
  ) -> RepossessionStep {
    precondition(phase == .returning)
    let step = ledger.reclaimStep(UInt16(APUS_ACCOUNT_REVOKED), cursor: &cursor, tables: tables)
    var leavesHeld = false
    switch step.progress {
    case .more: break
    case .done: phase = .idle
    case .held:
      phase = .idle
      leavesHeld = true
    }
    return RepossessionStep(needsInvalidation: step.needsInvalidation, leavesHeld: leavesHeld)
  }

  /// How many steps the taking may need at most, whatever the page tables are like.
  public static func stepBound(frameCount: UInt64) -> UInt64 {
    let budget = UInt64(Budget().left)
    let choosing = frameCount * UInt64(Budget.record + Budget.note)
    // Two passes over the frames, and one over the page tables in between.
    let returning = frameCount * UInt64(3 * Budget.record + Budget.free + Budget.clear)
    return (choosing + returning) / budget + 4
  }
}

extension ReclaimCursor {
  /// Begins with giving back: the kernel's own account has no page tables.
  static var returning: ReclaimCursor {
    var cursor = ReclaimCursor()
    cursor.pass = .frames
    return cursor
  }
}

extension Budget {
  /// Breaking an owner's hold on a frame and telling it.
  static var note: Int { 16 }
}

// MARK: Slices

extension Timeline {
  /// Takes a slice away from an account.
  ///
  /// - Returns: False, and nothing changed, if the account does not own it.
  public mutating func repossess(
    _ number: UInt64, from account: UInt16,
    in table: EnvironmentTable<some RecordTable<apus_environment>, some RecordTable<apus_account>>
  ) -> Bool {
    guard number < UInt64(slices.count), let slot = owner(of: UInt32(truncatingIfNeeded: number)),
      table.environments[slot].account == account
    else { return false }
    take(UInt32(truncatingIfNeeded: number), of: slot, in: table)
    return true
  }
}
