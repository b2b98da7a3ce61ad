// SPDX-License-Identifier: Apache-2.0
// Storage.swift: the memory that the ledgers decide about, as the kernel and the tests provide it.
//
// The ledgers keep no memory: the kernel hands them its tables, laid out at boot, a test hands them arrays. An
// index that a ledger passes is always in range; an implementation may check that, but need not. All of them
// want to be small structs whose accessors inline: the page-table loops run through them for each entry.

import CApusABI

/// A table of records of one kind, by their numbers.
public protocol RecordTable<Element> {
  associatedtype Element
  /// How many records there are; below 2^31.
  var count: UInt32 { get }
  /// A record. (With a `_modify` accessor, changing a field touches that field only.)
  subscript(index: UInt32) -> Element { get nonmutating set }
}

/// The frame table: one record for each frame of physical memory.
public protocol FrameStorage: RecordTable<apus_frame> {
  /// The bytes of a record from `account` to `reserved`, as one word: see `FrameState`.
  func state(of frame: UInt32) -> UInt64
  /// Writes those bytes.
  func setState(of frame: UInt32, to state: UInt64)
}

/// The contents of frames, as far as the ledgers read and write them.
public protocol TableMemory {
  /// Entry `index` (0 to 511) of a page-table frame.
  func entry(_ table: UInt32, _ index: Int) -> UInt64
  /// Writes entry `index` (0 to 511) of a page-table frame.
  func setEntry(_ table: UInt32, _ index: Int, _ value: UInt64)
  /// Writes an entry in one step with reading it, as another CPU may be setting accessed and dirty in it.
  ///
  /// - Returns: The entry that was there.
  func exchangeEntry(_ table: UInt32, _ index: Int, _ value: UInt64) -> UInt64
  /// Whether another CPU may be setting bits in page tables at all.
  var isShared: Bool { get }
  /// Changes an entry, which was `old` just now, to `(entry & keep) | set`, in one step in the same sense.
  ///
  /// - Returns: The entry that was there.
  func changeEntry(_ table: UInt32, _ index: Int, from old: UInt64, keep: UInt64, set: UInt64) -> UInt64
  /// Fills a frame with zeroes.
  func zero(frame: UInt32)
}

/// Page-table entries to be written: a copy that nobody else can change meanwhile.
public protocol EntryList {
  /// The entry for the page `index` pages after the first.
  subscript(index: Int) -> UInt64 { get }
}

/// Frame numbers that a call takes or returns: a copy that nobody else can change meanwhile.
public protocol FrameList {
  /// A frame number, not yet checked when it comes from a caller.
  subscript(index: Int) -> UInt64 { get nonmutating set }
}
