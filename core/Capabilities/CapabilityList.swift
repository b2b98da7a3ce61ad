// SPDX-License-Identifier: Apache-2.0
// CapabilityList.swift: the eight capability slots of an environment record.
//
// C shows the slots to Swift as a tuple. The switch keeps the indexing checked without a pointer.

import CApusABI

extension apus_environment {
  /// Writes a slot of the capability list.
  ///
  /// - Precondition: There is such a slot.
  public mutating func setCapability(_ capability: Capability?, at index: UInt64) {
    let record = capability?.record ?? apus_capability()
    switch index {
    case 0: capabilities.0 = record
    case 1: capabilities.1 = record
    case 2: capabilities.2 = record
    case 3: capabilities.3 = record
    case 4: capabilities.4 = record
    case 5: capabilities.5 = record
    case 6: capabilities.6 = record
    case 7: capabilities.7 = record
    default: preconditionFailure()
    }
  }
}
