// SPDX-License-Identifier: Apache-2.0
// ForwardVerifier+Execute.swift: what one instruction does to the state, and what it must not do.

extension ForwardVerifier {
  /// Executes an instruction; jumps leave the state at their targets.
  mutating func execute(_ instruction: Instruction, _ contract: Contract) throws(Rejection) {
    try spend(instruction.isSlow ? 16 : 1, contract)
    switch instruction {
    case .arithmetic(let operation, let size, let destination, let source):
      try calculate(operation, size, destination, try read(source), contract)
    case .moveSignExtended(let size, let width, let destination, let source):
      let value = try number(source)
      let keeps = value.greatest <= width.mask >> 1
      set(destination, keeps ? value : size == .word ? .number(0, 0xffff_ffff) : .number())
    case .negate(let size, let destination):
      _ = try number(destination)
      set(destination, size == .word ? .number(0, 0xffff_ffff) : .number())
    case .byteOrder(let order, let width, let destination):
      let value = try number(destination)
      set(destination, order == .little ? value.truncated(to: width) : .number(0, width.mask))
    case .loadImmediate(let destination, let value): set(destination, .number(value, value))
    case .load(let width, let isSigned, let destination, let base, let offset):
      try check(base, Int64(offset), width, isWrite: false, contract)
      set(destination, isSigned ? .number() : .number(0, width.mask))
    case .store(let width, let base, let offset, let source):
      try require(!(try read(source)).isAddress, .addressStored)
      try check(base, Int64(offset), width, isWrite: true, contract)
    case .atomic(let operation, let width, let base, let offset, let source):
      try change(operation, width, base, Int64(offset), source, contract)
    case .jump(_, let offset):
      try leave(to: Int(offset))
      isReached = false
    case .branch(let condition, let size, let left, let right, let offset):
      try branch(condition, size, left, right, Int(offset), contract)
    case .callHelper(let number): try call(number, contract)
    case .callLocal: break  // refused before
    case .exit:
      let result = try read(.result)
      try require(!result.isAddress, .addressReturned)
      try require(result.least >= contract.resultLeast && result.greatest <= contract.resultGreatest, .resultOutOfRange)
      finish()
    }
  }

  private func read(_ register: Register) throws(Rejection) -> ForwardValue {
    let value = self[register]
    try require(value.kind != .nothing, .uninitialisedRegister)
    return value
  }

  private func read(_ operand: Operand) throws(Rejection) -> ForwardValue {
    switch operand {
    case .register(let register): return try read(register)
    case .immediate(let value): return .number(UInt64(immediate: value), UInt64(immediate: value))
    }
  }

  private func number(_ register: Register) throws(Rejection) -> ForwardValue {
    let value = try read(register)
    try require(!value.isAddress, .addressArithmetic)
    return value
  }

  /// Gives a register a value that this slot has made; a copy keeps the identity that it has.
  private mutating func set(_ register: Register, _ value: ForwardValue) {
    var value = value
    if value.identity == 0, value.constant == nil { value.identity = UInt16(truncatingIfNeeded: slot + 1) }
    self[register] = value
  }

  // MARK: Arithmetic

  private mutating func calculate(
    _ operation: ArithmeticOperation, _ size: OperandSize, _ destination: Register, _ right: ForwardValue,
    _ contract: Contract
  ) throws(Rejection) {
    if operation == .move {
      if size == .word {
        try require(!right.isAddress, .addressArithmetic)
        return set(destination, right.truncated(to: .word))
      }
      return set(destination, right)
    }
    let left = try read(destination)
    guard left.isAddress || right.isAddress else {
      return set(destination, left.applying(operation, right, size))
    }
    try require(size == .doubleWord, .addressArithmetic)
    switch (operation, left.isAddress, right.isAddress) {
    case (.add, true, false): try move(left, by: right, destination)
    case (.add, false, true): try move(right, by: left, destination)
    case (.subtract, true, false):
      let negated = right.constant.map { ForwardValue.number(0 &- $0, 0 &- $0) }
      try require(negated != nil, .addressTooFar)
      try move(left, by: negated ?? right, destination)
    case (.subtract, true, true):
      try require(left.region == right.region && left.kind != .stack && right.kind == .region, .addressArithmetic)
      set(destination, difference(left, right, contract))
    default: try require(false, .addressArithmetic)
    }
  }

