// SPDX-License-Identifier: Apache-2.0
// VirtioQueue.swift: a split virtqueue (virtio 1.2, 2.7).
//
// Each slot has the same number of descriptors for good, so a buffer is known by its slot number and there is no free
// list to corrupt. What the device writes is an allegation: an index that runs ahead of what it was given, or a slot
// that it does not have, marks the queue as broken and is not followed.

/// One queue of a virtio device.
struct VirtioQueue<Memory: SharedMemoryAccess> {
  /// The most descriptors of a queue.
  static var sizeLimit: UInt16 { 256 }

  private let memory: Memory
  /// Descriptors in the queue, a power of two.
  let size: UInt16
  /// Descriptors of a slot, a power of two.
  let descriptorsPerSlot: UInt16
  /// Physical address of the descriptor table.
  let descriptors: UInt64
  private var availableIndex: UInt16 = 0
  private var usedIndex: UInt16 = 0
  /// Bit i of word i / 64: the device has the buffer of slot i.
  private var given = [4 of UInt64](repeating: 0)
  /// How many buffers the device has.
  private(set) var inFlightCount: UInt16 = 0
  /// The device broke the rules; nothing that it says counts any more.
  private(set) var isBroken = false

  /// How many slots there are.
  var slotCount: UInt16 { size / descriptorsPerSlot }
  /// Physical address of the ring that the driver writes.
  var available: UInt64 { descriptors + 16 * UInt64(size) }
  /// Physical address of the ring that the device writes.
  var used: UInt64 { available + 4 * UInt64(size) }

  /// Makes a queue.
  ///
  /// - Parameters:
  ///   - memory: Access to the memory.
  ///   - physical: Zeroed memory of 32 bytes for each descriptor, aligned to 16.
  ///   - size: Descriptors, a power of two from 8 to `sizeLimit`.
  ///   - descriptorsPerSlot: How many of them a buffer has, a power of two.
  init(memory: Memory, physical: UInt64, size: UInt16 = 16, descriptorsPerSlot: UInt16 = 1) {
    self.memory = memory
    self.size = size
    self.descriptorsPerSlot = descriptorsPerSlot
    descriptors = physical
  }

  private func descriptor(_ slot: UInt16, _ part: UInt16) -> UInt64 {
    descriptors + UInt64(slot * descriptorsPerSlot + part) * 16
  }

  /// Says where the buffer of a slot lies, once, before the queue starts.
  func describe(slot: UInt16, address: UInt64, deviceWrites: Bool) {
    memory.setShared64(descriptor(slot, 0), address)
    memory.setShared16(descriptor(slot, 0) + 12, deviceWrites ? 2 : 0)
  }

  /// Says where a part of a slot's buffer lies that the device reads, and whether another part follows.
  func describe(slot: UInt16, part: UInt16, address: UInt64, count: UInt32, isLast: Bool) {
    let place = descriptor(slot, part)
    memory.setShared64(place, address)
    memory.setShared32(place + 8, count)
    memory.setShared16(place + 12, isLast ? 0 : 1)
    memory.setShared16(place + 14, slot * descriptorsPerSlot + part + 1)
  }

  /// Gives a buffer of one part to the device, which need not look at it before it is notified.
  mutating func submit(slot: UInt16, count: Int) {
    memory.setShared32(descriptor(slot, 0) + 8, UInt32(truncatingIfNeeded: count))
    submit(slot: slot)
  }

  /// Gives a buffer that has been described to the device.
  mutating func submit(slot: UInt16) {
    let place = available + 4 + UInt64(availableIndex & (size - 1)) * 2
    memory.setShared16(place, slot * descriptorsPerSlot)
    availableIndex &+= 1  // the index wraps by definition
    given[Int(slot >> 6)] |= 1 << UInt64(slot & 63)
    inFlightCount += 1
    memory.setShared16(available + 2, availableIndex)
  }

  /// Whether the device has the buffer of a slot.
  func isInFlight(_ slot: UInt16) -> Bool { given[Int(slot >> 6)] >> UInt64(slot & 63) & 1 != 0 }

  /// The lowest slot whose buffer the device has not.
  var vacantSlot: UInt16? {
    guard inFlightCount < slotCount else { return nil }
    for word in given.indices where given[word] != UInt64.max {
      return UInt16(word * 64 + (~given[word]).trailingZeroBitCount)
    }
    return nil
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
    let entry = used + 4 + UInt64(usedIndex & (size - 1)) * 8
    let head = memory.shared32(entry)
    let count = memory.shared32(entry + 4)
    let slot = UInt16(truncatingIfNeeded: head / UInt32(descriptorsPerSlot))
    guard ahead <= inFlightCount, head < UInt32(size), slot * descriptorsPerSlot == UInt16(head), isInFlight(slot)
    else {
      isBroken = true
      return nil
    }
    usedIndex &+= 1
    forget(slot)
    return (slot, count)
  }

  private mutating func forget(_ slot: UInt16) {
    given[Int(slot >> 6)] &= ~(1 << UInt64(slot & 63))
    inFlightCount -= 1
  }

  /// Takes back a buffer of a device that has been reset and touches no memory any more.
  mutating func takeAbandoned() -> UInt16? {
    for word in given.indices where given[word] != 0 {
      let slot = UInt16(word * 64 + given[word].trailingZeroBitCount)
      forget(slot)
      return slot
    }
    return nil
  }

  /// Whether the device wants to be told of what has been submitted (2.7.10).
  var wantsNotification: Bool {
    memory.barrier()
    return memory.shared16(used) & 1 == 0
  }

  /// Says whether the device shall interrupt when it gives a buffer back (a wish, not a command: 2.7.7).
  func setInterrupts(_ wanted: Bool) {
    memory.setShared16(available, wanted ? 0 : 1)
    memory.barrier()
  }
}
