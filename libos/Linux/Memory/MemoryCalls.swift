// SPDX-License-Identifier: Apache-2.0
// MemoryCalls.swift: the Linux calls that change an address space (mmap(2), mprotect(2), brk(2), madvise(2)...).

import ApusRuntime
import ApusUnix

private let mapShared: UInt64 = 0x01
private let mapTypeMask: UInt64 = 0x0f
private let mapFixed: UInt64 = 0x10
private let mapAnonymous: UInt64 = 0x20
private let mapGrowsDown: UInt64 = 0x100
private let mapPopulate: UInt64 = 0x8000
private let mapFixedNoReplace: UInt64 = 0x10_0000

func registerMemoryCalls(_ table: CallTable) {
  table[.mmap] = mmapCall
  table[.munmap] = munmapCall
  table[.mprotect] = mprotectCall
  table[.mremap] = mremapCall
  table[.brk] = brkCall
  table[.madvise] = madviseCall
  table[.msync] = msyncCall
  table[.mincore] = mincoreCall
  table[.mlock] = lockCall
  table[.munlock] = lockCall
  table[.mlock2] = lockCall
  table[.mlockall] = { (_: Task, _: Arguments) throws(Errno) -> Int in 0 }
  table[.munlockall] = { (_: Task, _: Arguments) throws(Errno) -> Int in 0 }
}

/// A page-aligned range of the application's half; nil when it is neither.
private func range(_ start: UInt64, _ size: UInt64) -> (start: UInt64, end: UInt64)? {
  guard start & AddressSpace.pageMask == 0, size <= AddressSpace.limit else { return nil }
  let end = start &+ ((size + 4095) & ~AddressSpace.pageMask)
  guard end >= start, end <= AddressSpace.limit else { return nil }
  return (start, end)
}

private func mmapCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let (address, size, flags) = (arguments.a0, arguments.a1, arguments.a3)
  let protection = Protection(rawValue: UInt8(truncatingIfNeeded: arguments.a2 & 7))
  guard size > 0 else { throw .EINVAL }
  guard size <= AddressSpace.limit else { throw .ENOMEM }
  let byteCount = (size + 4095) & ~AddressSpace.pageMask
  let type = flags & mapTypeMask
  guard type >= 1, type <= 3 else { throw .EINVAL }
  let isShared = type != 2

  let memory = task.memory
  try memory.checkRegionCount()
  var source: PageSource?
  var offset: UInt64 = 0
  if flags & mapAnonymous == 0 {
    offset = arguments.a5
    guard offset & AddressSpace.pageMask == 0 else { throw .EINVAL }
    guard offset <= UInt64(Int64.max) - byteCount else { throw .EOVERFLOW }
    source = try mappingSource(task, arguments.i4, protection, isShared: isShared, byteCount)
    if !(source is FileSource) { offset = 0 }
  } else if isShared {
    source = try SharedMemory(pageCount: Int(byteCount >> 12))
  }
  let start = try placed(memory, address, byteCount, flags)
  memory.insert(
    Region(
      start: start, end: start + byteCount, protection: protection, isShared: isShared,
      growsDown: flags & mapGrowsDown != 0, source: source, offset: offset))
  if flags & mapPopulate != 0, protection != .none {
    populate(task, start, start + byteCount, write: protection.contains(.write))
  }
  return Int(start)
}

/// Brings the pages of a range in, as far as there are any; others run in between.
private func populate(_ task: Task, _ start: UInt64, _ end: UInt64, write: Bool) {
  var at = start
  while at < end {
    let size = min(end - at, 1 << 20)
    do throws(Errno) {
      try task.memory.ensure(at, count: Int(size), write: write)
    } catch {
      return
    }
    at += size
    guard at < end else { return }
    task.breathe()
    if task.isInterrupted { return }
  }
}

/// Checks that a file may be mapped so (EACCES, ENODEV in mmap(2)).
private func mappingSource(
  _ task: Task, _ descriptor: Int, _ protection: Protection, isShared: Bool, _ byteCount: UInt64
) throws(Errno) -> PageSource? {
  let file = try task.descriptors.file(descriptor)
  guard file.flags.isReadable else { throw .EACCES }
  if isShared, protection.contains(.write), !file.flags.isWritable { throw .EACCES }
  guard file.isMappable else { throw .ENODEV }
  if file.mapsAsZero { return isShared ? try SharedMemory(pageCount: Int(byteCount >> 12)) : nil }
  return FileSource(file, name: PathWalker(task.context, task.credentials).path(of: file))
}

