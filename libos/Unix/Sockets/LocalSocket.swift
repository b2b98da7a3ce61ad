// SPDX-License-Identifier: Apache-2.0
// LocalSocket.swift: sockets within the machine (unix(7)): how they begin, find each other and end.

import ApusRuntime

// Theory of operation. A socket holds what was sent to it (`incoming`); a connection is two sockets that know each
// other. A sender without room notes itself at the receiver (`stalled`) and is told when there is room again. A
// listening socket holds the far ends of connections that were not accepted yet: connecting makes them, so a client
// may send before it is accepted.

/// A socket of the family AF_UNIX.
public final class LocalSocket: Socket {
  enum State {
    case idle
    case listening
    case connected
  }

  let names: LocalNames
  private(set) var state = State.idle
  private var ownName = SocketAddress.unnamed
  /// Its inode in the file tree, if it is named there.
  private var boundNode: SocketNode?
  /// The other end; of a datagram socket: to whom it sends.
  private(set) var peer: LocalSocket?
  private var seenCredentials = PeerCredentials.nobody
  var incoming = LocalQueue()
  var isReadShut = false
  var isWriteShut = false
  /// Connections that wait to be accepted, and how many may.
  private var waiting: [LocalSocket] = []
  private var backlog = 0
  /// Who listens, as the connections made here will show it.
  private var listener = PeerCredentials.nobody
  /// Sockets that found no room here.
  private var stalled: [LocalSocket] = []

  /// socket(2).
  public init(
    _ fileSystem: FileSystem, _ names: LocalNames, _ type: SocketType, _ flags: OpenFlags, owner: Credentials
  ) {
    self.names = names
    super.init(Socket.makeNode(fileSystem, owner), .local, type, 0, flags)
  }

  /// socketpair(2).
  public static func makePair(
    _ fileSystem: FileSystem, _ names: LocalNames, _ type: SocketType, _ flags: OpenFlags, owner: Credentials,
    _ credentials: PeerCredentials
  ) -> (LocalSocket, LocalSocket) {
    let one = LocalSocket(fileSystem, names, type, flags, owner: owner)
    let other = LocalSocket(fileSystem, names, type, flags, owner: owner)
    one.join(other, credentials)
    other.join(one, credentials)
    one.sender = credentials
    other.sender = credentials
    return (one, other)
  }

  private func join(_ other: LocalSocket, _ credentials: PeerCredentials) {
    peer = other
    seenCredentials = credentials
    if type != .datagram { state = .connected }
  }

  public override var name: SocketAddress { ownName }
  public override var isListening: Bool { state == .listening }
  public override var peerCredentials: PeerCredentials { seenCredentials }

  public override func peerName() throws(Errno) -> SocketAddress {
    guard let peer else {
      // The other end is gone; it was there.
      if state == .connected { return lastPeerName }
      throw .ENOTCONN
    }
    return peer.ownName
  }

  private var lastPeerName = SocketAddress.unnamed

  // MARK: Names

  public override func bind(_ address: SocketAddress, _ caller: SocketCaller) throws(Errno) {
    switch address {
    case .unnamed:
      if ownName != .unnamed { return }
      try takeAbstract(names.makeAutomatic(type))
    case .abstract(let name):
      guard ownName == .unnamed else { throw .EINVAL }
      try takeAbstract(name)
    case .path(let path):
      let location = try caller.walker.walk(path, .name)
      if location.node != nil || location.last != .name { throw .EADDRINUSE }
      guard ownName == .unnamed else { throw .EINVAL }
      let permissions = 0o777 & ~caller.walker.context.mask
      try location.makeNode(
        FileMode(.socket, permissions), device: DeviceNumber(rawValue: 0), caller.walker.credentials)
      guard let made = try caller.walker.node(path, followLast: false).asSocketNode else { throw .EINVAL }
      made.socket = self
      boundNode = made
      ownName = address
    case .unspecified, .internet: throw .EINVAL
    }
  }

  private func takeAbstract(_ name: [UInt8]) throws(Errno) {
    try names.add(name, self)
    ownName = .abstract(name)
  }

  /// The socket that an address names.
  func find(_ address: SocketAddress, _ caller: SocketCaller?) throws(Errno) -> LocalSocket {
    let found: LocalSocket?
    switch address {
    case .abstract(let name): found = names.find(name, type)
    case .path(let path):
      guard let caller else { throw .EINVAL }
      let node = try caller.walker.node(path)
      try node.check(.write, caller.walker.credentials)
      found = node.asSocketNode?.socket
    case .unnamed, .unspecified, .internet: throw .EINVAL
    }
    guard let found else { throw .ECONNREFUSED }
    guard found.type == type else { throw .EPROTOTYPE }
    return found
  }

  // MARK: Connections

  public override func listen(_ backlog: Int, _ caller: SocketCaller) throws(Errno) {
    guard type != .datagram else { throw .EOPNOTSUPP }
    guard ownName != .unnamed, state != .connected else { throw .EINVAL }
    self.backlog = min(max(0, backlog), 4096)
    listener = caller.credentials
    state = .listening
    wakeStalled()
  }

