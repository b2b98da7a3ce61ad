// SPDX-License-Identifier: Apache-2.0
// FurtherWaits.swift: the words beyond the first that an environment sleeps on. C shows them to Swift as a tuple.

import CApusABI

extension apus_environment {
  /// A word's physical address and the value that it is expected to hold.
  ///
  /// - Parameter index: Which; below `waits`.
  /// - Returns: Both, or zeroes beyond the last.
  public func wait(_ index: Int) -> apus_wait {
    switch index {
    case 0: further_waits.0
    case 1: further_waits.1
    case 2: further_waits.2
    default: apus_wait()
    }
  }

  /// Writes what `wait` reads.
  ///
  /// - Parameters:
  ///   - index: Which; nothing happens beyond the last.
  ///   - word: Physical address of the word.
  ///   - value: What it is expected to hold.
  public mutating func setWait(_ index: Int, word: UInt64, value: UInt64) {
    let wait = apus_wait(word: word, value: value)
    switch index {
    case 0: further_waits.0 = wait
    case 1: further_waits.1 = wait
    case 2: further_waits.2 = wait
    default: break
    }
  }
}
