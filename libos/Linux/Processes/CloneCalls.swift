// SPDX-License-Identifier: Apache-2.0
// CloneCalls.swift: new processes and threads: fork(2), vfork(2), clone(2), clone3(2).

import ApusRuntime
import ApusUnix

func registerProcessCalls(_ table: CallTable) {
  table[.fork] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try task.clone(CloneRequest(exitSignal: Signal.child), arguments.registers)
  }
  table[.vfork] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    var request = CloneRequest(exitSignal: Signal.child)
    request.flags = CloneFlags(rawValue: CloneFlags.memory.rawValue | CloneFlags.vfork.rawValue)
    return try task.clone(request, arguments.registers)
  }
  table[.clone] = cloneCall
  table[.clone3] = clone3Call
  table[.exit] = exitCall
  table[.exit_group] = exitGroupCall
  table[.set_tid_address] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    task.clearIdentifierAddress = arguments.a0
    return task.identifier
  }
}

/// The flags of clone(2).
struct CloneFlags: Equatable {
  let rawValue: UInt64
  static var memory: CloneFlags { .init(rawValue: 0x100) }
  static var context: CloneFlags { .init(rawValue: 0x200) }
  static var files: CloneFlags { .init(rawValue: 0x400) }
  static var signalHandlers: CloneFlags { .init(rawValue: 0x800) }
  static var vfork: CloneFlags { .init(rawValue: 0x4000) }
  static var parent: CloneFlags { .init(rawValue: 0x8000) }
  static var thread: CloneFlags { .init(rawValue: 0x1_0000) }
  static var threadStorage: CloneFlags { .init(rawValue: 0x8_0000) }
  static var parentIdentifier: CloneFlags { .init(rawValue: 0x10_0000) }
  static var clearChildIdentifier: CloneFlags { .init(rawValue: 0x20_0000) }
  static var childIdentifier: CloneFlags { .init(rawValue: 0x100_0000) }
  static var clearHandlers: CloneFlags { .init(rawValue: 0x1_0000_0000) }
  /// Namespaces, pidfd, ptrace into cgroup: not there.
  static var unsupported: CloneFlags { .init(rawValue: 0x2_7e02_1080) }

  func contains(_ other: CloneFlags) -> Bool { rawValue & other.rawValue == other.rawValue }
}

/// What a caller of clone asks for.
struct CloneRequest {
  var flags = CloneFlags(rawValue: 0)
  var exitSignal: Int
  /// The child's stack pointer; 0: the parent's.
  var stack: UInt64 = 0
  var parentIdentifierAddress: UInt64 = 0
  var childIdentifierAddress: UInt64 = 0
  var threadStorage: UInt64 = 0

  init(exitSignal: Int) { self.exitSignal = exitSignal }
}

private func cloneCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  var request = CloneRequest(exitSignal: Int(arguments.a0 & 0xff))
  request.flags = CloneFlags(rawValue: arguments.a0 & 0xffff_ff00)
  request.stack = arguments.a1
  request.parentIdentifierAddress = arguments.a2
  request.childIdentifierAddress = arguments.a3
  request.threadStorage = arguments.a4
  return try task.clone(request, arguments.registers)
}

private func clone3Call(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let size = arguments.a1
  guard size >= 64 else { throw .EINVAL }
  guard size <= 4096 else { throw .E2BIG }
  let area = try task.memory(at: arguments.a0, count: Int(size), write: false)
  for offset in 64..<max(64, Int(size)) where area[offset] != 0 { throw .E2BIG }
  let exitSignal = area.load(32, as: UInt64.self)
  guard exitSignal <= UInt64(SignalSet.limit) else { throw .EINVAL }
  var request = CloneRequest(exitSignal: Int(exitSignal))
  request.flags = CloneFlags(rawValue: area.load(0, as: UInt64.self))
  request.childIdentifierAddress = area.load(16, as: UInt64.self)
  request.parentIdentifierAddress = area.load(24, as: UInt64.self)
  let stack = area.load(40, as: UInt64.self)
  let stackSize = area.load(48, as: UInt64.self)
  guard (stack == 0) == (stackSize == 0) else { throw .EINVAL }
  request.stack = stack &+ stackSize
  request.threadStorage = area.load(56, as: UInt64.self)
  return try task.clone(request, arguments.registers)
}

extension Task {
  /// Makes a process or a thread that goes on where this task is, with 0 as the call's result.
  ///
  /// - Returns: The new task's id.
  func clone(_ request: CloneRequest, _ registers: UserRegisters) throws(Errno) -> Int {
    let flags = request.flags
    guard request.exitSignal <= SignalSet.limit else { throw .EINVAL }
    if flags.contains(.thread), !flags.contains(.signalHandlers) { throw .EINVAL }
    if flags.contains(.signalHandlers), !flags.contains(.memory) { throw .EINVAL }
    guard flags.rawValue & CloneFlags.unsupported.rawValue == 0 else { throw .EINVAL }
    if flags.contains(.parentIdentifier) {
      _ = try memory(at: request.parentIdentifierAddress, count: 4, write: true)
    }
    family.clearGraves()
    guard family.hasRoomForProcess(process), let identifier = family.tasks.allocate()
    else { throw .EAGAIN }
    let child: Task
    do throws(Errno) {
      child = try makeChild(request, identifier, registers)
    } catch {
      family.tasks.release(identifier)
      throw error
    }
    if flags.contains(.parentIdentifier) {
      try store(Int32(identifier), at: request.parentIdentifierAddress)
    }
    if flags.contains(.vfork) { waitForVfork(of: child) }
    return identifier
  }

