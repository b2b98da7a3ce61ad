// SPDX-License-Identifier: Apache-2.0
// Seeded.swift: random numbers that a seed repeats, and how much is to be tried.

import Foundation

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Seeded: RandomNumberGenerator {
  private var state: UInt64

  /// The seed is mixed first: neighbouring seeds would give the same numbers, one later.
  init(_ seed: Int) {
    state = UInt64(truncatingIfNeeded: seed)
    state = next() ^ 0x5851_f42d_4c95_7f2d
  }

  mutating func next() -> UInt64 {
    state = state &+ 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(max(1, bound))) }
  mutating func percent(_ chance: Int) -> Bool { below(100) < chance }
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

enum Amount {
  /// 1 in a normal run, more with APUS_LONG.
  static let factor = max(1, Int(ProcessInfo.processInfo.environment["APUS_LONG"] ?? "") ?? 1)
  /// One seed to repeat, by APUS_XN_SEED.
  static let only = Int(ProcessInfo.processInfo.environment["APUS_XN_SEED"] ?? "")

  static func seeds(_ count: Int) -> [Int] { only.map { [$0] } ?? Array(1...count) }
}
