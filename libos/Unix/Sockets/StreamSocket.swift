// SPDX-License-Identifier: Apache-2.0
// StreamSocket.swift: TCP as programs call it (tcp(7)).

import ApusNet
import ApusRuntime

/// A socket of the type SOCK_STREAM on a network.
public final class StreamSocket: InternetSocket {
  private enum State {
    case idle
    case listening(ListenerHandle)
    case connecting(TCPHandle)
    case connected(TCPHandle)
    /// A connection was, or was tried.
    case over
  }

  private var state = State.idle
  private var remote: Endpoint?
  private var isReadShut = false
  private var isWriteShut = false
  private var sendsAtOnce = false
  private var isCorked = false
  private var keepIdle: Int32 = 7200
  private var keepInterval: Int32 = 75
  private var keepCount: Int32 = 9
  private var segmentLimit: Int32 = 536
  private var userTimeout: Int32 = 0
  private var deferAccept: Int32 = 0
  private var quickAcknowledgement: Int32 = 1

  init(_ network: Network, _ node: Inode, _ family: SocketFamily, _ flags: OpenFlags) {
    super.init(network, node, family, .stream, 6, flags)
  }

  private var handle: TCPHandle? {
    switch state {
    case .connecting(let handle), .connected(let handle): handle
    case .idle, .listening, .over: nil
    }
  }

  func owns(_ other: TCPHandle) -> Bool { handle == other }
  func owns(_ other: ListenerHandle) -> Bool {
    if case .listening(let own) = state { return own == other }
    return false
  }

  public override var isListening: Bool {
    if case .listening = state { return true }
    return false
  }

  public override var isConnecting: Bool {
    if case .connecting = state { return true }
    return false
  }

  public override func peerName() throws(Errno) -> SocketAddress {
    settle()
    guard case .connected = state, let remote else { throw .ENOTCONN }
    return shown(remote)
  }

  /// How its connections behave.
  private var configuration: TCPConfiguration {
    var tcp = TCPConfiguration()
    tcp.sendBuffer = min(max(settings.sendBuffer, 4608), 4 << 20)
    tcp.receiveBuffer = min(max(settings.receiveBuffer, 2304), 4 << 20)
    adjust(&tcp)
    return tcp
  }

  private func adjust(_ tcp: inout TCPConfiguration) {
    tcp.sendsAtOnce = sendsAtOnce && !isCorked
    tcp.keepAlive =
      settings.keepsAlive
      ? KeepAlive(idle: .seconds(Int64(keepIdle)), interval: .seconds(Int64(keepInterval)), count: Int(keepCount)) : nil
  }

  // MARK: Listening

  public override func listen(_ backlog: Int, _ caller: SocketCaller) throws(Errno) {
    switch state {
    case .idle, .over: break
    case .listening: return
    case .connecting, .connected: throw .EINVAL
    }
    try bindIfNeeded()
    do throws(TCPError) {
      let limit = min(max(1, backlog < 0 ? 4096 : backlog + 1), 4097)
      state = .listening(try stack.listen(port: local.port, scope: scope, backlog: limit, with: configuration))
      network.enterListener(self)
    } catch { throw .EADDRINUSE }
  }

  public override func accept(_ flags: OpenFlags) throws(Errno) -> Socket {
    guard case .listening(let listener) = state else { throw .EINVAL }
    network.pumpArrivals()
    guard let taken = stack.accept(listener) else { throw .EAGAIN }
    let made = StreamSocket(
      network, Socket.makeNode(node.fileSystem, node.ownerCredentials), family, flags)
    made.settings = settings
    made.sender = sender
    made.sendsAtOnce = sendsAtOnce
    (made.keepIdle, made.keepInterval, made.keepCount) = (keepIdle, keepInterval, keepCount)
    made.isVersion6Only = isVersion6Only
    made.begin(taken)
    return made
  }

  /// Takes over a connection that a listener has given.
  private func begin(_ taken: TCPHandle) {
    state = .connected(taken)
    isBound = true
    if let ends = try? stack.ends(taken) {
      local = ends.local
      remote = ends.remote
    }
    network.enter(self, taken)
  }

  // MARK: Connecting

