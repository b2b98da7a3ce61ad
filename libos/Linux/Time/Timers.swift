// SPDX-License-Identifier: Apache-2.0
// Timers.swift: alarm(2) and setitimer(2).

import ApusRuntime
import ApusUnix

func registerTimerCalls(_ table: CallTable) {
  table[.alarm] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let process = task.process
    let left = process.alarmNanosecondsLeft
    let seconds = UInt64(UInt32(truncatingIfNeeded: arguments.a0))
    process.setAlarm(afterNanoseconds: seconds * 1_000_000_000, interval: 0)
    // A part of a second counts as one (alarm(2)).
    return Int((left + 999_999_999) / 1_000_000_000)
  }
  table[.setitimer] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let which = arguments.i0
    guard which >= 0, which <= 2 else { throw .EINVAL }
    let (newAddress, oldAddress) = (arguments.a1, arguments.a2)
    var new: (interval: UInt64, value: UInt64) = (0, 0)
    if newAddress != 0 { new = try task.itimer(at: newAddress) }
    if oldAddress != 0 { try storeTimer(task, which, oldAddress) }
    guard which == 0 else {
      if new.value != 0 { throw .ENOSYS }
      return 0
    }
    task.process.setAlarm(afterNanoseconds: new.value, interval: new.interval)
    return 0
  }
  table[.getitimer] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    guard arguments.i0 >= 0, arguments.i0 <= 2 else { throw .EINVAL }
    try storeTimer(task, arguments.i0, arguments.a1)
    return 0
  }
}

private func storeTimer(_ task: Task, _ which: Int, _ address: UInt64) throws(Errno) {
  let process = task.process
  let area = try task.memory(at: address, count: 32, write: true)
  let value = which == 0 ? process.alarmNanosecondsLeft / 1000 : 0
  let interval = which == 0 ? process.alarmInterval / 1000 : 0
  area.store(interval / 1_000_000, at: 0)
  area.store(interval % 1_000_000, at: 8)
  area.store(value / 1_000_000, at: 16)
  area.store(value % 1_000_000, at: 24)
}

extension Task {
  /// Reads a struct itimerval, in nanoseconds.
  fileprivate func itimer(at address: UInt64) throws(Errno) -> (interval: UInt64, value: UInt64) {
    let area = try memory(at: address, count: 32, write: false)
    var parts: [UInt64] = []
    for half in 0..<2 {
      let seconds = area.load(half * 16, as: Int64.self)
      let microseconds = area.load(half * 16 + 8, as: Int64.self)
      guard seconds >= 0, microseconds >= 0, microseconds < 1_000_000 else { throw .EINVAL }
      parts.append(
        UInt64(min(seconds, 6_400_000_000)) * 1_000_000_000 + UInt64(microseconds) * 1000)
    }
    return (parts[0], parts[1])
  }
}

extension Process {
  /// What is left until the next SIGALRM; 0: none is due.
  var alarmNanosecondsLeft: UInt64 { alarm?.nanosecondsLeft ?? 0 }
  /// The time between two SIGALRM; 0: there will be one only.
  var alarmInterval: UInt64 { alarm?.interval ?? 0 }

  /// Sets the next SIGALRM; 0 nanoseconds: none.
  func setAlarm(afterNanoseconds nanoseconds: UInt64, interval: UInt64) {
    if alarm == nil, nanoseconds == 0 { return }
    let timer =
      alarm
      ?? IntervalTimer(
        self, SignalInfo(signal: Signal.alarm, code: SignalInfo.kernelCode), clock: .realtime)
    alarm = timer
    timer.set(afterNanoseconds: nanoseconds, interval: interval)
  }

  /// Forgets all timers, at the end.
  func cancelTimers() {
    alarm?.cancel()
    alarm = nil
    cancelNamedTimers()
  }

  /// Forgets the timers of timer_create, which do not outlive the program.
  func cancelNamedTimers() {
    for timer in namedTimers { timer?.cancel() }
    namedTimers = []
  }
}
