// SPDX-License-Identifier: Apache-2.0
// InterfaceCalls.swift: what ioctl(2) tells of network interfaces (netdevice(7)): lo, and eth0 if there is a card.

import ApusNet
import ApusRuntime
import ApusUnix

/// Requests by their numbers (linux/sockios.h).
private enum Request {
  static var name: UInt32 { 0x8910 }
  static var list: UInt32 { 0x8912 }
  static var flags: UInt32 { 0x8913 }
  static var address: UInt32 { 0x8915 }
  static var destination: UInt32 { 0x8917 }
  static var broadcast: UInt32 { 0x8919 }
  static var mask: UInt32 { 0x891b }
  static var metric: UInt32 { 0x891d }
  static var maximumPacket: UInt32 { 0x8921 }
  static var hardware: UInt32 { 0x8927 }
  static var index: UInt32 { 0x8933 }
  static var queueLength: UInt32 { 0x8942 }
  static var map: UInt32 { 0x8970 }
}

/// Answers a request about sockets or interfaces.
///
/// - Throws: `ENOTTY` if it is not one, `ENODEV` if there is no such interface, `EPERM` for those that change something.
func controlSocket(_ task: Task, _ socket: Socket, _ request: UInt32, _ argument: UInt64) throws(Errno) -> Int {
  switch request {
  case 0x5411:  // SIOCOUTQ
    try task.store(Int32(clamping: socket.unsentByteCount), at: argument)
    return 0
  case 0x8905:  // SIOCATMARK
    guard socket.type == .stream else { throw .EINVAL }
    try task.store(Int32(0), at: argument)
    return 0
  case Request.list: return try list(task, argument)
  case 0x8914, 0x8916, 0x8918, 0x891a, 0x891c, 0x891e, 0x8922, 0x8924, 0x890b, 0x890c: throw .EPERM
  case 0x8910...0x8970: return try answer(task, request, argument)
  default: throw .ENOTTY
  }
}

/// The interfaces by their indexes, from 1 on.
private func interfaceName(_ task: Task, _ index: Int) -> [UInt8]? {
  switch index {
  case 1: ascii("lo")
  case 2: task.family.network.hasLink ? ascii("eth0") : nil
  default: nil
  }
}

/// The IPv4 address and the network's mask of an interface.
private func version4(_ task: Task, _ index: Int) -> (address: UInt32, mask: UInt32)? {
  if index == 1 { return (0x7f00_0001, 0xff00_0000) }
  guard let own = task.family.network.stack.address else { return nil }
  return (own.address.bits, own.prefixLength == 0 ? 0 : ~UInt32(0) << UInt32(32 - own.prefixLength))
}

/// `struct ifconf`: names and addresses.
private func list(_ task: Task, _ argument: UInt64) throws(Errno) -> Int {
  let room = Int(try task.load(argument, as: Int32.self))
  let buffer = try task.load(argument &+ 8, as: UInt64.self)
  var done = 0
  for index in 1...2 {
    guard let name = interfaceName(task, index), let own = version4(task, index) else { continue }
    if buffer != 0 {
      guard done + 40 <= room else { break }
      let entry = try task.memory(at: buffer &+ UInt64(done), count: 40, write: true)
      entry.fill(0)
      entry.copy(name)
      store(own.address, entry)
    }
    done += 40
  }
  try task.store(Int32(done), at: argument)
  return 0
}

/// Stores a `struct sockaddr_in` in the union of a `struct ifreq`.
private func store(_ address: UInt32, _ entry: Bytes) {
  entry.part(16, 24).fill(0)
  entry.store(UInt16(2), at: 16)
  entry.store(address.bigEndian, at: 20)
}

/// `struct ifreq`.
private func answer(_ task: Task, _ request: UInt32, _ argument: UInt64) throws(Errno) -> Int {
  let entry = try task.memory(at: argument, count: 40, write: true)
  if request == Request.name {
    guard let name = interfaceName(task, Int(entry.load(16, as: Int32.self))) else { throw .ENODEV }
    entry.part(0, 16).fill(0)
    entry.copy(name)
    return 0
  }
  let wanted = [UInt8](entry.part(0, 16).array.prefix { $0 != 0 })
  var found = 0
  for index in 1...2 where interfaceName(task, index) == wanted { found = index }
  guard found > 0 else { throw .ENODEV }
  let isLoopback = found == 1
  switch request {
  case Request.index: entry.store(Int32(found), at: 16)
  case Request.flags:
    // IFF_UP, IFF_RUNNING, and IFF_LOOPBACK or IFF_BROADCAST and IFF_MULTICAST.
    entry.store(UInt16(isLoopback ? 0x49 : 0x1043), at: 16)
  case Request.metric: entry.store(Int32(0), at: 16)
  case Request.maximumPacket: entry.store(Int32(isLoopback ? 65_536 : 1500), at: 16)
  case Request.queueLength: entry.store(Int32(1000), at: 16)
  case Request.map: entry.part(16, 24).fill(0)
  case Request.hardware:
    entry.part(16, 24).fill(0)
    entry.store(UInt16(isLoopback ? 772 : 1), at: 16)
    if !isLoopback {
      // The first byte of the card's address is in its lowest bits.
      for byte in 0..<6 { entry[18 + byte] = UInt8(NetworkCard.address >> UInt64(8 * byte) & 0xff) }
    }
  case Request.address, Request.broadcast, Request.mask, Request.destination:
    guard let own = version4(task, found) else { throw .EADDRNOTAVAIL }
    switch request {
    case Request.mask: store(own.mask, entry)
    case Request.broadcast: store(isLoopback ? 0 : own.address | ~own.mask, entry)
    default: store(own.address, entry)
    }
  default: throw .EINVAL
  }
  return 0
}
