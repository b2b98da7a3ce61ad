// SPDX-License-Identifier: Apache-2.0
// Task.swift: one Linux thread, its place in a process and what it may share with others.

import ApusRuntime
import ApusUnix

/// A Linux task: a thread with its own registers, signal mask and execution.
final class Task: Waiter {
  /// The thread id; of a process's first thread it is the process id.
  private(set) var identifier: Int
  let process: Process
  let family: Family
  /// The application's memory; shared by threads and until exec by a vfork child.
  var memory: AddressSpace
  var descriptors: DescriptorTable
  /// Root and working directory, umask.
  var context: FileContext
  /// Where it runs; nil before its start and after its end.
  var execution: Execution?

  /// Signals that wait until they are unblocked.
  var blocked = SignalSet.empty
  /// Signals for this thread alone.
  var pending = SignalQueue()
  /// The mask that comes back when a call with a mask of its own (sigsuspend, ppoll) has been interrupted.
  var maskToRestore: SignalSet?
  var alternateStack = AlternateStack()

  /// Where to store 0 and wake a futex when the thread ends (set_tid_address(2)).
  var clearIdentifierAddress: UInt64 = 0
  /// Where the task is to store its id first (CLONE_CHILD_SETTID); 0: nowhere.
  var identifierAddress: UInt64 = 0
  /// Head of the robust futex list (set_robust_list(2)).
  var robustList: UInt64 = 0
  /// A vfork parent that waits for this task to exec or end.
  var vforkParent: Task?
  /// The futex word that the task waits for; a requeue changes it.
  var futexAddress: UInt64 = 0
  var futexMask: UInt32 = 0
  var futexWoken = false
  /// The thread's name (prctl(2) PR_SET_NAME); nil: the process's.
  var ownName: [UInt8]?
  /// Sent to the process when its parent ends (PR_SET_PDEATHSIG).
  var parentDeathSignal = 0
  /// The execution has nothing more to do: the entry code ends it.
  var hasLeft = false
  /// In `wait`, for /proc and ps.
  var isWaiting = false
  /// Blocked signals that sigtimedwait waits for.
  var awaited = SignalSet.empty
  /// The last fault: instruction, vector, error code, address; for handlers' frames and reports.
  var faultInstruction: UInt64 = 0
  var faultVector: UInt64 = 0
  var faultError: UInt64 = 0
  var faultAddress: UInt64 = 0
  /// The deadline of the last timeout, and whether the call that follows goes on with it.
  private var lastDeadline: UInt64 = .max
  private var keepsDeadline = false

  init(
    identifier: Int, process: Process, memory: AddressSpace, descriptors: DescriptorTable,
    context: FileContext
  ) {
    self.identifier = identifier
    self.process = process
    self.family = process.family
    self.memory = memory
    self.descriptors = descriptors
    self.context = context
  }

  /// What device nodes and terminals are to this process.
  var opener: Opener { Opener(terminal: controllingTerminal, devices: family.devices) }

  /// Who the task is for permission checks.
  var credentials: Credentials { process.identity.credentials }

  /// The name that ps shows.
  var name: [UInt8] { ownName ?? process.name }

  /// Takes over the process's id when the thread group's leader has ended (execve(2) in a thread).
  func becomeLeader() {
    family.release(identifier)
    identifier = process.identifier
    family.tasks.set(identifier, self)
  }

  // MARK: Waiting

  /// Makes the task runnable; whoever wakes it hands the processor over when it waits itself.
  func wake() {
    guard let execution else { return }
    execution.wake()
    family.handOff = execution
  }

  /// Whether a wait must end for a signal, a stop or the process's end.
  var isInterrupted: Bool {
    @inline(__always) get {
      (pending.set.rawValue | process.pending.set.rawValue) & ~blocked.rawValue != 0
        || mustLeave || process.isStopping
    }
  }

  /// The process ends, or another thread has become the only one that may stay.
  var mustLeave: Bool {
    @inline(__always) get {
      if process.isEnding { return true }
      guard let survivor = process.soleSurvivor else { return false }
      return survivor !== self
    }
  }

