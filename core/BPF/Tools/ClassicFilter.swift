// SPDX-License-Identifier: Apache-2.0
// ClassicFilter.swift: packet filters of the old kind, as `tcpdump -dd` prints them, made into BPF of today.
//
// The machine of the old filters (McCanne and Jacobson, USENIX Winter 1993) has an accumulator, an index register, sixteen
// words and forward jumps. It maps onto r3, r4 and the stack; each load compares with the packet's end first, as the
// verifier wants it and the old machine does by itself: beyond the end a filter answers no.

import ApusBPF

/// A filter of the old kind.
public struct ClassicFilter: Sendable {
  /// An instruction of it.
  public struct Step: Equatable, Sendable {
    /// What it does.
    public var code: UInt16
    /// How many steps a condition that holds skips.
    public var ifTrue: UInt8
    /// How many steps one that does not hold skips.
    public var ifFalse: UInt8
    /// The constant.
    public var value: UInt32

    /// Makes a step.
    public init(_ code: UInt16, _ ifTrue: UInt8, _ ifFalse: UInt8, _ value: UInt32) {
      self.code = code
      self.ifTrue = ifTrue
      self.ifFalse = ifFalse
      self.value = value
    }
  }

  /// Why something is no filter.
  public struct Defect: Error, Equatable, Sendable {
    /// The step, from 0.
    public let step: Int
    /// One sentence.
    public let sentence: String
  }

  /// The steps.
  public let steps: [Step]

  /// Takes steps.
  public init(_ steps: [Step]) { self.steps = steps }

  /// Reads what `tcpdump -dd` (C) or `-ddd` (decimal, a count first) prints.
  ///
  /// - Throws: The first step that is not four numbers.
  public init(text: String) throws(Defect) {
    let lines = text.split(whereSeparator: \.isNewline).map { line in
      line.split { !$0.isHexDigit && $0 != "x" }.map(String.init)
    }
    var steps: [Step] = []
    for (index, words) in lines.enumerated() where !words.isEmpty {
      if index == 0, words.count == 1 { continue }
      let numbers = words.compactMap { $0.hasPrefix("0x") ? UInt32($0.dropFirst(2), radix: 16) : UInt32($0) }
      guard words.count == 4, numbers.count == 4, let code = UInt16(exactly: numbers[0]),
        let ifTrue = UInt8(exactly: numbers[1]), let ifFalse = UInt8(exactly: numbers[2])
      else { throw Defect(step: steps.count, sentence: "An instruction is four numbers: code, two jumps, a constant.") }
      steps.append(Step(code, ifTrue, ifFalse, numbers[3]))
    }
    self.init(steps)
  }
}

/// Where a jump of the translation leads.
private enum Target {
  case step(Int)
  case refusal
}

/// Writes the translation of one filter.
private struct Translator {
  static let accumulator = Register(3)
  static let index = Register(4)
  static let address = Register(5)
  static let packet = Register(1)
  static let end = Register(2)

  var slots: [UInt64] = []
  /// Where each step begins.
  var starts: [Int] = []
  var jumps: [(slot: Int, target: Target)] = []
  var step = 0

  mutating func add(_ instruction: Instruction) { slots += instruction.slots }

  mutating func jump(to target: Target) {
    jumps.append((slots.count, target))
    add(.jump(.doubleWord, offset: 0))
  }

  mutating func jump(
    if condition: Condition, _ size: OperandSize, _ left: Register, _ right: Operand, to target: Target
  ) {
    jumps.append((slots.count, target))
    add(.branch(condition, size, left: left, right: right, offset: 0))
  }

  mutating func set(_ register: Register, _ value: UInt32) {
    add(.arithmetic(.move, .word, destination: register, source: .immediate(Int32(bitPattern: value))))
  }

  mutating func copy(_ from: Register, to: Register) {
    add(.arithmetic(.move, .word, destination: to, source: .register(from)))
  }

  static func place(_ word: UInt32) -> Int16 { -8 * Int16(word + 1) }

