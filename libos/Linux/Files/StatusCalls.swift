// SPDX-License-Identifier: Apache-2.0
// StatusCalls.swift: what can be known about a file: stat(2), statx(2), access(2), readlink(2).

import ApusRuntime
import ApusUnix

func registerStatusCalls(_ table: CallTable) {
  table[.stat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try statPath(task, AtFlags.workingDirectory, arguments.a0, arguments.a1, 0)
  }
  table[.lstat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try statPath(task, AtFlags.workingDirectory, arguments.a0, arguments.a1, AtFlags.noFollow)
  }
  table[.fstat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try storeStatus(task, try task.file(arguments.i0).status(), arguments.a1)
  }
  table[.newfstatat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try statPath(task, arguments.i0, arguments.a1, arguments.a2, arguments.a3 & 0xffff_ffff)
  }
  table[.statx] = statxCall
  table[.access] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try access(task, AtFlags.workingDirectory, arguments.a0, arguments.i1, 0)
  }
  table[.faccessat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try access(task, arguments.i0, arguments.a1, arguments.i2, 0)
  }
  table[.faccessat2] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try access(task, arguments.i0, arguments.a1, arguments.i2, arguments.a3 & 0xffff_ffff)
  }
  table[.readlink] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try readLink(task, AtFlags.workingDirectory, arguments.a0, arguments.a1, arguments.i2)
  }
  table[.readlinkat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try readLink(task, arguments.i0, arguments.a1, arguments.a2, arguments.i3)
  }
}

private func statPath(
  _ task: Task, _ directory: Int, _ path: UInt64, _ into: UInt64, _ flags: UInt64
) throws(Errno) -> Int {
  guard flags & ~(AtFlags.noFollow | AtFlags.emptyPath | AtFlags.noAutomount) == 0 else { throw .EINVAL }
  let emptyAllowed = flags & AtFlags.emptyPath != 0
  let path = path == 0 && emptyAllowed ? [] : try task.path(path)
  if path.isEmpty && emptyAllowed && directory != AtFlags.workingDirectory {
    return try storeStatus(task, try task.file(directory).status(), into)
  }
  let node = try task.node(
    directory, path, follow: flags & AtFlags.noFollow == 0, emptyAllowed: emptyAllowed)
  return try storeStatus(task, node.status(), into)
}

/// Seconds and nanoseconds of a time, which may lie before 1970.
func split(_ time: Int64) -> (seconds: Int64, nanoseconds: Int64) {
  let (quotient, remainder) = time.quotientAndRemainder(dividingBy: 1_000_000_000)
  return remainder < 0 ? (quotient - 1, remainder + 1_000_000_000) : (quotient, remainder)
}

/// `struct stat` of x86_64 (arch/x86/include/uapi/asm/stat.h).
private func storeStatus(_ task: Task, _ status: FileStatus, _ address: UInt64) throws(Errno) -> Int {
  let bytes = try task.memory(at: address, count: 144, write: true)
  bytes.store(status.device, at: 0)
  bytes.store(status.inode, at: 8)
  bytes.store(UInt64(status.linkCount), at: 16)
  bytes.store(status.mode.rawValue, at: 24)
  bytes.store(status.user, at: 28)
  bytes.store(status.group, at: 32)
  bytes.store(UInt32(0), at: 36)
  bytes.store(status.representedDevice, at: 40)
  bytes.store(status.size, at: 48)
  bytes.store(status.blockSize, at: 56)
  bytes.store(status.blocks, at: 64)
  store(status.accessTime, bytes, at: 72)
  store(status.modificationTime, bytes, at: 88)
  store(status.changeTime, bytes, at: 104)
  bytes.part(120, 24).fill(0)
  return 0
}

private func store(_ time: Int64, _ bytes: Bytes, at offset: Int) {
  let (seconds, nanoseconds) = split(time)
  bytes.store(seconds, at: offset)
  bytes.store(nanoseconds, at: offset + 8)
}

