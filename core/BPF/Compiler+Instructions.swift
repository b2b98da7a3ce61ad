// SPDX-License-Identifier: Apache-2.0
// Compiler+Instructions.swift: the machine code of each instruction, except for division and atomics.

extension Compiler where Buffer: ~Copyable, Marks: ~Copyable {
  mutating func emit(
    _ instruction: Instruction, at slot: Int,
    _ helpers: borrowing some HelperAddresses & ~Copyable
  ) throws(ProgramError) {
    switch instruction {
    case .arithmetic(let operation, let size, let destination, let source):
      switch source {
      case .register(let register):
        emit(operation, size, destination.machine, register.machine)
      case .immediate(let value): emit(operation, size, destination.machine, value)
      }
    case .moveSignExtended(let size, let width, let destination, let source):
      emitSignExtension(size, width, destination.machine, source.machine)
    case .negate(let size, let destination): code.negate(size, destination.machine)
    case .byteOrder(let order, let width, let destination):
      emit(order, width, destination.machine)
    case .loadImmediate(let destination, let value): code.load(destination.machine, value)
    case .load(let width, let isSigned, let destination, let base, let offset):
      emitLoad(width, isSigned, destination.machine, base.machine, offset)
    case .store(let width, let base, let offset, let source):
      emitStore(width, base.machine, offset, source)
    case .atomic(let operation, let width, let base, let offset, let source):
      emit(operation, width, base.machine, offset, source.machine)
    case .jump(_, let offset): emitJump(nil, at: slot, by: Int(offset))
    case .branch(let condition, let size, let left, let right, let offset):
      emitComparison(condition, size, left.machine, right)
      emitJump(condition.machine, at: slot, by: Int(offset))
    case .callHelper(let number):
      guard let address = helpers.address(of: number) else {
        throw ProgramError(.helperWithoutAddress, at: slot)
      }
      emitHelperCall(address)
    case .callLocal(let offset): emitCall(at: slot, to: slot + 1 + Int(offset))
    case .exit: leaveFunction()
    }
  }

  private mutating func emit(
    _ operation: ArithmeticOperation, _ size: OperandSize, _ destination: MachineRegister,
    _ source: MachineRegister
  ) {
    switch operation {
    case .add: code.group(.add, size, destination, source)
    case .subtract: code.group(.subtract, size, destination, source)
    case .or: code.group(.or, size, destination, source)
    case .and: code.group(.and, size, destination, source)
    case .exclusiveOr: code.group(.exclusiveOr, size, destination, source)
    case .multiply: code.multiply(size, destination, source)
    case .move: emitMove(size, destination, source)
    case .shiftLeft: emitShift(.shiftLeft, size, destination, source)
    case .shiftRight: emitShift(.shiftRight, size, destination, source)
    case .arithmeticShiftRight: emitShift(.arithmeticShiftRight, size, destination, source)
    case .divide: emitDivision(.quotient, size, isSigned: false, destination, by: source)
    case .modulo: emitDivision(.remainder, size, isSigned: false, destination, by: source)
    case .signedDivide: emitDivision(.quotient, size, isSigned: true, destination, by: source)
    case .signedModulo: emitDivision(.remainder, size, isSigned: true, destination, by: source)
    }
  }

  private mutating func emitMove(
    _ size: OperandSize, _ destination: MachineRegister, _ source: MachineRegister
  ) {
    // A word move clears the upper half even where source and destination are the same.
    if size == .word || destination != source { code.move(size, destination, source) }
  }

  private mutating func emit(
    _ operation: ArithmeticOperation, _ size: OperandSize, _ destination: MachineRegister,
    _ value: Int32
  ) {
    let count = UInt8(truncatingIfNeeded: value) & (size.rawValue - 1)
    switch operation {
    case .add: code.group(.add, size, destination, value)
    case .subtract: code.group(.subtract, size, destination, value)
    case .or: code.group(.or, size, destination, value)
    case .and: code.group(.and, size, destination, value)
    case .exclusiveOr: code.group(.exclusiveOr, size, destination, value)
    case .multiply: code.multiply(size, destination, value)
    case .move:
      code.load(
        destination,
        size == .word ? UInt64(UInt32(bitPattern: value)) : UInt64(immediate: value))
    case .shiftLeft: emitShift(.shiftLeft, size, destination, by: count)
    case .shiftRight: emitShift(.shiftRight, size, destination, by: count)
    case .arithmeticShiftRight: emitShift(.arithmeticShiftRight, size, destination, by: count)
    case .divide: emitDivision(.quotient, size, isSigned: false, destination, by: value)
    case .modulo: emitDivision(.remainder, size, isSigned: false, destination, by: value)
    case .signedDivide: emitDivision(.quotient, size, isSigned: true, destination, by: value)
    case .signedModulo: emitDivision(.remainder, size, isSigned: true, destination, by: value)
    }
  }

  private mutating func emitShift(
    _ operation: GroupTwo, _ size: OperandSize, _ destination: MachineRegister, by count: UInt8
  ) {
    if count == 0 {
      emitMove(size, destination, destination)
    } else {
      code.shift(operation, size, destination, by: count)
    }
  }

  /// Shifts by a register; the machine wants the count in rcx, which is r4.
  private mutating func emitShift(
    _ operation: GroupTwo, _ size: OperandSize, _ destination: MachineRegister,
    _ count: MachineRegister
  ) {
    if count == .rcx, destination != .rcx {
      code.shiftByCount(operation, size, destination)
      return
    }
    code.move(.doubleWord, .r11, .rcx)
    if count != .rcx { code.move(.word, .rcx, count) }
    if destination == .rcx {
      code.shiftByCount(operation, size, .r11)
      code.move(.doubleWord, .rcx, .r11)
    } else {
      code.shiftByCount(operation, size, destination)
      code.move(.doubleWord, .rcx, .r11)
    }
  }

