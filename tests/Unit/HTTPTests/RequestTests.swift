// SPDX-License-Identifier: Apache-2.0
// RequestTests.swift: heads of requests, whole, cut off and wrong; and a fuzz of the parser.

import Testing

@testable import ApusHTTP

/// What the parser makes of a text, in which \n stands for CRLF.
func reading(_ text: String, _ limits: RequestLimits = RequestLimits()) -> RequestReading {
  let bytes = wire(text)
  return RequestHead.read(bytes.span, limits)
}

func wire(_ text: String) -> [UInt8] {
  var bytes: [UInt8] = []
  for byte in text.utf8 { bytes += byte == 10 ? [13, 10] : [byte] }
  return bytes
}

func head(_ text: String) -> RequestHead? {
  guard case .complete(let head) = reading(text) else { return nil }
  return head
}

/// Numbers that a seed repeats (xorshift).
struct Seeded {
  private var state: UInt64
  init(_ seed: Int) { state = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 | 1 }
  mutating func below(_ bound: Int) -> Int {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Int(state >> 33) % bound
  }
}

@Suite struct RequestTests {
  @Test func aRequestIsRead() throws {
    let text = "GET /a%20b?c HTTP/1.1\nHost: x\nAccept-Encoding: br, gzip;q=0.5\nIf-None-Match: \"a\"\n\nrest"
    let read = head(text)
    let head = try #require(read)
    #expect(head.method == .get && head.minorVersion == 1 && head.keepsAlive && head.acceptsGzip)
    #expect(head.isConditional && head.ifNoneMatch.isThere && !head.ifMatch.isThere)
    let bytes = wire(text)
    #expect(bytes[head.target.start..<head.target.end].elementsEqual("/a%20b?c".utf8))
    #expect(bytes[head.end...].elementsEqual("rest".utf8))
  }

