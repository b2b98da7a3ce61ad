// SPDX-License-Identifier: Apache-2.0
// SocketCalls.swift: socket(2) and what names, connects and ends sockets.

import ApusRuntime
import ApusUnix

func registerSocketCalls(_ table: CallTable) {
  table[.socket] = socketCall
  table[.socketpair] = socketPairCall
  table[.bind] = bindCall
  table[.listen] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try task.socket(arguments.i0).listen(arguments.i1, task.socketCaller)
    return 0
  }
  table[.accept] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    try accept(task, arguments, .readOnly)
  }
  table[.accept4] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let flags = OpenFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a3))
    guard flags.subtracting(creationFlags) == .readOnly else { throw .EINVAL }
    return try accept(task, arguments, flags)
  }
  table[.connect] = connectCall
  table[.shutdown] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let socket = try task.socket(arguments.i0)
    guard (0...2).contains(arguments.i1) else { throw .EINVAL }
    try socket.shutdown(reads: arguments.i1 != 1, writes: arguments.i1 != 0)
    return 0
  }
  table[.getsockname] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let name = try task.socket(arguments.i0).name
    try task.store(name, at: arguments.a1, lengthAt: arguments.a2)
    return 0
  }
  table[.getpeername] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let name = try task.socket(arguments.i0).peerName()
    try task.store(name, at: arguments.a1, lengthAt: arguments.a2)
    return 0
  }
  registerMessageCalls(table)
  registerSocketOptionCalls(table)
}

/// SOCK_CLOEXEC and SOCK_NONBLOCK, which are open(2)'s bits.
private var creationFlags: OpenFlags { OpenFlags.closeOnExec.union(.nonBlocking) }

extension Task {
  /// The socket of a descriptor.
  ///
  /// - Throws: `EBADF`, `ENOTSOCK`.
  func socket(_ descriptor: Int) throws(Errno) -> Socket {
    let file = try file(descriptor)
    if file.flags.contains(.path) { throw .EBADF }
    guard let socket = file.asSocket else { throw .ENOTSOCK }
    return socket
  }

  /// How the task is shown to the other end of a socket.
  var peerCredentials: PeerCredentials {
    let who = credentials
    return PeerCredentials(process: Int32(truncatingIfNeeded: process.identifier), user: who.user, group: who.group)
  }

  /// The task as a socket's call sees it.
  var socketCaller: SocketCaller {
    SocketCaller(walker: PathWalker(context, credentials), credentials: peerCredentials)
  }

  /// Reads a `struct sockaddr` of a length that the program gives.
  func socketAddress(_ address: UInt64, _ length: Int) throws(Errno) -> SocketAddress {
    guard length >= 0, length <= 128 else { throw .EINVAL }
    return try SocketAddress(try memory(at: address, count: length, write: false))
  }

  /// Writes a `struct sockaddr` as far as there is room for it, and how long all of it is.
  func store(_ name: SocketAddress?, at address: UInt64, lengthAt lengthAddress: UInt64) throws(Errno) {
    guard address != 0 || lengthAddress != 0 else { throw .EFAULT }
    let room = Int(try load(lengthAddress, as: Int32.self))
    guard room >= 0 else { throw .EINVAL }
    let bytes = name?.encoded ?? []
    if room > 0 && !bytes.isEmpty { try copyOut([UInt8](bytes.prefix(room)), to: address) }
    try store(Int32(bytes.count), at: lengthAddress)
  }

  /// When a call with such a limit gives up.
  func deadline(ofLimit nanoseconds: UInt64) -> UInt64 {
    nanoseconds == 0 ? .max : deadline(afterNanoseconds: nanoseconds)
  }
}

/// The family and the type that a program asks for.
private func kind(_ arguments: Arguments) throws(Errno) -> (SocketFamily, SocketType, OpenFlags) {
  let flags = OpenFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a1) & ~0xf)
  guard flags.subtracting(creationFlags) == .readOnly else { throw .EINVAL }
  guard arguments.i0 >= 0, arguments.i0 < 46 else { throw .EAFNOSUPPORT }
  guard let family = SocketFamily(rawValue: arguments.i0) else { throw .EAFNOSUPPORT }
  let number = arguments.i1 & 0xf
  guard number < 11 else { throw .EINVAL }
  guard let type = SocketType(rawValue: number) else { throw .ESOCKTNOSUPPORT }
  return (family, type, flags)
}

