// SPDX-License-Identifier: Apache-2.0
// Exclusive.swift: one execution has the LibOS for itself although it waits.
//
// LibOS code of a family runs on one CPU and gives it up only at chosen places, so between two of them it needs no
// lock. Paging waits for another family in places that nobody chose: a page that a call looks at may have to come
// from the page server first. While it waits, no other execution of the family runs LibOS code: it is stopped where
// it enters or where its own wait ends. So the holder never finds that somebody else began before it.

import CRuntime

/// The right to run LibOS code alone.
public enum Exclusive {
  @safe nonisolated(unsafe) private static var holder: Execution?
  @safe nonisolated(unsafe) private static var depth = 0

  /// Whether nobody waits inside of the LibOS for what others must not see half done.
  @inline(__always) public static var isFree: Bool { holder == nil }

  /// Begins; may be nested.
  public static func begin() {
    holder = Execution.current
    depth += 1
  }

  /// Lets another execution go on with it, or gets it back.
  public static func hand(to execution: Execution) { holder = execution }

  /// Ends what `begin` began.
  public static func end() {
    depth -= 1
    if depth == 0 { holder = nil }
  }

  /// Waits until nobody else has the LibOS for itself; called where LibOS code begins or goes on.
  @inline(__always) public static func awaitTurn() {
    if holder == nil { return }
    awaitHolder()
  }

  @inline(never) private static func awaitHolder() {
    while let holder, holder !== Execution.current { holder.giveSlice() }
  }
}
