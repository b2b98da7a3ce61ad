// SPDX-License-Identifier: Apache-2.0
// Text.swift: lines for the console, put together in memory that is set aside for them.

import ApusABI

/// A line under construction.
struct Line {
  private let buffer: UInt64
  private var count: UInt64 = 0

  /// Starts an empty line; one for the checks, one for the exception handler that may interrupt them.
  init(inHandler: Bool = false) { buffer = address_of_hostile_text() + (inHandler ? 4096 : 0) }

  private mutating func put(byte: UInt8) {
    guard count < 1024 else { return }
    store8(buffer + count, byte)
    count += 1
  }

  mutating func put(_ text: StaticString) {
    for index in 0..<text.utf8CodeUnitCount { put(byte: text.utf8Start[index]) }
  }

  mutating func put(_ number: UInt64) {
    if number >= 10 { put(number / 10) }
    put(byte: 48 + UInt8(number % 10))
  }

  mutating func put(hexadecimal value: UInt64) {
    put("0x")
    var shift = max(0, (63 - value.leadingZeroBitCount) / 4 * 4)
    while shift >= 0 {
      let digit = UInt8(value >> UInt64(shift) & 15)
      put(byte: digit < 10 ? 48 + digit : 87 + digit)
      shift -= 4
    }
  }

  /// Ends the line and sends it.
  mutating func send(_ stream: ConsoleStream = .output) {
    put(byte: 10)
    var sent: UInt64 = 0
    while sent < count {
      let answer = Kernel.call(.consoleWrite, Slot.console, UInt64(stream.rawValue), buffer + sent, count - sent)
      guard let taken = answer.value else { break }
      sent += taken
    }
    count = 0
  }
}
