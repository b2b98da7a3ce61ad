// SPDX-License-Identifier: Apache-2.0
// ElfFile.swift: an ELF file's header and segments, and why a file is none that Apus can run.

import Glibc

/// Why a file cannot be run, as the end of the sentence "FILE ...".
struct NotRunnable: Error, Equatable {
  let reason: String
}

/// A 64-bit x86 ELF file, as far as loading it needs (System V gABI, chapters 4 and 5).
struct ElfFile {
  struct Segment {
    let type: UInt32
    let flags: UInt32
    let offset: UInt64
    let address: UInt64
    let fileSize: UInt64
    let memorySize: UInt64

    var isExecutable: Bool { flags & 1 != 0 }
    var isWritable: Bool { flags & 2 != 0 }
  }

  let entry: UInt64
  let isPositionIndependent: Bool
  /// The dynamic linker that the program asks for.
  let interpreter: String?
  /// All program headers, in file order.
  let segments: [Segment]

  /// Those that are loaded.
  var loaded: [Segment] { segments.filter { $0.type == 1 } }

  static let magic: [UInt8] = [0x7f, 0x45, 0x4c, 0x46]

  /// Reads and checks the headers of an open file.
  init(descriptor: Int32, size: UInt64) throws(NotRunnable) {
    guard let header = Descriptor.read(descriptor, at: 0, limit: 64) else {
      throw NotRunnable(reason: "cannot be read: \(describe(errno: errno))")
    }
    guard header.count >= 20, header.starts(with: Self.magic) else {
      throw NotRunnable(
        reason: header.starts(with: Self.magic) || Self.magic.starts(with: header)
          ? "is truncated: it ends inside its ELF header" : "is no ELF program")
    }
    let littleEndian = header[5] == 1
    let machine =
      littleEndian
      ? UInt16(header[18]) | UInt16(header[19]) << 8 : UInt16(header[19]) | UInt16(header[18]) << 8
    guard machine == 62 else {
      throw NotRunnable(
        reason: "is a program for \(Self.machineName(machine)); Apus runs x86-64 programs")
    }
    guard header[4] == 2 else {
      throw NotRunnable(reason: "is a 32-bit program; Apus runs 64-bit x86-64 programs")
    }
    guard littleEndian else { throw NotRunnable(reason: "is malformed: it is marked big-endian") }
    guard header.count == 64 else {
      throw NotRunnable(reason: "is truncated: it ends inside its ELF header")
    }
    switch header.load16(16) {
    case 1: throw NotRunnable(reason: "is an object file that has not been linked")
    case 2: isPositionIndependent = false
    case 3: isPositionIndependent = true
    case 4: throw NotRunnable(reason: "is a core dump, not a program")
    default: throw NotRunnable(reason: "is malformed: its ELF type is unknown")
    }
    entry = header.load64(24)
    let tableOffset = header.load64(32)
    let count = Int(header.load16(56))
    guard header.load16(54) == 56, count > 0 else {
      throw NotRunnable(reason: "is malformed: it has no program headers")
    }
    let tableSize = UInt64(count * 56)
    guard tableOffset <= size, tableSize <= size - tableOffset,
      let table = Descriptor.read(descriptor, at: tableOffset, limit: Int(tableSize)),
      table.count == Int(tableSize)
    else {
      throw NotRunnable(reason: "is truncated: its program headers lie past its end")
    }
    var segments: [Segment] = []
    for index in 0..<count {
      let at = index * 56
      segments.append(
        Segment(
          type: table.load32(at), flags: table.load32(at + 4), offset: table.load64(at + 8),
          address: table.load64(at + 16), fileSize: table.load64(at + 32),
          memorySize: table.load64(at + 40)))
    }
    self.segments = segments
    var interpreter: String?
    var needed: UInt64 = 0
    for segment in segments where segment.type == 1 || segment.type == 3 {
      let (end, overflow) = segment.offset.addingReportingOverflow(segment.fileSize)
      guard !overflow else { throw NotRunnable(reason: "is malformed: a segment has no end") }
      needed = max(needed, end)
      if segment.type == 1, segment.fileSize > segment.memorySize {
        throw NotRunnable(reason: "is malformed: a segment is larger in the file than in memory")
      }
    }
    guard needed <= size else {
      throw NotRunnable(reason: "is truncated: it has \(size) bytes where its segments need \(needed)")
    }
    for segment in segments where segment.type == 3 {
      let length = Int(min(segment.fileSize, 4096))
      let bytes = Descriptor.read(descriptor, at: segment.offset, limit: length) ?? []
      interpreter = shown(bytes.prefix { $0 != 0 })
    }
    self.interpreter = interpreter
    guard segments.contains(where: { $0.type == 1 }) else {
      throw NotRunnable(reason: "is malformed: it has nothing to load")
    }
  }

  /// Refuses what is 64-bit x86 ELF but no static program.
  func checkStatic() throws(NotRunnable) {
    if let interpreter {
      throw NotRunnable(
        reason: "is dynamically linked (it needs \(interpreter)), which Apus does not support yet; "
          + "use a static build of it (linked with -static)")
    }
    guard entry != 0 else {
      throw NotRunnable(reason: "is a shared library, not a program: it has no entry point")
    }
    let isCode = loaded.contains {
      $0.isExecutable && entry >= $0.address && entry - $0.address < $0.memorySize
    }
    guard isCode else {
      throw NotRunnable(reason: "is malformed: its entry point lies outside of its code")
    }
  }

  private static func machineName(_ machine: UInt16) -> String {
    switch machine {
    case 3: "32-bit x86"
    case 8: "MIPS"
    case 20, 21: "PowerPC"
    case 22: "s390"
    case 40: "32-bit ARM"
    case 183: "AArch64"
    case 243: "RISC-V"
    case 247: "BPF"
    case 258: "LoongArch"
    default: "another processor (ELF machine \(machine))"
    }
  }
}

extension [UInt8] {
  func load16(_ offset: Int) -> UInt16 { UInt16(self[offset]) | UInt16(self[offset + 1]) << 8 }

  func load32(_ offset: Int) -> UInt32 {
    UInt32(load16(offset)) | UInt32(load16(offset + 2)) << 16
  }

  func load64(_ offset: Int) -> UInt64 {
    UInt64(load32(offset)) | UInt64(load32(offset + 4)) << 32
  }
}
