// SPDX-License-Identifier: Apache-2.0
// Clock.swift: a clock for host tests that moves by a microsecond whenever somebody looks.

import Synchronization

private let looks = Atomic<UInt64>(0)

/// The clocks that a LibOS reads.
public enum Clock {
  /// Nanoseconds since the start.
  public static var ticks: UInt64 { looks.add(1, ordering: .relaxed).newValue * 1000 }
  /// The same.
  public static var monotonicNanoseconds: UInt64 { ticks }
  /// Nanoseconds since 1970; the start lies in 2023.
  public static var realtimeNanoseconds: UInt64 { 1_700_000_000_000_000_000 + ticks }
  /// The tick after a time.
  public static func ticks(afterNanoseconds nanoseconds: UInt64) -> UInt64 {
    let (sum, overflow) = ticks.addingReportingOverflow(nanoseconds)
    return overflow ? .max : sum
  }
}
