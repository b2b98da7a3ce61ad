// SPDX-License-Identifier: Apache-2.0
// Verifier+Branches.swift: which ways a branch can go, and what is known after it went one.

/// What a comparison of an address says.
private enum AddressFact {
  case nothing
  case impossible
  /// The address is zero.
  case isZero
  /// The address is not zero.
  case isNotZero
  /// The region reaches to the address, or one byte further.
  case isInside(extra: Int64)
}

extension Verifier where Memory: ~Copyable {
  /// Executes a branch: continues where it is not taken if it may not be, and keeps the other way for later.
  ///
  /// - Returns: Whether the path goes on.
  mutating func branch(
    _ condition: Condition, _ size: OperandSize, _ left: Register, _ right: Operand, by offset: Int
  ) throws(Rejection) -> Bool {
    let first = try read(left)
    let second = try read(right)
    try checkComparison(condition, size, first, second)
    let canBeTaken = isPossible(condition, size, first, second, holds: true)
    let canBeSkipped = isPossible(condition, size, first, second, holds: false)
    if canBeTaken, canBeSkipped { try keepForLater() }
    guard canBeTaken || canBeSkipped else {
      finishPath(distance)
      return false
    }
    learn(condition, size, left, right, holds: !canBeSkipped)
    slot += canBeSkipped ? 1 : 1 + offset
    return true
  }

  /// Goes on with a branch that was kept for later.
  ///
  /// - Returns: Whether the path goes on.
  mutating func takeBranch(_ program: Span<UInt64>) throws(Rejection) -> Bool {
    guard case .branch(let condition, let size, let left, let right, let offset) = decoded(program)
    else { return false }
    learn(condition, size, left, right, holds: true)
    slot += 1 + Int(offset)
    return true
  }

  private func checkComparison(
    _ condition: Condition, _ size: OperandSize, _ left: AbstractValue, _ right: AbstractValue
  ) throws(Rejection) {
    guard left.isAddress || right.isAddress, !contract.permitsAddressLeaks else { return }
    let isEquality = condition == .equal || condition == .notEqual
    let isWithZero =
      isEquality
      && (left.scalar.constant == 0 && !left.isAddress
        || right.scalar.constant == 0 && !right.isAddress)
    let isWithinRegion =
      left.isAddress && right.isAddress && left.place == right.place
      && (left.kind == .stack) == (right.kind == .stack) && !left.mayBeZero && !right.mayBeZero
      && condition != .anyBitSet
    let isHarmless = size == .doubleWord && (isWithZero || isWithinRegion)
    try require(isHarmless, .addressCompared)
  }

  private func isPossible(
    _ condition: Condition, _ size: OperandSize, _ left: AbstractValue, _ right: AbstractValue,
    holds: Bool
  ) -> Bool {
    if !left.isAddress, !right.isAddress {
      let compared = ComparedScalars(left: left.scalar, right: right.scalar)
      return compared.limited(condition, size, holds: holds) != nil
    }
    if case .impossible = fact(condition, size, left, right, holds: holds) { return false }
    return true
  }

  /// Takes over what a branch's outcome says.
  private mutating func learn(
    _ condition: Condition, _ size: OperandSize, _ left: Register, _ right: Operand, holds: Bool
  ) {
    let first = self[left]
    let second: AbstractValue =
      switch right {
      case .register(let register): self[register]
      case .immediate(let value): .number(.exactly(UInt64(immediate: value)))
      }
    if !first.isAddress, !second.isAddress {
      let compared = ComparedScalars(left: first.scalar, right: second.scalar)
      guard let limited = compared.limited(condition, size, holds: holds) else { return }
      setNumber(left, first, limited.left)
      if case .register(let register) = right { setNumber(register, second, limited.right) }
      return
    }
    let address = first.kind == .region || second.kind == .end ? first : second
    switch fact(condition, size, first, second, holds: holds) {
    case .nothing, .impossible: break
    case .isZero, .isNotZero:
      let isFirst = first.isAddress
      let isZero: Bool
      if case .isZero = fact(condition, size, first, second, holds: holds) {
        isZero = true
      } else {
        isZero = false
      }
      let value = isFirst ? first : second
      if case .register(let register) = isFirst ? .register(left) : right {
        settleZero(register, value, isZero: isZero)
      }
    case .isInside(let extra): prove(address, extra)
    }
  }

