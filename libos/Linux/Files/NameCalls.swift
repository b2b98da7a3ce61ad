// SPDX-License-Identifier: Apache-2.0
// NameCalls.swift: names that come, go and move: mkdir(2), unlink(2), link(2), symlink(2), rename(2), mknod(2).

import ApusRuntime
import ApusUnix

func registerNameCalls(_ table: CallTable) {
  registerMakingCalls(table)
  table[.rmdir] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try task.location(AtFlags.workingDirectory, arguments.a0).removeDirectory(task.credentials)
    return 0
  }
  table[.unlink] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try task.location(AtFlags.workingDirectory, arguments.a0).unlink(task.credentials)
    return 0
  }
  table[.unlinkat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    guard arguments.a2 & 0xffff_ffff & ~AtFlags.removeDirectory == 0 else { throw .EINVAL }
    let place = try task.location(arguments.i0, arguments.a1)
    if arguments.a2 & AtFlags.removeDirectory != 0 {
      try place.removeDirectory(task.credentials)
    } else {
      try place.unlink(task.credentials)
    }
    return 0
  }
  table[.rename] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try rename(
      task, AtFlags.workingDirectory, arguments.a0, AtFlags.workingDirectory, arguments.a1, 0)
  }
  table[.renameat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try rename(task, arguments.i0, arguments.a1, arguments.i2, arguments.a3, 0)
  }
  table[.renameat2] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try rename(
      task, arguments.i0, arguments.a1, arguments.i2, arguments.a3, UInt32(truncatingIfNeeded: arguments.a4))
  }
}

private func registerMakingCalls(_ table: CallTable) {
  table[.mkdir] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeDirectory(task, AtFlags.workingDirectory, arguments.a0, arguments.a1)
  }
  table[.mkdirat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeDirectory(task, arguments.i0, arguments.a1, arguments.a2)
  }
  table[.mknod] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeNode(task, AtFlags.workingDirectory, arguments.a0, arguments.a1, arguments.a2)
  }
  table[.mknodat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeNode(task, arguments.i0, arguments.a1, arguments.a2, arguments.a3)
  }
  table[.symlink] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeSymbolicLink(task, arguments.a0, AtFlags.workingDirectory, arguments.a1)
  }
  table[.symlinkat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeSymbolicLink(task, arguments.a0, arguments.i1, arguments.a2)
  }
  table[.link] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeLink(task, AtFlags.workingDirectory, arguments.a0, AtFlags.workingDirectory, arguments.a1, 0)
  }
  table[.linkat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try makeLink(
      task, arguments.i0, arguments.a1, arguments.i2, arguments.a3, arguments.a4 & 0xffff_ffff)
  }
}

private func makeDirectory(
  _ task: Task, _ directory: Int, _ path: UInt64, _ mode: UInt64
) throws(Errno) -> Int {
  let permissions = UInt32(truncatingIfNeeded: mode) & 0o7777 & ~task.context.mask
  try task.location(directory, path).makeDirectory(permissions: permissions, task.credentials)
  return 0
}

private func makeNode(
  _ task: Task, _ directory: Int, _ path: UInt64, _ mode: UInt64, _ device: UInt64
) throws(Errno) -> Int {
  var raw = UInt32(truncatingIfNeeded: mode) & 0xffff
  if raw & 0o170000 == 0 { raw |= FileKind.regular.rawValue }
  guard FileKind(rawValue: raw & 0o170000) != nil else { throw .EINVAL }
  var made = FileMode(rawValue: raw)
  made.permissions &= ~task.context.mask
  try task.location(directory, path).makeNode(made, device: DeviceNumber(rawValue: device), task.credentials)
  return 0
}

private func makeSymbolicLink(
  _ task: Task, _ target: UInt64, _ directory: Int, _ path: UInt64
) throws(Errno) -> Int {
  let target = try task.path(target)
  if target.isEmpty { throw .ENOENT }
  try task.location(directory, path).makeSymbolicLink(to: target, task.credentials)
  return 0
}

private func makeLink(
  _ task: Task, _ oldDirectory: Int, _ oldPath: UInt64, _ newDirectory: Int, _ newPath: UInt64,
  _ flags: UInt64
) throws(Errno) -> Int {
  guard flags & ~(AtFlags.follow | AtFlags.emptyPath) == 0 else { throw .EINVAL }
  let file = try task.node(
    oldDirectory, try task.path(oldPath), follow: flags & AtFlags.follow != 0,
    emptyAllowed: flags & AtFlags.emptyPath != 0)
  try task.location(newDirectory, newPath).makeLink(to: file, task.credentials)
  return 0
}

private func rename(
  _ task: Task, _ oldDirectory: Int, _ oldPath: UInt64, _ newDirectory: Int, _ newPath: UInt64,
  _ flags: UInt32
) throws(Errno) -> Int {
  guard flags <= 2 else { throw .EINVAL }
  let source = try task.location(oldDirectory, oldPath)
  let target = try task.location(newDirectory, newPath)
  try source.rename(to: target, RenameFlags(rawValue: flags), task.credentials)
  return 0
}
