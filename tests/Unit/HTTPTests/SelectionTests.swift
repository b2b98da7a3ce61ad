// SPDX-License-Identifier: Apache-2.0
// SelectionTests.swift: conditions and ranges by RFC 9110, 13 and 14; dates, paths and types.

import Testing

@testable import ApusHTTP

@Suite struct SelectionTests {
  private static let modified: Int64 = 784_111_777  // Sun, 06 Nov 1994 08:49:37 GMT
  private static let validators = Validators(tag: Array("\"t\"".utf8), modified: modified, length: 100)

  private func select(_ fields: String, method: String = "GET") -> Selection? {
    let text = "\(method) / HTTP/1.1\nHost: x\n\(fields)\n\n"
    let bytes = wire(text)
    return head(text)?.select(Self.validators, bytes.span, now: 1_700_000_000)
  }

  private static let same = "Sun, 06 Nov 1994 08:49:37 GMT"
  private static let before = "Sun, 06 Nov 1994 08:49:36 GMT"

  @Test(arguments: [
    ("If-Match: \"t\"", Selection.whole), ("If-Match: \"u\", \"t\"", .whole), ("If-Match: *", .whole),
    ("If-Match: \"u\"", .none(.preconditionFailed)), ("If-Match: W/\"t\"", .none(.preconditionFailed)),
    ("If-Match:", .none(.preconditionFailed)),
    ("If-Unmodified-Since: \(same)", .whole), ("If-Unmodified-Since: \(before)", .none(.preconditionFailed)),
    ("If-Unmodified-Since: yesterday", .whole),
    // If-Match decides, and If-Unmodified-Since is not looked at (13.2.2, steps 1 and 2).
    ("If-Match: \"t\"\nIf-Unmodified-Since: \(before)", .whole),
    ("If-None-Match: \"t\"", .none(.notModified)), ("If-None-Match: W/\"t\"", .none(.notModified)),
    ("If-None-Match: *", .none(.notModified)), ("If-None-Match: \"u\"", .whole),
    ("If-Modified-Since: \(same)", .none(.notModified)), ("If-Modified-Since: \(before)", .whole),
    ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT", .none(.notModified)),
    ("If-Modified-Since: Sun Nov  6 08:49:37 1994", .none(.notModified)),
    // If-None-Match decides, and If-Modified-Since is not looked at (steps 3 and 4).
    ("If-None-Match: \"u\"\nIf-Modified-Since: \(same)", .whole),
    ("If-Match: \"u\"\nIf-None-Match: \"t\"", .none(.preconditionFailed)),
  ])
  func conditionsAreEvaluatedInOrder(_ fields: String, _ selection: Selection) { #expect(select(fields) == selection) }

  @Test(arguments: [
    ("bytes=0-0", Selection.ranges([ByteRange(start: 0, count: 1)])),
    ("bytes=10-", .ranges([ByteRange(start: 10, count: 90)])),
    ("bytes=-10", .ranges([ByteRange(start: 90, count: 10)])),
    ("bytes=-1000", .ranges([ByteRange(start: 0, count: 100)])),
    ("bytes=90-1000", .ranges([ByteRange(start: 90, count: 10)])),
    (
      "bytes=0-1, 5-6 ,-1",
      .ranges([ByteRange(start: 0, count: 2), ByteRange(start: 5, count: 2), ByteRange(start: 99, count: 1)])
    ),
    ("bytes=100-", .none(.rangeNotSatisfiable)), ("bytes=-0", .none(.rangeNotSatisfiable)),
    ("bytes=200-300,400-", .none(.rangeNotSatisfiable)), ("bytes=200-,0-0", .ranges([ByteRange(start: 0, count: 1)])),
    ("bytes=2-1", .whole), ("bytes=a-b", .whole), ("bytes=", .whole), ("lines=0-1", .whole), ("bytes=--1", .whole),
    ("bytes=0-99,0-99", .whole), ("bytes=0-,1-,2-", .whole),
    ("bytes=" + String(repeating: "0-0,", count: 17), .whole),
    ("bytes=99999999999999999999-", .whole),
  ])
  func rangesAreRead(_ range: String, _ selection: Selection) { #expect(select("Range: \(range)") == selection) }

  @Test func rangesDependOnConditions() {
    let one = Selection.ranges([ByteRange(start: 1, count: 1)])
    #expect(select("Range: bytes=1-1\nIf-Range: \"t\"") == one)
    #expect(select("Range: bytes=1-1\nIf-Range: W/\"t\"") == .whole)
    #expect(select("Range: bytes=1-1\nIf-Range: \"u\"") == .whole)
    #expect(select("Range: bytes=1-1\nIf-Range: \(Self.same)") == one)
    #expect(select("Range: bytes=1-1\nIf-Range: \(Self.before)") == .whole)
    #expect(select("Range: bytes=1-1\nIf-None-Match: \"t\"") == .none(.notModified))
    #expect(select("Range: bytes=1-1", method: "HEAD") == .whole)
  }

  @Test func datesGoThereAndBack() throws {
    for seed in 1...2000 {
      var random = Seeded(seed)
      let date = HTTPDate(seconds: Int64(random.below(1 << 33)))
      var text: [UInt8] = []
      date.append(to: &text)
      #expect(text.count == 29)
      let place = HeadRange(start: 0, end: 29)
      #expect(HTTPDate(text.span, place, now: 0) == date, "\(String(decoding: text, as: UTF8.self))")
    }
    var text: [UInt8] = []
    HTTPDate(seconds: Self.modified).append(to: &text)
    #expect(String(decoding: text, as: UTF8.self) == Self.same)
  }

  @Test(arguments: [
    "Sun, 30 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:49:37 UTC", "", "Sun",
    "Sun, 06 Nox 1994 08:49:37 GMT", "Sunday, 06-Nov-94", "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT",
  ])
  func wrongDatesAreNone(_ text: String) {
    let bytes = Array(text.utf8)
    #expect(HTTPDate(bytes.span, HeadRange(start: 0, end: bytes.count), now: 0) == nil)
  }

  @Test(arguments: [
    ("/", "/"), ("/a/b.html", "/a/b.html"), ("/a?q", "/a"), ("/a%20b", "/a b"), ("/a//b///", "/a/b/"),
    ("/./a/./", "/a/"),
    ("/a/../b", "/b"), ("/a/..", "/"), ("/a/b/../../c", "/c"), ("/%61", "/a"), ("/a%2fb", "/a/b"), ("/...", "/..."),
    ("http://host/x/", "/x/"), ("HTTP://host", "/"), ("http://host?q", "/"), ("/..", nil), ("/a/../../b", nil),
    ("/%2e%2e/b", nil), ("/a/%2E%2e/..", nil), ("/%00", nil), ("/%", nil), ("/%1", nil), ("/%zz", nil), ("a", nil),
    ("*", nil), ("http://", nil), ("//etc/passwd", "/etc/passwd"), ("/a%5c..%5cb", "/a\\..\\b"),
  ])
  func targetsArePaths(_ target: String, _ path: String?) {
    let bytes = Array(target.utf8)
    let place = HeadRange(start: 0, end: bytes.count)
    let decoded = TargetPath.decode(bytes.span, place)
    #expect(decoded.map { String(decoding: $0, as: UTF8.self) } == path)
    if TargetPath.isPlain(bytes.span, place) { #expect(path == target) }
  }

  @Test func typesFollowNames() {
    #expect("\(ContentType.of(Array("/a/index.HTML".utf8)))" == "text/html; charset=utf-8")
    #expect("\(ContentType.of(Array("/a.b/c".utf8)))" == "application/octet-stream")
    #expect("\(ContentType.of(Array("/x.tar.gz".utf8)))" == "application/gzip")
  }
}
