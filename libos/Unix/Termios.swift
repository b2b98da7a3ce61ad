// SPDX-License-Identifier: Apache-2.0
// Termios.swift: the settings of a terminal, in the kernel's layout (termios(3), asm-generic/termbits.h).

import ApusRuntime

/// A terminal's settings.
public struct Termios {
  /// Bits of `Input` (c_iflag).
  public var input: UInt32
  /// Bits of `Output` (c_oflag).
  public var output: UInt32
  /// Speed and line settings (c_cflag); kept, not heeded.
  public var control: UInt32
  /// Bits of `Local` (c_lflag).
  public var local: UInt32
  /// The line discipline's number (c_line).
  public var line: UInt8
  /// The control characters, by `Index`.
  public var characters: [UInt8]

  /// Bytes of `struct termios` as the kernel has it, and of `struct termios2`.
  public static var byteCount: Int { 36 }
  /// Bytes of `struct termios2`.
  public static var extendedByteCount: Int { 44 }
  private static var characterCount: Int { 19 }

  /// What a fresh terminal has.
  public init() {
    input = Input.mapReturn | Input.flowControl | Input.utf8
    output = Output.process | Output.newlineToReturn
    control = 0x4bf  // 38,400 baud, 8 bits, receiver on, hang up on close
    local =
      Local.signals | Local.canonical | Local.echo | Local.echoErase | Local.echoKill | Local.echoControl
      | Local.echoKillErase | Local.extended
    line = 0
    characters = [3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0x0f, 0x17, 0x16, 0, 0, 0]
  }

  /// Takes settings from a program's structure.
  public init(from bytes: Bytes) {
    input = bytes.load(0, as: UInt32.self)
    output = bytes.load(4, as: UInt32.self)
    control = bytes.load(8, as: UInt32.self)
    local = bytes.load(12, as: UInt32.self)
    line = bytes[16]
    characters = bytes.part(17, Self.characterCount).array
  }

  /// Writes the settings into a program's structure; `bytes` says which of the two by its length.
  public func store(into bytes: Bytes) {
    bytes.store(input, at: 0)
    bytes.store(output, at: 4)
    bytes.store(control, at: 8)
    bytes.store(local, at: 12)
    bytes[16] = line
    bytes.copy(characters, to: 17)
    if bytes.count >= Self.extendedByteCount {
      bytes.store(UInt32(38_400), at: 36)
      bytes.store(UInt32(38_400), at: 40)
    }
  }

  /// Whether `byte` is the control character at an index; the value 0 switches a function off.
  func has(_ index: Index, _ byte: UInt8) -> Bool { byte != 0 && characters[index.rawValue] == byte }

  /// Where each control character stands.
  public enum Index: Int {
    case interrupt = 0
    case quit = 1
    case erase = 2
    case kill = 3
    case endOfFile = 4
    case time = 5
    case minimum = 6
    case start = 8
    case stop = 9
    case suspend = 10
    case endOfLine = 11
    case reprint = 12
    case wordErase = 14
    case literalNext = 15
    case endOfLine2 = 16
  }

  /// Bits of `input`.
  public enum Input {
    /// ISTRIP.
    public static var strip: UInt32 { 0o40 }
    /// INLCR.
    public static var mapNewline: UInt32 { 0o100 }
    /// IGNCR.
    public static var ignoreReturn: UInt32 { 0o200 }
    /// ICRNL.
    public static var mapReturn: UInt32 { 0o400 }
    /// IXON.
    public static var flowControl: UInt32 { 0o2000 }
    /// IXANY.
    public static var anyRestarts: UInt32 { 0o4000 }
    /// IUTF8.
    public static var utf8: UInt32 { 0o40000 }
  }

  /// Bits of `output`.
  public enum Output {
    /// OPOST.
    public static var process: UInt32 { 1 }
    /// ONLCR.
    public static var newlineToReturn: UInt32 { 4 }
    /// OCRNL.
    public static var returnToNewline: UInt32 { 8 }
  }

  /// Bits of `local`.
  public enum Local {
    /// ISIG.
    public static var signals: UInt32 { 1 }
    /// ICANON.
    public static var canonical: UInt32 { 2 }
    /// ECHO.
    public static var echo: UInt32 { 0o10 }
    /// ECHOE.
    public static var echoErase: UInt32 { 0o20 }
    /// ECHOK.
    public static var echoKill: UInt32 { 0o40 }
    /// ECHONL.
    public static var echoNewline: UInt32 { 0o100 }
    /// NOFLSH.
    public static var noFlush: UInt32 { 0o200 }
    /// TOSTOP.
    public static var stopBackgroundOutput: UInt32 { 0o400 }
    /// ECHOCTL.
    public static var echoControl: UInt32 { 0o1000 }
    /// ECHOKE.
    public static var echoKillErase: UInt32 { 0o4000 }
    /// IEXTEN.
    public static var extended: UInt32 { 0o100000 }
  }
}

/// The size of a terminal (ioctl_tty(2), TIOCGWINSZ).
public struct WindowSize: Equatable {
  /// Lines.
  public var rows: UInt16
  /// Characters in a line.
  public var columns: UInt16
  /// Pixels in a line, if known.
  public var width: UInt16 = 0
  /// Lines of pixels, if known.
  public var height: UInt16 = 0

  /// A size in characters.
  public init(rows: UInt16, columns: UInt16) {
    self.rows = rows
    self.columns = columns
  }
}