private func socketCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let (family, type, flags) = try kind(arguments)
  let socket: Socket
  switch family {
  case .local: socket = try makeLocal(task, type, arguments.i2, flags)
  case .internet, .internet6:
    socket = try task.family.network.makeSocket(family, type, arguments.i2, flags, owner: task.credentials)
  }
  socket.sender = task.peerCredentials
  return try task.descriptors.add(socket, closesOnExec: flags.contains(.closeOnExec))
}

/// The type that AF_UNIX makes of a type: SOCK_RAW is SOCK_DGRAM there.
private func localType(_ type: SocketType, _ number: Int) throws(Errno) -> SocketType {
  guard number == 0 || number == 1 else { throw .EPROTONOSUPPORT }
  return type == .raw ? .datagram : type
}

private func makeLocal(
  _ task: Task, _ type: SocketType, _ number: Int, _ flags: OpenFlags
) throws(Errno) -> LocalSocket {
  LocalSocket(
    task.family.socketFileSystem, task.family.localNames, try localType(type, number), flags, owner: task.credentials)
}

private func socketPairCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let (family, type, flags) = try kind(arguments)
  guard family == .local else { throw .EOPNOTSUPP }
  let pair = LocalSocket.makePair(
    task.family.socketFileSystem, task.family.localNames, try localType(type, arguments.i2), flags,
    owner: task.credentials, task.peerCredentials)
  let closes = flags.contains(.closeOnExec)
  let descriptors = task.descriptors
  let one: Int
  do throws(Errno) {
    one = try descriptors.add(pair.0, closesOnExec: closes)
  } catch {
    pair.1.close()
    throw error
  }
  do throws(Errno) {
    let other = try descriptors.add(pair.1, closesOnExec: closes)
    do throws(Errno) {
      let bytes = try task.memory(at: arguments.a3, count: 8, write: true)
      bytes.store(Int32(one), at: 0)
      bytes.store(Int32(other), at: 4)
    } catch {
      try descriptors.close(other)
      throw error
    }
  } catch {
    try descriptors.close(one)
    throw error
  }
  return 0
}

private func bindCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let socket = try task.socket(arguments.i0)
  let address = try task.socketAddress(arguments.a1, arguments.i2)
  try socket.bind(address, task.socketCaller)
  return 0
}

private func connectCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let socket = try task.socket(arguments.i0)
  let address = try task.socketAddress(arguments.a1, arguments.i2)
  let deadline = task.deadline(ofLimit: socket.settings.sendTimeout)
  var hasBegun = socket.isConnecting
  while true {
    do throws(Errno) {
      try socket.connect(address, task.socketCaller)
      return 0
    } catch {
      switch error {
      case .EINPROGRESS, .EALREADY:
        if socket.flags.contains(.nonBlocking) { throw error }
        hasBegun = true
      case .EISCONN where hasBegun && !socket.isConnecting: return 0
      case .EAGAIN:
        if socket.flags.contains(.nonBlocking) { throw error }
      default: throw error
      }
    }
    guard try task.wait(on: socket.writeQueue, deadline: deadline) else { throw hasBegun ? .EINPROGRESS : .EAGAIN }
  }
}

private func accept(_ task: Task, _ arguments: Arguments, _ flags: OpenFlags) throws(Errno) -> Int {
  let socket = try task.socket(arguments.i0)
  let deadline = task.deadline(ofLimit: socket.settings.receiveTimeout)
  while true {
    do throws(Errno) {
      let made = try socket.accept(flags)
      let name = try? made.peerName()
      let descriptor = try task.descriptors.add(made, closesOnExec: flags.contains(.closeOnExec))
      do throws(Errno) {
        if arguments.a1 != 0 { try task.store(name ?? .unnamed, at: arguments.a1, lengthAt: arguments.a2) }
      } catch {
        try task.descriptors.close(descriptor)
        throw error
      }
      return descriptor
    } catch {
      guard error == .EAGAIN, !socket.flags.contains(.nonBlocking) else { throw error }
    }
    guard try task.wait(on: socket.waitQueue, deadline: deadline) else { throw .EAGAIN }
  }
}
