// SPDX-License-Identifier: Apache-2.0
// ProgramLoader.swift: the regions of a new program. Its pages come when they are touched.

import ApusELF
import ApusRuntime
import ApusUnix

/// Puts a checked program into an empty address space.
struct ProgramLoader {
  let memory: AddressSpace
  let executable: Executable
  let bias: UInt64

  /// Where position-independent programs go (Linux's ELF_ET_DYN_BASE, fitted to our upper limit).
  private static var dynamicBase: UInt64 { 0x5555_5555_4000 }

  /// What is to be added to a program's addresses.
  static func bias(of program: ELFProgram) -> UInt64 {
    guard program.header.kind == .positionIndependent else { return 0 }
    let aligned = (dynamicBase + program.alignment - 1) & ~(program.alignment - 1)
    return aligned &- program.start
  }

  /// Adds the regions of all segments, and the break behind them.
  ///
  /// - Throws: `ENOMEM`.
  func load() throws(OutOfMemory) {
    let source = FileSource(executable.file, name: executable.path)
    var end: UInt64 = 0
    for segment in executable.program.segments {
      try add(segment, source)
      end = segment.address &+ bias + segment.memorySize
    }
    memory.breakStart = (end + 4095) & ~AddressSpace.pageMask
    memory.breakEnd = memory.breakStart
  }

  private func add(_ segment: ProgramHeader, _ source: FileSource) throws(OutOfMemory) {
    var bits: UInt8 = 0
    if segment.isReadable { bits |= 1 }
    if segment.isWritable { bits |= 2 }
    if segment.isExecutable { bits |= 4 }
    let protection = Protection(rawValue: bits)
    let address = segment.address &+ bias
    let start = address & ~AddressSpace.pageMask
    let end = (address + segment.memorySize + 4095) & ~AddressSpace.pageMask
    let fileEnd = address + segment.fileSize
    // Whole pages of the file are mapped; a last page that the file fills in part is copied, its rest zero.
    var mappedEnd = (fileEnd + 4095) & ~AddressSpace.pageMask
    if segment.fileSize == 0 { mappedEnd = start }
    let offset = segment.offset & ~AddressSpace.pageMask
    if mappedEnd > start {
      memory.insert(
        Region(
          start: start, end: mappedEnd, protection: protection, isShared: false,
          growsDown: false, source: source, offset: offset))
      if segment.memorySize > segment.fileSize, fileEnd & AddressSpace.pageMask != 0 {
        try copyTail(source, mappedEnd - 4096, fileEnd, offset + (mappedEnd - 4096 - start), protection)
      }
    }
    if end > mappedEnd {
      memory.insert(
        Region(
          start: mappedEnd, end: end, protection: protection, isShared: false,
          growsDown: false, source: nil, offset: 0))
    }
  }

  private func copyTail(
    _ source: FileSource, _ page: UInt64, _ fileEnd: UInt64, _ offset: UInt64,
    _ protection: Protection
  ) throws(OutOfMemory) {
    guard let copy = AddressSpace.takePage(zeroed: false) else { throw OutOfMemory() }
    do throws(Errno) {
      let original = try source.page(at: Int(offset >> 12))
      copy.bytes.copy(original.bytes)
      original.release()
    } catch {
      copy.release()
      throw OutOfMemory()
    }
    copy.bytes.from(Int(fileEnd & AddressSpace.pageMask)).fill(0)
    var bits = PageTable.present | AddressSpace.owned
    if protection.contains(.write) { bits |= PageTable.writable }
    if !protection.contains(.execute) { bits |= PageTable.noExecute }
    try memory.write(page, UInt64(copy.frame) << 12 | bits, owning: copy)
  }

  /// Adds the stack region and maps the pages that have been filled.
  func mapStack(_ stack: StartStack, top: UInt64) throws(OutOfMemory) {
    var protection = Protection.readWrite
    if executable.program.hasExecutableStack { protection = Protection(rawValue: 7) }
    let region = Region(
      start: stack.bottom, end: top, protection: protection, isShared: false, growsDown: true,
      source: nil, offset: 0)
    memory.insert(region)
    let entries = PageTable.scratch
    let bits = region.entryBits | AddressSpace.owned
    var index = stack.pages.count
    while index > 0 {
      let count = min(index, 512)
      for slot in 0..<count {
        let page = stack.pages[index - 1 - slot]
        entries.store(UInt64(page.frame) << 12 | bits, at: slot * 8)
      }
      let address = top - UInt64(index) << 12
      do throws(OutOfMemory) {
        try memory.write(address, entries, count)
      } catch {
        // These have been released; the others are not mapped.
        for rest in 0..<(index - count) { stack.pages[rest].release() }
        throw error
      }
      index -= count
    }
  }
}
