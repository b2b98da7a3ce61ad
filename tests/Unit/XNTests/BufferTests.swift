// SPDX-License-Identifier: Apache-2.0
// BufferTests.swift: the registry of cached blocks beside a dictionary, at random.

import Testing

@testable import ApusXN

private final class Buffers: BufferMemory {
  let recordCount: UInt32 = 40
  let bucketCount: UInt32 = 8
  private var records = [BufferRecord](repeating: BufferRecord(), count: 40)
  private var buckets = [UInt32](repeating: 0, count: 8)
  subscript(record index: UInt32) -> BufferRecord {
    get { records[Int(index)] }
    set { records[Int(index)] = newValue }
  }
  subscript(bucket index: UInt32) -> UInt32 {
    get { buckets[Int(index)] }
    set { buckets[Int(index)] = newValue }
  }
}

@Suite("XN's buffer registry")
struct BufferTests {
  private func entered(_ index: UInt32?) throws -> UInt32 { try #require(index) }

  @Test
  func theOldestOfNobodysCleanBuffersGoesFirst() throws {
    var registry = BufferRegistry(memory: Buffers())
    let first = try entered(registry.enter(10, frame: 1, owner: 5))
    let second = try entered(registry.enter(11, frame: 2, owner: 0))
    let third = try entered(registry.enter(12, frame: 3, owner: 0))
    let again = registry.enter(11, frame: 9, owner: 0)
    #expect(again == nil)
    #expect(registry.reclaimable == second)
    registry.update(second) { $0.readerCount = 1 }
    #expect(registry.reclaimable == third)
    do {
      let frame = registry.remove(second)
      #expect(frame == nil)
    }
    registry.update(third) { $0.isChanged = true }
    #expect(registry.reclaimable == nil)
    do {
      let frame = registry.remove(third)
      #expect(frame == nil)
    }
    registry.update(first) { $0.owner = 0 }
    registry.update(third) { $0.isChanged = false }
    #expect(registry.reclaimable == first)
    do {
      let frame = registry.remove(first)
      #expect(frame == 1)
    }
    #expect(registry.find(10) == nil)
    #expect(registry.reclaimable == third)
  }

  @Test
  func randomUseEqualsADictionary() {
    let memory = Buffers()
    var registry = BufferRegistry(memory: memory)
    var model: [UInt32: (frame: UInt32, isIdle: Bool)] = [:]
    var idle: [UInt32] = []
    var random = Seeded(1)
    for step in 0..<5000 {
      let block = UInt32(1 + random.below(60))
      if let index = registry.find(block) {
        #expect(model[block]?.frame == memory[record: index].frame)
        if random.percent(50) {
          let owner = UInt16(random.below(2))
          let isChanged = random.percent(30)
          registry.update(index) {
            $0.owner = owner
            $0.isChanged = isChanged
          }
          let isIdle = owner == 0 && !isChanged
          if isIdle != model[block]?.isIdle { if isIdle { idle.append(block) } else { idle.removeAll { $0 == block } } }
          model[block]?.isIdle = isIdle
        } else if registry.remove(index) != nil {
          model[block] = nil
          idle.removeAll { $0 == block }
        } else {
          #expect(memory[record: index].isChanged)
        }
      } else {
        #expect(model[block] == nil)
        let owner = UInt16(random.below(2))
        let entered = registry.enter(block, frame: UInt32(step), owner: owner)
        #expect((entered == nil) == (model.count == 39))
        if entered != nil {
          model[block] = (UInt32(step), owner == 0)
          if owner == 0 { idle.append(block) }
        }
      }
      #expect(registry.reclaimable.map { memory[record: $0].block } == idle.first)
    }
  }
}
