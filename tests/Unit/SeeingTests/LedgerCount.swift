// SPDX-License-Identifier: Apache-2.0
// LedgerCount.swift: who owns what, counted a second time: from the page tables' entries and the budgets.

import CApusABI
import Foundation

@testable import apus

/// What a stopped machine's memory says, without the map's own code.
struct LedgerCount {
  let page: apus_information
  private let memory: MachineMemory
  private let address: UInt64

  init(_ pages: InformationPages) throws {
    memory = pages.memory
    address = pages.address
    guard let page = memory.load(address, as: apus_information.self) else {
      throw Failure(sentence: "no information page", status: 1)
    }
    self.page = page
  }

  private func record<Value: BitwiseCopyable>(_ table: UInt64, _ index: Int, _ type: Value.Type) throws -> Value {
    guard let value = memory.load(address + table + UInt64(index * MemoryLayout<Value>.stride), as: type) else {
      throw Failure(sentence: "no record \(index)", status: 1)
    }
    return value
  }

  func frame(_ index: Int) throws -> apus_frame { try record(page.frame_table_offset, index, apus_frame.self) }
  func account(_ index: Int) throws -> apus_account { try record(page.account_table_offset, index, apus_account.self) }
  func environment(_ index: Int) throws -> apus_environment {
    try record(page.environment_table_offset, index, apus_environment.self)
  }
  func slice(_ cpu: Int, _ index: Int) throws -> apus_slice {
    try record(page.timeline_offset, cpu * Int(page.slice_count) + index, apus_slice.self)
  }

  /// How often each frame is named by entries of page tables, and as a root by environments.
  func references() throws -> [Int: Int] {
    var counts: [Int: Int] = [:]
    for index in 0..<Int(page.frame_count) {
      let type = Int32(try frame(index).type)
      guard type >= APUS_FRAME_TABLE1, type <= APUS_FRAME_TABLE4 else { continue }
      // The upper half of a level-4 table is the kernel's.
      for place in 0..<(type == APUS_FRAME_TABLE4 ? 256 : 512) {
        guard let entry = memory.load(UInt64(index) << 12 + UInt64(place * 8), as: UInt64.self), entry & 1 != 0 else {
          continue
        }
        counts[Int(entry & 0x000f_ffff_ffff_f000) >> 12, default: 0] += 1
      }
    }
    for slot in 0..<Int(page.environment_count) {
      let record = try environment(slot)
      if record.state != UInt32(APUS_ENVIRONMENT_FREE) { counts[Int(record.root), default: 0] += 1 }
    }
    return counts
  }
}
