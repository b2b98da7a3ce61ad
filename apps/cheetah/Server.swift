// SPDX-License-Identifier: Apache-2.0
// Server.swift: connections and their requests: bytes in where the card put them, answers out of the site's pages.

// Theory of operation. The stack hands over bytes as they arrive (`received`). A head that is whole is read there, and
// its answer is queued at once: the status line and the date as bytes of the connection, the rest of the head and the
// body as references to the site's pages. Nothing is sent until all that has arrived was looked at; then one poll of the
// stack makes segments of it, each with head, data and FIN as far as they fit. Only a head that came in pieces is copied.

import ApusHTTP
import ApusNet
import ApusNetRing
import ApusRuntime

/// What is known of a connection beside what the stack knows.
final class Client {
  let handle: TCPHandle
  /// Bytes that are not a whole head yet, or wait for their turn.
  var pending: [UInt8] = []
  /// Bytes of a request's body that are still to be skipped.
  var skips = 0
  /// When the first byte of the head that is not whole came.
  var headSince: Instant?
  var lastActive: Instant
  var requests: UInt32 = 0
  /// Bytes queued since it was last looked at how many have been acknowledged.
  var sent = 0
  /// Bytes that were not acknowledged at the last sweep.
  var owed = 0
  /// The last answer has been queued.
  var isClosing = false
  /// Requests wait until more of the answers has been acknowledged.
  var isHeldBack = false

  init(_ handle: TCPHandle, _ now: Instant) {
    self.handle = handle
    lastActive = now
  }
}

/// Bounds of what a client may do.
struct ServerLimits {
  /// Bytes of answers queued and not acknowledged, above which no further request is looked at.
  var queued = 1 << 20
  var head = TimeSpan.seconds(10)
  var idle = TimeSpan.seconds(60)
  /// How long a client may take nothing of an answer.
  var stalled = TimeSpan.seconds(30)
  /// How long what comes behind the last answer is thrown away, so that the client sees the answer and no reset.
  var linger = TimeSpan.seconds(2)
}

final class Server: StreamReceiver {
  let interface: NetworkInterface
  let site: Site
  let limits = ServerLimits()
  let requestLimits = RequestLimits()
  private(set) var clients: [Client?] = []
  private(set) var clientCount = 0
  private(set) var now = Instant.zero
  /// Seconds since 1970, and the beginning of an answer with its date.
  private(set) var second: Int64 = 0
  private(set) var beginning: [UInt8] = []
  private var lastSweep = Instant.zero
  // Counters.
  private(set) var accepted = 0
  var requests = 0
  var answeredBytes = 0
  var statuses: [(status: HTTPStatus, count: Int)] = []
  private(set) var timeouts = 0
  var ok = 0
  private var listener: ListenerHandle?

  init(_ interface: NetworkInterface, _ site: Site) {
    self.interface = interface
    self.site = site
  }

  func listen(port: UInt16) throws(TCPError) {
    var tcp = TCPConfiguration()
    tcp.receiver = self
    tcp.sendsAtOnce = true
    tcp.receiveBuffer = 32 << 10
    listener = try interface.stack.listen(port: port, backlog: 512, halfOpenLimit: 1024, with: tcp)
  }

  // MARK: One turn

  /// Takes in what has arrived, answers, sends.
  ///
  /// - Returns: Whether anything had arrived.
  func turn() -> Bool {
    now = NetworkInterface.now
    keepDate()
    let taken = interface.receive(now)
    let stack = interface.stack
    if let listener { while let handle = stack.accept(listener) { open(handle) } }
    while let handle = stack.nextNews() { look(handle) }
    if now - lastSweep >= .seconds(1) { sweep() }
    interface.attend(taken > 0, now)
    interface.send(now)
    return taken > 0
  }

  /// The beginning of answers changes once a second.
  private func keepDate() {
    let seconds = Int64(Clock.realtimeNanoseconds / 1_000_000_000)
    guard seconds != second else { return }
    second = seconds
    beginning = []
    appendBeginning(.ok, to: &beginning)
  }

  func appendBeginning(_ status: HTTPStatus, to bytes: inout [UInt8]) {
    bytes.append("HTTP/1.1 ")
    bytes.append(number: Int(status.rawValue))
    bytes.append(32)
    bytes.append(status.reason)
    bytes.append("\r\nDate: ")
    HTTPDate(seconds: second).append(to: &bytes)
    bytes.append("\r\n")
  }

  // MARK: Connections

  @discardableResult private func open(_ handle: TCPHandle) -> Client {
    let slot = handle.slot
    while clients.count <= slot { clients.append(nil) }
    if let client = clients[slot] {
      if client.handle == handle { return client }
    } else {
      clientCount += 1
    }
    let client = Client(handle, now)
    clients[slot] = client
    accepted += 1
    return client
  }

  @inline(__always) private func client(_ handle: TCPHandle) -> Client? {
    let slot = handle.slot
    guard slot < clients.count, let client = clients[slot], client.handle == handle else { return nil }
    return client
  }

