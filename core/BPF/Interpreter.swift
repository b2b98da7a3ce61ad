// SPDX-License-Identifier: Apache-2.0
// Interpreter.swift: runs programs instruction by instruction; the oracle for the compiler and the verifier.

/// What a program sees of the world: its memory and its helpers.
public protocol ProgramSurroundings: ~Copyable {
  /// Reads memory.
  ///
  /// - Returns: The value, zero-extended, or nil if the program has no such memory.
  mutating func load(_ width: AccessWidth, at address: UInt64) -> UInt64?
  /// Writes memory.
  ///
  /// - Returns: Whether the program has such memory.
  mutating func store(_ value: UInt64, _ width: AccessWidth, at address: UInt64) -> Bool
  /// Calls a helper with the arguments r1 to r5.
  ///
  /// - Returns: The result, or nil if there is no such helper or it refuses the arguments.
  mutating func call(_ helper: UInt32, _ arguments: InlineArray<5, UInt64>) -> UInt64?
}

/// Why a run ended without a result.
public struct Fault: Error, Equatable, Sendable {
  /// What went wrong.
  public enum Reason: UInt8, Sendable {
    case badInstruction
    case badLoad
    case badStore
    case badHelper
    case callsTooDeep
    case outOfInstructions
  }

  /// What went wrong.
  public let reason: Reason
  /// The slot of the instruction that did it.
  public let slot: Int

  /// One sentence for the person who wrote the program.
  public var sentence: StaticString {
    switch reason {
    case .badInstruction: "There is no valid instruction here."
    case .badLoad: "The program read memory that it does not have."
    case .badStore: "The program wrote memory that it does not have."
    case .badHelper: "The program called a helper that does not exist or refused."
    case .callsTooDeep: "The program's calls are nested too deep."
    case .outOfInstructions: "The program ran longer than it may."
    }
  }
}

/// The machine that BPF describes.
public struct Interpreter: Sendable {
  private struct Caller {
    var returnSlot = 0
    var saved = InlineArray<4, UInt64>(repeating: 0)
  }

  /// The values of r0 to r10.
  public private(set) var registers = InlineArray<11, UInt64>(repeating: 0)
  private var callers = InlineArray<8, Caller>(repeating: Caller())
  private var depth = 0
  private var slot = 0
  /// How many instructions have been executed.
  public private(set) var executedCount: UInt64 = 0

  /// Makes a machine about to run a program.
  ///
  /// - Parameters:
  ///   - arguments: What r1 to r5 hold at first.
  ///   - stackTop: What r10 holds: the address after the last byte of the stack.
  public init(arguments: InlineArray<5, UInt64>, stackTop: UInt64) {
    for index in 0..<5 { registers[index + 1] = arguments[index] }
    registers[10] = stackTop
  }

  /// Runs to the end.
  ///
  /// - Parameters:
  ///   - program: The slots of the program.
  ///   - surroundings: Its memory and helpers.
  ///   - budget: How many instructions it may execute.
  /// - Returns: What r0 holds at the end.
  /// - Throws: What the program did wrong, and where.
  public mutating func run(
    _ program: Span<UInt64>, in surroundings: inout some ProgramSurroundings & ~Copyable,
    budget: UInt64
  ) throws(Fault) -> UInt64 {
    while true {
      guard slot >= 0, slot < program.count else { throw fault(.badInstruction) }
      guard executedCount < budget else { throw fault(.outOfInstructions) }
      let instruction: Instruction
      do throws(ProgramError) {
        instruction = try Instruction(program, at: slot)
      } catch { throw fault(.badInstruction) }
      executedCount += 1
      if case .exit = instruction {
        guard depth > 0 else { return registers[0] }
        leaveFunction()
        continue
      }
      slot = try next(after: instruction, &surroundings)
    }
  }

  private func fault(_ reason: Fault.Reason) -> Fault { Fault(reason: reason, slot: slot) }

  private subscript(_ register: Register) -> UInt64 {
    get { registers[register.number] }
    set { registers[register.number] = newValue }
  }

  private func value(_ operand: Operand) -> UInt64 {
    switch operand {
    case .register(let register): self[register]
    case .immediate(let constant): UInt64(immediate: constant)
    }
  }

  private func address(_ base: Register, _ offset: Int16) -> UInt64 {
    self[base] &+ UInt64(bitPattern: Int64(offset))
  }

  /// Executes an instruction other than exit and says which slot comes next.
  private mutating func next(
    after instruction: Instruction,
    _ surroundings: inout some ProgramSurroundings & ~Copyable
  ) throws(Fault) -> Int {
    switch instruction {
    case .arithmetic(let operation, let size, let destination, let source):
      self[destination] = operation.apply(self[destination], value(source), size)
    case .moveSignExtended(let size, let width, let destination, let source):
      let extended = self[source].signExtended(from: width)
      self[destination] = size == .word ? extended & 0xffff_ffff : extended
    case .negate(let size, let destination):
      self[destination] = ArithmeticOperation.subtract.apply(0, self[destination], size)
    case .byteOrder(let order, let width, let destination):
      self[destination] = order.apply(self[destination], width)
    case .loadImmediate(let destination, let constant): self[destination] = constant
    case .load(let width, let isSigned, let destination, let base, let offset):
      guard let loaded = surroundings.load(width, at: address(base, offset)) else {
        throw fault(.badLoad)
      }
      self[destination] = isSigned ? loaded.signExtended(from: width) : loaded
    case .store(let width, let base, let offset, let source):
      let stored = value(source) & width.mask
      guard surroundings.store(stored, width, at: address(base, offset)) else {
        throw fault(.badStore)
      }
    case .atomic(let operation, let width, let base, let offset, let source):
      try change(operation, width, at: address(base, offset), source, &surroundings)
    case .jump(_, let offset): return slot + 1 + Int(offset)
    case .branch(let condition, let size, let left, let right, let offset):
      if condition.holds(self[left], value(right), size) { return slot + 1 + Int(offset) }
    case .callHelper(let number):
      let arguments: InlineArray<5, UInt64> = [
        registers[1], registers[2], registers[3], registers[4], registers[5],
      ]
      guard let result = surroundings.call(number, arguments) else { throw fault(.badHelper) }
      registers[0] = result
    case .callLocal(let offset):
      try enterFunction()
      return slot + 1 + Int(offset)
    case .exit: break
    }
    return slot + instruction.slotCount
  }

  private mutating func change(
    _ operation: AtomicOperation, _ width: AccessWidth, at address: UInt64, _ source: Register,
    _ surroundings: inout some ProgramSurroundings & ~Copyable
  ) throws(Fault) {
    guard let old = surroundings.load(width, at: address) else { throw fault(.badLoad) }
    let new = operation.apply(old, self[source], expected: registers[0], width)
    guard surroundings.store(new, width, at: address) else { throw fault(.badStore) }
    if operation.returnsOldValueInSource { self[source] = old }
    if operation == .compareExchange { registers[0] = old }
  }

  private mutating func enterFunction() throws(Fault) {
    guard depth + 1 < ProgramLimits.callDepth else { throw fault(.callsTooDeep) }
    callers[depth].returnSlot = slot + 1
    for index in 0..<4 { callers[depth].saved[index] = registers[6 + index] }
    depth += 1
    registers[10] &-= UInt64(ProgramLimits.frameByteCount)
  }

  private mutating func leaveFunction() {
    depth -= 1
    for index in 0..<4 { registers[6 + index] = callers[depth].saved[index] }
    slot = callers[depth].returnSlot
    registers[10] &+= UInt64(ProgramLimits.frameByteCount)
  }
}
