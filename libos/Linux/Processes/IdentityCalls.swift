// SPDX-License-Identifier: Apache-2.0
// IdentityCalls.swift: ids of processes, users, groups, sessions (credentials(7)).

import ApusRuntime
import ApusUnix

func registerIdentityCalls(_ table: CallTable) {
  table[.getpid] = { (task: Task, _: Arguments) throws(Errno) -> Int in task.process.identifier }
  table[.getppid] = { (task: Task, _: Arguments) throws(Errno) -> Int in
    task.process.parentIdentifier
  }
  table[.gettid] = { (task: Task, _: Arguments) throws(Errno) -> Int in task.identifier }
  table[.getpgrp] = { (task: Task, _: Arguments) throws(Errno) -> Int in task.process.group }
  table[.getpgid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try named(task, arguments.i0).group
  }
  table[.getsid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try named(task, arguments.i0).session
  }
  table[.setpgid] = setpgidCall
  table[.setsid] = setsidCall
  registerUserCalls(table)
  registerGroupCalls(table)
}

private func named(_ task: Task, _ identifier: Int) throws(Errno) -> Process {
  if identifier == 0 { return task.process }
  guard let process = task.family.process(identifier) else { throw .ESRCH }
  return process
}

private func setpgidCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let target = try named(task, arguments.i0)
  guard arguments.i1 >= 0 else { throw .EINVAL }
  let group = arguments.i1 == 0 ? target.identifier : arguments.i1
  if target !== task.process {
    guard target.parent === task.process else { throw .ESRCH }
    guard target.session == task.process.session else { throw .EPERM }
    guard !target.hasExecuted else { throw .EACCES }
  }
  guard target.session != target.identifier else { throw .EPERM }
  if group != target.identifier, !task.family.hasGroup(group, inSession: task.process.session) {
    throw .EPERM
  }
  if group != target.group { task.family.move(target, toGroup: group) }
  return 0
}

private func setsidCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let process = task.process
  for other in task.family.processes where other.group == process.identifier { throw .EPERM }
  task.family.moveToOwnSession(process)
  return process.identifier
}

// MARK: Users

private func registerUserCalls(_ table: CallTable) {
  table[.getuid] = { (task: Task, _: Arguments) throws(Errno) -> Int in
    Int(task.process.identity.realUser)
  }
  table[.geteuid] = { (task: Task, _: Arguments) throws(Errno) -> Int in
    Int(task.process.identity.effectiveUser)
  }
  table[.setuid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let user = UInt32(truncatingIfNeeded: arguments.a0)
    try change(task) { (identity) throws(Errno) in
      guard identity.mayBecome(user: user) else { throw .EPERM }
      if identity.isSuperuser {
        identity.realUser = user
        identity.savedUser = user
      }
      identity.effectiveUser = user
      identity.fileUser = user
    }
    return 0
  }
  table[.setreuid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let (real, effective) = (identifier(arguments.a0), identifier(arguments.a1))
    try change(task) { (identity) throws(Errno) in
      let old = identity.realUser
      if let real {
        guard identity.isSuperuser || real == identity.realUser || real == identity.effectiveUser
        else { throw .EPERM }
      }
      if let effective, !identity.mayBecome(user: effective) { throw .EPERM }
      if let real { identity.realUser = real }
      if let effective { identity.effectiveUser = effective }
      if real != nil || (effective != nil && effective != old) {
        identity.savedUser = identity.effectiveUser
      }
      identity.fileUser = identity.effectiveUser
    }
    return 0
  }
  table[.setresuid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let (real, effective) = (identifier(arguments.a0), identifier(arguments.a1))
    let saved = identifier(arguments.a2)
    try change(task) { (identity) throws(Errno) in
      if let real, !identity.mayBecome(user: real) { throw .EPERM }
      if let effective, !identity.mayBecome(user: effective) { throw .EPERM }
      if let saved, !identity.mayBecome(user: saved) { throw .EPERM }
      if let real { identity.realUser = real }
      if let effective { identity.effectiveUser = effective }
      if let saved { identity.savedUser = saved }
      identity.fileUser = identity.effectiveUser
    }
    return 0
  }
  table[.getresuid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let identity = task.process.identity
    try task.store(identity.realUser, at: arguments.a0)
    try task.store(identity.effectiveUser, at: arguments.a1)
    try task.store(identity.savedUser, at: arguments.a2)
    return 0
  }
  table[.setfsuid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let old = task.process.identity.fileUser
    let user = UInt32(truncatingIfNeeded: arguments.a0)
    if task.process.identity.mayBecome(user: user) { task.process.identity.fileUser = user }
    return Int(old)
  }
}