  @Test(arguments: [
    ("GET / HTTP/1.1\nHost: x\n\n", true), ("GET / HTTP/1.1\nHost: x\nConnection: close\n\n", false),
    ("GET / HTTP/1.0\n\n", false), ("GET / HTTP/1.0\nConnection: Keep-Alive\n\n", true),
    ("GET / HTTP/1.1\nHost: x\nConnection: TE, Close\n\n", false), ("\n\nGET / HTTP/1.1\nHost:\n\n", true),
  ])
  func connectionsStayOrEnd(_ text: String, _ stays: Bool) { #expect(head(text)?.keepsAlive == stays) }

  @Test(arguments: [
    ("GET /\n\n", HTTPStatus.badRequest), ("GET  / HTTP/1.1\nHost: x\n\n", .badRequest),
    (" GET / HTTP/1.1\nHost: x\n\n", .badRequest), ("GET / HTTP/1.1\n\n", .badRequest),
    ("GET / HTTP/1.1\nHost: x\nHost: y\n\n", .badRequest), ("GET / HTTP/1.1\nHost : x\n\n", .badRequest),
    ("GET / HTTP/1.1\nHost: x\n folded\n\n", .badRequest), ("GET / HTTP/1.1\nHost: a\u{7}b\n\n", .badRequest),
    ("GET / HTTP/2.0\nHost: x\n\n", .versionNotSupported), ("GET / HTTQ/1.1\nHost: x\n\n", .badRequest),
    ("GET / HTTP/1.1\nHost: x\nContent-Length: 1\nContent-Length: 1\n\n", .badRequest),
    ("GET / HTTP/1.1\nHost: x\nContent-Length: -1\n\n", .badRequest),
    ("GET / HTTP/1.1\nHost: x\nContent-Length: 99999999\n\n", .contentTooLarge),
    ("POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n", .lengthRequired),
    ("POST / HTTP/1.1\nHost: x\nContent-Length: 3\nTransfer-Encoding: chunked\n\n", .badRequest),
    ("GET / HTTP/1.1\nHost: x\nExpect: tea\n\n", .expectationFailed),
    ("GET /\u{e9} HTTP/1.1\nHost: x\n\n", .badRequest),
  ])
  func whatIsWrongIsRefused(_ text: String, _ status: HTTPStatus) {
    #expect(reading(text) == .refused(status), "\(text)")
  }

  @Test func bareLineEndsAreRefused() {
    #expect(RequestHead.read(Array("GET / HTTP/1.1\nHost: x\n\n".utf8).span) == .refused(.badRequest))
    #expect(RequestHead.read(Array("GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n".utf8).span) == .refused(.badRequest))
  }

  @Test func tooMuchIsRefused() {
    let long = String(repeating: "a", count: 5000)
    #expect(reading("GET /\(long) HTTP/1.1\nHost: x\n\n") == .refused(.uriTooLong))
    #expect(reading("GET /\(long)") == .refused(.uriTooLong))
    #expect(reading("GET / HTTP/1.1\nHost: x\nA: \(long)\nB: \(long)\n\n") == .refused(.fieldsTooLarge))
    #expect(
      reading("GET / HTTP/1.1\nHost: x\n" + String(repeating: "A: b\n", count: 101) + "\n") == .refused(.fieldsTooLarge)
    )
    #expect(
      reading("GET / HTTP/1.1\nHost: x\n" + String(repeating: "A: b\n", count: 90) + "\n") != .refused(.fieldsTooLarge))
  }

  @Test func methodsAreTold() {
    #expect(head("HEAD / HTTP/1.1\nHost: x\n\n")?.method == .head)
    #expect(head("POST / HTTP/1.1\nHost: x\n\n")?.method == .known)
    #expect(head("get / HTTP/1.1\nHost: x\n\n")?.method == .unknown)
    #expect(head("BREW / HTTP/1.1\nHost: x\n\n")?.method == .unknown)
  }

  @Test(arguments: [
    ("gzip", true), ("GZIP", true), ("identity", false), ("gzip;q=0", false), ("gzip; q=0.000", false), ("*", true),
    ("*;q=0, gzip", true), ("*, gzip;q=0", false), ("deflate, x-gzip ;q=1", true), ("", false), ("gzip2", false),
  ])
  func gzipIsAcceptedOrNot(_ value: String, _ accepts: Bool) {
    #expect(head("GET / HTTP/1.1\nHost: x\nAccept-Encoding: \(value)\n\n")?.acceptsGzip == accepts)
  }

  /// Cut off anywhere, a good request is incomplete and never refused.
  @Test func aBeginningIsIncomplete() {
    let text = "\nGET /some/where?x=y HTTP/1.1\nHost: x\nRange: bytes=0-1\nConnection: close, TE\n\n"
    let bytes = wire(text)
    for count in 0..<bytes.count {
      #expect(RequestHead.read(Array(bytes[..<count]).span) == .incomplete, "\(count) bytes")
    }
    #expect(RequestHead.read(bytes.span) != .incomplete)
  }

  /// Changed anywhere, a request is read to an end inside of its bytes, or refused, or has to go on; nothing traps.
  @Test func changedRequestsDoNoHarm() {
    let words = [
      "GET", "HEAD", " ", "/", "..", "%2e", "%", "HTTP/1.1", "\r\n", "\r", "\n", "Host", ":", "x", "Content-Length",
      "7",
      "Range", "bytes=", "-", ",", "\"", "W/", "If-Range", "Transfer-Encoding", "chunked", "\u{0}", "\u{ff}",
      "gzip;q=0",
      "Accept-Encoding", "If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", "*",
    ]
    let good = wire("GET /a HTTP/1.1\nHost: x\nRange: bytes=1-2,-3\nIf-Range: \"t\"\nIf-None-Match: W/\"t\", *\n\n")
    let validators = Validators(tag: Array("\"t\"".utf8), modified: 1_000_000, length: 100)
    var completed = 0
    for seed in 1...20_000 {
      var random = Seeded(seed)
      var bytes = random.below(3) == 0 ? [] : good
      for _ in 0..<1 + random.below(12) {
        switch random.below(4) {
        case 0:
          bytes.insert(contentsOf: Array(words[random.below(words.count)].utf8), at: random.below(bytes.count + 1))
        case 1 where !bytes.isEmpty: bytes[random.below(bytes.count)] = UInt8(random.below(256))
        case 2 where !bytes.isEmpty: bytes.remove(at: random.below(bytes.count))
        default: bytes += Array(words[random.below(words.count)].utf8)
        }
      }
      guard case .complete(let head) = RequestHead.read(bytes.span) else { continue }
      completed += 1
      #expect(head.end <= bytes.count && head.target.isThere && head.target.end <= head.end, "seed \(seed)")
      let path = TargetPath.decode(bytes.span, head.target)
      if let path {
        #expect(path.first == 47 && !path.contains(0), "seed \(seed)")
        let parts = path.split(separator: 47, omittingEmptySubsequences: false)
        #expect(!parts.contains { $0.elementsEqual("..".utf8) || $0.elementsEqual(".".utf8) }, "seed \(seed)")
      }
      if case .ranges(let ranges) = head.select(validators, bytes.span, now: 2_000_000) {
        for range in ranges {
          #expect(range.start >= 0 && range.count > 0 && range.start + range.count <= 100, "seed \(seed)")
        }
      }
    }
    #expect(completed > 200)
  }
}
