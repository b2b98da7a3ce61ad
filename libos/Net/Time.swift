// SPDX-License-Identifier: Apache-2.0
// Time.swift: instants and spans of time, which whoever runs the stack passes in.

/// A length of time.
public struct TimeSpan: Comparable, Sendable {
  /// How long, in nanoseconds; may be negative.
  public var nanoseconds: Int64

  /// A length of time in nanoseconds.
  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  /// No time.
  public static let zero = TimeSpan(nanoseconds: 0)
  /// A length of time in microseconds.
  public static func microseconds(_ count: Int64) -> TimeSpan { TimeSpan(nanoseconds: count * 1000) }
  /// A length of time in milliseconds.
  public static func milliseconds(_ count: Int64) -> TimeSpan { TimeSpan(nanoseconds: count * 1_000_000) }
  /// A length of time in seconds.
  public static func seconds(_ count: Int64) -> TimeSpan { TimeSpan(nanoseconds: count * 1_000_000_000) }

  /// Whole milliseconds in it.
  public var wholeMilliseconds: Int64 { nanoseconds / 1_000_000 }

  /// Whether one is shorter than the other.
  public static func < (left: TimeSpan, right: TimeSpan) -> Bool { left.nanoseconds < right.nanoseconds }
  /// The sum.
  public static func + (left: TimeSpan, right: TimeSpan) -> TimeSpan {
    TimeSpan(nanoseconds: left.nanoseconds + right.nanoseconds)
  }
  /// A multiple.
  public static func * (left: TimeSpan, right: Int64) -> TimeSpan {
    TimeSpan(nanoseconds: left.nanoseconds * right)
  }
  /// A part.
  public static func / (left: TimeSpan, right: Int64) -> TimeSpan {
    TimeSpan(nanoseconds: left.nanoseconds / right)
  }
}

/// A point in time by a clock that never goes back; its zero is the caller's choice.
public struct Instant: Comparable, Sendable {
  /// Nanoseconds since the clock's zero.
  public var nanoseconds: Int64

  /// The instant so many nanoseconds after the clock's zero.
  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  /// The clock's zero.
  public static let zero = Instant(nanoseconds: 0)

  /// Whole milliseconds since the clock's zero.
  public var wholeMilliseconds: Int64 { nanoseconds / 1_000_000 }

  /// Whether one is before the other.
  public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }
  /// A later instant.
  public static func + (left: Instant, right: TimeSpan) -> Instant {
    Instant(nanoseconds: left.nanoseconds + right.nanoseconds)
  }
  /// An earlier instant.
  public static func - (left: Instant, right: TimeSpan) -> Instant {
    Instant(nanoseconds: left.nanoseconds - right.nanoseconds)
  }
  /// What lies between two instants.
  public static func - (left: Instant, right: Instant) -> TimeSpan {
    TimeSpan(nanoseconds: left.nanoseconds - right.nanoseconds)
  }
}

/// The earlier of two deadlines, of which either may not be set.
func earlier(_ left: Instant?, _ right: Instant?) -> Instant? {
  guard let left else { return right }
  guard let right else { return left }
  return min(left, right)
}
