// SPDX-License-Identifier: Apache-2.0
// RamFileSystem+Image.swift: files from the boot image, whose data stay where they lie (ApusABI.h).

import ApusRuntime
import CApusABI

extension RamFileSystem {
  /// Enters every file, directory and link of the boot image.
  ///
  /// - Parameter image: The whole image. The host command packed it and the kernel handed it over, but a
  ///   damaged one must not bring the family down: what does not hold together is refused.
  /// - Throws: `EINVAL` for a damaged table.
  public func fill(from image: Bytes) throws(Errno) {
    let header = ImageHeader(image)
    guard let header else { throw .EINVAL }
    var made: [Inode] = []
    made.reserveCapacity(header.entryCount)
    for index in 0..<header.entryCount {
      let entry = ImageEntry(image.part(header.entryTable + index * ImageEntry.byteCount, ImageEntry.byteCount))
      guard let path = header.text(image, entry.pathOffset, entry.pathSize) else { throw .EINVAL }
      let node = try self.node(entry, header, image, made, path)
      made.append(node)
    }
  }

  private func node(
    _ entry: ImageEntry, _ header: ImageHeader, _ image: Bytes, _ made: [Inode], _ path: [UInt8]
  ) throws(Errno) -> Inode {
    let owner = Credentials(user: entry.user, group: entry.group)
    let permissions = entry.mode.permissions
    if entry.linksTo != 0 {
      guard entry.linksTo <= made.count else { throw .EINVAL }
      try place(made[entry.linksTo - 1], at: path)
      return made[entry.linksTo - 1]
    }
    let node: Inode
    switch entry.mode.kind {
    case .directory:
      let directory = try makeDirectories(path)
      directory.mode.permissions = permissions
      directory.user = entry.user
      directory.group = entry.group
      node = directory
    case .symbolicLink:
      guard let target = header.text(image, entry.targetOffset, entry.targetSize) else { throw .EINVAL }
      node = SymbolicLinkNode(fileSystem, target: target, owner: owner)
      try place(node, at: path)
    case .regular:
      guard entry.dataOffset & 4095 == 0, entry.dataSize <= UInt64(image.count),
        entry.dataOffset <= UInt64(image.count) - entry.dataSize
      else { throw .EINVAL }
      node = RegularNode(
        fileSystem, permissions: permissions, owner: owner, imageOffset: entry.dataOffset,
        size: Int64(entry.dataSize))
      try place(node, at: path)
    case .fifo:
      node = PipeNode(fileSystem, permissions: permissions, owner: owner)
      try place(node, at: path)
    case .characterDevice, .blockDevice, .socket: throw .EINVAL
    }
    let (time, overflow) = entry.modificationSeconds.multipliedReportingOverflow(by: 1_000_000_000)
    if !overflow {
      node.modificationTime = time
      node.accessTime = time
      node.changeTime = time
    }
    return node
  }
}

/// `struct apus_image`, as far as files are concerned.
struct ImageHeader {
  let entryTable: Int
  let entryCount: Int
  let strings: Int
  let stringsSize: Int

  /// Reads the header; nil if it does not fit the image.
  init?(_ image: Bytes) {
    guard image.count >= MemoryLayout<apus_image>.size else { return nil }
    func field(_ offset: Int?) -> Int? {
      guard let offset else { return nil }
      return Int(exactly: image.load(offset, as: UInt64.self))
    }
    guard image.load(0, as: UInt64.self) == UInt64(APUS_IMAGE_MAGIC),
      let table = field(Self.tail), let count = field(Self.tail + 8),
      let strings = field(Self.tail + 16), let stringsSize = field(Self.tail + 24),
      count <= image.count / ImageEntry.byteCount, table <= image.count - count * ImageEntry.byteCount,
      stringsSize <= image.count, strings <= image.count - stringsSize
    else { return nil }
    entryTable = table
    entryCount = count
    self.strings = strings
    self.stringsSize = stringsSize
  }

  /// Where `entry_table_offset` stands: behind four words and the segments.
  private static var tail: Int { 32 + Int(APUS_IMAGE_SEGMENTS) * MemoryLayout<apus_image_segment>.size }

  /// A name or link target.
  func text(_ image: Bytes, _ offset: UInt64, _ size: UInt64) -> [UInt8]? {
    guard size <= UInt64(stringsSize), offset <= UInt64(stringsSize) - size else { return nil }
    return image.part(strings + Int(offset), Int(size)).array
  }
}

/// `struct apus_image_entry`.
struct ImageEntry {
  static var byteCount: Int { MemoryLayout<apus_image_entry>.size }
  let pathOffset, pathSize, targetOffset, targetSize, dataOffset, dataSize: UInt64
  let mode: FileMode
  let user, group: UInt32
  /// 0, or one more than the index of the entry that this is a hard link to.
  let linksTo: Int
  let modificationSeconds: Int64

  init(_ bytes: Bytes) {
    pathOffset = bytes.load(0, as: UInt64.self)
    pathSize = bytes.load(8, as: UInt64.self)
    targetOffset = bytes.load(16, as: UInt64.self)
    targetSize = bytes.load(24, as: UInt64.self)
    dataOffset = bytes.load(32, as: UInt64.self)
    dataSize = bytes.load(40, as: UInt64.self)
    mode = FileMode(rawValue: bytes.load(48, as: UInt32.self))
    user = bytes.load(52, as: UInt32.self)
    group = bytes.load(56, as: UInt32.self)
    linksTo = Int(bytes.load(60, as: UInt32.self))
    modificationSeconds = bytes.load(64, as: Int64.self)
  }
}
