// SPDX-License-Identifier: Apache-2.0
// Hexadecimal.swift: bytes as people type and read them.

/// Bytes written in base 16.
public enum Hexadecimal {
  /// Reads pairs of digits; white space may stand anywhere between pairs.
  ///
  /// - Returns: The bytes, or nil if anything else is there or a digit is left over.
  public static func bytes(_ text: some StringProtocol) -> [UInt8]? {
    var bytes: [UInt8] = []
    var high: UInt8?
    for character in text.utf8 {
      let digit: UInt8
      switch character {
      case 0x30...0x39: digit = character - 0x30
      case 0x41...0x46: digit = character - 0x41 + 10
      case 0x61...0x66: digit = character - 0x61 + 10
      case 0x09, 0x0a, 0x0d, 0x20:
        guard high == nil else { return nil }
        continue
      default: return nil
      }
      if let first = high {
        bytes.append(first << 4 | digit)
        high = nil
      } else {
        high = digit
      }
    }
    return high == nil ? bytes : nil
  }

  /// Bytes as pairs of digits.
  public static func text(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// Groups bytes into slots, little-endian.
  ///
  /// - Returns: The slots, or nil if the bytes do not fill the last one.
  public static func slots(_ bytes: [UInt8]) -> [UInt64]? {
    guard bytes.count % 8 == 0 else { return nil }
    var slots: [UInt64] = []
    for start in stride(from: 0, to: bytes.count, by: 8) {
      var slot: UInt64 = 0
      for index in (start..<start + 8).reversed() { slot = slot << 8 | UInt64(bytes[index]) }
      slots.append(slot)
    }
    return slots
  }
}
