// SPDX-License-Identifier: Apache-2.0
// Decoder.swift: from 8-byte slots to instructions (RFC 9669, 3 to 5); every reserved field must be zero.

/// The fields of one slot, as the machine reads it little-endian (RFC 9669, 3.1).
struct Slot {
  let bits: UInt64

  var operation: UInt8 { UInt8(truncatingIfNeeded: bits) }
  var operationClass: UInt8 { operation & 0x07 }
  var destination: Int { Int(bits >> 8 & 0xf) }
  var source: Int { Int(bits >> 12 & 0xf) }
  var offset: Int16 { Int16(truncatingIfNeeded: bits >> 16) }
  var immediate: Int32 { Int32(truncatingIfNeeded: bits >> 32) }
  /// Whether the second operand of arithmetic or a branch is the source register (RFC 9669, 4).
  var usesSourceRegister: Bool { operation & 0x08 != 0 }
  /// The operation of arithmetic and jumps.
  var code: UInt8 { operation >> 4 }
}

/// Reads instructions out of a program; holds what one decoding needs for its errors.
struct Decoder {
  let slot: Slot
  let index: Int

  func fail(_ reason: ProgramError.Reason) -> ProgramError { ProgramError(reason, at: index) }

  func require(_ isZero: Bool) throws(ProgramError) {
    guard isZero else { throw fail(.reservedFieldUsed) }
  }

  func register(_ number: Int) throws(ProgramError) -> Register {
    guard number < Register.count else { throw fail(.unknownRegister) }
    return Register(number)
  }

  func written(_ number: Int) throws(ProgramError) -> Register {
    let register = try register(number)
    guard register != .framePointer else { throw fail(.writesFramePointer) }
    return register
  }

  /// The second operand of arithmetic or a branch; the field that is not used must be empty.
  func operand() throws(ProgramError) -> Operand {
    if slot.usesSourceRegister {
      try require(slot.immediate == 0)
      return .register(try register(slot.source))
    }
    try require(slot.source == 0)
    return .immediate(slot.immediate)
  }
}

extension Decoder {
  func arithmetic(_ size: OperandSize) throws(ProgramError) -> Instruction {
    if slot.code == 0xd { return try byteOrder(size) }
    let destination = try written(slot.destination)
    if slot.code == 0x8 {
      try require(!slot.usesSourceRegister && slot.source == 0 && slot.offset == 0)
      try require(slot.immediate == 0)
      return .negate(size, destination: destination)
    }
    let source = try operand()
    if slot.code == 0xb, slot.offset != 0 { return try moveSignExtended(size, destination: destination) }
    guard slot.code <= 0xd else { throw fail(.unknownOperation) }
    guard slot.offset & ~1 == 0,
      let operation = ArithmeticOperation(rawValue: slot.code | UInt8(slot.offset) << 4)
    else { throw fail(.reservedFieldUsed) }
    return .arithmetic(operation, size, destination: destination, source: source)
  }

  func moveSignExtended(
    _ size: OperandSize, destination: Register
  ) throws(ProgramError) -> Instruction {
    guard slot.usesSourceRegister else { throw fail(.reservedFieldUsed) }
    let source = try register(slot.source)
    let width: AccessWidth
    switch (slot.offset, size) {
    case (8, _): width = .byte
    case (16, _): width = .halfWord
    case (32, .doubleWord): width = .word
    default: throw fail(.reservedFieldUsed)
    }
    return .moveSignExtended(size, from: width, destination: destination, source: source)
  }

  func byteOrder(_ size: OperandSize) throws(ProgramError) -> Instruction {
    let destination = try written(slot.destination)
    try require(slot.source == 0 && slot.offset == 0)
    let width: AccessWidth
    switch slot.immediate {
    case 16: width = .halfWord
    case 32: width = .word
    case 64: width = .doubleWord
    default: throw fail(.reservedFieldUsed)
    }
    switch (size, slot.usesSourceRegister) {
    case (.word, false): return .byteOrder(.little, width, destination: destination)
    case (.word, true): return .byteOrder(.big, width, destination: destination)
    case (.doubleWord, false): return .byteOrder(.swap, width, destination: destination)
    case (.doubleWord, true): throw fail(.reservedFieldUsed)
    }
  }
}

extension Decoder {
  func jump(_ size: OperandSize) throws(ProgramError) -> Instruction {
    switch slot.code {
    case 0x0:
      try require(!slot.usesSourceRegister && slot.destination == 0 && slot.source == 0)
      switch size {
      case .doubleWord:
        try require(slot.immediate == 0)
        return .jump(size, offset: Int32(slot.offset))
      case .word:
        try require(slot.offset == 0)
        return .jump(size, offset: slot.immediate)
      }
    case 0x8: return try call(size)
    case 0x9:
      guard size == .doubleWord else { throw fail(.unknownOperation) }
      try require(slot.bits >> 8 == 0 && !slot.usesSourceRegister)
      return .exit
    default:
      guard let condition = Condition(rawValue: slot.code) else { throw fail(.unknownOperation) }
      let left = try register(slot.destination)
      return .branch(condition, size, left: left, right: try operand(), offset: slot.offset)
    }
  }

