// SPDX-License-Identifier: Apache-2.0
// SystemCalls.swift: what programs ask about the system, and requests that concern nobody else.

import ApusRuntime
import ApusUnix

func registerSystemCalls(_ table: CallTable) {
  table[.uname] = unameCall
  table[.sysinfo] = sysinfoCall
  table[.getrandom] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    guard arguments.i2 & ~7 == 0, arguments.i2 & 6 != 6 else { throw .EINVAL }
    return try fillRandom(task, arguments.a0, Int(min(arguments.a1, 32 << 20)))
  }
  table[.sethostname] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    task.family.hostName = try name(task, arguments)
    return 0
  }
  table[.setdomainname] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    task.family.domainName = try name(task, arguments)
    return 0
  }
  table[.arch_prctl] = archPrctlCall
  table[.prctl] = prctlCall
  table[.personality] = { (_: Task, _: Arguments) throws(Errno) -> Int in 0 }
  table[.rseq] = { (_: Task, _: Arguments) throws(Errno) -> Int in throw .ENOSYS }
  table[.ptrace] = { (_: Task, _: Arguments) throws(Errno) -> Int in throw .EPERM }
  table[.acct] = { (_: Task, _: Arguments) throws(Errno) -> Int in throw .EPERM }
  table[.reboot] = { (_: Task, _: Arguments) throws(Errno) -> Int in throw .EPERM }
  table[.syslog] = { (_: Task, arguments: Arguments) throws(Errno) -> Int in
    guard arguments.i0 >= 0, arguments.i0 <= 10 else { throw .EINVAL }
    return 0
  }
  table[.capget] = capgetCall
  table[.capset] = { (task: Task, _: Arguments) throws(Errno) -> Int in
    guard task.process.identity.isSuperuser else { throw .EPERM }
    return 0
  }
}

/// Fills in pieces: whoever waits for the processor gets it in between, and a signal ends it early (getrandom(2)).
private func fillRandom(_ task: Task, _ address: UInt64, _ count: Int) throws(Errno) -> Int {
  var done = 0
  while done < count {
    let size = min(count - done, 64 << 10)
    do throws(Errno) {
      Random.fill(try task.memory(at: address &+ UInt64(done), count: size, write: true))
    } catch {
      if done > 0 { break }
      throw error
    }
    done += size
    guard done < count else { break }
    task.breathe()
    if task.isInterrupted { break }
  }
  return done
}

/// What uname calls the system; a release that libraries take for a recent kernel's.
enum SystemName {
  static var system: StaticString { "Linux" }
  static var release: StaticString { "6.1.0-apus" }
  static var version: StaticString { "#1 Apus" }
  static var machine: StaticString { "x86_64" }
}

private func unameCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let area = try task.memory(at: arguments.a0, count: 390, write: true)
  area.fill(0)
  area.copy(ascii(SystemName.system), to: 0)
  area.copy(task.family.hostName, to: 65)
  area.copy(ascii(SystemName.release), to: 130)
  area.copy(ascii(SystemName.version), to: 195)
  area.copy(ascii(SystemName.machine), to: 260)
  area.copy(task.family.domainName, to: 325)
  return 0
}

private func name(_ task: Task, _ arguments: Arguments) throws(Errno) -> [UInt8] {
  guard task.process.identity.isSuperuser else { throw .EPERM }
  guard arguments.a1 <= 64 else { throw .EINVAL }
  return try task.copyIn(arguments.a0, count: Int(arguments.a1))
}

private func sysinfoCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let area = try task.memory(at: arguments.a0, count: 112, write: true)
  area.fill(0)
  area.store(Clock.monotonicNanoseconds / 1_000_000_000, at: 0)
  area.store(UInt64(Page.totalCount) << 12, at: 32)
  area.store(UInt64(Page.freeCount) << 12, at: 40)
  area.store(UInt16(truncatingIfNeeded: task.family.processes.count), at: 80)
  area.store(UInt32(1), at: 104)
  return 0
}

private func archPrctlCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let execution = Execution.current
  switch arguments.i0 {
  case 0x1002:
    guard arguments.a1 < AddressSpace.limit else { throw .EPERM }
    execution.fsBase = arguments.a1
    return 0
  case 0x1003:
    try task.store(execution.fsBase, at: arguments.a1)
    return 0
  default: throw .EINVAL
  }
}

private func prctlCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let process = task.process
  switch arguments.i0 {
  case 1:
    guard arguments.a1 <= UInt64(SignalSet.limit) else { throw .EINVAL }
    task.parentDeathSignal = Int(arguments.a1)
  case 2: try task.store(Int32(task.parentDeathSignal), at: arguments.a1)
  case 3: return process.isDumpable ? 1 : 0
  case 4:
    guard arguments.a1 <= 1 else { throw .EINVAL }
    process.isDumpable = arguments.a1 == 1
  case 8: return 0
  case 15: try setName(task, arguments.a1)
  case 16:
    let area = try task.memory(at: arguments.a1, count: 16, write: true)
    area.fill(0)
    area.copy(task.name)
  case 21: return 0
  case 23: return arguments.a1 <= 40 ? 1 : try refuse(.EINVAL)
  case 24: return 0
  case 29: break
  case 30: return 50_000
  case 36: process.isSubreaper = arguments.a1 != 0
  case 37: try task.store(Int32(process.isSubreaper ? 1 : 0), at: arguments.a1)
  case 38:
    guard arguments.a1 == 1, arguments.a2 == 0 else { throw .EINVAL }
    process.hasNoNewPrivileges = true
  case 39: return process.hasNoNewPrivileges ? 1 : 0
  case 41, 42: break
  default: throw .EINVAL
  }
  return 0
}

private func refuse(_ error: Errno) throws(Errno) -> Int { throw error }

private func setName(_ task: Task, _ address: UInt64) throws(Errno) {
  var name: [UInt8] = []
  while name.count < 15 {
    let byte = try task.load(address &+ UInt64(name.count), as: UInt8.self)
    if byte == 0 { break }
    name.append(byte)
  }
  if task.identifier == task.process.identifier {
    task.process.name = name
  } else {
    task.ownName = name
  }
}

private func capgetCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let header = try task.memory(at: arguments.a0, count: 8, write: true)
  let version = header.load(0, as: UInt32.self)
  let words: Int
  switch version {
  case 0x1998_0330: words = 1
  case 0x2007_1026, 0x2008_0522: words = 2
  default:
    header.store(UInt32(0x2008_0522), at: 0)
    if arguments.a1 == 0 { return 0 }
    throw .EINVAL
  }
  let identifier = Int(header.load(4, as: Int32.self))
  guard identifier == 0 || task.family.tasks[identifier] != nil else { throw .ESRCH }
  if arguments.a1 == 0 { return 0 }
  // Capabilities 0 to 40, in two words of 32; effective, permitted, inheritable.
  let has = task.process.identity.isSuperuser
  let area = try task.memory(at: arguments.a1, count: words * 12, write: true)
  for index in 0..<words {
    let bits: UInt32 = has ? (index == 0 ? .max : 0x1ff) : 0
    area.store(bits, at: index * 12)
    area.store(bits, at: index * 12 + 4)
    area.store(UInt32(0), at: index * 12 + 8)
  }
  return 0
}
