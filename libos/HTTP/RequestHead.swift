// SPDX-License-Identifier: Apache-2.0
// RequestHead.swift: the head of an HTTP/1.1 request (RFC 9112), read where it lies.

// One pass over the bytes, nothing copied and nothing allocated: what a server needs is noted as ranges of the bytes that
// were read. Whatever is not plainly a request is refused: a bare LF or CR, a fold, a space before a colon, two lengths.
// A request that two readers could read differently is how one is smuggled past the other (RFC 9112, 11.2).

/// Bounds of what a request may be.
public struct RequestLimits: Sendable {
  /// Bytes of the request line and all fields.
  public var head = 8192
  /// Bytes of the target.
  public var target = 4096
  /// How many fields.
  public var fields = 100
  /// Bytes of a body that is skipped.
  public var body = 65_536

  /// The defaults.
  public init() {}
}

/// What a request asks for.
public enum RequestMethod: Equatable, Sendable {
  /// GET.
  case get
  /// HEAD.
  case head
  /// A method that is known and not allowed here.
  case known
  /// Any other.
  case unknown
}

/// A place in the bytes of a head; empty if there is none.
public struct HeadRange: Equatable, Sendable {
  // Narrow, since a head has many of them and is handed on by value.
  private var first: Int32
  private var last: Int32

  /// The first byte.
  public var start: Int {
    get { Int(first) }
    set { first = Int32(newValue) }
  }
  /// Behind the last byte.
  public var end: Int {
    get { Int(last) }
    set { last = Int32(newValue) }
  }

  /// The bytes from one on up to another.
  public init(start: Int, end: Int) {
    first = Int32(start)
    last = Int32(end)
  }

  /// Nothing.
  public static let none = HeadRange(start: 0, end: 0)
  /// Whether there is something.
  public var isThere: Bool { end > start }
  /// How many bytes.
  public var count: Int { end - start }
}

/// A request without its body.
public struct RequestHead: Equatable, Sendable {
  /// The method.
  public var method = RequestMethod.unknown
  /// The target as it was written.
  public var target = HeadRange.none
  /// The minor version of HTTP/1.
  public var minorVersion = 0
  /// Whether the connection stays for another request.
  public var keepsAlive = false
  /// Bytes of body behind the head.
  public var contentLength = 0
  /// Whether gzip is an acceptable content coding.
  public var acceptsGzip = false
  /// Whether the client waits for 100 before it sends its body.
  public var expectsContinue = false
  /// If-Match.
  public var ifMatch = HeadRange.none
  /// If-None-Match.
  public var ifNoneMatch = HeadRange.none
  /// If-Modified-Since.
  public var ifModifiedSince = HeadRange.none
  /// If-Unmodified-Since.
  public var ifUnmodifiedSince = HeadRange.none
  /// If-Range.
  public var ifRange = HeadRange.none
  /// Range.
  public var range = HeadRange.none
  /// Where the head ends: the body or the next request begins there.
  public var end = 0
  /// Whether a field makes more of the request than its target: a condition, or a range.
  public var isConditional = false

  init() {}
}

/// What was made of some bytes.
public enum RequestReading: Equatable, Sendable {
  /// There has to come more.
  case incomplete
  /// A whole head.
  case complete(RequestHead)
  /// Something that is answered with an error, after which nothing behind it can be read.
  case refused(HTTPStatus)
}

extension RequestHead {
  /// Reads a head at the beginning of what a connection has brought.
  ///
  /// - Parameters:
  ///   - bytes: What has come.
  ///   - limits: What is too much.
  /// - Returns: The head, that there is none yet, or with which status it is refused.
  public static func read(_ bytes: Span<UInt8>, _ limits: RequestLimits = RequestLimits()) -> RequestReading {
    var reader = HeadReader(limits)
    return reader.read(bytes)
  }
}

private struct HeadReader {
  private let limits: RequestLimits
  private var head = RequestHead()
  private var hosts = 0
  private var lengths = 0
  private var saysClose = false
  private var saysKeepAlive = false
  private var hasTransferCoding = false

  init(_ limits: RequestLimits) { self.limits = limits }

  mutating func read(_ bytes: Span<UInt8>) -> RequestReading {
    let count = min(bytes.count, limits.head)
    var at = 0
    // Empty lines before a request are nothing (RFC 9112, 2.2).
    while at + 1 < count, bytes[at] == 13, bytes[at + 1] == 10 { at += 2 }
    if at + 1 == count, bytes[at] == 13 { return .incomplete }
    let start = at
    if let refusal = readLine(bytes, &at, count) {
      guard refusal == .ok else { return .refused(refusal) }
      return count - start >= limits.target + 32 || count == limits.head ? .refused(.uriTooLong) : .incomplete
    }
    var fields = 0
    while true {
      guard at + 1 < count else { return tooShort(count) }
      if bytes[at] == 13 {
        guard bytes[at + 1] == 10 else { return .refused(.badRequest) }
        head.end = at + 2
        return finish()
      }
      fields += 1
      guard fields <= limits.fields else { return .refused(.fieldsTooLarge) }
      if let refusal = readField(bytes, &at, count) {
        return refusal == .ok ? tooShort(count) : .refused(refusal)
      }
    }
  }

  private func tooShort(_ count: Int) -> RequestReading {
    count >= limits.head ? .refused(.fieldsTooLarge) : .incomplete
  }

  // MARK: The request line

