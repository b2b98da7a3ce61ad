// SPDX-License-Identifier: Apache-2.0
// ForwardVerifier.swift: the kernel's verifier: goes through a program once, from its first slot to its last.
//
// In the kernel all jumps lead forward and there is one function. So each instruction is executed once at most, and
// when the verifier comes to a slot it has seen every way to it: where ways meet, it goes on with what holds on all of
// them. Verification is as many steps as the program has instructions, each of them bounded, and can stop after any.
// The `Verifier`, which follows every path and so knows more, accepts all that this one accepts.
//
// Working memory: a mark for each slot, then states: the one that is being changed, one aside, and one for each slot to
// come that a jump leads to. A mark's `codeOffset` is 1 + the number of its state, until the slot is reached.

/// A state in words.
private enum StateShape {
  /// The most instructions on any way here; in a state that is free, the next one.
  static var cost: Int { 0 }
  /// How many bytes region 0 is known to have.
  static var proven: Int { 1 }
  /// Which bytes of the stack have a value.
  static var stack: Int { 2 }
  static var registers: Int { 10 }
  static var registerCount: Int { 10 }
  static var wordCount: Int { registers + registerCount * ForwardValue.wordCount }
}

/// Decides whether a program may run in the kernel.
public struct ForwardVerifier<Memory: WordMemory> {
  var memory: Memory
  let slotCount: Int
  var slot = 0
  /// Whether any way leads to the present slot.
  var isReached = true
  private var statesUsed = 2
  private var freeState = 0
  /// The most instructions of any run so far; helpers count as they say, division and atomics for sixteen.
  public private(set) var worst: UInt64 = 0
  /// What the compiler wants to know.
  public private(set) var facts = ProgramFacts()

  /// The working memory, whose first words are the marks that the compiler wants.
  public var marks: Memory { memory }

  /// The least working memory for a program, in words; each jump target that is waited for wants more.
  public static func minimumWordCount(slotCount: Int) -> Int { slotCount + 3 * StateShape.wordCount }

  /// Begins with a program of so many slots.
  ///
  /// - Parameters:
  ///   - memory: At least `minimumWordCount` words.
  ///   - slotCount: At least 1.
  ///   - contract: The use that the program is for. Only its first region may vary in size.
  public init(memory: Memory, slotCount: Int, for contract: Contract) {
    self.memory = memory
    self.slotCount = slotCount
    for index in 0..<slotCount + StateShape.wordCount { self.memory[index] = 0 }
    self.memory[state(0) + StateShape.proven] = UInt64(contract.regions[0].minimumByteCount)
    editMark(0) { $0.isFunctionStart = true }
    for number in 0..<StateShape.registerCount { self[Register(number)] = .nothing }
    for index in 0..<5 {
      let value: ForwardValue
      switch contract.arguments[index] {
      case .number(let least, let greatest): value = .number(least, greatest)
      case .address(let region): value = ForwardValue(kind: .region, region: UInt8(region), least: 0, greatest: 0)
      case .end: value = ForwardValue(kind: .end, least: 0, greatest: 0)
      default: value = .nothing
      }
      self[Register(index + 1)] = value
    }
  }

  /// Verifies some more instructions.
  ///
  /// - Parameters:
  ///   - program: The slots, the same each time.
  ///   - contract: The same as at the beginning.
  ///   - count: How many instructions.
  /// - Returns: Whether the program has been accepted; if not, there is more to do.
  /// - Throws: What is wrong with it.
  public mutating func step(
    _ program: Span<UInt64>, for contract: Contract, count: Int
  ) throws(VerificationError) -> Bool {
    var left = count
    while left > 0, slot < slotCount {
      let instruction: Instruction
      do throws(ProgramError) { instruction = try enter(program) } catch { throw .program(error) }
      do throws(Rejection) {
        try require(instruction.jumpOffset ?? 0 >= 0, .jumpsBack)
        if case .callLocal = instruction { try require(false, .callsFunction) }
        if isReached { try execute(instruction, contract) }
      } catch { throw .rejection(error) }
      slot += instruction.slotCount
      left -= 1
    }
    guard slot >= slotCount else { return false }
    guard !isReached else { throw .program(ProgramError(.runsOffTheEnd, at: slotCount - 1)) }
    return true
  }

