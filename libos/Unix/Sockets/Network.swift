// SPDX-License-Identifier: Apache-2.0
// Network.swift: the network stack that a family's sockets share, and who is told when it has something for them.

import ApusNet
import ApusRuntime

/// What brings a stack's frames to a link and back.
public protocol NetworkLink: AnyObject {
  /// Takes in frames that have arrived, lets the stack do what is due, and sends what it owes.
  func exchange()
  /// Whether frames have arrived that were not taken in.
  var hasArrived: Bool { get }
  /// When `exchange` is to be called at the latest, for the link's own sake; nil: never.
  var deadline: Instant? { get }
}

// Theory of operation. Sockets call the stack and then `pump`: what they have asked for is done at once, as far as it
// can be; over the loopback that is all of it. The stack notes which of its sockets have changed, and `pump` tells
// those who wait for them. What time brings about is done by whoever asked to be told of deadlines (`alarm`).

/// The network of a family.
public final class Network {
  /// The stack.
  public let stack: NetworkStack
  /// What its frames go over; nil: there is only the loopback.
  private let link: (any NetworkLink)?
  private let fileSystem: FileSystem
  /// Connections by the number of their handles.
  private var streams: [StreamSocket?] = []
  private var listeners: [StreamSocket] = []
  private var datagrams: [DatagramSocket] = []
  private var packets: [PacketSocket] = []
  /// Ports that sockets are bound to.
  private var claims: [PortBinding] = []
  /// When `alarm`'s owner looks next, as far as it was told.
  private var armed = UInt64.max
  /// Told when the network has to be pumped earlier than it was told before, in the clock's ticks.
  public var alarm: ((UInt64) -> Void)?
  private var isPumping = false

  /// The network of a stack.
  public init(_ fileSystem: FileSystem, _ stack: NetworkStack, link: (any NetworkLink)? = nil) {
    self.fileSystem = fileSystem
    self.stack = stack
    self.link = link
    stack.recordsEvents = true
  }

  /// A network that is only this machine.
  public convenience init(_ fileSystem: FileSystem, secret: Secret) {
    self.init(fileSystem, NetworkStack(StackConfiguration(hardwareAddress: MACAddress(0), secret: secret)))
  }

  /// Whether there is more than the loopback.
  public var hasLink: Bool { link != nil }

  /// The time, as the stack counts it.
  public var now: Instant { Instant(nanoseconds: Int64(truncatingIfNeeded: Clock.monotonicNanoseconds)) }

  /// socket(2).
  ///
  /// - Throws: `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`, `EPERM` for raw sockets of others than the superuser.
  public func makeSocket(
    _ family: SocketFamily, _ type: SocketType, _ number: Int, _ flags: OpenFlags, owner: Credentials
  ) throws(Errno) -> Socket {
    let node = Socket.makeNode(fileSystem, owner)
    let echo = family == .internet ? 1 : 58
    switch type {
    case .stream:
      guard number == 0 || number == 6 else { throw .EPROTONOSUPPORT }
      return StreamSocket(self, node, family, flags)
    case .datagram:
      if number == echo { return PacketSocket(self, node, family, type, number, flags) }
      guard number == 0 || number == 17 else { throw .EPROTONOSUPPORT }
      return DatagramSocket(self, node, family, flags)
    case .raw:
      guard number > 0, number < 255 else { throw .EPROTONOSUPPORT }
      guard owner.isSuperuser else { throw .EPERM }
      return PacketSocket(self, node, family, type, number, flags)
    case .sequence: throw .ESOCKTNOSUPPORT
    }
  }

  // MARK: Driving it

  /// Does what is due and tells who waits for what has come.
  public func pump() {
    // A waiter that is told may look at its socket at once.
    guard !isPumping else { return }
    isPumping = true
    var rounds = 0
    repeat {
      if let link { link.exchange() } else { stack.poll(now) }
      // Without a link nobody takes frames; there is no route to one either.
      if link == nil { while stack.nextFrame() != nil {} }
      tell()
      rounds += 1
    } while rounds < 16 && stack.deadline == .zero
    isPumping = false
    arm()
  }

  /// Takes in frames that have arrived, if any have.
  func pumpArrivals() {
    if let link, link.hasArrived { pump() }
  }

  private func tell() {
    while let handle = stack.nextNews() {
      if handle.slot < streams.count, let socket = streams[handle.slot], socket.owns(handle) { socket.wakeAll() }
    }
    for event in stack.takeEvents() {
      switch event {
      case .accepted(let handle):
        for socket in listeners where socket.owns(handle) { socket.readers.wakeAll() }
      case .datagram(let handle):
        for socket in datagrams where socket.owns(handle) { socket.wakeAll() }
      case .packet(let handle):
        for socket in packets where socket.owns(handle) { socket.readers.wakeAll() }
      }
    }
  }

