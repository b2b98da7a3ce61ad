// SPDX-License-Identifier: Apache-2.0
// ProgramGenerator.swift: makes random programs that end and stay in their memory, and spoils them.

import ApusBPF
import ApusBPFTools

/// Programs for a memory of `memoryByteCount` bytes, from a seed.
struct ProgramGenerator {
  static let memoryByteCount = 64

  private var numbers: SeededNumbers
  private var slots: [UInt64] = []
  /// Where functions are called; they follow the first one.
  private var calls: [Int] = []

  init(seed: UInt64) { numbers = SeededNumbers(seed: seed) }

  /// A program that gives every register a value, keeps the memory's address in r6, and jumps forward only, but for
  /// one loop of a known number of rounds.
  static func program(seed: UInt64) -> [UInt64] {
    var generator = ProgramGenerator(seed: seed)
    return generator.whole()
  }

  private mutating func add(_ instruction: Instruction) { slots += instruction.slots }

  private mutating func whole() -> [UInt64] {
    add(.arithmetic(.move, .doubleWord, destination: Register(6), source: .register(Register(1))))
    for number in 0..<10 where number != 6 { setConstant(Register(number)) }
    for slot in 1...4 {
      add(
        .store(
          .doubleWord, base: .framePointer, offset: Int16(-8 * slot),
          source: .register(value(in: 0..<6))))
    }
    let rounds = numbers.below(4)
    if rounds > 0 {
      add(
        .arithmetic(
          .move, .doubleWord, destination: Register(9), source: .immediate(Int32(rounds))))
    }
    let start = slots.count
    block(length: 5 + numbers.below(30), mayCall: true, hasLoop: rounds > 0)
    if rounds > 0 {
      add(.arithmetic(.add, .doubleWord, destination: Register(9), source: .immediate(-1)))
      let distance = start - slots.count - 1
      add(
        .branch(
          .notEqual, .doubleWord, left: Register(9), right: .immediate(0), offset: Int16(distance)))
    }
    mixRegisters()
    add(.exit)
    for (function, call) in calls.enumerated() {
      slots[call] |= UInt64(UInt32(slots.count - call - 1)) << 32
      for number in [0, 6, 7, 8, 9] { setConstant(Register(number)) }
      for slot in 1...4 {
        add(
          .store(
            .doubleWord, base: .framePointer, offset: Int16(-8 * slot),
            source: .immediate(Int32(function))))
      }
      block(length: 3 + numbers.below(8), mayCall: false, hasLoop: true)
      add(.exit)
    }
    return slots
  }

  private mutating func setConstant(_ register: Register) {
    add(.loadImmediate(destination: register, value: numbers.interesting()))
  }

  /// Instructions with jumps among them that all lead forward, inside the block.
  private mutating func block(length: Int, mayCall: Bool, hasLoop: Bool) {
    var targets: [(slot: Int, after: Int)] = []
    for index in 0..<length {
      targets.removeAll { target in
        guard target.after == index else { return false }
        let distance = slots.count - target.slot - 1
        slots[target.slot] |= UInt64(UInt16(distance)) << 16
        return true
      }
      switch numbers.below(20) {
      case 0..<9: arithmetic(hasLoop)
      case 9..<11: unary(hasLoop)
      case 11..<13: load(hasLoop, mayUseMemory: mayCall)
      case 13..<15: store(mayUseMemory: mayCall)
      case 15: atomic(mayUseMemory: mayCall)
      case 16..<19:
        targets.append((slots.count, index + 1 + numbers.below(length - index)))
        branch()
      default: if mayCall, calls.count < 3 { call() }
      }
    }
    for target in targets {
      slots[target.slot] |= UInt64(UInt16(slots.count - target.slot - 1)) << 16
    }
  }

  private mutating func value(in range: Range<Int>) -> Register {
    Register(range.lowerBound + numbers.below(range.count))
  }

  /// A register to write; r6 keeps the memory's address, r9 counts rounds.
  private mutating func destination(_ hasLoop: Bool) -> Register {
    let register = value(in: 0..<(hasLoop ? 9 : 10))
    return register == Register(6) ? Register(7) : register
  }

  private mutating func source() -> Register {
    let register = value(in: 0..<10)
    return register == Register(6) ? Register(8) : register
  }

  private mutating func size() -> OperandSize { numbers.below(2) == 0 ? .word : .doubleWord }

  private mutating func operand() -> Operand {
    numbers.below(2) == 0
      ? .register(source()) : .immediate(Int32(truncatingIfNeeded: numbers.interesting()))
  }

  private mutating func arithmetic(_ hasLoop: Bool) {
    let operations = ScalarTests.operations
    let operation = operations[numbers.below(operations.count)]
    add(.arithmetic(operation, size(), destination: destination(hasLoop), source: operand()))
  }

