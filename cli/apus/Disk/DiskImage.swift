// SPDX-License-Identifier: Apache-2.0
// DiskImage.swift: an image of a disk in a file, read block by block and never written.

import Glibc

/// A file that holds a disk.
final class DiskImage {
  let path: String
  let byteCount: Int
  private let descriptor: Int32

  init(_ path: String) throws(Failure) {
    self.path = path
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw Failure(sentence: "\(path): \(describe(errno: errno))", status: Status.notFound)
    }
    let end = lseek(descriptor, 0, SEEK_END)
    guard end > 0 else {
      close(descriptor)
      throw Failure(sentence: "\(path): an image of a disk is not empty", status: Status.notRunnable)
    }
    byteCount = Int(end)
  }

  deinit { close(descriptor) }

  /// Reads bytes; nil if the file cannot be read there or ends before.
  func bytes(_ offset: Int, _ count: Int) -> [UInt8]? {
    guard offset >= 0, count >= 0, offset <= byteCount - count else { return nil }
    var buffer = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let result = buffer.withUnsafeMutableBytes { memory in
        unsafe pread(descriptor, memory.baseAddress.map { $0 + done }, count - done, off_t(offset + done))
      }
      if result < 0, errno == EINTR { continue }
      guard result > 0 else { return nil }
      done += result
    }
    return buffer
  }
}

/// Little-endian numbers.
extension [UInt8] {
  func number(_ offset: Int, _ width: Int) -> Int {
    (0..<width).reversed().reduce(0) { $0 << 8 | Int(self[offset + $1]) }
  }
}

/// What a block is used for.
enum BlockUse: Hashable {
  case free
  /// Of the disk's own: a catalogue, a bitmap, a table.
  case structure
  /// Of the tree of a number.
  case metadata(Int)
  case data(Int)
}

/// What a disk holds.
struct DiskContents {
  /// What kind of disk it is.
  var title: String
  var blockByteCount: Int
  /// The trees' names.
  var trees: [String] = []
  /// The use of each block.
  var uses: [BlockUse] = []
  /// What is wrong, each in a sentence.
  var problems: [String] = []
  /// More about it, line by line.
  var details: [String] = []
  /// Each extent, line by line.
  var extents: [String] = []

  /// Finds out what an image is.
  static func of(_ image: DiskImage) throws(Failure) -> DiskContents {
    if let contents = XNImage.contents(image) { return contents }
    if let contents = try Ext2Image.contents(image) { return contents }
    throw Failure(
      sentence: "\(image.path): neither the catalogue of XN in block 0 nor the superblock of ext2 at byte 1024",
      status: Status.notRunnable)
  }

  /// Blocks of each use, and what they come to.
  var summary: [String] {
    var counts: [BlockUse: Int] = [:]
    for use in uses { counts[use, default: 0] += 1 }
    func size(_ count: Int) -> String { "\(count) blocks, \(count * blockByteCount / 1024) KiB" }
    var lines = ["own structures: " + size(counts[.structure] ?? 0)]
    for (number, name) in trees.enumerated() {
      let metadata = counts[.metadata(number)] ?? 0
      lines.append(
        "\(name): " + size(counts[.data(number)] ?? 0) + (metadata > 0 ? " of data, \(metadata) of metadata" : ""))
    }
    return lines + ["free: " + size(counts[.free] ?? 0)]
  }
}