  func call(_ size: OperandSize) throws(ProgramError) -> Instruction {
    guard size == .doubleWord else { throw fail(.unknownOperation) }
    try require(!slot.usesSourceRegister && slot.destination == 0 && slot.offset == 0)
    switch slot.source {
    case 0: return .callHelper(number: UInt32(bitPattern: slot.immediate))
    case 1: return .callLocal(offset: slot.immediate)
    case 2: throw fail(.typedHelperCall)
    default: throw fail(.unknownCallKind)
    }
  }
}

extension Decoder {
  /// The width of a load or store (RFC 9669, 5).
  var width: AccessWidth {
    switch slot.operation & 0x18 {
    case 0x00: .word
    case 0x08: .halfWord
    case 0x10: .byte
    default: .doubleWord
    }
  }

  func load() throws(ProgramError) -> Instruction {
    let isSigned: Bool
    switch slot.operation & 0xe0 {
    case 0x60: isSigned = false
    case 0x80 where width != .doubleWord: isSigned = true
    default: throw fail(.unknownOperation)
    }
    try require(slot.immediate == 0)
    return .load(
      width, isSigned: isSigned, destination: try written(slot.destination),
      base: try register(slot.source), offset: slot.offset)
  }

  func storeImmediate() throws(ProgramError) -> Instruction {
    guard slot.operation & 0xe0 == 0x60 else { throw fail(.unknownOperation) }
    try require(slot.source == 0)
    return .store(
      width, base: try register(slot.destination), offset: slot.offset,
      source: .immediate(slot.immediate))
  }

  func storeRegister() throws(ProgramError) -> Instruction {
    let base = try register(slot.destination)
    let source = try register(slot.source)
    switch slot.operation & 0xe0 {
    case 0x60:
      try require(slot.immediate == 0)
      return .store(width, base: base, offset: slot.offset, source: .register(source))
    case 0xc0:
      let operation = try atomicOperation()
      if operation.returnsOldValueInSource, source == .framePointer {
        throw fail(.writesFramePointer)
      }
      return .atomic(operation, width, base: base, offset: slot.offset, source: source)
    default: throw fail(.unknownOperation)
    }
  }

  func atomicOperation() throws(ProgramError) -> AtomicOperation {
    guard width == .word || width == .doubleWord else { throw fail(.unknownAtomic) }
    guard slot.immediate & ~0xff == 0,
      let operation = AtomicOperation(rawValue: UInt8(truncatingIfNeeded: slot.immediate))
    else { throw fail(.unknownAtomic) }
    return operation
  }

  /// The one instruction of two slots, and the old ones that it shares its class with.
  func loadImmediate(next: UInt64?) throws(ProgramError) -> Instruction {
    switch slot.operation & 0xf8 {
    case 0x18: break
    case 0x20, 0x28, 0x30, 0x40, 0x48, 0x50: throw fail(.packetAccess)
    default: throw fail(.unknownOperation)
    }
    switch slot.source {
    case 0: break
    case 1, 2, 5, 6: throw fail(.mapReference)
    case 3, 4: throw fail(.symbolicReference)
    default: throw fail(.unknownOperation)
    }
    try require(slot.offset == 0)
    guard let next, next & 0xffff_ffff == 0 else { throw fail(.truncatedImmediate) }
    return .loadImmediate(
      destination: try written(slot.destination), value: next | slot.bits >> 32)
  }
}

extension Instruction {
  /// Decodes the instruction that begins at a slot.
  ///
  /// - Parameters:
  ///   - program: The slots, read little-endian.
  ///   - index: The slot, inside the program.
  /// - Throws: What is wrong with the instruction by itself; where its jumps lead is not looked at.
  /// - Complexity: O(1).
  public init(_ program: Span<UInt64>, at index: Int) throws(ProgramError) {
    let slot = Slot(bits: program[index])
    let decoder = Decoder(slot: slot, index: index)
    switch slot.operationClass {
    case 0: self = try decoder.loadImmediate(next: index + 1 < program.count ? program[index + 1] : nil)
    case 1: self = try decoder.load()
    case 2: self = try decoder.storeImmediate()
    case 3: self = try decoder.storeRegister()
    case 4: self = try decoder.arithmetic(.word)
    case 5: self = try decoder.jump(.doubleWord)
    case 6: self = try decoder.jump(.word)
    default: self = try decoder.arithmetic(.doubleWord)
    }
  }
}
