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
struct Client {
  let handle: TCPHandle
  /// Bytes that are not a whole head yet, or wait for their turn.
  var pending: [UInt8] = []
  /// Bytes of a request's body that are still to be skipped.
  var skips = 0
  /// When the first byte of the head that is not whole came.
  var headSince: Instant?
  var lastActive: Instant
  var requests: UInt32 = 0
  var sent = 0
  /// The last answer has been queued.
  var isClosing = false
  /// Requests wait until more of the answers has been acknowledged.
  var isHeldBack = false
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
  private var beginning: [UInt8] = []
  private var lastSweep = Instant.zero
  // Counters.
  private(set) var accepted = 0
  private(set) var requests = 0
  private(set) var answeredBytes = 0
  private(set) var statuses: [(status: HTTPStatus, count: Int)] = []
  private(set) var timeouts = 0
  private(set) var ok = 0
  private var listener: ListenerHandle?
  /// Connections to be looked at after everything that arrived has been taken in.
  private var ended: [TCPHandle] = []

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

  @discardableResult private func open(_ handle: TCPHandle) -> Int {
    let slot = handle.slot
    while clients.count <= slot { clients.append(nil) }
    if let client = clients[slot] {
      if client.handle == handle { return slot }
    } else {
      clientCount += 1
    }
    clients[slot] = Client(handle: handle, lastActive: now)
    accepted += 1
    return slot
  }

  private func index(of handle: TCPHandle) -> Int? {
    let slot = handle.slot
    guard slot < clients.count, let client = clients[slot], client.handle == handle else { return nil }
    return slot
  }

  private func forget(_ slot: Int) {
    guard let client = clients[slot] else { return }
    clients[slot] = nil
    clientCount -= 1
    interface.stack.release(client.handle, now)
  }

  /// Looks at a connection of which something is new.
  private func look(_ handle: TCPHandle) {
    guard let slot = index(of: handle) else { return }
    let stack = interface.stack
    do throws(TCPError) {
      let status = try stack.status(handle)
      if status.error != nil || status.state == .closed || status.state == .timeWait { return forget(slot) }
      clients[slot]?.lastActive = now
      if status.readable > 0, !(clients[slot]?.isHeldBack ?? true) || status.unacknowledged < limits.queued / 2 {
        clients[slot]?.isHeldBack = false
        var bytes: [UInt8] = []
        _ = try stack.read(handle, status.readable, into: &bytes)
        take(bytes.span, slot)
      } else if clients[slot]?.isHeldBack ?? false, status.unacknowledged < limits.queued / 2 {
        clients[slot]?.isHeldBack = false
        goOn(slot)
      }
      // Whoever has said all, and was answered all, is let go of; what is queued is still sent.
      if status.isAtEnd, !(clients[slot]?.isHeldBack ?? false) { forget(slot) }
    } catch { forget(slot) }
  }

  /// Once a second: who takes too long.
  private func sweep() {
    lastSweep = now
    for slot in clients.indices {
      guard let client = clients[slot] else { continue }
      let silence = now - client.lastActive
      if client.isClosing {
        if silence >= limits.linger, isDone(client) { forget(slot) } else if silence >= limits.stalled { drop(slot) }
      } else if let since = client.headSince, now - since >= limits.head {
        timeouts += 1
        fail(.requestTimeout, slot)
      } else if !isDone(client) {
        if silence >= limits.stalled { drop(slot) }
      } else if silence >= limits.idle {
        forget(slot)
      }
    }
  }

  private func isDone(_ client: Client) -> Bool {
    do throws(TCPError) { return try interface.stack.status(client.handle).unacknowledged == 0 } catch { return true }
  }

  /// Ends a connection whose client takes nothing.
  private func drop(_ slot: Int) {
    guard let client = clients[slot] else { return }
    timeouts += 1
    interface.stack.abort(client.handle, now)
    forget(slot)
  }

  // MARK: Bytes

  func received(_ bytes: Span<UInt8>, by handle: TCPHandle) -> Int {
    let slot = index(of: handle) ?? open(handle)
    if clients[slot]?.isHeldBack ?? false { return 0 }
    take(bytes, slot)
    return bytes.count
  }