  /// Reads the request line; what is wrong with it, or `ok` if it is not whole.
  private mutating func readLine(_ bytes: Span<UInt8>, _ at: inout Int, _ count: Int) -> HTTPStatus? {
    let start = at
    while at < count, CharacterSet.isToken(bytes[at]) { at += 1 }
    guard at < count else { return at - start > 32 ? .notImplemented : .ok }
    guard bytes[at] == 32, at > start else { return .badRequest }
    head.method = Self.method(bytes, start, at)
    at += 1
    let target = at
    while at < count, bytes[at] > 32, bytes[at] < 127 { at += 1 }
    guard at - target <= limits.target else { return .uriTooLong }
    guard at < count else { return .ok }
    guard bytes[at] == 32, at > target else { return .badRequest }
    head.target = HeadRange(start: target, end: at)
    at += 1
    guard at + 10 <= count else {
      // What is there has to be the beginning of a version.
      return Self.begins(bytes, at, count) ? .ok : .badRequest
    }
    guard Self.begins(bytes, at, at + 5), bytes[at + 6] == 46, bytes[at + 8] == 13, bytes[at + 9] == 10 else {
      return .badRequest
    }
    let major = bytes[at + 5]
    let minor = bytes[at + 7]
    guard major >= 48, major <= 57, minor >= 48, minor <= 57 else { return .badRequest }
    guard major == 49 else { return .versionNotSupported }
    head.minorVersion = Int(minor - 48)
    at += 10
    return nil
  }

  private static func begins(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
    let count = end - start
    return (count < 1 || bytes[start] == 72) && (count < 2 || bytes[start + 1] == 84)
      && (count < 3 || bytes[start + 2] == 84) && (count < 4 || bytes[start + 3] == 80)
      && (count < 5 || bytes[start + 4] == 47)
  }

  private static func method(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> RequestMethod {
    func isWord(_ word: StaticString) -> Bool {
      guard end - start == word.utf8CodeUnitCount else { return false }
      for index in 0..<end - start where bytes[start + index] != word.byte(index) { return false }
      return true
    }
    if end - start == 3, bytes[start] == 71, bytes[start + 1] == 69, bytes[start + 2] == 84 { return .get }
    if isWord("HEAD") { return .head }
    if isWord("POST") || isWord("PUT") || isWord("DELETE") || isWord("OPTIONS") || isWord("PATCH") || isWord("TRACE")
      || isWord("CONNECT")
    {
      return .known
    }
    return .unknown
  }

  // MARK: Fields

  /// Reads one field; what is wrong with it, or `ok` if it is not whole.
  private mutating func readField(_ bytes: Span<UInt8>, _ at: inout Int, _ count: Int) -> HTTPStatus? {
    let start = at
    while at < count, CharacterSet.isToken(bytes[at]) { at += 1 }
    guard at < count else { return .ok }
    guard bytes[at] == 58, at > start else { return .badRequest }
    let nameEnd = at
    at += 1
    while at < count, bytes[at] == 32 || bytes[at] == 9 { at += 1 }
    let valueStart = at
    while at < count, CharacterSet.isValue(bytes[at]) { at += 1 }
    guard at + 1 < count else { return at < count && bytes[at] != 13 ? .badRequest : .ok }
    guard bytes[at] == 13, bytes[at + 1] == 10 else { return .badRequest }
    var valueEnd = at
    while valueEnd > valueStart, bytes[valueEnd - 1] == 32 || bytes[valueEnd - 1] == 9 { valueEnd -= 1 }
    at += 2
    return note(bytes, HeadRange(start: start, end: nameEnd), HeadRange(start: valueStart, end: valueEnd))
  }

  /// Takes over what a field says, if it is one of those that matter; what is wrong with it.
  private mutating func note(_ bytes: Span<UInt8>, _ name: HeadRange, _ value: HeadRange) -> HTTPStatus? {
    func isName(_ word: StaticString) -> Bool { bytes.isWord(name, word) }
    switch name.count {
    case 4 where isName("host"):
      hosts += 1
      return hosts > 1 ? .badRequest : nil
    case 5 where isName("range"):
      head.isConditional = true
      head.range = value
    case 6 where isName("expect"):
      guard bytes.isWord(value, "100-continue") else { return .expectationFailed }
      head.expectsContinue = true
    case 8 where isName("if-match"):
      head.isConditional = true
      // An empty list matches nothing; it is a condition all the same.
      head.ifMatch = value.isThere ? value : HeadRange(start: name.start, end: name.start + 1)
    case 8 where isName("if-range"):
      head.isConditional = true
      head.ifRange = value
    case 10 where isName("connection"):
      if bytes.hasElement(value, "close") { saysClose = true }
      if bytes.hasElement(value, "keep-alive") { saysKeepAlive = true }
    case 13 where isName("if-none-match"):
      head.isConditional = true
      head.ifNoneMatch = value
    case 14 where isName("content-length"):
      lengths += 1
      guard lengths == 1, let length = bytes.number(value) else { return .badRequest }
      head.contentLength = length
    case 15 where isName("accept-encoding"): head.acceptsGzip = bytes.acceptsGzip(value)
    case 17 where isName("if-modified-since"):
      head.isConditional = true
      head.ifModifiedSince = value
    case 17 where isName("transfer-encoding"): hasTransferCoding = true
    case 19 where isName("if-unmodified-since"):
      head.isConditional = true
      head.ifUnmodifiedSince = value
    default: break
    }
    return nil
  }

  private mutating func finish() -> RequestReading {
    guard hosts == 1 || head.minorVersion == 0 else { return .refused(.badRequest) }
    if hasTransferCoding {
      // Both at once is how requests are smuggled (RFC 9112, 6.1); a body in chunks is not read here.
      return .refused(lengths > 0 ? .badRequest : .lengthRequired)
    }
    guard head.contentLength <= limits.body else { return .refused(.contentTooLarge) }
    head.keepsAlive = head.minorVersion == 0 ? saysKeepAlive && !saysClose : !saysClose
    return .complete(head)
  }
}
