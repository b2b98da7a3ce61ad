// SPDX-License-Identifier: Apache-2.0
// ImageLayout.swift: where everything lies in a boot image, worked out before a byte of file data is read.

/// The plan of a boot image: its leading bytes, and the offsets at which the packer writes the rest.
///
/// File contents never pass through here, so that a large tree is packed by copying from file to file.
public struct ImageLayout: Sendable {
  /// Header, entry table, strings and start command: the image's first bytes.
  public let head: [UInt8]
  /// Where each segment's bytes go.
  public let segmentOffsets: [UInt64]
  /// Where each entry's data goes; 0 for an entry without data of its own.
  public let dataOffsets: [UInt64]
  /// Size of the whole image, a multiple of the page size.
  public let size: UInt64

  /// Plans an image.
  ///
  /// - Parameters:
  ///   - segments: The LibOS, at most eight.
  ///   - start: The LibOS's entry point.
  ///   - entries: The file tree, parents before children.
  ///   - command: The start command.
  /// - Throws: What is wrong with the parts; nothing has been written.
  public init(
    segments: [ImageSegment], start: UInt64, entries: [ImageEntry], command: StartCommand
  ) throws(ImageError) {
    guard segments.count <= ImageShape.segmentLimit else { throw .tooManySegments }
    try Self.checkTree(entries)
    let commandBytes = try command.encoded()

    var strings: [UInt8] = []
    let tableOffset = UInt64(ImageShape.headerSize)
    let stringsOffset = tableOffset + UInt64(entries.count * ImageShape.entrySize)
    var stringsSize = 0
    for entry in entries {
      stringsSize += entry.path.count
      if case .symbolicLink(let target) = entry.content { stringsSize += target.count }
    }
    let commandOffset = stringsOffset + UInt64(stringsSize)
    var end = ImageShape.pageAligned(commandOffset + UInt64(commandBytes.count))

    var segmentOffsets: [UInt64] = []
    for segment in segments {
      guard segment.address % ImageShape.pageSize == 0, segment.fileSize <= segment.memorySize
      else { throw .badSegment }
      segmentOffsets.append(end)
      end = ImageShape.pageAligned(end + segment.fileSize)
    }
    var dataOffsets: [UInt64] = []
    for entry in entries {
      guard case .file(let size) = entry.content, size > 0 else {
        dataOffsets.append(0)
        continue
      }
      dataOffsets.append(end)
      end = ImageShape.pageAligned(end + size)
    }

    var head: [UInt8] = []
    head.reserveCapacity(Int(commandOffset) + commandBytes.count)
    head.append64(ImageShape.magic)
    head.append64(end)
    head.append64(start)
    head.append64(UInt64(segments.count))
    for index in 0..<ImageShape.segmentLimit {
      guard index < segments.count else {
        for _ in 0..<5 { head.append64(0) }
        continue
      }
      head.append64(segments[index].address)
      head.append64(segmentOffsets[index])
      head.append64(segments[index].fileSize)
      head.append64(segments[index].memorySize)
      head.append64(segments[index].flags)
    }
    head.append64(tableOffset)
    head.append64(UInt64(entries.count))
    head.append64(stringsOffset)
    head.append64(UInt64(stringsSize))
    head.append64(commandOffset)
    head.append64(UInt64(commandBytes.count))

    for index in 0..<entries.count {
      let entry = entries[index]
      var target: [UInt8] = []
      var size: UInt64 = 0
      var linksTo: UInt32 = 0
      switch entry.content {
      case .directory: break
      case .file(let bytes): size = bytes
      case .symbolicLink(let text): target = text
      case .hardLink(let other): linksTo = UInt32(other + 1)
      }
      head.append64(UInt64(strings.count))
      head.append64(UInt64(entry.path.count))
      strings += entry.path
      head.append64(UInt64(strings.count))
      head.append64(UInt64(target.count))
      strings += target
      head.append64(dataOffsets[index])
      head.append64(size)
      head.append32(entry.mode)
      head.append32(entry.user)
      head.append32(entry.group)
      head.append32(linksTo)
      head.append64(UInt64(bitPattern: entry.modified))
    }
    head += strings
    head += commandBytes
    self.head = head
    self.segmentOffsets = segmentOffsets
    self.dataOffsets = dataOffsets
    self.size = end
  }

  /// Checks that each path is well formed, that its directory stands before it, and that hard links lead to files.
  private static func checkTree(_ entries: [ImageEntry]) throws(ImageError) {
    var directories: Set<[UInt8]> = [[]]
    var seen: Set<[UInt8]> = []
    let slash: UInt8 = 0x2f
    for index in 0..<entries.count {
      let entry = entries[index]
      let path = entry.path
      guard path.first == slash, !path.contains(0) else { throw .badPath }
      if path.count == 1 {
        guard case .directory = entry.content, seen.insert(path).inserted else { throw .badOrder }
        continue
      }
      guard path.last != slash, let split = path.lastIndex(of: slash) else { throw .badPath }
      guard directories.contains([UInt8](path[..<split])), seen.insert(path).inserted else {
        throw .badOrder
      }
      switch entry.content {
      case .directory: directories.insert(path)
      case .hardLink(let other):
        guard other >= 0, other < index, case .file = entries[other].content else {
          throw .badHardLink
        }
      case .symbolicLink(let target):
        guard !target.isEmpty, !target.contains(0) else { throw .badPath }
      case .file: break
      }
    }
  }
}

extension [UInt8] {
  mutating func append64(_ value: UInt64) {
    for shift in 0..<8 { append(UInt8(truncatingIfNeeded: value >> UInt64(shift * 8))) }
  }

  mutating func append32(_ value: UInt32) {
    for shift in 0..<4 { append(UInt8(truncatingIfNeeded: value >> UInt32(shift * 8))) }
  }
}
