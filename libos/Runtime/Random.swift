// SPDX-License-Identifier: Apache-2.0
// Random.swift: random bytes for the family: ChaCha20 (RFC 8439) keyed by the host's seed and the counter.

/// The family's generator.
public enum Random {
  @safe nonisolated(unsafe) private static var key: InlineArray<8, UInt32> = .init(repeating: 0)
  @safe nonisolated(unsafe) private static var block: UInt64 = 0

  /// Mixes seed bytes into the key.
  public static func seed(_ bytes: [UInt8]) {
    for index in 0..<bytes.count {
      let word = index / 4 % 8
      key[word] = (key[word] ^ UInt32(bytes[index]) << UInt32(index % 4 * 8)) &* 0x9e37_79b1 | 1
    }
    rekey()
  }

  /// Fills memory with random bytes.
  public static func fill(_ bytes: Bytes) {
    var offset = 0
    while offset < bytes.count {
      let words = next()
      let count = min(64, bytes.count - offset)
      for index in 0..<count {
        bytes[offset + index] = UInt8(truncatingIfNeeded: words[index / 4] >> UInt32(index % 4 * 8))
      }
      offset += count
    }
    rekey()
  }

  /// What has been given out cannot be found from the state afterwards.
  private static func rekey() {
    let words = next()
    for index in 0..<8 { key[index] = words[index] }
  }

  private static func next() -> InlineArray<16, UInt32> {
    let now = Clock.ticks
    var initial = InlineArray<16, UInt32>(repeating: 0)
    initial[0] = 0x6170_7865
    initial[1] = 0x3320_646e
    initial[2] = 0x7962_2d32
    initial[3] = 0x6b20_6574
    for index in 0..<8 { initial[4 + index] = key[index] }
    initial[12] = UInt32(truncatingIfNeeded: block)
    initial[13] = UInt32(truncatingIfNeeded: block >> 32)
    initial[14] = UInt32(truncatingIfNeeded: now)
    initial[15] = UInt32(truncatingIfNeeded: now >> 32)
    block &+= 1
    var state = initial
    for _ in 0..<10 {
      quarter(&state, 0, 4, 8, 12)
      quarter(&state, 1, 5, 9, 13)
      quarter(&state, 2, 6, 10, 14)
      quarter(&state, 3, 7, 11, 15)
      quarter(&state, 0, 5, 10, 15)
      quarter(&state, 1, 6, 11, 12)
      quarter(&state, 2, 7, 8, 13)
      quarter(&state, 3, 4, 9, 14)
    }
    for index in 0..<16 { state[index] = state[index] &+ initial[index] }
    return state
  }

  @inline(__always) private static func rotated(_ value: UInt32, _ bits: UInt32) -> UInt32 {
    value << bits | value >> (32 - bits)
  }

  @inline(__always) private static func quarter(
    _ s: inout InlineArray<16, UInt32>, _ a: Int, _ b: Int, _ c: Int, _ d: Int
  ) {
    s[a] = s[a] &+ s[b]
    s[d] = rotated(s[d] ^ s[a], 16)
    s[c] = s[c] &+ s[d]
    s[b] = rotated(s[b] ^ s[c], 12)
    s[a] = s[a] &+ s[b]
    s[d] = rotated(s[d] ^ s[a], 8)
    s[c] = s[c] &+ s[d]
    s[b] = rotated(s[b] ^ s[c], 7)
  }
}
