// SPDX-License-Identifier: Apache-2.0
// FrameType.swift: what a frame record says about its frame.

import ApusABI
import ApusCapabilities
import CApusABI

/// Values of `apus_frame.type` in the record's own width.
enum FrameType {
  static var absent: UInt8 { UInt8(APUS_FRAME_ABSENT) }
  static var free: UInt8 { UInt8(APUS_FRAME_FREE) }
  static var ordinary: UInt8 { UInt8(APUS_FRAME_ORDINARY) }
  static var table1: UInt8 { UInt8(APUS_FRAME_TABLE1) }
  static var table4: UInt8 { UInt8(APUS_FRAME_TABLE4) }
  static var cooling: UInt8 { UInt8(APUS_FRAME_COOLING) }
  static var kernel: UInt8 { UInt8(APUS_FRAME_KERNEL) }

  /// The type of a page table of `level`, 1 to 4.
  static func table(level: Int) -> UInt8 { table1 + UInt8(level - 1) }
}

/// Four fields of a frame record as one little-endian word, so that a loop compares and writes them at once.
public enum FrameState {
  /// A free frame that had a guard of a length.
  @inline(__always) static func free(guardLength: UInt8) -> UInt64 {
    UInt64(FrameType.free) << 32 | UInt64(guardLength) << 40
  }

  /// An unpinned frame of a type that is guarded by a capability's very name and charged to the account in it.
  @inline(__always) static func owned(_ type: UInt8, by owner: Capability) -> UInt64 {
    owned(type, UInt16(truncatingIfNeeded: owner.name >> 48), guardLength: owner.length)
  }

  /// An unpinned frame of a type that is charged to an account and has a guard of a length.
  @inline(__always) static func owned(_ type: UInt8, _ account: UInt16, guardLength: UInt8) -> UInt64 {
    UInt64(account) | UInt64(type) << 32 | UInt64(guardLength) << 40
  }
}

extension apus_frame {
  /// Whether the frame is a page table of any level.
  public var isTable: Bool { type >= FrameType.table1 && type <= FrameType.table4 }

  /// Whether the frame is an application's to map and to turn into something else.
  public var isOrdinary: Bool { type == FrameType.ordinary }

  /// Whether nothing maps, links or pins the frame: only then may its type change.
  public var isUnused: Bool { mappings == 0 && writable_mappings == 0 && pins == 0 }

  /// Whether a capability reaches the frame.
  public func isReached(by capability: Capability, needing rights: Rights) -> Bool {
    capability.dominates(guard: self.guard, length: guard_length, needing: rights)
  }
}

extension FrameStorage {
  /// The frame that a caller names.
  ///
  /// - Throws: `noSuchResource` if there is none of that number.
  @inline(__always) func number(_ claimed: UInt64) throws(SystemCallError) -> UInt32 {
    guard claimed < UInt64(count) else { throw .noSuchResource }
    return UInt32(truncatingIfNeeded: claimed)
  }

  /// The frame that a caller names, of a type, an account's own and in a capability's reach.
  ///
  /// - Throws: `noSuchResource`, `wrongType`; `denied` if it is another account's or the capability does not reach it
  ///   with the right to write.
  @inline(__always) func owned(
    _ claimed: UInt64, type: UInt8, account: UInt16, by capability: Capability
  ) throws(SystemCallError) -> UInt32 {
    let frame = try number(claimed)
    guard self[frame].type == type else { throw .wrongType }
    guard self[frame].account == account, self[frame].isReached(by: capability, needing: .write) else { throw .denied }
    return frame
  }
}
