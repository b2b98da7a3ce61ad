// SPDX-License-Identifier: Apache-2.0
// VirtioQueue.swift: a split virtqueue of sixteen buffers (virtio 1.2, 2.7).
//
// Descriptor i always describes buffer i, so a buffer is known by its slot number and there is no free list to
// corrupt. What the device writes is an allegation: an index that runs ahead of what it was given, or a slot that
// it does not have, marks the queue as broken and is not followed.

/// One queue of a virtio device.
struct VirtioQueue<Memory: SharedMemoryAccess> {
  /// Buffers in a queue.
  static var size: UInt16 { 16 }
  /// Bytes of shared memory for the three rings of a queue.
  static var byteCount: UInt64 { 1024 }

  private let memory: Memory
  /// Physical address of the descriptor table.
  let descriptors: UInt64
  private var availableIndex: UInt16 = 0
  private var usedIndex: UInt16 = 0
  /// Bit i: the device has buffer i.
  private(set) var inFlight: UInt16 = 0
  /// The device broke the rules; nothing that it says counts any more.
  private(set) var isBroken = false

  /// Physical address of the ring that the driver writes.
  var available: UInt64 { descriptors + 256 }
  /// Physical address of the ring that the device writes.
  var used: UInt64 { descriptors + 512 }

  /// Makes a queue.
  ///
  /// - Parameters:
  ///   - memory: Access to the memory.
  ///   - physical: Zeroed memory of `byteCount` bytes, aligned to 16.
  init(memory: Memory, physical: UInt64) {
    self.memory = memory
    descriptors = physical
  }

  /// Says where the buffer of a slot lies, once, before the queue starts.
  func describe(slot: UInt16, address: UInt64, deviceWrites: Bool) {
    let descriptor = descriptors + UInt64(slot) * 16
    memory.setShared64(descriptor, address)
    memory.setShared16(descriptor + 12, deviceWrites ? 2 : 0)
  }

  /// Gives a buffer to the device, which need not look at it before it is notified.
  mutating func submit(slot: UInt16, count: Int) {
    memory.setShared32(descriptors + UInt64(slot) * 16 + 8, UInt32(truncatingIfNeeded: count))
    let place = available + 4 + UInt64(availableIndex & (Self.size - 1)) * 2
    memory.setShared16(place, slot)
    availableIndex &+= 1  // the index wraps by definition
    inFlight |= 1 << slot
    memory.setShared16(available + 2, availableIndex)
  }

  /// Whether the device has given something back.
  var hasUsed: Bool { !isBroken && memory.shared16(used + 2) != usedIndex }

  /// Takes back the buffer that the device finished with first.
  ///
  /// - Returns: The slot and how many bytes the device wrote (its claim), or nil if there is none.
  mutating func takeUsed() -> (slot: UInt16, count: UInt32)? {
    guard !isBroken else { return nil }
    let ahead = memory.shared16(used + 2) &- usedIndex
    guard ahead > 0 else { return nil }
    let entry = used + 4 + UInt64(usedIndex & (Self.size - 1)) * 8
    let slot = memory.shared32(entry)
    let count = memory.shared32(entry + 4)
    guard Int(ahead) <= inFlight.nonzeroBitCount, slot < UInt32(Self.size),
      inFlight & (1 << UInt16(slot)) != 0
    else {
      isBroken = true
      return nil
    }
    usedIndex &+= 1
    inFlight &= ~(1 << UInt16(slot))
    return (UInt16(slot), count)
  }

  /// Says whether the device shall interrupt when it gives a buffer back (a wish, not a command: 2.7.7).
  func setInterrupts(_ wanted: Bool) {
    memory.setShared16(available, wanted ? 0 : 1)
    memory.barrier()
  }
}
