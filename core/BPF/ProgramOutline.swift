// SPDX-License-Identifier: Apache-2.0
// ProgramOutline.swift: checks that a program hangs together, and notes where its functions and jump targets are.

/// A program that hangs together: every instruction decodes, every jump stays in its function.
public struct ProgramOutline: Equatable, Sendable {
  /// The greatest program, in slots.
  public static var slotLimit: Int { 65_536 }

  /// How many slots the program has.
  public let slotCount: Int
  /// How many functions it has; the first begins at slot 0.
  public private(set) var functionCount = 0
  /// Whether any function is called.
  public private(set) var callsFunctions = false
  /// What the compiler has to know.
  public private(set) var facts = ProgramFacts()

  /// Checks a program and leaves a mark for each slot in the first words of a memory.
  ///
  /// - Parameters:
  ///   - program: The slots, read little-endian.
  ///   - marks: At least as many words as the program has slots.
  /// - Throws: The first defect found.
  /// - Complexity: O(slots).
  public init(
    _ program: Span<UInt64>, marks: inout some WordMemory & ~Copyable
  ) throws(ProgramError) {
    slotCount = program.count
    guard slotCount > 0 else { throw ProgramError(.empty, at: 0) }
    guard slotCount <= Self.slotLimit else { throw ProgramError(.tooLong, at: Self.slotLimit) }
    guard slotCount <= marks.count else { throw ProgramError(.workingMemory, at: 0) }
    for index in 0..<slotCount { marks[index] = 0 }
    Self.edit(&marks, 0) { $0.isFunctionStart = true }
    try findFunctions(program, &marks)
    try checkJumps(program, &marks)
  }

  private static func edit(
    _ marks: inout some WordMemory & ~Copyable, _ index: Int, _ change: (inout Mark) -> Void
  ) {
    var mark = Mark(bits: marks[index])
    change(&mark)
    marks[index] = mark.bits
  }

  private mutating func findFunctions(
    _ program: Span<UInt64>, _ marks: inout some WordMemory & ~Copyable
  ) throws(ProgramError) {
    var index = 0
    while index < slotCount {
      let instruction = try Instruction(program, at: index)
      switch instruction {
      case .loadImmediate: Self.edit(&marks, index + 1) { $0.isSecondHalf = true }
      case .callHelper: facts.callsHelpers = true
      case .callLocal(let offset):
        callsFunctions = true
        let target = index + 1 + Int(offset)
        guard target >= 0, target < slotCount else { throw ProgramError(.jumpOutside, at: index) }
        guard target > 0 else { throw ProgramError(.callsFirstFunction, at: index) }
        Self.edit(&marks, target) { $0.isFunctionStart = true }
      default: break
      }
      index += instruction.slotCount
    }
  }

  private mutating func checkJumps(
    _ program: Span<UInt64>, _ marks: inout some WordMemory & ~Copyable
  ) throws(ProgramError) {
    var functionStart = 0
    var functionEnd = 0
    var index = 0
    while index < slotCount {
      let mark = Mark(bits: marks[index])
      if mark.isFunctionStart {
        functionCount += 1
        functionStart = index
        functionEnd = index + 1
        while functionEnd < slotCount, !Mark(bits: marks[functionEnd]).isFunctionStart {
          functionEnd += 1
        }
        if functionEnd < slotCount, Mark(bits: marks[functionEnd]).isSecondHalf {
          throw ProgramError(.jumpIntoImmediate, at: functionEnd)
        }
      }
      let instruction = try Instruction(program, at: index)
      if let offset = instruction.jumpOffset {
        let target = index + 1 + offset
        guard target >= 0, target < slotCount else { throw ProgramError(.jumpOutside, at: index) }
        guard !Mark(bits: marks[target]).isSecondHalf else {
          throw ProgramError(.jumpIntoImmediate, at: index)
        }
        guard target >= functionStart, target < functionEnd else {
          throw ProgramError(.jumpBetweenFunctions, at: index)
        }
        Self.edit(&marks, target) { $0.isJumpTarget = true }
      }
      note(instruction, functionStart, &marks)
      let next = index + instruction.slotCount
      if next >= functionEnd, instruction.fallsThrough {
        throw ProgramError(.runsOffTheEnd, at: index)
      }
      index = next
    }
  }

  private mutating func note(
    _ instruction: Instruction, _ functionStart: Int, _ marks: inout some WordMemory & ~Copyable
  ) {
    let named = instruction.namedRegisters
    if named.contains(.framePointer) { facts.usesFramePointer = true }
    let calls: Bool
    switch instruction {
    case .callHelper, .callLocal: calls = true
    default: calls = false
    }
    Self.edit(&marks, functionStart) {
      $0.usedRegisters = $0.usedRegisters.union(named)
      if calls { $0.makesCalls = true }
    }
  }
}

extension Compiler where Buffer: ~Copyable, Marks: ~Copyable {
  /// Compiles a program in one go; its entry is at the start of the buffer.
  ///
  /// - Parameters:
  ///   - program: A program that hangs together; what it does is not checked.
  ///   - helpers: Where its helpers are.
  /// - Returns: How many bytes the code takes.
  /// - Throws: What keeps the program from being compiled.
  /// - Complexity: O(slots).
  public mutating func compile(
    _ program: Span<UInt64>, helpers: borrowing some HelperAddresses & ~Copyable
  ) throws(ProgramError) -> Int {
    begin(try ProgramOutline(program, marks: &marks).facts)
    while true {
      if let count = try step(program, helpers: helpers, count: .max) { return count }
    }
  }
}
