// SPDX-License-Identifier: Apache-2.0
// SignalCalls.swift: the Linux calls about signals.

import ApusRuntime
import ApusUnix

func registerSignalCalls(_ table: CallTable) {
  table[.rt_sigaction] = sigactionCall
  table[.rt_sigprocmask] = sigprocmaskCall
  table[.rt_sigpending] = sigpendingCall
  table[.rt_sigsuspend] = sigsuspendCall
  table[.rt_sigtimedwait] = sigtimedwaitCall
  table[.rt_sigqueueinfo] = sigqueueinfoCall
  table[.rt_tgsigqueueinfo] = tgsigqueueinfoCall
  table[.rt_sigreturn] = sigreturnCall
  table[.sigaltstack] = sigaltstackCall
  table[.kill] = killCall
  table[.tkill] = tkillCall
  table[.tgkill] = tgkillCall
  table[.pause] = pauseCall
}

private func sigactionCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let signal = arguments.i0
  let (newAddress, oldAddress) = (arguments.a1, arguments.a2)
  guard arguments.a3 == 8, signal >= 1, signal <= SignalSet.limit else { throw .EINVAL }
  if newAddress != 0, SignalSet.unblockable.contains(signal) { throw .EINVAL }
  let old = task.process.actions[signal]
  var new: SignalAction?
  if newAddress != 0 {
    let area = try task.memory(at: newAddress, count: 32, write: false)
    new = SignalAction(
      handler: area.load(0, as: UInt64.self),
      flags: SignalFlags(rawValue: area.load(8, as: UInt64.self)),
      restorer: area.load(16, as: UInt64.self),
      mask: SignalSet(rawValue: area.load(24, as: UInt64.self)).subtracting(.unblockable))
  }
  if oldAddress != 0 {
    let area = try task.memory(at: oldAddress, count: 32, write: true)
    area.store(old.handler, at: 0)
    area.store(old.flags.rawValue, at: 8)
    area.store(old.restorer, at: 16)
    area.store(old.mask.rawValue, at: 24)
  }
  if let new {
    if new != old { task.process.actions[signal] = new }
    if new.ignores(signal) {
      task.process.pending.drop(.only(signal))
      for thread in task.process.threads { thread.pending.drop(.only(signal)) }
    }
  }
  return 0
}

private func sigprocmaskCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let (how, newAddress, oldAddress) = (arguments.i0, arguments.a1, arguments.a2)
  guard arguments.a3 == 8 else { throw .EINVAL }
  let old = task.blocked
  var mask = old
  if newAddress != 0 {
    let new = SignalSet(rawValue: try task.load(newAddress, as: UInt64.self))
    switch how {
    case 0: mask = old.union(new)
    case 1: mask = old.subtracting(new)
    case 2: mask = new
    default: throw .EINVAL
    }
  }
  if oldAddress != 0 { try task.store(old.rawValue, at: oldAddress) }
  if newAddress != 0 { task.setBlocked(mask) }
  return 0
}

private func sigpendingCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard arguments.a1 <= 8 else { throw .EINVAL }
  let set = task.pending.set.union(task.process.pending.set).intersection(task.blocked)
  try task.store(set.rawValue, at: arguments.a0)
  return 0
}

private func sigsuspendCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard arguments.a1 == 8 else { throw .EINVAL }
  let mask = SignalSet(rawValue: try task.load(arguments.a0, as: UInt64.self))
  let old = task.blocked
  task.setBlocked(mask)
  do throws(Errno) {
    while true { try task.wait(until: .max) }
  } catch {
    task.maskToRestore = old
    throw error
  }
}

private func pauseCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  while true { try task.wait(until: .max) }
}

private func sigtimedwaitCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let (setAddress, infoAddress, timeoutAddress) = (arguments.a0, arguments.a1, arguments.a2)
  guard arguments.a3 == 8 else { throw .EINVAL }
  let wanted = SignalSet(rawValue: try task.load(setAddress, as: UInt64.self))
    .subtracting(.unblockable)
  var deadline = UInt64.max
  if timeoutAddress != 0 {
    deadline = task.deadline(afterNanoseconds: try task.timespec(at: timeoutAddress))
  }
  task.awaited = wanted
  defer { task.awaited = .empty }
  while true {
    let ready = task.pending.set.union(task.process.pending.set).intersection(wanted)
    if !ready.isEmpty {
      let signal = ready.first
      guard let info = task.pending.take(signal) ?? task.process.pending.take(signal) else {
        continue
      }
      if infoAddress != 0 {
        let area = try task.memory(at: infoAddress, count: 128, write: true)
        area.fill(0)
        info.store(in: area)
      }
      return signal
    }
    if deadline != .max, Clock.ticks >= deadline { throw .EAGAIN }
    try task.wait(until: deadline)
  }
}

private func sigreturnCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let registers = arguments.registers
  do throws(Errno) {
    try task.popFrame(registers)
  } catch {
    task.force(SignalInfo(signal: Signal.segmentation, code: SignalInfo.kernelCode))
    return 0
  }
  return Int(truncatingIfNeeded: registers.rax)
}

