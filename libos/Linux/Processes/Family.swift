// SPDX-License-Identifier: Apache-2.0
// Family.swift: everything that descends from one program: its processes, and what they share.

import ApusABI
import ApusNetRing
import ApusRuntime
import ApusUnix

/// The processes of one start, and the LibOS state that all of them see.
final class Family {
  /// Running tasks by id.
  var tasks = TaskTable()
  /// All processes, zombies included, in the order of their starts.
  private(set) var processes: [Process] = []
  /// The process whose end is the end of all (pid 1).
  private(set) var first: Process?
  let calls: CallTable
  /// Every Linux call is written to the host.
  let isTraced: Bool
  /// The environment that was woken last: it gets the rest of a waiter's slice.
  var handOff: Execution?
  var hostName: [UInt8] = ascii("apus")
  var domainName: [UInt8] = ascii("(none)")
  let futexes = FutexTable()
  let startTicks = Clock.ticks
  /// Processes started so far (/proc/stat).
  private(set) var startedCount = 0
  /// What device nodes stand for, the host's console among them; set before the first process starts.
  var devices: Devices?
  /// Where pipes are numbered (PIPEFS_MAGIC, statfs(2)).
  let pipeFileSystem = FileSystem(device: 0x0c, typeName: "pipefs", magic: 0x5049_5045)
  /// Where sockets are numbered (SOCKFS_MAGIC).
  let socketFileSystem = FileSystem(device: 0x08, typeName: "sockfs", magic: 0x534f_434b)
  /// Names of local sockets that are not in the file tree.
  let localNames = LocalNames()
  /// The network as its processes see it.
  private(set) lazy var network = makeLoopback()
  /// The machine's card, if the network is on it.
  var card: NetworkInterface?
  /// Looks after the network when something is due.
  var networkTimer: Execution?
  /// Takes in what arrives from the card.
  var networkWatcher: Execution?
  /// The host's streams and terminal.
  var console: HostConsole? { devices?.console }
  /// Wakes who waits for the host to take output.
  var outputWatcher: Execution?
  let timers = TimerQueue()
  /// Answers when frames are asked back, if the start command named a policy.
  var pager: Pager?
  private var graves: [Grave] = []
  private var missing: [MissingCall] = []

  /// An execution that has ended, and the page tables that go with it.
  private struct Grave {
    let execution: Execution
    let root: UInt32?
  }

  private struct MissingCall {
    let number: Int
    let program: [UInt8]
  }

  init(isTraced: Bool) {
    self.isTraced = isTraced
    calls = CallTable.complete()
    Execution.answersEnabled = !isTraced
  }

  private func makeLoopback() -> Network {
    let made = Network(socketFileSystem, secret: .random())
    watchDeadlines(made)
    return made
  }

  /// Takes the network of the card instead of only the loopback; before any program runs.
  func setNetwork(_ network: Network) {
    self.network = network
    watchDeadlines(network)
  }

  // MARK: Processes

  /// Adds a process; the first one is the family's pid 1.
  func add(_ process: Process) {
    if first == nil { first = process }
    processes.append(process)
    tasks.hold(process.group)
    tasks.hold(process.session)
    startedCount += 1
  }

  /// The process of an id, zombies included.
  func process(_ identifier: Int) -> Process? {
    if let task = tasks[identifier], task.process.identifier == identifier { return task.process }
    for process in processes where process.identifier == identifier { return process }
    return nil
  }

  /// Forgets a process that has been waited for.
  func remove(_ process: Process) {
    var index = processes.count
    while index > 0 {
      index -= 1
      if processes[index] === process {
        processes.remove(at: index)
        break
      }
    }
    process.parent?.disown(process)
    tasks.release(process.group)
    tasks.release(process.session)
    tasks.release(process.identifier)
  }

  /// Ends an id's hold by its task.
  func release(_ identifier: Int) {
    tasks.set(identifier, nil)
    tasks.release(identifier)
  }

  /// Moves a process to another group.
  func move(_ process: Process, toGroup group: Int) {
    tasks.hold(group)
    tasks.release(process.group)
    process.group = group
    for thread in process.threads { thread.publishIdentity() }
  }

  /// Moves a process to a session and group of its own.
  func moveToOwnSession(_ process: Process) {
    move(process, toGroup: process.identifier)
    tasks.hold(process.identifier)
    tasks.release(process.session)
    process.session = process.identifier
  }

  /// Whether a group has a process in a session.
  func hasGroup(_ group: Int, inSession session: Int) -> Bool {
    for process in processes
    where process.group == group && process.session == session && !process.isZombie {
      return true
    }
    return false
  }

  /// Whether nobody outside of the group could continue it (POSIX: an orphaned process group).
  func isOrphaned(group: Int) -> Bool {
    for process in processes where process.group == group && !process.isZombie {
      if let parent = process.parent, parent.group != group, parent.session == process.session,
        parent !== first || first?.session == process.session
      {
        return false
      }
    }
    return true
  }

  /// Sends a signal to every process of a group.
  ///
  /// - Returns: Whether there was one.
  @discardableResult
  func signal(group: Int, _ signal: Int) -> Bool {
    var any = false
    for process in processes where process.group == group && !process.isZombie {
      process.send(SignalInfo(signal: signal, code: SignalInfo.kernelCode))
      any = true
    }
    return any
  }

  /// Whether another process or thread may start: the LibOS itself needs memory for each.
  func hasRoomForProcess(_ parent: Process) -> Bool {
    if Page.freeCount < Family.pageReserve { return false }
    if parent.identity.isSuperuser { return true }
    var count: UInt64 = 0
    for process in processes where process.identity.realUser == parent.identity.realUser {
      count += 1
    }
    return count < parent.limits[ResourceLimit.processes].current
  }

  /// Pages that must be free for a start.
  private static var pageReserve: Int { 256 }

  // MARK: What is left of the dead

  /// Keeps an execution that is about to end until somebody else can free it.
  func bury(_ execution: Execution, root: UInt32?) {
    graves.append(Grave(execution: execution, root: root))
  }

  /// Frees the executions that have ended; called by others than themselves.
  func clearGraves() {
    guard !graves.isEmpty else { return }
    let current = Execution.current
    var kept: [Grave] = []
    for grave in graves {
      if grave.execution === current {
        kept.append(grave)
        continue
      }
      grave.execution.reap()
      if let root = grave.root { PageTable.destroyRoot(root: root) }
    }
    graves = kept
  }

  /// Whether a call's absence has not been said yet for a program.
  func isFirstMissing(_ number: Int, _ program: [UInt8]) -> Bool {
    for call in missing where call.number == number && call.program == program { return false }
    missing.append(MissingCall(number: number, program: program))
    return true
  }

  /// The first process has ended: tells the host and turns the machine off.
  func finish(status: Int) -> Never {
    settleNetwork()
    let code = status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f)
    if let console = devices?.console {
      while !console.flush() { Execution.suspendForConsoleOutput(deadline: Clock.ticks(afterNanoseconds: 1_000_000)) }
    }
    Console.flush()
    var record: [UInt8] = [UInt8(truncatingIfNeeded: code), 0, 0, 0]
    Bytes.withArray(&record) { bytes in
      while Console.write(.exit, bytes) == 0 { Console.flush() }
    }
    Console.flush()
    Console.powerOff(status: code)
  }
}
