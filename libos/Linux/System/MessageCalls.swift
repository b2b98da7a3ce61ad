// SPDX-License-Identifier: Apache-2.0
// MessageCalls.swift: send(2) and recv(2) in all their forms.

import ApusRuntime
import ApusUnix

func registerMessageCalls(_ table: CallTable) {
  table[.sendto] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let socket = try task.socket(arguments.i0)
    guard arguments.s2 >= 0 else { throw .EINVAL }
    var message = OutgoingMessage(task.peerCredentials)
    message.flags = MessageFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a3))
    if arguments.a4 != 0 { message.destination = try task.socketAddress(arguments.a4, arguments.i5) }
    let part = MemoryPart(address: arguments.a1, count: min(arguments.s2, transferLimit))
    return try send(task, socket, [part], message)
  }
  table[.recvfrom] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let socket = try task.socket(arguments.i0)
    guard arguments.s2 >= 0 else { throw .EINVAL }
    let flags = MessageFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a3))
    let part = MemoryPart(address: arguments.a1, count: min(arguments.s2, transferLimit))
    let message = try receive(task, socket, [part], flags)
    for file in message.rights { file.release() }
    if arguments.a4 != 0 { try task.store(message.source, at: arguments.a4, lengthAt: arguments.a5) }
    return flags.contains(.truncated) ? message.fullCount : message.count
  }
  table[.sendmsg] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let flags = MessageFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a2))
    return try sendMessage(task, try task.socket(arguments.i0), arguments.a1, flags)
  }
  table[.recvmsg] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let flags = MessageFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a2))
    return try receiveMessage(task, try task.socket(arguments.i0), arguments.a1, flags)
  }
  table[.sendmmsg] = sendMessagesCall
  table[.recvmmsg] = receiveMessagesCall
}

/// Sends all of the parts: of a stream piece by piece, of anything else as one message.
func send(
  _ task: Task, _ socket: Socket, _ parts: [MemoryPart], _ message: OutgoingMessage
) throws(Errno) -> Int {
  var message = message
  var total = 0
  for part in parts { total += part.count }
  let deadline = task.deadline(ofLimit: socket.settings.sendTimeout)
  if socket.type != .stream || total == 0 || parts.count > 1 && total <= 4096 {
    // One message, or a stream's small parts, which then go out together.
    guard total <= 1 << 20 else { throw .EMSGSIZE }
    var gathered: [UInt8] = []
    gathered.reserveCapacity(total)
    for part in parts { gathered += try task.copyIn(part.address, count: part.count) }
    return try sendGathered(task, socket, &gathered, message, deadline)
  }
  var done = 0
  for part in parts {
    var offset = 0
    while offset < part.count {
      do throws(Errno) {
        let bytes = try task.span(
          part.address &+ UInt64(offset), min(part.count - offset, transferChunk), write: false)
        let put = try attemptSend(task, socket, bytes, message)
        offset += put
        done += put
        message.rights = []
      } catch {
        do throws(Errno) {
          try waitToSend(task, socket, error, message.flags, deadline)
        } catch {
          if done > 0 { return done }
          throw error
        }
      }
    }
  }
  return done
}

private func sendGathered(
  _ task: Task, _ socket: Socket, _ bytes: inout [UInt8], _ message: OutgoingMessage, _ deadline: UInt64
) throws(Errno) -> Int {
  var message = message
  var done = 0
  while true {
    let result: Result<Int, Errno> = Bytes.withArray(&bytes) { all in
      do throws(Errno) {
        return .success(try attemptSend(task, socket, all.from(done), message))
      } catch {
        return .failure(error)
      }
    }
    switch result {
    case .success(let count):
      done += count
      message.rights = []
      if socket.type != .stream || done >= bytes.count { return done }
    case .failure(let error):
      do throws(Errno) {
        try waitToSend(task, socket, error, message.flags, deadline)
      } catch {
        if done > 0 { return done }
        throw error
      }
    }
  }
}

private func attemptSend(
  _ task: Task, _ socket: Socket, _ bytes: Bytes, _ message: OutgoingMessage
) throws(Errno) -> Int {
  if let local = socket as? LocalSocket { return try local.send(bytes, message, task.socketCaller) }
  return try socket.send(bytes, message)
}

