// SPDX-License-Identifier: Apache-2.0
// SocketOptionCalls.swift: getsockopt(2) and setsockopt(2).

import ApusRuntime
import ApusUnix

func registerSocketOptionCalls(_ table: CallTable) {
  table[.getsockopt] = getOptionCall
  table[.setsockopt] = setOptionCall
}

/// Options of the level SOL_SOCKET (asm-generic/socket.h).
private enum Option {
  static var debug: Int { 1 }
  static var reuseAddress: Int { 2 }
  static var type: Int { 3 }
  static var error: Int { 4 }
  static var avoidRouters: Int { 5 }
  static var broadcast: Int { 6 }
  static var sendBuffer: Int { 7 }
  static var receiveBuffer: Int { 8 }
  static var keepAlive: Int { 9 }
  static var urgentInline: Int { 10 }
  static var priority: Int { 12 }
  static var linger: Int { 13 }
  static var reusePort: Int { 15 }
  static var passCredentials: Int { 16 }
  static var peerCredentials: Int { 17 }
  static var receiveLowMark: Int { 18 }
  static var sendLowMark: Int { 19 }
  static var receiveTimeout: Int { 20 }
  static var sendTimeout: Int { 21 }
  static var bindToDevice: Int { 25 }
  static var timestamp: Int { 29 }
  static var acceptsConnections: Int { 30 }
  static var sendBufferForce: Int { 32 }
  static var receiveBufferForce: Int { 33 }
  static var mark: Int { 36 }
  static var protocolNumber: Int { 38 }
  static var domain: Int { 39 }
}

private func getOptionCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let socket = try task.socket(arguments.i0)
  let room = Int(try task.load(arguments.a4, as: Int32.self))
  guard room >= 0 else { throw .EINVAL }
  let bytes: [UInt8]
  if arguments.i1 == 1 {
    bytes = try value(of: arguments.i2, socket)
  } else if arguments.i1 == 6 && arguments.i2 == 11 && socket.type == .stream && socket.family != .local {
    // TCP_INFO: the state, and zeros for what is not told.
    bytes = [socket.isListening ? 10 : (try? socket.peerName()) == nil ? 7 : 1] + [UInt8](repeating: 0, count: 103)
  } else {
    bytes = word(try socket.option(arguments.i1, arguments.i2))
  }
  let count = min(room, bytes.count)
  try task.copyOut([UInt8](bytes.prefix(count)), to: arguments.a3)
  try task.store(Int32(count), at: arguments.a4)
  return 0
}

private func word(_ value: Int32) -> [UInt8] {
  let bits = UInt32(bitPattern: value)
  return [UInt8(bits & 0xff), UInt8(bits >> 8 & 0xff), UInt8(bits >> 16 & 0xff), UInt8(bits >> 24)]
}

private func long(_ value: UInt64) -> [UInt8] {
  word(Int32(truncatingIfNeeded: value)) + word(Int32(truncatingIfNeeded: value >> 32))
}

private func value(of option: Int, _ socket: Socket) throws(Errno) -> [UInt8] {
  let settings = socket.settings
  func flag(_ isOn: Bool) -> [UInt8] { word(isOn ? 1 : 0) }
  switch option {
  case Option.debug: return flag(false)
  case Option.reuseAddress: return flag(settings.reusesAddress)
  case Option.reusePort: return flag(settings.reusesPort)
  case Option.type: return word(Int32(socket.type.rawValue))
  case Option.protocolNumber: return word(Int32(socket.protocolNumber))
  case Option.domain: return word(Int32(socket.family.rawValue))
  case Option.error:
    // Readiness finds errors that came meanwhile.
    _ = socket.poll()
    return word(Int32(socket.takeError()?.rawValue ?? 0))
  case Option.avoidRouters: return flag(settings.avoidsRouters)
  case Option.broadcast: return flag(settings.mayBroadcast)
  case Option.sendBuffer: return word(Int32(settings.sendBuffer))
  case Option.receiveBuffer: return word(Int32(settings.receiveBuffer))
  case Option.keepAlive: return flag(settings.keepsAlive)
  case Option.urgentInline: return flag(settings.showsUrgentInline)
  case Option.priority: return word(settings.priority)
  case Option.linger: return word(settings.linger == nil ? 0 : 1) + word(settings.linger ?? 0)
  case Option.passCredentials: return flag(settings.passesCredentials)
  case Option.peerCredentials:
    let peer = socket.peerCredentials
    return word(peer.process) + word(Int32(bitPattern: peer.user)) + word(Int32(bitPattern: peer.group))
  case Option.receiveLowMark: return word(settings.lowMark)
  case Option.sendLowMark: return word(1)
  case Option.receiveTimeout, Option.sendTimeout:
    let nanoseconds = option == Option.receiveTimeout ? settings.receiveTimeout : settings.sendTimeout
    return long(nanoseconds / 1_000_000_000) + long(nanoseconds % 1_000_000_000 / 1000)
  case Option.bindToDevice: return []
  case Option.timestamp: return flag(settings.stampsTime)
  case Option.acceptsConnections: return flag(socket.isListening)
  case Option.mark: return word(settings.mark)
  default: throw .ENOPROTOOPT
  }
}

