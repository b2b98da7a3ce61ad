// SPDX-License-Identifier: Apache-2.0
// OpenCalls.swift: open(2), creat(2), openat(2), openat2(2), close(2), close_range(2), memfd_create(2).

import ApusRuntime
import ApusUnix

func registerOpenCalls(_ table: CallTable) {
  table[.open] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try openFile(
      task, AtFlags.workingDirectory, try task.path(arguments.a0),
      OpenFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a1)), UInt32(truncatingIfNeeded: arguments.a2))
  }
  table[.openat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try openFile(
      task, arguments.i0, try task.path(arguments.a1),
      OpenFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a2)), UInt32(truncatingIfNeeded: arguments.a3))
  }
  table[.creat] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try openFile(
      task, AtFlags.workingDirectory, try task.path(arguments.a0),
      OpenFlags.create.union(.writeOnly).union(.truncate), UInt32(truncatingIfNeeded: arguments.a1))
  }
  table[.openat2] = openat2Call
  table[.close] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try task.descriptors.close(arguments.i0)
    return 0
  }
  table[.close_range] = closeRangeCall
  table[.memfd_create] = memfdCreateCall
}

/// Opens a path and gives it a descriptor.
func openFile(
  _ task: Task, _ directory: Int, _ path: [UInt8], _ requested: OpenFlags, _ mode: UInt32
) throws(Errno) -> Int {
  var flags = requested
  if flags.contains(.path) {
    flags = flags.intersection(OpenFlags.path.union(.directory).union(.noFollow).union(.closeOnExec))
  }
  let closesOnExec = flags.contains(.closeOnExec)
  let file: OpenFile
  if !flags.contains(.path) && flags.contains(.temporary) {
    file = try openTemporary(task, directory, path, flags, mode)
  } else {
    file = try open(task, try task.walker(directory, path), path, flags, mode)
  }
  let descriptor = try task.descriptors.add(file, closesOnExec: closesOnExec)
  if file.isOpenPending {
    do throws(Errno) {
      while file.isOpenPending { try task.wait(on: file.waitQueue) }
    } catch {
      try task.descriptors.close(descriptor)
      throw error
    }
  }
  return descriptor
}

/// Finds or makes the file of a path and opens it.
private func open(
  _ task: Task, _ walker: PathWalker, _ path: [UInt8], _ flags: OpenFlags, _ mode: UInt32
) throws(Errno) -> OpenFile {
  let who = task.credentials
  let creates = flags.contains(.create)
  // Making a file and asking for a directory is refused by newer kernels (open(2), BUGS).
  if creates && flags.contains(.directory) { throw .EINVAL }
  let intent: PathWalker.Intent =
    creates && flags.contains(.exclusive) ? .name : flags.contains(.noFollow) ? .noFollow : .follow
  let place = try walker.walk(path, intent)
  guard let node = place.node else {
    guard creates else { throw .ENOENT }
    let made = try place.createFile(permissions: mode & ~task.context.mask, who)
    return try finish(task, made, place, flags)
  }
  if creates {
    if flags.contains(.exclusive) { throw .EEXIST }
    if node.asDirectory != nil { throw .EISDIR }
  }
  if node.kind == .symbolicLink && !flags.contains(.path) {
    throw flags.contains(.directory) ? .ENOTDIR : .ELOOP
  }
  if flags.contains(.directory) && node.asDirectory == nil { throw .ENOTDIR }
  if node.asDirectory != nil && (flags.isWritable || flags.contains(.truncate)) { throw .EISDIR }
  try node.check(flags.neededRights, who)
  if flags.contains(.noAccessTime) && !who.isSuperuser && who.user != node.user { throw .EPERM }
  if flags.contains(.truncate) && node.kind == .regular {
    try node.truncate(to: 0)
    node.dropSetIdentifiers(who)
  }
  return try finish(task, node, place, flags)
}

