// SPDX-License-Identifier: Apache-2.0
// ExitCalls.swift: the end of threads and processes.

import ApusRuntime
import ApusUnix

func exitCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  task.process.setStatusUnlessEnding((arguments.i0 & 0xff) << 8)
  task.leave()
  return 0
}

func exitGroupCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  task.process.end(status: (arguments.i0 & 0xff) << 8)
  task.leave()
  return 0
}

extension Task {
  /// Ends the thread, and the process with its last one.
  ///
  /// The entry code then ends the execution.
  ///
  /// Nothing may use the application's memory after this.
  func leave() {
    guard !hasLeft else { return }
    hasLeft = true
    releaseFutexes()
    finishVfork()
    let process = process
    removeFromThreads()
    family.tasks.set(identifier, nil)
    if identifier != process.identifier { family.tasks.release(identifier) }
    if let survivor = process.soleSurvivor { survivor.execution?.wake() }
    if let execution { process.endedThreadTicks += execution.ticksUsed }

    let isLast = process.threads.isEmpty
    if isLast { endProcess() }
    memory.userCount -= 1
    var root: UInt32?
    if memory.userCount == 0 {
      memory.clear()
      root = memory.root
    }
    if let execution { family.bury(execution, root: root) }
    execution = nil
  }

  /// Stores 0 where the thread's joiner looks, and wakes it (set_tid_address(2)); marks robust futexes.
  private func releaseFutexes() {
    releaseRobustFutexes()
    // A process that ends alone has nobody who could look.
    guard clearIdentifierAddress != 0, memory.userCount > 1 else { return }
    let address = clearIdentifierAddress
    clearIdentifierAddress = 0
    do throws(Errno) {
      try store(UInt32(0), at: address)
      family.futexes.wake(memory, address, count: 1, mask: .max)
    } catch {
      return
    }
  }

  private func removeFromThreads() {
    for index in 0..<process.threads.count where process.threads[index] === self {
      process.threads.remove(at: index)
      return
    }
  }

  private func endProcess() {
    let process = process
    if process === family.first {
      family.closeConnections(descriptors)
      family.finish(status: process.exitStatus)
    }
    if !sharesDescriptors { descriptors.closeAll() }
    process.cancelTimers()
    process.becomeZombie()
    endSessionOfLeader()
    if let heir = family.first { process.handChildren(to: heir) }
    guard let parent = process.parent else { return }
    let vanishes = parent.ignoresChildren && process.exitSignal == Signal.child
    parent.childHasChanged(process)
    if vanishes { family.remove(process) }
  }

  /// A session leader's end hangs the terminal up for its foreground group (setsid(2), credentials(7)).
  private func endSessionOfLeader() {
    guard process.session == process.identifier,
      let terminal = family.devices?.terminal(ofSession: Int32(process.session))
    else { return }
    if terminal.foregroundGroup != 0 {
      family.signal(group: Int(terminal.foregroundGroup), Signal.hangup)
      family.signal(group: Int(terminal.foregroundGroup), Signal.resume)
    }
    terminal.session = 0
    terminal.foregroundGroup = 0
  }
}
