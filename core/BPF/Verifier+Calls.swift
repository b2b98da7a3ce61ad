// SPDX-License-Identifier: Apache-2.0
// Verifier+Calls.swift: calls of the program's functions and of helpers, and the end of both.

extension Verifier where Memory: ~Copyable {
  mutating func enterFunction(at target: Int) throws(Rejection) {
    try require(depth + 1 < ProgramLimits.callDepth, .callsTooDeep)
    let returnSlot = slot + 1
    depth += 1
    deepest = max(deepest, depth)
    clearFrame()
    setReturnSlot(returnSlot)
    for number in 1...5 {
      set(value(at: registerIndex(depth - 1, number)), at: registerIndex(depth, number))
    }
    slot = target
  }

  /// Leaves the current function.
  ///
  /// - Returns: Whether the path goes on.
  mutating func leaveFunction() throws(Rejection) -> Bool {
    guard depth > 0 else {
      try checkResult(try read(.result))
      finishPath(distance)
      return false
    }
    let result = self[.result]
    let outlives = result.kind == .stack && Int(result.place) == depth
    try require(!outlives, .danglingStack)
    slot = returnSlot(depth)
    depth -= 1
    self[.result] = result
    loseArguments()
    return true
  }

  private func checkResult(_ result: AbstractValue) throws(Rejection) {
    try require(!result.isAddress || contract.permitsAddressLeaks, .addressReturned)
    let isInRange =
      result.isAddress
      || result.scalar.least >= contract.resultLeast
        && result.scalar.greatest <= contract.resultGreatest
    try require(isInRange, .resultOutOfRange)
  }

  /// After a call r1 to r5 hold whatever the called function left there.
  private mutating func loseArguments() {
    for number in 1...5 { self[Register(number)] = .uninitialised }
  }

  mutating func call(helper number: UInt32) throws(Rejection) {
    let found = contract.helper(number)
    try require(found != nil, .unknownHelper)
    let helper = found ?? .none
    try require(helper.isDeterministic || !contract.isDeterministic, .nondeterministicHelper)
    for index in 0..<5 {
      try check(helper.arguments[index], Register(index + 1), next: index + 2)
    }
    distance += UInt64(helper.cost)
    pathLength += UInt64(helper.cost)
    loseArguments()
    self[.result] = value(helper.result)
  }

  private mutating func check(
    _ argument: ArgumentContract, _ register: Register, next: Int
  ) throws(Rejection) {
    switch argument {
    case .unused, .count: break
    case .number(let least, let greatest):
      let value = try read(register)
      let isInRange =
        value.kind == .number && value.scalar.least >= least && value.scalar.greatest <= greatest
      try require(isInRange, .helperNumber)
    case .address(let region):
      let value = try read(register)
      let isWanted =
        value.kind == .region && Int(value.place) == region && !value.mayBeZero
        && value.scalar.constant == 0
      try require(isWanted, .helperAddress)
    case .readable(let count): try check(try read(register), .exactly(UInt64(count)), .read)
    case .writable(let count): try check(try read(register), .exactly(UInt64(count)), .write)
    case .readableCounted(let limit):
      try check(try read(register), try count(Register(next), limit), .read)
    case .writableCounted(let limit):
      try check(try read(register), try count(Register(next), limit), .write)
    }
  }

  private func count(_ register: Register, _ limit: UInt32) throws(Rejection) -> Scalar {
    let value = try read(register)
    let isInRange = value.kind == .number && value.scalar.greatest <= UInt64(limit)
    try require(isInRange, .helperNumber)
    return value.scalar.limited(from: 0, to: UInt64(limit)) ?? .exactly(UInt64(limit))
  }

  private mutating func check(
    _ address: AbstractValue, _ count: Scalar, _ kind: AccessKind
  ) throws(Rejection) {
    let isMemory = (address.kind == .region || address.kind == .stack) && !address.mayBeZero
    try require(isMemory, .helperMemory)
    let most = Int64(count.greatest)
    guard most > 0 else { return }
    if address.kind == .region {
      try checkRegion(address, 0, most, kind)
      let range = AccessRange(address, 0, most)
      let field = contract.field(in: Int(address.place), from: range.start, to: range.end)
      try require(field == nil, .partOfField)
      return
    }
    let range = AccessRange(address, 0, most)
    let bytes = try stackBytes(range)
    if kind == .read { try checkStackIsReadable(Int(address.place), bytes) }
    guard kind == .write else { return }
    // Only what is certainly written has a value afterwards.
    let certain = range.isExact ? bytes.lowerBound + Int(count.least) : bytes.lowerBound
    fillStack(Int(address.place), bytes.lowerBound..<certain)
    if certain < bytes.upperBound {
      try forgetStack(Int(address.place), certain..<bytes.upperBound)
    }
  }
}
