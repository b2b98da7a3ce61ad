// SPDX-License-Identifier: Apache-2.0
// NumberTable.swift: finds a small number by a large one: an open-addressed table (decision 12: no Dictionary).

/// A map from 64-bit keys to indices.
struct NumberTable {
  private var keys: [UInt64] = []
  /// The value plus one; 0: never used; -1: was used.
  private var values: [Int32] = []
  private var usedCount = 0
  private(set) var count = 0

  private func place(of key: UInt64) -> Int? {
    if count == 0 { return nil }
    let mask = values.count - 1
    var place = Self.hash(key) & mask
    while true {
      let value = values[place]
      if value == 0 { return nil }
      if value > 0 && keys[place] == key { return place }
      place = (place + 1) & mask
    }
  }

  /// Multiplies by an odd constant (Knuth, volume 3, 6.4); the upper half is the well-mixed one, wrapping is meant.
  private static func hash(_ key: UInt64) -> Int { Int((key &* 0x9e37_79b9_7f4a_7c15) >> 33) }

  subscript(_ key: UInt64) -> Int? {
    guard let place = place(of: key) else { return nil }
    return Int(values[place]) - 1
  }

  /// Enters a key that is not there.
  mutating func insert(_ key: UInt64, _ value: Int) {
    if (usedCount + 1) * 4 > values.count * 3 { rebuild() }
    count += 1
    put(key, Int32(value + 1))
  }

  private mutating func put(_ key: UInt64, _ value: Int32) {
    let mask = values.count - 1
    var place = Self.hash(key) & mask
    while values[place] > 0 { place = (place + 1) & mask }
    if values[place] == 0 { usedCount += 1 }
    keys[place] = key
    values[place] = value
  }

  private mutating func rebuild() {
    var capacity = 16
    while capacity < (count + 1) * 2 { capacity *= 2 }
    let (oldKeys, oldValues) = (keys, values)
    keys = [UInt64](repeating: 0, count: capacity)
    values = [Int32](repeating: 0, count: capacity)
    usedCount = 0
    for index in oldValues.indices where oldValues[index] > 0 { put(oldKeys[index], oldValues[index]) }
  }

  mutating func remove(_ key: UInt64) {
    guard let place = place(of: key) else { return }
    values[place] = -1
    count -= 1
  }
}
