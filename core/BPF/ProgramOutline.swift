// SPDX-License-Identifier: Apache-2.0
// ProgramOutline.swift: checks that a program hangs together, and notes where its functions and jump targets are.

/// What is noted of one slot, in one word of the caller's memory.
struct Mark {
  var bits: UInt64

  private func has(_ bit: UInt64) -> Bool { bits >> bit & 1 != 0 }
  private mutating func put(_ value: Bool, _ bit: UInt64) {
    bits = value ? bits | 1 << bit : bits & ~(1 << bit)
  }

  /// Where the slot's machine code begins, while compiling.
  var codeOffset: UInt32 {
    get { UInt32(truncatingIfNeeded: bits) }
    set { bits = bits & ~0xffff_ffff | UInt64(newValue) }
  }
  /// Whether a jump leads here.
  var isJumpTarget: Bool {
    get { has(32) }
    set { put(newValue, 32) }
  }
  /// Whether the slot is a function's first.
  var isFunctionStart: Bool {
    get { has(33) }
    set { put(newValue, 33) }
  }
  /// Whether the slot is the second half of a 64-bit immediate.
  var isSecondHalf: Bool {
    get { has(34) }
    set { put(newValue, 34) }
  }
  /// Whether the compiled jump is of the short form.
  var isShortJump: Bool {
    get { has(35) }
    set { put(newValue, 35) }
  }
  /// At a function's start: the registers that the function names.
  var usedRegisters: RegisterSet {
    get { RegisterSet(bits: UInt16(truncatingIfNeeded: bits >> 36 & 0x7ff)) }
    set { bits = bits & ~(0x7ff << 36) | UInt64(newValue.bits) << 36 }
  }
  /// While verifying: the registers whose values may still decide something, such as an address or a branch.
  var decidingRegisters: RegisterSet {
    get { usedRegisters }
    set { usedRegisters = newValue }
  }
  /// While verifying: the registers whose values may still be read.
  var liveRegisters: RegisterSet {
    get { RegisterSet(bits: UInt16(truncatingIfNeeded: bits >> 48 & 0x7ff)) }
    set { bits = bits & ~(0x7ff << 48) | UInt64(newValue.bits) << 48 }
  }
  /// At a function's start: whether the function calls anything.
  var makesCalls: Bool {
    get { has(59) }
    set { put(newValue, 59) }
  }
}

/// A set of registers.
struct RegisterSet: Equatable {
  var bits: UInt16

  static var none: RegisterSet { RegisterSet(bits: 0) }
  static func only(_ register: Register) -> RegisterSet {
    RegisterSet(bits: 1 << UInt16(register.number))
  }
  func contains(_ register: Register) -> Bool { bits >> UInt16(register.number) & 1 != 0 }
  func union(_ other: RegisterSet) -> RegisterSet { RegisterSet(bits: bits | other.bits) }
  func subtracting(_ other: RegisterSet) -> RegisterSet { RegisterSet(bits: bits & ~other.bits) }
}

extension Operand {
  /// The register read, if the operand is one.
  var registers: RegisterSet {
    switch self {
    case .register(let register): .only(register)
    case .immediate: .none
    }
  }
}

extension Instruction {
  /// The registers that the instruction names, for deciding which ones a function must save.
  var namedRegisters: RegisterSet {
    switch self {
    case .arithmetic(_, _, let destination, let source):
      RegisterSet.only(destination).union(source.registers)
    case .moveSignExtended(_, _, let destination, let source):
      RegisterSet.only(destination).union(.only(source))
    case .negate(_, let destination), .byteOrder(_, _, let destination): .only(destination)
    case .loadImmediate(let destination, _): .only(destination)
    case .load(_, _, let destination, let base, _): RegisterSet.only(destination).union(.only(base))
    case .store(_, let base, _, let source): RegisterSet.only(base).union(source.registers)
    case .atomic(_, _, let base, _, let source): RegisterSet.only(base).union(.only(source))
    case .branch(_, _, let left, let right, _): RegisterSet.only(left).union(right.registers)
    case .jump, .callHelper, .callLocal, .exit: .none
    }
  }

  /// How far a jump leads, for those instructions that are jumps.
  var jumpOffset: Int? {
    switch self {
    case .jump(_, let offset): Int(offset)
    case .branch(_, _, _, _, let offset): Int(offset)
    default: nil
    }
  }

  /// Whether the instruction after this one can be reached by falling through.
  var fallsThrough: Bool {
    switch self {
    case .jump, .exit: false
    default: true
    }
  }
}

/// A program that hangs together: every instruction decodes, every jump stays in its function.
public struct ProgramOutline: Equatable, Sendable {
  /// The greatest program, in slots.
  public static var slotLimit: Int { 65_536 }

  /// How many slots the program has.
  public let slotCount: Int
  /// How many functions it has; the first begins at slot 0.
  public private(set) var functionCount = 0
  /// Whether any helper is called.
  public private(set) var callsHelpers = false
  /// Whether any function is called.
  public private(set) var callsFunctions = false
  /// Whether any instruction names the frame pointer.
  public private(set) var usesFramePointer = false

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
      case .callHelper: callsHelpers = true
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
    if named.contains(.framePointer) { usesFramePointer = true }
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
