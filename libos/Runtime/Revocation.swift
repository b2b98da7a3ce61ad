// SPDX-License-Identifier: Apache-2.0
// Revocation.swift: what the kernel asks back, as the execution that answers for the family sees it.

import ApusABI
import CRuntime

/// What the kernel asked for.
public struct RevocationRequest {
  /// Frames or slices.
  public let kind: RevocationKind
  /// How many in all.
  public let count: Int
  /// Counter at which the kernel begins to take.
  public let deadline: UInt64
}

extension Execution {
  /// Gives up the CPU until the kernel asks for something, or a deadline in ticks.
  public static func suspendForRevocation(deadline: UInt64) {
    // The word itself is waited for, so that nothing is missed that comes before the wait.
    let word = runtime_word(UInt32(APUS_UA_SELF)) + UInt64(APUS_UA_PENDING)
    let pending = runtime_word(UInt32(APUS_UA_PENDING))
    if pending & UInt64(APUS_PENDING_REVOCATION) == 0 { runtime_suspend(word, pending, deadline, 0) }
    giveUpOwedSlice()
    Exclusive.awaitTurn()
  }

  /// Whether the kernel has asked for something since the last question.
  public static var hasRevocationRequest: Bool {
    runtime_word(UInt32(APUS_UA_PENDING)) & UInt64(APUS_PENDING_REVOCATION) != 0
  }

  /// What the kernel has asked this execution's family for since the last question.
  public static func takeRevocationRequest() -> RevocationRequest? {
    let pending = runtime_word(UInt32(APUS_UA_PENDING))
    guard pending & UInt64(APUS_PENDING_REVOCATION) != 0 else { return nil }
    runtime_set_word(UInt32(APUS_UA_PENDING), pending & ~UInt64(APUS_PENDING_REVOCATION))
    guard let kind = RevocationKind(rawValue: runtime_word(UInt32(APUS_UA_REVOCATION_KIND))) else { return nil }
    return RevocationRequest(
      kind: kind, count: Int(truncatingIfNeeded: runtime_word(UInt32(APUS_UA_REVOCATION_COUNT))),
      deadline: runtime_word(UInt32(APUS_UA_REVOCATION_DEADLINE)))
  }

  /// How many frames the family holds beyond what it may hold at the deadline of what it is asked for.
  ///
  /// - Returns: Negative: so many more it may hold; nil if it is asked for nothing.
  public static var outstandingFrames: Int? {
    let page = Information.page
    guard let handle = current.kernelHandleIfAny, let own = Information.environment(handle: handle) else { return nil }
    // SAFETY: the tables are mapped read-only and as long as the page says; the kernel knows the account.
    let table = unsafe UnsafePointer<apus_revocation>(
      bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(page.revocation_table_offset)
    ).unsafelyUnwrapped
    let accounts = unsafe UnsafePointer<apus_account>(
      bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(page.account_table_offset)
    ).unsafelyUnwrapped
    let used = unsafe Int(accounts[Int(own.account)].frames.used)
    for index in 0..<Int(page.revocation_count) where unsafe table[index].account == own.account {
      let request = unsafe table[index].frames
      return request.deadline == 0 ? nil : used - Int(request.goal)
    }
    return nil
  }

  /// Asks the kernel to ask this family: how a family lends memory for a while, and how its pager is tried.
  ///
  /// - Returns: How many frames will be asked for.
  public static func askOwnFamily(frames: Int, withinNanoseconds nanoseconds: UInt64) -> Int {
    guard let handle = current.kernelHandleIfAny else { return 0 }
    do throws(SystemCallError) {
      return Int(
        try kernelCall(
          .revoke, CapabilitySlot.family, handle, RevocationKind.frames.rawValue, UInt64(frames),
          Clock.ticks(afterNanoseconds: nanoseconds)))
    } catch { return 0 }
  }
}

/// What to do when neither the pool nor the kernel has a page: set by the pager.
public enum PageShortage {
  /// Makes a number of pages free in the running execution's address space; whether any came.
  @safe nonisolated(unsafe) public static var answer: ((Int) -> Bool)?
}
