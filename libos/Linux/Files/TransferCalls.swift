// SPDX-License-Identifier: Apache-2.0
// TransferCalls.swift: read(2), write(2) and their relatives with positions and vectors.

import ApusRuntime
import ApusUnix

func registerTransferCalls(_ table: CallTable) {
  table[.read] = readCall
  table[.write] = writeCall
  table[.pread64] = pread64Call
  table[.pwrite64] = pwrite64Call
  table[.readv] = readvCall
  table[.writev] = writevCall
  table[.preadv] = preadvCall
  table[.pwritev] = pwritevCall
  table[.preadv2] = preadv2Call
  table[.pwritev2] = pwritev2Call
}

private func readCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  try read(task, try task.file(arguments.i0), arguments.a1, arguments.s2, at: nil)
}

private func writeCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  try write(task, try task.file(arguments.i0), arguments.a1, arguments.s2, at: nil)
}

private func pread64Call(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard arguments.s3 >= 0 else { throw .EINVAL }
  return try read(task, try task.file(arguments.i0), arguments.a1, arguments.s2, at: Int64(arguments.s3))
}

private func pwrite64Call(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard arguments.s3 >= 0 else { throw .EINVAL }
  return try write(task, try task.file(arguments.i0), arguments.a1, arguments.s2, at: Int64(arguments.s3))
}

/// Reads into an application's memory: for a file all that is asked for, for a stream what is there.
///
/// It reads at `position` or, if that is nil, at the file's own position.
func read(
  _ task: Task, _ file: OpenFile, _ address: UInt64, _ count: Int, at position: Int64?
) throws(Errno) -> Int {
  guard file.isReadable else { throw .EBADF }
  guard count >= 0 else { throw .EFAULT }
  if count == 0 {
    // A directory or a file without positions refuses even this.
    return position == nil ? try file.read(.empty) : try file.pread(.empty, at: position ?? 0)
  }
  let total = min(count, transferLimit)
  var done = 0
  while done < total {
    let bytes: Bytes
    do throws(Errno) {
      bytes = try task.span(address &+ UInt64(done), min(total - done, transferChunk), write: true)
    } catch {
      if done > 0 { return done }
      throw error
    }
    let got: Int
    do throws(Errno) {
      if let position {
        got = try file.pread(bytes, at: position &+ Int64(done))
      } else {
        if let terminal = file.terminal { try task.checkForeground(terminal, signal: Signal.terminalInput) }
        got = try file.read(bytes)
      }
    } catch {
      if done > 0 { return done }
      guard error == .EAGAIN, !file.flags.contains(.nonBlocking) else { throw error }
      guard try waitToRead(task, file) else { return try readLate(task, file, address, total) }
      continue
    }
    done += got
    if got < bytes.count || !file.isSeekable { break }
    if done < total { task.breathe() }
  }
  return done
}

/// Waits until a read is worth another try.
///
/// - Returns: False if a terminal's own time limit (VTIME) has passed.
private func waitToRead(_ task: Task, _ file: OpenFile) throws(Errno) -> Bool {
  if let socket = file.asSocket {
    let limit = task.deadline(ofLimit: socket.settings.receiveTimeout)
    guard try task.wait(on: file.waitQueue, deadline: limit) else { throw .EAGAIN }
    return true
  }
  guard let limit = file.terminal?.readTimeoutNanoseconds else {
    try task.wait(on: file.waitQueue, deadline: file.readyDeadline)
    return true
  }
  return try task.wait(on: file.waitQueue, deadline: Clock.ticks(afterNanoseconds: limit))
}

/// What a terminal gives when its time limit has passed.
private func readLate(
  _ task: Task, _ file: OpenFile, _ address: UInt64, _ count: Int
) throws(Errno) -> Int {
  guard let terminal = file.terminal else { return 0 }
  return try terminal.read(task.span(address, min(count, transferChunk), write: true), timedOut: true)
}