private func finish(
  _ task: Task, _ node: Inode, _ place: Location, _ flags: OpenFlags
) throws(Errno) -> OpenFile {
  let file: OpenFile
  if flags.contains(.path) {
    file = PathFile(node, flags)
  } else {
    file = try node.open(flags, task.opener)
  }
  if place.last == .name { file.place = Place(directory: place.directory, name: place.name) }
  if let terminal = file.terminal, !flags.contains(.noControllingTerminal) {
    acquire(task, terminal)
  }
  return file
}

/// A session's leader without a terminal gets the one that it opens (tty(4)).
private func acquire(_ task: Task, _ terminal: Terminal) {
  guard terminal.session == 0, task.process.identifier == task.process.session,
    task.controllingTerminal == nil
  else { return }
  terminal.session = Int32(task.process.session)
  terminal.foregroundGroup = Int32(task.process.group)
}

/// O_TMPFILE: a file without a name.
private func openTemporary(
  _ task: Task, _ directory: Int, _ path: [UInt8], _ flags: OpenFlags, _ mode: UInt32
) throws(Errno) -> OpenFile {
  guard flags.isWritable else { throw .EINVAL }
  let found = try task.walker(directory, path).directory(path)
  try found.check(AccessRights.write.union(.execute), task.credentials)
  let node = RegularNode(
    found.fileSystem, permissions: mode & ~task.context.mask & 0o7777, owner: task.credentials)
  return try node.open(flags, task.opener)
}

/// openat2(2): `struct open_how` has flags, mode and resolve, 8 bytes each.
private func openat2Call(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard arguments.a3 >= 24 else { throw .EINVAL }
  guard arguments.a3 <= 4096 else { throw .E2BIG }
  let how = try task.memory(at: arguments.a2, count: Int(arguments.a3), write: false)
  let flags = how.load(0, as: UInt64.self)
  let mode = how.load(8, as: UInt64.self)
  let resolve = how.load(16, as: UInt64.self)
  var index = 24
  while index < how.count {
    if how[index] != 0 { throw .E2BIG }
    index += 1
  }
  guard flags <= UInt64(UInt32.max), mode <= 0o7777 else { throw .EINVAL }
  // RESOLVE_NO_XDEV and the like would have to be kept to: programs fall back on openat.
  guard resolve == 0 else { throw .EINVAL }
  return try openFile(
    task, arguments.i0, try task.path(arguments.a1), OpenFlags(rawValue: UInt32(flags)), UInt32(mode))
}

private func closeRangeCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let first = UInt32(truncatingIfNeeded: arguments.a0)
  let last = UInt32(truncatingIfNeeded: arguments.a1)
  let flags = arguments.a2
  guard first <= last, flags & ~6 == 0 else { throw .EINVAL }
  if flags & 2 != 0 { task.descriptors = unshared(task) }  // CLOSE_RANGE_UNSHARE
  if flags & 4 != 0 {  // CLOSE_RANGE_CLOEXEC
    var descriptor = Int(first)
    let end = min(Int(last) + 1, task.descriptors.end)
    while descriptor < end {
      if task.descriptors.isOpen(descriptor) { try task.descriptors.setClosesOnExec(descriptor, true) }
      descriptor += 1
    }
  } else {
    task.descriptors.closeRange(Int(first), Int(last))
  }
  return 0
}

/// The task's table if nobody shares it, or else a copy.
private func unshared(_ task: Task) -> DescriptorTable {
  for thread in task.process.threads where thread !== task && thread.descriptors === task.descriptors {
    return task.descriptors.copy()
  }
  return task.descriptors
}

private func memfdCreateCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let name = try task.string(at: arguments.a0, limit: 250)
  // MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL, MFD_EXEC.
  guard arguments.a1 & ~0x1b == 0 else { throw .EINVAL }
  let fileSystem = task.context.root.fileSystem
  let node = RegularNode(fileSystem, permissions: 0o777, owner: task.credentials)
  let file = try node.open(OpenFlags.readWrite.union(.largeFile), task.opener)
  // A directory of its own, without entries, makes the path read as deleted.
  let nowhere = RamDirectory(fileSystem, permissions: 0o700, owner: task.credentials)
  file.place = Place(directory: nowhere, name: ascii("memfd:") + name)
  return try task.descriptors.add(file, closesOnExec: arguments.a1 & 1 != 0)
}
