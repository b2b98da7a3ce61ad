// SPDX-License-Identifier: Apache-2.0
// WordMemory.swift: memory that callers lend to the verifier and the compiler.

/// Words lent by the caller; what is in them at the beginning does not matter.
public protocol WordMemory: ~Copyable {
  /// How many words there are.
  var count: Int { get }
  /// The word at an index below `count`.
  subscript(_ index: Int) -> UInt64 { get set }
}

/// Where compiled code goes.
public protocol CodeBuffer: ~Copyable {
  /// How many bytes fit.
  var capacity: Int { get }
  /// Puts a byte at an offset below `capacity`.
  mutating func store(_ byte: UInt8, at offset: Int)
}
