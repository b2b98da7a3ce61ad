// SPDX-License-Identifier: Apache-2.0
// ControlCalls.swift: ioctl(2): terminals (ioctl_tty(2)) and what all files know; sockets stand apart.

import ApusRuntime
import ApusUnix

func registerControlCalls(_ table: CallTable) {
  table[.ioctl] = ioctlCall
}

/// Requests by their numbers (asm-generic/ioctls.h).
private enum Request {
  static var getSettings: UInt32 { 0x5401 }
  static var setSettings: UInt32 { 0x5402 }
  static var setSettingsDrain: UInt32 { 0x5403 }
  static var setSettingsFlush: UInt32 { 0x5404 }
  static var sendBreak: UInt32 { 0x5409 }
  static var flow: UInt32 { 0x540a }
  static var flush: UInt32 { 0x540b }
  static var exclusive: UInt32 { 0x540c }
  static var notExclusive: UInt32 { 0x540d }
  static var becomeControlling: UInt32 { 0x540e }
  static var getGroup: UInt32 { 0x540f }
  static var setGroup: UInt32 { 0x5410 }
  static var outputCount: UInt32 { 0x5411 }
  static var simulateInput: UInt32 { 0x5412 }
  static var getWindowSize: UInt32 { 0x5413 }
  static var setWindowSize: UInt32 { 0x5414 }
  static var inputCount: UInt32 { 0x541b }
  static var nonBlocking: UInt32 { 0x5421 }
  static var notControlling: UInt32 { 0x5422 }
  static var getSession: UInt32 { 0x5429 }
  static var getSettings2: UInt32 { 0x802c_542a }
  static var setSettings2: UInt32 { 0x402c_542b }
  static var setSettings2Drain: UInt32 { 0x402c_542c }
  static var setSettings2Flush: UInt32 { 0x402c_542d }
  static var keepOnExec: UInt32 { 0x5450 }
  static var closeOnExec: UInt32 { 0x5451 }
  static var async: UInt32 { 0x5452 }
  static var getNumber: UInt32 { 0x8004_5430 }
  static var setLock: UInt32 { 0x4004_5431 }
  static var getLock: UInt32 { 0x8004_5439 }
}

private func ioctlCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let file = try task.file(arguments.i0)
  if file.flags.contains(.path) { throw .EBADF }
  let request = UInt32(truncatingIfNeeded: arguments.a1)
  let argument = arguments.a2
  switch request {
  case Request.nonBlocking:
    let isOn = try task.load(argument, as: Int32.self) != 0
    file.flags = isOn ? file.flags.union(.nonBlocking) : file.flags.subtracting(.nonBlocking)
    return 0
  case Request.async: return 0
  case Request.keepOnExec, Request.closeOnExec:
    try task.descriptors.setClosesOnExec(arguments.i0, request == Request.closeOnExec)
    return 0
  case Request.inputCount:
    guard let count = file.readableByteCount else { throw .ENOTTY }
    try task.store(Int32(clamping: count), at: argument)
    return 0
  default: break
  }
  if let master = file.asPseudoTerminal { return try control(task, master, request, argument) }
  if let socket = file.asSocket { return try controlSocket(task, socket, request, argument) }
  guard let terminal = file.terminal else { throw .ENOTTY }
  return try control(task, terminal, request, argument)
}

/// Requests to the master of a pseudo-terminal (ioctl_tty(2)); others are its terminal's.
private func control(
  _ task: Task, _ master: PseudoTerminalMaster, _ request: UInt32, _ argument: UInt64
) throws(Errno) -> Int {
  switch request {
  case Request.getNumber: try task.store(Int32(master.number), at: argument)
  case Request.setLock: master.isLocked = try task.load(argument, as: Int32.self) != 0
  case Request.getLock: try task.store(Int32(master.isLocked ? 1 : 0), at: argument)
  case Request.becomeControlling, Request.notControlling: throw .ENOTTY
  default: return try control(task, master.device, request, argument)
  }
  return 0
}

