// SPDX-License-Identifier: Apache-2.0
// SequenceNumber.swift: numbers of TCP's sequence space, which is a circle (RFC 9293, 3.4).

/// A place in the sequence space; comparing two is meaningful when they are less than 2^31 apart.
struct SequenceNumber: Equatable {
  var rawValue: UInt32

  init(_ rawValue: UInt32) { self.rawValue = rawValue }

  // Wrapping is the meaning of this arithmetic.
  static func + (left: SequenceNumber, right: Int) -> SequenceNumber {
    SequenceNumber(left.rawValue &+ UInt32(truncatingIfNeeded: right))
  }
  static func - (left: SequenceNumber, right: Int) -> SequenceNumber {
    SequenceNumber(left.rawValue &- UInt32(truncatingIfNeeded: right))
  }
  /// How far `left` is ahead of `right`; negative if it is behind.
  static func - (left: SequenceNumber, right: SequenceNumber) -> Int {
    Int(Int32(truncatingIfNeeded: left.rawValue &- right.rawValue))
  }
  static func += (left: inout SequenceNumber, right: Int) { left = left + right }

  static func < (left: SequenceNumber, right: SequenceNumber) -> Bool { left - right < 0 }
  static func <= (left: SequenceNumber, right: SequenceNumber) -> Bool { left - right <= 0 }
  static func > (left: SequenceNumber, right: SequenceNumber) -> Bool { left - right > 0 }
  static func >= (left: SequenceNumber, right: SequenceNumber) -> Bool { left - right >= 0 }

  static func later(_ left: SequenceNumber, _ right: SequenceNumber) -> SequenceNumber { left < right ? right : left }
  static func earlier(_ left: SequenceNumber, _ right: SequenceNumber) -> SequenceNumber { left < right ? left : right }
}

/// A half-open range of the sequence space.
struct SequenceRange: Equatable {
  var start: SequenceNumber
  var end: SequenceNumber

  init(_ start: SequenceNumber, _ end: SequenceNumber) {
    self.start = start
    self.end = end
  }

  var count: Int { end - start }
}

/// Disjoint ranges of the sequence space in ascending order, no two of which touch; bounded in number.
///
/// The receiver keeps in it what came out of order, the sender what the peer says to have.
struct SequenceRanges {
  private(set) var ranges: [SequenceRange] = []
  let capacity: Int

  init(capacity: Int) { self.capacity = capacity }

  var isEmpty: Bool { ranges.isEmpty }
  var count: Int { ranges.count }

  /// How many numbers are in all ranges together.
  var total: Int {
    var sum = 0
    for range in ranges { sum += range.count }
    return sum
  }

  /// Adds a range, joining what it touches.
  ///
  /// - Returns: The joined range, or nil when it would be one range too many; then nothing has changed.
  mutating func insert(_ new: SequenceRange) -> SequenceRange? {
    guard new.start < new.end else { return nil }
    var first = 0
    while first < ranges.count, ranges[first].end < new.start { first += 1 }
    var last = first
    var joined = new
    while last < ranges.count, ranges[last].start <= new.end {
      joined.start = .earlier(joined.start, ranges[last].start)
      joined.end = .later(joined.end, ranges[last].end)
      last += 1
    }
    if first == last {
      guard ranges.count < capacity else { return nil }
      ranges.insert(joined, at: first)
    } else {
      ranges[first] = joined
      if last - first > 1 { ranges.removeSubrange(first + 1..<last) }
    }
    return joined
  }

  /// Forgets everything before `edge`.
  mutating func remove(before edge: SequenceNumber) {
    var gone = 0
    while gone < ranges.count, ranges[gone].end <= edge { gone += 1 }
    if gone > 0 { ranges.removeSubrange(0..<gone) }
    if !ranges.isEmpty, ranges[0].start < edge { ranges[0].start = edge }
  }

  mutating func removeAll() { ranges.removeAll() }

  /// The range that holds `number`.
  func range(holding number: SequenceNumber) -> SequenceRange? {
    for range in ranges where range.start <= number && number < range.end { return range }
    return nil
  }
}
