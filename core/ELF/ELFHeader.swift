// SPDX-License-Identifier: Apache-2.0
// ELFHeader.swift: the header of an ELF64 file for x86-64 (System V ABI, "ELF Header"; elf(5)).

/// Byte offsets of the header's fields.
private enum Field {
  static var fileClass: Int { 4 }
  static var data: Int { 5 }
  static var identVersion: Int { 6 }
  static var type: Int { 16 }
  static var machine: Int { 18 }
  static var version: Int { 20 }
  static var entry: Int { 24 }
  static var programHeaderOffset: Int { 32 }
  static var sectionHeaderOffset: Int { 40 }
  static var programHeaderSize: Int { 54 }
  static var programHeaderCount: Int { 56 }
  static var sectionHeaderSize: Int { 58 }
  static var sectionHeaderCount: Int { 60 }
  static var sectionNameIndex: Int { 62 }
}

/// What an ELF header says about an executable.
public struct ELFHeader: Equatable, Sendable {
  /// Whether addresses are fixed or the kernel chooses a base.
  public enum Kind: Sendable {
    /// ET_EXEC: the addresses are absolute.
    case fixed
    /// ET_DYN: the addresses count from a base.
    case positionIndependent
  }

  /// The size of the header in bytes.
  public static let byteCount = 64
  /// The greatest table of program headers that is read, in entries.
  public static let programHeaderLimit = 128

  /// How addresses are meant.
  public let kind: Kind
  /// Address of the first instruction (to be added to the base).
  public let entry: UInt64
  /// Where the program headers lie in the file.
  public let programHeaderOffset: UInt64
  /// How many program headers there are; at least one.
  public let programHeaderCount: Int
  /// Where the section headers lie in the file; sections are for tools, not for loading.
  public let sectionHeaderOffset: UInt64
  /// The size of a section header in bytes.
  public let sectionHeaderSize: Int
  /// How many section headers there are.
  public let sectionHeaderCount: Int
  /// The section that holds the sections' names.
  public let sectionNameIndex: Int

  /// The bytes of the program header table.
  public var programHeaderByteCount: Int { programHeaderCount * ProgramHeader.byteCount }

  /// Reads and checks a header.
  ///
  /// - Parameters:
  ///   - bytes: The start of the file, at least `byteCount` bytes if the file has so many.
  ///   - fileSize: The size of the whole file.
  /// - Throws: Which of the header's promises does not hold.
  public init(parsing bytes: Span<UInt8>, fileSize: UInt64) throws(ELFError) {
    guard bytes.count >= 4, bytes[0] == 0x7f, bytes[1] == 0x45, bytes[2] == 0x4c, bytes[3] == 0x46
    else { throw .notELF }
    guard bytes.count >= Self.byteCount else { throw .truncated }
    guard bytes[Field.fileClass] == 2 else {
      throw bytes[Field.fileClass] == 1 ? .is32Bit : .unknownVersion
    }
    guard bytes[Field.data] == 1 else {
      throw bytes[Field.data] == 2 ? .isBigEndian : .unknownVersion
    }
    guard bytes[Field.identVersion] == 1, bytes.little32(Field.version) == 1
    else { throw .unknownVersion }
    let machine = bytes.little16(Field.machine)
    guard machine == 62 else { throw .otherMachine(machine) }
    switch bytes.little16(Field.type) {
    case 2: kind = .fixed
    case 3: kind = .positionIndependent
    default: throw .notExecutable
    }
    entry = bytes.little64(Field.entry)
    programHeaderOffset = bytes.little64(Field.programHeaderOffset)
    programHeaderCount = Int(bytes.little16(Field.programHeaderCount))
    guard programHeaderCount > 0, programHeaderCount <= Self.programHeaderLimit,
      Int(bytes.little16(Field.programHeaderSize)) == ProgramHeader.byteCount
    else { throw .badProgramHeaders }
    let size = UInt64(programHeaderCount * ProgramHeader.byteCount)
    guard programHeaderOffset <= fileSize, size <= fileSize - programHeaderOffset
    else { throw .truncated }
    sectionHeaderOffset = bytes.little64(Field.sectionHeaderOffset)
    sectionHeaderSize = Int(bytes.little16(Field.sectionHeaderSize))
    sectionHeaderCount = Int(bytes.little16(Field.sectionHeaderCount))
    sectionNameIndex = Int(bytes.little16(Field.sectionNameIndex))
  }
}

extension Span<UInt8> {
  func little16(_ offset: Int) -> UInt16 {
    UInt16(self[offset]) | UInt16(self[offset + 1]) << 8
  }

  func little32(_ offset: Int) -> UInt32 {
    UInt32(little16(offset)) | UInt32(little16(offset + 2)) << 16
  }

  func little64(_ offset: Int) -> UInt64 {
    UInt64(little32(offset)) | UInt64(little32(offset + 4)) << 32
  }
}
