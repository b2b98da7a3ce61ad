// SPDX-License-Identifier: Apache-2.0
// AttributeCalls.swift: chmod(2), chown(2), utimensat(2), truncate(2), umask(2) and extended attributes.

import ApusRuntime
import ApusUnix

func registerAttributeCalls(_ table: CallTable) {
  registerModeCalls(table)
  registerTimeCalls(table)
  table[.truncate] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let path = try task.path(arguments.a0)
    guard arguments.s1 >= 0 else { throw .EINVAL }
    let node = try task.node(AtFlags.workingDirectory, path, follow: true)
    if node.asDirectory != nil { throw .EISDIR }
    try node.check(.write, task.credentials)
    try truncate(task, node, arguments.s1)
    return 0
  }
  table[.ftruncate] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let file = try task.file(arguments.i0)
    if file.flags.contains(.path) { throw .EBADF }
    guard file.isWritable, arguments.s1 >= 0 else { throw .EINVAL }
    try truncate(task, file.node, arguments.s1)
    return 0
  }
  registerExtendedAttributeCalls(table)
}

/// No file has extended attributes and none takes any; the file itself must be there.
private func registerExtendedAttributeCalls(_ table: CallTable) {
  let refused: Handler = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    _ = try task.node(AtFlags.workingDirectory, try task.path(arguments.a0), follow: true)
    throw .EOPNOTSUPP
  }
  let refusedLink: Handler = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    _ = try task.node(AtFlags.workingDirectory, try task.path(arguments.a0), follow: false)
    throw .EOPNOTSUPP
  }
  let refusedFile: Handler = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    _ = try task.file(arguments.i0)
    throw .EOPNOTSUPP
  }
  table[.setxattr] = refused
  table[.getxattr] = refused
  table[.removexattr] = refused
  table[.lsetxattr] = refusedLink
  table[.lgetxattr] = refusedLink
  table[.lremovexattr] = refusedLink
  table[.fsetxattr] = refusedFile
  table[.fgetxattr] = refusedFile
  table[.fremovexattr] = refusedFile
  table[.listxattr] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    _ = try task.node(AtFlags.workingDirectory, try task.path(arguments.a0), follow: true)
    return 0
  }
  table[.llistxattr] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    _ = try task.node(AtFlags.workingDirectory, try task.path(arguments.a0), follow: false)
    return 0
  }
  table[.flistxattr] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    _ = try task.file(arguments.i0)
    return 0
  }
}

private func truncate(_ task: Task, _ node: Inode, _ size: Int) throws(Errno) {
  if node.size < Int64(size), UInt64(size) > task.process.limits[1].current {
    task.send(SignalInfo(signal: 25))  // SIGXFSZ
    throw .EFBIG
  }
  try node.truncate(to: Int64(size))
  node.dropSetIdentifiers(task.credentials)
}

private func registerModeCalls(_ table: CallTable) {
  table[.umask] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let old = task.context.mask
    task.context.mask = UInt32(truncatingIfNeeded: arguments.a0) & 0o777
    return Int(old)
  }
  table[.chmod] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try changeMode(task, AtFlags.workingDirectory, arguments.a0, arguments.a1, 0)
  }
  table[.fchmodat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try changeMode(task, arguments.i0, arguments.a1, arguments.a2, 0)
  }
  table[.fchmodat2] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try changeMode(task, arguments.i0, arguments.a1, arguments.a2, arguments.a3 & 0xffff_ffff)
  }
  table[.fchmod] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let file = try task.file(arguments.i0)
    if file.flags.contains(.path) { throw .EBADF }
    try file.node.changePermissions(UInt32(truncatingIfNeeded: arguments.a1), task.credentials)
    return 0
  }
  table[.chown] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try changeOwner(task, AtFlags.workingDirectory, arguments.a0, arguments.a1, arguments.a2, 0)
  }
  table[.lchown] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try changeOwner(
      task, AtFlags.workingDirectory, arguments.a0, arguments.a1, arguments.a2, AtFlags.noFollow)
  }
  table[.fchownat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try changeOwner(
      task, arguments.i0, arguments.a1, arguments.a2, arguments.a3, arguments.a4 & 0xffff_ffff)
  }
  table[.fchown] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let file = try task.file(arguments.i0)
    if file.flags.contains(.path) { throw .EBADF }
    try file.node.changeOwner(
      user: identifier(arguments.a1), group: identifier(arguments.a2), task.credentials)
    return 0
  }
}

private func changeMode(
  _ task: Task, _ directory: Int, _ path: UInt64, _ mode: UInt64, _ flags: UInt64
) throws(Errno) -> Int {
  guard flags & ~(AtFlags.noFollow | AtFlags.emptyPath) == 0 else { throw .EINVAL }
  let node = try task.node(
    directory, try task.path(path), follow: flags & AtFlags.noFollow == 0,
    emptyAllowed: flags & AtFlags.emptyPath != 0)
  try node.changePermissions(UInt32(truncatingIfNeeded: mode), task.credentials)
  return 0
}

