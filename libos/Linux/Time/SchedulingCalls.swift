// SPDX-License-Identifier: Apache-2.0
// SchedulingCalls.swift: sched_*(2) and priorities. The kernel hands out equal time slices; nothing here changes that.

import ApusRuntime
import ApusUnix

func registerSchedulingCalls(_ table: CallTable) {
  let accepted: Handler = { (_: Task, _: Arguments) throws(Errno) -> Int in 0 }
  table[.sched_yield] = { (task: Task, _: Arguments) throws(Errno) -> Int in
    let next = task.family.handOff
    task.family.handOff = nil
    Execution.yield(to: next)
    return 0
  }
  table[.sched_getaffinity] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    guard arguments.a1 >= 8, arguments.a1 & 7 == 0 else { throw .EINVAL }
    try checkTask(task, arguments.i0)
    try task.store(UInt64(1), at: arguments.a2)
    return 8
  }
  table[.sched_setaffinity] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try checkTask(task, arguments.i0)
    guard arguments.a1 > 0 else { throw .EINVAL }
    guard try task.load(arguments.a2, as: UInt8.self) & 1 != 0 else { throw .EINVAL }
    return 0
  }
  table[.sched_getscheduler] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try checkTask(task, arguments.i0)
    return 0
  }
  table[.sched_setscheduler] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try checkTask(task, arguments.i0)
    switch arguments.i1 & ~0x4000_0000 {
    case 0, 3, 5: return 0
    case 1, 2: throw .EPERM
    default: throw .EINVAL
    }
  }
  table[.sched_getparam] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try checkTask(task, arguments.i0)
    try task.store(UInt32(0), at: arguments.a1)
    return 0
  }
  table[.sched_setparam] = accepted
  table[.sched_getattr] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    guard arguments.a2 >= 48, arguments.a2 <= 4096, arguments.a3 == 0 else { throw .EINVAL }
    try checkTask(task, arguments.i0)
    let area = try task.memory(at: arguments.a1, count: 48, write: true)
    area.fill(0)
    area.store(UInt32(48), at: 0)
    return 0
  }
  table[.sched_setattr] = accepted
  table[.sched_get_priority_max] = { (_: Task, arguments: Arguments) throws(Errno) -> Int in
    try priorityBound(arguments.i0, 99)
  }
  table[.sched_get_priority_min] = { (_: Task, arguments: Arguments) throws(Errno) -> Int in
    try priorityBound(arguments.i0, 1)
  }
  table[.sched_rr_get_interval] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try checkTask(task, arguments.i0)
    try task.storeTimespec(4_000_000, at: arguments.a1)
    return 0
  }
  table[.getpriority] = { (_: Task, arguments: Arguments) throws(Errno) -> Int in
    guard arguments.i0 >= 0, arguments.i0 <= 2 else { throw .EINVAL }
    // The kernel's form of nice value 0.
    return 20
  }
  table[.setpriority] = accepted
  table[.ioprio_get] = accepted
  table[.ioprio_set] = accepted
  table[.getcpu] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    if arguments.a0 != 0 { try task.store(UInt32(0), at: arguments.a0) }
    if arguments.a1 != 0 { try task.store(UInt32(0), at: arguments.a1) }
    return 0
  }
  table[.membarrier] = { (_: Task, arguments: Arguments) throws(Errno) -> Int in
    // One processor: every entry of the LibOS is a barrier. Query: the private expedited commands and global.
    arguments.i0 == 0 ? 0x1b : 0
  }
}

private func checkTask(_ task: Task, _ identifier: Int) throws(Errno) {
  guard identifier >= 0 else { throw .EINVAL }
  if identifier != 0, task.family.tasks[identifier] == nil { throw .ESRCH }
}

private func priorityBound(_ policy: Int, _ realTime: Int) throws(Errno) -> Int {
  switch policy {
  case 0, 3, 5: return 0
  case 1, 2: return realTime
  default: throw .EINVAL
  }
}
