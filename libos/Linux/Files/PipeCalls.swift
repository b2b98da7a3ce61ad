// SPDX-License-Identifier: Apache-2.0
// PipeCalls.swift: pipe(2) and eventfd(2).

import ApusRuntime
import ApusUnix

func registerPipeCalls(_ table: CallTable) {
  table[.pipe] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makePipe(task, arguments.a0, .readOnly)
  }
  table[.pipe2] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let flags = OpenFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a1))
    let known = OpenFlags.closeOnExec.union(.nonBlocking).union(.direct)
    guard flags.subtracting(known) == .readOnly else { throw .EINVAL }
    return try makePipe(task, arguments.a0, flags)
  }
  table[.eventfd] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeEventCounter(task, arguments.a0, 0)
  }
  table[.eventfd2] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeEventCounter(task, arguments.a0, UInt32(truncatingIfNeeded: arguments.a1))
  }
}

private func makePipe(_ task: Task, _ address: UInt64, _ flags: OpenFlags) throws(Errno) -> Int {
  let fileSystem = task.family.pipeFileSystem
  let pair = PipeNode.makePair(fileSystem, flags, owner: task.credentials)
  let closes = flags.contains(.closeOnExec)
  let descriptors = task.descriptors
  let reader = try descriptors.add(pair.reader, closesOnExec: closes)
  do throws(Errno) {
    let writer = try descriptors.add(pair.writer, closesOnExec: closes)
    do throws(Errno) {
      let bytes = try task.memory(at: address, count: 8, write: true)
      bytes.store(Int32(reader), at: 0)
      bytes.store(Int32(writer), at: 4)
    } catch {
      try descriptors.close(writer)
      throw error
    }
  } catch {
    try descriptors.close(reader)
    throw error
  }
  return 0
}

private func makeEventCounter(_ task: Task, _ initial: UInt64, _ flags: UInt32) throws(Errno) -> Int {
  let flags = OpenFlags(rawValue: flags)
  // EFD_SEMAPHORE is bit 0; the others are open(2)'s.
  let status = flags.subtracting(.writeOnly)
  guard status.subtracting(OpenFlags.closeOnExec.union(.nonBlocking)) == .readOnly else { throw .EINVAL }
  let file = EventCounter.make(
    task.family.pipeFileSystem, initial: UInt64(UInt32(truncatingIfNeeded: initial)),
    isSemaphore: flags.contains(.writeOnly), OpenFlags.readWrite.union(status.intersection(.nonBlocking)))
  return try task.descriptors.add(file, closesOnExec: flags.contains(.closeOnExec))
}