  public override func connect(_ address: SocketAddress, _ caller: SocketCaller) throws(Errno) {
    network.pumpArrivals()
    settle()
    switch state {
    case .connecting: throw .EALREADY
    case .connected:
      // The call that began it learns of its success once; so does one that waited.
      if isNews {
        isNews = false
        return
      }
      throw .EISCONN
    case .listening: throw .EISCONN
    case .over:
      if let error = takeError() {
        state = .idle
        throw error
      }
      state = .idle
    case .idle: break
    }
    if address == .unspecified { return }
    let target = try destination(address)
    guard let source = ownAddress ?? stack.localAddress(for: target.address) else { throw .ENETUNREACH }
    guard target.port != 0 else { throw .ECONNREFUSED }
    if local.port == 0 {
      local = Endpoint(source, 0)
      try takePort(0)
    }
    isBound = true
    local = Endpoint(source, local.port)
    isReadShut = false
    isWriteShut = false
    do throws(TCPError) {
      let begun = try stack.connect(
        to: target, localPort: local.port, from: source, with: configuration, network.now)
      state = .connecting(begun)
      remote = target
      isNews = true
      network.enter(self, begun)
    } catch {
      throw error == .inUse ? .EADDRNOTAVAIL : Self.errno(error)
    }
    network.pump()
    settle()
    switch state {
    case .connected: isNews = false
    case .connecting: throw .EINPROGRESS
    case .idle, .listening, .over:
      state = .idle
      throw takeError() ?? .ECONNREFUSED
    }
  }

  /// Whether nobody was told yet that the connection has come to be.
  private var isNews = false

  /// Takes over how a connection attempt, or a connection, has ended.
  private func settle() {
    guard let handle else { return }
    let status: TCPStatus
    do throws(TCPError) { status = try stack.status(handle) } catch { return end(nil) }
    if let error = status.error {
      if status.readable == 0 || isConnecting { end(isConnecting || error != .notConnected ? error : nil) }
      return
    }
    switch status.state {
    case .synSent, .synReceived: break
    case .closed:
      if isConnecting { end(.refused) }
    default:
      if case .connecting = state { state = .connected(handle) }
    }
  }

  private func end(_ error: TCPError?) {
    if let error, pendingError == nil { pendingError = Self.errno(error) }
    if let handle {
      network.leave(handle, self)
      stack.release(handle, network.now)
    }
    state = .over
  }

  private static func errno(_ error: TCPError) -> Errno {
    switch error {
    case .refused: .ECONNREFUSED
    case .reset: .ECONNRESET
    case .timedOut: .ETIMEDOUT
    case .unreachable: .ENETUNREACH
    case .notConnected: .ENOTCONN
    case .finished: .EPIPE
    case .exhausted: .ENOBUFS
    case .inUse: .EADDRINUSE
    }
  }

  // MARK: Transfer

  public override func send(_ bytes: Bytes, _ message: OutgoingMessage) throws(Errno) -> Int {
    if message.flags.contains(.urgent) { throw .EOPNOTSUPP }
    settle()
    switch state {
    case .connected(let handle):
      if isWriteShut { throw .EPIPE }
      if bytes.count == 0 { return 0 }
      let result: Result<Int, TCPError> = bytes.withSpan { span in
        do throws(TCPError) { return .success(try self.stack.write(handle, span)) } catch { return .failure(error) }
      }
      switch result {
      case .success(let count):
        // Whoever has more to send wants to know when there is room.
        if count < bytes.count { stack.tellOfProgress(handle) }
        guard count > 0 else { throw .EAGAIN }
        network.pump()
        return count
      case .failure(let error):
        if error == .finished || error == .notConnected { throw .EPIPE }
        end(error)
        throw takeError() ?? .EPIPE
      }
    case .connecting: throw .EAGAIN
    case .idle, .listening: throw .EPIPE
    case .over: throw takeError() ?? .EPIPE
    }
  }

  public override func receive(_ into: Bytes, _ flags: MessageFlags) throws(Errno) -> IncomingMessage {
    if flags.contains(.urgent) { throw .EINVAL }
    var result = IncomingMessage()
    settle()
    let current: TCPHandle
    switch state {
    case .connected(let handle): current = handle
    case .connecting: throw .EAGAIN
    case .idle, .listening: throw .ENOTCONN
    case .over:
      if let error = takeError() { throw error }
      return result
    }
    if into.count == 0 { return result }
    var bytes: [UInt8] = []
    var count = try take(current, into.count, flags, &bytes)
    if count == 0 {
      network.pumpArrivals()
      count = try take(current, into.count, flags, &bytes)
    }
    guard let count else { return result }
    guard count > 0 else {
      if isReadShut { return result }
      throw .EAGAIN
    }
    into.copy(bytes)
    result.count = count
    result.fullCount = count
    // The peer may have to be told that there is room again.
    if !flags.contains(.peek), stack.deadline == .zero { network.pump() }
    return result
  }