  /// Loads from the packet, at a constant or behind the index register.
  mutating func load(_ width: AccessWidth, _ value: UInt32, isIndexed: Bool, into register: Register) {
    let limit: UInt32 = UseSize.packetGreatest
    let count = Int32(width.byteCount)
    if isIndexed {
      copy(Self.index, to: Self.address)
      add(
        .arithmetic(.add, .word, destination: Self.address, source: .immediate(Int32(bitPattern: value))))
      jump(if: .greater, .doubleWord, Self.address, .immediate(Int32(limit)), to: .refusal)
      add(.arithmetic(.add, .doubleWord, destination: Self.address, source: .register(Self.packet)))
    } else {
      guard value < limit else { return jump(to: .refusal) }
      add(.arithmetic(.move, .doubleWord, destination: Self.address, source: .register(Self.packet)))
      add(.arithmetic(.add, .doubleWord, destination: Self.address, source: .immediate(Int32(value))))
    }
    add(.arithmetic(.move, .doubleWord, destination: .result, source: .register(Self.address)))
    add(.arithmetic(.add, .doubleWord, destination: .result, source: .immediate(count)))
    jump(if: .greater, .doubleWord, .result, .register(Self.end), to: .refusal)
    add(.load(width, isSigned: false, destination: register, base: Self.address, offset: 0))
    if width != .byte { add(.byteOrder(.big, width, destination: register)) }
  }

  mutating func answer(_ isTaken: Bool) {
    set(.result, isTaken ? 1 : 0)
    add(.exit)
  }
}

extension ClassicFilter {
  /// The same as a packet filter for the kernel.
  ///
  /// - Returns: Its slots.
  /// - Throws: What the old machine does not know or allow.
  public func translated() throws(Defect) -> [UInt64] {
    var translator = Translator()
    func fail(_ sentence: String) -> Defect { Defect(step: translator.step, sentence: sentence) }
    guard !steps.isEmpty else { throw fail("The filter has no instructions.") }
    translator.set(Translator.accumulator, 0)
    translator.set(Translator.index, 0)
    for word in 0..<UInt32(16) where steps.contains(where: { $0.usesWord(word) }) {
      translator.add(
        .store(.doubleWord, base: .framePointer, offset: Translator.place(word), source: .immediate(0)))
    }
    for (index, step) in steps.enumerated() {
      translator.step = index
      translator.starts.append(translator.slots.count)
      try translate(step, at: index, &translator)
    }
    guard let last = steps.last, last.code & 7 == 6 else { throw fail("The last instruction must be ret.") }
    let refusal = translator.slots.count
    translator.answer(false)
    for (slot, target) in translator.jumps {
      let to: Int
      switch target {
      case .step(let step):
        guard step < steps.count else { throw fail("A jump leads out of the filter.") }
        to = translator.starts[step]
      case .refusal: to = refusal
      }
      guard let offset = Int16(exactly: to - slot - 1) else { throw fail("The filter is too long.") }
      translator.slots[slot] |= UInt64(UInt16(bitPattern: offset)) << 16
    }
    return translator.slots
  }

