// SPDX-License-Identifier: Apache-2.0
// Futex.swift: waiting for a word of memory to be changed by another thread (futex(2)).

import ApusRuntime
import ApusUnix

func registerFutexCalls(_ table: CallTable) {
  table[.futex] = futexCall
  table[.set_robust_list] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    guard arguments.a1 == 24 else { throw .EINVAL }
    task.robustList = arguments.a0
    return 0
  }
  table[.get_robust_list] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    var target = task
    if arguments.i0 != 0 {
      guard let other = task.family.tasks[arguments.i0] else { throw .ESRCH }
      target = other
    }
    try task.store(target.robustList, at: arguments.a1)
    try task.store(UInt64(24), at: arguments.a2)
    return 0
  }
}

/// The name of a word that tasks wait at.
///
/// A word in shared memory is named by its page's frame, so that several address spaces can meet there; another one
/// by address space and address.
struct FutexKey: Equatable {
  let space: UInt64
  let address: UInt64
}

/// The tasks that wait at futexes, in the order in which they came.
final class FutexTable {
  private struct Sleeper {
    let task: Task
    var key: FutexKey
    let mask: UInt32
  }

  /// By a hash of the key.
  private var buckets = [[Sleeper]](repeating: [], count: 64)

  private func bucket(_ key: FutexKey) -> Int {
    Int(truncatingIfNeeded: (key.address >> 2 ^ key.address >> 12 ^ key.space) & 63)
  }

  /// The key of a word of an address space.
  func key(_ memory: AddressSpace, _ address: UInt64) -> FutexKey {
    if let index = memory.index(of: address), memory.regions[index].isShared {
      let frame = PageTable.frame(of: PageTable.entry(at: address))
      return FutexKey(space: UInt64(frame) << 32 | 1, address: address & 4095)
    }
    return FutexKey(space: UInt64(memory.root) << 32, address: address)
  }

  func add(_ task: Task, _ key: FutexKey, mask: UInt32) {
    buckets[bucket(key)].append(Sleeper(task: task, key: key, mask: mask))
  }

  /// Takes a task out, wherever it has been moved to.
  func remove(_ task: Task) {
    for index in 0..<buckets.count {
      for position in 0..<buckets[index].count where buckets[index][position].task === task {
        buckets[index].remove(at: position)
        return
      }
    }
  }

  /// Wakes tasks that wait at a word.
  ///
  /// - Returns: How many.
  @discardableResult
  func wake(_ memory: AddressSpace, _ address: UInt64, count: Int, mask: UInt32) -> Int {
    wake(key(memory, address), count: count, mask: mask)
  }

  func wake(_ key: FutexKey, count: Int, mask: UInt32) -> Int {
    let bucket = bucket(key)
    var woken = 0
    var index = 0
    while index < buckets[bucket].count, woken < count {
      let sleeper = buckets[bucket][index]
      if sleeper.key == key, sleeper.mask & mask != 0 {
        buckets[bucket].remove(at: index)
        sleeper.task.futexWoken = true
        sleeper.task.wake()
        woken += 1
      } else {
        index += 1
      }
    }
    return woken
  }

  /// Moves tasks that wait at a word to another.
  func requeue(_ from: FutexKey, _ to: FutexKey, count: Int) -> Int {
    let bucket = bucket(from)
    var moved = 0
    var index = 0
    while index < buckets[bucket].count, moved < count {
      var sleeper = buckets[bucket][index]
      if sleeper.key == from {
        buckets[bucket].remove(at: index)
        sleeper.key = to
        buckets[self.bucket(to)].append(sleeper)
        moved += 1
        if self.bucket(to) == bucket, from == to { break }
      } else {
        index += 1
      }
    }
    return moved
  }
}

private func futexCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let address = arguments.a0
  let operation = arguments.i1
  let value = UInt32(truncatingIfNeeded: arguments.a2)
  guard address & 3 == 0 else { throw .EINVAL }
  let usesRealtime = operation & 256 != 0
  switch operation & 127 {
  case 0, 9:
    let mask = operation & 127 == 9 ? UInt32(truncatingIfNeeded: arguments.a5) : .max
    guard mask != 0 else { throw .EINVAL }
    var deadline = UInt64.max
    if arguments.a3 != 0 {
      let time = try task.timespec(at: arguments.a3)
      // FUTEX_WAIT counts from now, FUTEX_WAIT_BITSET names an instant.
      deadline =
        operation & 127 == 0
        ? task.deadline(afterNanoseconds: time)
        : ticks(at: time, isRealtime: usesRealtime)
    }
    return try wait(task, address, value, mask, deadline)
  case 1, 10:
    let mask = operation & 127 == 10 ? UInt32(truncatingIfNeeded: arguments.a5) : .max
    guard mask != 0 else { throw .EINVAL }
    _ = try task.load(address, as: UInt32.self)
    let count = Int(Int32(bitPattern: value))
    return task.family.futexes.wake(task.memory, address, count: max(count, 1), mask: mask)
  case 3, 4:
    return try requeue(task, arguments, comparing: operation & 127 == 4)
  case 5:
    return try wakeOperation(task, arguments)
  default: throw .ENOSYS
  }
}

