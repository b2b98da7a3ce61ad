// SPDX-License-Identifier: Apache-2.0
// Network+Rings.swift: rings as resources: made of pinned frames, reached by capabilities, and their ends.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusPacketFilter
import ApusResources
import CApusABI

/// The atoms of the call in progress.
private struct CopiedAtoms: AtomList {
  let count: Int
  subscript(index: Int) -> Atom { Atom(word: kernel.words[2 * index], value: kernel.words[2 * index + 1]) }
}

extension Network {
  /// The index of a ring that lives; its name is generation << 8 | index.
  func index(of name: UInt64) -> UInt32? {
    let index = UInt32(truncatingIfNeeded: name & 0xff)
    guard index < rings.count, UInt64(rings[index].generation) == name >> 8,
      rings[index].state == UInt8(APUS_PACKET_RING_LIVE)
    else { return nil }
    return index
  }

  /// Whether a capability reaches a ring that lives.
  func isReached(_ ring: UInt32, by capability: Capability) -> Bool {
    rings[ring].state == UInt8(APUS_PACKET_RING_LIVE)
      && capability.dominates(guard: rings[ring].guard, length: rings[ring].guard_length, needing: .write)
  }

  /// The index of a ring that a capability reaches.
  ///
  /// - Throws: `noSuchResource`, `denied`.
  func ring(_ name: UInt64, by capability: Capability) throws(SystemCallError) -> UInt32 {
    guard let ring = index(of: name) else { throw .noSuchResource }
    guard isReached(ring, by: capability) else { throw .denied }
    return ring
  }

  /// The ring that a filter leads to, if there is such a filter.
  func ring(ofFilter filter: UInt64) -> UInt32? {
    let table = filters.memory.filters
    guard filter < UInt64(table.count), table[UInt32(truncatingIfNeeded: filter)].state != 0 else { return nil }
    return UInt32(table[UInt32(truncatingIfNeeded: filter)].ring)
  }

  /// Makes a ring of a header frame and the frames that the call's words name.
  ///
  /// - Returns: Its name.
  /// - Throws: `exhausted` if there is no ring left; what `pinUarea` throws. Then nothing is pinned.
  func makeRing(
    header: UInt64, entries: Int, account: UInt16, by capability: Capability
  ) throws(SystemCallError) -> UInt64 {
    var ring: UInt32 = 0
    while ring < rings.count, rings[ring].state != UInt8(APUS_PACKET_RING_FREE) { ring += 1 }
    guard ring < rings.count else { throw .exhausted }
    try kernel.frames.pinUarea(header, account: account, by: capability)
    let first = ring * UInt32(APUS_PACKET_RING_ENTRIES)
    var pinned = 0
    do throws(SystemCallError) {
      while pinned < entries {
        try kernel.frames.pinUarea(kernel.words[pinned], account: account, by: capability)
        ringFrames[first + UInt32(pinned)] = UInt32(truncatingIfNeeded: kernel.words[pinned])
        pinned += 1
      }
    } catch {
      for index in 0..<UInt32(pinned) { kernel.frames.unpin(ringFrames[first + index]) }
      kernel.frames.unpin(UInt32(truncatingIfNeeded: header))
      throw error
    }
    let generation = rings[ring].generation &+ 1 & 0x7fff_ffff
    rings[ring] = apus_packet_ring_record(
      guard: capability.name, produced: 0, generation: generation, header_frame: UInt32(truncatingIfNeeded: header),
      account: account, entries: UInt16(entries), next: 0, guard_length: capability.length,
      state: UInt8(APUS_PACKET_RING_LIVE), filters: 0, overruns: 0)
    for word in 0..<UInt64(4) { PhysicalMemory.setShared64(header << 12 + word << 3, 0) }
    return UInt64(generation) << 8 | UInt64(ring)
  }

  // MARK: Calls

  private static func there() throws(SystemCallError) -> Record<Network> {
    guard let network = kernel.network else { throw .noSuchResource }
    return network
  }

  /// `packetRingCreate`, the frames' numbers in the call's words.
  static func make(
    header: UInt64, entries: Int, account: UInt16, by capability: Capability
  ) throws(SystemCallError) -> UInt64 {
    let network = try there()
    // Rings end with their account's last environment, so nobody else's can be made.
    guard account == caller.account else { throw .denied }
    return try network.value.makeRing(header: header, entries: entries, account: account, by: capability)
  }

