// SPDX-License-Identifier: Apache-2.0
// Random.swift: random bytes for host tests, from the host.

/// The family's generator.
public enum Random {
  /// Mixes in bytes: the host needs none.
  public static func seed(_ bytes: [UInt8]) {}

  /// Fills memory with random bytes.
  public static func fill(_ bytes: Bytes) {
    var generator = SystemRandomNumberGenerator()
    for index in 0..<bytes.count { bytes[index] = UInt8.random(in: .min ... .max, using: &generator) }
  }
}
