// SPDX-License-Identifier: Apache-2.0
// NetworkStack+Connections.swift: TCP as the application calls it.

/// What a connection is ready for.
public struct TCPStatus: Equatable, Sendable {
  /// Where it is in its life.
  public var state: TCPState
  /// How many bytes can be read.
  public var readable: Int
  /// Whether all that the peer will ever send has come.
  public var isAtEnd: Bool
  /// How many bytes would be taken for sending.
  public var writable: Int
  /// How many bytes were taken and not yet acknowledged.
  public var unacknowledged: Int
  /// What ended it, if something did.
  public var error: TCPError?
  /// Its smoothed round-trip time, once measured.
  public var roundTrip: TimeSpan?
}

extension NetworkStack {
  /// Accepts connections on a port.
  ///
  /// - Parameters:
  ///   - port: The port.
  ///   - scope: On which of our addresses.
  ///   - backlog: How many connections may wait for `accept`.
  ///   - halfOpenLimit: How many may be half open before SYNs are answered with cookies.
  ///   - tcp: How its connections behave; the stack's defaults unless said.
  /// - Returns: The listener's name.
  /// - Throws: `inUse`.
  public func listen(
    port: UInt16, scope: AddressScope = .all, backlog: Int = 128, halfOpenLimit: Int = 256,
    with tcp: TCPConfiguration? = nil
  ) throws(TCPError) -> ListenerHandle {
    if port == 0 || listeners.contains(where: { $0.isOpen && $0.port == port && $0.scope == scope }) {
      throw .inUse
    }
    guard claim(PortClaim(.tcp, port)) else { throw .inUse }
    let new = Listener(
      port: port, scope: scope, isOpen: true, generation: UInt32(truncatingIfNeeded: random.next()),
      configuration: tcp ?? configuration.tcp, backlog: backlog, halfOpenLimit: halfOpenLimit)
    // A closed listener's place is taken again once none of its connections is half open.
    if let index = listeners.firstIndex(where: { !$0.isOpen && $0.halfOpen == 0 }) {
      listeners[index] = new
      return ListenerHandle(index: index, generation: new.generation)
    }
    listeners.append(new)
    return ListenerHandle(index: listeners.count - 1, generation: new.generation)
  }

  /// The next connection of a listener; nil if there is none yet.
  public func accept(_ handle: ListenerHandle) -> TCPHandle? {
    guard let index = index(of: handle) else { return nil }
    while !listeners[index].ready.isEmpty {
      let taken = listeners[index].ready.removeFirst()
      if connections[taken] != nil { return taken }
    }
    return nil
  }

  /// Stops accepting; connections that nobody took are reset.
  public func close(_ handle: ListenerHandle, _ now: Instant) {
    guard let index = index(of: handle) else { return }
    listeners[index].isOpen = false
    claims?.release(PortClaim(.tcp, listeners[index].port))
    let orphans = listeners[index].ready
    listeners[index].ready = []
    for orphan in orphans {
      abort(orphan, now)
      release(orphan, now)
    }
    for (slotIndex, slot) in connections.slots.enumerated()
    where slot.listener == index && !slot.isEstablishedOnce && slot.connection != nil {
      let half = TCPHandle(index: slotIndex, generation: slot.generation)
      connections[half]?.abort()
      serve(half, now)
    }
  }

  private func index(of handle: ListenerHandle) -> Int? {
    guard handle.index < listeners.count, listeners[handle.index].generation == handle.generation,
      listeners[handle.index].isOpen
    else { return nil }
    return handle.index
  }