  private mutating func move(
    _ address: ForwardValue, by count: ForwardValue, _ destination: Register
  ) throws(Rejection) {
    try require(address.kind != .end, .addressArithmetic)
    let limit = Contract.offsetLimit
    try require(count.first >= -limit && count.last <= limit && count.first <= count.last, .addressTooFar)
    var result = address
    result.least = UInt64(bitPattern: address.first + count.first)
    result.greatest = UInt64(bitPattern: address.last + count.last)
    try require(result.first >= -limit && result.last <= limit, .addressTooFar)
    result.zeros = min(address.lowZeros, count.lowZeros)
    if count.constant != nil {
      if result.identity != 0 { result.distance += Int32(truncatingIfNeeded: count.first) }
    } else {
      try require(address.kind != .stack, .addressTooFar)
      result.identity = UInt16(truncatingIfNeeded: slot + 1)
      result.distance = 0
      result.proven = 0
    }
    self[destination] = result
  }

  /// Bytes between two addresses of region 0, or of another one.
  private func difference(_ left: ForwardValue, _ right: ForwardValue, _ contract: Contract) -> ForwardValue {
    if left.kind == .region {
      guard left.first >= right.last else { return .number() }
      return .number(UInt64(left.first - right.last), UInt64(left.last - right.first))
    }
    let known = provenSize(0, contract)
    guard right.last <= known, right.first >= 0 else { return .number() }
    var result = ForwardValue.number(UInt64(known - right.last), UInt64(contract.regions[0].maximumByteCount))
    result.isLength = right.constant == 0
    return result
  }

  // MARK: Branches

  private mutating func branch(
    _ condition: Condition, _ size: OperandSize, _ left: Register, _ right: Operand, _ offset: Int, _ contract: Contract
  ) throws(Rejection) {
    let (first, second) = (try read(left), try read(right))
    if first.isAddress || second.isAddress {
      let isWithin =
        first.isAddress && second.isAddress && first.region == second.region && first.kind != .stack
        && second.kind != .stack
      try require(isWithin && size == .doubleWord && condition != .anyBitSet, .addressCompared)
    }
    putAside()
    if learn(condition, size, left, right, first, second, holds: true, contract) { try leave(to: offset) }
    takeBack()
    isReached = learn(condition, size, left, right, first, second, holds: false, contract)
  }

  /// Takes over what a comparison's outcome says.
  ///
  /// - Returns: Whether it can come out so.
  private mutating func learn(
    _ condition: Condition, _ size: OperandSize, _ left: Register, _ right: Operand, _ first: ForwardValue,
    _ second: ForwardValue, holds: Bool, _ contract: Contract
  ) -> Bool {
    guard first.isAddress else {
      guard let limited = first.limited(condition, size, second, holds: holds) else { return false }
      limit(left, limited.left, contract)
      if case .register(let register) = right { limit(register, limited.right, contract) }
      return true
    }
    // How many bytes from the address on, beside those before it, are in the region.
    var extra: Int64?
    switch (condition, holds, first.kind) {
    case (.lessOrEqual, true, .region), (.greater, false, .region), (.greaterOrEqual, true, .end), (.less, false, .end),
      (.equal, true, _), (.notEqual, false, _):
      extra = 0
    case (.less, true, .region), (.greaterOrEqual, false, .region), (.greater, true, .end), (.lessOrEqual, false, .end):
      extra = 1
    default: break
    }
    let address = first.kind == .region ? first : second
    guard let extra, first.kind != second.kind else { return true }
    if address.first + extra > 0 { prove(UInt64(address.first + extra), contract) }
    guard address.identity != 0 else { return true }
    for number in 0..<10 {
      var value = self[Register(number)]
      guard value.kind == .region, value.identity == address.identity else { continue }
      value.proven = max(value.proven, Int64(address.distance) + extra)
      self[Register(number)] = value
    }
    return true
  }

