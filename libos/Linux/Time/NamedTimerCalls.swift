// SPDX-License-Identifier: Apache-2.0
// NamedTimerCalls.swift: POSIX timers (timer_create(2)).

import ApusRuntime
import ApusUnix

func registerNamedTimerCalls(_ table: CallTable) {
  table[.timer_create] = createCall
  table[.timer_settime] = setCall
  table[.timer_gettime] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try store(try timer(task, arguments.i0), task, arguments.a1)
    return 0
  }
  table[.timer_getoverrun] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    Int(min(try timer(task, arguments.i0).overrun, 0x7fff_ffff))
  }
  table[.timer_delete] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try timer(task, arguments.i0).cancel()
    task.process.namedTimers[arguments.i0] = nil
    return 0
  }
}

private func timer(_ task: Task, _ identifier: Int) throws(Errno) -> IntervalTimer {
  let timers = task.process.namedTimers
  guard identifier >= 0, identifier < timers.count, let timer = timers[identifier]
  else { throw .EINVAL }
  return timer
}

private func createCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let clock: IntervalTimer.Clock
  switch arguments.i0 {
  case 0, 8, 11: clock = .realtime
  case 1, 7, 9: clock = .monotonic
  case 2, 3, ..<0: throw .EOPNOTSUPP
  default: throw .EINVAL
  }
  let process = task.process
  var identifier = 0
  while identifier < process.namedTimers.count, process.namedTimers[identifier] != nil {
    identifier += 1
  }
  var info = SignalInfo(
    signal: Signal.alarm, code: SignalInfo.timerCode, sender: UInt64(identifier))
  info.value = UInt64(identifier)
  var thread = 0
  if arguments.a1 != 0 {
    // struct sigevent: value, signal, how to notify, thread.
    let event = try task.memory(at: arguments.a1, count: 64, write: false)
    info.value = event.load(0, as: UInt64.self)
    info.signal = event.load(8, as: Int32.self)
    switch event.load(12, as: Int32.self) {
    case 0, 2: break
    case 1: info.signal = 0
    case 4:
      guard let target = task.family.tasks[Int(event.load(16, as: Int32.self))],
        target.process === process
      else { throw .EINVAL }
      thread = target.identifier
    default: throw .EINVAL
    }
    guard info.signal >= 0, info.number <= SignalSet.limit else { throw .EINVAL }
  }
  try task.store(Int32(identifier), at: arguments.a2)
  let timer = IntervalTimer(process, info, clock: clock, thread: thread)
  if identifier == process.namedTimers.count {
    process.namedTimers.append(timer)
  } else {
    process.namedTimers[identifier] = timer
  }
  return 0
}

private func setCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let timer = try timer(task, arguments.i0)
  let interval = try task.timespec(at: arguments.a2)
  let value = try task.timespec(at: arguments.a2 &+ 16)
  if arguments.a3 != 0 { try store(timer, task, arguments.a3) }
  let isInstant = arguments.i1 & 1 != 0
  if isInstant, value != 0 {
    timer.start(at: ticks(at: value, isRealtime: timer.clock == .realtime), interval: interval)
  } else {
    timer.set(afterNanoseconds: value, interval: interval)
  }
  return 0
}

private func store(_ timer: IntervalTimer, _ task: Task, _ address: UInt64) throws(Errno) {
  try task.storeTimespec(timer.interval, at: address)
  try task.storeTimespec(timer.nanosecondsLeft, at: address &+ 16)
}