  /// Begins to connect.
  ///
  /// - Parameters:
  ///   - remote: To whom.
  ///   - localPort: From which port; 0 for one that nobody can guess.
  ///   - source: From which of our addresses, if not the one that fits.
  ///   - tcp: How the connection behaves; the stack's defaults unless said.
  ///   - now: The time.
  /// - Returns: The connection's name; whether it comes to be, its status will tell.
  /// - Throws: `unreachable` without a route, `inUse`, `exhausted`.
  public func connect(
    to remote: Endpoint, localPort: UInt16 = 0, from source: IPAddress? = nil, with tcp: TCPConfiguration? = nil,
    _ now: Instant
  ) throws(TCPError) -> TCPHandle {
    guard remote.port != 0, remote.address.isUnicast, route(to: remote.address) != nil,
      let source = source ?? self.source(for: remote.address)
    else { throw .unreachable }
    guard makeRoom(now) else { throw .exhausted }
    let port = localPort == 0 ? freePort(source, remote) : localPort
    guard let port else { throw .exhausted }
    let local = Endpoint(source, port)
    if connections.find(local, remote) != nil { throw .inUse }
    guard claim(PortClaim(.tcp, port, from: remote)) else { throw .inUse }
    let connection = TCPConnection(
      connecting: local, to: remote, tcp ?? configuration.tcp, budget,
      initialSend: initialSequence(local, remote, now), timestampOffset: timestampOffset(local, remote),
      segmentLimit: segmentLimit(to: remote.address, now), now: now)
    guard let handle = connections.insert(connection, listener: -1) else {
      releaseClaim(of: connection, wasAccepted: false)
      throw .exhausted
    }
    connection.handle = handle
    mark(handle)
    return handle
  }

  /// A port for a new connection, from a random place on (RFC 6056, 3.3.1).
  private func freePort(_ source: IPAddress, _ remote: Endpoint) -> UInt16? {
    let first = 32_768
    let count = 65_536 - first
    let start = random.next(below: count)
    for step in 0..<count {
      let port = UInt16(first + (start + step) % count)
      let isListening = listeners.contains { $0.isOpen && $0.port == port }
      if !isListening, connections.find(Endpoint(source, port), remote) == nil { return port }
    }
    return nil
  }

  private func connection(_ handle: TCPHandle) throws(TCPError) -> TCPConnection {
    guard let connection = connections[handle], !connection.isReleased else { throw .notConnected }
    return connection
  }

  /// Queues bytes to be sent from the next poll on.
  ///
  /// - Returns: How many were taken; 0 when the buffer is full.
  /// - Throws: What ended the connection; `finished` after `finish`; `notConnected`.
  public func write(_ handle: TCPHandle, _ bytes: Span<UInt8>) throws(TCPError) -> Int {
    let taken = try connection(handle).write(bytes)
    if taken > 0 { mark(handle) }
    return taken
  }

  /// Queues bytes of the application's own memory, from the next poll on; they are not copied, and sent again from there.
  ///
  /// - Parameters:
  ///   - handle: The connection.
  ///   - source: Where the bytes are, which stay as they are until they have been acknowledged; it is held until then.
  ///   - offset: Where they begin there.
  ///   - count: How many.
  /// - Returns: How many were taken; fewer when a gigabyte is on its way.
  /// - Throws: What ended the connection; `finished` after `finish`; `notConnected`.
  public func write(
    _ handle: TCPHandle, from source: any PayloadSource, _ offset: Int, _ count: Int
  ) throws(TCPError) -> Int {
    let taken = try connection(handle).write(from: source, offset, count)
    if taken > 0 { mark(handle) }
    return taken
  }

  /// Queues bytes, and behind them all of one source, and another.
  ///
  /// - Parameters:
  ///   - handle: The connection.
  ///   - bytes: What is copied.
  ///   - first: What is sent from where it lies, with its count of bytes.
  ///   - second: What comes behind it, with its count; nil if there is nothing.
  /// - Returns: Whether all was taken; if not, a part was.
  /// - Throws: As `write`.
  public func write(
    _ handle: TCPHandle, _ bytes: Span<UInt8>, _ first: (any PayloadSource, Int), _ second: (any PayloadSource, Int)?
  ) throws(TCPError) -> Bool {
    let connection = try connection(handle)
    guard try connection.write(bytes) == bytes.count else { return false }
    mark(handle)
    guard try connection.write(from: first.0, 0, first.1) == first.1 else { return false }
    guard let second else { return true }
    return try connection.write(from: second.0, 0, second.1) == second.1
  }

  /// Has `nextNews` tell of a connection once when bytes of it have been acknowledged.
  public func tellOfProgress(_ handle: TCPHandle) { connections[handle]?.tellsProgress = true }

  /// A connection of which the application may want to know something new: it was established, bytes have come, it
  /// has ended; or bytes were acknowledged, where `tellOfProgress` asked for that.
  ///
  /// Whoever asks once a turn until there is none need not look at all its connections.
  ///
  /// - Returns: Each connection once, however much has happened; nil when there is none.
  public func nextNews() -> TCPHandle? {
    while let handle = news.popLast() {
      guard connections[handle] != nil else { continue }
      connections.note(handle) { $0.hasNews = false }
      return handle
    }
    return nil
  }

