// SPDX-License-Identifier: Apache-2.0
// NetworkBytes.swift: integers in network byte order, read from checked views and appended to packets.

// Every access is checked: a parser that forgot a length would trap, never read another's memory. Parsers check
// lengths first, so they do not trap; the fuzzing in tests/Unit/NetTests holds them to it.
extension Span<UInt8> {
  func big16(_ offset: Int) -> UInt16 { UInt16(self[offset]) << 8 | UInt16(self[offset + 1]) }

  func big32(_ offset: Int) -> UInt32 { UInt32(big16(offset)) << 16 | UInt32(big16(offset + 2)) }

  func big64(_ offset: Int) -> UInt64 { UInt64(big32(offset)) << 32 | UInt64(big32(offset + 4)) }

  /// The bytes as an array.
  var array: [UInt8] {
    let bytes = self
    return [UInt8](capacity: count) { output in
      for index in 0..<bytes.count { output.append(bytes[index]) }
    }
  }
}

extension [UInt8] {
  mutating func append16(_ value: UInt16) {
    append(UInt8(value >> 8))
    append(UInt8(value & 0xff))
  }

  mutating func append32(_ value: UInt32) {
    append16(UInt16(value >> 16))
    append16(UInt16(value & 0xffff))
  }

  mutating func append64(_ value: UInt64) {
    append32(UInt32(value >> 32))
    append32(UInt32(value & 0xffff_ffff))
  }

  mutating func append(_ bytes: Span<UInt8>) {
    for index in 0..<bytes.count { append(bytes[index]) }
  }

  mutating func append(zeros count: Int) {
    for _ in 0..<Swift.max(0, count) { append(0) }
  }

  mutating func set16(_ value: UInt16, at offset: Int) {
    self[offset] = UInt8(value >> 8)
    self[offset + 1] = UInt8(value & 0xff)
  }

  /// Overwrites what stands at `offset`; all of it has to fit.
  mutating func overwrite(at offset: Int, with bytes: Span<UInt8>) {
    precondition(offset >= 0 && bytes.count <= count - offset)
    var target = mutableSpan
    for index in 0..<bytes.count { target[offset &+ index] = bytes[index] }
  }
}
