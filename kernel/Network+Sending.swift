// SPDX-License-Identifier: Apache-2.0
// Network+Sending.swift: packets from environments to the card.
//
// A header is copied to where only the kernel writes, and checked there. The rest is read by the card from the sender's
// frames, which stay pinned until it is done.

import ApusABI
import ApusCapabilities
import ApusDrivers
import ApusMachine
import ApusPacketFilter
import ApusResources
import CApusABI

/// A header in the card's buffer.
struct CopiedHeader: HeaderBytes {
  let bytes: KernelBytes
  var count: Int { bytes.count }
  subscript(index: Int) -> UInt8 { bytes[index] }
}

extension Network {
  /// Sends the packets that the call's words describe, up to the first that is refused or finds no room.
  ///
  /// - Parameters:
  ///   - count: How many there are.
  ///   - ring: The ring that they are sent through, by its index.
  ///   - name: And by its name.
  ///   - capability: What reaches the frames that they are made of.
  ///   - isFree: Whether packets may be sent that mirror no filter.
  /// - Returns: How many were sent.
  /// - Throws: Why the first was not.
  mutating func send(
    _ count: Int, _ ring: UInt32, _ name: UInt64, by capability: Capability, isFree: Bool
  ) throws(SystemCallError) -> UInt64 {
    var sent = 0
    while sent < count, let slot = card.vacantTransmitSlot {
      let place = kernel.words.physical + UInt64(sent * MemoryLayout<apus_transmit>.stride)
      let packet = Record<apus_transmit>(physical: place).value
      do throws(SystemCallError) {
        let header = KernelBytes(physical: card.headerAddress(slot), count: Int(APUS_TRANSMIT_HEADER))
        try copyHeader(packet, ring, to: header, isFree: isFree)
        var transmission = Transmission()
        transmission.ring = name
        try pinRuns(packet, slot, &transmission, by: capability)
        transmissions[UInt32(slot)] = transmission
      } catch {
        if sent == 0 { throw error }
        break
      }
      card.send(slot, headerCount: Int(packet.header_count), hasRuns: packet.run_count > 0)
      sent += 1
    }
    if sent > 0 { card.announceTransmissions() }
    return UInt64(sent)
  }

  private func copyHeader(
    _ packet: apus_transmit, _ ring: UInt32, to buffer: KernelBytes, isFree: Bool
  ) throws(SystemCallError) {
    let count = Int(packet.header_count)
    guard count >= 14, count <= buffer.count, packet.run_count <= UInt16(APUS_TRANSMIT_RUNS) else { throw .invalid }
    let header = buffer.part(0, count)
    guard UserMemory.copyIn(packet.header, count, root: caller.root, to: header) else { throw garbage(packet.header) }
    if packet.filter == 0 {
      guard isFree else { throw .denied }
    } else {
      guard self.ring(ofFilter: UInt64(packet.filter)) == ring,
        filters.mirrors(packet.filter, CopiedHeader(bytes: header))
      else { throw .denied }
    }
  }

  /// Tells the card where the rest of a packet lies, and keeps it there.
  private func pinRuns(
    _ packet: apus_transmit, _ slot: UInt16, _ transmission: inout Transmission, by capability: Capability
  ) throws(SystemCallError) {
    let runs: [3 of apus_transmit_run] = [packet.runs.0, packet.runs.1, packet.runs.2]
    var length = UInt64(packet.header_count)
    do throws(SystemCallError) {
      while transmission.count < Int(packet.run_count) {
        let (run, index) = (runs[transmission.count], transmission.count)
        guard run.count >= 1, run.count <= 4096 - run.place & 4095 else { throw .invalid }
        length += run.count
        guard length <= UInt64(APUS_TRANSMIT_BYTES) else { throw .invalid }
        transmission.frames[index] = try kernel.frames.pinForDevice(run.place >> 12, by: capability)
        transmission.count += 1
        card.setRun(
          slot, UInt16(index), address: run.place, count: UInt32(run.count),
          isLast: transmission.count == Int(packet.run_count))
      }
    } catch {
      for index in 0..<transmission.count { unpin(transmission.frames[index]) }
      throw error
    }
  }
}