  /// Takes bytes that have come.
  ///
  /// - Parameters:
  ///   - handle: The connection.
  ///   - limit: How many bytes at most.
  ///   - bytes: What they are appended to.
  /// - Returns: How many; 0 when there are none yet; nil at the end of what the peer sends.
  /// - Throws: What ended the connection, once everything before it was read.
  public func read(_ handle: TCPHandle, _ limit: Int, into bytes: inout [UInt8]) throws(TCPError) -> Int? {
    let connection = try connection(handle)
    let taken = try connection.read(limit, into: &bytes)
    if connection.mustAcknowledge { mark(handle) }
    return taken
  }

  /// Looks at bytes that have come, and leaves them.
  ///
  /// - Parameters:
  ///   - handle: The connection.
  ///   - limit: How many bytes at most.
  ///   - bytes: What they are appended to.
  /// - Returns: As `read` does.
  /// - Throws: As `read` does.
  public func peek(_ handle: TCPHandle, _ limit: Int, into bytes: inout [UInt8]) throws(TCPError) -> Int? {
    let connection = try connection(handle)
    let count = min(limit, connection.readable)
    guard count > 0 else { return try connection.read(0, into: &bytes) }
    connection.receiveRing.copy(0, count, to: &bytes)
    return count
  }

  /// Changes how a connection behaves from now on; the sizes of its buffers stay.
  ///
  /// - Parameters:
  ///   - handle: The connection.
  ///   - now: The time.
  ///   - change: Changes its own copy of the configuration.
  public func adjust(_ handle: TCPHandle, _ now: Instant, _ change: (inout TCPConfiguration) -> Void) {
    guard let connection = connections[handle] else { return }
    change(&connection.configuration)
    connection.keepAliveChanged(now)
    mark(handle)
  }

  /// Whether every connection that was let go of has sent all that it had, and its peer has said so.
  public var isSettled: Bool {
    !connections.slots.contains { slot in
      guard let connection = slot.connection, connection.isReleased else { return false }
      switch connection.state {
      case .closed, .finWait2, .timeWait: return false
      case .synSent, .synReceived, .established, .finWait1, .closeWait, .closing, .lastAck: return true
      }
    }
  }

  /// Whether a connection of ours has a local port, those in TIME-WAIT among them.
  public func hasConnection(at port: UInt16) -> Bool {
    connections.slots.contains { $0.connection?.local.port == port && $0.isListed }
  }

  /// Whether a listener has a connection to give.
  public func hasConnection(_ handle: ListenerHandle) -> Bool {
    guard let index = index(of: handle) else { return false }
    return listeners[index].ready.contains { connections[$0] != nil }
  }

  /// What a connection is ready for.
  ///
  /// - Throws: `notConnected` when the handle names nothing.
  public func status(_ handle: TCPHandle) throws(TCPError) -> TCPStatus {
    let connection = try connection(handle)
    let isAtEnd = connection.finish.map { connection.receiveNext > $0 } ?? false
    return TCPStatus(
      state: connection.state, readable: connection.readable, isAtEnd: isAtEnd, writable: connection.writable,
      unacknowledged: connection.sendQueue.count, error: connection.error, roundTrip: connection.estimator.smoothed)
  }

  /// The two ends of a connection.
  ///
  /// - Throws: `notConnected` when the handle names nothing.
  public func ends(_ handle: TCPHandle) throws(TCPError) -> (local: Endpoint, remote: Endpoint) {
    let connection = try connection(handle)
    return (connection.local, connection.remote)
  }

  /// Sends what is queued and no more: the peer will see the end.
  ///
  /// Reading goes on.
  public func finish(_ handle: TCPHandle, _ now: Instant) {
    guard let connection = connections[handle] else { return }
    connection.finish(now)
    mark(handle)
  }

  /// Ends a connection at once, with a reset; its handle is still to be released.
  public func abort(_ handle: TCPHandle, _ now: Instant) {
    guard let connection = connections[handle] else { return }
    connection.abort()
    serve(handle, now)
  }

  /// Lets go of a connection: the handle names nothing any more.
  ///
  /// What is queued is still sent; data that was not read
  /// makes it a reset.
  public func release(_ handle: TCPHandle, _ now: Instant) {
    guard let connection = connections[handle], !connection.isReleased else { return }
    connection.release(now)
    serve(handle, now)
  }
}