private func control(
  _ task: Task, _ terminal: Terminal, _ request: UInt32, _ argument: UInt64
) throws(Errno) -> Int {
  switch request {
  case Request.getSettings, Request.getSettings2:
    let size = request == Request.getSettings ? Termios.byteCount : Termios.extendedByteCount
    terminal.settings.store(into: try task.memory(at: argument, count: size, write: true))
  case Request.setSettings, Request.setSettingsDrain, Request.setSettingsFlush, Request.setSettings2,
    Request.setSettings2Drain, Request.setSettings2Flush:
    try task.checkForeground(terminal, signal: Signal.terminalOutput)
    let settings = Termios(from: try task.memory(at: argument, count: Termios.byteCount, write: false))
    terminal.change(
      settings, flush: request == Request.setSettingsFlush || request == Request.setSettings2Flush)
  case Request.getWindowSize:
    let bytes = try task.memory(at: argument, count: 8, write: true)
    bytes.store(terminal.windowSize.rows, at: 0)
    bytes.store(terminal.windowSize.columns, at: 2)
    bytes.store(terminal.windowSize.width, at: 4)
    bytes.store(terminal.windowSize.height, at: 6)
  case Request.setWindowSize:
    let bytes = try task.memory(at: argument, count: 8, write: false)
    var size = WindowSize(rows: bytes.load(0, as: UInt16.self), columns: bytes.load(2, as: UInt16.self))
    size.width = bytes.load(4, as: UInt16.self)
    size.height = bytes.load(6, as: UInt16.self)
    terminal.resize(size)
  case Request.outputCount: try task.store(Int32(0), at: argument)
  case Request.flush:
    guard argument <= 2 else { throw .EINVAL }
    if argument != 1 { terminal.flushInput() }
    if argument != 0 { terminal.flushOutput() }
  case Request.flow:
    guard argument <= 3 else { throw .EINVAL }
    if argument < 2 { terminal.setStopped(argument == 0) }
  case Request.sendBreak, Request.exclusive, Request.notExclusive: break
  case Request.simulateInput:
    guard task.credentials.isSuperuser else { throw .EPERM }
    terminal.receive(try task.memory(at: argument, count: 1, write: false))
  default: return try controlJobs(task, terminal, request, argument)
  }
  return 0
}

/// Sessions and process groups.
private func controlJobs(
  _ task: Task, _ terminal: Terminal, _ request: UInt32, _ argument: UInt64
) throws(Errno) -> Int {
  let process = task.process
  let isOurs = task.controllingTerminal === terminal
  switch request {
  case Request.getGroup:
    guard isOurs else { throw .ENOTTY }
    try task.store(terminal.foregroundGroup, at: argument)
  case Request.setGroup:
    let group = Int(try task.load(argument, as: Int32.self))
    guard isOurs else { throw .ENOTTY }
    guard group > 0 else { throw .EINVAL }
    try task.checkForeground(terminal, signal: Signal.terminalOutput)
    guard task.family.hasGroup(group, inSession: process.session) else { throw .EPERM }
    terminal.foregroundGroup = Int32(group)
  case Request.getSession:
    guard isOurs else { throw .ENOTTY }
    try task.store(terminal.session, at: argument)
  case Request.becomeControlling:
    if isOurs && process.identifier == process.session { return 0 }
    guard process.identifier == process.session, task.controllingTerminal == nil else { throw .EPERM }
    guard terminal.session == 0 || (argument == 1 && task.credentials.isSuperuser) else { throw .EPERM }
    terminal.session = Int32(process.session)
    terminal.foregroundGroup = Int32(process.group)
  case Request.notControlling:
    guard isOurs else { throw .ENOTTY }
    // Only the leader's giving up frees the terminal; the foreground is told (ioctl_tty(2), TIOCNOTTY).
    if process.identifier == process.session {
      let group = Int(terminal.foregroundGroup)
      terminal.session = 0
      terminal.foregroundGroup = 0
      if group != 0 {
        task.family.signal(group: group, Signal.hangup)
        task.family.signal(group: group, Signal.resume)
      }
    }
  default: throw .ENOTTY
  }
  return 0
}
