// SPDX-License-Identifier: Apache-2.0
// FuzzStatistics.swift: what the random families count, in pages that all of them and the first family share.

import ApusABI

/// Words that the random families add to.
///
/// Some may be lost when two processors count at once, never invented.
enum FuzzStatistics {
  /// Where they are mapped in every random family: the last place for children.
  static var base: UInt64 { Child.uarea(of: 31) }
  static var pages: UInt64 { 1 }

  private static func word(_ index: UInt64) -> UInt64 { base + index * 8 }
  private static func add(_ index: UInt64) { store64(word(index), load64(word(index)) &+ 1) }

  /// Calls made, and those that succeeded.
  static var calls: UInt64 { load64(word(0)) }
  static var successes: UInt64 { load64(word(1)) }
  /// Environments that began to run the fuzzing body.
  static var attackers: UInt64 { load64(word(2)) }
  /// Rounds that the neighbour has made over its memory, and those that found it changed.
  static var neighbourRounds: UInt64 { load64(word(3)) }
  static var neighbourFindings: UInt64 { load64(word(4)) }

  /// The neighbour's least share of time in a seed, per mille.
  static var leastShare: UInt64 { load64(word(5)) }
  static func noteShare(_ share: UInt64) {
    if leastShare == 0 || share < leastShare { store64(word(5), share) }
  }

  static func countAttacker() { add(2) }
  static func countNeighbour(sound: Bool) { add(sound ? 3 : 4) }

  static func count(_ number: UInt64) {
    add(0)
    add(128 + number % 128)
  }
  static func countSuccess(_ number: UInt64) {
    add(1)
    add(256 + number % 128)
  }
  /// Notes how many ticks a call took, crossing included, unless somebody else ran meanwhile.
  static func note(_ number: UInt64, ticks: UInt64) {
    guard ticks < Information.page.slice_ticks else { return }
    let place = word(384 + number % 128)
    if ticks > load64(place) { store64(place, ticks) }
  }

  static func calls(of number: UInt64) -> UInt64 { load64(word(128 + number)) }
  static func successes(of number: UInt64) -> UInt64 { load64(word(256 + number)) }
  static func longest(of number: UInt64) -> UInt64 { load64(word(384 + number)) }
}
