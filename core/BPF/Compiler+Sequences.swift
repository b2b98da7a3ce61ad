// SPDX-License-Identifier: Apache-2.0
// Compiler+Sequences.swift: the instructions that take several of the machine's: division and atomics.

/// Which of a division's results is wanted.
enum DivisionResult {
  case quotient
  case remainder
}

extension Compiler where Buffer: ~Copyable, Marks: ~Copyable {
  /// Divides by a constant.
  mutating func emitDivision(
    _ result: DivisionResult, _ size: OperandSize, isSigned: Bool, _ dividend: MachineRegister,
    by value: Int32
  ) {
    code.load(.r11, size == .word ? UInt64(UInt32(bitPattern: value)) : UInt64(immediate: value))
    if value == 0 || value == -1 {
      emitDivision(result, size, isSigned: isSigned, dividend, by: .r11)
    } else {
      emitBareDivision(result, size, isSigned: isSigned, dividend)
    }
  }

  /// Divides by a register, which may be zero or, where that would trap, -1 (RFC 9669, 4.1).
  mutating func emitDivision(
    _ result: DivisionResult, _ size: OperandSize, isSigned: Bool, _ dividend: MachineRegister,
    by divisor: MachineRegister
  ) {
    code.move(size, .r11, divisor)
    code.test(size, .r11, .r11)
    let isNotZero = code.skip(.notEqual)
    emitDivisionByZero(result, size, dividend)
    let zeroDone = code.skip(nil)
    code.land(isNotZero)
    if isSigned {
      code.group(.compare, size, .r11, -1)
      let isNotMinusOne = code.skip(.notEqual)
      emitDivisionByMinusOne(result, size, dividend)
      let minusOneDone = code.skip(nil)
      code.land(isNotMinusOne)
      emitBareDivision(result, size, isSigned: true, dividend)
      code.land(minusOneDone)
    } else {
      emitBareDivision(result, size, isSigned: false, dividend)
    }
    code.land(zeroDone)
  }

  private mutating func emitDivisionByZero(
    _ result: DivisionResult, _ size: OperandSize, _ dividend: MachineRegister
  ) {
    switch result {
    case .quotient: code.group(.exclusiveOr, .word, dividend, dividend)
    case .remainder: if size == .word { code.move(.word, dividend, dividend) }
    }
  }

  private mutating func emitDivisionByMinusOne(
    _ result: DivisionResult, _ size: OperandSize, _ dividend: MachineRegister
  ) {
    switch result {
    case .quotient: code.negate(size, dividend)
    case .remainder: code.group(.exclusiveOr, .word, dividend, dividend)
    }
  }

  /// Divides by r11, using rax and rdx and giving them back.
  private mutating func emitBareDivision(
    _ result: DivisionResult, _ size: OperandSize, isSigned: Bool, _ dividend: MachineRegister
  ) {
    if dividend != .rax { code.move(.doubleWord, .r10, .rax) }
    if dividend != .rdx { code.move(.doubleWord, .r9, .rdx) }
    if dividend != .rax { code.move(size, .rax, dividend) }
    if isSigned {
      code.extendAccumulator(size)
    } else {
      code.group(.exclusiveOr, .word, .rdx, .rdx)
    }
    code.divide(size, isSigned: isSigned, by: .r11)
    let found: MachineRegister = result == .quotient ? .rax : .rdx
    if dividend != found { code.move(.doubleWord, dividend, found) }
    if dividend != .rax { code.move(.doubleWord, .rax, .r10) }
    if dividend != .rdx { code.move(.doubleWord, .rdx, .r9) }
  }
}

extension Compiler where Buffer: ~Copyable, Marks: ~Copyable {
  mutating func emit(
    _ operation: AtomicOperation, _ width: AccessWidth, _ base: MachineRegister, _ offset: Int16,
    _ source: MachineRegister
  ) {
    let size: OperandSize = width == .word ? .word : .doubleWord
    switch operation {
    case .add: emitLocked(.add, size, base, offset, source)
    case .or: emitLocked(.or, size, base, offset, source)
    case .and: emitLocked(.and, size, base, offset, source)
    case .exclusiveOr: emitLocked(.exclusiveOr, size, base, offset, source)
    case .fetchAdd:
      code.byte(0xf0)
      code.rex(size, source, base)
      code.bytes(0x0f, 0xc1)
      code.memory(source.number, base, offset)
    case .exchange:
      // An exchange with memory is locked without a prefix (Intel SDM vol. 2, XCHG).
      code.rex(size, source, base)
      code.byte(0x87)
      code.memory(source.number, base, offset)
    case .compareExchange:
      emitCompareExchange(size, base, offset, source)
      // Where the comparison succeeds the machine leaves rax as it is, its upper half included.
      if size == .word { code.move(.word, .rax, .rax) }
    case .fetchOr: emitLoop(.or, size, base, offset, source)
    case .fetchAnd: emitLoop(.and, size, base, offset, source)
    case .fetchExclusiveOr: emitLoop(.exclusiveOr, size, base, offset, source)
    }
  }

  private mutating func emitLocked(
    _ operation: GroupOne, _ size: OperandSize, _ base: MachineRegister, _ offset: Int16,
    _ source: MachineRegister
  ) {
    code.byte(0xf0)
    code.rex(size, source, base)
    code.byte(operation.rawValue << 3 | 1)
    code.memory(source.number, base, offset)
  }

  private mutating func emitCompareExchange(
    _ size: OperandSize, _ base: MachineRegister, _ offset: Int16, _ source: MachineRegister
  ) {
    code.byte(0xf0)
    code.rex(size, source, base)
    code.bytes(0x0f, 0xb1)
    code.memory(source.number, base, offset)
  }

  /// Operations whose old value the machine does not return: repeats compare and exchange until it succeeds.
  private mutating func emitLoop(
    _ operation: GroupOne, _ size: OperandSize, _ base: MachineRegister, _ offset: Int16,
    _ source: MachineRegister
  ) {
    code.move(.doubleWord, .r10, .rax)
    code.move(size, .r11, source)
    let place: MachineRegister = base == .rax ? .r10 : base
    code.rex(size, .rax, place)
    code.byte(0x8b)
    code.memory(0, place, offset)
    let start = code.count
    code.move(size, .r9, .rax)
    code.group(operation, size, .r9, .r11)
    emitCompareExchange(size, place, offset, .r9)
    code.jumpBack(.notEqual, to: start)
    if source != .rax {
      code.move(size, source, .rax)
      code.move(.doubleWord, .rax, .r10)
    }
  }
}
