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
  public enum Size {
    /// The least that a packet has: an Ethernet header.
    public static let packetLeast: UInt32 = 14
    /// The most that a packet has, segments that the device has put together included.
    public static let packetGreatest: UInt32 = 16_384
    /// A handler's memory.
    public static let handlerMemory: UInt32 = 4_096
    /// A handler's reply.
    public static let reply: UInt32 = 1_514
    /// The words of a predicate.
    public static let words: UInt32 = 64
    /// A block.
    public static let block: UInt32 = 4_096
    /// A storage function's state.
    public static let state: UInt32 = 256
  }
}

extension Contract {
  private static func use(result: ClosedRange<UInt64>, limit: UInt64) -> Contract {
    var contract = Contract()
    contract.resultLeast = result.lowerBound
    contract.resultGreatest = result.upperBound
    contract.instructionLimit = limit
    return contract
  }

  private mutating func addPacket() {
    let packet = add(
      RegionContract(
        minimumByteCount: Use.Size.packetLeast, maximumByteCount: Use.Size.packetGreatest, alignment: 2))
    arguments[0] = .address(region: packet)
    arguments[1] = .end(region: packet)
  }

  private mutating func addHelper(
    _ number: UInt32, _ arguments: InlineArray<5, ArgumentContract>, result: ValueContract = .anyNumber,
    isDeterministic: Bool = true, cost: UInt32
  ) {
    add(
      HelperContract(
        number: number, arguments: arguments, result: result, isDeterministic: isDeterministic, cost: cost))
  }

  /// r0 is 0 or 1; the worst case counts for each packet of the owner's atom filter.
  static var packetFilter: Contract {
    var contract = use(result: 0...1, limit: 4_096)
    contract.isDeterministic = true
    contract.addPacket()
    return contract
  }

  /// r0 is 0 to drop the packet, 1 to put it into the ring as if there were no handler.
  ///
  /// Helpers: 1 copies (offset in the packet, offset in the memory, count) and gives the Internet checksum (RFC 1071)
  /// of what it copied, or a negative number where a range does not fit; 2 sends that many bytes of the reply; 3 wakes
  /// the owner.
  static var packetHandler: Contract {
    var contract = use(result: 0...1, limit: 1 << 15)
    contract.addPacket()
    let memory = contract.add(
      RegionContract(
        minimumByteCount: Use.Size.handlerMemory, maximumByteCount: Use.Size.handlerMemory, isWritable: true))
    let reply = contract.add(
      RegionContract(minimumByteCount: Use.Size.reply, maximumByteCount: Use.Size.reply, isWritable: true, alignment: 2)
    )
    contract.arguments[2] = .address(region: memory)
    contract.arguments[3] = .address(region: reply)
    let packetBytes = UInt64(Use.Size.packetGreatest)
    contract.addHelper(
      1,
      [
        .number(least: 0, greatest: packetBytes), .number(least: 0, greatest: UInt64(Use.Size.handlerMemory)),
        .number(least: 0, greatest: UInt64(Use.Size.handlerMemory)), .unused, .unused,
      ], isDeterministic: false, cost: 2_048)
    contract.addHelper(
      2,
      [
        .number(least: UInt64(Use.Size.packetLeast), greatest: UInt64(Use.Size.reply)), .unused, .unused, .unused,
        .unused,
      ], isDeterministic: false, cost: 400)
    contract.addHelper(3, InlineArray(repeating: .unused), isDeterministic: false, cost: 100)
    return contract
  }

  /// r0 is 1 if the owner has something to do.
  static var wakeupPredicate: Contract {
    var contract = use(result: 0...1, limit: 256)
    let words = contract.add(
      RegionContract(minimumByteCount: Use.Size.words, maximumByteCount: Use.Size.words))
    contract.arguments[0] = .address(region: words)
    contract.arguments[1] = .anyNumber
    return contract
  }

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