  /// The code of movzx, movsx or movsxd, or of what does for wider operands.
  private mutating func emitExtending(_ width: AccessWidth, _ isSigned: Bool, otherwise: UInt8) {
    switch width {
    case .byte, .halfWord: code.bytes(0x0f, 0xb6 | (width == .halfWord ? 1 : 0) | (isSigned ? 8 : 0))
    case .word where isSigned: code.byte(0x63)
    default: code.byte(otherwise)
    }
  }

  private mutating func emitSignExtension(
    _ size: OperandSize, _ width: AccessWidth, _ destination: MachineRegister,
    _ source: MachineRegister
  ) {
    // Without a REX prefix, byte registers 4 to 7 would be the high bytes of others.
    code.rex(size, destination, source, isForced: width == .byte)
    emitExtending(width, true, otherwise: 0x63)
    code.registers(destination.number, source)
  }

  private mutating func emit(
    _ order: ByteOrder, _ width: AccessWidth, _ destination: MachineRegister
  ) {
    switch (order, width) {
    case (.little, .halfWord): emitZeroExtension(destination)
    case (.little, .doubleWord): break
    case (.little, _): code.move(.word, destination, destination)
    case (_, .halfWord):
      code.byte(0x66)
      code.shift(.rotateRight, .word, destination, by: 8)
      emitZeroExtension(destination)
    case (_, .doubleWord): code.swapBytes(.doubleWord, destination)
    case (_, _): code.swapBytes(.word, destination)
    }
  }

  private mutating func emitZeroExtension(_ destination: MachineRegister) {
    code.rex(.word, destination, destination)
    code.bytes(0x0f, 0xb7)
    code.registers(destination.number, destination)
  }

  private mutating func emitLoad(
    _ width: AccessWidth, _ isSigned: Bool, _ destination: MachineRegister,
    _ base: MachineRegister, _ offset: Int16
  ) {
    let size: OperandSize = isSigned || width == .doubleWord ? .doubleWord : .word
    code.rex(size, destination, base)
    emitExtending(width, isSigned, otherwise: 0x8b)
    code.memory(destination.number, base, offset)
  }

  private mutating func emitStore(
    _ width: AccessWidth, _ base: MachineRegister, _ offset: Int16, _ source: Operand
  ) {
    if width == .halfWord { code.byte(0x66) }
    let size: OperandSize = width == .doubleWord ? .doubleWord : .word
    switch source {
    case .register(let register):
      let machine = register.machine
      code.rex(size, machine, base, isForced: width == .byte)
      code.byte(width == .byte ? 0x88 : 0x89)
      code.memory(machine.number, base, offset)
    case .immediate(let value):
      code.rex(size, .rax, base)
      code.byte(width == .byte ? 0xc6 : 0xc7)
      code.memory(0, base, offset)
      switch width {
      case .byte: code.byte(UInt8(truncatingIfNeeded: value))
      case .halfWord: code.word16(UInt16(truncatingIfNeeded: value))
      case .word, .doubleWord: code.word32(UInt32(bitPattern: value))
      }
    }
  }
}

extension Condition {
  /// The machine's condition after a comparison, or after a test for `anyBitSet`.
  var machine: MachineCondition {
    switch self {
    case .equal: .equal
    case .notEqual, .anyBitSet: .notEqual
    case .greater: .above
    case .greaterOrEqual: .aboveOrEqual
    case .less: .below
    case .lessOrEqual: .belowOrEqual
    case .signedGreater: .greater
    case .signedGreaterOrEqual: .greaterOrEqual
    case .signedLess: .less
    case .signedLessOrEqual: .lessOrEqual
    }
  }
}

extension Compiler where Buffer: ~Copyable, Marks: ~Copyable {
  private mutating func emitComparison(
    _ condition: Condition, _ size: OperandSize, _ left: MachineRegister, _ right: Operand
  ) {
    switch (condition, right) {
    case (.anyBitSet, .register(let register)): code.test(size, left, register.machine)
    case (.anyBitSet, .immediate(let value)): code.test(size, left, value)
    case (_, .register(let register)): code.group(.compare, size, left, register.machine)
    case (_, .immediate(0)): code.test(size, left, left)
    case (_, .immediate(let value)): code.group(.compare, size, left, value)
    }
  }

  private mutating func emitJump(_ condition: MachineCondition?, at slot: Int, by offset: Int) {
    if offset == 0, condition == nil { return }
    let target = Int(mark(slot + 1 + offset).codeOffset)
    if mark(slot).isShortJump {
      code.bytes(condition.map { 0x70 | $0.rawValue } ?? 0xeb, UInt8(truncatingIfNeeded: target - code.count - 2))
      return
    }
    if let condition {
      code.bytes(0x0f, 0x80 | condition.rawValue)
    } else {
      code.byte(0xe9)
    }
    code.word32(UInt32(truncatingIfNeeded: target - code.count - 4))
  }

  private mutating func emitHelperCall(_ address: UInt64) {
    code.move(.doubleWord, .r9, .r12)
    code.load(.rax, address)
    code.byte(0xff)
    code.registers(2, .rax)
  }

  private mutating func emitCall(at slot: Int, to function: Int) {
    let frame = Int32(ProgramLimits.frameByteCount)
    if keepsFrame { code.group(.subtract, .doubleWord, .rbp, frame) }
    code.byte(0xe8)
    code.word32(UInt32(truncatingIfNeeded: entryOffset(of: function) - code.count - 4))
    if keepsFrame { code.group(.add, .doubleWord, .rbp, frame) }
  }
}
