// SPDX-License-Identifier: Apache-2.0
// ProgramFile.swift: ELF program files made field by field, so that a test can spoil each one.

import ApusELF

/// One program header to be written.
struct TestSegment {
  var type: UInt32 = 1
  var flags: UInt32 = 5
  var offset: UInt64 = 0
  var address: UInt64 = 0x40_0000
  var fileSize: UInt64 = 0x1000
  var memorySize: UInt64 = 0x1000
  var alignment: UInt64 = 0x1000
}

/// A program file whose fields are right unless a test changes them.
struct ProgramFile {
  var identification: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  var type: UInt16 = 2
  var machine: UInt16 = 62
  var version: UInt32 = 1
  var entry: UInt64 = 0x40_0100
  var tableOffset: UInt64 = 64
  var entrySize: UInt16 = 56
  var count: UInt16?
  var segments = [TestSegment()]
  /// The size that the file is said to have.
  var size: UInt64 = 0x4000

  /// The header and the table.
  var bytes: [UInt8] {
    var bytes = identification
    bytes.add(type)
    bytes.add(machine)
    bytes.add(version)
    bytes.add(entry)
    bytes.add(tableOffset)
    bytes.add(UInt64(0))
    bytes.add(UInt32(0))
    bytes.add(UInt16(64))
    bytes.add(entrySize)
    bytes.add(count ?? UInt16(segments.count))
    bytes.add(UInt16(64))
    bytes.add(UInt16(0))
    bytes.add(UInt16(0))
    for segment in segments {
      bytes.add(segment.type)
      bytes.add(segment.flags)
      bytes.add(segment.offset)
      bytes.add(segment.address)
      bytes.add(segment.address)
      bytes.add(segment.fileSize)
      bytes.add(segment.memorySize)
      bytes.add(segment.alignment)
    }
    return bytes
  }

  /// What the parser makes of it.
  func parsed() throws(ELFError) -> ELFProgram {
    let bytes = bytes
    let header = try ELFHeader(parsing: bytes.span, fileSize: size)
    let table = [UInt8](bytes[ELFHeader.byteCount...])
    return try ELFProgram(header, table: table.span, fileSize: size)
  }

  /// What the parser finds wrong with it; nil: nothing.
  var failure: ELFError? {
    do throws(ELFError) {
      _ = try parsed()
      return nil
    } catch {
      return error
    }
  }
}

extension [UInt8] {
  fileprivate mutating func add<T: FixedWidthInteger>(_ value: T) {
    for index in 0..<MemoryLayout<T>.size {
      append(UInt8(truncatingIfNeeded: value >> T(index * 8)))
    }
  }
}
