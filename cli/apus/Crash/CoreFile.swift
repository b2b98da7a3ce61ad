// SPDX-License-Identifier: Apache-2.0
// CoreFile.swift: an ELF core file as Linux writes one, which debuggers open (System V gABI, chapters 4 and 5; the notes
// as in Linux's linux/elfcore.h and asm/user_64.h).

import Glibc

/// Registers in the order of Linux's `struct user_regs_struct`.
struct CoreRegisters: Equatable {
  /// Those that are set one by one; the others stand between them: r15 to r12 first, ds, es, fs and gs last.
  enum Name: Int {
    case framePointer = 4
    case rax = 10
    case rcx = 11
    case instruction = 16
    case codeSelector = 17
    case flags = 18
    case stack = 19
    case stackSelector = 20
    case fsBase = 21
    case gsBase = 22
  }

  var words = [UInt64](repeating: 0, count: 27)

  subscript(name: Name) -> UInt64 {
    get { words[name.rawValue] }
    set { words[name.rawValue] = newValue }
  }
}

/// A core file.
struct CoreFile {
  var registers = CoreRegisters()
  /// The signal that Linux would have sent.
  var signal: Int32 = 0
  /// What debuggers call the thread.
  var thread: UInt32 = 1
  /// The program's name.
  var program = ""
  /// Where the program's entry lies in memory: a debugger finds the place of a position-independent program by that.
  var entry: UInt64 = 0

  private static let pageSize: UInt64 = 4096
  /// As many segments as a file header can count.
  private static let segmentLimit = 0xfffe

  // MARK: The notes

  /// The notes, one behind the other.
  var notes: [UInt8] {
    var status = [UInt8](repeating: 0, count: 336)
    status.store(UInt32(bitPattern: signal), at: 0)
    status.store(UInt16(truncatingIfNeeded: signal), at: 12)
    status.store(thread, at: 32)
    for (index, word) in registers.words.enumerated() { status.store(word, at: 112 + index * 8) }
    var process = [UInt8](repeating: 0, count: 136)
    process[1] = UInt8(ascii: "R")
    process.store(thread, at: 24)
    let name = Array(program.utf8)
    let short = name.split(separator: 0x2f).last.map(Array.init) ?? []
    for (index, byte) in short.prefix(15).enumerated() { process[40 + index] = byte }
    for (index, byte) in name.prefix(79).enumerated() { process[56 + index] = byte }
    var result = Self.note(1, status) + Self.note(3, process)
    if entry != 0 {
      var vector = [UInt8](repeating: 0, count: 48)
      for (index, word) in [6, Self.pageSize, 9, entry].enumerated() { vector.store(word, at: index * 8) }
      result += Self.note(6, vector)
    }
    return result
  }

  private static func note(_ type: UInt32, _ descriptor: [UInt8]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 12)
    bytes.store(UInt32(5), at: 0)
    bytes.store(UInt32(descriptor.count), at: 4)
    bytes.store(type, at: 8)
    bytes += Array("CORE".utf8) + [0, 0, 0, 0]
    bytes += descriptor
    return bytes + [UInt8](repeating: 0, count: (4 - descriptor.count % 4) % 4)
  }

  // MARK: The file

  /// Writes the file, readable by its owner alone.
  ///
  /// - Parameters:
  ///   - path: Where; what was there is replaced.
  ///   - stretches: The memory.
  ///   - memory: Where its pages lie.
  /// - Throws: A sentence if it cannot be written.
  func write(to path: String, _ stretches: [GuestSpace.Stretch], in memory: MachineMemory) throws(Failure) {
    func refuse(_ number: Int32) -> Failure {
      Failure(sentence: "the core \(path) cannot be written: \(describe(errno: number))", status: Status.machine)
    }
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw refuse(errno) }
    defer { close(descriptor) }
    let stretches = stretches.prefix(Self.segmentLimit)
    let notes = notes
    let start = 64 + UInt64(stretches.count + 1) * 56
    var place = (start + UInt64(notes.count) + Self.pageSize - 1) & ~(Self.pageSize - 1)
    var head = Self.header(segments: stretches.count + 1)
    head += Self.segment(type: 4, flags: 4, offset: start, address: 0, size: UInt64(notes.count), alignment: 4)
    for stretch in stretches {
      let flags: UInt32 = 4 | (stretch.isWritable ? 2 : 0) | (stretch.isExecutable ? 1 : 0)
      head += Self.segment(
        type: 1, flags: flags, offset: place, address: stretch.address, size: stretch.byteCount,
        alignment: Self.pageSize)
      place += stretch.byteCount
    }
    // What is never written reads as zeros.
    guard ftruncate(descriptor, off_t(place)) == 0,
      (head + notes).withUnsafeBytes({ Descriptor.write(descriptor, $0, at: 0) })
    else { throw refuse(errno) }
    place = (start + UInt64(notes.count) + Self.pageSize - 1) & ~(Self.pageSize - 1)
    for stretch in stretches {
      for page in stretch.pages {
        if let bytes = memory.page(page), bytes.contains(where: { $0 != 0 }) {
          guard Descriptor.write(descriptor, bytes, at: place) else { throw refuse(errno) }
        }
        place += Self.pageSize
      }
    }
  }

  private static func header(segments: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 64)
    bytes.replaceSubrange(0..<7, with: ElfFile.magic + [2, 1, 1])
    bytes.store(UInt16(4), at: 16)  // a core file
    bytes.store(UInt16(62), at: 18)  // of an x86-64 machine
    bytes.store(UInt32(1), at: 20)
    bytes.store(UInt64(64), at: 32)
    bytes.store(UInt16(64), at: 52)
    bytes.store(UInt16(56), at: 54)
    bytes.store(UInt16(segments), at: 56)
    return bytes
  }

  private static func segment(
    type: UInt32, flags: UInt32, offset: UInt64, address: UInt64, size: UInt64, alignment: UInt64
  ) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 56)
    bytes.store(type, at: 0)
    bytes.store(flags, at: 4)
    bytes.store(offset, at: 8)
    bytes.store(address, at: 16)
    bytes.store(size, at: 32)
    bytes.store(type == 1 ? size : 0, at: 40)
    bytes.store(alignment, at: 48)
    return bytes
  }
}

extension [UInt8] {
  /// Stores a number, its lowest byte first.
  fileprivate mutating func store(_ value: some FixedWidthInteger, at offset: Int) {
    Swift.withUnsafeBytes(of: value.littleEndian) { replaceSubrange(offset..<offset + $0.count, with: $0) }
  }
}
