// SPDX-License-Identifier: Apache-2.0
// ForwardValue.swift: what the forward verifier knows of a register: bounds of a number, or an address and its offset.

/// Everything that is known of a register's value.
struct ForwardValue: Equatable {
  enum Kind: UInt8 {
    case nothing
    case number
    /// An address in a region.
    case region
    /// The address after region 0's last byte.
    case end
    /// An address in the stack; the offset counts from the frame pointer and is known.
    case stack
  }

  var kind = Kind.number
  /// Which region, of an address.
  var region: UInt8 = 0
  /// Whether the number is the length of region 0.
  var isLength = false
  /// Values with the same identity, other than 0, are the same, or, of addresses, differ by `distance` only.
  ///
  /// It is one more than the slot that made the value: no slot is executed twice.
  var identity: UInt16 = 0
  var distance: Int32 = 0
  /// How many bytes behind the address that got the identity are known to be in the region.
  var proven: Int64 = 0
  /// How many of the low bits are known to be zero, at least.
  var zeros: UInt8 = 0
  /// The bounds of a number, both included; of an address those of its offset, which are signed.
  var least: UInt64
  var greatest: UInt64

  static var wordCount: Int { 4 }
  static var nothing: ForwardValue { ForwardValue(kind: .nothing, least: 0, greatest: 0) }

  static func number(_ least: UInt64 = 0, _ greatest: UInt64 = .max) -> ForwardValue {
    ForwardValue(least: least, greatest: greatest)
  }

  var isAddress: Bool { kind != .nothing && kind != .number }
  var constant: UInt64? { least == greatest ? least : nil }
  var lowZeros: UInt8 { constant.map { UInt8(min(31, $0.trailingZeroBitCount)) } ?? zeros }
  var first: Int64 { Int64(bitPattern: least) }
  var last: Int64 { Int64(bitPattern: greatest) }

  /// The low bits.
  func truncated(to width: AccessWidth) -> ForwardValue {
    if greatest <= width.mask { return self }
    return constant.map { .number($0 & width.mask, $0 & width.mask) } ?? .number(0, width.mask)
  }

  /// What holds for both.
  func joined(_ other: ForwardValue) -> ForwardValue {
    guard kind == other.kind, region == other.region else { return .nothing }
    var result = self
    if kind == .number {
      result.least = min(least, other.least)
      result.greatest = max(greatest, other.greatest)
    } else {
      result.least = UInt64(bitPattern: min(first, other.first))
      result.greatest = UInt64(bitPattern: max(last, other.last))
      if kind == .stack, result.constant == nil { return .nothing }
    }
    result.isLength = isLength && other.isLength
    result.zeros = min(lowZeros, other.lowZeros)
    result.proven = min(proven, other.proven)
    if identity != other.identity || distance != other.distance {
      result.identity = 0
      result.distance = 0
      result.proven = 0
    }
    return result
  }
}

extension ForwardValue {
  init(_ memory: borrowing some WordMemory & ~Copyable, at index: Int) {
    let bits = memory[index]
    kind = Kind(rawValue: UInt8(truncatingIfNeeded: bits & 0x7f)) ?? .nothing
    isLength = bits >> 7 & 1 != 0
    region = UInt8(truncatingIfNeeded: bits >> 8 & 7)
    zeros = UInt8(truncatingIfNeeded: bits >> 11 & 31)
    identity = UInt16(truncatingIfNeeded: bits >> 16)
    distance = Int32(truncatingIfNeeded: bits >> 32)
    least = memory[index + 1]
    greatest = memory[index + 2]
    proven = Int64(bitPattern: memory[index + 3])
  }

  func write(to memory: inout some WordMemory & ~Copyable, at index: Int) {
    let low = UInt64(kind.rawValue) | (isLength ? 0x80 : 0) | UInt64(region) << 8 | UInt64(zeros) << 11
    memory[index] = low | UInt64(identity) << 16 | UInt64(UInt32(bitPattern: distance)) << 32
    memory[index + 1] = least
    memory[index + 2] = greatest
    memory[index + 3] = UInt64(bitPattern: proven)
  }
}

extension ForwardValue {
  private static func atMost(_ greatest: UInt64) -> ForwardValue { .number(0, greatest) }

  /// All bits up to the highest that may be set.
  private static func bits(of greatest: UInt64) -> UInt64 {
    greatest == 0 ? 0 : UInt64.max >> UInt64(greatest.leadingZeroBitCount)
  }

  /// The number that an operation gives.
  func applying(_ operation: ArithmeticOperation, _ right: ForwardValue, _ size: OperandSize) -> ForwardValue {
    guard size == .word else { return applying(operation, right, signLimit: 1 << 63, bits: 64) }
    let result = truncated(to: .word).applying(operation, right.truncated(to: .word), signLimit: 1 << 31, bits: 32)
    return result.greatest > 0xffff_ffff ? Self.atMost(0xffff_ffff) : result
  }