  private mutating func unary(_ hasLoop: Bool) {
    let register = destination(hasLoop)
    let widths: [AccessWidth] = [.halfWord, .word, .doubleWord]
    switch numbers.below(4) {
    case 0: add(.negate(size(), destination: register))
    case 1:
      let orders: [ByteOrder] = [.little, .big, .swap]
      add(.byteOrder(orders[numbers.below(3)], widths[numbers.below(3)], destination: register))
    case 2:
      add(
        .moveSignExtended(
          .doubleWord, from: [.byte, .halfWord, .word][numbers.below(3)], destination: register,
          source: source()))
    default:
      add(
        .moveSignExtended(
          .word, from: [.byte, .halfWord][numbers.below(2)], destination: register,
          source: source()))
    }
  }

  /// Bytes of the memory or of the stack's initialised part, sometimes a few too far on the stack.
  private mutating func place(_ width: AccessWidth, mayUseMemory: Bool) -> (Register, Int16) {
    let count = width.byteCount
    if mayUseMemory, numbers.below(2) == 0 {
      return (Register(6), Int16(numbers.below(Self.memoryByteCount - count + 1)))
    }
    return (.framePointer, Int16(numbers.below(32 - count + 1) - 32))
  }

  private mutating func width() -> AccessWidth {
    [AccessWidth.byte, .halfWord, .word, .doubleWord][numbers.below(4)]
  }

  private mutating func load(_ hasLoop: Bool, mayUseMemory: Bool) {
    let width = width()
    let (base, offset) = place(width, mayUseMemory: mayUseMemory)
    add(
      .load(
        width, isSigned: width != .doubleWord && numbers.below(2) == 0,
        destination: destination(hasLoop), base: base, offset: offset))
  }

  private mutating func store(mayUseMemory: Bool) {
    let width = width()
    let (base, offset) = place(width, mayUseMemory: mayUseMemory)
    add(.store(width, base: base, offset: offset, source: operand()))
  }

  private mutating func atomic(mayUseMemory: Bool) {
    let operations: [AtomicOperation] = [
      .add, .or, .and, .exclusiveOr, .fetchAdd, .fetchOr, .fetchAnd, .fetchExclusiveOr, .exchange,
      .compareExchange,
    ]
    let width: AccessWidth = numbers.below(2) == 0 ? .word : .doubleWord
    var (base, offset) = place(width, mayUseMemory: mayUseMemory)
    offset &= ~Int16(width.byteCount - 1)
    if base == .framePointer { offset = max(offset, -32) }
    // A fetched value must not end up in the registers that have a purpose.
    let source = destination(true)
    add(
      .atomic(
        operations[numbers.below(operations.count)], width, base: base, offset: offset,
        source: source))
  }

  private mutating func branch() {
    let conditions = ScalarTests.conditions
    add(
      .branch(
        conditions[numbers.below(conditions.count)], size(), left: source(), right: operand(),
        offset: 0))
  }

  private mutating func call() {
    calls.append(slots.count)
    add(.callLocal(offset: 0))
    // What a call leaves in r1 to r5 may not be read.
    for number in 1...5 { setConstant(Register(number)) }
  }

  private mutating func mixRegisters() {
    for number in 1..<10 where number != 6 {
      add(
        .arithmetic(.multiply, .doubleWord, destination: .result, source: .immediate(31)))
      add(
        .arithmetic(
          .exclusiveOr, .doubleWord, destination: .result, source: .register(Register(number))))
    }
  }
}

extension ProgramGenerator {
  /// The program with a few bits or instructions changed; mostly it still decodes.
  static func spoiled(_ program: [UInt64], seed: UInt64) -> [UInt64] {
    var numbers = SeededNumbers(seed: seed ^ 0x5157)
    var slots = program
    for _ in 0...numbers.below(4) {
      let index = numbers.below(slots.count)
      switch numbers.below(7) {
      case 0: slots[index] ^= 1 << UInt64(numbers.below(64))
      case 1: slots[index] = slots[index] & ~0xf00 | UInt64(numbers.below(11)) << 8
      case 2: slots[index] = slots[index] & ~0xf000 | UInt64(numbers.below(11)) << 12
      case 3:
        let offset = UInt16(truncatingIfNeeded: numbers.below(150) - 75)
        slots[index] = slots[index] & ~0xffff_0000 | UInt64(offset) << 16
      case 4:
        slots[index] = slots[index] & 0xffff_ffff | numbers.interesting() << 32
      case 5: slots[index] = slots[numbers.below(slots.count)]
      default: slots.remove(at: index)
      }
      if slots.isEmpty { return program }
    }
    return slots
  }
}
