// SPDX-License-Identifier: Apache-2.0
// Exchange.swift: what both ends of a connection say: a stream that each can check alone.

/// A stream of bytes that a seed and a place determine.
struct Pattern {
  let seed: UInt64

  private func word(_ index: Int) -> UInt64 {
    var mixed = seed &+ UInt64(truncatingIfNeeded: index) &* 0x9e37_79b9_7f4a_7c15
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }

  func bytes(at offset: Int, count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      var place = 0
      while place < count {
        var word = word((offset + place) >> 3)
        word >>= UInt64((offset + place) & 7) * 8
        let length = min(count - place, 8 - (offset + place) & 7)
        for _ in 0..<length {
          buffer[place] = UInt8(truncatingIfNeeded: word)
          word >>= 8
          place += 1
        }
      }
      initialized = count
    }
  }
}

/// How much goes which way, the same on both sides.
struct ExchangePlan {
  var seed: UInt64
  /// Bytes from the stack to Linux, and from Linux to the stack, in each connection.
  var up: Int
  var down: Int
  /// How many connections the stack begins, and how many Linux.
  var fromStack: Int
  var fromLinux: Int
}

/// What is wrong with what came.
struct Mismatch: Error {
  let sentence: String
}

/// One end of one connection.
///
/// Each stream begins with the connection's number, by which who accepts knows it.
struct Exchange {
  private static let header = 8
  private let plan: ExchangePlan
  private let isStack: Bool
  private(set) var index: Int?
  private(set) var sent = 0
  private(set) var received = 0
  private var head: [UInt8] = []
  var isFinished = false
  var isAtEnd = false

  init(_ plan: ExchangePlan, isStack: Bool, index: Int?) {
    self.plan = plan
    self.isStack = isStack
    self.index = index
  }

  private var outgoing: Int { Self.header + (isStack ? plan.up : plan.down) }
  private var incoming: Int { Self.header + (isStack ? plan.down : plan.up) }
  var hasSentAll: Bool { index != nil && sent == outgoing }
  var isDone: Bool { isFinished && isAtEnd }

  private func pattern(up: Bool, _ index: Int) -> Pattern {
    Pattern(seed: plan.seed &* 31 &+ UInt64(index) << 1 | (up ? 1 : 0))
  }

  /// What is to be sent next; empty when there is nothing, or nothing yet.
  func next(_ limit: Int) -> [UInt8] {
    guard let index, sent < outgoing else { return [] }
    if sent < Self.header {
      let number = withUnsafeBytes(of: UInt64(index).littleEndian) { Array($0) }
      return Array(number[sent...])
    }
    return pattern(up: isStack, index).bytes(at: sent - Self.header, count: min(limit, outgoing - sent))
  }

  mutating func took(_ count: Int) { sent += count }

  /// Checks what came.
  mutating func got(_ bytes: [UInt8]) throws(Mismatch) {
    var bytes = bytes[...]
    while received < Self.header, let byte = bytes.popFirst() {
      head.append(byte)
      received += 1
      guard received == Self.header else { continue }
      let number = head.reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
      if let index, UInt64(index) != number {
        throw Mismatch(sentence: "connection \(index) was answered by number \(number)")
      }
      guard number < UInt64(plan.fromStack + plan.fromLinux) else {
        throw Mismatch(sentence: "a connection calls itself \(number)")
      }
      index = Int(number)
    }
    guard !bytes.isEmpty, let index else { return }
    guard received + bytes.count <= incoming else {
      throw Mismatch(sentence: "connection \(index): more than \(incoming) bytes came")
    }
    let expected = pattern(up: !isStack, index).bytes(at: received - Self.header, count: bytes.count)
    guard Array(bytes) == expected else {
      throw Mismatch(sentence: "connection \(index): bytes from \(received) on are not those that were sent")
    }
    received += bytes.count
  }

  mutating func ended() throws(Mismatch) {
    guard received == incoming else {
      throw Mismatch(
        sentence: "connection \(index ?? -1): \(received) of \(incoming) bytes came before the end")
    }
    isAtEnd = true
  }
}
