// SPDX-License-Identifier: Apache-2.0
// Characters.swift: the characters of HTTP's grammar (RFC 9110, 5.6), words and lists in bytes.

enum CharacterSet {
  // Bit i of the two words: whether character i may be in a token.
  private static var lowTokens: UInt64 { 0x03ff_6cfa_0000_0000 }
  private static var highTokens: UInt64 { 0x57ff_ffff_c7ff_fffe }

  @inline(__always) static func isToken(_ byte: UInt8) -> Bool {
    guard byte < 128 else { return false }
    let word = byte < 64 ? lowTokens : highTokens
    return word >> UInt64(byte & 63) & 1 == 1
  }

  /// Whether a byte may be in a field's value; bytes above 127 have no meaning and may be there.
  @inline(__always) static func isValue(_ byte: UInt8) -> Bool { byte >= 32 && byte != 127 || byte == 9 }

  static func lowercase(_ byte: UInt8) -> UInt8 { byte >= 65 && byte <= 90 ? byte | 32 : byte }
}

extension Span<UInt8> {
  /// Whether a place holds a word, whatever the case of its letters; the word is in small letters.
  func isWord(_ place: HeadRange, _ word: StaticString) -> Bool {
    guard place.count == word.utf8CodeUnitCount else { return false }
    for index in 0..<place.count where CharacterSet.lowercase(self[place.start + index]) != word.byte(index) {
      return false
    }
    return true
  }

  /// A place without the blanks around it.
  func trimmed(_ place: HeadRange) -> HeadRange {
    var place = place
    while place.isThere, self[place.start] == 32 || self[place.start] == 9 { place.start += 1 }
    while place.isThere, self[place.end - 1] == 32 || self[place.end - 1] == 9 { place.end -= 1 }
    return place
  }

  /// Takes the next element off a list with commas between; nil at its end.
  ///
  /// What stands in quotes is not cut.
  func nextElement(_ list: inout HeadRange) -> HeadRange? {
    while list.isThere {
      var end = list.start
      var isQuoted = false
      while end < list.end, isQuoted || self[end] != 44 {
        if self[end] == 34 { isQuoted.toggle() }
        end += 1
      }
      let element = trimmed(HeadRange(start: list.start, end: end))
      list.start = Swift.min(end + 1, list.end)
      if element.isThere { return element }
    }
    return nil
  }

  /// Whether a list has a word as an element.
  func hasElement(_ list: HeadRange, _ word: StaticString) -> Bool {
    if isWord(list, word) { return true }
    var list = list
    while let element = nextElement(&list) { if isWord(element, word) { return true } }
    return false
  }

  /// The number that a place holds, of nothing but digits; nil if it is none, or too large.
  func number(_ place: HeadRange) -> Int? {
    guard place.isThere, place.count <= 18 else { return nil }
    var value = 0
    for index in place.start..<place.end {
      guard self[index] >= 48, self[index] <= 57 else { return nil }
      value = value * 10 + Int(self[index] - 48)
    }
    return value
  }

  /// Whether a list of content codings accepts gzip (RFC 9110, 12.5.3).
  func acceptsGzip(_ list: HeadRange) -> Bool {
    var list = list
    var named: Bool?
    var all: Bool?
    while let element = nextElement(&list) {
      var split = element.start
      while split < element.end, self[split] != 59 { split += 1 }
      let name = trimmed(HeadRange(start: element.start, end: split))
      let isAccepted = !isZeroWeight(HeadRange(start: Swift.min(split + 1, element.end), end: element.end))
      if isWord(name, "gzip") || isWord(name, "x-gzip") { named = isAccepted }
      if isWord(name, "*") { all = isAccepted }
    }
    return named ?? all ?? false
  }

  /// Whether a parameter is `q=0`, with or without digits behind the point.
  private func isZeroWeight(_ parameter: HeadRange) -> Bool {
    let parameter = trimmed(parameter)
    guard parameter.count >= 3, CharacterSet.lowercase(self[parameter.start]) == 113, self[parameter.start + 1] == 61
    else { return false }
    for index in parameter.start + 2..<parameter.end where self[index] != 48 && self[index] != 46 { return false }
    return true
  }
}