  private func translate(_ step: Step, at index: Int, _ translator: inout Translator) throws(Defect) {
    func fail(_ sentence: String) -> Defect { Defect(step: index, sentence: sentence) }
    let (a, x) = (Translator.accumulator, Translator.index)
    guard step.code <= 0xff else { throw fail("The code is unknown.") }
    let value = Int32(bitPattern: step.value)
    switch step.code & 7 {
    case 0, 1: try load(step, into: step.code & 7 == 0 ? a : x, fail("This load is unknown."), &translator)
    case 2, 3:
      guard step.value < 16 else { throw fail("There are sixteen words of memory.") }
      let source = step.code & 7 == 2 ? a : x
      translator.add(
        .store(
          .doubleWord, base: .framePointer, offset: Translator.place(step.value), source: .register(source)))
    case 4:
      let source: Operand = step.code & 8 != 0 ? .register(x) : .immediate(value)
      if step.code & 0xf0 == 0x80 {
        translator.add(.negate(.word, destination: a))
        return
      }
      guard let operation = ArithmeticOperation(rawValue: UInt8(step.code >> 4)), operation != .move,
        operation != .arithmeticShiftRight
      else { throw fail("This arithmetic is unknown.") }
      if operation == .divide || operation == .modulo {
        // Dividing by zero refuses the packet.
        if case .register = source {
          translator.jump(if: .equal, .word, x, .immediate(0), to: .refusal)
        } else if value == 0 {
          throw fail("The filter divides by zero.")
        }
      }
      translator.add(.arithmetic(operation, .word, destination: a, source: source))
    case 5: try jump(step, at: index, fail("This jump is unknown."), &translator)
    case 6:
      guard step.code & 0x18 != 0x08, step.code & 0xe0 == 0 else { throw fail("This answer is unknown.") }
      if step.code & 0x18 == 0 { return translator.answer(step.value != 0) }
      translator.jump(if: .equal, .word, a, .immediate(0), to: .refusal)
      translator.answer(true)
    default:
      switch step.code {
      case 0x07: translator.copy(a, to: x)
      case 0x87: translator.copy(x, to: a)
      default: throw fail("The code is unknown.")
      }
    }
  }

  private func load(
    _ step: Step, into register: Register, _ defect: Defect, _ translator: inout Translator
  ) throws(Defect) {
    let width: AccessWidth
    switch step.code & 0x18 {
    case 0x00: width = .word
    case 0x08: width = .halfWord
    case 0x10: width = .byte
    default: throw defect
    }
    let isIndex = register == Translator.index
    switch (step.code & 0xe0, width, isIndex) {
    case (0x00, .word, _): translator.set(register, step.value)
    case (0x20, _, false): translator.load(width, step.value, isIndexed: false, into: register)
    case (0x40, _, false): translator.load(width, step.value, isIndexed: true, into: register)
    case (0x60, .word, _):
      guard step.value < 16 else { throw defect }
      translator.add(
        .load(
          .doubleWord, isSigned: false, destination: register, base: .framePointer,
          offset: Translator.place(step.value)))
      translator.copy(register, to: register)
    case (0x80, .word, _):
      translator.add(.arithmetic(.move, .doubleWord, destination: register, source: .register(Translator.end)))
      translator.add(
        .arithmetic(.subtract, .doubleWord, destination: register, source: .register(Translator.packet)))
    case (0xa0, .byte, true):
      translator.load(.byte, step.value, isIndexed: false, into: register)
      translator.add(.arithmetic(.and, .word, destination: register, source: .immediate(15)))
      translator.add(.arithmetic(.shiftLeft, .word, destination: register, source: .immediate(2)))
    default: throw defect
    }
  }

  private func jump(
    _ step: Step, at index: Int, _ defect: Defect, _ translator: inout Translator
  ) throws(Defect) {
    if step.code & 0xf0 == 0 {
      guard step.value < UInt32(steps.count) else { throw defect }
      return translator.jump(to: .step(index + 1 + Int(step.value)))
    }
    let condition: Condition
    switch step.code & 0xf0 {
    case 0x10: condition = .equal
    case 0x20: condition = .greater
    case 0x30: condition = .greaterOrEqual
    case 0x40: condition = .anyBitSet
    default: throw defect
    }
    let right: Operand =
      step.code & 8 != 0 ? .register(Translator.index) : .immediate(Int32(bitPattern: step.value))
    if step.ifTrue != step.ifFalse {
      translator.jump(
        if: condition, .word, Translator.accumulator, right, to: .step(index + 1 + Int(step.ifTrue)))
    }
    if step.ifFalse != 0 { translator.jump(to: .step(index + 1 + Int(step.ifFalse))) }
  }
}

extension ClassicFilter.Step {
  /// Whether the step reads or writes a word of memory.
  fileprivate func usesWord(_ word: UInt32) -> Bool {
    guard value == word else { return false }
    return code & 7 == 2 || code & 7 == 3 || (code & 6 == 0 && code & 0xe0 == 0x60)
  }
}
