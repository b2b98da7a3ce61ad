// SPDX-License-Identifier: Apache-2.0
// WaitQueue.swift: who is to be told when something becomes possible, and what "possible" can be.

/// Somebody who can be told that it is worth trying again.
public protocol Waiter: AnyObject {
  /// Called once for each wake-up; the waiter looks again for itself.
  func wake()
}

/// The waiters of one event, such as "the pipe has bytes".
///
/// Nothing in this module waits: a call that cannot go on throws `EAGAIN`, and the layer above adds its task
/// to the queue, gives up the processor and calls again. A waiter stays in the queue until it removes itself.
public final class WaitQueue {
  private var waiters: [any Waiter] = []

  /// Makes a queue without waiters.
  public init() {}

  /// Whether nobody waits.
  public var isEmpty: Bool { waiters.isEmpty }

  /// Adds a waiter at the end.
  public func add(_ waiter: any Waiter) { waiters.append(waiter) }

  /// Takes a waiter out, if it is there.
  public func remove(_ waiter: any Waiter) {
    var index = waiters.count
    while index > 0 {
      index -= 1
      if waiters[index] === waiter {
        waiters.remove(at: index)
        return
      }
    }
  }

  /// Tells every waiter.
  public func wakeAll() {
    // By index, from the end: a waiter may remove itself while it is told.
    var index = waiters.count
    while index > 0 {
      index -= 1
      if index < waiters.count { waiters[index].wake() }
    }
  }

  /// Tells the waiter that has waited longest.
  public func wakeOne() {
    if !waiters.isEmpty { waiters[0].wake() }
  }
}

/// What an open file is ready for, with the values of poll(2).
public struct PollEvents: Equatable {
  /// The bits.
  public var rawValue: UInt16

  /// Makes a set from its bits.
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// Nothing.
  public static var none: PollEvents { .init(rawValue: 0) }
  /// A read would not wait: POLLIN | POLLRDNORM.
  public static var readable: PollEvents { .init(rawValue: 0x041) }
  /// POLLPRI.
  public static var priority: PollEvents { .init(rawValue: 0x002) }
  /// A write would not wait: POLLOUT | POLLWRNORM.
  public static var writable: PollEvents { .init(rawValue: 0x104) }
  /// POLLERR.
  public static var error: PollEvents { .init(rawValue: 0x008) }
  /// The other side is gone: POLLHUP.
  public static var hangup: PollEvents { .init(rawValue: 0x010) }
  /// The other side sends no more: POLLRDHUP.
  public static var peerFinished: PollEvents { .init(rawValue: 0x2000) }
  /// The descriptor is not open: POLLNVAL.
  public static var invalid: PollEvents { .init(rawValue: 0x020) }

  /// Whether the two share a bit.
  public func intersects(_ other: PollEvents) -> Bool { rawValue & other.rawValue != 0 }
  /// Both together.
  public func union(_ other: PollEvents) -> PollEvents { .init(rawValue: rawValue | other.rawValue) }
  /// What both have.
  public func intersection(_ other: PollEvents) -> PollEvents { .init(rawValue: rawValue & other.rawValue) }
}
