// SPDX-License-Identifier: Apache-2.0
// NetworkBytes.swift: integers in network byte order, read from checked views and appended to packets.

// Every access is checked: a parser that forgot a length would trap, never read another's memory. Parsers check
// lengths first, so they do not trap; the fuzzing in tests/Unit/NetTests holds them to it.
extension Span<UInt8> {
  @inline(__always) func big16(_ offset: Int) -> UInt16 { word(offset, as: UInt16.self).bigEndian }

  @inline(__always) func big32(_ offset: Int) -> UInt32 { word(offset, as: UInt32.self).bigEndian }

  @inline(__always) func big64(_ offset: Int) -> UInt64 { word(offset, as: UInt64.self).bigEndian }

  /// The bytes as an array.
  var array: [UInt8] {
    var array: [UInt8] = []
    array.append(copying: self)
    return array
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

  mutating func append(_ bytes: Span<UInt8>) { append(copying: bytes) }

  mutating func append(zeros count: Int) {
    for _ in 0..<Swift.max(0, count) { append(0) }
  }

  mutating func set16(_ value: UInt16, at offset: Int) {
    self[offset] = UInt8(value >> 8)
    self[offset + 1] = UInt8(value & 0xff)
  }
}