  private func take(_ bytes: Span<UInt8>, _ slot: Int) {
    clients[slot]?.lastActive = now
    if clients[slot]?.pending.isEmpty ?? true {
      let consumed = process(bytes, slot)
      if consumed < bytes.count { keep(bytes.extracting(consumed..<bytes.count), slot) }
      return
    }
    keep(bytes, slot)
    goOn(slot)
  }

  /// Keeps bytes for later; a client of which nothing is looked at any more is not listened to.
  private func keep(_ bytes: Span<UInt8>, _ slot: Int) {
    guard let client = clients[slot], !client.isClosing else { return }
    if client.headSince == nil { clients[slot]?.headSince = now }
    for index in 0..<bytes.count { clients[slot]?.pending.append(bytes[index]) }
  }

  /// Looks at bytes that were kept.
  private func goOn(_ slot: Int) {
    guard let pending = clients[slot]?.pending, !pending.isEmpty else { return }
    clients[slot]?.pending = []
    // A head of which not much has come is not read again for each byte of it: its end is looked for.
    guard pending.count >= requestLimits.head || (clients[slot]?.skips ?? 0) > 0 || Self.hasEnd(pending) else {
      clients[slot]?.pending = pending
      return
    }
    let consumed = process(pending.span, slot)
    guard consumed < pending.count, let client = clients[slot], !client.isClosing else { return }
    if consumed > 0 { clients[slot]?.headSince = now }
    clients[slot]?.pending = Array(pending[consumed...])
  }

  private static func hasEnd(_ bytes: [UInt8]) -> Bool {
    var at = bytes.count - 1
    while at >= 1 {
      if bytes[at] == 10, at >= 3, bytes[at - 1] == 13, bytes[at - 2] == 10 { return true }
      at -= 1
    }
    return false
  }

  /// Answers as many requests as are whole.
  ///
  /// - Returns: How many bytes they were.
  private func process(_ bytes: Span<UInt8>, _ slot: Int) -> Int {
    var at = 0
    while at < bytes.count {
      guard let client = clients[slot] else { return bytes.count }
      if client.isClosing { return bytes.count }
      if client.skips > 0 {
        let part = min(client.skips, bytes.count - at)
        clients[slot]?.skips -= part
        at += part
        continue
      }
      if client.sent > 0, isHeldBack(slot) { return at }
      let rest = at == 0 ? bytes : bytes.extracting(at..<bytes.count)
      switch RequestHead.read(rest, requestLimits) {
      case .incomplete: return at
      case .refused(let status):
        fail(status, slot)
        return bytes.count
      case .complete(let head):
        clients[slot]?.headSince = nil
        clients[slot]?.skips = head.contentLength
        answer(head, rest, slot)
        at += head.end
      }
    }
    return at
  }

  /// Whether the client has to take answers before it gets more.
  private func isHeldBack(_ slot: Int) -> Bool {
    guard let client = clients[slot], client.sent >= limits.queued else { return false }
    let queued: Int
    do throws(TCPError) { queued = try interface.stack.status(client.handle).unacknowledged } catch { return false }
    clients[slot]?.sent = queued
    clients[slot]?.isHeldBack = queued >= limits.queued
    return queued >= limits.queued
  }

  // MARK: Answers