  /// Gives up the processor until something is told to the queue.
  ///
  /// Callers check their condition again afterwards, and wait again if it does not hold.
  /// - Returns: Whether the deadline has not passed.
  /// - Throws: `restart` when a signal must be handled first.
  @discardableResult
  func wait(on queue: WaitQueue, deadline: UInt64 = .max) throws(Errno) -> Bool {
    if isInterrupted { throw .restart }
    if family.isOutput(queue) { family.watchOutput() }
    queue.add(self)
    suspend(until: deadline)
    queue.remove(self)
    return deadline == .max || Clock.ticks < deadline
  }

  /// Gives up the processor until something is told to one of the queues.
  @discardableResult
  func wait(on queues: [WaitQueue], deadline: UInt64 = .max) throws(Errno) -> Bool {
    if isInterrupted { throw .restart }
    for queue in queues {
      if family.isOutput(queue) { family.watchOutput() }
      queue.add(self)
    }
    suspend(until: deadline)
    for queue in queues { queue.remove(self) }
    return deadline == .max || Clock.ticks < deadline
  }

  /// Gives up the processor until a deadline, a wake-up, or a signal.
  func wait(until deadline: UInt64) throws(Errno) {
    if isInterrupted { throw .restart }
    suspend(until: deadline)
  }

  /// Sleeps, interrupted or not; whoever is woken next runs at once.
  func suspend(until deadline: UInt64) {
    isWaiting = true
    let next = family.handOff
    family.handOff = nil
    Execution.suspend(deadline: deadline, handOffTo: next)
    isWaiting = false
  }

  /// Lets others run in the middle of a long call; the kernel ends whoever keeps the processor too long.
  ///
  /// As after a wait, the application's memory and descriptors may have been changed by another thread.
  func breathe() { Execution.yield(to: nil) }

  /// The instant when a timeout of this call ends.
  ///
  /// A call that goes on after a stop keeps its first deadline. Ask once in each call.
  func deadline(afterNanoseconds nanoseconds: UInt64) -> UInt64 {
    if keepsDeadline {
      keepsDeadline = false
      return lastDeadline
    }
    lastDeadline = Clock.ticks(afterNanoseconds: nanoseconds)
    return lastDeadline
  }

  /// The call that was interrupted is made again, with the deadline that it had.
  func keepDeadline() { keepsDeadline = true }
  /// A handler runs: whatever comes next is another call.
  func forgetDeadline() { keepsDeadline = false }

  // MARK: Attention

  /// Asks for `attend` before the application goes on, and ends a wait.
  func interrupt() {
    guard let execution else { return }
    execution.attention = true
    execution.wake()
  }

  /// Runs a call under another signal mask; a signal that ends it is handled under that mask.
  func withSignalMask<R>(
    _ address: UInt64, size: UInt64, _ body: () throws(Errno) -> R
  ) throws(Errno) -> R {
    guard address != 0 else { return try body() }
    guard size == 8 else { throw .EINVAL }
    let mask = SignalSet(rawValue: try load(address, as: UInt64.self))
    let old = blocked
    setBlocked(mask)
    do throws(Errno) {
      let result = try body()
      setBlocked(old)
      return result
    } catch {
      if error == .restart || error == .EINTR {
        maskToRestore = old
      } else {
        setBlocked(old)
      }
      throw error
    }
  }

  /// Whether another process uses the same descriptors (CLONE_FILES).
  var sharesDescriptors: Bool {
    for other in family.processes where other !== process {
      for thread in other.threads where thread.descriptors === descriptors { return true }
    }
    return false
  }

  /// Changes the mask; signals that it lets through are handled before the application goes on.
  func setBlocked(_ mask: SignalSet) {
    blocked = mask.subtracting(.unblockable)
    if isInterrupted { execution?.attention = true }
  }

  /// Writes what the entry code answers by itself (getpid(2) and the like) into the execution.
  func publishIdentity() {
    guard let execution else { return }
    let identity = process.identity
    execution.setConstantAnswer(0, UInt64(process.identifier))
    execution.setConstantAnswer(1, UInt64(process.parentIdentifier))
    execution.setConstantAnswer(2, UInt64(identifier))
    execution.setConstantAnswer(3, UInt64(identity.realUser))
    execution.setConstantAnswer(4, UInt64(identity.realGroup))
    execution.setConstantAnswer(5, UInt64(identity.effectiveUser))
    execution.setConstantAnswer(6, UInt64(identity.effectiveGroup))
    execution.setConstantAnswer(7, UInt64(process.group))
  }
}
