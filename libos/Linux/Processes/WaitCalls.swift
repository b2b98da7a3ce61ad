// SPDX-License-Identifier: Apache-2.0
// WaitCalls.swift: wait4(2) and waitid(2).

import ApusRuntime
import ApusUnix

func registerWaitCalls(_ table: CallTable) {
  table[.wait4] = wait4Call
  table[.waitid] = waitidCall
}

private let noHang: UInt64 = 1
private let stopped: UInt64 = 2
private let exited: UInt64 = 4
private let continued: UInt64 = 8
private let noWait: UInt64 = 0x0100_0000
/// __WNOTHREAD, __WALL, __WCLONE.
private let cloneOptions: UInt64 = 0xe000_0000
/// __WALL: children of every kind.
private let allKinds: UInt64 = 0x4000_0000
/// __WCLONE: only those whose end sends another signal than SIGCHLD.
private let onlyClones: UInt64 = 0x8000_0000

/// Whether a child is of the kind that the options ask for (wait(2), "Linux-specific options").
private func isOfKind(_ child: Process, _ options: UInt64) -> Bool {
  options & allKinds != 0 || (child.exitSignal != Signal.child) == (options & onlyClones != 0)
}

/// Which children a caller waits for.
private enum Wanted {
  case any
  case process(Int)
  case group(Int)

  func matches(_ child: Process) -> Bool {
    switch self {
    case .any: true
    case .process(let identifier): child.identifier == identifier
    case .group(let group): child.group == group
    }
  }
}

/// What happened to a child, as wait4 encodes it.
private struct ChildNews {
  let child: Process
  let status: Int
  /// CLD_EXITED 1, KILLED 2, DUMPED 3, STOPPED 5, CONTINUED 6.
  let code: Int32
  let isEnd: Bool
}

/// Finds news of a child, or waits for some.
///
/// - Returns: Nil if there are none and the caller does not want to wait.
private func findNews(
  _ task: Task, _ wanted: Wanted, _ options: UInt64
) throws(Errno) -> ChildNews? {
  let process = task.process
  while true {
    var hasMatch = false
    for child in process.children where wanted.matches(child) && isOfKind(child, options) {
      hasMatch = true
      if child.isZombie, options & exited != 0 {
        let status = child.exitStatus
        return ChildNews(
          child: child, status: status, code: status & 0x7f == 0 ? 1 : status & 0x80 != 0 ? 3 : 2,
          isEnd: true)
      }
      if child.isStopping, child.stopIsNews, options & stopped != 0 {
        if options & noWait == 0 { child.stopIsNews = false }
        return ChildNews(
          child: child, status: child.stopSignal << 8 | 0x7f, code: 5, isEnd: false)
      }
      if child.continueIsNews, options & continued != 0 {
        if options & noWait == 0 { child.continueIsNews = false }
        return ChildNews(child: child, status: 0xffff, code: 6, isEnd: false)
      }
    }
    guard hasMatch else { throw .ECHILD }
    if options & noHang != 0 { return nil }
    try task.wait(on: process.childQueue)
  }
}

/// Forgets a child whose end has been told.
private func bury(_ task: Task, _ child: Process) {
  task.process.childrenTicks += child.usedTicks + child.childrenTicks
  task.family.remove(child)
  task.family.clearGraves()
}

private func wait4Call(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let (target, statusAddress, usageAddress) = (arguments.i0, arguments.a1, arguments.a3)
  let options = UInt64(UInt32(truncatingIfNeeded: arguments.a2))
  guard options & ~(noHang | stopped | continued | cloneOptions) == 0 else { throw .EINVAL }
  let wanted: Wanted =
    switch target {
    case -1: .any
    case 0: .group(task.process.group)
    case ..<0: .group(-target)
    default: .process(target)
    }
  guard let news = try findNews(task, wanted, options | exited) else { return 0 }
  let identifier = news.child.identifier
  if statusAddress != 0 { try task.store(Int32(news.status), at: statusAddress) }
  if usageAddress != 0 {
    try task.storeUsage(
      ticks: news.child.usedTicks + news.child.childrenTicks, faults: news.child.minorFaults,
      at: usageAddress)
  }
  if news.isEnd { bury(task, news.child) }
  return identifier
}

private func waitidCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let (type, target, infoAddress) = (arguments.i0, arguments.i1, arguments.a2)
  let options = UInt64(UInt32(truncatingIfNeeded: arguments.a3))
  let usageAddress = arguments.a4
  guard options & ~(noHang | stopped | exited | continued | noWait | cloneOptions) == 0,
    options & (stopped | exited | continued) != 0
  else { throw .EINVAL }
  let wanted: Wanted
  switch type {
  case 0: wanted = .any
  case 1:
    guard target > 0 else { throw .EINVAL }
    wanted = .process(target)
  case 2:
    guard target >= 0 else { throw .EINVAL }
    wanted = .group(target == 0 ? task.process.group : target)
  default: throw .EINVAL
  }
  let news = try findNews(task, wanted, options)
  if infoAddress != 0 {
    let area = try task.memory(at: infoAddress, count: 128, write: true)
    area.part(0, 32).fill(0)
    if let news {
      area.store(Int32(Signal.child), at: 0)
      area.store(news.code, at: 8)
      area.store(Int32(news.child.identifier), at: 16)
      area.store(news.child.identity.realUser, at: 20)
      let status =
        switch news.code {
        case 1: news.status >> 8 & 0xff
        case 5: news.child.stopSignal
        case 6: Signal.resume
        default: news.status & 0x7f
        }
      area.store(Int32(status), at: 24)
    }
  }
  guard let news else { return 0 }
  if usageAddress != 0 {
    try task.storeUsage(
      ticks: news.child.usedTicks + news.child.childrenTicks, faults: news.child.minorFaults,
      at: usageAddress)
  }
  if news.isEnd, options & noWait == 0 { bury(task, news.child) }
  return 0
}
