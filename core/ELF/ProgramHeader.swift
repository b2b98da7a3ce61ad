// SPDX-License-Identifier: Apache-2.0
// ProgramHeader.swift: the segments of an ELF64 file (System V ABI, "Program Header"; elf(5)).

/// One entry of the program header table.
public struct ProgramHeader: Equatable, Sendable {
  /// The size of an entry in bytes.
  public static let byteCount = 56

  /// What a segment is for; only these matter here.
  public enum Kind: Equatable, Sendable {
    case load
    case dynamic
    case interpreter
    case programHeaders
    case threadLocalStorage
    case stack
    case other(UInt32)
  }

  /// What the segment is for.
  public let kind: Kind
  /// PF_X 1, PF_W 2, PF_R 4.
  public let flags: UInt32
  /// Where the segment lies in the file.
  public let offset: UInt64
  /// How many bytes of it are in the file.
  public let fileSize: UInt64
  /// Where it lies in memory (to be added to the base).
  public let address: UInt64
  /// How many bytes it has in memory.
  public let memorySize: UInt64
  /// Address and offset agree modulo this.
  public let alignment: UInt64

  /// The program may read it.
  public var isReadable: Bool { flags & 4 != 0 }
  /// The program may write to it.
  public var isWritable: Bool { flags & 2 != 0 }
  /// The program may run it.
  public var isExecutable: Bool { flags & 1 != 0 }

  /// Reads the entry at an offset of a table.
  init(_ bytes: Span<UInt8>, at start: Int) {
    kind =
      switch bytes.little32(start) {
      case 1: .load
      case 2: .dynamic
      case 3: .interpreter
      case 6: .programHeaders
      case 7: .threadLocalStorage
      case 0x6474_e551: .stack
      case let other: .other(other)
      }
    flags = bytes.little32(start + 4)
    offset = bytes.little64(start + 8)
    address = bytes.little64(start + 16)
    fileSize = bytes.little64(start + 32)
    memorySize = bytes.little64(start + 40)
    alignment = bytes.little64(start + 48)
  }
}
