// SPDX-License-Identifier: Apache-2.0
// LimitCalls.swift: resource limits and usage (getrlimit(2), prlimit(2), getrusage(2)).

import ApusRuntime
import ApusUnix

func registerLimitCalls(_ table: CallTable) {
  table[.getrlimit] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try checkResource(arguments.i0)
    try store(task, task.process.limits[arguments.i0], arguments.a1)
    return 0
  }
  table[.setrlimit] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try checkResource(arguments.i0)
    try setLimit(task, task.process, arguments.i0, load(task, arguments.a1))
    return 0
  }
  table[.prlimit64] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try checkResource(arguments.i1)
    var process = task.process
    if arguments.i0 != 0 {
      guard let other = task.family.process(arguments.i0) else { throw .ESRCH }
      process = other
    }
    let old = process.limits[arguments.i1]
    if arguments.a2 != 0 { try setLimit(task, process, arguments.i1, load(task, arguments.a2)) }
    if arguments.a3 != 0 { try store(task, old, arguments.a3) }
    return 0
  }
  table[.getrusage] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let ticks: UInt64
    switch arguments.i0 {
    case 0: ticks = task.process.usedTicks
    case -1: ticks = task.process.childrenTicks
    case 1: ticks = task.execution?.ticksUsed ?? 0
    default: throw .EINVAL
    }
    let faults = arguments.i0 == -1 ? 0 : task.process.minorFaults
    try task.storeUsage(ticks: ticks, faults: faults, at: arguments.a1)
    return 0
  }
}

private func checkResource(_ resource: Int) throws(Errno) {
  guard resource >= 0, resource < ResourceLimit.count else { throw .EINVAL }
}

private func load(_ task: Task, _ address: UInt64) throws(Errno) -> ResourceLimit {
  let area = try task.memory(at: address, count: 16, write: false)
  return ResourceLimit(
    current: area.load(0, as: UInt64.self), maximum: area.load(8, as: UInt64.self))
}

private func store(_ task: Task, _ limit: ResourceLimit, _ address: UInt64) throws(Errno) {
  let area = try task.memory(at: address, count: 16, write: true)
  area.store(limit.current, at: 0)
  area.store(limit.maximum, at: 8)
}

private func setLimit(
  _ task: Task, _ process: Process, _ resource: Int, _ limit: ResourceLimit
) throws(Errno) {
  guard limit.current <= limit.maximum else { throw .EINVAL }
  if limit.maximum > process.limits[resource].maximum, !task.process.identity.isSuperuser {
    throw .EPERM
  }
  if resource == ResourceLimit.openFiles, limit.maximum > 1 << 20 { throw .EPERM }
  process.limits[resource] = limit
  if resource == ResourceLimit.stack {
    for thread in process.threads { thread.memory.stackLimit = limit.current }
  }
  if resource == ResourceLimit.openFiles {
    for thread in process.threads { thread.descriptors.limit = Int(min(limit.current, 1 << 20)) }
  }
}
