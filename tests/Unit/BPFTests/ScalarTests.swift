// SPDX-License-Identifier: Apache-2.0
// ScalarTests.swift: whatever can come out of arithmetic on members of two sets is in the set that the verifier says.

import Testing

@testable import ApusBPF

/// A generator of numbers that repeats itself from the same seed (Marsaglia, "Xorshift RNGs").
struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state &* 0x2545_f491_4f6c_dd1d
  }

  mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &self) }
}

extension SeededNumbers {
  /// Values near the places where something changes.
  mutating func interesting() -> UInt64 {
    let near: [UInt64] = [
      0, 1, 2, 7, 31, 32, 63, 64, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000,
      0xffff_ffff, 0x1_0000_0000, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, .max,
    ]
    switch below(4) {
    case 0: return next() >> UInt64(below(64))
    case 1: return next()
    default: return near[below(near.count)] &+ UInt64(below(5)) &- 2
    }
  }

  /// A set, and members of it.
  mutating func scalar() -> (set: Scalar, members: [UInt64]) {
    let first = interesting()
    switch below(5) {
    case 0: return (.exactly(first), [first])
    case 1:
      let second = interesting()
      let least = min(first, second)
      let greatest = max(first, second)
      return (
        .from(least, to: greatest),
        [least, greatest, UInt64.random(in: least...greatest, using: &self)]
      )
    case 2:
      let one = Int64(bitPattern: first)
      let other = Int64(bitPattern: interesting())
      let least = min(one, other)
      let greatest = max(one, other)
      let middle = Int64.random(in: least...greatest, using: &self)
      return (
        .fromSigned(least, to: greatest), [least, greatest, middle].map(UInt64.init(bitPattern:))
      )
    case 3:
      let unknown = next() & next()
      return (
        .matching(KnownBits(value: first, unknown: unknown)),
        (0..<4).map { _ in first & ~unknown | next() & unknown }
      )
    default: return (.anything, [first, next()])
    }
  }
}

@Suite("Sets of numbers")
struct ScalarTests {
  static let operations: [ArithmeticOperation] = [
    .add, .subtract, .multiply, .divide, .signedDivide, .or, .and, .shiftLeft, .shiftRight, .modulo,
    .signedModulo, .exclusiveOr, .move, .arithmeticShiftRight,
  ]

  static let conditions: [Condition] = [
    .equal, .notEqual, .anyBitSet, .greater, .greaterOrEqual, .less, .lessOrEqual, .signedGreater,
    .signedGreaterOrEqual, .signedLess, .signedLessOrEqual,
  ]

  @Test("arithmetic on members gives members of the result", arguments: operations)
  func results(_ operation: ArithmeticOperation) {
    var numbers = SeededNumbers(seed: UInt64(operation.rawValue) + 1)
    for _ in 0..<3000 {
      let (left, leftMembers) = numbers.scalar()
      let (right, rightMembers) = numbers.scalar()
      for size in [OperandSize.word, .doubleWord] {
        let result = left.applying(operation, right, size)
        for first in leftMembers {
          for second in rightMembers {
            let value = operation.apply(first, second, size)
            guard result.contains(value) else {
              Issue.record("\(first) \(operation) \(second) (\(size)) is \(value), not in \(result)")
              return
            }
          }
        }
      }
    }
  }

  @Test("what a branch teaches holds for all members that branch so", arguments: conditions)
  func branches(_ condition: Condition) {
    var numbers = SeededNumbers(seed: UInt64(condition.rawValue) + 100)
    for _ in 0..<3000 {
      let (left, leftMembers) = numbers.scalar()
      let (right, rightMembers) = numbers.scalar()
      for size in [OperandSize.word, .doubleWord] {
        for first in leftMembers {
          for second in rightMembers {
            let holds = condition.holds(first, second, size)
            let limited = ComparedScalars(left: left, right: right)
              .limited(condition, size, holds: holds)
            let isSound = limited.map { $0.left.contains(first) && $0.right.contains(second) }
            guard isSound == true else {
              Issue.record("\(first) \(condition) \(second) (\(size)): \(limited as Any)")
              return
            }
          }
        }
      }
    }
  }

  @Test("extension and byte order keep members")
  func unaryOperations() {
    var numbers = SeededNumbers(seed: 7)
    for _ in 0..<5000 {
      let (set, members) = numbers.scalar()
      for width in [AccessWidth.byte, .halfWord, .word, .doubleWord] {
        for member in members {
          #expect(set.truncated(to: width).contains(member & width.mask))
          #expect(set.signExtended(from: width).contains(member.signExtended(from: width)))
          for order in [ByteOrder.little, .big, .swap] where width != .byte {
            #expect(set.ordered(order, width).contains(order.apply(member, width)))
          }
        }
      }
    }
  }

  @Test("bounds are exact where they can be")
  func precision() {
    let byte = Scalar.anything(.byte)
    #expect((byte + .exactly(10)).greatest == 265)
    #expect((byte - .exactly(10)).signedLeast == -10)
    #expect((byte * .exactly(4)).greatest == 1020)
    #expect(byte.applying(.and, .exactly(0x0f), .doubleWord).greatest == 15)
    #expect(byte.applying(.modulo, .exactly(10), .doubleWord).greatest == 9)
    #expect(byte.applying(.shiftLeft, .exactly(2), .doubleWord).bits.unknown == 0x3fc)
    let below = ComparedScalars(left: byte, right: .exactly(20)).limited(.less, .word, holds: true)
    #expect(below?.left.greatest == 19)
    let never = ComparedScalars(left: byte, right: .exactly(256)).limited(.equal, .word, holds: true)
    #expect(never == nil)
  }

  @Test("a set that contains another contains its members")
  func containment() {
    var numbers = SeededNumbers(seed: 9)
    for _ in 0..<5000 {
      let (outer, _) = numbers.scalar()
      let (inner, members) = numbers.scalar()
      if outer.contains(inner) {
        for member in members { #expect(outer.contains(member)) }
      }
      if let common = outer.intersection(inner) {
        #expect(outer.contains(common) && inner.contains(common))
      } else {
        for member in members { #expect(!outer.contains(member)) }
      }
    }
  }
}
