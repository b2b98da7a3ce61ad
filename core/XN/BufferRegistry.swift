// SPDX-License-Identifier: Apache-2.0
// BufferRegistry.swift: which block is in which frame, for file systems that share cached blocks without trust.

/// A cached block.
public struct BufferRecord: Sendable {
  /// The block; 0: the record is not used. (Block 0 is XN's own.)
  public internal(set) var block: UInt32 = 0
  /// The frame that holds it.
  public internal(set) var frame: UInt32 = 0
  /// Whose memory the frame counts as; 0: nobody's, and it goes first when memory is short.
  public internal(set) var owner: UInt16 = 0
  /// How many environments have it mapped or use it.
  public internal(set) var readerCount: UInt16 = 0
  /// Memory is newer than the disk.
  public internal(set) var isChanged = false
  var chain: UInt32 = 0
  var newer: UInt32 = 0
  var older: UInt32 = 0

  /// An unused record.
  public init() {}
}

/// The records of the registry; index 0 is not used.
public protocol BufferMemory {
  /// How many records there are.
  var recordCount: UInt32 { get }
  /// How many hash chains there are: a power of two.
  var bucketCount: UInt32 { get }
  /// The records.
  subscript(record index: UInt32) -> BufferRecord { get nonmutating set }
  /// The heads of the hash chains.
  subscript(bucket index: UInt32) -> UInt32 { get nonmutating set }
}

/// The cached blocks of a disk.
public struct BufferRegistry<Memory: BufferMemory> {
  /// The records.
  public let memory: Memory
  private var unused: UInt32 = 0
  /// Clean buffers that nobody owns or reads, the oldest first: free memory's cache.
  private var oldest: UInt32 = 0
  private var newest: UInt32 = 0

  /// Starts without buffers.
  public init(memory: Memory) {
    self.memory = memory
    for bucket in 0..<memory.bucketCount { memory[bucket: bucket] = 0 }
    for index in (1..<memory.recordCount).reversed() {
      memory[record: index] = BufferRecord()
      memory[record: index].chain = unused
      unused = index
    }
  }

  private func bucket(_ block: UInt32) -> UInt32 { (block &* 0x9e37_79b1) >> 7 & (memory.bucketCount - 1) }

  /// The record of a block, or nil if it is not cached.
  public func find(_ block: UInt32) -> UInt32? {
    var index = memory[bucket: bucket(block)]
    while index != 0 {
      if memory[record: index].block == block { return index }
      index = memory[record: index].chain
    }
    return nil
  }

  private func isIdle(_ record: BufferRecord) -> Bool {
    record.owner == 0 && record.readerCount == 0 && !record.isChanged
  }

  /// Enters a block that somebody has read into a frame of his.
  ///
  /// - Returns: Its record; nil if the block is cached already or no record is free.
  public mutating func enter(_ block: UInt32, frame: UInt32, owner: UInt16) -> UInt32? {
    guard block != 0, unused != 0, find(block) == nil else { return nil }
    let index = unused
    unused = memory[record: index].chain
    var record = BufferRecord()
    record.block = block
    record.frame = frame
    record.owner = owner
    record.chain = memory[bucket: bucket(block)]
    memory[bucket: bucket(block)] = index
    memory[record: index] = record
    if isIdle(record) { link(index) }
    return index
  }

  /// Changes a record, and with it whether the buffer is free memory's.
  public mutating func update(_ index: UInt32, _ change: (inout BufferUse) -> Void) {
    var record = memory[record: index]
    guard record.block != 0 else { return }
    let wasIdle = isIdle(record)
    var use = BufferUse(owner: record.owner, readerCount: record.readerCount, isChanged: record.isChanged)
    change(&use)
    record.owner = use.owner
    record.readerCount = use.readerCount
    record.isChanged = use.isChanged
    memory[record: index] = record
    if wasIdle == isIdle(record) { return }
    if wasIdle { unlink(index) } else { link(index) }
  }

  /// Lets a block go.
  ///
  /// - Returns: Its frame; nil if somebody reads it or it has changes.
  public mutating func remove(_ index: UInt32) -> UInt32? {
    let record = memory[record: index]
    guard record.block != 0, record.readerCount == 0, !record.isChanged else { return nil }
    if isIdle(record) { unlink(index) }
    var before: UInt32 = 0
    var other = memory[bucket: bucket(record.block)]
    while other != index {
      before = other
      other = memory[record: other].chain
    }
    if before == 0 {
      memory[bucket: bucket(record.block)] = record.chain
    } else {
      memory[record: before].chain = record.chain
    }
    memory[record: index] = BufferRecord()
    memory[record: index].chain = unused
    unused = index
    return record.frame
  }

  /// The buffer to take when memory is short: the one that was free memory's for the longest time.
  public var reclaimable: UInt32? { oldest == 0 ? nil : oldest }

  private mutating func link(_ index: UInt32) {
    memory[record: index].older = newest
    memory[record: index].newer = 0
    if newest != 0 { memory[record: newest].newer = index } else { oldest = index }
    newest = index
  }

  private mutating func unlink(_ index: UInt32) {
    let (newer, older) = (memory[record: index].newer, memory[record: index].older)
    if newer != 0 { memory[record: newer].older = older } else { newest = older }
    if older != 0 { memory[record: older].newer = newer } else { oldest = newer }
  }
}

/// What can change of a buffer.
public struct BufferUse: Sendable {
  /// Whose memory it counts as; 0: nobody's.
  public var owner: UInt16
  /// How many use it.
  public var readerCount: UInt16
  /// Memory is newer than the disk.
  public var isChanged: Bool
}
