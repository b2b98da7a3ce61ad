// SPDX-License-Identifier: Apache-2.0
// TaskTable.swift: which process and thread ids are in use.

/// Ids and what they name; ids rise and begin anew at the end, as on Linux.
struct TaskTable {
  /// One more than the greatest id (kernel.pid_max).
  static var limit: Int { 32768 }
  /// After a wrap, ids below this are left alone.
  private static var reserved: Int { 300 }

  private var tasks: [Task?] = [nil]
  /// Ids of zombies, groups and sessions that outlive their task.
  private var holds: [UInt16] = [1]
  private var next = 1

  /// The running task of an id.
  subscript(identifier: Int) -> Task? {
    guard identifier > 0, identifier < tasks.count else { return nil }
    return tasks[identifier]
  }

  mutating func set(_ identifier: Int, _ task: Task?) { tasks[identifier] = task }

  /// Takes an id that nothing uses, with one hold on it; nil when all are in use.
  mutating func allocate() -> Int? {
    var tried = 0
    while tried < TaskTable.limit {
      if next >= TaskTable.limit { next = TaskTable.reserved }
      let candidate = next
      next += 1
      tried += 1
      if candidate >= tasks.count {
        tasks.append(nil)
        holds.append(0)
      }
      if holds[candidate] == 0 {
        holds[candidate] = 1
        return candidate
      }
    }
    return nil
  }

  /// Keeps an id from being used again: it names a group or a session.
  mutating func hold(_ identifier: Int) { holds[identifier] += 1 }

  /// Ends a hold.
  mutating func release(_ identifier: Int) { holds[identifier] -= 1 }
}