/// Writes from an application's memory: everything, unless an error or a signal comes first.
///
/// It writes at `position` or, if that is nil, at the file's own position.
func write(
  _ task: Task, _ file: OpenFile, _ address: UInt64, _ count: Int, at position: Int64?
) throws(Errno) -> Int {
  guard file.isWritable else { throw .EBADF }
  guard count >= 0 else { throw .EFAULT }
  // To a socket, no bytes may be a message.
  if let socket = file.asSocket {
    let parts = [MemoryPart(address: address, count: min(count, transferLimit))]
    return try send(task, socket, parts, OutgoingMessage(task.peerCredentials))
  }
  if count == 0 { return 0 }
  var total = min(count, transferLimit)
  if file.node.kind == .regular { total = try withinSizeLimit(task, file, total, at: position) }
  var done = 0
  while done < total {
    do throws(Errno) {
      if let terminal = file.terminal, terminal.settings.local & Termios.Local.stopBackgroundOutput != 0 {
        try task.checkForeground(terminal, signal: Signal.terminalOutput)
      }
      let bytes = try task.span(address &+ UInt64(done), min(total - done, transferChunk), write: false)
      if let position {
        done += try file.pwrite(bytes, at: position &+ Int64(done))
      } else {
        done += try file.write(bytes)
      }
      if done < total && file.isSeekable {
        task.breathe()
        continue
      }
      if done < total && file.flags.contains(.nonBlocking) { break }
    } catch {
      if error == .EPIPE { task.send(SignalInfo(signal: Signal.pipe)) }
      if error != .EAGAIN || file.flags.contains(.nonBlocking) {
        if done > 0 { break }
        throw error
      }
      do throws(Errno) {
        try task.wait(on: file.writeQueue)
      } catch {
        if done > 0 { break }
        throw error
      }
    }
  }
  if done > 0 { file.node.dropSetIdentifiers(task.credentials) }
  return done
}

/// Cuts a write at the process's limit for file sizes (setrlimit(2), RLIMIT_FSIZE).
private func withinSizeLimit(
  _ task: Task, _ file: OpenFile, _ count: Int, at position: Int64?
) throws(Errno) -> Int {
  let limit = task.process.limits[1].current
  guard limit != ResourceLimit.infinity else { return count }
  let start = UInt64(max(0, file.flags.contains(.append) ? file.node.size : position ?? file.offset))
  guard start < limit else {
    task.send(SignalInfo(signal: 25))  // SIGXFSZ
    throw .EFBIG
  }
  return min(count, Int(clamping: limit - start))
}

/// One part of a vector transfer (struct iovec).
struct MemoryPart {
  let address: UInt64
  let count: Int
}

/// Reads an application's array of parts.
func memoryParts(_ task: Task, _ address: UInt64, _ count: Int) throws(Errno) -> [MemoryPart] {
  guard count >= 0, count <= 1024 else { throw .EINVAL }
  let bytes = try task.memory(at: address, count: count * 16, write: false)
  var parts: [MemoryPart] = []
  var sum = 0
  for index in 0..<count {
    let size = Int(truncatingIfNeeded: bytes.load(index * 16 + 8, as: UInt64.self))
    guard size >= 0, sum <= Int.max - size else { throw .EINVAL }
    sum += size
    parts.append(MemoryPart(address: bytes.load(index * 16, as: UInt64.self), count: size))
  }
  return parts
}

private func readParts(
  _ task: Task, _ file: OpenFile, _ parts: [MemoryPart], at position: Int64?
) throws(Errno) -> Int {
  guard file.isReadable else { throw .EBADF }
  if let socket = file.asSocket {
    let message = try receive(task, socket, parts, .none)
    for file in message.rights { file.release() }
    return message.count
  }
  var done = 0
  for part in parts where part.count > 0 {
    do throws(Errno) {
      // Only the first part may wait: what has been read is returned.
      if done > 0 && !file.isSeekable && !file.poll().intersects(.readable) { return done }
      let got = try read(task, file, part.address, part.count, at: position.map { $0 + Int64(done) })
      done += got
      if got < part.count { return done }
    } catch {
      if done > 0 { return done }
      throw error
    }
  }
  return done
}

