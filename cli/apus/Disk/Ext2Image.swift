// SPDX-License-Identifier: Apache-2.0
// Ext2Image.swift: what the superblock and the bitmaps of an ext2 image say, without judging: e2fsck does that.

enum Ext2Image {
  /// A summary of an image; nil if it has no superblock of ext2.
  ///
  /// - Throws: If the superblock contradicts itself.
  static func contents(_ image: DiskImage) throws(Failure) -> DiskContents? {
    guard let superblock = image.bytes(1024, 1024), superblock.number(56, 2) == 0xef53 else { return nil }
    func fail(_ what: String) -> Failure {
      Failure(sentence: "\(image.path): the superblock's \(what) cannot be", status: Status.notRunnable)
    }
    let logarithm = superblock.number(24, 4)
    guard logarithm <= 2 else { throw fail("size of a block") }
    let size = 1024 << logarithm
    let blockCount = superblock.number(4, 4)
    let first = superblock.number(20, 4)
    let perGroup = superblock.number(32, 4)
    let inodesPerGroup = superblock.number(40, 4)
    let inodeSize = superblock.number(76, 4) == 0 ? 128 : superblock.number(88, 2)
    guard blockCount > first, first == (logarithm == 0 ? 1 : 0) else { throw fail("count of blocks") }
    guard blockCount * size <= image.byteCount else {
      throw Failure(
        sentence: "\(image.path): has \(image.byteCount / size) blocks, the file system \(blockCount)",
        status: Status.notRunnable)
    }
    guard perGroup >= 64, perGroup <= 8 * size else { throw fail("count of blocks in a group") }
    guard inodeSize >= 128, inodeSize <= size, inodesPerGroup > 0, inodesPerGroup <= 8 * size else {
      throw fail("count or size of inodes")
    }
    var contents = DiskContents(title: "ext2, \(blockCount) blocks of \(size) bytes", blockByteCount: size)
    contents.trees = ["files"]
    contents.details = details(superblock)
    contents.uses = Array(repeating: .data(0), count: blockCount)
    for block in 0...first { contents.uses[block] = .structure }
    let tableBlocks = (inodesPerGroup * inodeSize + size - 1) / size
    let groupCount = (blockCount - first + perGroup - 1) / perGroup
    for group in 0..<groupCount {
      let start = first + group * perGroup
      let count = min(perGroup, blockCount - start)
      let place = (first + 1) * size + 32 * group
      guard let descriptor = image.bytes(place, 32) else { break }
      let maps = (descriptor.number(0, 4), descriptor.number(4, 4), descriptor.number(8, 4))
      guard let bitmap = image.bytes(maps.0 * size, size) else {
        contents.problems.append("block \(place / size): the bitmap of group \(group) is beyond the end")
        continue
      }
      for index in 0..<count where bitmap[index >> 3] >> UInt8(index & 7) & 1 == 0 {
        contents.uses[start + index] = .free
      }
      for block in [maps.0, maps.1] + Array(maps.2..<maps.2 + tableBlocks) {
        guard block < blockCount else {
          contents.problems.append("block \(place / size): group \(group) points to block \(block), beyond the end")
          break
        }
        contents.uses[block] = .structure
      }
    }
    for block in first + 1...first + (groupCount * 32 + size - 1) / size where block < blockCount {
      contents.uses[block] = .structure
    }
    return contents
  }

  private static func details(_ superblock: [UInt8]) -> [String] {
    let state = superblock.number(58, 2)
    let compatible = [
      (1, "dir_prealloc"), (2, "imagic_inodes"), (4, "has_journal"), (8, "ext_attr"), (16, "resize_inode"),
      (32, "dir_index"),
    ]
    let incompatible = [
      (1, "compression"), (2, "filetype"), (4, "needs_recovery"), (64, "extent"), (128, "64bit"), (512, "flex_bg"),
    ]
    let readOnly = [
      (1, "sparse_super"), (2, "large_file"), (8, "huge_file"), (16, "uninit_bg"), (64, "extra_isize"),
      (1024, "metadata_csum"),
    ]
    var features: [String] = []
    for (offset, names) in [(92, compatible), (96, incompatible), (100, readOnly)] {
      var bits = superblock.number(offset, 4)
      for (bit, name) in names where bits & bit != 0 {
        features.append(name)
        bits &= ~bit
      }
      if bits != 0 { features.append("0x" + String(bits, radix: 16)) }
    }
    return [
      state & 1 != 0 ? "unmounted cleanly" : "in use, or not unmounted: e2fsck -fp repairs what a cut has left",
      state & 2 != 0 ? "errors are recorded" : "no errors are recorded",
      "features: " + (features.isEmpty ? "none" : features.joined(separator: " ")),
      "inodes: \(superblock.number(0, 4)), \(superblock.number(16, 4)) free; mounted \(superblock.number(52, 2)) times since the last check",
    ]
  }
}
