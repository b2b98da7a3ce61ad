// SPDX-License-Identifier: Apache-2.0
// ImageShapeTests.swift: the Swift numbers of the boot image equal those of the ABI's C structures.

import CApusABI
import Testing

@testable import ApusImage

@Suite struct ImageShapeTests {
  @Test func `sizes equal those of the C structures`() {
    #expect(ImageShape.headerSize == MemoryLayout<apus_image>.size)
    #expect(ImageShape.segmentSize == MemoryLayout<apus_image_segment>.size)
    #expect(ImageShape.entrySize == MemoryLayout<apus_image_entry>.size)
    #expect(ImageShape.segmentLimit == Int(APUS_IMAGE_SEGMENTS))
    #expect(ImageShape.magic == UInt64(APUS_IMAGE_MAGIC))
  }

  @Test func `header offsets equal those of the C structure`() {
    #expect(ImageShape.sizeOffset == MemoryLayout<apus_image>.offset(of: \.size))
    #expect(ImageShape.startOffset == MemoryLayout<apus_image>.offset(of: \.entry))
    #expect(ImageShape.segmentCountOffset == MemoryLayout<apus_image>.offset(of: \.segment_count))
    #expect(ImageShape.segmentsOffset == MemoryLayout<apus_image>.offset(of: \.segments))
    #expect(ImageShape.entryTableOffset == MemoryLayout<apus_image>.offset(of: \.entry_table_offset))
    #expect(ImageShape.entryCountOffset == MemoryLayout<apus_image>.offset(of: \.entry_count))
    #expect(ImageShape.stringsOffset == MemoryLayout<apus_image>.offset(of: \.strings_offset))
    #expect(ImageShape.stringsSizeOffset == MemoryLayout<apus_image>.offset(of: \.strings_size))
    #expect(ImageShape.commandOffset == MemoryLayout<apus_image>.offset(of: \.command_offset))
    #expect(ImageShape.commandSizeOffset == MemoryLayout<apus_image>.offset(of: \.command_size))
  }

  @Test func `what is written is what a C program reads`() throws {
    let file = ImageEntry(
      path: Array("/f".utf8), content: .file(size: 5), mode: FileMode.regular | 0o640, user: 7, group: 8,
      modified: -3)
    let layout = try ImageLayout(
      segments: [ImageSegment(address: 0x7000_0000_0000, fileSize: 10, memorySize: 20, flags: 1)],
      start: 0x7000_0000_0004, entries: [.directory("/"), file],
      command: StartCommand(settings: [], program: Array("/f".utf8), arguments: [], environment: []))
    let image = layout.head.withUnsafeBytes { $0.loadUnaligned(as: apus_image.self) }
    #expect(image.magic == UInt64(APUS_IMAGE_MAGIC))
    #expect(image.size == layout.size)
    #expect(image.entry == 0x7000_0000_0004)
    #expect(image.segment_count == 1)
    #expect(image.segments.0.address == 0x7000_0000_0000)
    #expect(image.segments.0.offset == layout.segmentOffsets[0])
    #expect(image.segments.0.file_size == 10)
    #expect(image.segments.0.memory_size == 20)
    #expect(image.segments.0.flags == 1)
    #expect(image.entry_count == 2)
    let at = Int(image.entry_table_offset) + MemoryLayout<apus_image_entry>.size
    let entry = layout.head.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at, as: apus_image_entry.self) }
    let path = layout.head[Int(image.strings_offset + entry.path_offset)...].prefix(Int(entry.path_size))
    #expect(Array(path) == Array("/f".utf8))
    #expect(entry.data_offset == layout.dataOffsets[1])
    #expect(entry.data_size == 5)
    #expect(entry.mode == 0o100640)
    #expect(entry.uid == 7)
    #expect(entry.gid == 8)
    #expect(entry.links_to == 0)
    #expect(entry.mtime == -3)
  }
}

extension ImageEntry {
  static func directory(_ path: String) -> ImageEntry {
    ImageEntry(path: Array(path.utf8), content: .directory, mode: FileMode.directory | 0o755)
  }

  static func file(_ path: String, size: UInt64) -> ImageEntry {
    ImageEntry(path: Array(path.utf8), content: .file(size: size), mode: FileMode.regular | 0o644)
  }

  static func link(_ path: String, to target: String) -> ImageEntry {
    ImageEntry(
      path: Array(path.utf8), content: .symbolicLink(target: Array(target.utf8)),
      mode: FileMode.symbolicLink | 0o777)
  }

  static func hardLink(_ path: String, to index: Int) -> ImageEntry {
    ImageEntry(path: Array(path.utf8), content: .hardLink(index: index), mode: FileMode.regular | 0o644)
  }
}
