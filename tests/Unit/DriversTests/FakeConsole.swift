// SPDX-License-Identifier: Apache-2.0
// FakeConsole.swift: a virtio console device in a made-up memory, honest unless a test tells it to lie.

/// Memory that a driver was given; anything else is out of bounds.
final class FakeMemory {
  static let start: UInt64 = 0x20_0000
  private var bytes: [UInt8]

  init(frameCount: Int) { bytes = [UInt8](repeating: 0, count: frameCount * 4096) }

  func load(_ physical: UInt64, _ count: Int) -> [UInt8] {
    let offset = Int(physical - Self.start)
    return Array(bytes[offset..<offset + count])
  }

  func store(_ physical: UInt64, _ value: [UInt8]) {
    let offset = Int(physical - Self.start)
    bytes.replaceSubrange(offset..<offset + value.count, with: value)
  }

  func number(_ physical: UInt64, _ count: Int) -> UInt64 {
    load(physical, count).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  func setNumber(_ physical: UInt64, _ count: Int, _ value: UInt64) {
    store(physical, (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) })
  }
}

/// The device's side of a queue.
struct FakeQueue {
  var size: UInt64 = 0
  var vector: UInt16 = 0xffff
  var isReady = false
  var descriptors: UInt64 = 0
  var available: UInt64 = 0
  var used: UInt64 = 0
  var taken: UInt16 = 0
  var returned: UInt16 = 0
  var notifications = 0
}

/// The device, without its registers.
final class FakeConsole {
  let memory: FakeMemory
  // What a test may change before the driver starts.
  var features: UInt64 = 1 << 32 | 1 << 1
  var refusesFeatures = false
  var neverResets = false
  var queueLimit: UInt16 = 128
  var hasVectors = true
  var ports: [UInt32] = [1]

  // What a test may look at.
  private(set) var status: UInt8 = 0
  private(set) var statusHistory: [UInt8] = []
  var driverFeatures: UInt64 = 0
  var queues = [FakeQueue](repeating: FakeQueue(), count: 6)
  private(set) var openPorts: Set<UInt32> = []

  init(memory: FakeMemory) { self.memory = memory }

  func setStatus(_ value: UInt8) {
    statusHistory.append(value)
    if value == 0 {
      if neverResets { return }
      queues = [FakeQueue](repeating: FakeQueue(), count: 6)
      openPorts = []
      driverFeatures = 0
    }
    status = refusesFeatures ? value & ~8 : value
  }

  func notify(_ index: Int) {
    queues[index].notifications += 1
    if index == 3 { handleControl() }
  }

  private func handleControl() {
    for message in takeAll(3) {
      let port = UInt32(message[0])
      switch (message[4], message[6]) {
      case (0, 1):
        for port in ports {
          sendControl(port: port, event: 1, value: 1)
          sendControl(port: port, event: 7, value: 1, name: Array("apus".utf8))
        }
      case (6, 1): openPorts.insert(port)
      default: break
      }
    }
  }

  private func sendControl(port: UInt32, event: UInt8, value: UInt8, name: [UInt8] = []) {
    _ = fill(2, [UInt8(port), 0, 0, 0, event, 0, value, 0] + name)
  }

  /// Bytes per descriptor of a ring: the slot, address and length that the driver offers next.
  private func next(_ index: Int) -> (slot: UInt16, address: UInt64, count: Int, flags: UInt16)? {
    let queue = queues[index]
    guard queue.isReady, status & 4 != 0,
      UInt16(memory.number(queue.available + 2, 2)) != queue.taken
    else { return nil }
    let place = queue.available + 4 + UInt64(queue.taken) % queue.size * 2
    let slot = UInt16(memory.number(place, 2))
    let descriptor = queue.descriptors + UInt64(slot) * 16
    queues[index].taken &+= 1
    return (
      slot, memory.number(descriptor, 8), Int(memory.number(descriptor + 8, 4)),
      UInt16(memory.number(descriptor + 12, 2))
    )
  }

  /// Takes buffers of several parts that the device reads without giving them back: the first descriptor of each, and
  /// its parts.
  func holdChains(_ index: Int) -> [(head: UInt16, parts: [[UInt8]])] {
    var result: [(UInt16, [[UInt8]])] = []
    while let (head, address, count, flags) = next(index) {
      var parts = [memory.load(address, count)]
      var (place, more) = (queues[index].descriptors + UInt64(head) * 16, flags & 1 != 0)
      while more {
        place = queues[index].descriptors + memory.number(place + 14, 2) * 16
        let flags = memory.number(place + 12, 2)
        precondition(flags & 2 == 0 && parts.count < 16)
        parts.append(memory.load(memory.number(place, 8), Int(memory.number(place + 8, 4))))
        more = flags & 1 != 0
      }
      result.append((head, parts))
    }
    return result
  }

  /// Gives a buffer back; a lying device may name any slot and count.
  func giveBack(_ index: Int, slot: UInt32, count: Int) {
    let queue = queues[index]
    let entry = queue.used + 4 + UInt64(queue.returned) % queue.size * 8
    memory.setNumber(entry, 4, UInt64(slot))
    memory.setNumber(entry + 4, 4, UInt64(count))
    queues[index].returned &+= 1
    memory.setNumber(queue.used + 2, 2, UInt64(queues[index].returned))
  }

  /// Takes buffers that the device reads without giving them back.
  func hold(_ index: Int) -> [(slot: UInt16, bytes: [UInt8])] {
    var result: [(UInt16, [UInt8])] = []
    while let (slot, address, count, flags) = next(index) {
      precondition(flags == 0)
      result.append((slot, memory.load(address, count)))
    }
    return result
  }

  /// Takes and gives back every buffer that the device reads.
  func takeAll(_ index: Int) -> [[UInt8]] {
    hold(index).map {
      giveBack(index, slot: UInt32($0.slot), count: 0)
      return $0.bytes
    }
  }

  /// Fills the next buffer that the device writes; false if there is none.
  func fill(_ index: Int, _ bytes: [UInt8]) -> Bool {
    guard let (slot, address, count, flags) = next(index) else { return false }
    precondition(flags == 2 && bytes.count <= count)
    memory.store(address, bytes)
    giveBack(index, slot: UInt32(slot), count: bytes.count)
    return true
  }

  /// Whether the driver wishes interrupts for a queue.
  func wantsInterrupts(_ index: Int) -> Bool { memory.number(queues[index].available, 2) & 1 == 0 }
}
