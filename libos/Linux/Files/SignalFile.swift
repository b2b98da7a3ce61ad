// SPDX-License-Identifier: Apache-2.0
// SignalFile.swift: signals that are read like a file (signalfd(2)).

import ApusRuntime
import ApusUnix

func registerSignalFileCalls(_ table: CallTable) {
  table[.signalfd] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeSignalFile(task, arguments, .readOnly)
  }
  table[.signalfd4] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeSignalFile(task, arguments, OpenFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a3)))
  }
}

/// An open file that gives the blocked signals of whoever reads it.
final class SignalFile: OpenFile {
  /// Which signals.
  var wanted: SignalSet
  /// Whose signals wake waiters: those of the process that made it.
  private let queue: WaitQueue

  init(_ node: Inode, _ wanted: SignalSet, _ queue: WaitQueue, _ flags: OpenFlags) {
    self.wanted = wanted
    self.queue = queue
    super.init(node, flags)
  }

  override var waitQueue: WaitQueue { queue }
  override func anonymousName() -> [UInt8] { ascii("anon_inode:[signalfd]") }

  private func ready(_ task: Task) -> SignalSet {
    task.pending.set.union(task.process.pending.set).intersection(wanted)
  }

  override func poll() -> PollEvents {
    ready(Execution.currentOwner(as: Task.self)).isEmpty ? .none : .readable
  }

  override func read(_ into: Bytes) throws(Errno) -> Int {
    guard into.count >= 128 else { throw .EINVAL }
    let task = Execution.currentOwner(as: Task.self)
    var done = 0
    while done + 128 <= into.count {
      let signals = ready(task)
      if signals.isEmpty { break }
      let signal = signals.first
      guard let info = task.pending.take(signal) ?? task.process.pending.take(signal) else { break }
      store(info, into.part(done, 128))
      done += 128
    }
    if done == 0 { throw .EAGAIN }
    return done
  }

  /// `struct signalfd_siginfo`.
  private func store(_ info: SignalInfo, _ bytes: Bytes) {
    bytes.fill(0)
    bytes.store(info.signal, at: 0)
    bytes.store(info.error, at: 4)
    bytes.store(info.code, at: 8)
    bytes.store(UInt32(truncatingIfNeeded: info.sender), at: 12)
    bytes.store(UInt32(truncatingIfNeeded: info.sender >> 32), at: 16)
    bytes.store(Int32(truncatingIfNeeded: info.value), at: 40)
    bytes.store(Int32(truncatingIfNeeded: info.value), at: 44)
    bytes.store(info.value, at: 48)
  }
}

private func makeSignalFile(_ task: Task, _ arguments: Arguments, _ flags: OpenFlags) throws(Errno) -> Int {
  guard arguments.a2 == 8, flags.subtracting(OpenFlags.closeOnExec.union(.nonBlocking)) == .readOnly
  else { throw .EINVAL }
  let wanted = SignalSet(rawValue: try task.load(arguments.a1, as: UInt64.self)).subtracting(.unblockable)
  if arguments.i0 != -1 {
    guard let file = try task.file(arguments.i0) as? SignalFile else { throw .EINVAL }
    file.wanted = wanted
    return arguments.i0
  }
  let node = Inode(task.family.pipeFileSystem, FileMode(.regular, 0o600), owner: task.credentials)
  node.linkCount = 1
  let file = SignalFile(
    node, wanted, task.process.signalQueue, OpenFlags.readWrite.union(flags.intersection(.nonBlocking)))
  return try task.descriptors.add(file, closesOnExec: flags.contains(.closeOnExec))
}