  private func answer(_ head: RequestHead, _ bytes: Span<UInt8>, _ slot: Int) {
    requests += 1
    clients[slot]?.requests += 1
    switch head.method {
    case .get, .head: break
    case .known: return fail(.methodNotAllowed, slot, keeps: head)
    case .unknown: return fail(.notImplemented, slot, keeps: head)
    }
    var found: SiteEntry?
    if TargetPath.isPlain(bytes, head.target) {
      found = site.find(bytes, head.target)
      if found == nil, bytes.isLive(head.target) { return send(live: head, slot) }
    } else {
      guard let path = TargetPath.decode(bytes, head.target) else { return fail(.badRequest, slot, keeps: head) }
      let place = HeadRange(start: 0, end: path.count)
      found = site.find(path.span, place)
      if found == nil, path.span.isLive(place) { return send(live: head, slot) }
    }
    guard let found else { return fail(.notFound, slot, keeps: head) }
    switch found {
    case .directory: redirect(head, bytes, slot)
    case .document(let plain):
      let document = head.acceptsGzip ? plain.compressed ?? plain : plain
      document.requests += 1
      guard head.isConditional else { return send(whole: document, head, slot) }
      switch head.select(document.validators, bytes, now: second) {
      case .whole: send(whole: document, head, slot)
      case .ranges(let ranges): send(ranges, of: document, head, slot)
      case .none(let status): send(nothingOf: document, status, head, slot)
      }
    }
  }

  private func send(whole document: Document, _ head: RequestHead, _ slot: Int) {
    let rest = head.keepsAlive ? document.stayingHead : document.closingHead
    write(beginning, slot)
    write(rest, 0, rest.count, slot)
    if head.method == .get, document.body.count > 0 {
      write(document.body, 0, document.body.count, slot)
      document.bytes += document.body.count
    }
    ok += 1
    finish(head, slot)
  }

  private func send(nothingOf document: Document, _ status: HTTPStatus, _ head: RequestHead, _ slot: Int) {
    if status == .preconditionFailed { return fail(status, slot, keeps: head) }
    var text: [UInt8] = []
    begin(status, head.keepsAlive, &text)
    if status == .rangeNotSatisfiable {
      text.append("Content-Range: bytes */")
      text.append(number: document.body.count)
      text.append("\r\nContent-Length: 0\r\n\r\n")
    } else {
      text += document.fields
      text.append("\r\n")
    }
    write(text, slot)
    finish(head, slot)
  }

  private func send(_ ranges: [ByteRange], of document: Document, _ head: RequestHead, _ slot: Int) {
    var text: [UInt8] = []
    begin(.partialContent, head.keepsAlive, &text)
    if ranges.count == 1 {
      text += document.fields
      appendRange(ranges[0], document, &text)
      text.append("Content-Length: ")
      text.append(number: ranges[0].count)
      text.append("\r\n\r\n")
      write(text, slot)
      write(document.body, ranges[0].start, ranges[0].count, slot)
      document.bytes += ranges[0].count
      return finish(head, slot)
    }
    // Several ranges: parts with heads of their own (RFC 9110, 14.6).
    var boundary: [UInt8] = []
    boundary.append(hexadecimal: UInt64(document.body.whole) << 32 | UInt64(truncatingIfNeeded: second) & 0xffff_ffff)
    var heads: [[UInt8]] = []
    var length = 0
    for range in ranges {
      var part: [UInt8] = []
      part.append(heads.isEmpty ? "--" : "\r\n--")
      part += boundary
      part.append("\r\nContent-Type: ")
      part.append(ContentType.of(document.path))
      part.append("\r\n")
      appendRange(range, document, &part)
      part.append("\r\n")
      length += part.count + range.count
      heads.append(part)
    }
    var end: [UInt8] = []
    end.append("\r\n--")
    end += boundary
    end.append("--\r\n")
    length += end.count
    text.append("Last-Modified: ")
    HTTPDate(seconds: document.validators.modified).append(to: &text)
    text.append("\r\nETag: ")
    text += document.validators.tag
    text.append("\r\nContent-Type: multipart/byteranges; boundary=")
    text += boundary
    text.append("\r\nContent-Length: ")
    text.append(number: length)
    text.append("\r\n\r\n")
    write(text, slot)
    for (index, range) in ranges.enumerated() {
      write(heads[index], slot)
      write(document.body, range.start, range.count, slot)
      document.bytes += range.count
    }
    write(end, slot)
    finish(head, slot)
  }

  private func appendRange(_ range: ByteRange, _ document: Document, _ text: inout [UInt8]) {
    text.append("Content-Range: bytes ")
    text.append(number: range.start)
    text.append(45)
    text.append(number: range.start + range.count - 1)
    text.append(47)
    text.append(number: document.body.count)
    text.append("\r\n")
  }