  private func forget(_ client: Client) {
    let slot = client.handle.slot
    guard clients[slot] === client else { return }
    clients[slot] = nil
    clientCount -= 1
    interface.stack.release(client.handle, now)
  }

  /// Looks at a connection of which something is new.
  private func look(_ handle: TCPHandle) {
    guard let client = client(handle) else { return }
    let stack = interface.stack
    do throws(TCPError) {
      let status = try stack.status(handle)
      if status.error != nil || status.state == .closed || status.state == .timeWait { return forget(client) }
      client.lastActive = now
      if client.isHeldBack {
        guard status.unacknowledged < limits.queued / 2 else { return stack.tellOfProgress(handle) }
        client.isHeldBack = false
        client.sent = status.unacknowledged
        goOn(client)
      }
      if status.readable > 0, !client.isHeldBack {
        var bytes: [UInt8] = []
        _ = try stack.read(handle, status.readable, into: &bytes)
        take(bytes.span, client)
      }
      // Whoever has said all, and was answered all, is let go of; what is queued is still sent.
      if status.isAtEnd, !client.isHeldBack { forget(client) }
    } catch { forget(client) }
  }

  /// Once a second: who takes too long.
  private func sweep() {
    lastSweep = now
    for client in clients {
      guard let client else { continue }
      let owed: Int
      do throws(TCPError) { owed = try interface.stack.status(client.handle).unacknowledged } catch {
        forget(client)
        continue
      }
      if owed != client.owed { client.lastActive = now }
      client.owed = owed
      let silence = now - client.lastActive
      if client.isClosing, owed == 0 {
        if silence >= limits.linger { forget(client) }
      } else if owed > 0 {
        if silence >= limits.stalled { drop(client) }
      } else if let since = client.headSince {
        guard now - since >= limits.head else { continue }
        timeouts += 1
        fail(.requestTimeout, client)
      } else if silence >= limits.idle {
        forget(client)
      }
    }
  }

  /// Ends a connection whose client takes nothing.
  private func drop(_ client: Client) {
    timeouts += 1
    interface.stack.abort(client.handle, now)
    forget(client)
  }

  // MARK: Bytes

  func received(_ bytes: Span<UInt8>, by handle: TCPHandle) -> Int {
    let client = client(handle) ?? open(handle)
    if client.isHeldBack { return 0 }
    take(bytes, client)
    return bytes.count
  }

  private func take(_ bytes: Span<UInt8>, _ client: Client) {
    client.lastActive = now
    if client.pending.isEmpty {
      let consumed = process(bytes, client)
      if consumed < bytes.count { keep(bytes.extracting(consumed..<bytes.count), client) }
      return
    }
    keep(bytes, client)
    goOn(client)
  }

  /// Keeps bytes for later; a client of which nothing is looked at any more is not listened to.
  private func keep(_ bytes: Span<UInt8>, _ client: Client) {
    guard !client.isClosing else { return }
    if client.headSince == nil { client.headSince = now }
    for index in 0..<bytes.count { client.pending.append(bytes[index]) }
  }

  /// Looks at bytes that were kept.
  private func goOn(_ client: Client) {
    let pending = client.pending
    // A head of which not much has come is not read again for each byte of it: its end is looked for.
    guard !pending.isEmpty, pending.count >= requestLimits.head || client.skips > 0 || Self.hasEnd(pending) else {
      return
    }
    client.pending = []
    let consumed = process(pending.span, client)
    guard consumed < pending.count, !client.isClosing else { return }
    if consumed > 0 { client.headSince = now }
    client.pending = Array(pending[consumed...])
  }

  private static func hasEnd(_ bytes: [UInt8]) -> Bool {
    var at = bytes.count - 1
    while at >= 3 {
      if bytes[at] == 10, bytes[at - 1] == 13, bytes[at - 2] == 10 { return true }
      at -= 1
    }
    return false
  }

  /// Answers as many requests as are whole.
  ///
  /// - Returns: How many bytes they were.
  private func process(_ bytes: Span<UInt8>, _ client: Client) -> Int {
    var at = 0
    while at < bytes.count {
      if client.isClosing { return bytes.count }
      if client.skips > 0 {
        let part = min(client.skips, bytes.count - at)
        client.skips -= part
        at += part
        continue
      }
      if client.sent >= limits.queued, isHeldBack(client) { return at }
      let rest = bytes.extracting(at..<bytes.count)
      switch RequestHead.read(rest, requestLimits) {
      case .incomplete: return at
      case .refused(let status):
        fail(status, client)
        return bytes.count
      case .complete(let head):
        client.headSince = nil
        client.skips = head.contentLength
        answer(head, rest, client)
        at += head.end
      }
    }
    return at
  }

  /// Whether the client has to take answers before it gets more.
  private func isHeldBack(_ client: Client) -> Bool {
    do throws(TCPError) { client.sent = try interface.stack.status(client.handle).unacknowledged } catch {
      return false
    }
    client.isHeldBack = client.sent >= limits.queued
    if client.isHeldBack { interface.stack.tellOfProgress(client.handle) }
    return client.isHeldBack
  }
}
