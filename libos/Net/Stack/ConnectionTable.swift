// SPDX-License-Identifier: Apache-2.0
// ConnectionTable.swift: all connections, found by handle and by their two ends.

/// Names a connection of a stack; a handle whose connection is gone names nothing.
public struct TCPHandle: Equatable, Sendable {
  let index: Int
  let generation: UInt32

  /// A small number that no other connection of the stack has now.
  public var slot: Int { index }
}

/// Slots for connections, and a hash table over them.
///
/// The hash is keyed: whoever chooses addresses and ports cannot choose the bucket.
final class ConnectionTable {
  struct Slot {
    var connection: TCPConnection?
    var generation: UInt32 = 0
    /// The next slot of the same bucket, or -1.
    var next = -1
    var bucket = 0
    /// Whether arriving segments find it.
    var isListed = false
    /// The listener it came from and was not yet given out by, or -1.
    var listener = -1
    var isEstablishedOnce = false
    /// Whether it is in the list of those to be looked at by the next poll.
    var isMarked = false
    /// Whether it is in the list of those in TIME-WAIT.
    var isWaiting = false
    /// Whether it is in the list of those that the application is told of.
    var hasNews = false
  }

  private(set) var slots: [Slot] = []
  private var free: [Int] = []
  private var buckets: [Int]
  private let secret: Secret
  let capacity: Int
  private(set) var count = 0

  init(capacity: Int, secret: Secret) {
    self.capacity = capacity
    self.secret = secret
    var size = 16
    while size < min(capacity, 4096) { size *= 2 }
    buckets = [Int](repeating: -1, count: size)
  }

  private func bucket(_ local: Endpoint, _ remote: Endpoint) -> Int {
    let ports = UInt64(local.port) << 16 | UInt64(remote.port)
    if case .v4(let source) = local.address, case .v4(let target) = remote.address {
      let hash = secret.shortHash(UInt64(source.bits) << 32 | UInt64(target.bits), ports)
      return Int(truncatingIfNeeded: hash) & (buckets.count - 1)
    }
    let source = local.address.words
    let target = remote.address.words
    return Int(truncatingIfNeeded: secret.hash(1, source.0, source.1, target.0, target.1, ports)) & (buckets.count - 1)
  }

  /// The connection between two ends.
  func find(_ local: Endpoint, _ remote: Endpoint) -> TCPHandle? {
    var index = buckets[bucket(local, remote)]
    while index >= 0 {
      if let connection = slots[index].connection, connection.remote == remote, connection.local == local {
        return TCPHandle(index: index, generation: slots[index].generation)
      }
      index = slots[index].next
    }
    return nil
  }

  /// Enters a connection; nil when the table is full.
  func insert(_ connection: TCPConnection, listener: Int) -> TCPHandle? {
    guard count < capacity else { return nil }
    let index: Int
    if let last = free.popLast() {
      index = last
    } else {
      index = slots.count
      slots.append(Slot())
    }
    let bucket = bucket(connection.local, connection.remote)
    slots[index].connection = connection
    slots[index].listener = listener
    slots[index].bucket = bucket
    slots[index].next = buckets[bucket]
    slots[index].isListed = true
    buckets[bucket] = index
    count += 1
    return TCPHandle(index: index, generation: slots[index].generation)
  }

  /// Makes a connection that has ended be found no more; its handle stays good.
  func unlist(_ handle: TCPHandle) {
    guard slots[handle.index].isListed else { return }
    slots[handle.index].isListed = false
    let bucket = slots[handle.index].bucket
    if buckets[bucket] == handle.index {
      buckets[bucket] = slots[handle.index].next
    } else {
      var index = buckets[bucket]
      while index >= 0, slots[index].next != handle.index { index = slots[index].next }
      if index >= 0 { slots[index].next = slots[handle.index].next }
    }
    slots[handle.index].next = -1
  }

  func remove(_ handle: TCPHandle) {
    guard self[handle] != nil else { return }
    unlist(handle)
    let generation = slots[handle.index].generation
    slots[handle.index] = Slot()
    slots[handle.index].generation = generation &+ 1
    free.append(handle.index)
    count -= 1
  }

  /// The handle of what is in a slot now.
  func handle(at index: Int) -> TCPHandle { TCPHandle(index: index, generation: slots[index].generation) }

  subscript(handle: TCPHandle) -> TCPConnection? {
    guard handle.index < slots.count, slots[handle.index].generation == handle.generation else { return nil }
    return slots[handle.index].connection
  }

  /// Whether a handle names a connection.
  @inline(__always) func contains(_ handle: TCPHandle) -> Bool {
    handle.index < slots.count && slots[handle.index].generation == handle.generation
      && slots[handle.index].connection != nil
  }

  /// Changes what is noted beside a connection.
  @inline(__always) func note(_ handle: TCPHandle, _ change: (inout Slot) -> Void) { change(&slots[handle.index]) }
}
