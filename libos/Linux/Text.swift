// SPDX-License-Identifier: Apache-2.0
// Text.swift: making ASCII text without String.

import ApusRuntime

/// The bytes of a literal.
func ascii(_ text: StaticString) -> [UInt8] { text.bytes }

extension [UInt8] {
  /// Adds a number in decimal.
  mutating func append(decimal value: Int) {
    if value < 0 { append(0x2d) }
    var rest = value.magnitude
    let start = count
    repeat {
      append(UInt8(0x30 + rest % 10))
      rest /= 10
    } while rest > 0
    self[start...].reverse()
  }

  /// Adds a number in hexadecimal, with at least `digits` digits.
  mutating func append(hexadecimal value: UInt64, digits: Int = 1) {
    var shift = 60
    var started = false
    while shift >= 0 {
      let digit = UInt8(truncatingIfNeeded: value >> UInt64(shift) & 15)
      if digit != 0 || shift < digits * 4 { started = true }
      if started { append(digit < 10 ? 0x30 + digit : 0x57 + digit) }
      shift -= 4
    }
  }

  /// The number that the bytes write in decimal; nil if they do not.
  var decimalValue: UInt64? {
    guard !isEmpty else { return nil }
    var value: UInt64 = 0
    for digit in self {
      guard digit >= 0x30, digit <= 0x39 else { return nil }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, overflow2) = product.addingReportingOverflow(UInt64(digit - 0x30))
      guard !overflow, !overflow2 else { return nil }
      value = sum
    }
    return value
  }

  /// What follows the last slash.
  var lastPathComponent: [UInt8] {
    guard let slash = lastIndex(of: 0x2f) else { return self }
    return [UInt8](self[(slash + 1)...])
  }
}