/// `struct statx` (include/uapi/linux/stat.h).
private func statxCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let flags = arguments.a2 & 0xffff_ffff
  // AT_STATX_FORCE_SYNC and AT_STATX_DONT_SYNC exclude each other.
  guard flags & ~(AtFlags.noFollow | AtFlags.emptyPath | AtFlags.noAutomount | 0x6000) == 0,
    flags & 0x6000 != 0x6000, arguments.a3 & 0x8000_0000 == 0
  else { throw .EINVAL }
  let emptyAllowed = flags & AtFlags.emptyPath != 0
  let path = arguments.a1 == 0 && emptyAllowed ? [] : try task.path(arguments.a1)
  let status: FileStatus
  if path.isEmpty && emptyAllowed && arguments.i0 != AtFlags.workingDirectory {
    status = try task.file(arguments.i0).status()
  } else {
    status = try task.node(
      arguments.i0, path, follow: flags & AtFlags.noFollow == 0, emptyAllowed: emptyAllowed
    ).status()
  }
  let bytes = try task.memory(at: arguments.a4, count: 256, write: true)
  bytes.fill(0)
  bytes.store(UInt32(0xfff), at: 0)  // STATX_BASIC_STATS and STATX_BTIME
  bytes.store(UInt32(status.blockSize), at: 4)
  bytes.store(status.linkCount, at: 16)
  bytes.store(status.user, at: 20)
  bytes.store(status.group, at: 24)
  bytes.store(UInt16(truncatingIfNeeded: status.mode.rawValue), at: 28)
  bytes.store(status.inode, at: 32)
  bytes.store(status.size, at: 40)
  bytes.store(status.blocks, at: 48)
  storeExtended(status.accessTime, bytes, at: 64)
  storeExtended(status.birthTime, bytes, at: 80)
  storeExtended(status.changeTime, bytes, at: 96)
  storeExtended(status.modificationTime, bytes, at: 112)
  let represented = DeviceNumber(rawValue: status.representedDevice)
  let device = DeviceNumber(rawValue: status.device)
  bytes.store(represented.major, at: 128)
  bytes.store(represented.minor, at: 132)
  bytes.store(device.major, at: 136)
  bytes.store(device.minor, at: 140)
  return 0
}

private func storeExtended(_ time: Int64, _ bytes: Bytes, at offset: Int) {
  let (seconds, nanoseconds) = split(time)
  bytes.store(seconds, at: offset)
  bytes.store(UInt32(nanoseconds), at: offset + 8)
}

/// access(2) asks for the real user, unless AT_EACCESS is given.
private func access(
  _ task: Task, _ directory: Int, _ path: UInt64, _ mode: Int, _ flags: UInt64
) throws(Errno) -> Int {
  guard mode & ~7 == 0 else { throw .EINVAL }
  guard flags & ~(AtFlags.noFollow | AtFlags.emptyPath | AtFlags.effectiveAccess) == 0 else { throw .EINVAL }
  let identity = task.process.identity
  let who =
    flags & AtFlags.effectiveAccess != 0
    ? task.credentials
    : Credentials(user: identity.realUser, group: identity.realGroup, groups: identity.groups)
  let name = try task.path(path)
  let node: Inode
  if name.isEmpty && flags & AtFlags.emptyPath != 0 {
    node = try task.node(directory, name, follow: true, emptyAllowed: true)
  } else {
    let base = try task.walker(directory, name).base
    node = try PathWalker(task.context, who, base: base)
      .node(name, followLast: flags & AtFlags.noFollow == 0)
  }
  try node.check(AccessRights(rawValue: UInt32(mode)), who)
  return 0
}

private func readLink(
  _ task: Task, _ directory: Int, _ path: UInt64, _ into: UInt64, _ size: Int
) throws(Errno) -> Int {
  guard size > 0 else { throw .EINVAL }
  let name = try task.path(path)
  let node = try task.node(directory, name, follow: false, emptyAllowed: true)
  guard let link = node.asSymbolicLink else { throw name.isEmpty ? .ENOENT : .EINVAL }
  let target = try link.target()
  let count = min(size, target.count)
  try task.copyOut(count == target.count ? target : Array(target[..<count]), to: into)
  return count
}