/// After a send that failed: waits if that helps, and raises SIGPIPE for a stream that has ended.
private func waitToSend(
  _ task: Task, _ socket: Socket, _ error: Errno, _ flags: MessageFlags, _ deadline: UInt64
) throws(Errno) {
  if error == .EPIPE && socket.type == .stream && !flags.contains(.noSignal) {
    task.send(SignalInfo(signal: Signal.pipe))
  }
  guard error == .EAGAIN, !socket.flags.contains(.nonBlocking), !flags.contains(.doNotWait) else { throw error }
  guard try task.wait(on: socket.writeQueue, deadline: deadline) else { throw .EAGAIN }
}

/// Receives into the parts: what is there, or all of it with MSG_WAITALL.
func receive(
  _ task: Task, _ socket: Socket, _ parts: [MemoryPart], _ flags: MessageFlags
) throws(Errno) -> IncomingMessage {
  if flags.contains(.errorQueue) { throw .EAGAIN }
  let deadline = task.deadline(ofLimit: socket.settings.receiveTimeout)
  var total = 0
  for part in parts { total += part.count }
  let isStream = socket.type == .stream
  let wantsAll = isStream && flags.contains(.waitForAll) && !flags.contains(.peek)
  var result = IncomingMessage()
  while true {
    do throws(Errno) {
      var step: IncomingMessage
      if parts.count == 1 {
        let address = parts[0].address &+ UInt64(result.count)
        let count = min(parts[0].count - result.count, transferChunk)
        step = try socket.receive(count > 0 ? try task.span(address, count, write: true) : .empty, flags)
      } else {
        step = try receiveScattered(task, socket, parts, from: result.count, flags)
      }
      step.count += result.count
      step.fullCount += result.count
      let isEnd = step.count == result.count
      step.rights = result.rights + step.rights
      result = step
      if !wantsAll || isEnd || result.count >= total || !result.rights.isEmpty { return result }
    } catch {
      let mayWait = error == .EAGAIN && !socket.flags.contains(.nonBlocking) && !flags.contains(.doNotWait)
      do throws(Errno) {
        guard mayWait else { throw error }
        guard try task.wait(on: socket.waitQueue, deadline: min(deadline, socket.readyDeadline)) else { throw .EAGAIN }
      } catch {
        if result.count > 0 { return result }
        throw error
      }
    }
  }
}

/// Receives into memory of the LibOS's own and spreads that over the parts, from byte `start` of them on.
private func receiveScattered(
  _ task: Task, _ socket: Socket, _ parts: [MemoryPart], from start: Int, _ flags: MessageFlags
) throws(Errno) -> IncomingMessage {
  var total = -start
  for part in parts { total += part.count }
  var buffer = [UInt8](repeating: 0, count: min(max(0, total), socket.type == .stream ? transferChunk : 1 << 20))
  let result: Result<IncomingMessage, Errno> = Bytes.withArray(&buffer) { bytes in
    do throws(Errno) { return .success(try socket.receive(bytes, flags)) } catch { return .failure(error) }
  }
  let message: IncomingMessage
  switch result {
  case .success(let got): message = got
  case .failure(let error): throw error
  }
  var skipped = start
  var done = 0
  for part in parts {
    let inPart = min(skipped, part.count)
    skipped -= inPart
    let count = min(part.count - inPart, message.count - done)
    guard count > 0 else { continue }
    let target = try task.memory(at: part.address &+ UInt64(inPart), count: count, write: true)
    target.copy([UInt8](buffer[done..<done + count]))
    done += count
  }
  return message
}

// MARK: struct msghdr

/// `struct msghdr` (recvmsg(2)).
private struct MessageHeader {
  static var byteCount: Int { 56 }
  let name: UInt64
  let nameLength: Int
  let parts: [MemoryPart]
  let control: UInt64
  let controlLength: Int