private func writeParts(
  _ task: Task, _ file: OpenFile, _ parts: [MemoryPart], at position: Int64?
) throws(Errno) -> Int {
  guard file.isWritable else { throw .EBADF }
  if let socket = file.asSocket { return try send(task, socket, parts, OutgoingMessage(task.peerCredentials)) }
  // Small vectors go out as one write: pipes and terminals then do not tear or delay them.
  var sum = 0
  for part in parts { sum = min(sum + part.count, Int(Int32.max)) }
  if parts.count > 1 && sum <= Pipe.atomicByteCount && sum > 0 {
    if let page = Page.allocate(zeroed: false) {
      defer { page.release() }
      var gathered = 0
      for part in parts where part.count > 0 {
        page.bytes.copy(try task.memory(at: part.address, count: part.count, write: false), to: gathered)
        gathered += part.count
      }
      return try writeGathered(task, file, page.bytes.part(0, sum), at: position)
    }
  }
  var done = 0
  for part in parts where part.count > 0 {
    do throws(Errno) {
      let put = try write(task, file, part.address, part.count, at: position.map { $0 + Int64(done) })
      done += put
      if put < part.count { return done }
    } catch {
      if done > 0 { return done }
      throw error
    }
  }
  return done
}

/// Writes bytes of the LibOS's own, waiting like `write`.
func writeGathered(
  _ task: Task, _ file: OpenFile, _ bytes: Bytes, at position: Int64?
) throws(Errno) -> Int {
  var done = 0
  var total = bytes.count
  if file.node.kind == .regular { total = try withinSizeLimit(task, file, total, at: position) }
  while done < total {
    do throws(Errno) {
      if let terminal = file.terminal, terminal.settings.local & Termios.Local.stopBackgroundOutput != 0 {
        try task.checkForeground(terminal, signal: Signal.terminalOutput)
      }
      let part = bytes.part(done, total - done)
      if let position {
        done += try file.pwrite(part, at: position &+ Int64(done))
      } else {
        done += try file.write(part)
      }
    } catch {
      if error == .EPIPE { task.send(SignalInfo(signal: Signal.pipe)) }
      if error != .EAGAIN || file.flags.contains(.nonBlocking) {
        if done > 0 { return done }
        throw error
      }
      do throws(Errno) {
        try task.wait(on: file.writeQueue)
      } catch {
        if done > 0 { return done }
        throw error
      }
    }
  }
  return done
}

private func readvCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let file = try task.file(arguments.i0)
  return try readParts(task, file, try memoryParts(task, arguments.a1, arguments.i2), at: nil)
}

private func writevCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let file = try task.file(arguments.i0)
  return try writeParts(task, file, try memoryParts(task, arguments.a1, arguments.i2), at: nil)
}

private func preadvCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let file = try task.file(arguments.i0)
  guard arguments.s3 >= 0 else { throw .EINVAL }
  guard file.isSeekable else { throw .ESPIPE }
  return try readParts(task, file, try memoryParts(task, arguments.a1, arguments.i2), at: Int64(arguments.s3))
}

private func pwritevCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let file = try task.file(arguments.i0)
  guard arguments.s3 >= 0 else { throw .EINVAL }
  guard file.isSeekable else { throw .ESPIPE }
  return try writeParts(task, file, try memoryParts(task, arguments.a1, arguments.i2), at: Int64(arguments.s3))
}

/// Flags of preadv2 and pwritev2 that change nothing for files in memory: HIPRI, DSYNC, SYNC, NOWAIT.
private let harmlessFlags: UInt64 = 0x0f

private func preadv2Call(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard arguments.a5 & ~harmlessFlags == 0 else { throw .EOPNOTSUPP }
  return arguments.s3 == -1 ? try readvCall(task, arguments) : try preadvCall(task, arguments)
}

private func pwritev2Call(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  guard arguments.a5 & ~harmlessFlags == 0 else { throw .EOPNOTSUPP }
  return arguments.s3 == -1 ? try writevCall(task, arguments) : try pwritevCall(task, arguments)
}
