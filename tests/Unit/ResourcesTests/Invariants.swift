// SPDX-License-Identifier: Apache-2.0
// Invariants.swift: recomputes from the tables' contents what the frame records claim.

import ApusResources
import CApusABI

/// What is wrong with a machine, or nothing.
///
/// `dead` is an account that is being reclaimed: its tables lose their links before they are given back.
func brokenInvariant(
  of machine: Machine, freeHead: UInt32, freeCount: UInt32, dead: UInt16? = nil
) -> String? {
  let records = machine.records
  var mappings = Array(repeating: 0, count: records.count)
  var writable = Array(repeating: 0, count: records.count)

  for (table, record) in records.enumerated() where record.isTable {
    let level = Int(record.type) - Int(APUS_FRAME_TABLE1) + 1
    for index in 0..<(level == 4 ? 256 : 512) {
      let entry = machine.words[table * 512 + index]
      if entry == 0 { continue }
      if entry & 0x5 != 0x5 { return "entry \(index) of \(table) is present without ring 3" }
      if level == 2, entry & 0x80 != 0 {
        let behind = records.indices.filter {
          records[$0].pins == index + 1 && records[$0].large_parent == table && records[$0].isTable
        }
        if behind.count != 1 { return "behind large page \(index) of \(table) are \(behind.count) tables" }
        if let complaint = unlike(entry, behind[0], in: machine) { return complaint }
        mappings[behind[0]] += 1
        continue
      }
      if entry & 0x198 != 0 { return "entry \(index) of \(table) has forbidden bits" }
      let target = Int(entry >> 12 & 0xff_ffff_ffff)
      if target >= records.count { return "entry \(index) of \(table) is out of memory" }
      mappings[target] += 1
      if level == 1 {
        if entry & 2 != 0 { writable[target] += 1 }
        let type = records[target].type
        if type != UInt8(APUS_FRAME_ORDINARY) {
          return "page \(index) of table \(table) maps frame \(target) of type \(type)"
        }
      } else {
        if Int(records[target].type) != Int(record.type) - 1 {
          return "entry \(index) of table \(table) links a frame of type \(records[target].type)"
        }
        if records[target].account != record.account {
          return "table \(table) links table \(target) of another account"
        }
      }
    }
  }

  var free = Set<Int>()
  var previous = UInt32.max
  var frame = freeHead
  while frame != UInt32.max {
    if Int(frame) >= records.count { return "the free list leaves memory" }
    let record = records[Int(frame)]
    if record.type != UInt8(APUS_FRAME_FREE) { return "frame \(frame) on the free list is owned" }
    if !free.insert(Int(frame)).inserted { return "frame \(frame) is twice on the free list" }
    if record.writable_mappings != previous { return "the free list's way back breaks at \(frame)" }
    previous = frame
    frame = record.mappings
  }
  if free.count != Int(freeCount) { return "\(free.count) free frames, but \(freeCount) counted" }

  for (frame, record) in records.enumerated() {
    if record.reserved != 0 { return "frame \(frame) is still marked" }
    if record.guard_length > 8
      || record.guard_length < 8 && record.guard << (8 * UInt64(record.guard_length)) != 0
    {
      return "frame \(frame) has a malformed guard"
    }
    switch Int32(record.type) {
    case APUS_FRAME_FREE:
      if !free.contains(frame) { return "frame \(frame) is free but on no list" }
      if mappings[frame] != 0 { return "free frame \(frame) is mapped" }
    case APUS_FRAME_TABLE4:
      if mappings[frame] != 0 { return "root \(frame) is linked" }
      if record.writable_mappings != 0 || record.pins != 0 { return "root \(frame) is pinned" }
      if record.large_parent != 0 { return "root \(frame) is behind a large page" }
    default:
      if Int(record.mappings) != mappings[frame] {
        return "frame \(frame): \(mappings[frame]) mappings, \(record.mappings) counted"
      }
      if Int(record.writable_mappings) != writable[frame] {
        return "frame \(frame): \(writable[frame]) writable, \(record.writable_mappings) counted"
      }
      if record.isTable && record.mappings == 0 && record.account != dead {
        return "table \(frame) has no link"
      }
      if record.isTable && record.pins != 0 {
        let entry = machine.words[Int(record.large_parent) * 512 + Int(record.pins) - 1]
        if record.type != UInt8(APUS_FRAME_TABLE1) { return "table \(frame) is pinned" }
        if entry & 0x80 == 0 && record.account != dead { return "table \(frame) is behind nothing" }
      }
      if record.pins == 0 && record.large_parent != 0 { return "frame \(frame) has a large page's parent" }
    }
  }
  return nil
}

/// What a large page maps otherwise than the table behind it, or nothing.
private func unlike(_ entry: UInt64, _ table: Int, in machine: Machine) -> String? {
  for index in 0..<512 {
    let expected = (entry & ~0xe0) + UInt64(index) << 12
    if machine.words[table * 512 + index] & ~0x60 != expected {
      return "the large page before table \(table) maps page \(index) otherwise"
    }
  }
  return nil
}
