// SPDX-License-Identifier: Apache-2.0
// PageReplacementTests.swift: which page goes, and where those that are away are found again.

import Testing

@testable import ApusUnix

/// Pages at chosen addresses, some of them used.
private final class Resident: ResidentPages {
  var pages: [UInt64]
  var used: Set<UInt64> = []

  init(_ numbers: some Sequence<UInt64>) { pages = numbers.map { $0 << 12 } }

  func candidate(from address: UInt64) -> UInt64? { pages.sorted().first { $0 >= address } }
  func takeAccessed(_ page: UInt64) -> Bool { used.remove(page) != nil }

  /// Has a policy choose, and takes the page away.
  func evict(by policy: PageReplacement) -> UInt64? {
    guard let page = policy.victim(among: self) else { return nil }
    pages.removeAll { $0 == page }
    return page >> 12
  }
  func touch(_ number: UInt64) { used.insert(number << 12) }
  func bring(_ number: UInt64, _ policy: PageReplacement) {
    pages.append(number << 12)
    policy.brought(number << 12)
  }
}

@Suite struct PageReplacementTests {
  @Test(arguments: ["clock", "fifo"]) func everyPageGoesOnceAndThenNone(name: String) throws {
    let resident = Resident([3, 9, 4, 700])
    let chooser = try #require(PageReplacementPolicy(name: Array(name.utf8))).make()
    var gone: [UInt64] = []
    while let page = resident.evict(by: chooser) { gone.append(page) }
    #expect(gone == [3, 4, 9, 700])
  }

  @Test func theClockPassesWhatWasUsed() {
    let resident = Resident(1...5)
    let clock = PageReplacementPolicy.clock.make()
    resident.touch(1)
    resident.touch(2)
    var gone: [UInt64?] = [resident.evict(by: clock), resident.evict(by: clock)]
    // The second chance of pages 1 and 2 is over when the hand comes round.
    gone += [resident.evict(by: clock), resident.evict(by: clock)]
    #expect(gone == [3, 4, 5, 1])
  }

  @Test func whereAllWereUsedTheHandDecides() {
    let resident = Resident(1...3)
    let clock = PageReplacementPolicy.clock.make()
    for round in 0..<2 {
      for page in resident.pages { resident.touch(page >> 12) }
      #expect(resident.evict(by: clock) == UInt64(round + 1))
    }
  }

  @Test func firstInGoesFirstWhateverIsUsed() {
    let resident = Resident([])
    let policy = PageReplacementPolicy.firstInFirstOut.make()
    for page: UInt64 in [8, 2, 5] { resident.bring(page, policy) }
    resident.touch(8)
    #expect(resident.evict(by: policy) == 8)
    resident.bring(8, policy)
    // Page 5 has gone otherwise.
    resident.pages.removeAll { $0 == 5 << 12 }
    #expect([resident.evict(by: policy), resident.evict(by: policy), resident.evict(by: policy)] == [2, 8, nil])
  }

  @Test func aLongQueueForgetsItsBeginning() {
    let resident = Resident([])
    let policy = PageReplacementPolicy.firstInFirstOut.make()
    for page in UInt64(0)..<5000 {
      resident.bring(page, policy)
      if page >= 3 { #expect(resident.evict(by: policy) == page - 3) }
    }
  }

  @Test func policiesHaveNames() {
    #expect(PageReplacementPolicy(name: Array("clock".utf8)) == .clock)
    #expect(PageReplacementPolicy(name: Array("fifo".utf8)) == .firstInFirstOut)
    #expect(PageReplacementPolicy(name: Array("lru".utf8)) == nil)
  }

  @Test func whatIsAwayIsFound() {
    var generator = SystemRandomNumberGenerator()
    var swapped = SwappedPages()
    var model: [UInt64: UInt32] = [:]
    for step in UInt32(0)..<5000 {
      let page = UInt64.random(in: 0..<200, using: &generator) << 12
      switch step % 5 {
      case 0, 1, 2:
        swapped.insert(page, step)
        model[page] = step
      case 3:
        swapped.remove(page)
        model[page] = nil
      default:
        guard step % 100 == 99 else { continue }
        var out: [UInt64: UInt32] = [:]
        swapped.removeAll(from: page, to: page + 10 << 12) { out[$0] = $1 }
        #expect(out == model.filter { $0.key >= page && $0.key < page + 10 << 12 })
        model = model.filter { !out.keys.contains($0.key) }
      }
      #expect(swapped.count == model.count && swapped[page] == model[page])
    }
    var all: [UInt64: UInt32] = [:]
    swapped.forEach { all[$0] = $1 }
    #expect(all == model)
  }

  @Test func slotsAreUsedAgainWhenNobodyMeansThem() throws {
    var slots = PageSlots(limit: 2)
    var taken = [slots.take(), slots.take(), slots.take()]
    let first = try #require(taken[0])
    let second = try #require(taken[1])
    #expect(first != second && taken[2] == nil)
    let isRetained = slots.retain(first)
    #expect(isRetained)
    slots.release(first)
    taken = [slots.take()]
    #expect(taken == [nil], "one means it still")
    slots.release(first)
    #expect(slots.usedCount == 1)
    taken = [slots.take()]
    #expect(taken == [first])
  }
}
