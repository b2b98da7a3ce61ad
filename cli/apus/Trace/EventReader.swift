// SPDX-License-Identifier: Apache-2.0
// EventReader.swift: takes events out of a machine's ring while the kernel writes it, and counts those that were lost.

import CApusABI

/// A reader of a machine's ring of events.
struct EventReader {
  private let pages: InformationPages
  private let table: UInt64
  private let count: UInt64
  /// The number of the next event.
  private(set) var next: UInt64
  /// Events that were overwritten before they were read.
  private(set) var lost: UInt64 = 0

  /// Starts with what is still there; nil if the machine keeps no events.
  init?(_ pages: InformationPages) {
    guard let page = pages.memory.load(pages.address, as: apus_information.self), page.event_count > 0,
      page.event_count & (page.event_count - 1) == 0
    else { return nil }
    self.pages = pages
    table = pages.address + page.event_table_offset
    count = page.event_count
    next = 0
  }

  /// Takes the events that have been written since the last time.
  ///
  /// An event has its number written last. One that has another number has been overwritten meanwhile, and so have
  /// those before it.
  mutating func take() -> [apus_event] {
    guard let page = pages.memory.load(pages.address, as: apus_information.self) else { return [] }
    var events: [apus_event] = []
    skip(to: page.events_written)
    while next < page.events_written {
      let place = table + next % count * UInt64(MemoryLayout<apus_event>.stride)
      guard let event = pages.memory.load(place, as: apus_event.self),
        let again = pages.memory.load(place, as: apus_event.self)
      else { return events }
      if event.number == next, again.number == next {
        events.append(event)
        next += 1
      } else {
        let written = pages.memory.load(pages.address, as: apus_information.self)?.events_written ?? 0
        let before = next
        skip(to: written)
        if next == before {  // it is just being overwritten
          lost += 1
          next += 1
        }
      }
    }
    return events
  }

  /// Leaves out what is not there any more.
  private mutating func skip(to written: UInt64) {
    guard written > count, next < written - count else { return }
    lost += written - count - next
    next = written - count
  }
}
