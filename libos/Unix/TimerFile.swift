// SPDX-License-Identifier: Apache-2.0
// TimerFile.swift: timers that can be read and waited for like files (timerfd_create(2)).

import ApusRuntime

/// An open timer.
public final class TimerFile: OpenFile {
  /// Whether it counts by the wall clock.
  public let isRealtime: Bool
  /// The next expiration in nanoseconds of its clock; 0: the timer is off.
  private var next: UInt64 = 0
  private var interval: UInt64 = 0
  private let queue = WaitQueue()

  private init(_ node: Inode, isRealtime: Bool, _ flags: OpenFlags) {
    self.isRealtime = isRealtime
    super.init(node, flags)
  }

  /// Makes a timer that is off.
  public static func make(_ fileSystem: FileSystem, isRealtime: Bool, _ flags: OpenFlags) -> TimerFile {
    let node = Inode(fileSystem, FileMode(.regular, 0o600), owner: Credentials())
    node.linkCount = 1
    return TimerFile(node, isRealtime: isRealtime, flags)
  }

  private var now: UInt64 { isRealtime ? Clock.realtimeNanoseconds : Clock.monotonicNanoseconds }

  /// What is left until the next expiration, and the interval, in nanoseconds.
  public var setting: (rest: UInt64, interval: UInt64) {
    if next == 0 { return (0, interval) }
    let now = now
    if next > now { return (next - now, interval) }
    if interval == 0 { return (0, 0) }
    return (interval - (now - next) % interval, interval)
  }

  /// Starts or stops the timer.
  ///
  /// - Parameters:
  ///   - value: When it expires first, in nanoseconds; 0: never.
  ///   - interval: How often from then on; 0: once.
  ///   - isAbsolute: Whether `value` is an instant and not a time from now on.
  public func set(_ value: UInt64, interval: UInt64, isAbsolute: Bool) {
    self.interval = interval
    if value == 0 {
      next = 0
    } else if isAbsolute {
      next = value
    } else {
      let (sum, overflow) = now.addingReportingOverflow(value)
      next = overflow ? .max : sum
    }
    queue.wakeAll()
  }

  private var expirations: UInt64 {
    let now = now
    if next == 0 || next > now { return 0 }
    return interval == 0 ? 1 : 1 + (now - next) / interval
  }

  public override var asTimer: TimerFile? { self }
  public override var waitQueue: WaitQueue { queue }
  public override func anonymousName() -> [UInt8] { Array("anon_inode:[timerfd]".utf8) }
  public override func poll() -> PollEvents { expirations > 0 ? .readable : .none }

  public override var readyDeadline: UInt64 {
    if next == 0 { return .max }
    let now = now
    return Clock.ticks(afterNanoseconds: next > now ? next - now : 0)
  }

  public override func read(_ into: Bytes) throws(Errno) -> Int {
    guard into.count >= 8 else { throw .EINVAL }
    let count = expirations
    if count == 0 { throw .EAGAIN }
    into.store(count, at: 0)
    next = interval == 0 ? 0 : next + count * interval
    return 8
  }
}