  public override func connect(_ address: SocketAddress, _ caller: SocketCaller) throws(Errno) {
    if type == .datagram { return try connectDatagrams(address, caller) }
    guard address != .unspecified else { throw .EINVAL }
    let target = try find(address, caller)
    switch state {
    case .idle: break
    case .connected: throw .EISCONN
    case .listening: throw .EINVAL
    }
    guard target.state == .listening, !target.isReadShut else { throw .ECONNREFUSED }
    guard target.waiting.count <= target.backlog else {
      target.noteStalled(self)
      throw .EAGAIN
    }
    let far = LocalSocket(node.fileSystem, names, type, .readOnly, owner: target.node.ownerCredentials)
    far.ownName = target.ownName
    far.sender = target.listener
    far.settings.passesCredentials = target.settings.passesCredentials
    far.join(self, caller.credentials)
    join(far, target.listener)
    target.waiting.append(far)
    target.readers.wakeAll()
    wakeAll()
  }

  private func connectDatagrams(_ address: SocketAddress, _ caller: SocketCaller) throws(Errno) {
    if address == .unspecified {
      setDestination(nil)
      return
    }
    let target = try find(address, caller)
    guard target.peer == nil || target.peer === self else { throw .EPERM }
    setDestination(target)
  }

  private func setDestination(_ target: LocalSocket?) {
    // What a former partner sent is not what the new one says.
    if let peer, peer !== target {
      incoming.discardAll()
      if peer.peer === self { peer.pendingError = .ECONNRESET }
    }
    peer = target
    writers.wakeAll()
  }

  public override func accept(_ flags: OpenFlags) throws(Errno) -> Socket {
    guard type != .datagram else { throw .EOPNOTSUPP }
    guard state == .listening else { throw .EINVAL }
    guard !waiting.isEmpty else {
      if isReadShut { throw .EINVAL }
      throw .EAGAIN
    }
    let far = waiting.removeFirst()
    far.flags = far.flags.subtracting(.settable).union(flags.intersection(.settable))
    wakeStalled()
    return far
  }

  public override func shutdown(reads: Bool, writes: Bool) throws(Errno) {
    if reads { isReadShut = true }
    if writes { isWriteShut = true }
    if type != .datagram, let peer {
      if reads { peer.isWriteShut = true }
      if writes { peer.isReadShut = true }
      peer.wakeAll()
    }
    if reads { wakeStalled() }
    wakeAll()
  }

  /// Its last descriptor is gone.
  public override func close() { leave(unaccepted: false) }

  private func leave(unaccepted: Bool) {
    names.remove(self)
    if let boundNode, boundNode.socket === self { boundNode.socket = nil }
    boundNode = nil
    let hadUnread = !incoming.isEmpty
    if let peer, type != .datagram {
      peer.isReadShut = true
      peer.isWriteShut = true
      if hadUnread || unaccepted { peer.pendingError = .ECONNRESET }
      peer.lastPeerName = ownName
      peer.peer = nil
      peer.wakeAll()
    }
    peer = nil
    isGone = true
    let unserved = waiting
    waiting = []
    state = .idle
    for far in unserved { far.leave(unaccepted: true) }
    incoming.discardAll()
    wakeStalled()
  }

  /// It was closed; datagram sockets connected to it learn that when they send.
  private(set) var isGone = false

  func forgetPeer() { peer = nil }

  public override func send(_ bytes: Bytes, _ message: OutgoingMessage) throws(Errno) -> Int {
    try transfer(bytes, message, to: nil)
  }

  public override func receive(_ into: Bytes, _ flags: MessageFlags) throws(Errno) -> IncomingMessage {
    try take(into, flags)
  }

  // MARK: Room

  /// A sender waits for room here.
  func noteStalled(_ sender: LocalSocket) {
    for other in stalled where other === sender { return }
    stalled.append(sender)
  }

  /// There is room, or never will be.
  func wakeStalled() {
    if stalled.isEmpty { return }
    let told = stalled
    stalled = []
    for sender in told { sender.writers.wakeAll() }
  }

  public override var readableByteCount: Int? {
    type == .stream ? incoming.byteCount : incoming[0]?.rest ?? 0
  }

  public override var unsentByteCount: Int { type == .datagram ? 0 : peer?.incoming.byteCount ?? 0 }

  public override func poll() -> PollEvents {
    var events: UInt16 = 0
    if pendingError != nil { events |= PollEvents.error.rawValue }
    if isReadShut && isWriteShut { events |= PollEvents.hangup.rawValue }
    if isReadShut { events |= PollEvents.readable.rawValue | PollEvents.peerFinished.rawValue }
    if state == .listening {
      return PollEvents(rawValue: waiting.isEmpty ? events : events | PollEvents.readable.rawValue)
    }
    if !incoming.isEmpty { events |= PollEvents.readable.rawValue }
    if type != .datagram && state == .idle { events |= PollEvents.hangup.rawValue }
    if hasRoomToSend { events |= PollEvents.writable.rawValue }
    return PollEvents(rawValue: events)
  }
}

extension Inode {
  /// Whose it is.
  var ownerCredentials: Credentials { Credentials(user: user, group: group) }
}
