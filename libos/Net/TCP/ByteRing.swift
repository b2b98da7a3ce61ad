// SPDX-License-Identifier: Apache-2.0
// ByteRing.swift: a connection's bytes on their way, in memory that grows as needed up to a bound.

/// What all buffers of a stack may take together.
///
/// A buffer that may not grow takes no more bytes: an application's write is short, and what came from the network is
/// dropped unacknowledged, so that the peer sends it again.
public final class MemoryBudget {
  /// The bound, in bytes.
  public let limit: Int
  /// What is taken now, in bytes.
  public private(set) var used = 0

  /// A budget of so many bytes.
  public init(limit: Int) { self.limit = limit }

  func take(_ count: Int) -> Bool {
    guard count <= limit - used else { return false }
    used += count
    return true
  }

  func give(_ count: Int) { used -= count }
}

/// A queue of bytes over a ring; bytes can be put beyond its end before those between them have come.
struct ByteRing {
  let capacity: Int
  private let budget: MemoryBudget
  private var storage: [UInt8] = []
  private var head = 0
  /// How many bytes are in the queue.
  private(set) var count = 0

  init(capacity: Int, budget: MemoryBudget) {
    self.capacity = capacity
    self.budget = budget
  }

  var free: Int { capacity - count }

  /// Appends what fits.
  ///
  /// - Returns: How many bytes were taken.
  mutating func append(_ bytes: Span<UInt8>) -> Int {
    var length = min(bytes.count, free)
    if length > 0, !reserve(count + length) { length = min(length, storage.count - count) }
    guard length > 0, put(bytes.extracting(0..<length), at: count) else { return 0 }
    count += length
    return length
  }

  /// Puts bytes `offset` behind the first of the queue, without counting them yet.
  ///
  /// - Returns: Whether there was room.
  mutating func put(_ bytes: Span<UInt8>, at offset: Int) -> Bool {
    guard offset >= 0, bytes.count <= capacity - offset, reserve(offset + bytes.count) else { return false }
    let start = (head + offset) & (storage.count - 1)
    let first = min(bytes.count, storage.count - start)
    storage.overwrite(at: start, with: bytes.extracting(0..<first))
    storage.overwrite(at: 0, with: bytes.extracting(first..<bytes.count))
    return true
  }

  /// Counts bytes that were put behind the end.
  mutating func extend(by length: Int) { count += length }

  /// Drops bytes at the front.
  mutating func drop(_ length: Int) {
    precondition(length >= 0 && length <= count)
    count -= length
    head = storage.isEmpty ? 0 : (head + length) & (storage.count - 1)
  }

  /// Appends a part of the queue to a packet.
  func copy(_ offset: Int, _ length: Int, to packet: inout [UInt8]) {
    precondition(offset >= 0 && length >= 0 && length <= count - offset)
    guard length > 0 else { return }
    let start = (head + offset) & (storage.count - 1)
    let first = min(length, storage.count - start)
    packet.append(copying: storage.span.extracting(start..<start + first))
    if first < length { packet.append(copying: storage.span.extracting(0..<length - first)) }
  }

  /// Appends a part of the queue to a frame.
  func copy(_ offset: Int, _ length: Int, to frame: FrameBuffer) {
    precondition(offset >= 0 && length >= 0 && length <= count - offset)
    guard length > 0 else { return }
    let start = (head + offset) & (storage.count - 1)
    let first = min(length, storage.count - start)
    frame.append(storage.span.extracting(start..<start + first))
    if first < length { frame.append(storage.span.extracting(0..<length - first)) }
  }

  /// Gives the memory back; the queue is empty then and stays usable.
  mutating func release() {
    budget.give(storage.count)
    storage = []
    head = 0
    count = 0
  }

  /// Gives the memory of an empty queue back if it is much: an idle connection holds little.
  mutating func shrink() { if count == 0, storage.count > 1 << 14 { release() } }

  /// Grows the ring to hold `length` bytes; sizes are powers of two.
  private mutating func reserve(_ length: Int) -> Bool {
    if length <= storage.count { return true }
    var size = max(64, storage.count)
    while size < length { size *= 2 }
    guard budget.take(size - storage.count) else { return false }
    var grown = [UInt8](repeating: 0, count: size)
    if !storage.isEmpty {
      // Bytes beyond the end may have been put already: all of the old ring moves.
      grown.overwrite(at: 0, with: storage.span.extracting(head..<storage.count))
      grown.overwrite(at: storage.count - head, with: storage.span.extracting(0..<head))
    }
    storage = grown
    head = 0
    return true
  }
}