private func sigaltstackCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let (newAddress, oldAddress) = (arguments.a0, arguments.a1)
  let stackPointer = arguments.registers.rsp
  let old = task.alternateStack
  let isOn = old.contains(stackPointer)
  var new = old
  if newAddress != 0 {
    if isOn { throw .EPERM }
    let area = try task.memory(at: newAddress, count: 24, write: false)
    let flags = UInt64(area.load(8, as: UInt32.self))
    let mode = flags & ~AlternateStack.autoDisarm
    guard mode == 0 || mode == AlternateStack.disable || mode == AlternateStack.onStack
    else { throw .EINVAL }
    if mode == AlternateStack.disable {
      new = AlternateStack()
    } else {
      new = AlternateStack(
        base: area.load(0, as: UInt64.self), size: area.load(16, as: UInt64.self),
        flags: flags & AlternateStack.autoDisarm)
      guard new.size >= AlternateStack.minimumSize else { throw .ENOMEM }
    }
  }
  if oldAddress != 0 {
    let area = try task.memory(at: oldAddress, count: 24, write: true)
    area.store(old.base, at: 0)
    let state =
      old.size == 0 ? AlternateStack.disable : isOn ? AlternateStack.onStack : 0
    area.store(UInt64(state | old.flags), at: 8)
    area.store(old.size, at: 16)
  }
  task.alternateStack = new
  return 0
}

// MARK: Sending

private func senderInfo(_ task: Task, _ signal: Int, code: Int32) -> SignalInfo {
  let sender =
    UInt64(UInt32(task.process.identifier)) | UInt64(task.process.identity.realUser) << 32
  return SignalInfo(signal: signal, code: code, sender: sender)
}

/// Checks a signal number and the right to send it; SIGCONT may go anywhere in the session.
private func checkSending(_ task: Task, _ target: Process, _ signal: Int) throws(Errno) {
  guard signal >= 0, signal <= SignalSet.limit else { throw .EINVAL }
  if task.process.identity.maySignal(target.identity) { return }
  if signal == Signal.resume, target.session == task.process.session { return }
  throw .EPERM
}

/// Delivers to a process; pid 1 is protected from signals of its own family that it does not handle.
private func deliver(_ info: SignalInfo, to target: Process) throws(Errno) {
  guard info.number != 0 else { return }
  guard target.send(info) else { throw .EAGAIN }
}

private func killCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let (identifier, signal) = (arguments.i0, arguments.i1)
  guard signal >= 0, signal <= SignalSet.limit else { throw .EINVAL }
  let info = senderInfo(task, signal, code: SignalInfo.userCode)
  if identifier > 0 {
    guard let target = task.family.process(identifier) ?? task.family.tasks[identifier]?.process
    else { throw .ESRCH }
    try checkSending(task, target, signal)
    try deliver(info, to: target)
    return 0
  }
  let group = identifier == 0 ? task.process.group : -identifier
  var found = false
  var sent = false
  for target in task.family.processes {
    if identifier == -1 {
      if target === task.process || target === task.family.first { continue }
    } else if target.group != group {
      continue
    }
    found = true
    do throws(Errno) {
      try checkSending(task, target, signal)
      try deliver(info, to: target)
      sent = true
    } catch {
      continue
    }
  }
  guard found else { throw .ESRCH }
  guard sent else { throw .EPERM }
  return 0
}

private func sendToThread(
  _ task: Task, _ group: Int?, _ identifier: Int, _ info: SignalInfo
) throws(Errno) -> Int {
  guard identifier > 0, group ?? 1 > 0 else { throw .EINVAL }
  guard let target = task.family.tasks[identifier] else {
    // A zombie leader still has its id.
    guard let process = task.family.process(identifier), group ?? identifier == process.identifier
    else { throw .ESRCH }
    try checkSending(task, process, info.number)
    return 0
  }
  if let group, target.process.identifier != group { throw .ESRCH }
  try checkSending(task, target.process, info.number)
  if info.number != 0 {
    guard target.send(info) else { throw .EAGAIN }
  }
  return 0
}

private func tkillCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  try sendToThread(
    task, nil, arguments.i0, senderInfo(task, arguments.i1, code: SignalInfo.threadCode))
}

private func tgkillCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  try sendToThread(
    task, arguments.i0, arguments.i1,
    senderInfo(task, arguments.i2, code: SignalInfo.threadCode))
}

/// Reads a siginfo of the program's own; it may not claim to come from the kernel or from kill(2).
private func readInfo(
  _ task: Task, _ address: UInt64, _ signal: Int, target: Int
) throws(Errno) -> SignalInfo {
  var info = SignalInfo(from: try task.memory(at: address, count: 128, write: false))
  info.signal = Int32(truncatingIfNeeded: signal)
  if info.code >= 0 || info.code == SignalInfo.threadCode, target != task.process.identifier {
    throw .EPERM
  }
  return info
}

private func sigqueueinfoCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let info = try readInfo(task, arguments.a2, arguments.i1, target: arguments.i0)
  guard let target = task.family.process(arguments.i0) else { throw .ESRCH }
  try checkSending(task, target, info.number)
  try deliver(info, to: target)
  return 0
}

private func tgsigqueueinfoCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let info = try readInfo(task, arguments.a3, arguments.i2, target: arguments.i0)
  return try sendToThread(task, arguments.i0, arguments.i1, info)
}
