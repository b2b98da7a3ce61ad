// SPDX-License-Identifier: Apache-2.0
// SendQueue.swift: what a connection has to send and to send again: bytes of its own, and parts of the application's memory.

// Theory of operation. Bytes that the application writes are kept in a ring. Bytes that it has anyway, in a
// `PayloadSource`, are only noted: source, offset, count. The queue is a list of such pieces in the order of the stream;
// a piece without a source stands for bytes of the ring. While everything is in the ring, which is so for most
// programs, there is no list.

struct SendQueue {
  private struct Piece {
    let source: (any PayloadSource)?
    var offset: Int
    var count: Int
  }

  private var ring: ByteRing
  private var pieces: [Piece] = []
  private var head = 0
  /// Bytes in the queue.
  private(set) var count = 0
  /// A stream's numbers are a circle: more than this cannot be on its way.
  private static let limit = 1 << 30

  init(capacity: Int, budget: MemoryBudget) { ring = ByteRing(capacity: capacity, budget: budget) }

  /// How many bytes of its own the queue would take.
  var free: Int { ring.free }
  /// Bytes of the application's memory that would be noted.
  var freeForSources: Int { Self.limit - count }

  /// Appends what fits.
  mutating func append(_ bytes: Span<UInt8>) -> Int {
    let taken = ring.append(bytes)
    guard taken > 0 else { return 0 }
    if !pieces.isEmpty {
      if pieces[pieces.count - 1].source == nil {
        pieces[pieces.count - 1].count += taken
      } else {
        pieces.append(Piece(source: nil, offset: 0, count: taken))
      }
    }
    count += taken
    return taken
  }

  /// Notes a part of the application's memory.
  mutating func append(_ source: any PayloadSource, _ offset: Int, _ length: Int) -> Int {
    let taken = min(length, freeForSources)
    guard taken > 0 else { return 0 }
    if pieces.isEmpty, count > 0 { pieces.append(Piece(source: nil, offset: 0, count: count)) }
    pieces.append(Piece(source: source, offset: offset, count: taken))
    count += taken
    return taken
  }

  /// Drops bytes at the front.
  mutating func drop(_ length: Int) {
    precondition(length >= 0 && length <= count)
    count -= length
    guard head < pieces.count else { return ring.drop(length) }
    var left = length
    while left > 0 {
      let part = min(left, pieces[head].count)
      if pieces[head].source == nil { ring.drop(part) } else { pieces[head].offset += part }
      pieces[head].count -= part
      left -= part
      if pieces[head].count == 0 { dropPiece() }
    }
  }

  private mutating func dropPiece() {
    head += 1
    if head == pieces.count {
      pieces.removeAll(keepingCapacity: pieces.count <= 16)
      head = 0
    } else if head >= 32, head * 2 > pieces.count {
      pieces.removeSubrange(0..<head)
      head = 0
    } else {
      // The source is let go at once, not when the list is cut.
      pieces[head - 1] = Piece(source: nil, offset: 0, count: 0)
    }
  }

  /// Gives all memory back, and lets go of all sources.
  mutating func release() {
    ring.release()
    pieces = []
    head = 0
    count = 0
  }

  /// Gives memory of an empty queue back if it is much.
  mutating func shrink() { ring.shrink() }

  // MARK: Segments

  /// How much of a part one frame can carry: bytes of our own come before those of sources, and of these there are as
  /// many runs as a frame has parts.
  ///
  /// - Parameters:
  ///   - offset: Where the part begins.
  ///   - length: Its bytes.
  ///   - inlineLimit: Bytes of our own that a frame takes beside as many parts as there can be; with more of them one part
  ///     less is left.
  func cut(_ offset: Int, _ length: Int, inlineLimit: Int) -> Int {
    guard head < pieces.count, length > 0 else { return length }
    var skip = offset
    var index = head
    while skip >= pieces[index].count {
      skip -= pieces[index].count
      index += 1
    }
    var taken = 0
    var parts = 0
    var limit = FrameParts.limit
    while taken < length, index < pieces.count {
      var part = min(length - taken, pieces[index].count - skip)
      if let source = pieces[index].source {
        var at = pieces[index].offset + skip
        while part > 0 {
          guard parts < limit else { return taken }
          // Without runs the link copies all, and there is no limit.
          let run = min(part, source.run(at, part)?.count ?? part)
          parts += 1
          at += run
          taken += run
          part -= run
        }
      } else {
        guard parts == 0 else { return taken }
        if part > inlineLimit { limit = FrameParts.limit - 1 }
        taken += part
      }
      skip = 0
      index += 1
    }
    return taken
  }

  /// Walks through a part: bytes of our own are appended to the packet, and so are those of sources if there is no list of
  /// parts to note them in.
  ///
  /// - Returns: The sum of what was noted and not appended, as if it began at an even place.
  func gather(_ offset: Int, _ length: Int, to packet: inout [UInt8], _ parts: inout FrameParts?) -> UInt16 {
    guard length > 0 else { return 0 }
    guard head < pieces.count else {
      ring.copy(offset, length, to: &packet)
      return 0
    }
    var sum = Checksum()
    var isOdd = false
    var skip = offset
    var index = head
    var ringOffset = 0
    while skip >= pieces[index].count {
      skip -= pieces[index].count
      if pieces[index].source == nil { ringOffset += pieces[index].count }
      index += 1
    }
    var left = length
    while left > 0 {
      let part = min(left, pieces[index].count - skip)
      if let source = pieces[index].source {
        let start = pieces[index].offset + skip
        if parts != nil {
          let word = source.sum(start, part)
          sum.add(isOdd ? word.byteSwapped : word)
          if part & 1 == 1 { isOdd.toggle() }
          var at = start
          while at < start + part, let run = source.run(at, start + part - at) {
            parts?.append(run)
            at += run.count
          }
        } else {
          source.copy(start, part, to: &packet)
        }
      } else {
        ring.copy(ringOffset + skip, part, to: &packet)
        ringOffset += pieces[index].count
      }
      left -= part
      skip = 0
      index += 1
    }
    return sum.folded
  }
}
