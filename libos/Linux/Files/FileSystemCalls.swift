// SPDX-License-Identifier: Apache-2.0
// FileSystemCalls.swift: whole file systems, space and durability: statfs(2), sync(2), fallocate(2), mount(2).

import ApusRuntime
import ApusUnix

func registerFileSystemCalls(_ table: CallTable) {
  table[.statfs] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let node = try task.node(AtFlags.workingDirectory, try task.path(arguments.a0), follow: true)
    return try storeFileSystem(task, node.fileSystem, arguments.a1)
  }
  table[.fstatfs] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try storeFileSystem(task, try task.file(arguments.i0).node.fileSystem, arguments.a1)
  }
  registerSyncCalls(table)
  table[.fallocate] = fallocateCall
  let refused: Handler = { (task: Task, _: Arguments) throws(Errno) -> Int in throw .EPERM }
  table[.mount] = refused
  table[.umount2] = refused
  table[.pivot_root] = refused
}

/// Files live in memory: nothing has to be written anywhere, and only the descriptor is checked.
private func registerSyncCalls(_ table: CallTable) {
  let check: Handler = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let file = try task.file(arguments.i0)
    if file.flags.contains(.path) { throw .EBADF }
    switch file.node.kind {
    case .fifo, .socket, .characterDevice: throw .EINVAL
    default: return 0
    }
  }
  table[.fsync] = check
  table[.fdatasync] = check
  table[.sync_file_range] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let file = try task.file(arguments.i0)
    guard arguments.s1 >= 0, arguments.s2 >= 0, arguments.a3 & 0xffff_ffff & ~7 == 0 else { throw .EINVAL }
    guard file.isSeekable else { throw .ESPIPE }
    return 0
  }
  table[.syncfs] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    _ = try task.file(arguments.i0)
    return 0
  }
  table[.sync] = { (_: Task, _: Arguments) throws(Errno) -> Int in 0 }
  table[.fadvise64] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let file = try task.file(arguments.i0)
    if file.pipe != nil { throw .ESPIPE }
    guard arguments.i3 >= 0, arguments.i3 <= 5, arguments.s2 >= 0 else { throw .EINVAL }
    return 0
  }
  table[.readahead] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let file = try task.file(arguments.i0)
    guard file.isReadable else { throw .EBADF }
    guard file.node.kind == .regular else { throw .EINVAL }
    return 0
  }
}

/// `struct statfs` of x86_64: all fields have 8 bytes but the two halves of the id.
private func storeFileSystem(
  _ task: Task, _ fileSystem: FileSystem, _ address: UInt64
) throws(Errno) -> Int {
  let bytes = try task.memory(at: address, count: 120, write: true)
  bytes.fill(0)
  bytes.store(fileSystem.magic, at: 0)
  bytes.store(Int64(4096), at: 8)
  if fileSystem.hasSpace {
    bytes.store(Int64(Page.totalCount), at: 16)
    bytes.store(Int64(Page.freeCount), at: 24)
    bytes.store(Int64(Page.freeCount), at: 32)
    bytes.store(Int64(Page.totalCount), at: 40)
    bytes.store(Int64(max(0, Page.totalCount - fileSystem.inodeCount)), at: 48)
  }
  bytes.store(UInt32(truncatingIfNeeded: fileSystem.device), at: 56)
  bytes.store(Int64(PathWalker.nameLimit), at: 64)
  bytes.store(Int64(4096), at: 72)
  bytes.store(Int64(0x20), at: 80)  // ST_VALID
  return 0
}

private func fallocateCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let file = try task.file(arguments.i0)
  guard file.isWritable else { throw .EBADF }
  guard arguments.s2 >= 0, arguments.s3 > 0 else { throw .EINVAL }
  if file.pipe != nil { throw .ESPIPE }
  guard let regular = file.node.asRegular else { throw .ENODEV }
  let keepSize = arguments.a1 & 1 != 0
  switch arguments.a1 & 0xffff_ffff {
  case 0, 1:
    let (end, overflow) = Int64(arguments.s2).addingReportingOverflow(Int64(arguments.s3))
    let grows = !keepSize && end > regular.size
    if overflow || (grows && UInt64(end) > task.process.limits[1].current) { throw .EFBIG }
    try regular.allocate(Int64(arguments.s2), Int64(arguments.s3), keepSize: keepSize)
  case 3: regular.punch(Int64(arguments.s2), Int64(arguments.s3))
  default: throw .EOPNOTSUPP
  }
  return 0
}
