// SPDX-License-Identifier: Apache-2.0
// PageReplacement.swift: which page of an address space goes when frames have to be given back.

import ApusRuntime

/// The pages of an address space that could go, as a policy sees them.
public protocol ResidentPages: AnyObject {
  /// The first page at an address or above that could go.
  ///
  /// - Returns: Its address; nil when there is none.
  func candidate(from address: UInt64) -> UInt64?
  /// Whether the application has used a page since this was asked last.
  func takeAccessed(_ page: UInt64) -> Bool
}

/// A policy, which chooses victims one by one.
///
/// Each address space has an instance of its own.
public protocol PageReplacement: AnyObject {
  /// A page has come, or come back.
  func brought(_ page: UInt64)
  /// Chooses the page that goes next.
  ///
  /// - Returns: Its address; nil when no page could go.
  func victim(among pages: ResidentPages) -> UInt64?
}

/// The policies that there are, by the names under which they are asked for.
public enum PageReplacementPolicy {
  /// The clock: a page that was used since the hand passed it last gets a second chance.
  case clock
  /// First in, first out, whatever was used since.
  case firstInFirstOut

  /// The policy of a name: `clock` or `fifo`.
  public init?(name: [UInt8]) {
    if name == StaticString("clock").bytes {
      self = .clock
    } else if name == StaticString("fifo").bytes {
      self = .firstInFirstOut
    } else {
      return nil
    }
  }

  /// A fresh instance for an address space.
  public func make() -> PageReplacement {
    switch self {
    case .clock: ClockReplacement()
    case .firstInFirstOut: FirstInFirstOutReplacement()
    }
  }
}

/// The clock, or second chance: the hand goes round the address space; a page that was used since the hand passed it
/// last stays for another round (Corbató, "A Paging Experiment with the Multics System", 1968).
public final class ClockReplacement: PageReplacement {
  private var hand: UInt64 = 0

  /// The hand starts at the bottom.
  public init() {}

  /// The hand finds pages by itself.
  public func brought(_ page: UInt64) {}

  /// The first page that was not used since the hand passed it last.
  public func victim(among pages: ResidentPages) -> UInt64? {
    // After a whole round every page has lost its chance: the first of the second round goes.
    var first: UInt64?
    while true {
      guard let page = pages.candidate(from: hand) ?? pages.candidate(from: 0) else { return nil }
      hand = page &+ 4096
      if !pages.takeAccessed(page) { return page }
      if first == page { return page }
      if first == nil { first = page }
    }
  }
}

/// First in, first out: the page that has been there longest goes.
public final class FirstInFirstOutReplacement: PageReplacement {
  /// A ring of pages in the order in which they came; some may have gone otherwise since.
  private var queue: [UInt64] = []
  private var head = 0
  private var hand: UInt64 = 0

  /// Nothing has come yet.
  public init() {}

  /// The page goes to the end of the queue.
  public func brought(_ page: UInt64) { queue.append(page) }

  /// The page at the head of the queue.
  public func victim(among pages: ResidentPages) -> UInt64? {
    while head < queue.count {
      let page = queue[head]
      head += 1
      if head > 1024, head * 2 > queue.count {
        queue.removeSubrange(0..<head)
        head = 0
      }
      if pages.candidate(from: page) == page { return page }
    }
    // What came before the policy was there, or was mapped by a fork, goes in the order of addresses.
    guard let page = pages.candidate(from: hand) ?? pages.candidate(from: 0) else { return nil }
    hand = page &+ 4096
    return page
  }
}

/// Which pages of an address space are in the page server, and in which slots.
///
/// An array in order of addresses and not a dictionary: Swift's hash tables compute with floating point, which LibOS
/// code must not touch.
public struct SwappedPages {
  private(set) var entries: [(page: UInt64, slot: UInt32)] = []

  /// None.
  public init() {}

  /// Whether all pages are here.
  public var isEmpty: Bool { entries.isEmpty }
  /// How many are away.
  public var count: Int { entries.count }

  private func position(of page: UInt64) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].page < page { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// The slot of a page, if it is away.
  public subscript(page: UInt64) -> UInt32? {
    let at = position(of: page)
    return at < entries.count && entries[at].page == page ? entries[at].slot : nil
  }

  /// A page has gone.
  public mutating func insert(_ page: UInt64, _ slot: UInt32) {
    let at = position(of: page)
    if at < entries.count, entries[at].page == page {
      entries[at].slot = slot
    } else {
      entries.insert((page, slot), at: at)
    }
  }

  /// A page is back.
  public mutating func remove(_ page: UInt64) {
    let at = position(of: page)
    if at < entries.count, entries[at].page == page { entries.remove(at: at) }
  }

  /// Takes the pages of a range out; calls `body` with each one's slot.
  public mutating func removeAll(from start: UInt64, to end: UInt64, _ body: (UInt64, UInt32) -> Void) {
    let first = position(of: start)
    var last = first
    while last < entries.count, entries[last].page < end {
      body(entries[last].page, entries[last].slot)
      last += 1
    }
    entries.removeSubrange(first..<last)
  }

  /// Calls `body` with every page that is away.
  public func forEach(_ body: (UInt64, UInt32) -> Void) {
    for entry in entries { body(entry.page, entry.slot) }
  }
}

/// Slots of a page server: which are free, and how many address spaces mean the page in each.
public struct PageSlots {
  private var counts: [UInt16] = []
  private var free: [UInt32] = []
  private let limit: Int

  /// No slot is used.
  ///
  /// - Parameter limit: How many there are.
  public init(limit: Int) { self.limit = limit }

  /// Slots in use.
  public var usedCount: Int { counts.count - free.count }

  /// Takes a slot, with one reference; nil when all are used.
  public mutating func take() -> UInt32? {
    if let slot = free.popLast() {
      counts[Int(slot)] = 1
      return slot
    }
    guard counts.count < limit else { return nil }
    counts.append(1)
    return UInt32(counts.count - 1)
  }

  /// Adds a reference.
  ///
  /// - Returns: False, and nothing changed, if there are too many to count.
  public mutating func retain(_ slot: UInt32) -> Bool {
    guard counts[Int(slot)] < .max else { return false }
    counts[Int(slot)] += 1
    return true
  }

  /// Ends a reference; with the last one the slot is free.
  public mutating func release(_ slot: UInt32) {
    precondition(counts[Int(slot)] > 0)
    counts[Int(slot)] -= 1
    if counts[Int(slot)] == 0 { free.append(slot) }
  }
}
