// SPDX-License-Identifier: Apache-2.0
// MachineTables.swift: the kernel's information pages as values, for whoever shows them: who owns what, and how much.

import ApusABI
import CRuntime

/// The machine's tables, which every environment may read.
public enum MachineTables {
  /// The first information page.
  public static var page: apus_information { Information.page }

  private static func bytes(_ offset: UInt64, _ index: Int, _ stride: Int) -> UnsafeRawPointer {
    unsafe UnsafeRawPointer(bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(offset) + UInt(index * stride))
      .unsafelyUnwrapped
  }

  /// The record of a frame.
  ///
  /// - Parameter number: Below `page.frame_count`.
  /// - Returns: The record as it is now.
  public static func frame(_ number: Int) -> apus_frame {
    precondition(number >= 0 && UInt64(number) < page.frame_count)
    // SAFETY: the table is mapped read-only, and the number was just checked.
    return unsafe bytes(page.frame_table_offset, number, MemoryLayout<apus_frame>.stride).load(as: apus_frame.self)
  }

  /// The record of an environment.
  ///
  /// - Parameter slot: Below `page.environment_count`.
  /// - Returns: The record as it is now.
  public static func environment(_ slot: Int) -> apus_environment {
    precondition(slot >= 0 && UInt64(slot) < page.environment_count)
    // SAFETY: as above.
    return unsafe bytes(page.environment_table_offset, slot, MemoryLayout<apus_environment>.stride)
      .load(as: apus_environment.self)
  }

  /// A slice of a CPU's timeline.
  ///
  /// - Parameters:
  ///   - number: Below `page.slice_count`.
  ///   - processor: Below `page.processor_count`.
  /// - Returns: The record as it is now.
  public static func slice(_ number: Int, processor: Int) -> apus_slice {
    precondition(number >= 0 && UInt64(number) < page.slice_count)
    precondition(processor >= 0 && UInt64(processor) < page.processor_count)
    // SAFETY: as above.
    return unsafe bytes(
      page.timeline_offset, processor * Int(page.slice_count) + number, MemoryLayout<apus_slice>.stride
    ).load(as: apus_slice.self)
  }

  /// The budgets of an account.
  ///
  /// - Parameter number: Below `page.account_count`.
  /// - Returns: The record as it is now.
  public static func account(_ number: Int) -> apus_account {
    precondition(number >= 0 && UInt64(number) < page.account_count)
    // SAFETY: as above.
    return unsafe bytes(page.account_table_offset, number, MemoryLayout<apus_account>.stride).load(
      as: apus_account.self)
  }

  /// A packet filter.
  ///
  /// - Parameter number: Below `page.filter_count`.
  /// - Returns: The record as it is now.
  public static func filter(_ number: Int) -> apus_filter {
    precondition(number >= 0 && UInt64(number) < page.filter_count)
    // SAFETY: as above.
    return unsafe bytes(page.filter_offset, number, MemoryLayout<apus_filter>.stride).load(as: apus_filter.self)
  }

  /// A packet ring.
  ///
  /// - Parameter index: Below `page.packet_ring_count`.
  /// - Returns: The record as it is now.
  public static func packetRing(_ index: Int) -> apus_packet_ring_record {
    precondition(index >= 0 && UInt64(index) < page.packet_ring_count)
    // SAFETY: as above.
    return unsafe bytes(page.packet_ring_offset, index, MemoryLayout<apus_packet_ring_record>.stride)
      .load(as: apus_packet_ring_record.self)
  }
}
