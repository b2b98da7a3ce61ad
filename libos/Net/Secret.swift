// SPDX-License-Identifier: Apache-2.0
// Secret.swift: what nobody on the network can guess: a keyed hash, and random numbers made with it.

/// A key of 128 bits that the caller draws from a good source once; everything unpredictable is derived from it.
public struct Secret: Sendable {
  let low: UInt64
  let high: UInt64

  /// A key.
  ///
  /// - Parameters:
  ///   - low: 64 random bits.
  ///   - high: 64 more.
  public init(low: UInt64, high: UInt64) {
    self.low = low
    self.high = high
  }

  /// A hash of two words with fewer rounds, for tables: SipHash-1-3.
  @inline(__always) func shortHash(_ first: UInt64, _ second: UInt64) -> UInt64 {
    var hasher = KeyedHasher(self)
    return hasher.short(first, second)
  }

  /// A hash of a few words under this key: SipHash-2-4 (Aumasson and Bernstein 2012).
  func hash(_ words: UInt64...) -> UInt64 {
    var hasher = KeyedHasher(self)
    for word in words { hasher.add(word) }
    return hasher.finish()
  }
}

/// SipHash-2-4 over whole words.
struct KeyedHasher {
  private var a: UInt64
  private var b: UInt64
  private var c: UInt64
  private var d: UInt64
  private var count: UInt64 = 0

  init(_ key: Secret) {
    a = key.low ^ 0x736f_6d65_7073_6575
    b = key.high ^ 0x646f_7261_6e64_6f6d
    c = key.low ^ 0x6c79_6765_6e65_7261
    d = key.high ^ 0x7465_6462_7974_6573
  }

  private static func rotate(_ word: UInt64, _ count: UInt64) -> UInt64 { word << count | word >> (64 - count) }

  @inline(__always) private mutating func round() {
    a = a &+ b
    c = c &+ d
    b = Self.rotate(b, 13) ^ a
    d = Self.rotate(d, 16) ^ c
    a = Self.rotate(a, 32)
    c = c &+ b
    a = a &+ d
    b = Self.rotate(b, 17) ^ c
    d = Self.rotate(d, 21) ^ a
    c = Self.rotate(c, 32)
  }

  mutating func add(_ word: UInt64) {
    absorb(word)
    count = count &+ 8
  }

  private mutating func absorb(_ word: UInt64) {
    d ^= word
    round()
    round()
    a ^= word
  }

  @inline(__always) mutating func short(_ first: UInt64, _ second: UInt64) -> UInt64 {
    d ^= first
    round()
    a ^= first
    d ^= second
    round()
    a ^= second
    d ^= 16 << 56
    round()
    a ^= 16 << 56
    c ^= 0xff
    for _ in 0..<3 { round() }
    return a ^ b ^ c ^ d
  }

  /// The hash; nothing may be added after it.
  mutating func finish() -> UInt64 {
    absorb(count << 56)
    c ^= 0xff
    for _ in 0..<4 { round() }
    return a ^ b ^ c ^ d
  }
}

/// Random numbers: the keyed hash of a counter.
struct RandomStream {
  private let key: Secret
  private var counter: UInt64 = 0

  init(_ key: Secret) { self.key = key }

  mutating func next() -> UInt64 {
    counter = counter &+ 1
    return key.hash(0x7261_6e64_6f6d, counter)
  }

  /// A number below `bound`, which is positive.
  mutating func next(below bound: Int) -> Int { Int(next() >> 1) % bound }
}
