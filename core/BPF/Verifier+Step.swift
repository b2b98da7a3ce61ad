// SPDX-License-Identifier: Apache-2.0
// Verifier+Step.swift: what one instruction does to the state.

extension Verifier where Memory: ~Copyable {
  /// Executes the current instruction.
  ///
  /// - Returns: Whether the path goes on.
  mutating func step(_ program: Span<UInt64>) throws(Rejection) -> Bool {
    work += 1
    try require(work <= budget, .tooComplex)
    distance += 1
    pathLength += 1
    try require(pathLength <= contract.instructionLimit, .tooManyInstructions)
    let instruction = decoded(program)
    switch instruction {
    case .arithmetic(let operation, let size, let destination, let source):
      try calculate(operation, size, destination, source)
    case .moveSignExtended(let size, let width, let destination, let source):
      let extended = try number(try read(source)).signExtended(from: width)
      self[destination] = .number(size == .word ? extended.truncated(to: .word) : extended)
    case .negate(let size, let destination):
      let value = try number(try read(destination))
      self[destination] = .number(Scalar.exactly(0).applying(.subtract, value, size))
    case .byteOrder(let order, let width, let destination):
      self[destination] = .number(try number(try read(destination)).ordered(order, width))
    case .loadImmediate(let destination, let value): self[destination] = .number(.exactly(value))
    case .load(let width, let isSigned, let destination, let base, let offset):
      self[destination] = try load(width, isSigned, from: try read(base), Int64(offset))
    case .store(let width, let base, let offset, let source):
      let value = try read(source)
      try store(value, width, to: try read(base), Int64(offset))
    case .atomic(let operation, let width, let base, let offset, let source):
      try change(operation, width, at: try read(base), Int64(offset), source)
    case .jump(_, let offset):
      slot += 1 + Int(offset)
      return true
    case .branch(let condition, let size, let left, let right, let offset):
      return try branch(condition, size, left, right, by: Int(offset))
    case .callHelper(let number): try call(helper: number)
    case .callLocal(let offset):
      try enterFunction(at: slot + 1 + Int(offset))
      return true
    case .exit: return try leaveFunction()
    }
    slot += instruction.slotCount
    return true
  }

  /// The current instruction; the outline has seen that it decodes.
  func decoded(_ program: Span<UInt64>) -> Instruction {
    do throws(ProgramError) {
      return try Instruction(program, at: slot)
    } catch { return .exit }
  }

  /// The number that a value is; an address where leaks are permitted is any number.
  func number(_ value: AbstractValue) throws(Rejection) -> Scalar {
    if value.kind == .number { return value.scalar }
    try require(contract.permitsAddressLeaks, .addressArithmetic)
    return .anything
  }

  private mutating func calculate(
    _ operation: ArithmeticOperation, _ size: OperandSize, _ destination: Register,
    _ source: Operand
  ) throws(Rejection) {
    let right = try read(source)
    if operation == .move {
      self[destination] = try moved(right, size, from: source)
      return
    }
    let left = try read(destination)
    if left.isAddress || right.isAddress, size == .doubleWord,
      let result = try addressArithmetic(operation, left, right)
    {
      self[destination] = result
      return
    }
    let first = try number(left)
    self[destination] = .number(first.applying(operation, try number(right), size))
  }

  /// A copy; copies of numbers that are not known share an identity, so that a later branch tells of both.
  private mutating func moved(
    _ value: AbstractValue, _ size: OperandSize, from source: Operand
  ) throws(Rejection) -> AbstractValue {
    if size == .word, value.kind != .number || value.scalar.greatest > 0xffff_ffff {
      return .number(try number(value).truncated(to: .word))
    }
    guard case .register(let register) = source, value.kind == .number,
      value.scalar.constant == nil, value.identity == 0
    else { return value }
    var copy = value
    copy.identity = newIdentity()
    self[register] = copy
    return copy
  }

  /// The sum or difference with an address, or nil if the operation makes a mere number of it.
  private mutating func addressArithmetic(
    _ operation: ArithmeticOperation, _ left: AbstractValue, _ right: AbstractValue
  ) throws(Rejection) -> AbstractValue? {
    switch (operation, left.isAddress, right.isAddress) {
    case (.add, true, false): return try moved(left, by: right.scalar)
    case (.add, false, true): return try moved(right, by: left.scalar)
    case (.subtract, true, false): return try moved(left, by: .exactly(0) - right.scalar)
    case (.subtract, true, true): return difference(left, right)
    default: return nil
    }
  }

  /// An address some bytes further on.
  private mutating func moved(
    _ address: AbstractValue, by count: Scalar
  ) throws(Rejection) -> AbstractValue? {
    guard address.kind != .end else { return nil }
    try require(!address.mayBeZero, .zeroAddress)
    var result = address
    result.scalar = address.scalar + count
    let limit = Contract.offsetLimit
    let isNear =
      count.signedLeast >= -limit && count.signedGreatest <= limit
      && result.scalar.signedLeast >= -limit && result.scalar.signedGreatest <= limit
    try require(isNear, .addressTooFar)
    if result.scalar.constant != nil {
      result.identity = 0
      result.distance = 0
      result.proven = 0
    } else if let constant = count.constant {
      result.distance &+= Int32(truncatingIfNeeded: constant)
    } else {
      result.identity = newIdentity()
      result.distance = 0
      result.proven = 0
    }
    return result
  }

  /// The distance of two addresses of the same region, or nil if it would tell where something is.
  private func difference(_ left: AbstractValue, _ right: AbstractValue) -> AbstractValue? {
    guard left.place == right.place, !left.mayBeZero, !right.mayBeZero else { return nil }
    if left.kind == right.kind {
      return left.kind == .end
        ? .number(.exactly(0)) : .number(left.scalar - right.scalar)
    }
    guard left.kind == .end, right.kind == .region else { return nil }
    let region = Int(left.place)
    let maximum = UInt64(contract.regions[region].maximumByteCount)
    let length = Scalar.from(UInt64(provenSizes[region]), to: maximum)
    var result = AbstractValue.number(length - right.scalar)
    if right.scalar.constant == 0 {
      result.isLength = true
      result.place = left.place
    }
    return result
  }
}
