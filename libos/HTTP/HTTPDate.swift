// SPDX-License-Identifier: Apache-2.0
// HTTPDate.swift: dates in the forms of RFC 9110, 5.6.7.

/// A second, as HTTP writes it.
public struct HTTPDate: Equatable, Sendable {
  /// Seconds since 1970.
  public var seconds: Int64

  /// So many seconds after 1970.
  public init(seconds: Int64) { self.seconds = seconds }

  private static let days: [StaticString] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
  private static let months: [StaticString] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]

  // MARK: Writing

  /// Appends the date in the form that is sent, as in `Sun, 06 Nov 1994 08:49:37 GMT`: always 29 bytes.
  public func append(to bytes: inout [UInt8]) {
    let day = seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400
    let second = Int(seconds - day * 86_400)
    let (year, month, date) = Self.civil(day)
    bytes.append(Self.days[Int((day % 7 + 7) % 7)])
    bytes += [44, 32]
    bytes.append(number: date, digits: 2)
    bytes.append(32)
    bytes.append(Self.months[month - 1])
    bytes.append(32)
    bytes.append(number: max(0, min(9999, year)), digits: 4)
    bytes.append(32)
    bytes.append(number: second / 3600, digits: 2)
    bytes.append(58)
    bytes.append(number: second / 60 % 60, digits: 2)
    bytes.append(58)
    bytes.append(number: second % 60, digits: 2)
    bytes.append(" GMT")
  }

  /// Year, month and day of a day counted from 1970, in the Gregorian calendar.
  ///
  /// Years are counted from March here, so that the day that comes and goes is the last.
  private static func civil(_ day: Int64) -> (year: Int, month: Int, date: Int) {
    let shifted = Int(day) + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let ofEra = shifted - era * 146_097
    let year = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
    let ofYear = ofEra - (365 * year + year / 4 - year / 100)
    let month = (5 * ofYear + 2) / 153
    let date = ofYear - (153 * month + 2) / 5 + 1
    let civilMonth = month < 10 ? month + 3 : month - 9
    return (year + era * 400 + (civilMonth <= 2 ? 1 : 0), civilMonth, date)
  }

  private static func day(_ year: Int, _ month: Int, _ date: Int) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let ofEra = shifted - era * 400
    let ofYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + date - 1
    return Int64(era * 146_097 + ofEra * 365 + ofEra / 4 - ofEra / 100 + ofYear - 719_468)
  }

  // MARK: Reading

  /// Reads a date in one of the three forms; nil if it is none.
  ///
  /// - Parameters:
  ///   - bytes: What holds it.
  ///   - place: Where.
  ///   - now: The time, by which years of two digits are understood; seconds since 1970.
  public init?(_ bytes: Span<UInt8>, _ place: HeadRange, now: Int64) {
    let place = bytes.trimmed(place)
    func byte(_ index: Int) -> UInt8 { bytes[place.start + index] }
    func digits(_ index: Int, _ count: Int) -> Int? {
      bytes.number(HeadRange(start: place.start + index, end: place.start + index + count))
    }
    func month(_ index: Int) -> Int? {
      for (number, name) in Self.months.enumerated()
      where bytes.isText(HeadRange(start: place.start + index, end: place.start + index + 3), name) {
        return number + 1
      }
      return nil
    }
    func time(_ index: Int) -> Int? {
      guard byte(index + 2) == 58, byte(index + 5) == 58, let hour = digits(index, 2),
        let minute = digits(index + 3, 2),
        let second = digits(index + 6, 2), hour < 24, minute < 60, second <= 60
      else { return nil }
      return hour * 3600 + minute * 60 + second
    }
    var parts: (year: Int, month: Int, date: Int, time: Int)?
    if place.count == 29, byte(3) == 44, byte(4) == 32,
      bytes.isText(HeadRange(start: place.end - 4, end: place.end), " GMT"),
      byte(7) == 32, byte(11) == 32, byte(16) == 32, let date = digits(5, 2), let month = month(8),
      let year = digits(12, 4), let time = time(17)
    {
      parts = (year, month, date, time)
    } else if place.count == 24, byte(3) == 32, byte(7) == 32, byte(10) == 32, byte(19) == 32, let month = month(4),
      let date = byte(8) == 32 ? digits(9, 1) : digits(8, 2), let time = time(11), let year = digits(20, 4)
    {
      parts = (year, month, date, time)
    } else if place.count >= 30, place.count <= 33 {
      // Weekday, DD-Mon-YY HH:MM:SS GMT
      let start = place.count - 22
      if byte(start - 2) == 44, byte(start - 1) == 32, byte(start + 2) == 45, byte(start + 6) == 45,
        byte(start + 9) == 32,
        bytes.isText(HeadRange(start: place.end - 4, end: place.end), " GMT"), let date = digits(start, 2),
        let month = month(start + 3), let short = digits(start + 7, 2), let time = time(start + 10)
      {
        // More than fifty years ahead means the century before (RFC 9110, 5.6.7).
        let current = Self.civil(now / 86_400).year
        var year = current / 100 * 100 + short
        if year > current + 50 { year -= 100 }
        parts = (year, month, date, time)
      }
    }
    guard let parts, parts.date >= 1, parts.date <= Self.length(parts.year, parts.month) else { return nil }
    seconds = Self.day(parts.year, parts.month, parts.date) * 86_400 + Int64(parts.time)
  }

  private static func length(_ year: Int, _ month: Int) -> Int {
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    switch month {
    case 2: return isLeap ? 29 : 28
    case 4, 6, 9, 11: return 30
    default: return 31
    }
  }
}

extension Span<UInt8> {
  /// Whether a place holds just this text.
  func isText(_ place: HeadRange, _ text: StaticString) -> Bool {
    guard place.count == text.utf8CodeUnitCount, place.start >= 0, place.end <= count else { return false }
    for index in 0..<place.count where self[place.start + index] != text.byte(index) { return false }
    return true
  }
}

extension [UInt8] {
  /// Appends a text.
  public mutating func append(_ text: StaticString) {
    for index in 0..<text.utf8CodeUnitCount { append(text.byte(index)) }
  }

  /// Appends a number, with zeros in front up to so many digits.
  public mutating func append(number: Int, digits: Int = 1) {
    var divisor = 1
    var count = 1
    while count < digits || number / divisor >= 10 {
      divisor *= 10
      count += 1
    }
    while divisor > 0 {
      append(48 + UInt8(number / divisor % 10))
      divisor /= 10
    }
  }
}

extension [UInt8] {
  /// Appends a number in hexadecimal digits.
  public mutating func append(hexadecimal number: UInt64) {
    if number > 15 { append(hexadecimal: number >> 4) }
    let digit = UInt8(number & 15)
    append(digit < 10 ? 48 + digit : 87 + digit)
  }
}
