// SPDX-License-Identifier: Apache-2.0
// Server+Answers.swift: what is answered to a request.

import ApusHTTP
import ApusNet
import ApusNetRing
import ApusRuntime

extension Server {
  func answer(_ head: RequestHead, _ bytes: Span<UInt8>, _ client: Client) {
    requests += 1
    client.requests += 1
    switch head.method {
    case .get, .head: break
    case .known: return fail(.methodNotAllowed, client, keeps: head)
    case .unknown: return fail(.notImplemented, client, keeps: head)
    }
    var found: SiteEntry?
    if TargetPath.isPlain(bytes, head.target) {
      found = site.find(bytes, head.target)
      if found == nil, bytes.isLive(head.target) { return send(live: head, client) }
    } else {
      guard let path = TargetPath.decode(bytes, head.target) else { return fail(.badRequest, client, keeps: head) }
      let place = HeadRange(start: 0, end: path.count)
      found = site.find(path.span, place)
      if found == nil, path.span.isLive(place) { return send(live: head, client) }
    }
    guard let found else { return fail(.notFound, client, keeps: head) }
    switch found {
    case .directory: redirect(head, bytes, client)
    case .document(let plain):
      let document = head.acceptsGzip ? plain.compressed ?? plain : plain
      document.requests += 1
      guard head.isConditional else { return send(whole: document, head, client) }
      switch head.select(document.validators, bytes, now: second) {
      case .whole: send(whole: document, head, client)
      case .ranges(let ranges): send(ranges, of: document, head, client)
      case .none(let status): send(nothingOf: document, status, head, client)
      }
    }
  }

  private func send(whole document: Document, _ head: RequestHead, _ client: Client) {
    let rest = head.keepsAlive ? document.stayingHead : document.closingHead
    let hasBody = head.method == .get && document.body.count > 0
    let count = hasBody ? document.body.count : 0
    let beginning = beginning
    do throws(TCPError) {
      let isTaken = try interface.stack.write(
        client.handle, beginning.span, (rest, rest.count), hasBody ? (document.body, count) : nil)
      if !isTaken { interface.stack.abort(client.handle, now) }
    } catch { return }
    document.bytes += count
    client.sent += beginning.count + rest.count + count
    answeredBytes += beginning.count + rest.count + count
    ok += 1
    if !head.keepsAlive { close(client) }
  }

  private func send(nothingOf document: Document, _ status: HTTPStatus, _ head: RequestHead, _ client: Client) {
    if status == .preconditionFailed { return fail(status, client, keeps: head) }
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
    write(text, client)
    finish(head, client)
  }

  private func send(_ ranges: [ByteRange], of document: Document, _ head: RequestHead, _ client: Client) {
    var text: [UInt8] = []
    begin(.partialContent, head.keepsAlive, &text)
    if ranges.count == 1 {
      text += document.fields
      appendRange(ranges[0], document, &text)
      text.append("Content-Length: ")
      text.append(number: ranges[0].count)
      text.append("\r\n\r\n")
      write(text, client)
      write(document.body, ranges[0].start, ranges[0].count, client)
      document.bytes += ranges[0].count
      return finish(head, client)
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
    write(text, client)
    for (index, range) in ranges.enumerated() {
      write(heads[index], client)
      write(document.body, range.start, range.count, client)
      document.bytes += range.count
    }
    write(end, client)
    finish(head, client)
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

  private func redirect(_ head: RequestHead, _ bytes: Span<UInt8>, _ client: Client) {
    var text: [UInt8] = []
    begin(.movedPermanently, head.keepsAlive, &text)
    text.append("Location: ")
    var at = head.target.start
    while at < head.target.end, bytes[at] != 63 {
      text.append(bytes[at])
      at += 1
    }
    text.append("/\r\nContent-Length: 0\r\n\r\n")
    write(text, client)
    finish(head, client)
  }

  private func send(live head: RequestHead, _ client: Client) {
    guard let source = PageSource.copy(MachineReport(self).json) else { return fail(.unavailable, client, keeps: head) }
    var text: [UInt8] = []
    begin(.ok, head.keepsAlive, &text)
    text.append("Content-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: ")
    text.append(number: source.count)
    text.append("\r\n\r\n")
    write(text, client)
    if head.method == .get { write(source, 0, source.count, client) }
    finish(head, client)
  }

  /// An answer that says what is wrong; without a head that could be read, the connection ends with it.
  func fail(_ status: HTTPStatus, _ client: Client, keeps head: RequestHead? = nil) {
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
    write(text, client)
    if let head { return finish(head, client) }
    close(client)
  }

  private func begin(_ status: HTTPStatus, _ stays: Bool, _ text: inout [UInt8]) {
    count(status)
    appendBeginning(status, to: &text)
    text.append(stays ? "Server: Cheetah\r\nConnection: keep-alive\r\n" : "Server: Cheetah\r\nConnection: close\r\n")
  }

  private func count(_ status: HTTPStatus) {
    if status == .ok {
      ok += 1
      return
    }
    for index in statuses.indices where statuses[index].status == status {
      statuses[index].count += 1
      return
    }
    statuses.append((status, 1))
  }

  private func finish(_ head: RequestHead, _ client: Client) { if !head.keepsAlive { close(client) } }

  /// The answer before was the last.
  func close(_ client: Client) {
    client.isClosing = true
    client.headSince = nil
    client.pending = []
    interface.stack.finish(client.handle, now)
  }

  private func write(_ bytes: [UInt8], _ client: Client) {
    do throws(TCPError) {
      let taken = try interface.stack.write(client.handle, bytes.span)
      client.sent += taken
      answeredBytes += taken
      // An answer that is not whole cannot be mended: there was no memory.
      if taken < bytes.count { interface.stack.abort(client.handle, now) }
    } catch {}
  }

  private func write(_ source: PageSource, _ offset: Int, _ count: Int, _ client: Client) {
    do throws(TCPError) {
      let taken = try interface.stack.write(client.handle, from: source, offset, count)
      client.sent += taken
      answeredBytes += taken
      if taken < count { interface.stack.abort(client.handle, now) }
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
