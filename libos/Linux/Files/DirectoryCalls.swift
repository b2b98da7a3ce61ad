// SPDX-License-Identifier: Apache-2.0
// DirectoryCalls.swift: getdents(2), getcwd(2), chdir(2), chroot(2).

import ApusRuntime
import ApusUnix

func registerDirectoryCalls(_ table: CallTable) {
  table[.getdents] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try entries(task, arguments, isWide: false)
  }
  table[.getdents64] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try entries(task, arguments, isWide: true)
  }
  table[.getcwd] = getcwdCall
  table[.chdir] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let path = try task.path(arguments.a0)
    let directory = try task.walker(path).directory(path)
    try directory.check(.execute, task.credentials)
    task.context.working = directory
    return 0
  }
  table[.fchdir] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    guard let directory = try task.file(arguments.i0).node.asDirectory else { throw .ENOTDIR }
    try directory.check(.execute, task.credentials)
    task.context.working = directory.top
    return 0
  }
  table[.chroot] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let path = try task.path(arguments.a0)
    let directory = try task.walker(path).directory(path)
    guard task.credentials.isSuperuser else { throw .EPERM }
    task.context.root = directory
    return 0
  }
}

extension Task {
  /// A walker from the working directory.
  fileprivate func walker(_ path: [UInt8]) throws(Errno) -> PathWalker {
    try walker(AtFlags.workingDirectory, path)
  }
}

/// Fills a buffer with `struct linux_dirent64` (or the older `linux_dirent`, whose type is in the last byte).
private func entries(_ task: Task, _ arguments: Arguments, isWide: Bool) throws(Errno) -> Int {
  let file = try task.file(arguments.i0)
  if file.flags.contains(.path) { throw .EBADF }
  guard file.node.asDirectory != nil else { throw .ENOTDIR }
  let size = Int(UInt32(truncatingIfNeeded: arguments.a2))
  let limit = min(size, 64 << 10)
  let bytes = try task.memory(at: arguments.a1, count: limit, write: true)
  let nameOffset = isWide ? 19 : 18
  var done = 0
  while let entry = try file.nextEntry() {
    let length = (nameOffset + entry.name.count + (isWide ? 1 : 2) + 7) & ~7
    if done + length > limit {
      if done == 0 { throw .EINVAL }
      break
    }
    let record = bytes.part(done, length)
    record.store(UInt64(0), at: length - 8)
    record.store(entry.inode, at: 0)
    record.store(entry.position, at: 8)
    record.store(UInt16(length), at: 16)
    if isWide {
      record[18] = entry.kind.directoryEntryType
    }
    record.copy(entry.name, to: nameOffset)
    record[nameOffset + entry.name.count] = 0
    if !isWide { record[length - 1] = entry.kind.directoryEntryType }
    file.offset = entry.position
    done += length
  }
  file.node.contentsRead()
  return done
}

private func getcwdCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  var path = try task.context.path(of: task.context.working)
  path.append(0)
  guard path.count <= PathWalker.pathLimit else { throw .ENAMETOOLONG }
  guard UInt64(path.count) <= arguments.a1 else { throw .ERANGE }
  try task.copyOut(path, to: arguments.a0)
  return path.count
}
