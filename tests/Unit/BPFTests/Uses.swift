// SPDX-License-Identifier: Apache-2.0
// Uses.swift: the uses that cases name: small contracts with what the real ones have.

import ApusBPF
import ApusBPFTools

enum Uses {
  /// The contract that a case is written for.
  static func contract(_ testCase: Case) -> Contract {
    var contract =
      switch testCase.contract {
      case "packet": packet
      case "deterministic": deterministic
      case "bounded": bounded
      default: Contract.freeStanding(memoryByteCount: testCase.memory.count)
      }
    if testCase.limit > 0 { contract.instructionLimit = testCase.limit }
    return contract
  }

  /// A packet handler: r1 points to a context of a packet's start, end and length, a read-only table that may be
  /// absent, and a writable word; no address may be shown.
  static var packet: Contract {
    var contract = Contract()
    let context = contract.add(
      RegionContract(minimumByteCount: 40, maximumByteCount: 40, isWritable: true))
    let packet = contract.add(
      RegionContract(minimumByteCount: 14, maximumByteCount: 1514, isWritable: true, alignment: 2))
    let table = contract.add(RegionContract(minimumByteCount: 64, maximumByteCount: 64))
    let output = contract.add(
      RegionContract(
        minimumByteCount: 16, maximumByteCount: 16, isReadable: false, isWritable: true))
    contract.arguments[0] = .address(region: context)
    contract.arguments[1] = .length(region: packet)
    contract.arguments[2] = .address(region: output)
    contract.add(FieldContract(region: context, offset: 0, value: .address(region: packet)))
    contract.add(FieldContract(region: context, offset: 8, value: .end(region: packet)))
    contract.add(FieldContract(region: context, offset: 16, value: .addressOrZero(region: table)))
    contract.add(
      FieldContract(region: context, offset: 24, width: .word, value: .length(region: packet)))
    addHelpers(to: &contract, packet: packet, table: table)
    return contract
  }

  private static func addHelpers(to contract: inout Contract, packet: Int, table: Int) {
    // 1: looks a number of 0 to 63 up; 2: the time; 3: sums bytes; 4: fills bytes; 5: takes a packet's start.
    contract.add(
      HelperContract(
        number: 1,
        arguments: [.number(least: 0, greatest: 63), .unused, .unused, .unused, .unused],
        result: .addressOrZero(region: table)))
    contract.add(
      HelperContract(
        number: 2, arguments: InlineArray(repeating: .unused), result: .anyNumber,
        isDeterministic: false, cost: 10))
    contract.add(
      HelperContract(
        number: 3,
        arguments: [.readableCounted(limit: 64), .count, .unused, .unused, .unused],
        result: .number(least: 0, greatest: 0xffff), cost: 64))
    contract.add(
      HelperContract(
        number: 4, arguments: [.writable(byteCount: 16), .unused, .unused, .unused, .unused],
        result: .nothing))
    contract.add(
      HelperContract(
        number: 5, arguments: [.address(region: packet), .unused, .unused, .unused, .unused],
        result: .anyNumber))
    contract.add(
      HelperContract(
        number: 6,
        arguments: [.writableCounted(limit: 64), .count, .unused, .unused, .unused],
        result: .anyNumber))
    contract.add(
      HelperContract(
        number: 7, arguments: [.readable(byteCount: 8), .unused, .unused, .unused, .unused],
        result: .anyNumber))
  }

  /// The packet handler where the same input must give the same result.
  static var deterministic: Contract {
    var contract = packet
    contract.isDeterministic = true
    return contract
  }

  /// The packet handler whose result is 0 to 3.
  static var bounded: Contract {
    var contract = packet
    contract.resultGreatest = 3
    return contract
  }
}
