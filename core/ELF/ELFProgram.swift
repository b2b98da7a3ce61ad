// SPDX-License-Identifier: Apache-2.0
// ELFProgram.swift: the checked plan for loading a static program.

/// What to load where: everything in it has been checked, so that loading can only fail for want of memory.
public struct ELFProgram: Sendable {
  /// The address after the last that a program may use.
  public static let addressLimit: UInt64 = 0x7000_0000_0000
  private static let pageSize: UInt64 = 4096

  /// The file's header.
  public let header: ELFHeader
  /// The loadable segments, by rising address, without overlaps.
  public let segments: [ProgramHeader]
  /// Where the program headers will lie in memory (to be added to the base); 0: nowhere.
  public let programHeaderAddress: UInt64
  /// The first page's address (before the base is added).
  public let start: UInt64
  /// The address after the last byte (before the base is added).
  public let end: UInt64
  /// The greatest alignment that a segment asks for; at least a page.
  public let alignment: UInt64
  /// Whether the program asks for an executable stack.
  public let hasExecutableStack: Bool

  /// Checks the program headers of a file.
  ///
  /// - Parameters:
  ///   - header: The file's header.
  ///   - table: The bytes of its program header table.
  ///   - fileSize: The size of the whole file.
  /// - Throws: What is wrong with the program.
  public init(
    _ header: ELFHeader, table: Span<UInt8>, fileSize: UInt64
  ) throws(ELFError) {
    guard table.count >= header.programHeaderByteCount else { throw .truncated }
    self.header = header
    var segments: [ProgramHeader] = []
    var tableAddress: UInt64 = 0
    var wantsExecutableStack = false
    var alignment = Self.pageSize
    for index in 0..<header.programHeaderCount {
      let entry = ProgramHeader(table, at: index * ProgramHeader.byteCount)
      switch entry.kind {
      case .interpreter: throw .dynamic
      case .stack: wantsExecutableStack = entry.isExecutable
      case .programHeaders: tableAddress = entry.address
      case .load:
        if entry.memorySize == 0 { continue }
        try Self.check(entry, after: segments.last, fileSize: fileSize)
        alignment = max(alignment, entry.alignment)
        segments.append(entry)
      case .dynamic, .threadLocalStorage, .other: break
      }
    }
    guard let first = segments.first, let last = segments.last else { throw .noSegments }
    start = first.address & ~(Self.pageSize - 1)
    end = last.address + last.memorySize
    var entryIsInside = false
    for segment in segments {
      if header.entry >= segment.address, header.entry - segment.address < segment.memorySize {
        entryIsInside = true
      }
      // Without PT_PHDR the table is found in the segment that holds it.
      if tableAddress == 0, header.programHeaderOffset >= segment.offset,
        header.programHeaderOffset - segment.offset < segment.fileSize
      {
        tableAddress = segment.address + (header.programHeaderOffset - segment.offset)
      }
    }
    guard entryIsInside else { throw .badEntry }
    self.segments = segments
    self.alignment = alignment
    programHeaderAddress = tableAddress
    hasExecutableStack = wantsExecutableStack
  }

  private static func check(
    _ segment: ProgramHeader, after previous: ProgramHeader?, fileSize: UInt64
  ) throws(ELFError) {
    guard segment.fileSize <= segment.memorySize, segment.memorySize <= addressLimit,
      segment.address <= addressLimit - segment.memorySize,
      segment.address % pageSize == segment.offset % pageSize,
      segment.alignment & (segment.alignment &- 1) == 0, segment.alignment <= 1 << 30
    else { throw .badSegment }
    guard segment.offset <= fileSize, segment.fileSize <= fileSize - segment.offset
    else { throw .truncated }
    if let previous {
      // Page by page: two segments in one page could not have protections of their own.
      let lastPage = (previous.address + previous.memorySize - 1) / pageSize
      guard segment.address / pageSize > lastPage else { throw .badSegment }
    }
  }
}
