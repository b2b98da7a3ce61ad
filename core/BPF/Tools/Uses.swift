// SPDX-License-Identifier: Apache-2.0
// Uses.swift: the uses of BPF, each with what its programs get, may reach and must answer (docs/book/14).

import ApusBPF

/// What a program is for.
public enum Use: String, Sendable {
  /// Narrows the packets of an atom filter: r1 the packet, r2 its end; 1 takes it.
  case packetFilter = "packet-filter"
  /// Runs when a packet arrives: r1 the packet, r2 its end, r3 memory of the owner's, r4 a reply to fill in.
  case packetHandler = "packet-handler"
  /// Tells whether its owner has something to do: r1 eight words that it named, r2 the time; 1 wakes.
  case wakeupPredicate = "wakeup-predicate"
  /// Tells which blocks a block of metadata owns: r1 the block; deterministic.
  case blockOwner = "block-owner"
  /// Runs when a block has been read: r1 the block, r2 state of the owner's; 1 reads the block named last.
  case storageFunction = "storage-function"

  /// All of them.
  public static let all: [Use] = [.packetFilter, .packetHandler, .wakeupPredicate, .blockOwner, .storageFunction]

  /// Whether the kernel has it.
  public var isKernels: Bool { self != .blockOwner && self != .storageFunction }

  /// What the verifier has to know of the use.
  public var contract: Contract {
    switch self {
    case .packetFilter: Contract.packetFilter
    case .packetHandler: Contract.packetHandler
    case .wakeupPredicate: Contract.wakeupPredicate
    case .blockOwner: Contract.blockOwner
    case .storageFunction: Contract.storageFunction
    }
  }

  /// Sizes in bytes that programs may count on.
  public typealias Size = UseSize
}

extension Contract {
  /// r0 is 1 if the block is what its type says, 0 if it is not.
  ///
  /// Helper 1 says that the block owns (first block, count, type).
  static var blockOwner: Contract {
    var contract = use(result: 0...1, limit: 1 << 16)
    contract.isDeterministic = true
    let block = contract.add(
      RegionContract(minimumByteCount: Use.Size.block, maximumByteCount: Use.Size.block))
    contract.arguments[0] = .address(region: block)
    contract.addHelper(
      1,
      [
        .number(least: 0, greatest: .max), .number(least: 1, greatest: 1 << 20), .number(least: 0, greatest: 0xffff),
        .unused, .unused,
      ],
      result: .number(least: 0, greatest: 0), cost: 20)
    return contract
  }

  /// r0 is 1 to read the block that helper 1 named last, 0 to be done.
  static var storageFunction: Contract {
    var contract = use(result: 0...1, limit: 1 << 14)
    let block = contract.add(
      RegionContract(minimumByteCount: Use.Size.block, maximumByteCount: Use.Size.block))
    let state = contract.add(
      RegionContract(minimumByteCount: Use.Size.state, maximumByteCount: Use.Size.state, isWritable: true))
    contract.arguments[0] = .address(region: block)
    contract.arguments[1] = .address(region: state)
    contract.addHelper(
      1, [.number(least: 0, greatest: .max), .unused, .unused, .unused, .unused],
      result: .number(least: 0, greatest: 0),
      cost: 10)
    return contract
  }

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