  private func applying(
    _ operation: ArithmeticOperation, _ right: ForwardValue, signLimit: UInt64, bits: UInt64
  ) -> ForwardValue {
    let anything = ForwardValue.number()
    let count = right.constant.map { $0 & (bits - 1) }
    // What is added and has the sign bit is subtracted.
    let negated = right.least >= signLimit ? right.constant.map { signLimit &+ signLimit &- $0 } : nil
    switch operation {
    case .add:
      if let negated { return applying(.subtract, .number(negated, negated), signLimit: .max, bits: bits) }
      let (sum, overflows) = greatest.addingReportingOverflow(right.greatest)
      return overflows ? anything : .number(least &+ right.least, sum)
    case .subtract:
      if let negated { return applying(.add, .number(negated, negated), signLimit: .max, bits: bits) }
      return least >= right.greatest ? .number(least - right.greatest, greatest - right.least) : anything
    case .multiply:
      let (product, overflows) = greatest.multipliedReportingOverflow(by: right.greatest)
      return overflows ? anything : .number(least &* right.least, product)
    case .or: return .number(max(least, right.least), Self.bits(of: greatest | right.greatest))
    case .exclusiveOr: return Self.atMost(Self.bits(of: greatest | right.greatest))
    case .and:
      var result = Self.atMost(min(greatest, right.greatest))
      result.zeros = max(lowZeros, right.lowZeros)
      return result
    case .shiftLeft:
      guard let count, greatest.leadingZeroBitCount >= Int(count) else { return anything }
      var result = ForwardValue.number(least << count, greatest << count)
      result.zeros = min(31, lowZeros + UInt8(count))
      return result
    case .arithmeticShiftRight where greatest >= signLimit: return anything
    case .shiftRight, .arithmeticShiftRight:
      guard let count else { return Self.atMost(greatest) }
      return .number(least >> count, greatest >> count)
    case .divide:
      return right.least == 0 ? Self.atMost(greatest) : .number(least / right.greatest, greatest / right.least)
    case .modulo: return Self.atMost(right.least == 0 ? greatest : min(greatest, right.greatest - 1))
    case .signedDivide, .signedModulo: return anything
    case .move: return right
    }
  }

  /// Both numbers, with what a comparison says of them; nil if it cannot come out so.
  func limited(
    _ condition: Condition, _ size: OperandSize, _ right: ForwardValue, holds: Bool
  ) -> (left: ForwardValue, right: ForwardValue)? {
    var (left, right) = (self, size == .word && right.constant != nil ? right.truncated(to: .word) : right)
    // Numbers without the sign bit, and words that are the whole number, are in the same order either way.
    let all: UInt64 = size == .word ? 0xffff_ffff : .max
    guard max(left.greatest, right.greatest) <= (condition.isSigned ? all >> 1 : all) else { return (left, right) }
    var isPossible = true
    switch (condition.unsigned, holds) {
    case (.equal, true), (.notEqual, false):
      left.least = max(left.least, right.least)
      left.greatest = min(left.greatest, right.greatest)
      right.least = left.least
      right.greatest = left.greatest
    case (.equal, false), (.notEqual, true): isPossible = left.exclude(right) && right.exclude(left)
    case (.less, true), (.greaterOrEqual, false): isPossible = left.order(before: &right, gap: 1)
    case (.lessOrEqual, true), (.greater, false): isPossible = left.order(before: &right, gap: 0)
    case (.greater, true), (.lessOrEqual, false): isPossible = right.order(before: &left, gap: 1)
    case (.greaterOrEqual, true), (.less, false): isPossible = right.order(before: &left, gap: 0)
    default: break
    }
    return isPossible && left.least <= left.greatest && right.least <= right.greatest ? (left, right) : nil
  }

  private mutating func order(before high: inout ForwardValue, gap: UInt64) -> Bool {
    guard high.greatest >= gap, least <= .max - gap else { return false }
    greatest = min(greatest, high.greatest - gap)
    high.least = max(high.least, least + gap)
    return true
  }

  /// Takes a constant out, where it is one of the bounds.
  private mutating func exclude(_ other: ForwardValue) -> Bool {
    guard let value = other.constant else { return true }
    if constant == value { return false }
    if least == value { least += 1 } else if greatest == value { greatest -= 1 }
    return true
  }
}

extension Condition {
  /// The same of numbers without sign.
  fileprivate var unsigned: Condition {
    switch self {
    case .signedGreater: .greater
    case .signedGreaterOrEqual: .greaterOrEqual
    case .signedLess: .less
    case .signedLessOrEqual: .lessOrEqual
    default: self
    }
  }
}