  /// `packetRingEnd`.
  static func end(_ name: UInt64, by capability: Capability) throws(SystemCallError) -> UInt64 {
    let network = try there()
    let ring = try network.value.ring(name, by: capability)
    guard network.value.rings[ring].filters == 0 else { throw .inUse }
    network.value.release(ring)
    return 0
  }

  /// `filterInsert`, the atoms in the call's words.
  static func insert(
    _ count: Int, _ name: UInt64, by capability: Capability, wider: Capability
  ) throws(SystemCallError) -> UInt64 {
    let network = try there()
    let ring = try network.value.ring(name, by: capability)
    do throws(FilterError) {
      return UInt64(
        try network.value.insert(count, ring, mayOverlap: wider.covers(BootName.network, needing: .write)))
    } catch {
      switch error {
      case .invalid: throw .invalid
      case .exhausted, .costly: throw .exhausted
      case .overlap(let other):
        let holder = UInt64(network.value.filters.memory.filters[other].account)
        return 0 &- (UInt64(SystemCallError.overlap.rawValue) | UInt64(other) << 8 | holder << 32)
      }
    }
  }

  /// `filterRemove`.
  static func remove(_ filter: UInt64, by capability: Capability) throws(SystemCallError) -> UInt64 {
    let network = try there()
    guard let ring = network.value.ring(ofFilter: filter) else { throw .noSuchResource }
    guard network.value.isReached(ring, by: capability) else { throw .denied }
    network.value.removeFilter(UInt32(filter))
    return 0
  }

  /// `transmit`, the packets in the call's words.
  static func transmit(
    _ count: Int, _ name: UInt64, by capability: Capability, wider: Capability
  ) throws(SystemCallError) -> UInt64 {
    let network = try there()
    let ring = try network.value.ring(name, by: capability)
    network.value.poll()
    return try network.value.send(
      count, ring, name, by: capability, isFree: wider.covers(BootName.network, needing: .write))
  }

  // MARK: Ends

  /// The rings of an account without environments end, one after the other.
  mutating func endRings(of account: UInt16) {
    for ring in 0..<rings.count
    where rings[ring].state == UInt8(APUS_PACKET_RING_LIVE) && rings[ring].account == account {
      rings[ring].state = UInt8(APUS_PACKET_RING_ENDING)
      if ending == nil { ending = (ring, 1) }
    }
  }

  /// Takes a filter of an ending ring out, or looks at so many; then gives the ring's frames back.
  mutating func endStep() {
    guard let (ring, first) = ending else { return }
    var filter = first
    let last = min(filter + 512, filters.memory.filterCount)
    while filter < last, rings[ring].filters > 0 {
      if filters.memory.filters[filter].state != 0, UInt32(filters.memory.filters[filter].ring) == ring {
        removeFilter(filter)
        ending = (ring, filter + 1)
        return
      }
      filter += 1
    }
    ending = (ring, filter)
    guard rings[ring].filters == 0 else { return }
    release(ring)
    ending = nil
    for next in 0..<rings.count where rings[next].state == UInt8(APUS_PACKET_RING_ENDING) { ending = (next, 1) }
  }

  /// Ends the pins of a ring without filters, and frees its record.
  func release(_ ring: UInt32) {
    rings[ring].state = UInt8(APUS_PACKET_RING_FREE)
    unpin(rings[ring].header_frame)
    let first = ring * UInt32(APUS_PACKET_RING_ENTRIES)
    for entry in 0..<UInt32(rings[ring].entries) { unpin(ringFrames[first + entry]) }
  }

  // MARK: Filters

  /// Adds a filter that leads to a ring, of atoms in the call's words.
  mutating func insert(_ count: Int, _ ring: UInt32, mayOverlap: Bool) throws(FilterError) -> UInt32 {
    CodeProtection.lift()
    defer { CodeProtection.restore() }
    let filter = try filters.insert(
      CopiedAtoms(count: count), account: rings[ring].account, mayOverlap: { _ in mayOverlap })
    filters.memory.filters[filter].ring = UInt16(ring)
    rings[ring].filters += 1
    kernel.programs.value.bindings[filter].program = 0
    kernel.programs.value.codeVersion &+= 1
    return filter
  }

  /// Takes a filter out.
  mutating func removeFilter(_ filter: UInt32) {
    CodeProtection.lift()
    defer { CodeProtection.restore() }
    rings[UInt32(filters.memory.filters[filter].ring)].filters -= 1
    filters.remove(filter)
    kernel.programs.value.codeVersion &+= 1
  }
}