/// A user or group id; nil for -1, which leaves it as it is.
private func identifier(_ argument: UInt64) -> UInt32? {
  let value = UInt32(truncatingIfNeeded: argument)
  return value == .max ? nil : value
}

private func change(
  _ task: Task, _ body: (inout Identity) throws(Errno) -> Void
) throws(Errno) {
  var identity = task.process.identity
  try body(&identity)
  task.process.identity = identity
  for thread in task.process.threads { thread.publishIdentity() }
}

// MARK: Groups

private func registerGroupCalls(_ table: CallTable) {
  table[.getgid] = { (task: Task, _: Arguments) throws(Errno) -> Int in
    Int(task.process.identity.realGroup)
  }
  table[.getegid] = { (task: Task, _: Arguments) throws(Errno) -> Int in
    Int(task.process.identity.effectiveGroup)
  }
  table[.setgid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let group = UInt32(truncatingIfNeeded: arguments.a0)
    try change(task) { (identity) throws(Errno) in
      guard identity.mayBecome(group: group) else { throw .EPERM }
      if identity.isSuperuser {
        identity.realGroup = group
        identity.savedGroup = group
      }
      identity.effectiveGroup = group
      identity.fileGroup = group
    }
    return 0
  }
  table[.setregid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let (real, effective) = (identifier(arguments.a0), identifier(arguments.a1))
    try change(task) { (identity) throws(Errno) in
      let old = identity.realGroup
      if let real {
        guard identity.isSuperuser || real == identity.realGroup || real == identity.effectiveGroup
        else { throw .EPERM }
      }
      if let effective, !identity.mayBecome(group: effective) { throw .EPERM }
      if let real { identity.realGroup = real }
      if let effective { identity.effectiveGroup = effective }
      if real != nil || (effective != nil && effective != old) {
        identity.savedGroup = identity.effectiveGroup
      }
      identity.fileGroup = identity.effectiveGroup
    }
    return 0
  }
  table[.setresgid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let (real, effective) = (identifier(arguments.a0), identifier(arguments.a1))
    let saved = identifier(arguments.a2)
    try change(task) { (identity) throws(Errno) in
      if let real, !identity.mayBecome(group: real) { throw .EPERM }
      if let effective, !identity.mayBecome(group: effective) { throw .EPERM }
      if let saved, !identity.mayBecome(group: saved) { throw .EPERM }
      if let real { identity.realGroup = real }
      if let effective { identity.effectiveGroup = effective }
      if let saved { identity.savedGroup = saved }
      identity.fileGroup = identity.effectiveGroup
    }
    return 0
  }
  table[.getresgid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let identity = task.process.identity
    try task.store(identity.realGroup, at: arguments.a0)
    try task.store(identity.effectiveGroup, at: arguments.a1)
    try task.store(identity.savedGroup, at: arguments.a2)
    return 0
  }
  table[.setfsgid] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let old = task.process.identity.fileGroup
    let group = UInt32(truncatingIfNeeded: arguments.a0)
    if task.process.identity.mayBecome(group: group) { task.process.identity.fileGroup = group }
    return Int(old)
  }
  table[.getgroups] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let groups = task.process.identity.groups
    guard arguments.i0 >= 0 else { throw .EINVAL }
    if arguments.i0 == 0 { return groups.count }
    guard arguments.i0 >= groups.count else { throw .EINVAL }
    let area = try task.memory(at: arguments.a1, count: groups.count * 4, write: true)
    for index in 0..<groups.count { area.store(groups[index], at: index * 4) }
    return groups.count
  }
  table[.setgroups] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    guard task.process.identity.isSuperuser else { throw .EPERM }
    guard arguments.a0 <= 65536 else { throw .EINVAL }
    let count = Int(arguments.a0)
    let area = try task.memory(at: arguments.a1, count: count * 4, write: false)
    var groups: [UInt32] = []
    for index in 0..<count { groups.append(area.load(index * 4, as: UInt32.self)) }
    task.process.identity.groups = groups
    return 0
  }
}
