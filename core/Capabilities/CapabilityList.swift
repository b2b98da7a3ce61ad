// SPDX-License-Identifier: Apache-2.0
// CapabilityList.swift: the eight capability slots of an environment record.
//
// C shows the slots to Swift as a tuple. The switches below keep the indexing checked without a pointer.

import ApusABI
import CApusABI

extension apus_environment {
  /// The record in a slot of the capability list.
  ///
  /// - Returns: Nothing if there is no such slot: the caller broke the contract.
  public func capabilityRecord(at index: UInt64) -> apus_capability? {
    switch index {
    case 0: capabilities.0
    case 1: capabilities.1
    case 2: capabilities.2
    case 3: capabilities.3
    case 4: capabilities.4
    case 5: capabilities.5
    case 6: capabilities.6
    case 7: capabilities.7
    default: nil
    }
  }

  /// Writes a slot of the capability list.
  ///
  /// - Returns: Whether there is such a slot.
  public mutating func setCapabilityRecord(_ record: apus_capability, at index: UInt64) -> Bool {
    switch index {
    case 0: capabilities.0 = record
    case 1: capabilities.1 = record
    case 2: capabilities.2 = record
    case 3: capabilities.3 = record
    case 4: capabilities.4 = record
    case 5: capabilities.5 = record
    case 6: capabilities.6 = record
    case 7: capabilities.7 = record
    default: return false
    }
    return true
  }

  /// The capability in a slot.
  ///
  /// - Returns: Nothing if there is no such slot: the caller broke the contract.
  /// - Throws: `denied` if the slot is empty.
  public func capability(at index: UInt64) throws(SystemCallError) -> Capability? {
    guard let record = capabilityRecord(at: index) else { return nil }
    guard let capability = Capability(record) else { throw .denied }
    return capability
  }
}
