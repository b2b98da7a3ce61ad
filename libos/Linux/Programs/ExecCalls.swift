// SPDX-License-Identifier: Apache-2.0
// ExecCalls.swift: execve(2) and execveat(2): a process becomes another program.

import ApusELF
import ApusRuntime
import ApusUnix

func registerExecCalls(_ table: CallTable) {
  table[.execve] = execveCall
  table[.execveat] = execveatCall
}

private let currentDirectory = -100
private let noFollow: UInt64 = 0x100
private let emptyPath: UInt64 = 0x1000

private func execveCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let path = try task.string(at: arguments.a0)
  let executable = try Executable.find(task, path)
  return try task.execute(
    executable, argumentsAt: arguments.a1, environmentAt: arguments.a2, arguments.registers)
}

private func execveatCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let path = try task.string(at: arguments.a1)
  let flags = arguments.a4
  guard flags & ~(noFollow | emptyPath) == 0 else { throw .EINVAL }
  var base: DirectoryNode?
  var opened: OpenFile?
  if path.isEmpty {
    guard flags & emptyPath != 0 else { throw .ENOENT }
    opened = try task.descriptors.file(arguments.i0)
  } else if path[0] != 0x2f, arguments.i0 != currentDirectory {
    guard let directory = try task.descriptors.file(arguments.i0).node.asDirectory
    else { throw .ENOTDIR }
    base = directory
  }
  let executable = try Executable.find(
    task, path, base: base, opened: opened, followsLast: flags & noFollow == 0)
  return try task.execute(
    executable, argumentsAt: arguments.a2, environmentAt: arguments.a3, arguments.registers)
}

extension Task {
  /// Replaces the program with another, with strings from the old one's memory.
  func execute(
    _ executable: Executable, argumentsAt: UInt64, environmentAt: UInt64, _ registers: UserRegisters
  ) throws(Errno) -> Int {
    // Each string costs memory of the LibOS too, so little memory means few strings.
    let limit = Int(
      min(process.limits[ResourceLimit.stack].current / 4, 6 << 20, UInt64(Page.freeCount) << 9))
    var arguments = ProgramStrings()
    var environment = ProgramStrings()
    try arguments.gather(self, at: argumentsAt, limit: limit)
    try environment.gather(self, at: environmentAt, limit: limit)
    if let script = executable.scriptArguments {
      arguments.own = script
      if !arguments.addresses.isEmpty {
        arguments.addresses.removeFirst()
        arguments.lengths.removeFirst()
      }
    } else if arguments.count == 0 {
      // Linux gives a program without argv[0] an empty one.
      arguments.own = [[]]
    }
    return try execute(executable, arguments, environment, registers)
  }

  /// Replaces the program with another.
  ///
  /// - Parameters:
  ///   - executable: The program.
  ///   - arguments: argv.
  ///   - environment: envp.
  ///   - registers: Of the old program; nil for a task that has none and no execution yet.
  /// - Returns: 0.
  /// - Throws: As long as the old program can go on; afterwards it ends by SIGKILL.
  func execute(
    _ executable: Executable, _ arguments: ProgramStrings, _ environment: ProgramStrings,
    _ registers: UserRegisters?
  ) throws(Errno) -> Int {
    var identity = process.identity
    if let user = executable.setUser, !process.hasNoNewPrivileges { identity.effectiveUser = user }
    if let group = executable.setGroup, !process.hasNoNewPrivileges {
      identity.effectiveGroup = group
    }
    let isSecure =
      identity.effectiveUser != identity.realUser || identity.effectiveGroup != identity.realGroup
    let layout = StartLayout(
      arguments: arguments, environment: environment, executable: executable,
      bias: ProgramLoader.bias(of: executable.program), identity: identity, isSecure: isSecure)
    let top = AddressSpace.stackTop
    guard executable.program.start &+ layout.bias >= AddressSpace.lowest,
      executable.program.end &+ layout.bias <= memory.mappingTop
    else { throw .ENOMEM }
    var (stack, pointer, auxiliary) = try layout.build(self, top: top)
    let texts = (joined(arguments), joined(environment))

    do throws(Errno) {
      try becomeOnlyThread()
    } catch {
      stack.release()
      throw error
    }
    // From here on there is no way back.
    var start = Registers.start
    start.rip = executable.program.header.entry &+ layout.bias
    start.rsp = pointer
    guard replaceMemory(layout, stack, top, start, registers) else {
      process.end(status: Signal.kill)
      execution?.attention = true
      return 0
    }

    identity.savedUser = identity.effectiveUser
    identity.fileUser = identity.effectiveUser
    identity.savedGroup = identity.effectiveGroup
    identity.fileGroup = identity.effectiveGroup
    process.identity = identity
    process.arguments = texts.0
    process.environment = texts.1
    process.auxiliaryVector = auxiliary
    process.executable = executable.path
    process.imageBase = layout.bias
    var name = executable.calledPath.lastPathComponent
    if let script = executable.scriptArguments, let called = script.last {
      name = called.lastPathComponent
    }
    process.name = [UInt8](name.prefix(15))
    process.hasExecuted = true
    ownName = nil
    resetSignals()
    process.cancelNamedTimers()
    if sharesDescriptors { descriptors = descriptors.copy() }
    descriptors.closeForExec()
    publishIdentity()
    finishVfork()
    return 0
  }

