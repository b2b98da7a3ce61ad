// SPDX-License-Identifier: Apache-2.0
// SimulatedMemory.swift: a program's memory as checked regions, for running programs away from the kernel.

import ApusBPF

/// Regions at addresses; whatever lies outside of them faults.
public struct SimulatedMemory: ProgramSurroundings {
  /// Bytes at an address.
  public struct Region {
    /// Where the first byte is.
    public var base: UInt64
    /// The contents.
    public var bytes: [UInt8]
    /// Whether programs may write here.
    public var isWritable: Bool

    /// Makes a region.
    public init(base: UInt64, bytes: [UInt8], isWritable: Bool = true) {
      self.base = base
      self.bytes = bytes
      self.isWritable = isWritable
    }
  }

  /// The regions; they do not overlap.
  public var regions: [Region]
  /// What the helpers do; nil refuses.
  public var helper: (UInt32, [UInt64]) -> UInt64?

  /// Makes a memory.
  public init(
    _ regions: [Region], helper: @escaping (UInt32, [UInt64]) -> UInt64? = { _, _ in nil }
  ) {
    self.regions = regions
    self.helper = helper
  }

  private func find(_ width: AccessWidth, _ address: UInt64) -> (region: Int, offset: Int)? {
    for (index, region) in regions.enumerated() {
      guard address >= region.base else { continue }
      let offset = address - region.base
      if offset <= UInt64(region.bytes.count),
        UInt64(region.bytes.count) - offset >= UInt64(width.byteCount)
      {
        return (index, Int(offset))
      }
    }
    return nil
  }

  /// Reads little-endian.
  public func load(_ width: AccessWidth, at address: UInt64) -> UInt64? {
    guard let (region, offset) = find(width, address) else { return nil }
    var value: UInt64 = 0
    for index in (0..<width.byteCount).reversed() {
      value = value << 8 | UInt64(regions[region].bytes[offset + index])
    }
    return value
  }

  /// Writes little-endian.
  public mutating func store(_ value: UInt64, _ width: AccessWidth, at address: UInt64) -> Bool {
    guard let (region, offset) = find(width, address), regions[region].isWritable else {
      return false
    }
    for index in 0..<width.byteCount {
      regions[region].bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))
    }
    return true
  }

  /// Calls the closure.
  public func call(_ number: UInt32, _ arguments: InlineArray<5, UInt64>) -> UInt64? {
    helper(number, (0..<5).map { arguments[$0] })
  }
}

/// Words on the heap, for callers that have one.
public struct HeapWords: WordMemory {
  private var words: [UInt64]

  /// Makes so many words.
  public init(count: Int) { words = Array(repeating: 0, count: count) }

  /// How many words there are.
  public var count: Int { words.count }
  /// The word at an index.
  public subscript(_ index: Int) -> UInt64 {
    get { words[index] }
    set { words[index] = newValue }
  }
}

/// Machine code on the heap, to be copied to where it can run.
public struct HeapCode: CodeBuffer {
  /// The bytes stored so far, with zeros where none were.
  public private(set) var bytes: [UInt8]

  /// Makes a buffer.
  public init(capacity: Int) { bytes = Array(repeating: 0, count: capacity) }

  /// How many bytes fit.
  public var capacity: Int { bytes.count }
  /// Puts a byte at an offset.
  public mutating func store(_ byte: UInt8, at offset: Int) { bytes[offset] = byte }
}