  /// Reads, or looks.
  ///
  /// - Returns: How many bytes; nil at the end.
  private func take(
    _ handle: TCPHandle, _ limit: Int, _ flags: MessageFlags, _ bytes: inout [UInt8]
  ) throws(Errno) -> Int? {
    do throws(TCPError) {
      if flags.contains(.peek) { return try stack.peek(handle, limit, into: &bytes) }
      return try stack.read(handle, limit, into: &bytes)
    } catch {
      end(error == .notConnected ? nil : error)
      if let error = takeError() { throw error }
      return nil
    }
  }

  // MARK: Ending

  public override func shutdown(reads: Bool, writes: Bool) throws(Errno) {
    settle()
    switch state {
    case .connected(let handle):
      if reads { isReadShut = true }
      if writes && !isWriteShut {
        isWriteShut = true
        stack.finish(handle, network.now)
        network.pump()
      }
      wakeAll()
    case .listening(let listener):
      guard reads else { return }
      stopListening(listener)
      wakeAll()
    case .connecting(let handle):
      stack.abort(handle, network.now)
      end(nil)
      wakeAll()
    case .idle, .over: throw .ENOTCONN
    }
  }

  private func stopListening(_ listener: ListenerHandle) {
    stack.close(listener, network.now)
    network.leaveListener(self)
    state = .idle
    network.pump()
  }

  public override func close() {
    switch state {
    case .listening(let listener): stopListening(listener)
    case .connecting(let handle), .connected(let handle):
      network.leave(handle, self)
      if settings.linger == 0 { stack.abort(handle, network.now) }
      stack.release(handle, network.now)
      network.pump()
    case .idle, .over: break
    }
    state = .over
    network.unclaim(self)
  }

  // MARK: Readiness

  public override func poll() -> PollEvents {
    network.pumpArrivals()
    settle()
    let readable = PollEvents.readable.rawValue
    let writable = PollEvents.writable.rawValue
    var events: UInt16 = pendingError == nil ? 0 : PollEvents.error.rawValue
    switch state {
    case .listening(let listener): return stack.hasConnection(listener) ? .readable : .none
    case .connecting: return PollEvents(rawValue: events)
    case .idle: events |= writable | PollEvents.hangup.rawValue
    case .over: events |= readable | writable | PollEvents.hangup.rawValue | PollEvents.peerFinished.rawValue
    case .connected(let handle):
      guard let status = try? stack.status(handle) else { break }
      if status.readable > 0 { events |= readable }
      let isAtEnd = status.isAtEnd || isReadShut
      if isAtEnd { events |= readable | PollEvents.peerFinished.rawValue }
      let canSend = !isWriteShut && status.state != .closed
      if !canSend || status.writable * 3 >= settings.sendBuffer {
        events |= writable
      } else {
        stack.tellOfProgress(handle)
      }
      if isAtEnd && !canSend { events |= PollEvents.hangup.rawValue }
    }
    return PollEvents(rawValue: events)
  }

  public override var readableByteCount: Int? {
    network.pumpArrivals()
    return handle.flatMap { try? stack.status($0) }?.readable ?? 0
  }

  public override var unsentByteCount: Int { handle.flatMap { try? stack.status($0) }?.unacknowledged ?? 0 }

  // MARK: Options

  public override func settingsChanged() {
    if let handle {
      stack.adjust(handle, network.now) { adjust(&$0) }
      network.pump()
    }
  }

  public override func option(_ level: Int, _ option: Int) throws(Errno) -> Int32 {
    guard level == 6 else { return try super.option(level, option) }
    switch option {
    case 1: return sendsAtOnce ? 1 : 0
    case 2: return handle == nil ? segmentLimit : 1448
    case 3: return isCorked ? 1 : 0
    case 4: return keepIdle
    case 5: return keepInterval
    case 6: return keepCount
    case 9: return deferAccept
    case 12: return quickAcknowledgement
    case 18: return userTimeout
    default: throw .ENOPROTOOPT
    }
  }

  public override func setOption(_ level: Int, _ option: Int, _ value: Int32) throws(Errno) {
    guard level == 6 else { return try super.setOption(level, option, value) }
    switch option {
    case 1: sendsAtOnce = value != 0
    case 2:
      guard value == 0 || (88...32_767).contains(value) else { throw .EINVAL }
      segmentLimit = value
    case 3: isCorked = value != 0
    case 4:
      guard (1...32_767).contains(value) else { throw .EINVAL }
      keepIdle = value
    case 5:
      guard (1...32_767).contains(value) else { throw .EINVAL }
      keepInterval = value
    case 6:
      guard (1...127).contains(value) else { throw .EINVAL }
      keepCount = value
    case 9: deferAccept = max(0, value)
    case 12: quickAcknowledgement = value != 0 ? 1 : 0
    case 18:
      guard value >= 0 else { throw .EINVAL }
      userTimeout = value
    default: throw .ENOPROTOOPT
    }
    settingsChanged()
  }
}
