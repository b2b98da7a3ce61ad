// SPDX-License-Identifier: Apache-2.0
// ProgramNote.swift: wishes that a program carries in itself: an ELF note of the owner "Apus".
//
// The note (System V gABI, chapter 5, "Note Section") has type 1; its descriptor is UTF-8 text, ended by zeros or not:
// the keys memory, slices, processes, contract and restart as they stand in a manifest, which overrides each.

import Glibc

enum ProgramNote {
  private static let segmentType: UInt32 = 4
  private static let owner: [UInt8] = Array("Apus".utf8) + [0]
  private static let wishesType: UInt32 = 1
  private static let sizeLimit: UInt64 = 64 << 10

  /// The wishes of a program.
  ///
  /// - Parameter path: Of a file that has been found runnable; one without a note, a script for example, has no wishes.
  /// - Returns: The wishes.
  /// - Throws: What is wrong with the text in the note.
  static func wishes(of path: Path) throws(Failure) -> ProgramWishes {
    guard let text = text(of: path) else { return ProgramWishes() }
    guard let node = try ManifestNode(text, file: "the Apus note of \(shown(path))") else { return ProgramWishes() }
    return try ProgramWishes(try node.mapping(ProgramWishes.keys))
  }

  private static func text(of path: Path) -> String? {
    guard let opened = try? HostFile.open(path) else { return nil }
    defer { close(opened) }
    var status = stat()
    guard fstat(opened, &status) == 0,
      let file = try? ElfFile(descriptor: opened, size: UInt64(max(0, status.st_size)))
    else { return nil }
    for segment in file.segments where segment.type == segmentType && segment.fileSize <= sizeLimit {
      guard let bytes = Descriptor.read(opened, at: segment.offset, limit: Int(segment.fileSize)) else { continue }
      if let found = descriptor(in: bytes) { return shown(found.prefix { $0 != 0 }) }
    }
    return nil
  }

  /// The descriptor of the note among others.
  static func descriptor(in notes: [UInt8]) -> [UInt8]? {
    var at = 0
    func aligned(_ size: UInt32) -> Int { (Int(size) + 3) & ~3 }
    while at + 12 <= notes.count {
      let (nameSize, size, type) = (notes.load32(at), notes.load32(at + 4), notes.load32(at + 8))
      let name = at + 12
      let start = name + aligned(nameSize)
      guard start + Int(size) <= notes.count else { return nil }
      if type == wishesType, nameSize == owner.count, Array(notes[name..<name + owner.count]) == owner {
        return Array(notes[start..<start + Int(size)])
      }
      at = start + aligned(size)
    }
    return nil
  }
}
