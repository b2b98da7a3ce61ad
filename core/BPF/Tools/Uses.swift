// SPDX-License-Identifier: Apache-2.0
// Uses.swift: the use that the conformance suite's programs are written for.

import ApusBPF

extension Contract {
  /// A program with some memory: its address in r1, its length in r2; both 0 if there is none.
  public static func freeStanding(memoryByteCount: Int) -> Contract {
    var contract = Contract()
    contract.permitsAddressLeaks = true
    contract.arguments[0] = .number(least: 0, greatest: 0)
    contract.arguments[1] = .number(least: 0, greatest: 0)
    if memoryByteCount > 0 {
      let count = UInt32(memoryByteCount)
      let region = contract.add(
        RegionContract(minimumByteCount: count, maximumByteCount: count, isWritable: true))
      contract.arguments[0] = .address(region: region)
      contract.arguments[1] = .number(least: UInt64(count), greatest: UInt64(count))
    }
    return contract
  }
}
