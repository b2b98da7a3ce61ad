// SPDX-License-Identifier: Apache-2.0
// EventCalls.swift: epoll(7) and timers as files (timerfd_create(2)).

import ApusRuntime
import ApusUnix

func registerEventCalls(_ table: CallTable) {
  table[.epoll_create] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    guard arguments.i0 > 0 else { throw .EINVAL }
    return try makePoll(task, .readOnly)
  }
  table[.epoll_create1] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makePoll(task, OpenFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a0)))
  }
  table[.epoll_ctl] = epollControlCall
  table[.epoll_wait] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try waitForEvents(task, arguments, milliseconds(task, arguments.i3))
  }
  table[.epoll_pwait] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let deadline = milliseconds(task, arguments.i3)
    return try task.withSignalMask(arguments.a4, size: arguments.a5) { () throws(Errno) -> Int in
      try waitForEvents(task, arguments, deadline)
    }
  }
  table[.epoll_pwait2] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let timeout = try Timeout(task, arguments.a3, unit: 1)
    return try task.withSignalMask(arguments.a4, size: arguments.a5) { () throws(Errno) -> Int in
      try waitForEvents(task, arguments, timeout.deadline)
    }
  }
  table[.timerfd_create] = timerCreateCall
  table[.timerfd_settime] = timerSetCall
  table[.timerfd_gettime] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    guard let timer = try task.file(arguments.i0).asTimer else { throw .EINVAL }
    try store(task, timer.setting, arguments.a1)
    return 0
  }
}

private func makePoll(_ task: Task, _ flags: OpenFlags) throws(Errno) -> Int {
  guard flags.subtracting(.closeOnExec) == .readOnly else { throw .EINVAL }
  let poll = EventPoll.make(task.family.pipeFileSystem)
  return try task.descriptors.add(poll, closesOnExec: flags.contains(.closeOnExec))
}

private func milliseconds(_ task: Task, _ timeout: Int) -> UInt64 {
  timeout < 0 ? .max : task.deadline(afterNanoseconds: UInt64(timeout) * 1_000_000)
}

private func epollControlCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  var wanted: UInt32 = 0
  var data: UInt64 = 0
  if arguments.i1 != 2 {
    let event = try task.memory(at: arguments.a3, count: 12, write: false)
    wanted = event.load(0, as: UInt32.self)
    data = event.load(4, as: UInt64.self)
  }
  let watcher = try task.file(arguments.i0)
  let file = try task.file(arguments.i2)
  guard file.isPollable else { throw .EPERM }
  guard let poll = watcher.asEventPoll, watcher !== file else { throw .EINVAL }
  switch arguments.i1 {
  case 1: try poll.add(arguments.i2, file, wanted: wanted, data: data)
  case 2: try poll.remove(arguments.i2, file)
  case 3: try poll.modify(arguments.i2, file, wanted: wanted, data: data)
  default: throw .EINVAL
  }
  return 0
}

private func waitForEvents(_ task: Task, _ arguments: Arguments, _ deadline: UInt64) throws(Errno) -> Int {
  let limit = arguments.i2
  guard limit > 0, limit <= Int(Int32.max) / 12 else { throw .EINVAL }
  guard let poll = try task.file(arguments.i0).asEventPoll else { throw .EINVAL }
  while true {
    if poll.poll() != .none {
      // At most a page at a time: a long array need not be present as a whole.
      let bytes = try task.memory(at: arguments.a1, count: min(limit, 340) * 12, write: true)
      return poll.report(into: bytes)
    }
    if Clock.ticks >= deadline { return 0 }
    try task.wait(on: poll.waitQueue, deadline: min(deadline, poll.readyDeadline))
  }
}

private func timerCreateCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let flags = OpenFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a1))
  guard flags.subtracting(OpenFlags.closeOnExec.union(.nonBlocking)) == .readOnly else { throw .EINVAL }
  let isRealtime: Bool
  switch arguments.i0 {
  case 0, 8: isRealtime = true  // CLOCK_REALTIME and its alarm
  case 1, 7, 9: isRealtime = false  // CLOCK_MONOTONIC, CLOCK_BOOTTIME and its alarm
  default: throw .EINVAL
  }
  let timer = TimerFile.make(
    task.family.pipeFileSystem, isRealtime: isRealtime,
    OpenFlags.readWrite.union(flags.intersection(.nonBlocking)))
  return try task.descriptors.add(timer, closesOnExec: flags.contains(.closeOnExec))
}

private func timerSetCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  // TFD_TIMER_ABSTIME and TFD_TIMER_CANCEL_ON_SET: the wall clock never jumps here.
  guard arguments.a1 & 0xffff_ffff & ~3 == 0 else { throw .EINVAL }
  guard let timer = try task.file(arguments.i0).asTimer else { throw .EINVAL }
  let bytes = try task.memory(at: arguments.a2, count: 32, write: false)
  let interval = try nanoseconds(bytes, 0)
  let value = try nanoseconds(bytes, 16)
  if arguments.a3 != 0 { try store(task, timer.setting, arguments.a3) }
  timer.set(value, interval: interval, isAbsolute: arguments.a1 & 1 != 0)
  return 0
}

/// A `struct timespec`.
private func nanoseconds(_ bytes: Bytes, _ offset: Int) throws(Errno) -> UInt64 {
  let seconds = bytes.load(offset, as: Int64.self)
  let fraction = bytes.load(offset + 8, as: Int64.self)
  guard seconds >= 0, fraction >= 0, fraction < 1_000_000_000 else { throw .EINVAL }
  let (whole, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
  return overflow ? .max : whole.addingReportingOverflow(UInt64(fraction)).partialValue
}

private func store(
  _ task: Task, _ setting: (rest: UInt64, interval: UInt64), _ address: UInt64
) throws(Errno) {
  let bytes = try task.memory(at: address, count: 32, write: true)
  bytes.store(setting.interval / 1_000_000_000, at: 0)
  bytes.store(setting.interval % 1_000_000_000, at: 8)
  bytes.store(setting.rest / 1_000_000_000, at: 16)
  bytes.store(setting.rest % 1_000_000_000, at: 24)
}
