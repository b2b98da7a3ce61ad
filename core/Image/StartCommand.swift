// SPDX-License-Identifier: Apache-2.0
// StartCommand.swift: what the first program is, and how it is to run.

/// The start command of a boot image: settings, program, arguments, environment.
///
/// On the wire: strings closed by zero bytes. "key=value" settings, an empty string, the program's path, its
/// arguments, an empty string, its environment. An argument may itself be empty, so the setting `arguments`
/// carries their number; a reader that counts needs no guess.
public struct StartCommand: Equatable, Sendable {
  /// A "key=value" setting.
  public struct Setting: Equatable, Sendable {
    /// The part before the equals sign.
    public var key: [UInt8]
    /// The part after it.
    public var value: [UInt8]

    /// Describes a setting.
    public init(key: [UInt8], value: [UInt8]) {
      self.key = key
      self.value = value
    }
  }

  /// How the machine and the LibOS are to behave.
  public var settings: [Setting]
  /// Absolute path of the program in the guest.
  public var program: [UInt8]
  /// argv, from argv[0] on.
  public var arguments: [[UInt8]]
  /// "NAME=value" strings.
  public var environment: [[UInt8]]

  /// Describes a start command.
  public init(
    settings: [Setting], program: [UInt8], arguments: [[UInt8]], environment: [[UInt8]]
  ) {
    self.settings = settings
    self.program = program
    self.arguments = arguments
    self.environment = environment
  }

  /// The value of the first setting of that name.
  public func setting(_ key: [UInt8]) -> [UInt8]? {
    for setting in settings where setting.key == key { return setting.value }
    return nil
  }

  private static let countKey: [UInt8] = [
    0x61, 0x72, 0x67, 0x75, 0x6d, 0x65, 0x6e, 0x74, 0x73,
  ]
  private static let equals: UInt8 = 0x3d

  /// The command's bytes.
  ///
  /// - Throws: `badCommand` when a string holds a zero byte, a key an equals sign, or the program is empty.
  public func encoded() throws(ImageError) -> [UInt8] {
    var bytes: [UInt8] = []
    guard !program.isEmpty else { throw .badCommand }
    for setting in settings {
      guard !setting.key.isEmpty, !setting.key.contains(Self.equals), setting.key != Self.countKey
      else { throw .badCommand }
      try Self.append(setting.key + [Self.equals] + setting.value, to: &bytes)
    }
    try Self.append(
      Self.countKey + [Self.equals] + Self.decimal(arguments.count), to: &bytes)
    bytes.append(0)
    try Self.append(program, to: &bytes)
    for argument in arguments { try Self.append(argument, to: &bytes) }
    bytes.append(0)
    for variable in environment {
      guard !variable.isEmpty else { throw .badCommand }
      try Self.append(variable, to: &bytes)
    }
    return bytes
  }

  /// Reads a command back.
  ///
  /// - Throws: `badCommand` when a part is missing.
  public init(decoding bytes: [UInt8]) throws(ImageError) {
    var position = 0
    func next() -> [UInt8]? {
      var end = position
      while end < bytes.count, bytes[end] != 0 { end += 1 }
      guard end < bytes.count else { return nil }
      defer { position = end + 1 }
      return [UInt8](bytes[position..<end])
    }
    settings = []
    arguments = []
    environment = []
    var count: Int?
    while true {
      guard let text = next() else { throw .badCommand }
      if text.isEmpty { break }
      guard let split = text.firstIndex(of: Self.equals) else { throw .badCommand }
      let key = [UInt8](text[..<split])
      let value = [UInt8](text[(split + 1)...])
      if key == Self.countKey {
        count = Self.number(value)
      } else {
        settings.append(Setting(key: key, value: value))
      }
    }
    guard let path = next(), !path.isEmpty, let count else { throw .badCommand }
    program = path
    for _ in 0..<count {
      guard let argument = next() else { throw .badCommand }
      arguments.append(argument)
    }
    guard let close = next(), close.isEmpty else { throw .badCommand }
    while position < bytes.count {
      guard let variable = next() else { throw .badCommand }
      environment.append(variable)
    }
  }

  private static func append(_ text: [UInt8], to bytes: inout [UInt8]) throws(ImageError) {
    guard !text.contains(0) else { throw .badCommand }
    bytes += text
    bytes.append(0)
  }

  private static func decimal(_ number: Int) -> [UInt8] {
    var digits: [UInt8] = []
    var rest = number
    repeat {
      digits.insert(UInt8(0x30 + rest % 10), at: 0)
      rest /= 10
    } while rest > 0
    return digits
  }

  private static func number(_ digits: [UInt8]) -> Int? {
    guard !digits.isEmpty, digits.count <= 9 else { return nil }
    var value = 0
    for digit in digits {
      guard digit >= 0x30, digit <= 0x39 else { return nil }
      value = value * 10 + Int(digit - 0x30)
    }
    return value
  }
}
