// SPDX-License-Identifier: Apache-2.0
// ProtocolBuffer.swift: writes and reads the wire format of Protocol Buffers (protobuf.dev, "Encoding").

/// A message being written: fields one behind the other.
struct MessageWriter {
  private(set) var bytes: [UInt8] = []

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  /// Starts a field; `wire` is its wire type.
  private mutating func tag(_ field: Int, _ wire: UInt64) { varint(UInt64(field) << 3 | wire) }

  /// A number of any integer type but the fixed ones.
  mutating func number(_ field: Int, _ value: UInt64) {
    tag(field, 0)
    varint(value)
  }

  /// A number in eight bytes.
  mutating func fixed(_ field: Int, _ value: UInt64) {
    tag(field, 1)
    for shift in stride(from: 0, to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift))) }
  }

  mutating func text(_ field: Int, _ value: String) { data(field, Array(value.utf8)) }

  private mutating func data(_ field: Int, _ value: [UInt8]) {
    tag(field, 2)
    varint(UInt64(value.count))
    bytes += value
  }

  /// A message inside this one.
  mutating func message(_ field: Int, _ body: (inout MessageWriter) -> Void) {
    var inner = MessageWriter()
    body(&inner)
    data(field, inner.bytes)
  }
}

/// A field of a message that is read.
struct MessageField: Equatable {
  enum Value: Equatable {
    case number(UInt64)
    case fixed64(UInt64)
    case fixed32(UInt32)
    case bytes([UInt8])
  }
  let field: Int
  let value: Value

  /// Cuts a message into its fields.
  ///
  /// - Returns: Nil if it is not whole.
  static func fields(_ bytes: [UInt8]) -> [MessageField]? {
    var fields: [MessageField] = []
    var at = 0
    func varint() -> UInt64? {
      var value: UInt64 = 0
      for shift in stride(from: UInt64(0), to: 70, by: 7) {
        guard at < bytes.count else { return nil }
        let byte = bytes[at]
        at += 1
        value |= UInt64(byte & 0x7f) << shift
        if byte & 0x80 == 0 { return value }
      }
      return nil
    }
    func little(_ count: Int) -> UInt64? {
      guard bytes.count - at >= count else { return nil }
      defer { at += count }
      return bytes[at..<at + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
    while at < bytes.count {
      guard let tag = varint(), tag >> 3 > 0, tag >> 3 < 1 << 29 else { return nil }
      let value: Value
      switch tag & 7 {
      case 0:
        guard let number = varint() else { return nil }
        value = .number(number)
      case 1:
        guard let number = little(8) else { return nil }
        value = .fixed64(number)
      case 2:
        guard let count = varint(), count <= UInt64(bytes.count - at) else { return nil }
        value = .bytes(Array(bytes[at..<at + Int(count)]))
        at += Int(count)
      case 5:
        guard let number = little(4) else { return nil }
        value = .fixed32(UInt32(number))
      default: return nil
      }
      fields.append(MessageField(field: Int(tag >> 3), value: value))
    }
    return fields
  }
}