  private func redirect(_ head: RequestHead, _ bytes: Span<UInt8>, _ slot: Int) {
    var text: [UInt8] = []
    begin(.movedPermanently, head.keepsAlive, &text)
    text.append("Location: ")
    var at = head.target.start
    while at < head.target.end, bytes[at] != 63 {
      text.append(bytes[at])
      at += 1
    }
    text.append("/\r\nContent-Length: 0\r\n\r\n")
    write(text, slot)
    finish(head, slot)
  }

  private func send(live head: RequestHead, _ slot: Int) {
    guard let source = PageSource.copy(MachineReport(self).json) else { return fail(.unavailable, slot, keeps: head) }
    var text: [UInt8] = []
    begin(.ok, head.keepsAlive, &text)
    text.append("Content-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: ")
    text.append(number: source.count)
    text.append("\r\n\r\n")
    write(text, slot)
    if head.method == .get { write(source, 0, source.count, slot) }
    finish(head, slot)
  }

  /// An answer that says what is wrong; without a head that could be read, the connection ends with it.
  private func fail(_ status: HTTPStatus, _ slot: Int, keeps head: RequestHead? = nil) {
    var body: [UInt8] = []
    body.append("<!doctype html><meta name=color-scheme content='light dark'><title>")
    body.append(number: Int(status.rawValue))
    body.append("</title><h1>")
    body.append(number: Int(status.rawValue))
    body.append(32)
    body.append(status.reason)
    body.append("</h1>\n")
    let stays = head?.keepsAlive ?? false
    var text: [UInt8] = []
    begin(status, stays, &text)
    if status == .methodNotAllowed { text.append("Allow: GET, HEAD\r\n") }
    text.append("Content-Type: text/html\r\nContent-Length: ")
    text.append(number: body.count)
    text.append("\r\n\r\n")
    if head?.method != .head { text += body }
    write(text, slot)
    if let head { return finish(head, slot) }
    close(slot)
  }

  private func begin(_ status: HTTPStatus, _ stays: Bool, _ text: inout [UInt8]) {
    count(status)
    appendBeginning(status, to: &text)
    text.append(stays ? "Server: Cheetah\r\nConnection: keep-alive\r\n" : "Server: Cheetah\r\nConnection: close\r\n")
  }

  private func count(_ status: HTTPStatus) {
    for index in statuses.indices where statuses[index].status == status {
      statuses[index].count += 1
      return
    }
    statuses.append((status, 1))
  }

  private func finish(_ head: RequestHead, _ slot: Int) { if !head.keepsAlive { close(slot) } }

  /// The answer before was the last.
  private func close(_ slot: Int) {
    guard let client = clients[slot] else { return }
    clients[slot]?.isClosing = true
    clients[slot]?.headSince = nil
    clients[slot]?.pending = []
    interface.stack.finish(client.handle, now)
  }

  private func write(_ bytes: [UInt8], _ slot: Int) {
    guard let handle = clients[slot]?.handle else { return }
    do throws(TCPError) {
      let taken = try interface.stack.write(handle, bytes.span)
      clients[slot]?.sent += taken
      answeredBytes += taken
      // An answer that is not whole cannot be mended: there was no memory.
      if taken < bytes.count { interface.stack.abort(handle, now) }
    } catch {}
  }

  private func write(_ source: PageSource, _ offset: Int, _ count: Int, _ slot: Int) {
    guard let handle = clients[slot]?.handle else { return }
    do throws(TCPError) {
      let taken = try interface.stack.write(handle, from: source, offset, count)
      clients[slot]?.sent += taken
      answeredBytes += taken
      if taken < count { interface.stack.abort(handle, now) }
    } catch {}
  }
}

extension Span<UInt8> {
  /// Whether a path is that of the live report.
  fileprivate func isLive(_ path: HeadRange) -> Bool {
    let name = "/.apus.json".utf8
    guard path.count == name.count else { return false }
    var at = path.start
    for byte in name {
      if self[at] != byte { return false }
      at += 1
    }
    return true
  }
}