  /// Ends the other threads; the caller becomes the leader.
  private func becomeOnlyThread() throws(Errno) {
    if process.threads.count > 1 {
      if process.soleSurvivor != nil { throw .EAGAIN }
      process.soleSurvivor = self
      for thread in process.threads where thread !== self { thread.interrupt() }
      while process.threads.count > 1, !process.isEnding { suspend(until: .max) }
      process.soleSurvivor = nil
      if process.isEnding { throw .EAGAIN }
    }
    if identifier != process.identifier { becomeLeader() }
  }

  /// Empties the address space, or takes a new one if the old one is shared, and loads the program.
  private func replaceMemory(
    _ layout: StartLayout, _ stack: StartStack, _ top: UInt64, _ start: Registers,
    _ registers: UserRegisters?
  ) -> Bool {
    clearIdentifierAddress = 0
    robustList = 0
    guard memory.userCount == 1, let registers else {
      return moveToNewMemory(layout, stack, top, start)
    }
    memory.clear()
    let fresh = AddressSpace(root: memory.root, pager: family.pager)
    fresh.stackLimit = process.limits[ResourceLimit.stack].current
    memory = fresh
    do throws(OutOfMemory) {
      let loader = ProgramLoader(
        memory: fresh, executable: layout.executable, bias: layout.bias)
      try loader.mapStack(stack, top: top)
      try loader.load()
    } catch {
      return false
    }
    registers.value = start
    Execution.current.fsBase = 0
    Execution.resetVectors()
    return true
  }

  /// Starts the program in an address space and an execution of its own; the present execution is left.
  private func moveToNewMemory(
    _ layout: StartLayout, _ stack: StartStack, _ top: UInt64, _ start: Registers
  ) -> Bool {
    var stack = stack
    guard let root = PageTable.makeRoot() else {
      stack.release()
      return false
    }
    let fresh = AddressSpace(root: root, pager: family.pager)
    fresh.stackLimit = process.limits[ResourceLimit.stack].current
    var isMapped = false
    do throws(OutOfMemory) {
      let loader = ProgramLoader(
        memory: fresh, executable: layout.executable, bias: layout.bias)
      try loader.mapStack(stack, top: top)
      isMapped = true
      try loader.load()
    } catch {
      if isMapped { stack.release() }
      PageTable.destroyRoot(root: root)
      return false
    }
    guard
      let next = Execution.start(
        root: root, registers: start, fsBase: 0, copyVectors: false, owner: self)
    else {
      stack.release()
      PageTable.destroyRoot(root: root)
      return false
    }
    if let execution {
      memory.userCount -= 1
      family.bury(execution, root: nil)
    }
    memory = fresh
    execution = next
    return true
  }

  /// What exec does to signals: handlers are gone, ignored ones stay so (execve(2)).
  private func resetSignals() {
    for signal in 1...SignalSet.limit {
      let action = process.actions[signal]
      if action == SignalAction() { continue }
      process.actions[signal] = SignalAction(handler: action.isIgnore ? 1 : 0)
    }
    alternateStack = AlternateStack()
  }

  private func joined(_ strings: ProgramStrings) -> [UInt8] {
    var text: [UInt8] = []
    for string in strings.own {
      text += string
      text.append(0)
    }
    for index in 0..<strings.addresses.count {
      let count = strings.lengths[index]
      if let bytes = try? memory(at: strings.addresses[index], count: count, write: false) {
        text += bytes.array
      }
      text.append(0)
    }
    return text
  }
}
