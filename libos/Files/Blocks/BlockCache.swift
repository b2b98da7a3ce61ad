// SPDX-License-Identifier: Apache-2.0
// BlockCache.swift: blocks of a device in memory, kept as a policy says, written when the file system says.

import ApusRuntime

/// Why a block is not there.
public enum CacheError: Error, Equatable {
  /// The device failed.
  case device(DeviceError, block: UInt64)
  /// No memory for another block.
  case noMemory
}

/// The blocks of one device that are in memory.
///
/// A block leaves when room is needed and the policy names it. A changed one may only if it is free to be written at
/// any time; everything else waits for the file system's own order.
public final class BlockCache {
  /// The device below.
  public let device: any BlockDevice
  /// The size of a block: 512 to 4096 bytes.
  public let blockByteCount: Int
  /// What decides which blocks stay.
  public let policy: any CachePolicy
  private var table = NumberTable()
  private var slots: [CachedBlock?] = []
  private var unusedSlots: [Int32] = []
  /// Changed blocks that wait for the file system's order.
  public private(set) var orderedCount = 0
  /// Transfers of one block at least that were made, for those who measure.
  public private(set) var readCount = 0
  /// Blocks that were written.
  public private(set) var writeCount = 0
  /// Flushes that were made.
  public private(set) var flushCount = 0
  private var needsFlush = false

  /// Makes an empty cache.
  ///
  /// - Parameters:
  ///   - device: The device below.
  ///   - blockByteCount: The size of a block: a power of two from 512 to 4096.
  ///   - policy: What decides which blocks stay.
  public init(_ device: any BlockDevice, blockByteCount: Int, policy: any CachePolicy) {
    self.device = device
    self.blockByteCount = blockByteCount
    self.policy = policy
  }

  deinit { drain() }

  /// Waits for every read that is under way: afterwards the device has none of the cache's memory.
  public func drain() {
    for slot in slots { if let transfer = slot?.loading { device.finish(transfer) } }
  }

  private var sectorsPerBlock: UInt64 { UInt64(blockByteCount / sectorByteCount) }

  /// How many whole blocks the device has.
  public var blockCount: UInt64 { device.sectorCount / sectorsPerBlock }

  /// The block if it is in memory, waiting for a read that is under way.
  public func present(_ number: UInt64) throws(CacheError) -> CachedBlock? {
    guard let slot = table[number], let block = slots[slot] else { return nil }
    policy.used(slot)
    try settle(block)
    return block
  }

  private func settle(_ block: CachedBlock) throws(CacheError) {
    guard let transfer = block.loading else { return }
    device.finish(transfer)
    block.loading = nil
    guard var error = transfer.error else { return }
    if transfer.memory.count > 1 {
      // Another block of the run may have failed.
      let alone = BlockTransfer(.read, firstSector: block.number * sectorsPerBlock, memory: [block.bytes])
      device.start(alone)
      device.finish(alone)
      guard let own = alone.error else { return }
      error = own
    }
    remove(block)
    throw .device(error, block: block.number)
  }

  /// The block, read if it is not in memory.
  public func read(_ number: UInt64, _ use: BlockUse = .metadata) throws(CacheError) -> CachedBlock {
    if let block = try present(number) { return block }
    let block = try enter(number, use)
    startReading([block])
    try settle(block)
    return block
  }

  /// Starts reading consecutive blocks that are not in memory; errors show when they are used.
  ///
  /// - Parameters:
  ///   - first: The first block.
  ///   - count: How many.
  ///   - use: What they hold.
  public func prefetch(_ first: UInt64, count: Int, _ use: BlockUse = .data) {
    var run: [CachedBlock] = []
    for number in first..<first + UInt64(count) {
      if table[number] == nil, number < blockCount, let block = try? enter(number, use) {
        run.append(block)
        // A block that is still being read is not to leave for the next of the run.
        block.loading = placeholder
        continue
      }
      startReading(run)
      run = []
    }
    startReading(run)
  }

  private let placeholder = BlockTransfer(.read)

  private func startReading(_ run: [CachedBlock]) {
    guard let first = run.first else { return }
    var memory: [Bytes] = []
    for block in run { memory.append(block.bytes) }
    let transfer = BlockTransfer(.read, firstSector: first.number * sectorsPerBlock, memory: memory)
    readCount += 1
    for block in run { block.loading = transfer }
    device.start(transfer)
  }