/// Chooses where a mapping goes, and empties that range if the caller insists on it.
private func placed(
  _ memory: AddressSpace, _ address: UInt64, _ byteCount: UInt64, _ flags: UInt64
) throws(Errno) -> UInt64 {
  if flags & (mapFixed | mapFixedNoReplace) != 0 {
    guard address & AddressSpace.pageMask == 0 else { throw .EINVAL }
    guard let (start, end) = range(address, byteCount) else { throw .ENOMEM }
    guard start >= AddressSpace.lowest else { throw .EPERM }
    if flags & mapFixedNoReplace != 0 {
      guard memory.isFree(start, end) else { throw .EEXIST }
    } else {
      memory.unmap(start, end)
    }
    return start
  }
  let hint = (address &+ 4095) & ~AddressSpace.pageMask
  if hint >= AddressSpace.lowest, let (start, end) = range(hint, byteCount),
    memory.isFree(start, end)
  {
    return start
  }
  return try memory.place(byteCount: byteCount)
}

private func munmapCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard arguments.a1 > 0, let (start, end) = range(arguments.a0, arguments.a1)
  else { throw .EINVAL }
  // Unmapping the middle of a region makes two of one.
  try task.memory.checkRegionCount()
  task.memory.unmap(start, end)
  return 0
}

private func mprotectCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard arguments.a0 & AddressSpace.pageMask == 0, arguments.a2 & ~0x300_0007 == 0
  else { throw .EINVAL }
  guard let (start, end) = range(arguments.a0, arguments.a1) else { throw .ENOMEM }
  if start == end { return 0 }
  try task.memory.checkRegionCount()
  try task.memory.protect(
    start, end, Protection(rawValue: UInt8(truncatingIfNeeded: arguments.a2 & 7)))
  return 0
}

private func mremapCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let mayMove: UInt64 = 1
  let fixed: UInt64 = 2
  let flags = arguments.a3
  guard flags & ~(mayMove | fixed) == 0, flags != fixed, arguments.a2 > 0,
    let (start, end) = range(arguments.a0, arguments.a1),
    let (_, newEnd) = range(arguments.a0 & 0, arguments.a2)
  else { throw .EINVAL }
  var target: UInt64?
  if flags & fixed != 0 {
    guard let (place, _) = range(arguments.a4, arguments.a2), place >= AddressSpace.lowest
    else { throw .EINVAL }
    target = place
  }
  return Int(
    try task.memory.remap(
      start, oldSize: end - start, newSize: newEnd, mayMove: flags & mayMove != 0, to: target))
}

private func brkCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  Int(
    task.memory.moveBreak(
      to: arguments.a0, limit: task.process.limits[ResourceLimit.data].current))
}

private func madviseCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard let (start, end) = range(arguments.a0, arguments.a1) else { throw .EINVAL }
  if start == end { return 0 }
  switch arguments.a2 {
  case 4, 8, 9, 20, 21:
    // MADV_DONTNEED, FREE, REMOVE, COLD, PAGEOUT; only the first two change anything.
    guard task.memory.isCovered(start, end) else { throw .ENOMEM }
    if arguments.a2 == 4 || arguments.a2 == 8 { task.memory.discard(start, end) }
    return 0
  case 0...3, 10...19, 22, 23, 25:
    guard task.memory.isCovered(start, end) else { throw .ENOMEM }
    return 0
  default: throw .EINVAL
  }
}

private func msyncCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard let (start, end) = range(arguments.a0, arguments.a1), arguments.a2 & ~7 == 0,
    arguments.a2 & 5 != 5
  else { throw .EINVAL }
  guard task.memory.isCovered(start, end) else { throw .ENOMEM }
  return 0
}

private func mincoreCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard let (start, end) = range(arguments.a0, arguments.a1) else { throw .EINVAL }
  guard task.memory.isCovered(start, end) else { throw .ENOMEM }
  var at = start
  while at < end {
    let count = Int(min(end - at, 1 << 28) >> 12)
    let result = try task.memory(
      at: arguments.a2 &+ (at - start) >> 12, count: count, write: true)
    for index in 0..<count {
      let entry = PageTable.entry(at: at + UInt64(index) << 12)
      result[index] = UInt8(truncatingIfNeeded: entry & PageTable.present)
    }
    at += UInt64(count) << 12
    if at < end { task.breathe() }
  }
  return 0
}

/// Nothing is ever paged out: locking brings the pages in and is done.
private func lockCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let start = arguments.a0 & ~AddressSpace.pageMask
  guard let (from, to) = range(start, arguments.a1 &+ (arguments.a0 & AddressSpace.pageMask))
  else { throw .EINVAL }
  guard task.memory.isCovered(from, to) else { throw .ENOMEM }
  return 0
}