private func wait(
  _ task: Task, _ address: UInt64, _ expected: UInt32, _ mask: UInt32, _ deadline: UInt64
) throws(Errno) -> Int {
  guard try task.load(address, as: UInt32.self) == expected else { throw .EAGAIN }
  let futexes = task.family.futexes
  task.futexWoken = false
  futexes.add(task, futexes.key(task.memory, address), mask: mask)
  while !task.futexWoken {
    if deadline != .max, Clock.ticks >= deadline {
      futexes.remove(task)
      throw .ETIMEDOUT
    }
    do throws(Errno) {
      try task.wait(until: deadline)
    } catch {
      if task.futexWoken { break }
      futexes.remove(task)
      throw error
    }
  }
  return 0
}

private func requeue(
  _ task: Task, _ arguments: Arguments, comparing: Bool
) throws(Errno) -> Int {
  let wakeCount = Int(Int32(truncatingIfNeeded: arguments.a2))
  let moveCount = Int(Int32(truncatingIfNeeded: arguments.a3))
  guard wakeCount >= 0, moveCount >= 0, arguments.a4 & 3 == 0 else { throw .EINVAL }
  let current = try task.load(arguments.a0, as: UInt32.self)
  _ = try task.load(arguments.a4, as: UInt32.self)
  if comparing, current != UInt32(truncatingIfNeeded: arguments.a5) { throw .EAGAIN }
  let futexes = task.family.futexes
  let from = futexes.key(task.memory, arguments.a0)
  let to = futexes.key(task.memory, arguments.a4)
  let woken = futexes.wake(from, count: wakeCount, mask: .max)
  let moved = from == to ? 0 : futexes.requeue(from, to, count: moveCount)
  return woken + moved
}

/// FUTEX_WAKE_OP: changes a second word, wakes at the first, and at the second if its old value says so.
private func wakeOperation(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let encoded = UInt32(truncatingIfNeeded: arguments.a5)
  let old = try task.load(arguments.a4, as: UInt32.self)
  // Both fields are signed numbers of 12 bits.
  var operand = UInt32(bitPattern: Int32(bitPattern: encoded << 8) >> 20)
  let comparand = Int32(bitPattern: encoded << 20) >> 20
  if encoded >> 28 & 8 != 0 { operand = 1 << (operand & 31) }
  let new: UInt32
  switch encoded >> 28 & 7 {
  case 0: new = operand
  case 1: new = old &+ operand
  case 2: new = old | operand
  case 3: new = old & ~operand
  case 4: new = old ^ operand
  default: throw .ENOSYS
  }
  try task.store(new, at: arguments.a4)
  let signed = Int32(bitPattern: old)
  let holds: Bool
  switch encoded >> 24 & 15 {
  case 0: holds = signed == comparand
  case 1: holds = signed != comparand
  case 2: holds = signed < comparand
  case 3: holds = signed <= comparand
  case 4: holds = signed > comparand
  case 5: holds = signed >= comparand
  default: throw .ENOSYS
  }
  let futexes = task.family.futexes
  var woken = futexes.wake(
    task.memory, arguments.a0, count: Int(Int32(truncatingIfNeeded: arguments.a2)), mask: .max)
  if holds {
    woken += futexes.wake(
      task.memory, arguments.a4, count: Int(Int32(truncatingIfNeeded: arguments.a3)), mask: .max)
  }
  return woken
}

extension Task {
  /// Marks the mutexes that the thread holds at its end as ownerless (get_robust_list(2)).
  func releaseRobustFutexes() {
    guard robustList != 0 else { return }
    let head = robustList
    robustList = 0
    do throws(Errno) {
      let offset = try load(head &+ 8, as: UInt64.self)
      let pending = try load(head &+ 16, as: UInt64.self)
      var entry = try load(head, as: UInt64.self)
      var count = 0
      // The list is the program's: it may be a circle of its own.
      while entry & ~1 != head, count < 2048 {
        let next = try load(entry & ~1, as: UInt64.self)
        if entry != pending { try markDead((entry & ~1) &+ offset) }
        entry = next
        count += 1
      }
      if pending != 0 { try markDead((pending & ~1) &+ offset) }
    } catch {
      return
    }
  }

  private func markDead(_ address: UInt64) throws(Errno) {
    guard address & 3 == 0 else { return }
    let value = try load(address, as: UInt32.self)
    // FUTEX_TID_MASK, FUTEX_OWNER_DIED, FUTEX_WAITERS.
    guard value & 0x3fff_ffff == UInt32(identifier) else { return }
    try store(value & 0x8000_0000 | 0x4000_0000, at: address)
    if value & 0x8000_0000 != 0 {
      family.futexes.wake(memory, address, count: 1, mask: .max)
    }
  }
}
