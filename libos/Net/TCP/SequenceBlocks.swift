// SPDX-License-Identifier: Apache-2.0
// SequenceBlocks.swift: up to four ranges of the sequence space, as a segment's options carry them.

/// Ranges in place: a header with them is copied as plain memory.
struct SequenceBlocks: Equatable, ExpressibleByArrayLiteral {
  private var blocks: InlineArray<4, SequenceRange> = .init(
    repeating: SequenceRange(SequenceNumber(0), SequenceNumber(0)))
  private(set) var count = 0

  init() {}

  init(arrayLiteral elements: SequenceRange...) {
    for element in elements { append(element) }
  }

  init(_ ranges: [SequenceRange]) {
    for range in ranges { append(range) }
  }

  /// The ranges as an array.
  var ranges: [SequenceRange] { (0..<count).map { blocks[$0] } }

  var isEmpty: Bool { count == 0 }

  subscript(index: Int) -> SequenceRange {
    precondition(index < count)
    return blocks[index]
  }

  /// Appends a range; a fifth is left out.
  mutating func append(_ range: SequenceRange) {
    guard count < 4 else { return }
    blocks[count] = range
    count += 1
  }

  func contains(_ range: SequenceRange) -> Bool {
    for index in 0..<count where blocks[index] == range { return true }
    return false
  }

  static func == (left: SequenceBlocks, right: SequenceBlocks) -> Bool {
    guard left.count == right.count else { return false }
    for index in 0..<left.count where left[index] != right[index] { return false }
    return true
  }
}
