// SPDX-License-Identifier: Apache-2.0
// ELFProgramTests.swift: what the ELF checks accept, and what they say about each kind of damage.

import ApusELF
import Testing

@Suite struct ELFProgramTests {
  @Test func aStaticProgramIsAccepted() throws {
    let program = try ProgramFile().parsed()
    #expect(program.header.kind == .fixed)
    #expect(program.header.entry == 0x40_0100)
    #expect(program.segments.count == 1)
    #expect(program.start == 0x40_0000)
    #expect(program.end == 0x40_1000)
    #expect(!program.hasExecutableStack)
  }

  @Test func theProgramHeadersAreFoundInTheSegmentThatHoldsThem() throws {
    #expect(try ProgramFile().parsed().programHeaderAddress == 0x40_0040)
  }

  @Test func aProgramHeaderSegmentSaysWhereTheTableIs() throws {
    var file = ProgramFile()
    file.segments.append(TestSegment(type: 6, address: 0x40_0777))
    #expect(try file.parsed().programHeaderAddress == 0x40_0777)
  }

  @Test func aPositionIndependentProgramIsAccepted() throws {
    var file = ProgramFile()
    file.type = 3
    file.segments[0].address = 0
    file.entry = 0x100
    #expect(try file.parsed().header.kind == .positionIndependent)
  }

  @Test func segmentsWithoutMemoryAreLeftOut() throws {
    var file = ProgramFile()
    file.segments.append(TestSegment(address: 0x50_0000, fileSize: 0, memorySize: 0))
    #expect(try file.parsed().segments.count == 1)
  }

  @Test func aRequestForAnExecutableStackIsSeen() throws {
    var file = ProgramFile()
    file.segments.append(TestSegment(type: 0x6474_e551, flags: 7))
    #expect(try file.parsed().hasExecutableStack)
  }

  struct Damage: CustomTestStringConvertible {
    let testDescription: String
    let error: ELFError
    let change: @Sendable (inout ProgramFile) -> Void

    init(_ name: String, _ error: ELFError, _ change: @escaping @Sendable (inout ProgramFile) -> Void) {
      testDescription = name
      self.error = error
      self.change = change
    }
  }

  static let damages: [Damage] = [
    Damage("a script", .notELF) { $0.identification = Array("#!/bin/sh\n      ".utf8) },
    Damage("32 bits", .is32Bit) { $0.identification[4] = 1 },
    Damage("an unknown class", .unknownVersion) { $0.identification[4] = 9 },
    Damage("big-endian", .isBigEndian) { $0.identification[5] = 2 },
    Damage("an unknown byte order", .unknownVersion) { $0.identification[5] = 7 },
    Damage("a later ELF", .unknownVersion) { $0.version = 2 },
    Damage("for ARM", .otherMachine(183)) { $0.machine = 183 },
    Damage("an object file", .notExecutable) { $0.type = 1 },
    Damage("a core dump", .notExecutable) { $0.type = 4 },
    Damage("no program headers", .badProgramHeaders) { $0.count = 0 },
    Damage("too many program headers", .badProgramHeaders) { $0.count = 129 },
    Damage("program headers of another size", .badProgramHeaders) { $0.entrySize = 32 },
    Damage("a table behind the end", .truncated) { $0.tableOffset = 0x4000 },
    Damage("a table far behind the end", .truncated) { $0.tableOffset = .max - 8 },
    Damage("an interpreter", .dynamic) { $0.segments.append(TestSegment(type: 3)) },
    Damage("a segment behind the end", .truncated) {
      $0.segments[0].fileSize = 0x5000; $0.segments[0].memorySize = 0x5000
    },
    Damage("a segment's offset behind the end", .truncated) { $0.segments[0].offset = .max - 0xfff },
    Damage("more file than memory", .badSegment) { $0.segments[0].memorySize = 0xfff },
    Damage("an address out of range", .badSegment) { $0.segments[0].address = 0x7000_0000_0000 },
    Damage("an address that overflows", .badSegment) { $0.segments[0].address = .max - 0xfff },
    Damage("memory without end", .badSegment) { $0.segments[0].memorySize = .max },
    Damage("address and offset at odds", .badSegment) { $0.segments[0].address = 0x40_0010 },
    Damage("an alignment that is no power of two", .badSegment) { $0.segments[0].alignment = 0x3000 },
    Damage("two segments in one page", .badSegment) {
      $0.segments.append(TestSegment(offset: 0x800, address: 0x40_0800, fileSize: 16, memorySize: 16))
    },
    Damage("segments in falling order", .badSegment) {
      $0.segments.append(TestSegment(address: 0x30_0000))
    },
    Damage("nothing to load", .noSegments) { $0.segments[0].type = 4 },
    Damage("an entry outside", .badEntry) { $0.entry = 0x50_0000 },
    Damage("an entry behind the last byte", .badEntry) { $0.entry = 0x40_1000 },
  ]

  @Test(arguments: damages) func damageIsNamed(_ damage: Damage) {
    var file = ProgramFile()
    damage.change(&file)
    #expect(file.failure == damage.error)
  }

  @Test func aFileThatEndsInItsHeaderIsTruncated() {
    let bytes = [UInt8](ProgramFile().bytes[..<63])
    #expect(throws: ELFError.truncated) { try ELFHeader(parsing: bytes.span, fileSize: 63) }
  }

  @Test func anEmptyFileIsNoProgram() {
    let bytes: [UInt8] = []
    #expect(throws: ELFError.notELF) { try ELFHeader(parsing: bytes.span, fileSize: 0) }
  }

  /// Every byte of the header and the table, changed in turn, must be accepted or refused, never trap.
  @Test func noByteCanBreakTheParser() {
    let original = ProgramFile().bytes
    for index in original.indices {
      for value in [0, 1, 0x7f, 0x80, 0xff] as [UInt8] {
        var bytes = original
        bytes[index] = value
        do throws(ELFError) {
          let header = try ELFHeader(parsing: bytes.span, fileSize: 0x4000)
          let table = [UInt8](bytes[ELFHeader.byteCount...])
          let program = try ELFProgram(header, table: table.span, fileSize: 0x4000)
          #expect(program.end <= ELFProgram.addressLimit)
        } catch {
          continue
        }
      }
    }
  }
}
