// SPDX-License-Identifier: Apache-2.0
// LZ4.swift: unpacks the LZ4 "legacy frame" in which some distributions compress their kernels.
//
// Formats: lz4_Frame_format.md ("Legacy frame") and lz4_Block_format.md of the LZ4 project.

enum LZ4 {
  /// The first bytes of a legacy frame.
  static let legacyMagic: [UInt8] = [0x02, 0x21, 0x4c, 0x18]

  /// Unpacks a legacy frame, nil when it is damaged; `size` is what is expected of it.
  static func unpackLegacyFrame(_ frame: ArraySlice<UInt8>, size: Int) -> [UInt8]? {
    guard frame.starts(with: legacyMagic) else { return nil }
    var output: [UInt8] = []
    output.reserveCapacity(size)
    var at = frame.startIndex + legacyMagic.count
    while at + 4 <= frame.endIndex {
      let count = Int(frame.littleEndian32(at: at))
      at += 4
      guard count <= frame.endIndex - at, unpackBlock(frame[at..<at + count], into: &output)
      else { return nil }
      at += count
    }
    return output
  }

  /// Appends one block's contents; its matches reach back into this block only.
  private static func unpackBlock(_ block: ArraySlice<UInt8>, into output: inout [UInt8]) -> Bool {
    let start = output.count
    var at = block.startIndex

    /// A length of 15 goes on in the next bytes, up to one that is not 255.
    func extended(_ short: Int) -> Int? {
      guard short == 15 else { return short }
      var length = short
      while at < block.endIndex {
        let byte = block[at]
        at += 1
        length += Int(byte)
        if byte != 255 { return length }
      }
      return nil
    }

    while at < block.endIndex {
      let token = block[at]
      at += 1
      guard let literals = extended(Int(token >> 4)), literals <= block.endIndex - at else {
        return false
      }
      output.append(contentsOf: block[at..<at + literals])
      at += literals
      // The last sequence of a block has literals only.
      if at == block.endIndex { return true }
      guard block.endIndex - at >= 2 else { return false }
      let distance = Int(block[at]) | Int(block[at + 1]) << 8
      at += 2
      guard let length = extended(Int(token & 15)), distance > 0, distance <= output.count - start
      else { return false }
      // The match may overlap what it produces, so it is copied byte by byte.
      var from = output.count - distance
      for _ in 0..<length + 4 {
        output.append(output[from])
        from += 1
      }
    }
    return true
  }
}

extension ArraySlice<UInt8> {
  func littleEndian32(at index: Int) -> UInt32 {
    UInt32(self[index]) | UInt32(self[index + 1]) << 8 | UInt32(self[index + 2]) << 16
      | UInt32(self[index + 3]) << 24
  }
}
