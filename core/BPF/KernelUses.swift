// SPDX-License-Identifier: Apache-2.0
// KernelUses.swift: what the kernel's uses of BPF promise their programs, and what they want of them (docs/book/14).

/// Sizes in bytes that programs may count on.
public enum UseSize {
  /// The least that a packet has: an Ethernet header.
  public static var packetLeast: UInt32 { 14 }
  /// The most that a packet has, segments that the device has put together included.
  public static var packetGreatest: UInt32 { 16_384 }
  /// A handler's memory.
  public static var handlerMemory: UInt32 { 4_096 }
  /// A handler's reply.
  public static var reply: UInt32 { 1_514 }
  /// The words of a predicate.
  public static var words: UInt32 { 64 }
  /// A block.
  public static var block: UInt32 { 4_096 }
  /// A storage function's state.
  public static var state: UInt32 { 256 }
}

extension Contract {
  /// A use whose programs answer within bounds, and take no more instructions than a limit.
  public static func use(result: ClosedRange<UInt64>, limit: UInt64) -> Contract {
    var contract = Contract()
    contract.resultLeast = result.lowerBound
    contract.resultGreatest = result.upperBound
    contract.instructionLimit = limit
    return contract
  }

  private mutating func addPacket() {
    let packet = add(
      RegionContract(
        minimumByteCount: UseSize.packetLeast, maximumByteCount: UseSize.packetGreatest, alignment: 2))
    arguments[0] = .address(region: packet)
    arguments[1] = .end(region: packet)
  }

  /// Adds a helper.
  public mutating func addHelper(
    _ number: UInt32, _ arguments: InlineArray<5, ArgumentContract>, result: ValueContract = .anyNumber,
    isDeterministic: Bool = true, cost: UInt32
  ) {
    add(
      HelperContract(
        number: number, arguments: arguments, result: result, isDeterministic: isDeterministic, cost: cost))
  }

  /// r0 is 0 or 1; the worst case counts for each packet of the owner's atom filter.
  public static var packetFilter: Contract {
    var contract = use(result: 0...1, limit: 4_096)
    contract.isDeterministic = true
    contract.addPacket()
    return contract
  }

  /// r0 is 0 to drop the packet, 1 to put it into the ring as if there were no handler.
  ///
  /// Helpers, those that copy with (offset there, offset here, count): 1 copies from the packet to the memory and gives
  /// the Internet checksum (RFC 1071) of what it copied; 2 sends that many bytes of the reply; 3 wakes the owner; 4
  /// copies from the packet to the reply; 5 from the memory to the reply. Where a range does not fit, or nothing can be
  /// sent, the result is -1 and nothing is done.
  public static var packetHandler: Contract {
    var contract = use(result: 0...1, limit: 8_192)
    contract.addPacket()
    let memory = contract.add(
      RegionContract(
        minimumByteCount: UseSize.handlerMemory, maximumByteCount: UseSize.handlerMemory, isWritable: true))
    let reply = contract.add(
      RegionContract(minimumByteCount: UseSize.reply, maximumByteCount: UseSize.reply, isWritable: true))
    contract.arguments[2] = .address(region: memory)
    contract.arguments[3] = .address(region: reply)
    let offset = ArgumentContract.number(least: 0, greatest: UInt64(UseSize.packetGreatest))
    let range: InlineArray<5, ArgumentContract> = [offset, offset, offset, .unused, .unused]
    contract.addHelper(1, range, isDeterministic: false, cost: 3_072)
    contract.addHelper(
      2,
      [
        .number(least: UInt64(UseSize.packetLeast), greatest: UInt64(UseSize.reply)), .unused, .unused, .unused,
        .unused,
      ], isDeterministic: false, cost: 1_024)
    contract.addHelper(3, InlineArray(repeating: .unused), isDeterministic: false, cost: 100)
    contract.addHelper(4, range, isDeterministic: false, cost: 512)
    contract.addHelper(5, range, isDeterministic: false, cost: 512)
    return contract
  }

  /// r0 is 1 if the owner has something to do.
  public static var wakeupPredicate: Contract {
    var contract = use(result: 0...1, limit: 256)
    let words = contract.add(
      RegionContract(minimumByteCount: UseSize.words, maximumByteCount: UseSize.words))
    contract.arguments[0] = .address(region: words)
    contract.arguments[1] = .anyNumber
    return contract
  }
}
