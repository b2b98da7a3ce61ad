// SPDX-License-Identifier: Apache-2.0
// Preconditions.swift: conditional requests and ranges, in the order of RFC 9110, 13.2.2 and 14.

/// What conditions are compared with: the one representation that would be sent.
public struct Validators: Equatable, Sendable {
  /// The entity tag with its quotes; a strong one.
  public var tag: [UInt8]
  /// When it was last modified, in seconds since 1970.
  public var modified: Int64
  /// Its length in bytes.
  public var length: Int

  /// A representation's validators.
  public init(tag: [UInt8], modified: Int64, length: Int) {
    self.tag = tag
    self.modified = modified
    self.length = length
  }
}

/// Bytes of a representation.
public struct ByteRange: Equatable, Sendable {
  /// The first byte.
  public var start: Int
  /// How many; at least one.
  public var count: Int

  /// So many bytes from one on.
  public init(start: Int, count: Int) {
    self.start = start
    self.count = count
  }
}

/// What is to be sent of a representation.
public enum Selection: Equatable, Sendable {
  /// All of it.
  case whole
  /// One or more ranges, in the order in which they were asked for.
  case ranges([ByteRange])
  /// Nothing, with this status: 304, 412 or 416.
  case none(HTTPStatus)
}

extension RequestHead {
  /// As many ranges as are served of one request; whoever wants more gets the whole.
  public static var rangeLimit: Int { 16 }

  /// What conditions and ranges leave of a representation.
  ///
  /// - Parameters:
  ///   - validators: The representation's.
  ///   - bytes: What the head was read from.
  ///   - now: Seconds since 1970.
  /// - Returns: What is to be sent.
  public func select(_ validators: Validators, _ bytes: Span<UInt8>, now: Int64) -> Selection {
    guard isConditional else { return .whole }
    if ifMatch.isThere {
      guard isMatched(bytes, ifMatch, validators.tag, isStrong: true) else { return .none(.preconditionFailed) }
    } else if ifUnmodifiedSince.isThere, let date = HTTPDate(bytes, ifUnmodifiedSince, now: now) {
      guard validators.modified <= date.seconds else { return .none(.preconditionFailed) }
    }
    if ifNoneMatch.isThere {
      if isMatched(bytes, ifNoneMatch, validators.tag, isStrong: false) { return .none(.notModified) }
    } else if ifModifiedSince.isThere, let date = HTTPDate(bytes, ifModifiedSince, now: now) {
      if validators.modified <= date.seconds { return .none(.notModified) }
    }
    guard range.isThere, method == .get, isRangeWanted(validators, bytes, now: now) else { return .whole }
    return ranges(bytes, validators.length)
  }

  /// Whether a list of entity tags has one, or is `*`.
  private func isMatched(_ bytes: Span<UInt8>, _ list: HeadRange, _ tag: [UInt8], isStrong: Bool) -> Bool {
    if bytes.isText(list, "*") { return true }
    var list = list
    while var element = bytes.nextElement(&list) {
      let isWeak = element.count > 2 && bytes[element.start] == 87 && bytes[element.start + 1] == 47
      if isWeak {
        if isStrong { continue }
        element.start += 2
      }
      if bytes.isSame(element, tag) { return true }
    }
    return false
  }

  /// If-Range: the tag compared strongly, or the exact date (RFC 9110, 13.1.5).
  private func isRangeWanted(_ validators: Validators, _ bytes: Span<UInt8>, now: Int64) -> Bool {
    guard ifRange.isThere else { return true }
    if bytes[ifRange.start] == 34 { return bytes.isSame(ifRange, validators.tag) }
    if bytes[ifRange.start] == 87, ifRange.count > 1, bytes[ifRange.start + 1] == 47 { return false }
    return HTTPDate(bytes, ifRange, now: now)?.seconds == validators.modified
  }

  /// The ranges of a Range field; one that is not understood is as none (RFC 9110, 14.2).
  private func ranges(_ bytes: Span<UInt8>, _ length: Int) -> Selection {
    guard range.count > 6, bytes.isWord(HeadRange(start: range.start, end: range.start + 6), "bytes=") else {
      return .whole
    }
    var list = HeadRange(start: range.start + 6, end: range.end)
    var ranges: [ByteRange] = []
    var asked = 0
    var total = 0
    while let element = bytes.nextElement(&list) {
      asked += 1
      guard asked <= Self.rangeLimit else { return .whole }
      var dash = element.start
      while dash < element.end, bytes[dash] != 45 { dash += 1 }
      guard dash < element.end else { return .whole }
      let first = HeadRange(start: element.start, end: dash)
      let last = HeadRange(start: dash + 1, end: element.end)
      if !first.isThere {
        guard let suffix = bytes.number(last) else { return .whole }
        if suffix > 0, length > 0 {
          ranges.append(ByteRange(start: max(0, length - suffix), count: min(suffix, length)))
        }
      } else {
        guard let start = bytes.number(first) else { return .whole }
        var end = length - 1
        if last.isThere {
          guard let told = bytes.number(last), told >= start else { return .whole }
          end = min(end, told)
        }
        if start < length { ranges.append(ByteRange(start: start, count: end - start + 1)) }
      }
      total += ranges.last?.count ?? 0
    }
    guard asked > 0 else { return .whole }
    guard !ranges.isEmpty else { return .none(.rangeNotSatisfiable) }
    // Ranges that together are more than the whole are somebody's attempt to make much out of little (RFC 9110, 14.2).
    return ranges.count > 1 && total > length ? .whole : .ranges(ranges)
  }
}

extension Span<UInt8> {
  func isSame(_ place: HeadRange, _ other: [UInt8]) -> Bool {
    guard place.count == other.count else { return false }
    for index in 0..<place.count where self[place.start + index] != other[index] { return false }
    return true
  }
}
