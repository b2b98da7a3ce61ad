// SPDX-License-Identifier: Apache-2.0
// Verifier.swift: decides whether a program may run: follows every path with sets of values instead of values.
//
// The verifier executes the program abstractly. What it knows of registers and stack is the state; at a branch that
// can go both ways it continues on one and keeps the other for later. Loops are simply followed: they end when the
// sets of values say so, or the budget does. At jump targets states are remembered; a path that arrives with a state
// that lies inside a remembered and finished one has been explored already. A path that arrives exactly at a state it
// has been in itself would go on for ever.
//
// Each remembered state also learns the most instructions that any path from it takes, so that the verdict has a bound
// of the run's length without a path having to be followed twice.
//
// Memory lent by the caller, in words: one mark and one record for each slot of the program, the current state, the
// buckets by which remembered states are found, then those states from below and branches kept for later from above.

/// What is known of an accepted program.
public struct Verdict: Equatable, Sendable {
  /// No run executes more instructions than these, helpers' costs included.
  public let worstInstructionCount: UInt64
  /// No run needs more bytes of stack.
  public let stackByteCount: Int
  /// How much work the verification was, in the budget's units.
  public let work: Int
}

/// Decides whether programs may run.
public struct Verifier<Memory: WordMemory & ~Copyable>: ~Copyable {
  var memory: Memory
  var contract = Contract()
  var slotCount = 0
  var budget = 0

  // The path being followed.
  var slot = 0
  var depth = 0
  /// For each region, how many bytes it is known to have.
  var provenSizes = InlineArray<8, UInt32>(repeating: 0)
  /// The remembered state that the path came from; 0: the program's start.
  var owner = 0
  /// Instructions since the owner, and since the program's start.
  var distance: UInt64 = 0
  var pathLength: UInt64 = 0

  // All paths together.
  var nextIdentity: UInt32 = 1
  var deepest = 0
  var worst: UInt64 = 0
  var work = 0
  /// The first free word above the remembered states, and the first used word of the branches kept for later.
  var arenaBottom = 0
  var arenaTop = 0

  /// Makes a verifier.
  ///
  /// - Parameter memory: Working memory; `minimumWordCount` words are the least that can do.
  public init(memory: consuming Memory) { self.memory = memory }

  /// Gives the working memory back.
  public consuming func end() -> Memory { memory }

  /// The greatest budget that counts; identities of values stay unique below it.
  public static var budgetLimit: Int { 1 << 26 }

  /// The least working memory for a program, in words; loops and branches want more.
  public static func minimumWordCount(slotCount: Int) -> Int {
    2 * slotCount + stateWordCount + 1024
  }

  /// Verifies a program.
  ///
  /// - Parameters:
  ///   - program: The slots, read little-endian.
  ///   - contract: The use that the program is for.
  ///   - budget: How much work may be done: about one unit for each instruction on each path.
  /// - Returns: What is known of the program, which may run.
  /// - Throws: What is wrong with it; `value(of:)` then tells the registers at that place.
  /// - Complexity: O(budget), and O(slots²) for programs made to be slow.
  public mutating func verify(
    _ program: Span<UInt64>, for contract: Contract, budget: Int
  ) throws(VerificationError) -> Verdict {
    depth = -1
    self.contract = contract
    self.budget = min(budget, Self.budgetLimit)
    slotCount = program.count
    do throws(ProgramError) {
      _ = try ProgramOutline(program, marks: &memory)
      guard memory.count >= Self.minimumWordCount(slotCount: program.count) else {
        throw ProgramError(.workingMemory, at: 0)
      }
      try findLiveRegisters(program)
    } catch { throw .program(error) }
    begin()
    do throws(Rejection) {
      try explore(program)
      slot = 0
      try require(worst <= contract.instructionLimit, .tooManyInstructions)
    } catch { throw .rejection(error) }
    return Verdict(
      worstInstructionCount: worst, stackByteCount: (deepest + 1) * ProgramLimits.frameByteCount,
      work: work)
  }

  /// What is known of a register where verification ended.
  public func value(of register: Register) -> AbstractValue {
    depth >= 0 ? self[register] : .uninitialised
  }

  private mutating func begin() {
    for index in slotCount..<2 * slotCount { memory[index] = 0 }
    let buckets = 2 * slotCount + Self.frameAreaWordCount
    for index in buckets..<buckets + Self.bucketCount { memory[index] = 0 }
    slot = 0
    depth = 0
    owner = 0
    distance = 0
    pathLength = 0
    nextIdentity = 1
    deepest = 0
    worst = 0
    work = 0
    arenaBottom = 2 * slotCount + Self.stateWordCount
    arenaTop = memory.count
    for region in 0..<Contract.regionLimit {
      provenSizes[region] = contract.regions[region].minimumByteCount
    }
    clearFrame()
    for index in 0..<5 { self[Register(index + 1)] = value(contract.arguments[index]) }
  }

  private mutating func explore(_ program: Span<UInt64>) throws(Rejection) {
    while true {
      let wasExplored = try arrive()
      let goesOn = wasExplored ? false : try step(program)
      if goesOn { continue }
      guard try resume(program) else { return }
    }
  }

  /// States a rule; deleting a line that does takes the rule out of the verifier.
  func require(_ holds: Bool, _ rule: VerifierRule) throws(Rejection) {
    guard holds else { throw Rejection(rule: rule, slot: slot) }
  }

  mutating func newIdentity() -> UInt32 {
    nextIdentity += 1
    return nextIdentity & 0xfff_ffff
  }

  /// A value as a contract promises it.
  mutating func value(_ contract: ValueContract) -> AbstractValue {
    switch contract {
    case .nothing: return .uninitialised
    case .number(let least, let greatest): return .number(.from(least, to: greatest))
    case .address(let region): return .address(region: region)
    case .addressOrZero(let region):
      var value = AbstractValue.address(region: region)
      value.mayBeZero = true
      value.identity = newIdentity()
      return value
    case .end(let region):
      return AbstractValue(kind: .end, place: UInt8(region), scalar: .exactly(0))
    case .length(let region):
      let maximum = UInt64(self.contract.regions[region].maximumByteCount)
      var value = AbstractValue.number(.from(UInt64(provenSizes[region]), to: maximum))
      value.isLength = true
      value.place = UInt8(region)
      return value
    }
  }
}
