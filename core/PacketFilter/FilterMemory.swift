// SPDX-License-Identifier: Apache-2.0
// FilterMemory.swift: the memory that the filter table decides about, as the kernel and the tests provide it.

import CApusABI

/// The records of the trie and the bytes of its code.
///
/// Index 0 of each table is not used.
public protocol FilterMemory {
  /// Counts of records, index 0 included.
  var stateCount: UInt32 { get }
  var fieldCount: UInt32 { get }
  var filterCount: UInt32 { get }
  /// The logarithm of the number of buckets.
  var bucketBits: UInt32 { get }
  /// The states, fields and filters.
  subscript(state index: UInt32) -> apus_filter_state { get nonmutating set }
  subscript(field index: UInt32) -> apus_filter_field { get nonmutating set }
  subscript(filter index: UInt32) -> apus_filter { get nonmutating set }
  /// The heads of the hash chains.
  subscript(bucket index: UInt32) -> UInt32 { get nonmutating set }
  /// Where the code will run: the address of its first byte.
  var codeAddress: UInt64 { get }
  /// Puts bytes of code, the lowest `count` of `bytes`, at an offset below `fieldCount * FilterCode.slotSize`.
  func store(_ bytes: UInt64, count: Int, at offset: Int)
}
