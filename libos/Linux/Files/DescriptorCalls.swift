// SPDX-License-Identifier: Apache-2.0
// DescriptorCalls.swift: dup(2), fcntl(2), lseek(2), flock(2).

import ApusRuntime
import ApusUnix

func registerDescriptorCalls(_ table: CallTable) {
  table[.lseek] = lseekCall
  table[.dup] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try task.descriptors.add(try task.file(arguments.i0))
  }
  table[.dup2] = dup2Call
  table[.dup3] = dup3Call
  table[.fcntl] = fcntlCall
  table[.flock] = flockCall
}

private func lseekCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let file = try task.file(arguments.i0)
  guard let origin = SeekOrigin(rawValue: Int32(truncatingIfNeeded: arguments.a2)) else { throw .EINVAL }
  return Int(try file.seek(Int64(arguments.s1), origin))
}

private func dup2Call(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let file = try task.file(arguments.i0)
  if arguments.i0 == arguments.i1 { return arguments.i1 }
  try task.descriptors.set(arguments.i1, to: file)
  return arguments.i1
}

private func dup3Call(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let flags = OpenFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a2))
  guard flags.subtracting(.closeOnExec) == .readOnly, arguments.i0 != arguments.i1 else { throw .EINVAL }
  try task.descriptors.set(
    arguments.i1, to: try task.file(arguments.i0), closesOnExec: flags.contains(.closeOnExec))
  return arguments.i1
}

/// Whether a file shows no O_LARGEFILE.
private func hasNoOffset(_ file: OpenFile) -> Bool { file.flags.contains(.path) || file.asSocket != nil }

private func fcntlCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let descriptor = arguments.i0
  let file = try task.file(descriptor)
  let argument = arguments.i2
  if file.flags.contains(.path) {
    switch arguments.i1 {
    case 0, 1, 2, 3, 1030: break
    default: throw .EBADF
    }
  }
  switch arguments.i1 {
  case 0, 1030:  // F_DUPFD, F_DUPFD_CLOEXEC
    guard argument >= 0, argument < task.descriptors.limit else { throw .EINVAL }
    return try task.descriptors.add(file, closesOnExec: arguments.i1 == 1030, from: argument)
  case 1: return try task.descriptors.closesOnExec(descriptor) ? 1 : 0
  case 2:
    try task.descriptors.setClosesOnExec(descriptor, argument & 1 != 0)
    return 0
  case 3: return Int(file.flags.union(hasNoOffset(file) ? .readOnly : .largeFile).rawValue)
  case 4:
    let new = OpenFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a2)).intersection(.settable)
    file.flags = file.flags.subtracting(.settable).union(new)
    return 0
  case 5, 36: return try testLock(task, file, arguments.a2, ofFile: arguments.i1 == 36)
  case 6, 37: return try setLock(task, file, arguments.a2, waits: false, ofFile: arguments.i1 == 37)
  case 7, 38: return try setLock(task, file, arguments.a2, waits: true, ofFile: arguments.i1 == 38)
  case 8, 10: return 0  // F_SETOWN, F_SETSIG: no file sends SIGIO
  case 9, 11: return 0
  case 1025: return 2  // F_GETLEASE: F_UNLCK
  case 1031, 1032:  // F_SETPIPE_SZ, F_GETPIPE_SZ
    guard file.pipe != nil else { throw .EBADF }
    if arguments.i1 == 1031 && argument > Pipe.capacity { throw .EPERM }
    return Pipe.capacity
  case 1034: return 1  // F_GET_SEALS: no more seals may be added
  case 1033: throw .EPERM
  default: throw .EINVAL
  }
}

/// `struct flock`: what is asked for, as absolute bytes.
private struct LockRequest {
  let type: Int16
  let start: Int64
  let last: Int64

  init(_ task: Task, _ file: OpenFile, _ address: UInt64) throws(Errno) {
    let bytes = try task.memory(at: address, count: 32, write: false)
    type = bytes.load(0, as: Int16.self)
    let origin = bytes.load(2, as: Int16.self)
    let offset = bytes.load(8, as: Int64.self)
    let length = bytes.load(16, as: Int64.self)
    let base: Int64
    switch origin {
    case 0: base = 0
    case 1: base = file.offset
    case 2: base = file.node.size
    default: throw .EINVAL
    }
    let (from, overflow) = base.addingReportingOverflow(offset)
    guard !overflow else { throw .EOVERFLOW }
    if length >= 0 {
      let (end, tooFar) = from.addingReportingOverflow(length)
      guard from >= 0 else { throw .EINVAL }
      start = from
      last = length == 0 || tooFar ? Int64.max : end - 1
    } else {
      guard from + length >= 0 else { throw .EINVAL }
      start = from + length
      last = from - 1
    }
  }
}

private func locks(of file: OpenFile) -> FileLocks {
  if let locks = file.node.locks { return locks }
  let made = FileLocks()
  file.node.locks = made
  return made
}

private func setLock(
  _ task: Task, _ file: OpenFile, _ address: UInt64, waits: Bool, ofFile: Bool
) throws(Errno) -> Int {
  let request = try LockRequest(task, file, address)
  let owner = ofFile ? LockOwner(file) : LockOwner(task.descriptors)
  switch request.type {
  case 0:
    guard file.isReadable else { throw .EBADF }
  case 1:
    guard file.isWritable else { throw .EBADF }
  case 2:
    file.node.locks?.unlock(owner, request.start, request.last)
    return 0
  default: throw .EINVAL
  }
  let locks = locks(of: file)
  while true {
    do throws(Errno) {
      try locks.lock(
        owner, process: ofFile ? -1 : Int32(task.process.identifier), exclusive: request.type == 1,
        request.start, request.last)
      return 0
    } catch {
      guard waits, error == .EAGAIN else { throw error }
      try task.wait(on: locks.waitQueue)
    }
  }
}

private func testLock(
  _ task: Task, _ file: OpenFile, _ address: UInt64, ofFile: Bool
) throws(Errno) -> Int {
  let request = try LockRequest(task, file, address)
  guard request.type == 0 || request.type == 1 else { throw .EINVAL }
  let owner = ofFile ? LockOwner(file) : LockOwner(task.descriptors)
  let bytes = try task.memory(at: address, count: 32, write: true)
  guard
    let other = file.node.locks?.conflict(owner, exclusive: request.type == 1, request.start, request.last)
  else {
    bytes.store(Int16(2), at: 0)
    return 0
  }
  bytes.store(Int16(other.isExclusive ? 1 : 0), at: 0)
  bytes.store(Int16(0), at: 2)
  bytes.store(other.start, at: 8)
  bytes.store(other.last == Int64.max ? Int64(0) : other.last - other.start + 1, at: 16)
  bytes.store(other.process, at: 24)
  return 0
}

private func flockCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let file = try task.file(arguments.i0)
  let waits = arguments.i1 & 4 == 0
  let operation = arguments.i1 & ~4
  if operation == 8 {
    file.node.locks?.releaseWhole(file)
    return 0
  }
  // LOCK_MAND, which Linux no longer heeds.
  if operation & 32 != 0 { return 0 }
  guard operation == 1 || operation == 2 else { throw .EINVAL }
  let locks = locks(of: file)
  while true {
    do throws(Errno) {
      try locks.lockWhole(file, exclusive: operation == 2)
      return 0
    } catch {
      guard waits, error == .EAGAIN else { throw error }
      try task.wait(on: locks.waitQueue)
    }
  }
}