  private func makeChild(
    _ request: CloneRequest, _ identifier: Int, _ registers: UserRegisters
  ) throws(Errno) -> Task {
    let flags = request.flags
    var start = registers.value
    start.rax = 0
    if request.stack != 0 { start.rsp = request.stack }
    if flags.contains(.memory), flags.contains(.childIdentifier) {
      try store(Int32(identifier), at: request.childIdentifierAddress)
    }
    let childMemory = try memory(for: request, start.rsp)
    let knowsIdentifier = storeIdentifier(identifier, request, childMemory)
    let isThread = flags.contains(.thread)
    let childProcess = isThread ? process : process.forked(identifier, request.exitSignal)
    if flags.contains(.clearHandlers) { childProcess.forgetHandlers() }
    let child = Task(
      identifier: identifier, process: childProcess, memory: childMemory,
      descriptors: flags.contains(.files) ? descriptors : descriptors.copy(),
      context: flags.contains(.context) ? context : context.copy())
    child.blocked = blocked
    child.ownName = ownName
    // vfork shares the stack, so its child may use the parent's alternate stack (sigaltstack(2)).
    if !flags.contains(.memory) || flags.contains(.vfork) { child.alternateStack = alternateStack }
    if flags.contains(.clearChildIdentifier) {
      child.clearIdentifierAddress = request.childIdentifierAddress
    }
    if flags.contains(.vfork) { child.vforkParent = self }
    if !knowsIdentifier {
      child.identifierAddress = request.childIdentifierAddress
    }
    guard
      let execution = Execution.start(
        root: childMemory.root, registers: start,
        fsBase: flags.contains(.threadStorage) ? request.threadStorage : Execution.current.fsBase,
        copyVectors: true, owner: child)
    else {
      if !flags.contains(.files) { child.descriptors.closeAll() }
      childMemory.userCount -= 1
      if childMemory.userCount == 0 { memory.takeBack(from: childMemory) }
      throw .EAGAIN
    }
    child.execution = execution
    if child.identifierAddress != 0 { execution.attention = true }
    childProcess.threads.append(child)
    family.tasks.set(identifier, child)
    if !isThread {
      let parent = flags.contains(.parent) ? process.parent ?? process : process
      parent.adopt(childProcess)
      family.add(childProcess)
    }
    child.publishIdentity()
    return child
  }

  private func memory(
    for request: CloneRequest, _ stackPointer: UInt64
  ) throws(Errno) -> AddressSpace {
    if request.flags.contains(.memory) {
      memory.userCount += 1
      return memory
    }
    var writtenSoon = [stackPointer]
    if request.flags.contains(.childIdentifier) {
      writtenSoon.append(request.childIdentifierAddress)
    }
    do throws(OutOfMemory) {
      return try memory.forked(writtenSoon: writtenSoon)
    } catch {
      throw .ENOMEM
    }
  }

  /// Stores the child's id where CLONE_CHILD_SETTID says, in the child's memory.
  ///
  /// - Returns: False if the child has to do it itself, in its own address space.
  private func storeIdentifier(
    _ identifier: Int, _ request: CloneRequest, _ childMemory: AddressSpace
  ) -> Bool {
    let address = request.childIdentifierAddress
    guard request.flags.contains(.childIdentifier), !request.flags.contains(.memory)
    else { return true }
    guard address & 4095 <= 4092, let page = childMemory.copiedPage(at: address)
    else { return false }
    page.bytes.store(Int32(identifier), at: Int(address & 4095))
    return true
  }

  /// Stores the id where the parent could not, at the task's first step.
  func storeIdentifier() {
    let address = identifierAddress
    identifierAddress = 0
    try? store(Int32(identifier), at: address)
  }

  private func waitForVfork(of child: Task) {
    // Only a kill ends this wait early (vfork(2)); the child then goes on without its parent.
    while child.vforkParent === self, !mustLeave { suspend(until: .max) }
    if child.vforkParent === self { child.vforkParent = nil }
  }

  /// The vfork parent may go on: this task has memory of its own, or has ended.
  func finishVfork() {
    guard let parent = vforkParent else { return }
    vforkParent = nil
    parent.wake()
  }
}

extension Process {
  /// A child with everything that fork(2) copies.
  func forked(_ identifier: Int, _ exitSignal: Int) -> Process {
    let child = Process(
      identifier: identifier, family: family, group: group, session: session)
    child.identity = identity
    child.limits = limits
    child.name = name
    child.arguments = arguments
    child.environment = environment
    child.executable = executable
    child.imageBase = imageBase
    child.auxiliaryVector = auxiliaryVector
    child.actions = actions
    child.exitSignal = exitSignal
    child.hasNoNewPrivileges = hasNoNewPrivileges
    return child
  }

  /// All handlers become the default; ignored signals stay ignored.
  func forgetHandlers() {
    for signal in 1...SignalSet.limit where !actions[signal].isIgnore {
      actions[signal] = SignalAction()
    }
  }
}