  /// The block with any contents, for a caller who writes all of it.
  public func blank(_ number: UInt64, _ use: BlockUse) throws(CacheError) -> CachedBlock {
    if let present = try present(number) { return present }
    return try enter(number, use)
  }

  private func enter(_ number: UInt64, _ use: BlockUse) throws(CacheError) -> CachedBlock {
    guard number < blockCount else { throw .device(.outOfRange, block: number) }
    while table.count >= policy.capacity {
      guard let slot = policy.victim({ mayLeave($0) }), let victim = slots[slot], mayLeave(slot) else { break }
      if victim.isChanged { try write([victim]) }
      remove(victim)
    }
    guard let block = CachedBlock(number, byteCount: blockByteCount) else { throw .noMemory }
    if let slot = unusedSlots.popLast() {
      block.slot = Int(slot)
      slots[block.slot] = block
    } else {
      block.slot = slots.count
      slots.append(block)
    }
    table.insert(number, block.slot)
    policy.entered(block.slot, use)
    return block
  }

  private func mayLeave(_ slot: Int) -> Bool {
    guard slot >= 0, slot < slots.count, let block = slots[slot] else { return false }
    return block.loading == nil && (!block.isChanged || block.order == 0)
  }

  private func remove(_ block: CachedBlock) {
    if block.slot < 0 { return }
    if block.isChanged && block.order > 0 { orderedCount -= 1 }
    block.isChanged = false
    policy.left(block.slot)
    table.remove(block.number)
    slots[block.slot] = nil
    unusedSlots.append(Int32(block.slot))
    block.slot = -1
  }

  /// Forgets a block and what was changed in it: it belongs to nobody any more.
  public func discard(_ number: UInt64) {
    guard let slot = table[number], let block = slots[slot] else { return }
    if let transfer = block.loading { device.finish(transfer) }
    block.loading = nil
    remove(block)
  }

  /// Notes that a block's memory is newer than the device.
  ///
  /// - Parameters:
  ///   - block: A block of this cache.
  ///   - order: How the change waits; 0: not at all. What waits goes on waiting until it has been written.
  public func change(_ block: CachedBlock, order: UInt8) {
    precondition(block.slot >= 0)
    let waited = block.isChanged && block.order > 0
    block.order = block.isChanged ? max(block.order, order) : order
    block.isChanged = true
    if !waited && block.order > 0 { orderedCount += 1 }
  }

  /// Every changed block for which `isWanted` holds.
  public func changed(_ isWanted: (CachedBlock) -> Bool) -> [CachedBlock] {
    var found: [CachedBlock] = []
    for slot in slots {
      if let block = slot, block.isChanged, isWanted(block) { found.append(block) }
    }
    return found
  }

  /// Writes blocks, neighbours in one transfer, and waits for all of them.
  ///
  /// - Throws: What the device said of the first that failed; those stay changed.
  public func write(_ blocks: [CachedBlock]) throws(CacheError) {
    if blocks.isEmpty { return }
    let sorted = blocks.sorted { $0.number < $1.number }
    var transfers: [BlockTransfer] = []
    var starts: [Int] = []
    var index = 0
    while index < sorted.count {
      var end = index + 1
      while end < sorted.count, end - index < 256, sorted[end].number == sorted[end - 1].number + 1 { end += 1 }
      var memory: [Bytes] = []
      for block in sorted[index..<end] { memory.append(block.bytes) }
      let transfer = BlockTransfer(.write, firstSector: sorted[index].number * sectorsPerBlock, memory: memory)
      transfers.append(transfer)
      starts.append(index)
      device.start(transfer)
      index = end
    }
    var failure: CacheError?
    for (place, transfer) in transfers.enumerated() {
      device.finish(transfer)
      if let error = transfer.error {
        if failure == nil { failure = .device(error, block: sorted[starts[place]].number) }
        continue
      }
      let end = place + 1 < starts.count ? starts[place + 1] : sorted.count
      for block in sorted[starts[place]..<end] where block.isChanged {
        block.isChanged = false
        if block.order > 0 { orderedCount -= 1 }
        block.order = 0
      }
      writeCount += end - starts[place]
    }
    needsFlush = true
    if let failure { throw failure }
  }

  /// Makes all that was written durable; nothing is asked of the device if nothing was written since the last time.
  public func flush() throws(CacheError) {
    if !needsFlush { return }
    let transfer = BlockTransfer(.flush)
    device.start(transfer)
    device.finish(transfer)
    flushCount += 1
    if let error = transfer.error { throw .device(error, block: 0) }
    needsFlush = false
  }
}