  /// When something is due, in the clock's ticks; the greatest number: nothing is.
  public var deadline: UInt64 {
    var due = stack.deadline
    if let own = link?.deadline { due = due.map { min($0, own) } ?? own }
    guard let due else { return .max }
    let rest = (due - now).nanoseconds
    return Clock.ticks(afterNanoseconds: rest > 0 ? UInt64(rest) : 0)
  }

  /// Tells who looks at deadlines, if the next one comes before what was told last.
  private func arm() {
    guard let alarm else { return }
    let next = deadline
    guard next < armed else { return }
    armed = next
    alarm(next)
  }

  /// Does what is due, for who looks at deadlines.
  ///
  /// - Returns: When to call again, in the clock's ticks.
  public func alarmRang() -> UInt64 {
    // Whoever calls is told by the result: not by the alarm, which would ring without end.
    armed = 0
    pump()
    armed = deadline
    return armed
  }

  // MARK: Sockets

  func enter(_ socket: StreamSocket, _ handle: TCPHandle) {
    while streams.count <= handle.slot { streams.append(nil) }
    streams[handle.slot] = socket
  }

  func leave(_ handle: TCPHandle, _ socket: StreamSocket) {
    if handle.slot < streams.count, streams[handle.slot] === socket { streams[handle.slot] = nil }
  }

  func enterListener(_ socket: StreamSocket) { listeners.append(socket) }
  func leaveListener(_ socket: StreamSocket) { listeners.removeAll { $0 === socket } }
  func enter(_ socket: DatagramSocket) { datagrams.append(socket) }
  func leave(_ socket: DatagramSocket) { datagrams.removeAll { $0 === socket } }
  func enter(_ socket: PacketSocket) { packets.append(socket) }
  func leave(_ socket: PacketSocket) { packets.removeAll { $0 === socket } }

  // MARK: Ports

  private struct PortBinding {
    let socket: InternetSocket
    let port: UInt16
    let scope: AddressScope
  }

  /// The first of the ports that are given out, and how many there are (ip_local_port_range).
  private static var firstPort: Int { 32_768 }
  private static var portCount: Int { 28_232 }

  /// Gives a socket a port.
  ///
  /// - Parameters:
  ///   - port: The port; 0: any that is free.
  ///   - scope: On which addresses.
  ///   - socket: For whom.
  /// - Returns: The port.
  /// - Throws: `EADDRINUSE`.
  func claim(_ port: UInt16, _ scope: AddressScope, _ socket: InternetSocket) throws(Errno) -> UInt16 {
    if port != 0 {
      guard isFree(port, scope, socket) else { throw .EADDRINUSE }
      claims.append(PortBinding(socket: socket, port: port, scope: scope))
      return port
    }
    let start = randomNumber(below: Self.portCount)
    for step in 0..<Self.portCount {
      let candidate = UInt16(Self.firstPort + (start + step) % Self.portCount)
      var isTaken = stack.hasConnection(at: candidate) && socket.type == .stream
      for claim in claims where claim.port == candidate && claim.socket.type == socket.type { isTaken = true }
      if isTaken { continue }
      claims.append(PortBinding(socket: socket, port: candidate, scope: scope))
      return candidate
    }
    throw .EADDRINUSE
  }

  /// A number for ports that nobody can guess (RFC 6056, 3.3.1).
  private func randomNumber(below limit: Int) -> Int {
    var bytes = [UInt8](repeating: 0, count: 8)
    let value = Bytes.withArray(&bytes) { view in
      Random.fill(view)
      return view.load(0, as: UInt64.self)
    }
    return Int(value % UInt64(limit))
  }

  /// Whether nobody has a port, or whoever has it shares it (socket(7), SO_REUSEADDR and SO_REUSEPORT).
  private func isFree(_ port: UInt16, _ scope: AddressScope, _ socket: InternetSocket) -> Bool {
    for claim in claims where claim.port == port && claim.socket.type == socket.type && claim.socket !== socket {
      guard claim.scope.overlaps(scope) else { continue }
      let (one, other) = (claim.socket.settings, socket.settings)
      if one.reusesPort && other.reusesPort { continue }
      guard one.reusesAddress && other.reusesAddress else { return false }
      if socket.type == .stream && claim.socket.isListening { return false }
    }
    // A connection that is closing keeps its port from those who did not say that they know (TIME-WAIT).
    return socket.type != .stream || socket.settings.reusesAddress || !stack.hasConnection(at: port)
  }

  func unclaim(_ socket: InternetSocket) { claims.removeAll { $0.socket === socket } }
}

extension Secret {
  /// 128 random bits.
  public static func random() -> Secret {
    var bytes = [UInt8](repeating: 0, count: 16)
    return Bytes.withArray(&bytes) { view in
      Random.fill(view)
      return Secret(low: view.load(0, as: UInt64.self), high: view.load(8, as: UInt64.self))
    }
  }
}
