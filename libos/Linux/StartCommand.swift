// SPDX-License-Identifier: Apache-2.0
// StartCommand.swift: what the host command asks for, read from the boot image (ApusABI.h, "the start command").

import ApusRuntime

/// The first program, and how it is to run.
struct StartCommand {
  private(set) var settings: [(key: [UInt8], value: [UInt8])] = []
  /// Absolute path of the program.
  private(set) var program: [UInt8] = []
  /// argv, from argv[0] on.
  private(set) var arguments: [[UInt8]] = []
  /// "NAME=value" strings.
  private(set) var environment: [[UInt8]] = []

  /// Offsets in struct apus_image.
  private static var offsetField: Int { 384 }
  private static var sizeField: Int { 392 }
  private static var headerSize: Int { 400 }

  /// Reads the command of a boot image; nil if it is damaged.
  init?(image: Bytes) {
    guard image.count >= StartCommand.headerSize else { return nil }
    let offset = image.load(StartCommand.offsetField, as: UInt64.self)
    let size = image.load(StartCommand.sizeField, as: UInt64.self)
    guard offset <= UInt64(image.count), size <= UInt64(image.count) - offset else { return nil }
    var reader = StringReader(bytes: image.part(Int(offset), Int(size)))
    while true {
      guard let text = reader.next() else { return nil }
      if text.isEmpty { break }
      guard let split = text.firstIndex(of: 0x3d) else { return nil }
      settings.append(([UInt8](text[..<split]), [UInt8](text[(split + 1)...])))
    }
    // An argument may be empty: their number is a setting.
    guard let count = number("arguments"), let path = reader.next(), !path.isEmpty
    else { return nil }
    program = path
    for _ in 0..<count {
      guard let argument = reader.next() else { return nil }
      arguments.append(argument)
    }
    guard let close = reader.next(), close.isEmpty else { return nil }
    while let variable = reader.next() { environment.append(variable) }
  }

  /// The value of a setting.
  func setting(_ key: StaticString) -> [UInt8]? {
    let key = ascii(key)
    for setting in settings where setting.key == key { return setting.value }
    return nil
  }

  /// The value of a setting that is a number.
  func number(_ key: StaticString) -> UInt64? { setting(key)?.decimalValue }

  /// Strings closed by zero bytes.
  private struct StringReader {
    let bytes: Bytes
    var position = 0

    mutating func next() -> [UInt8]? {
      var end = position
      while end < bytes.count, bytes[end] != 0 { end += 1 }
      guard end < bytes.count else { return nil }
      let text = bytes.part(position, end - position).array
      position = end + 1
      return text
    }
  }
}
