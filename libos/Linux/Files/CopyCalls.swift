// SPDX-License-Identifier: Apache-2.0
// CopyCalls.swift: from file to file without the program: sendfile(2), copy_file_range(2), splice(2).

import ApusRuntime
import ApusUnix

func registerCopyCalls(_ table: CallTable) {
  table[.sendfile] = sendfileCall
  table[.copy_file_range] = copyFileRangeCall
  table[.splice] = spliceCall
  // Without them programs read and write.
  table[.tee] = { (_: Task, _: Arguments) throws(Errno) -> Int in throw .EINVAL }
  table[.vmsplice] = { (_: Task, _: Arguments) throws(Errno) -> Int in throw .EINVAL }
}

/// Copies through a page of the LibOS's own.
///
/// Reading begins at `source` or, if that is nil, at the file's position, which then moves; writing the same at
/// `target`. What cannot be written is not taken from a file. `waits` says whether the first read may wait.
private func copy(
  _ task: Task, _ from: OpenFile, _ source: Int64?, _ to: OpenFile, _ target: Int64?, _ count: Int,
  waits: Bool
) throws(Errno) -> Int {
  guard let page = Page.allocate(zeroed: false) else { throw .ENOMEM }
  defer { page.release() }
  let total = min(count, transferLimit)
  var done = 0
  while done < total {
    do throws(Errno) {
      let buffer = page.bytes.part(0, min(4096, total - done))
      let start = from.offset
      let got: Int
      if let source {
        got = try from.pread(buffer, at: source &+ Int64(done))
      } else {
        got = try from.read(buffer)
      }
      if got == 0 { break }
      let put: Int
      do throws(Errno) {
        put = try writeGathered(task, to, buffer.part(0, got), at: target.map { $0 &+ Int64(done) })
      } catch {
        if source == nil && from.isSeekable { from.offset = start }
        throw error
      }
      done += put
      if put < got {
        if source == nil && from.isSeekable { from.offset = start + Int64(put) }
        break
      }
      if done % transferChunk == 0 { task.breathe() }
    } catch {
      if done > 0 { break }
      guard error == .EAGAIN, waits, !from.flags.contains(.nonBlocking) else { throw error }
      guard from.poll().intersects(.readable) == false else { throw error }
      try task.wait(on: from.waitQueue)
    }
  }
  return done
}

private func sendfileCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let from = try task.file(arguments.i1)
  let to = try task.file(arguments.i0)
  guard from.isReadable, to.isWritable else { throw .EBADF }
  guard arguments.s3 >= 0, !to.flags.contains(.append) else { throw .EINVAL }
  guard arguments.a2 != 0 else { return try copy(task, from, nil, to, nil, arguments.s3, waits: true) }
  guard from.isSeekable else { throw .ESPIPE }
  let offset = try task.load(arguments.a2, as: Int64.self)
  guard offset >= 0 else { throw .EINVAL }
  let done = try copy(task, from, offset, to, nil, arguments.s3, waits: true)
  try task.store(offset &+ Int64(done), at: arguments.a2)
  return done
}

private func copyFileRangeCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let from = try task.file(arguments.i0)
  let to = try task.file(arguments.i2)
  guard from.isReadable, to.isWritable, !to.flags.contains(.append) else { throw .EBADF }
  guard arguments.a5 == 0 else { throw .EINVAL }
  if from.node.asDirectory != nil || to.node.asDirectory != nil { throw .EISDIR }
  guard from.node.kind == .regular, to.node.kind == .regular else { throw .EINVAL }
  // Files of /proc have no length: programs must read them.
  guard from.node.asRegular != nil, to.node.asRegular != nil else { throw .EXDEV }
  let source = arguments.a1 == 0 ? nil : try task.load(arguments.a1, as: Int64.self)
  let target = arguments.a3 == 0 ? nil : try task.load(arguments.a3, as: Int64.self)
  let (start, end) = (source ?? from.offset, target ?? to.offset)
  guard start >= 0, end >= 0, arguments.s4 >= 0 else { throw .EINVAL }
  let count = min(Int64(arguments.s4), max(0, from.node.size - start))
  if from.node === to.node && start < end + count && end < start + count { throw .EINVAL }
  let done = try copy(task, from, source, to, target, Int(count), waits: false)
  if arguments.a1 != 0 { try task.store(start + Int64(done), at: arguments.a1) }
  if arguments.a3 != 0 { try task.store(end + Int64(done), at: arguments.a3) }
  return done
}

private func spliceCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let from = try task.file(arguments.i0)
  let to = try task.file(arguments.i2)
  guard from.isReadable, to.isWritable else { throw .EBADF }
  guard from.pipe != nil || to.pipe != nil, arguments.a5 & ~0x0f == 0 else { throw .EINVAL }
  if from.pipe != nil && arguments.a1 != 0 { throw .ESPIPE }
  if to.pipe != nil && arguments.a3 != 0 { throw .ESPIPE }
  if let pipe = from.pipe, pipe === to.pipe { throw .EINVAL }
  let source = arguments.a1 == 0 ? nil : try task.load(arguments.a1, as: Int64.self)
  let target = arguments.a3 == 0 ? nil : try task.load(arguments.a3, as: Int64.self)
  // A pipe moves what it has, and never more than it holds.
  let count = min(max(0, arguments.s4), Pipe.capacity)
  let done = try copy(task, from, source, to, target, count, waits: arguments.a5 & 2 == 0)
  if let source { try task.store(source &+ Int64(done), at: arguments.a1) }
  if let target { try task.store(target + Int64(done), at: arguments.a3) }
  return done
}
