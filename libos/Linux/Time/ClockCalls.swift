// SPDX-License-Identifier: Apache-2.0
// ClockCalls.swift: reading clocks and sleeping (clock_gettime(2), nanosleep(2), times(2)).

import ApusRuntime
import ApusUnix

func registerClockCalls(_ table: CallTable) {
  table[.clock_gettime] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let time = try clockTime(task, arguments.i0)
    try task.storeTimespec(time, at: arguments.a1)
    return 0
  }
  table[.clock_getres] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    _ = try clockTime(task, arguments.i0)
    let isCoarse = arguments.i0 == 5 || arguments.i0 == 6
    if arguments.a1 != 0 { try task.storeTimespec(isCoarse ? 4_000_000 : 1, at: arguments.a1) }
    return 0
  }
  table[.gettimeofday] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    if arguments.a0 != 0 {
      let area = try task.memory(at: arguments.a0, count: 16, write: true)
      let now = Clock.realtimeNanoseconds
      area.store(now / 1_000_000_000, at: 0)
      area.store(now % 1_000_000_000 / 1000, at: 8)
    }
    if arguments.a1 != 0 { try task.store(UInt64(0), at: arguments.a1) }
    return 0
  }
  table[.time] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let seconds = Clock.realtimeNanoseconds / 1_000_000_000
    if arguments.a0 != 0 { try task.store(seconds, at: arguments.a0) }
    return Int(seconds)
  }
  table[.times] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    if arguments.a0 != 0 {
      let area = try task.memory(at: arguments.a0, count: 32, write: true)
      area.store(hundredths(task.process.usedTicks), at: 0)
      area.store(UInt64(0), at: 8)
      area.store(hundredths(task.process.childrenTicks), at: 16)
      area.store(UInt64(0), at: 24)
    }
    return Int(Clock.monotonicNanoseconds / 10_000_000)
  }
  table[.nanosleep] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let deadline = task.deadline(afterNanoseconds: try task.timespec(at: arguments.a0))
    return try sleep(task, until: deadline, remainderAt: arguments.a1)
  }
  table[.clock_nanosleep] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let clock = arguments.i0
    guard clock >= 0, clock != 3, clock <= 11 else { throw .EINVAL }
    let time = try task.timespec(at: arguments.a2)
    if arguments.i1 & 1 != 0 {
      let deadline = ticks(at: time, isRealtime: clock == 0 || clock == 11)
      return try sleep(task, until: deadline, remainderAt: 0)
    }
    return try sleep(
      task, until: task.deadline(afterNanoseconds: time), remainderAt: arguments.a3)
  }
  table[.clock_settime] = { (_: Task, _: Arguments) throws(Errno) -> Int in throw .EPERM }
  table[.settimeofday] = { (_: Task, _: Arguments) throws(Errno) -> Int in throw .EPERM }
}

/// What a clock shows, in nanoseconds.
private func clockTime(_ task: Task, _ clock: Int) throws(Errno) -> UInt64 {
  switch clock {
  case 0, 5, 8, 11: return Clock.realtimeNanoseconds
  case 1, 4, 6, 7, 9: return Clock.monotonicNanoseconds
  case 2: return Clock.nanoseconds(fromTicks: task.process.usedTicks)
  case 3: return Clock.nanoseconds(fromTicks: task.execution?.ticksUsed ?? 0)
  case ..<0:
    // A processor-time clock of a process or a thread: ~id << 3 | kind (clock_getcpuclockid(3)).
    let identifier = ~(clock >> 3)
    if clock & 4 != 0 {
      let thread = identifier == 0 ? task : task.family.tasks[identifier]
      guard let thread else { throw .EINVAL }
      return Clock.nanoseconds(fromTicks: thread.execution?.ticksUsed ?? 0)
    }
    let process = identifier == 0 ? task.process : task.family.process(identifier)
    guard let process else { throw .EINVAL }
    return Clock.nanoseconds(fromTicks: process.usedTicks)
  default: throw .EINVAL
  }
}

/// Processor time in the unit of times(2).
func hundredths(_ ticks: UInt64) -> UInt64 { Clock.nanoseconds(fromTicks: ticks) / 10_000_000 }

/// The counter at an instant of a clock.
func ticks(at nanoseconds: UInt64, isRealtime: Bool) -> UInt64 {
  let now = isRealtime ? Clock.realtimeNanoseconds : Clock.monotonicNanoseconds
  return nanoseconds <= now ? 0 : Clock.ticks(afterNanoseconds: nanoseconds - now)
}

private func sleep(
  _ task: Task, until deadline: UInt64, remainderAt address: UInt64
) throws(Errno) -> Int {
  do throws(Errno) {
    while Clock.ticks < deadline { try task.wait(until: deadline) }
    return 0
  } catch {
    if address != 0 {
      let now = Clock.ticks
      let rest = now < deadline ? Clock.nanoseconds(fromTicks: deadline - now) : 0
      try task.storeTimespec(rest, at: address)
    }
    throw error
  }
}

extension Task {
  /// Reads a struct timespec.
  ///
  /// - Throws: `EINVAL` when it is negative or has too many nanoseconds.
  func timespec(at address: UInt64) throws(Errno) -> UInt64 {
    let area = try memory(at: address, count: 16, write: false)
    let seconds = area.load(0, as: Int64.self)
    let nanoseconds = area.load(8, as: Int64.self)
    guard seconds >= 0, nanoseconds >= 0, nanoseconds < 1_000_000_000 else { throw .EINVAL }
    // More than 200 years is for ever.
    guard seconds < 6_400_000_000 else { return 6_400_000_000_000_000_000 }
    return UInt64(seconds) * 1_000_000_000 + UInt64(nanoseconds)
  }

  /// Writes a struct timespec.
  func storeTimespec(_ nanoseconds: UInt64, at address: UInt64) throws(Errno) {
    let area = try memory(at: address, count: 16, write: true)
    area.store(nanoseconds / 1_000_000_000, at: 0)
    area.store(nanoseconds % 1_000_000_000, at: 8)
  }

  /// Writes a struct rusage.
  func storeUsage(ticks: UInt64, faults: Int, at address: UInt64) throws(Errno) {
    let area = try memory(at: address, count: 144, write: true)
    area.fill(0)
    let microseconds = Clock.nanoseconds(fromTicks: ticks) / 1000
    area.store(microseconds / 1_000_000, at: 0)
    area.store(microseconds % 1_000_000, at: 8)
    area.store(UInt64(faults), at: 64)
  }
}