  /// Comes to a slot: decodes it, checks where it leads, and takes over the ways that lead to it.
  private mutating func enter(_ program: Span<UInt64>) throws(ProgramError) -> Instruction {
    let pending = Int(Mark(bits: memory[slot]).codeOffset)
    if pending != 0 {
      if isReached { join(pending - 1, into: 0) } else { copy(pending - 1, to: 0) }
      isReached = true
      memory[state(pending - 1) + StateShape.cost] = UInt64(freeState)
      freeState = pending - 1
      editMark(slot) { $0.codeOffset = 0 }
    }
    let instruction = try Instruction(program, at: slot)
    if let offset = instruction.jumpOffset {
      guard offset >= -slot - 1, offset < slotCount - slot - 1 else { throw ProgramError(.jumpOutside, at: slot) }
      editMark(slot + 1 + offset) { $0.isJumpTarget = true }
    }
    if instruction.slotCount == 2 {
      guard memory[slot + 1] == 0 else { throw ProgramError(.jumpIntoImmediate, at: slot + 1) }
      editMark(slot + 1) { $0.isSecondHalf = true }
    }
    let named = instruction.namedRegisters
    if named.contains(.framePointer) { facts.usesFramePointer = true }
    editMark(0) { $0.usedRegisters = $0.usedRegisters.union(named) }
    if case .callHelper = instruction {
      facts.callsHelpers = true
      editMark(0) { $0.makesCalls = true }
    }
    return instruction
  }

  func require(_ holds: Bool, _ rule: VerifierRule) throws(Rejection) {
    guard holds else { throw Rejection(rule: rule, slot: slot) }
  }

  private mutating func editMark(_ slot: Int, _ change: (inout Mark) -> Void) {
    var mark = Mark(bits: memory[slot])
    change(&mark)
    memory[slot] = mark.bits
  }

  // MARK: States

  private func state(_ number: Int) -> Int { slotCount + number * StateShape.wordCount }
  private func registerIndex(_ state: Int, _ number: Int) -> Int {
    self.state(state) + StateShape.registers + number * ForwardValue.wordCount
  }

  /// A register of the present state.
  subscript(_ register: Register) -> ForwardValue {
    get {
      if register == .framePointer { return ForwardValue(kind: .stack, least: 0, greatest: 0) }
      return ForwardValue(memory, at: registerIndex(0, register.number))
    }
    set { newValue.write(to: &memory, at: registerIndex(0, register.number)) }
  }

  /// Counts instructions.
  mutating func spend(_ count: UInt64, _ contract: Contract) throws(Rejection) {
    let cost = memory[state(0) + StateShape.cost] + count
    try require(cost <= contract.instructionLimit, .tooManyInstructions)
    memory[state(0) + StateShape.cost] = cost
  }

  /// Ends the way that has been followed.
  mutating func finish() {
    worst = max(worst, memory[state(0) + StateShape.cost])
    isReached = false
  }

  private mutating func copy(_ from: Int, to: Int) {
    for word in 0..<StateShape.wordCount { memory[state(to) + word] = memory[state(from) + word] }
  }

  /// Leaves in a state what holds in another one, too.
  private mutating func join(_ other: Int, into number: Int) {
    let (from, to) = (state(other), state(number))
    memory[to + StateShape.cost] = max(memory[to + StateShape.cost], memory[from + StateShape.cost])
    memory[to + StateShape.proven] = min(memory[to + StateShape.proven], memory[from + StateShape.proven])
    for word in StateShape.stack..<StateShape.registers { memory[to + word] &= memory[from + word] }
    for register in 0..<StateShape.registerCount {
      let value = ForwardValue(memory, at: registerIndex(other, register))
      ForwardValue(memory, at: registerIndex(number, register)).joined(value)
        .write(to: &memory, at: registerIndex(number, register))
    }
  }

  /// Puts the present state aside, or takes it back.
  mutating func putAside() { copy(0, to: 1) }
  mutating func takeBack() { copy(1, to: 0) }

  /// The present state is one of those at a slot to come.
  mutating func leave(to offset: Int) throws(Rejection) {
    let target = slot + 1 + offset
    let pending = Int(Mark(bits: memory[target]).codeOffset)
    if pending != 0 { return join(0, into: pending - 1) }
    var number = freeState
    if number != 0 {
      freeState = Int(memory[state(number) + StateShape.cost])
    } else {
      number = statesUsed
      try require(state(number + 1) <= memory.count, .tooComplex)
      statesUsed += 1
    }
    copy(0, to: number)
    editMark(target) { $0.codeOffset = UInt32(number + 1) }
  }

  // MARK: Sizes and the stack

  func provenSize(_ region: UInt8, _ contract: Contract) -> Int64 {
    region == 0
      ? Int64(memory[state(0) + StateShape.proven]) : Int64(contract.regions[Int(region & 7)].minimumByteCount)
  }

  /// Region 0 has at least so many bytes.
  mutating func prove(_ least: UInt64, _ contract: Contract) {
    let index = state(0) + StateShape.proven
    memory[index] = max(memory[index], min(least, UInt64(contract.regions[0].maximumByteCount)))
  }

  /// Whether bytes of the stack, counted from its lowest, have values.
  func stackHasValues(_ first: Int, _ count: Int) -> Bool {
    var have = true
    for byte in first..<first + count
    where memory[state(0) + StateShape.stack + byte >> 6] >> UInt64(byte & 63) & 1 == 0 {
      have = false
    }
    return have
  }

  mutating func setStackHasValues(_ first: Int, _ count: Int) {
    for byte in first..<first + count {
      memory[state(0) + StateShape.stack + byte >> 6] |= 1 << UInt64(byte & 63)
    }
  }
}