  init(_ task: Task, _ address: UInt64) throws(Errno) {
    let bytes = try task.memory(at: address, count: Self.byteCount, write: false)
    name = bytes.load(0, as: UInt64.self)
    nameLength = Int(bytes.load(8, as: Int32.self))
    let vector = bytes.load(16, as: UInt64.self)
    let count = bytes.load(24, as: UInt64.self)
    control = bytes.load(32, as: UInt64.self)
    controlLength = Int(truncatingIfNeeded: bytes.load(40, as: UInt64.self))
    guard count <= 1024 else { throw .EMSGSIZE }
    guard nameLength >= 0 else { throw .EINVAL }
    guard controlLength >= 0, controlLength <= 1 << 16 else { throw .ENOBUFS }
    parts = try memoryParts(task, vector, Int(count))
  }
}

private func sendMessage(
  _ task: Task, _ socket: Socket, _ address: UInt64, _ flags: MessageFlags
) throws(Errno) -> Int {
  let header = try MessageHeader(task, address)
  var message = OutgoingMessage(task.peerCredentials)
  message.flags = flags
  if header.name != 0 && header.nameLength > 0 {
    message.destination = try task.socketAddress(header.name, header.nameLength)
  }
  if header.control != 0 && header.controlLength > 0 {
    try readControl(task, socket, try task.copyIn(header.control, count: header.controlLength), &message)
  }
  return try send(task, socket, header.parts, message)
}

/// Reads the control messages that go with the bytes (cmsg(3)).
private func readControl(
  _ task: Task, _ socket: Socket, _ bytes: [UInt8], _ message: inout OutgoingMessage
) throws(Errno) {
  var copy = bytes
  var rights: [OpenFile] = []
  var credentials = message.credentials
  let result: Result<Bool, Errno> = Bytes.withArray(&copy) { all in
    do throws(Errno) {
      var offset = 0
      while offset + 16 <= all.count {
        let length = Int(truncatingIfNeeded: all.load(offset, as: UInt64.self))
        guard length >= 16, length <= all.count - offset else { throw .EINVAL }
        let data = all.part(offset + 16, length - 16)
        switch (all.load(offset + 8, as: Int32.self), all.load(offset + 12, as: Int32.self)) {
        case (1, 1) where socket.family == .local:
          for index in 0..<data.count / 4 { rights.append(try task.file(Int(data.load(index * 4, as: Int32.self)))) }
        case (1, 2) where socket.family == .local: credentials = try task.claimedCredentials(data)
        case (1, _): throw .EINVAL
        default: break
        }
        offset += (length + 7) & ~7
      }
      return .success(true)
    } catch {
      return .failure(error)
    }
  }
  if case .failure(let error) = result { throw error }
  message.rights = rights
  message.credentials = credentials
}

extension Task {
  /// What a program says of itself: the superuser may say anything.
  fileprivate func claimedCredentials(_ data: Bytes) throws(Errno) -> PeerCredentials {
    guard data.count == 12 else { throw .EINVAL }
    let claimed = PeerCredentials(
      process: data.load(0, as: Int32.self), user: data.load(4, as: UInt32.self), group: data.load(8, as: UInt32.self))
    let identity = process.identity
    let isTrue =
      claimed.process == Int32(truncatingIfNeeded: process.identifier)
      && [identity.realUser, identity.effectiveUser, identity.savedUser].contains(claimed.user)
      && [identity.realGroup, identity.effectiveGroup, identity.savedGroup].contains(claimed.group)
    guard isTrue || credentials.isSuperuser else { throw .EPERM }
    return claimed
  }
}

private func receiveMessage(
  _ task: Task, _ socket: Socket, _ address: UInt64, _ flags: MessageFlags
) throws(Errno) -> Int {
  let header = try MessageHeader(task, address)
  let message = try receive(task, socket, header.parts, flags)
  var shown = message.flags
  if flags.contains(.closeOnExec) { shown = shown.union(.closeOnExec) }
  var control = ControlWriter(room: header.control == 0 ? 0 : header.controlLength)
  if socket.settings.passesCredentials, let credentials = message.credentials {
    control.begin(1, 2, count: 12)
    control.append(UInt32(bitPattern: credentials.process))
    control.append(credentials.user)
    control.append(credentials.group)
  }
  socket.describe(message, &control)
  let fits = giveRights(task, message.rights, &control, closesOnExec: flags.contains(.closeOnExec))
  control.close()
  if control.isCut || !fits { shown = shown.union(.controlTruncated) }
  if !control.bytes.isEmpty { try task.copyOut(control.bytes, to: header.control) }
  if header.name != 0 {
    let name = message.source?.encoded ?? []
    try task.copyOut([UInt8](name.prefix(header.nameLength)), to: header.name)
    try task.store(Int32(name.count), at: address &+ 8)
  }
  try task.store(UInt64(control.bytes.count), at: address &+ 40)
  try task.store(Int32(bitPattern: shown.rawValue), at: address &+ 48)
  return flags.contains(.truncated) ? message.fullCount : message.count
}