private func setOptionCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let socket = try task.socket(arguments.i0)
  let (level, option, address, count) = (arguments.i1, arguments.i2, arguments.a3, arguments.i4)
  guard count >= 0 else { throw .EINVAL }
  if level == 1 {
    try set(task, socket, option, address, count)
    socket.settingsChanged()
    return 0
  }
  // ICMP6_FILTER is eight words.
  if level == 58 && option == 1, let packets = socket as? PacketSocket {
    guard count >= 32 else { throw .EINVAL }
    let bytes = try task.memory(at: address, count: 32, write: false)
    var words: [UInt32] = []
    for index in 0..<8 { words.append(bytes.load(index * 4, as: UInt32.self)) }
    packets.setFilter(words)
    return 0
  }
  // Options of IP may be single bytes.
  let value: Int32
  if count >= 4 {
    value = try task.load(address, as: Int32.self)
  } else {
    guard level == 0, count >= 1 else { throw .EINVAL }
    value = Int32(try task.load(address, as: UInt8.self))
  }
  try socket.setOption(level, option, value)
  return 0
}

private func set(_ task: Task, _ socket: Socket, _ option: Int, _ address: UInt64, _ count: Int) throws(Errno) {
  switch option {
  case Option.linger:
    guard count >= 8 else { throw .EINVAL }
    let isOn = try task.load(address, as: Int32.self) != 0
    let seconds = try task.load(address &+ 4, as: Int32.self)
    socket.settings.linger = isOn ? seconds : nil
    return
  case Option.receiveTimeout, Option.sendTimeout:
    guard count >= 16 else { throw .EINVAL }
    let seconds = try task.load(address, as: Int64.self)
    let microseconds = try task.load(address &+ 8, as: Int64.self)
    guard microseconds >= 0, microseconds < 1_000_000 else { throw .EDOM }
    let limit = seconds < 0 ? 0 : UInt64(min(seconds, 1 << 33)) * 1_000_000_000 + UInt64(microseconds) * 1000
    if option == Option.receiveTimeout {
      socket.settings.receiveTimeout = limit
    } else {
      socket.settings.sendTimeout = limit
    }
    return
  case Option.bindToDevice:
    let name = try task.copyIn(address, count: min(count, 16))
    let text = [UInt8](name.prefix { $0 != 0 })
    guard text.isEmpty || text == ascii("lo") || text == ascii("eth0") && task.family.network.hasLink
    else { throw .ENODEV }
    return
  default: break
  }
  guard count >= 4 else { throw .EINVAL }
  let value = try task.load(address, as: Int32.self)
  let isOn = value != 0
  switch option {
  case Option.debug: guard !isOn || task.credentials.isSuperuser else { throw .EACCES }
  case Option.reuseAddress: socket.settings.reusesAddress = isOn
  case Option.reusePort:
    guard socket.family != .local else { throw .EOPNOTSUPP }
    socket.settings.reusesPort = isOn
  case Option.type, Option.protocolNumber, Option.domain, Option.error, Option.acceptsConnections,
    Option.peerCredentials, Option.sendLowMark:
    throw .ENOPROTOOPT
  case Option.avoidRouters: socket.settings.avoidsRouters = isOn
  case Option.broadcast: socket.settings.mayBroadcast = isOn
  // Linux doubles what is asked for, and bounds it (socket(7)).
  case Option.sendBuffer: socket.settings.sendBuffer = max(4608, Int(min(UInt32(bitPattern: value), 212_992)) * 2)
  case Option.receiveBuffer: socket.settings.receiveBuffer = max(2304, Int(min(UInt32(bitPattern: value), 212_992)) * 2)
  case Option.sendBufferForce, Option.receiveBufferForce:
    guard task.credentials.isSuperuser else { throw .EPERM }
    let size = Int(min(UInt32(bitPattern: value), 1 << 21)) * 2
    if option == Option.sendBufferForce {
      socket.settings.sendBuffer = max(4608, size)
    } else {
      socket.settings.receiveBuffer = max(2304, size)
    }
  case Option.keepAlive: socket.settings.keepsAlive = isOn
  case Option.urgentInline: socket.settings.showsUrgentInline = isOn
  case Option.priority:
    guard (0...6).contains(value) || task.credentials.isSuperuser else { throw .EPERM }
    socket.settings.priority = value
  case Option.passCredentials:
    guard socket.family == .local else { throw .EOPNOTSUPP }
    socket.settings.passesCredentials = isOn
  case Option.receiveLowMark: socket.settings.lowMark = value < 0 ? .max : max(1, value)
  case Option.timestamp: socket.settings.stampsTime = isOn
  case Option.mark:
    guard task.credentials.isSuperuser else { throw .EPERM }
    socket.settings.mark = value
  default: throw .ENOPROTOOPT
  }
}

extension Socket {
  /// Puts what is known of a datagram into control messages (ip(7), ipv6(7)).
  func describe(_ message: IncomingMessage, _ control: inout ControlWriter) {
    if let destination = message.destination {
      let encoded = destination.encoded
      let index: UInt32 = encoded.count == 16 && encoded[4] == 127 ? 1 : 2
      if encoded.count == 16 {
        control.begin(0, 8, count: 12)
        control.append(index)
        control.append([UInt8](encoded[4..<8]))
        control.append([UInt8](encoded[4..<8]))
      } else {
        control.begin(41, 50, count: 20)
        control.append([UInt8](encoded[8..<24]))
        control.append(index)
      }
    }
    if let hopLimit = message.hopLimit {
      if family == .internet { control.begin(0, 2, count: 4) } else { control.begin(41, 52, count: 4) }
      control.append(UInt32(hopLimit))
    }
  }
}