/// An id argument; -1 means that it stays.
private func identifier(_ argument: UInt64) -> UInt32? {
  let value = UInt32(truncatingIfNeeded: argument)
  return value == UInt32.max ? nil : value
}

private func changeOwner(
  _ task: Task, _ directory: Int, _ path: UInt64, _ user: UInt64, _ group: UInt64, _ flags: UInt64
) throws(Errno) -> Int {
  guard flags & ~(AtFlags.noFollow | AtFlags.emptyPath) == 0 else { throw .EINVAL }
  let node = try task.node(
    directory, try task.path(path), follow: flags & AtFlags.noFollow == 0,
    emptyAllowed: flags & AtFlags.emptyPath != 0)
  try node.changeOwner(user: identifier(user), group: identifier(group), task.credentials)
  return 0
}

private func registerTimeCalls(_ table: CallTable) {
  table[.utime] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let node = try task.node(AtFlags.workingDirectory, try task.path(arguments.a0), follow: true)
    guard arguments.a1 != 0 else { return try setTimes(task, node, .now, .now) }
    let bytes = try task.memory(at: arguments.a1, count: 16, write: false)
    return try setTimes(
      task, node, .set(seconds(bytes.load(0, as: Int64.self))), .set(seconds(bytes.load(8, as: Int64.self))))
  }
  table[.utimes] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let node = try task.node(AtFlags.workingDirectory, try task.path(arguments.a0), follow: true)
    return try setMicroseconds(task, node, arguments.a1)
  }
  table[.futimesat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let path = arguments.a1 == 0 ? [] : try task.path(arguments.a1)
    let node = try task.node(arguments.i0, path, follow: true, emptyAllowed: arguments.a1 == 0)
    return try setMicroseconds(task, node, arguments.a2)
  }
  table[.utimensat] = utimensatCall
}

private func seconds(_ value: Int64) -> Int64 {
  let (time, overflow) = value.multipliedReportingOverflow(by: 1_000_000_000)
  return overflow ? (value < 0 ? Int64.min : Int64.max) : time
}

private func setTimes(
  _ task: Task, _ node: Inode, _ access: Inode.TimeChange, _ modification: Inode.TimeChange
) throws(Errno) -> Int {
  try node.changeTimes(access: access, modification: modification, task.credentials)
  return 0
}

private func setMicroseconds(_ task: Task, _ node: Inode, _ address: UInt64) throws(Errno) -> Int {
  guard address != 0 else { return try setTimes(task, node, .now, .now) }
  let bytes = try task.memory(at: address, count: 32, write: false)
  let first = bytes.load(8, as: Int64.self)
  let second = bytes.load(24, as: Int64.self)
  guard first >= 0, first < 1_000_000, second >= 0, second < 1_000_000 else { throw .EINVAL }
  return try setTimes(
    task, node, .set(seconds(bytes.load(0, as: Int64.self)) + first * 1000),
    .set(seconds(bytes.load(16, as: Int64.self)) + second * 1000))
}

private func utimensatCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let flags = arguments.a3 & 0xffff_ffff
  guard flags & ~(AtFlags.noFollow | AtFlags.emptyPath) == 0 else { throw .EINVAL }
  var access = Inode.TimeChange.now
  var modification = Inode.TimeChange.now
  if arguments.a2 != 0 {
    let bytes = try task.memory(at: arguments.a2, count: 32, write: false)
    access = try change(bytes, 0)
    modification = try change(bytes, 16)
  }
  // Without a path the descriptor's own file is meant (futimens(3)).
  let path = arguments.a1 == 0 ? [] : try task.path(arguments.a1)
  let node = try task.node(
    arguments.i0, path, follow: flags & AtFlags.noFollow == 0,
    emptyAllowed: arguments.a1 == 0 || flags & AtFlags.emptyPath != 0)
  return try setTimes(task, node, access, modification)
}

/// A `struct timespec` with UTIME_NOW and UTIME_OMIT.
private func change(_ bytes: Bytes, _ offset: Int) throws(Errno) -> Inode.TimeChange {
  let nanoseconds = bytes.load(offset + 8, as: Int64.self)
  if nanoseconds == 0x3fff_ffff { return .now }
  if nanoseconds == 0x3fff_fffe { return .keep }
  guard nanoseconds >= 0, nanoseconds < 1_000_000_000 else { throw .EINVAL }
  let (sum, overflow) = seconds(bytes.load(offset, as: Int64.self)).addingReportingOverflow(nanoseconds)
  return .set(overflow ? Int64.max : sum)
}