  /// Takes over bounds of a number, for its copies, too.
  private mutating func limit(_ register: Register, _ value: ForwardValue, _ contract: Contract) {
    // What was a constant may have been compared by its low word only.
    guard self[register].constant == nil else { return }
    if value.isLength { prove(value.least, contract) }
    self[register] = value
    guard value.identity != 0 else { return }
    for number in 0..<10 {
      let other = self[Register(number)]
      if other.kind == .number, other.identity == value.identity { self[Register(number)] = value }
    }
  }

  // MARK: Memory

  private mutating func check(
    _ base: Register, _ offset: Int64, _ width: AccessWidth, isWrite: Bool, _ contract: Contract
  ) throws(Rejection) {
    let address = try read(base)
    let count = Int64(width.byteCount)
    let (start, end) = (address.first &+ offset, address.last &+ offset &+ count)
    switch address.kind {
    case .stack:
      try require(start >= -512 && end <= 0, .outsideStack)
      if isWrite { return setStackHasValues(Int(start + 512), width.byteCount) }
      try require(stackHasValues(Int(start + 512), width.byteCount), .uninitialisedStack)
    case .region:
      let isProven = address.identity != 0 && Int64(address.distance) + offset + count <= address.proven
      try require(start >= 0 && (end <= provenSize(address.region, contract) || isProven), .outsideRegion)
      let region = contract.regions[Int(address.region & 7)]
      try require(contract.field(in: Int(address.region), from: start, to: end) == nil, .partOfField)
      try require(isWrite ? region.isWritable : region.isReadable, isWrite ? .notWritable : .notReadable)
    case .nothing, .number, .end: try require(false, .notAnAddress)
    }
  }

  private mutating func change(
    _ operation: AtomicOperation, _ width: AccessWidth, _ base: Register, _ offset: Int64, _ source: Register,
    _ contract: Contract
  ) throws(Rejection) {
    let address = try read(base)
    try require(!(try read(source)).isAddress, .addressToAtomic)
    if operation == .compareExchange { try require(!(try read(.result)).isAddress, .addressToAtomic) }
    let alignment = address.kind == .region ? contract.regions[Int(address.region & 7)].alignment : 8
    let isAligned = offset % Int64(width.byteCount) == 0 && 1 << UInt64(address.lowZeros) >= UInt64(width.byteCount)
    try require(isAligned && alignment >= UInt32(width.byteCount), .misalignedAtomic)
    try check(base, offset, width, isWrite: false, contract)
    try check(base, offset, width, isWrite: true, contract)
    if operation == .compareExchange { set(.result, .number(0, width.mask)) }
    if operation.returnsOldValueInSource { set(source, .number(0, width.mask)) }
  }

  // MARK: Helpers

  private mutating func call(_ number: UInt32, _ contract: Contract) throws(Rejection) {
    guard let helper = contract.helper(number) else { return try require(false, .unknownHelper) }
    try require(helper.isDeterministic || !contract.isDeterministic, .nondeterministicHelper)
    for index in 0..<5 {
      if case .unused = helper.arguments[index] { continue }
      guard case .number(let least, let greatest) = helper.arguments[index] else {
        return try require(false, .helperMemory)
      }
      let value = try read(Register(index + 1))
      try require(value.kind == .number && value.least >= least && value.greatest <= greatest, .helperNumber)
    }
    try spend(UInt64(helper.cost), contract)
    for register in 0...5 { self[Register(register)] = .nothing }
    if case .number(let least, let greatest) = helper.result { set(.result, .number(least, greatest)) }
  }
}

extension Instruction {
  /// Whether the machine takes many steps for it.
  fileprivate var isSlow: Bool {
    switch self {
    case .arithmetic(.divide, _, _, _), .arithmetic(.modulo, _, _, _), .arithmetic(.signedDivide, _, _, _),
      .arithmetic(.signedModulo, _, _, _), .atomic:
      true
    default: false
    }
  }
}
