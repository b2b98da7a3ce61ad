// SPDX-License-Identifier: Apache-2.0
// IntervalTimer.swift: a timer that sends a signal, once or again and again. One execution of the LibOS sleeps until
// the next timer is due; it has time slices of its own, so that timers expire while a program computes.

import ApusRuntime
import ApusUnix

/// A timer of a process (setitimer(2), timer_create(2)).
final class IntervalTimer {
  /// What instants are named by.
  enum Clock {
    case realtime
    case monotonic
  }

  let process: Process
  let clock: Clock
  /// What is sent; for a timer that sends nothing, signal 0.
  private var info: SignalInfo
  /// The id of the thread that gets the signal; 0: any of the process.
  private let thread: Int
  /// Ticks of the next expiry.
  fileprivate(set) var deadline = UInt64.max
  /// Nanoseconds between expiries; 0: there is one only.
  private(set) var interval: UInt64 = 0
  /// Expiries that the last signal stands for, beyond the first.
  private(set) var overrun: UInt64 = 0

  init(_ process: Process, _ info: SignalInfo, clock: Clock, thread: Int = 0) {
    self.process = process
    self.info = info
    self.clock = clock
    self.thread = thread
  }

  /// What is left until the next expiry; 0: none will come.
  var nanosecondsLeft: UInt64 {
    guard deadline != .max else { return 0 }
    let now = ApusRuntime.Clock.ticks
    return now < deadline
      ? max(1, ApusRuntime.Clock.nanoseconds(fromTicks: deadline - now)) : 1
  }

  /// Starts the timer anew; 0 nanoseconds: stops it.
  func set(afterNanoseconds nanoseconds: UInt64, interval: UInt64) {
    cancel()
    guard nanoseconds > 0 else { return }
    start(at: ApusRuntime.Clock.ticks(afterNanoseconds: nanoseconds), interval: interval)
  }

  /// Starts the timer for an instant.
  func start(at deadline: UInt64, interval: UInt64) {
    cancel()
    self.deadline = deadline
    self.interval = interval
    overrun = 0
    process.family.timers.add(self)
  }

  /// Stops the timer.
  func cancel() {
    guard deadline != .max else { return }
    deadline = .max
    interval = 0
    process.family.timers.remove(self)
  }

  /// Sends the signal of an expiry, and plans the next one.
  ///
  /// - Returns: Whether there is a next one.
  fileprivate func expire(at now: UInt64) -> Bool {
    var missed: UInt64 = 0
    if interval > 0 {
      let step = max(1, ApusRuntime.Clock.ticks(afterNanoseconds: interval) &- ApusRuntime.Clock.ticks)
      missed = (now - deadline) / step
      deadline += step * (missed + 1)
    } else {
      deadline = .max
    }
    overrun = missed
    if info.number != 0 {
      if info.code == SignalInfo.timerCode {
        info.sender = (info.sender & 0xffff_ffff) | min(missed, 0x7fff_ffff) << 32
      }
      if thread == 0 {
        process.send(info)
      } else if let task = process.family.tasks[thread], task.process === process {
        task.send(info)
      }
    }
    return interval > 0
  }
}

/// The timers that run, and the execution that watches the clock for them.
final class TimerQueue {
  private var timers: [IntervalTimer] = []
  private var watcher: Execution?

  func add(_ timer: IntervalTimer) {
    timers.append(timer)
    if let watcher {
      watcher.wake()
    } else {
      watcher = Execution.startSystem { [self] in watch() }
    }
  }

  func remove(_ timer: IntervalTimer) {
    for index in 0..<timers.count where timers[index] === timer {
      timers.remove(at: index)
      return
    }
  }

  private func watch() -> Never {
    while true {
      let now = Clock.ticks
      var index = timers.count
      while index > 0 {
        index -= 1
        // A signal may end a process, and with it other timers.
        guard index < timers.count, timers[index].deadline <= now else { continue }
        let timer = timers[index]
        if !timer.expire(at: now) { remove(timer) }
      }
      var next = UInt64.max
      for timer in timers { next = min(next, timer.deadline) }
      Execution.suspend(deadline: next, handOffTo: nil)
    }
  }
}