/// Gives files that came along descriptors, and says which, as many as there is room for.
///
/// - Returns: Whether all found room.
private func giveRights(
  _ task: Task, _ rights: [OpenFile], _ control: inout ControlWriter, closesOnExec: Bool
) -> Bool {
  if rights.isEmpty { return true }
  var descriptors: [Int] = []
  for file in rights.prefix(max(0, control.left - 16) / 4) {
    do throws(Errno) {
      descriptors.append(try task.descriptors.add(file, closesOnExec: closesOnExec))
    } catch { break }
  }
  for file in rights { file.release() }
  if !descriptors.isEmpty {
    control.begin(1, 1, count: descriptors.count * 4)
    for descriptor in descriptors { control.append(UInt32(descriptor)) }
  }
  return descriptors.count == rights.count
}

/// Lays control messages out one behind the other.
struct ControlWriter {
  private(set) var bytes: [UInt8] = []
  private let room: Int
  /// Something found no room.
  private(set) var isCut = false

  init(room: Int) { self.room = room }

  /// Room that is left, behind padding.
  var left: Int { room - (bytes.count + 7) & ~7 }

  private mutating func put(_ value: UInt64, _ size: Int) {
    for index in 0..<size { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
  }

  /// Begins a message of `count` bytes; without room for them it is left out.
  mutating func begin(_ level: Int32, _ type: Int32, count: Int) {
    isOpen = left >= 16 + count
    guard isOpen else {
      isCut = true
      return
    }
    while bytes.count & 7 != 0 { bytes.append(0) }
    put(UInt64(16 + count), 8)
    put(UInt64(UInt32(bitPattern: level)), 4)
    put(UInt64(UInt32(bitPattern: type)), 4)
  }

  /// Pads the last message, as far as there is room.
  mutating func close() { while bytes.count & 7 != 0 && bytes.count < room { bytes.append(0) } }

  private var isOpen = false

  /// A word of the message that was begun last.
  mutating func append(_ value: UInt32) { if isOpen { put(UInt64(value), 4) } }
  /// Bytes of it.
  mutating func append(_ data: [UInt8]) { if isOpen { bytes += data } }
}

// MARK: Several messages

private func sendMessagesCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let socket = try task.socket(arguments.i0)
  let flags = MessageFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a3))
  let limit = min(Int(UInt32(truncatingIfNeeded: arguments.a2)), 1024)
  let address = arguments.a1
  var done = 0
  while done < limit {
    do throws(Errno) {
      let at = address &+ UInt64(done * 64)
      let count = try sendMessage(task, socket, at, flags)
      try task.store(UInt32(count), at: at &+ 56)
      done += 1
    } catch {
      if done > 0 { break }
      throw error
    }
  }
  return done
}

private func receiveMessagesCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let socket = try task.socket(arguments.i0)
  var flags = MessageFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a3))
  let limit = min(Int(UInt32(truncatingIfNeeded: arguments.a2)), 1024)
  let address = arguments.a1
  let timeout = try Timeout(task, arguments.a4, unit: 1)
  let waitsForOne = flags.rawValue & 0x10000 != 0
  flags.rawValue &= ~0x10000
  var done = 0
  while done < limit {
    do throws(Errno) {
      let at = address &+ UInt64(done * 64)
      let count = try receiveMessage(task, socket, at, flags)
      try task.store(UInt32(count), at: at &+ 56)
      done += 1
    } catch {
      if done > 0 { break }
      throw error
    }
    if waitsForOne { flags = flags.union(.doNotWait) }
    // The time counts only after a message (recvmmsg(2), BUGS).
    if timeout.deadline != .max && Clock.ticks >= timeout.deadline { break }
  }
  timeout.storeRest(task)
  return done
}
