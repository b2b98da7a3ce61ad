// SPDX-License-Identifier: Apache-2.0
// Process.swift: a thread group: what its threads have in common, and what its parent learns of it.

import ApusRuntime
import ApusUnix

/// A Linux process.
final class Process {
  let identifier: Int
  let family: Family
  /// Who is told of its end; nil only for the first process.
  private(set) var parent: Process?
  private(set) var children: [Process] = []
  var threads: [Task] = []
  /// The process group and the session.
  var group: Int
  var session: Int
  /// It has called exec since it was forked: its parent may no longer move it to another group.
  var hasExecuted = false

  var identity = Identity()
  var limits = ResourceLimit.initial
  /// The last component of the program's path, at most 15 bytes (comm).
  var name: [UInt8] = []
  /// The arguments, each closed by a zero byte (/proc/self/cmdline).
  var arguments: [UInt8] = []
  /// The environment that the program started with (/proc/self/environ).
  var environment: [UInt8] = []
  /// The program's absolute path (/proc/self/exe).
  var executable: [UInt8] = []
  /// What was added to the addresses of the program's file.
  var imageBase: UInt64 = 0
  /// The vector that the program started with (/proc/self/auxv).
  var auxiliaryVector: [UInt8] = []
  var isDumpable = true
  var hasNoNewPrivileges = false
  var isSubreaper = false

  /// What to do on each signal, by number.
  var actions = [SignalAction](repeating: SignalAction(), count: SignalSet.limit + 1)
  /// Signals for any thread of the process.
  var pending = SignalQueue()
  /// The signal that tells the parent of the end; 0: none (clone(2)).
  var exitSignal = Signal.child
  /// The timer of setitimer's ITIMER_REAL, once it has been used.
  var alarm: IntervalTimer?
  /// The timers of timer_create, by id.
  var namedTimers: [IntervalTimer?] = []

  /// All threads are to end, with this status (the shape that wait4 stores).
  private(set) var isEnding = false
  private(set) var exitStatus = 0
  /// The threads are to stop at their next safe point.
  private(set) var isStopping = false
  private(set) var stopSignal = 0
  /// Not yet reported to the parent by wait4.
  var stopIsNews = false
  var continueIsNews = false
  /// All threads have ended; only the status is left.
  private(set) var isZombie = false
  /// The execution of a thread that wants to be the only one (execve(2)).
  var soleSurvivor: Task?

  let childQueue = WaitQueue()
  /// Told when the process ends (pidfd_open(2)), and when a signal arrives for it (signalfd(2)).
  let endQueue = WaitQueue()
  let signalQueue = WaitQueue()
  private let stopQueue = WaitQueue()
  let startTicks = Clock.ticks
  /// Processor time of the threads that have ended, and of the children that were waited for, in ticks.
  var endedThreadTicks: UInt64 = 0
  var childrenTicks: UInt64 = 0
  var minorFaults = 0

  init(identifier: Int, family: Family, group: Int, session: Int) {
    self.identifier = identifier
    self.family = family
    self.group = group
    self.session = session
  }

  var parentIdentifier: Int { parent?.identifier ?? 0 }
  /// The thread whose id is the process's, or another one that is still there.
  var mainThread: Task? { threads.first }

  // MARK: Parents and children

  /// Makes a process the child of another.
  func adopt(_ child: Process) {
    child.parent = self
    children.append(child)
  }

  /// Takes a child out of the list.
  func disown(_ child: Process) {
    var index = children.count
    while index > 0 {
      index -= 1
      if children[index] === child {
        children.remove(at: index)
        break
      }
    }
    child.parent = nil
  }

  /// Hands the children to another process when this one ends.
  func handChildren(to heir: Process) {
    let orphans = children
    children = []
    for child in orphans {
      heir.adopt(child)
      // A new parent did not choose the signal (reparent_leader in Linux's kernel/exit.c).
      child.exitSignal = Signal.child
      for thread in child.threads {
        thread.publishIdentity()
        if thread.parentDeathSignal != 0 { child.send(SignalInfo(signal: thread.parentDeathSignal)) }
      }
      if child.isZombie { heir.childHasChanged(child) }
    }
  }

  /// Tells the parent that something happened to a child: SIGCHLD, and the end of its wait.
  ///
  /// - Parameters:
  ///   - child: Who has changed.
  ///   - code: CLD_STOPPED 5 or CLD_CONTINUED 6 (sigaction(2)); nil: the child has ended.
  func childHasChanged(_ child: Process, code: Int32? = nil) {
    let status = child.exitStatus
    var signal = child.exitSignal
    var info = SignalInfo(signal: Signal.child)
    if let code {
      signal = Signal.child
      info.code = code
      info.value = UInt64(code == 5 ? child.stopSignal : Signal.resume)
    } else {
      info.code = status & 0x7f == 0 ? 1 : status & 0x80 != 0 ? 3 : 2
      info.value = UInt64(status & 0x7f == 0 ? status >> 8 & 0xff : status & 0x7f)
    }
    info.sender = UInt64(UInt32(child.identifier)) | UInt64(child.identity.realUser) << 32
    if signal != 0 {
      info.signal = Int32(signal)
      let action = actions[Signal.child]
      // SA_NOCLDSTOP: stops and continues are not told.
      if code == nil || !action.flags.contains(.noChildStop) { send(info) }
    }
    childQueue.wakeAll()
  }

  /// Whether children vanish without a wait (signal(7): SIGCHLD ignored or SA_NOCLDWAIT).
  var ignoresChildren: Bool {
    let action = actions[Signal.child]
    return action.isIgnore || action.flags.contains(.noChildWait)
  }

  // MARK: Ending and stopping

  /// Makes all threads end; the first status stays.
  func end(status: Int) {
    guard !isEnding else { return }
    isEnding = true
    exitStatus = status
    isStopping = false
    stopQueue.wakeAll()
    for thread in threads { thread.interrupt() }
  }

  /// The last thread has ended.
  func becomeZombie() {
    isZombie = true
    endQueue.wakeAll()
  }

  /// Sets the status of a process whose last thread ends by exit(2), not exit_group(2).
  func setStatusUnlessEnding(_ status: Int) {
    if !isEnding { exitStatus = status }
  }

  /// Stops all threads at their next safe point and tells the parent.
  func stop(by signal: Int) {
    guard !isEnding, !isStopping else { return }
    isStopping = true
    stopSignal = signal
    stopIsNews = true
    continueIsNews = false
    for thread in threads { thread.interrupt() }
    parent?.childHasChanged(self, code: 5)
  }

  /// Lets a stopped process go on.
  func resume() {
    guard isStopping else { return }
    isStopping = false
    stopIsNews = false
    continueIsNews = true
    stopQueue.wakeAll()
    parent?.childHasChanged(self, code: 6)
  }

  /// Holds a thread while the process is stopped.
  func hold(_ task: Task) {
    while isStopping, !isEnding {
      stopQueue.add(task)
      task.suspend(until: .max)
      stopQueue.remove(task)
    }
  }

  /// Processor time used by the process's threads, in ticks.
  var usedTicks: UInt64 {
    var sum = endedThreadTicks
    for thread in threads {
      if let execution = thread.execution { sum += execution.ticksUsed }
    }
    return sum
  }

  /// The state letter of ps and /proc: R, S, T or Z.
  var stateLetter: UInt8 {
    if isZombie { return 0x5a }
    if isStopping { return 0x54 }
    for thread in threads where !thread.isWaiting { return 0x52 }
    return 0x53
  }
}
