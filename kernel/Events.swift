// SPDX-License-Identifier: Apache-2.0
// Events.swift: what happens on the timelines, in a ring of the information pages that others read and nobody waits for.
//
// The ring is there only if the command line says trace=COUNT. A reader that is too slow loses the oldest events and
// sees by their numbers how many.

import ApusMachine
import ApusResources
import CApusABI
import CShims

/// The ring of events.
struct Events {
  private let ring: Table<apus_event>

  /// Makes a ring over zeroed memory; none where the count is 0.
  init(physical: UInt64, count: UInt32) { ring = Table(physical: physical, count: count) }

  /// How many events a ring has for a wish: a power of two, at most 2^20.
  static func count(for wish: UInt64) -> UInt32 {
    wish == 0 ? 0 : UInt32(1) << UInt32(63 - (min(wish, 1 << 20)).leadingZeroBitCount)
  }

  /// Whether events are kept.
  @inline(__always) var isOn: Bool { ring.count != 0 }

  /// Writes an event; the kernel's lock is held.
  @inline(never) func write(_ kind: Int32, _ slot: UInt32, other: UInt32, detail: UInt64, at ticks: UInt64) {
    let number = kernel.information.value.events_written
    let record = ring.record(UInt32(truncatingIfNeeded: number) & (ring.count - 1))
    record.value.number = UInt64.max
    apus_barrier()
    record.value.ticks = ticks
    record.value.detail = detail
    record.value.environment = UInt16(truncatingIfNeeded: slot)
    record.value.other = UInt16(truncatingIfNeeded: other)
    record.value.kind = UInt8(truncatingIfNeeded: kind)
    record.value.processor = UInt8(truncatingIfNeeded: here.index)
    apus_barrier()
    record.value.number = number
    kernel.information.value.events_written = number &+ 1
  }
}

/// Notes an event, if events are kept.
@inline(__always) func noteEvent(
  _ kind: Int32, _ slot: UInt32, other: UInt32 = UInt32(UInt16.max), detail: UInt64 = 0,
  at ticks: @autoclosure () -> UInt64 = apus_rdtsc()
) {
  if kernel.events.isOn { kernel.events.write(kind, slot, other: other, detail: detail, at: ticks()) }
}
