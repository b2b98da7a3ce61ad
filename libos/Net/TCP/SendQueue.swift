// SPDX-License-Identifier: Apache-2.0
// SendQueue.swift: what a connection has to send and to send again: bytes of its own, and parts of the application's memory.

// Theory of operation. Bytes that the application writes are kept in a ring. Bytes that it has anyway, in a
// `PayloadSource`, are only noted: source, offset, count. The queue is a list of such pieces in the order of the stream;
// a piece without a source stands for bytes of the ring. While everything is in the ring, which is so for most
// programs, there is no list.

final class SendQueue {
  private struct Piece {
    let source: (any PayloadSource)?
    var offset: Int
    var count: Int
  }

  private var ring: ByteRing
  /// Room for pieces, of which those from `head` up to `tail` are in use: it is filled again and not made anew.
  private var pieces: [Piece] = []
  private var head = 0
  private var tail = 0
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
  func append(_ bytes: Span<UInt8>) -> Int {
    let taken = ring.append(bytes)
    guard taken > 0 else { return 0 }
    if head < tail {
      if pieces[tail - 1].source == nil {
        pieces[tail - 1].count += taken
      } else {
        append(Piece(source: nil, offset: 0, count: taken))
      }
    }
    count += taken
    return taken
  }

  /// Notes a part of the application's memory.
  func append(_ source: any PayloadSource, _ offset: Int, _ length: Int) -> Int {
    let taken = min(length, freeForSources)
    guard taken > 0 else { return 0 }
    if head == tail, count > 0 { append(Piece(source: nil, offset: 0, count: count)) }
    append(Piece(source: source, offset: offset, count: taken))
    count += taken
    return taken
  }

  private func append(_ piece: Piece) {
    if tail == pieces.count, head >= 8, head * 2 > tail {
      pieces.removeSubrange(0..<head)
      tail -= head
      head = 0
    }
    if tail < pieces.count { pieces[tail] = piece } else { pieces.append(piece) }
    tail += 1
  }

  /// Drops bytes at the front.
  func drop(_ length: Int) {
    precondition(length >= 0 && length <= count)
    count -= length
    guard head < tail else { return ring.drop(length) }
    var left = length
    while left > 0 {
      let part = min(left, pieces[head].count)
      if pieces[head].source == nil { ring.drop(part) } else { pieces[head].offset += part }
      pieces[head].count -= part
      left -= part
      guard pieces[head].count == 0 else { return }
      // The source is let go at once.
      pieces[head] = Piece(source: nil, offset: 0, count: 0)
      head += 1
      if head == tail {
        head = 0
        tail = 0
        // A long list was an exception.
        if pieces.count > 16 { pieces = [] }
      }
    }
  }

  /// Gives all memory back, and lets go of all sources.
  func release() {
    ring.release()
    pieces = []
    head = 0
    tail = 0
    count = 0
  }

  /// Gives memory of an empty queue back if it is much.
  func shrink() { ring.shrink() }

  // MARK: Segments

  /// How much of a part one frame can carry: bytes of our own come before those of sources, and of these there are as
  /// many runs as a frame has parts.
  ///
  /// - Parameters:
  ///   - offset: Where the part begins.
  ///   - length: Its bytes.
  ///   - inlineLimit: Bytes of our own that a frame takes beside as many parts as there can be; with more of them one part
  ///     less is left.
  /// - Returns: How many bytes; not more than `length`.
  func cut(_ offset: Int, _ length: Int, inlineLimit: Int) -> Int {
    guard head < tail, length > 0 else { return length }
    var skip = offset
    var index = head
    while skip >= pieces[index].count {
      skip -= pieces[index].count
      index += 1
    }
    var taken = 0
    var parts = 0
    var limit = FrameParts.limit
    while taken < length, index < tail {
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

  /// Copies a part to the end of a packet.
  func copy(_ offset: Int, _ length: Int, to packet: inout [UInt8]) {
    forEach(offset, length) { source, at, count in
      if let source { source.copy(at, count, to: &packet) } else { ring.copy(at, count, to: &packet) }
    }
  }

  /// Appends bytes of our own to a frame, and notes where those of sources lie; `cut` said that they fit.
  ///
  /// - Returns: The sum of what was noted and not appended, as if it began at an even place.
  func gather(_ offset: Int, _ length: Int, to frame: FrameBuffer, _ parts: inout FrameParts) -> UInt16 {
    guard length > 0 else { return 0 }
    guard head < tail else {
      ring.copy(offset, length, to: frame)
      return 0
    }
    var sum = Checksum()
    var isOdd = false
    forEach(offset, length) { source, at, count in
      guard let source else { return ring.copy(at, count, to: frame) }
      let word = source.sum(at, count)
      sum.add(isOdd ? word.byteSwapped : word)
      if count & 1 == 1 { isOdd.toggle() }
      var place = at
      while place < at + count, let run = source.run(place, at + count - place) {
        parts.append(run)
        place += run.count
      }
    }
    return sum.folded
  }

  /// Calls `body` with the pieces of a part: source or nil for the ring, offset in it, count.
  @inline(__always) private func forEach(
    _ offset: Int, _ length: Int, _ body: ((any PayloadSource)?, Int, Int) -> Void
  ) {
    guard length > 0 else { return }
    guard head < tail else { return body(nil, offset, length) }
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
        body(source, pieces[index].offset + skip, part)
      } else {
        body(nil, ringOffset + skip, part)
        ringOffset += pieces[index].count
      }
      left -= part
      skip = 0
      index += 1
    }
  }
}
