// SPDX-License-Identifier: Apache-2.0
// Compiler.swift: compiles a program to x86_64 in the caller's buffer.
//
// The compiled program is a function of the System V ABI: r1 to r5 are its first five arguments, the sixth is the
// address of the top of its stack (`ProgramLimits.stackByteCount` bytes below it are the program's), the result is
// r0. Helpers are such functions too; their sixth argument is the same address, so that words which the caller puts
// above the stack reach the helpers. The code is position-independent except for the helpers' absolute addresses and
// touches no vector registers. It checks nothing: run only what the verifier accepted.
//
// Jumps are laid out in rounds: all long first, then short wherever the last layout says that the target is near.
// Code only ever shrinks, so a jump once short stays short.

/// Where the helpers are.
public protocol HelperAddresses: ~Copyable {
  /// The address of a helper's code, or nil if there is none.
  func address(of helper: UInt32) -> UInt64?
}

/// No helpers at all.
public struct NoHelpers: HelperAddresses {
  /// Makes the empty table.
  public init() {}
  /// Nothing has an address.
  public func address(of helper: UInt32) -> UInt64? { nil }
}

/// Compiles one program.
public struct Compiler<Buffer: CodeBuffer & ~Copyable, Marks: WordMemory & ~Copyable>: ~Copyable {
  /// What a pass over the program does.
  private enum Pass { case measure, shorten, write }

  var code: MachineCode<Buffer>
  var marks: Marks
  private var functionStart = 0
  private var facts = ProgramFacts()
  private var pass = Pass.measure
  private var slot = 0
  private var hasShortened = false
  private var rounds = 0

  /// Makes a compiler.
  ///
  /// - Parameters:
  ///   - buffer: Where the code goes.
  ///   - marks: One word for each slot of the programs to be compiled.
  public init(into buffer: consuming Buffer, marks: consuming Marks) {
    code = MachineCode(buffer)
    self.marks = marks
  }

  /// Gives the code back.
  public consuming func end() -> Buffer { code.end() }

  /// Begins with a program whose marks are there.
  public mutating func begin(_ facts: ProgramFacts) {
    self.facts = facts
    rounds = 0
    start(.measure)
  }

  private mutating func start(_ next: Pass) {
    pass = next
    slot = 0
    hasShortened = false
    if pass == .shorten { return }
    code.count = 0
    code.isMeasuring = pass == .measure
  }

  /// Goes on with the program.
  ///
  /// - Parameters:
  ///   - program: A program that hangs together; what it does is not checked. The same each time.
  ///   - helpers: Where its helpers are.
  ///   - count: How many instructions are gone over.
  /// - Returns: How many bytes the code takes, when all is written; its entry is at the start of the buffer.
  /// - Throws: What keeps the program from being compiled.
  public mutating func step(
    _ program: Span<UInt64>, helpers: borrowing some HelperAddresses & ~Copyable, count: Int
  ) throws(ProgramError) -> Int? {
    for _ in 0..<count {
      let instruction = try Instruction(program, at: slot)
      if pass == .shorten { shorten(instruction, program.count) } else { try place(instruction, helpers) }
      slot += instruction.slotCount
      if slot < program.count { continue }
      switch pass {
      case .measure: start(rounds < 4 ? .shorten : .write)
      case .shorten:
        rounds += 1
        start(hasShortened ? .measure : .write)
      case .write:
        guard !code.overflows else { throw ProgramError(.codeBuffer, at: 0) }
        return code.count
      }
    }
    return nil
  }

  func mark(_ slot: Int) -> Mark { Mark(bits: marks[slot]) }

  /// Makes a jump short if its target was near in the last layout.
  private mutating func shorten(_ instruction: Instruction, _ slotCount: Int) {
    guard let offset = instruction.jumpOffset, !mark(slot).isShortJump else { return }
    let end = slot + 1 < slotCount ? mark(slot + 1).codeOffset : UInt32(code.count)
    let distance = Int(mark(slot + 1 + offset).codeOffset) - Int(end)
    guard distance >= -128, distance <= 127 else { return }
    edit(slot) { $0.isShortJump = true }
    hasShortened = true
  }

  private mutating func edit(_ slot: Int, _ change: (inout Mark) -> Void) {
    var mark = mark(slot)
    change(&mark)
    marks[slot] = mark.bits
  }

  private mutating func place(
    _ instruction: Instruction, _ helpers: borrowing some HelperAddresses & ~Copyable
  ) throws(ProgramError) {
    let offset = UInt32(code.count)
    edit(slot) { $0.codeOffset = offset }
    if mark(slot).isFunctionStart {
      functionStart = slot
      enterFunction(slot)
    }
    try emit(instruction, at: slot, helpers)
  }
}

// What is copyable itself can be kept between steps.
extension Compiler: Copyable where Buffer: Copyable, Marks: Copyable {}

extension Compiler where Buffer: ~Copyable, Marks: ~Copyable {
  /// Whether the program needs the address above its stack after its entry.
  private var keepsContext: Bool { facts.callsHelpers }

  /// Whether rbp holds the frame pointer.
  var keepsFrame: Bool { facts.usesFramePointer }

  private func saves(_ index: Int, in function: Int) -> Bool {
    mark(function).usedRegisters.contains(SavedRegisters.at(index))
  }

  /// Whether rsp must be moved by a word so that calls happen with it aligned to 16 bytes.
  private func needsPadding(_ function: Int) -> Bool {
    guard mark(function).makesCalls else { return false }
    var pushed = 0
    for index in 0..<SavedRegisters.count where saves(index, in: function) { pushed += 1 }
    if function == 0, keepsFrame { pushed += 1 }
    if function == 0, keepsContext { pushed += 1 }
    return pushed % 2 == 0
  }

  private mutating func enterFunction(_ function: Int) {
    if function == 0, keepsFrame { code.push(.rbp) }
    if function == 0, keepsContext { code.push(.r12) }
    for index in 0..<SavedRegisters.count where saves(index, in: function) {
      code.push(SavedRegisters.at(index).machine)
    }
    if needsPadding(function) { code.group(.subtract, .doubleWord, .rsp, 8) }
    if function == 0, keepsFrame { code.move(.doubleWord, .rbp, .r9) }
    if function == 0, keepsContext { code.move(.doubleWord, .r12, .r9) }
    // Jumps to the function's first instruction must not repeat what its entry does.
    let offset = UInt32(code.count)
    edit(function) { $0.codeOffset = offset }
  }

  mutating func leaveFunction() {
    let function = functionStart
    if needsPadding(function) { code.group(.add, .doubleWord, .rsp, 8) }
    for index in 0..<SavedRegisters.count {
      let last = SavedRegisters.count - 1 - index
      if saves(last, in: function) { code.pop(SavedRegisters.at(last).machine) }
    }
    if function == 0, keepsContext { code.pop(.r12) }
    if function == 0, keepsFrame { code.pop(.rbp) }
    code.byte(0xc3)
  }

  /// Where callers of a function other than the first enter it.
  func entryOffset(of function: Int) -> Int {
    var length = needsPadding(function) ? 4 : 0
    for index in 0..<SavedRegisters.count where saves(index, in: function) {
      length += SavedRegisters.at(index).machine.isExtended ? 2 : 1
    }
    return Int(mark(function).codeOffset) - length
  }
}
