// SPDX-License-Identifier: Apache-2.0
// TextBuilder.swift: lines of ASCII text, as /proc shows them.

/// Text that grows.
struct TextBuilder {
  var bytes: [UInt8] = []

  /// Adds text.
  mutating func add(_ text: String) { bytes.append(contentsOf: text.utf8) }
  /// Adds bytes.
  mutating func add(_ text: [UInt8]) { bytes.append(contentsOf: text) }

  /// Adds a number in decimal.
  mutating func add(_ value: Int) {
    if value < 0 { bytes.append(UInt8(ascii: "-")) }
    bytes.append(contentsOf: decimal(UInt64(value.magnitude)))
  }

  /// Adds a number in decimal.
  mutating func add(_ value: UInt64) { bytes.append(contentsOf: decimal(value)) }

  /// Adds a number in decimal, right-aligned.
  mutating func add(_ value: UInt64, width: Int) {
    let digits = decimal(value)
    for _ in 0..<max(0, width - digits.count) { bytes.append(UInt8(ascii: " ")) }
    bytes.append(contentsOf: digits)
  }

  /// Adds a number as sixteen hexadecimal digits.
  mutating func add(hexadecimal value: UInt64) {
    for index in 0..<16 {
      let digit = UInt8(value >> UInt64(60 - index * 4) & 15)
      bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
    }
  }

  /// Adds a time as seconds with two decimals.
  mutating func add(hundredths nanoseconds: UInt64) {
    let hundredths = nanoseconds / 10_000_000
    add(hundredths / 100)
    bytes.append(UInt8(ascii: "."))
    bytes.append(UInt8(ascii: "0") + UInt8(hundredths / 10 % 10))
    bytes.append(UInt8(ascii: "0") + UInt8(hundredths % 10))
  }

  /// Adds a label, a tab and a value in kilobytes, as /proc/meminfo does.
  mutating func add(_ label: String, kilobytes: UInt64) {
    add(label)
    bytes.append(UInt8(ascii: ":"))
    for _ in 0..<max(1, 15 - label.utf8.count) { bytes.append(UInt8(ascii: " ")) }
    add(kilobytes, width: 8)
    add(" kB\n")
  }
}
