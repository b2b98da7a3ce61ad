// SPDX-License-Identifier: Apache-2.0
// PollCalls.swift: poll(2), ppoll(2), select(2), pselect(2).

import ApusRuntime
import ApusUnix

func registerPollCalls(_ table: CallTable) {
  table[.poll] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let milliseconds = arguments.i2
    let deadline =
      milliseconds < 0 ? UInt64.max : task.deadline(afterNanoseconds: UInt64(milliseconds) * 1_000_000)
    return try poll(task, arguments.a0, arguments.a1, deadline)
  }
  table[.ppoll] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let timeout = try Timeout(task, arguments.a2, unit: 1)
    let result = try task.withSignalMask(arguments.a3, size: arguments.a4) { () throws(Errno) -> Int in
      try poll(task, arguments.a0, arguments.a1, timeout.deadline)
    }
    timeout.storeRest(task)
    return result
  }
  table[.select] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let timeout = try Timeout(task, arguments.a4, unit: 1000)
    let result = try select(task, arguments, timeout.deadline)
    timeout.storeRest(task)
    return result
  }
  table[.pselect6] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let timeout = try Timeout(task, arguments.a4, unit: 1)
    var mask: UInt64 = 0
    var size: UInt64 = 0
    if arguments.a5 != 0 {
      mask = try task.load(arguments.a5, as: UInt64.self)
      size = try task.load(arguments.a5 &+ 8, as: UInt64.self)
    }
    let result = try task.withSignalMask(mask, size: size) { () throws(Errno) -> Int in
      try select(task, arguments, timeout.deadline)
    }
    timeout.storeRest(task)
    return result
  }
}

/// A `struct timespec` or `struct timeval` that says how long a call waits at most.
struct Timeout {
  private let address: UInt64
  /// Nanoseconds in a unit of the second field.
  private let unit: Int64
  /// In ticks; `max`: never.
  let deadline: UInt64
  /// The same instant on the monotonic clock.
  private var end: UInt64 = 0

  /// Reads a timeout; the null pointer means that there is none.
  init(_ task: Task, _ address: UInt64, unit: Int64) throws(Errno) {
    self.address = address
    self.unit = unit
    guard address != 0 else {
      deadline = .max
      return
    }
    let seconds = try task.load(address, as: Int64.self)
    let fraction = try task.load(address &+ 8, as: Int64.self)
    guard seconds >= 0, fraction >= 0 else { throw .EINVAL }
    // A timespec must be normal; a timeval's microseconds carry over.
    guard unit > 1 || fraction < 1_000_000_000 else { throw .EINVAL }
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (part, overflow2) = fraction.multipliedReportingOverflow(by: unit)
    let (sum, overflow3) = whole.addingReportingOverflow(part)
    if overflow || overflow2 || overflow3 {
      deadline = .max
    } else {
      deadline = task.deadline(afterNanoseconds: UInt64(sum))
      end = Clock.monotonicNanoseconds &+ UInt64(sum)
    }
  }

  /// Writes back what is left, as Linux does where POSIX does not (select(2)); unwritable memory is no error.
  func storeRest(_ task: Task) {
    guard address != 0, deadline != .max else { return }
    let now = Clock.monotonicNanoseconds
    let rest = end > now ? Int64(clamping: end - now) : 0
    do throws(Errno) {
      try task.store(rest / 1_000_000_000, at: address)
      try task.store(rest % 1_000_000_000 / unit, at: address &+ 8)
    } catch {}
  }
}

/// What one of several files is asked for.
private struct Interest {
  let file: OpenFile
  let events: PollEvents
}

extension Task {
  /// Waits until one of the files may have become ready.
  ///
  /// - Returns: False if the deadline has passed.
  fileprivate func waitForAny(_ interests: [Interest], _ deadline: UInt64) throws(Errno) -> Bool {
    var queues: [WaitQueue] = []
    var wakeUp = deadline
    for interest in interests {
      wakeUp = min(wakeUp, interest.file.readyDeadline)
      let readers = interest.file.waitQueue
      let writers = interest.file.writeQueue
      queues.append(readers)
      if writers !== readers && interest.events.intersects(.writable) { queues.append(writers) }
    }
    try wait(on: queues, deadline: wakeUp)
    return Clock.ticks < deadline
  }
}

private func poll(
  _ task: Task, _ address: UInt64, _ rawCount: UInt64, _ deadline: UInt64
) throws(Errno) -> Int {
  let count = Int(UInt32(truncatingIfNeeded: rawCount))
  guard count <= task.descriptors.limit else { throw .EINVAL }
  let always = PollEvents.error.union(.hangup)
  while true {
    // Made present anew after each wait.
    let bytes = try task.memory(at: address, count: count * 8, write: true)
    var ready = 0
    var interests: [Interest] = []
    for index in 0..<count {
      let descriptor = Int(bytes.load(index * 8, as: Int32.self))
      let wanted = PollEvents(rawValue: bytes.load(index * 8 + 4, as: UInt16.self)).union(always)
      var found = PollEvents.none
      if descriptor >= 0 {
        if task.descriptors.isOpen(descriptor) {
          let file = try task.file(descriptor)
          let events = file.poll()
          found = events == .invalid ? events : events.intersection(wanted)
          if found == .none { interests.append(Interest(file: file, events: wanted)) }
        } else {
          found = .invalid
        }
      }
      bytes.store(found.rawValue, at: index * 8 + 6)
      if found != .none { ready += 1 }
    }
    if ready > 0 || Clock.ticks >= deadline { return ready }
    _ = try task.waitForAny(interests, deadline)
  }
}

/// The three sets of select, as words.
private func select(_ task: Task, _ arguments: Arguments, _ deadline: UInt64) throws(Errno) -> Int {
  guard arguments.i0 >= 0 else { throw .EINVAL }
  let count = min(arguments.i0, max(task.descriptors.end, 1024))
  let words = (count + 63) / 64
  let addresses = [arguments.a1, arguments.a2, arguments.a3]
  let meanings = [
    PollEvents.readable.union(.hangup).union(.error), PollEvents.writable.union(.error), .priority,
  ]
  var wanted: [UInt64] = []
  for address in addresses {
    guard address != 0 else {
      for _ in 0..<words { wanted.append(0) }
      continue
    }
    let bytes = try task.memory(at: address, count: words * 8, write: true)
    for word in 0..<words { wanted.append(bytes.load(word * 8, as: UInt64.self)) }
  }
  var found = [UInt64](repeating: 0, count: 3 * words)
  while true {
    var ready = 0
    var interests: [Interest] = []
    for descriptor in 0..<count {
      let bit = UInt64(1) << UInt64(descriptor % 64)
      let word = descriptor / 64
      guard (wanted[word] | wanted[words + word] | wanted[2 * words + word]) & bit != 0 else { continue }
      let file = try task.file(descriptor)
      let events = file.poll()
      for set in 0..<3 where wanted[set * words + word] & bit != 0 {
        if events.intersects(meanings[set]) {
          found[set * words + word] |= bit
          ready += 1
        }
      }
      let writes = wanted[words + word] & bit != 0
      interests.append(Interest(file: file, events: writes ? .writable : .none))
    }
    if ready > 0 || Clock.ticks >= deadline {
      for set in 0..<3 where addresses[set] != 0 {
        let bytes = try task.memory(at: addresses[set], count: words * 8, write: true)
        for word in 0..<words { bytes.store(found[set * words + word], at: word * 8) }
      }
      return ready
    }
    _ = try task.waitForAny(interests, deadline)
  }
}