  private mutating func setNumber(_ register: Register, _ old: AbstractValue, _ scalar: Scalar) {
    var new = old
    new.scalar = scalar
    self[register] = new
    if old.isLength { learnLength(Int(old.place), scalar.least) }
    if old.identity != 0 { update(identity: old.identity) { $0.scalar = scalar } }
  }

  private mutating func learnLength(_ region: Int, _ least: UInt64) {
    let maximum = contract.regions[region].maximumByteCount
    provenSizes[region] = max(provenSizes[region], UInt32(clamping: min(least, UInt64(maximum))))
  }

  private mutating func settleZero(
    _ register: Register, _ value: AbstractValue, isZero: Bool
  ) {
    var new = value
    new.mayBeZero = false
    new.identity = 0
    let settled: AbstractValue = isZero ? .number(.exactly(0)) : new
    self[register] = settled
    if value.identity != 0 {
      update(identity: value.identity) {
        let bytes = $0.initialisedBytes
        $0 = settled
        $0.initialisedBytes = bytes
      }
    }
  }

  private mutating func prove(_ address: AbstractValue, _ extra: Int64) {
    let region = Int(address.place)
    let least = address.scalar.signedLeast &+ extra
    if least > 0 { learnLength(region, UInt64(least)) }
    guard address.identity != 0 else { return }
    let proven = Int32(clamping: Int64(address.distance) + extra)
    update(identity: address.identity) { $0.proven = max($0.proven, proven) }
  }

  private func fact(
    _ condition: Condition, _ size: OperandSize, _ left: AbstractValue, _ right: AbstractValue,
    holds: Bool
  ) -> AddressFact {
    guard size == .doubleWord else { return .nothing }
    if left.isAddress != right.isAddress {
      return zeroFact(
        condition, left.isAddress ? left : right, left.isAddress ? right : left, holds: holds)
    }
    guard left.place == right.place, !left.mayBeZero, !right.mayBeZero else { return .nothing }
    switch (left.kind, right.kind) {
    case (.region, .end): return endFact(condition, left, holds: holds)
    case (.end, .region): return endFact(condition.mirrored, right, holds: holds)
    default: return .nothing
    }
  }

  private func zeroFact(
    _ condition: Condition, _ address: AbstractValue, _ number: AbstractValue, holds: Bool
  ) -> AddressFact {
    guard number.scalar.constant == 0 else { return .nothing }
    let isZero: Bool
    switch condition {
    case .equal: isZero = holds
    case .notEqual: isZero = !holds
    default: return .nothing
    }
    // An offset would move zero away from zero; addresses that may be zero have none.
    if address.mayBeZero { return isZero ? .isZero : .isNotZero }
    return isZero ? .impossible : .nothing
  }

  /// What comparing an address on the left with its region's end on the right says.
  private func endFact(
    _ condition: Condition, _ address: AbstractValue, holds: Bool
  ) -> AddressFact {
    let extra: Int64
    switch (condition, holds) {
    case (.lessOrEqual, true), (.greater, false), (.equal, true), (.notEqual, false): extra = 0
    case (.less, true), (.greaterOrEqual, false): extra = 1
    default: return .nothing
    }
    let maximum = Int64(contract.regions[Int(address.place)].maximumByteCount)
    return address.scalar.signedLeast &+ extra > maximum ? .impossible : .isInside(extra: extra)
  }
}

extension Condition {
  /// The condition that holds for the operands in the other order.
  fileprivate var mirrored: Condition {
    switch self {
    case .equal, .notEqual, .anyBitSet: self
    case .greater: .less
    case .greaterOrEqual: .lessOrEqual
    case .less: .greater
    case .lessOrEqual: .greaterOrEqual
    case .signedGreater: .signedLess
    case .signedGreaterOrEqual: .signedLessOrEqual
    case .signedLess: .signedGreater
    case .signedLessOrEqual: .signedGreaterOrEqual
    }
  }
}
