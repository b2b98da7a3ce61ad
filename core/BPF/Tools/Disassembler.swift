// SPDX-License-Identifier: Apache-2.0
// Disassembler.swift: instructions as text, in the pseudo-C that compilers for BPF print.

import ApusBPF

extension Instruction {
  /// The instruction as one line of text that `Assembler` reads back.
  public var text: String {
    switch self {
    case .arithmetic(let operation, let size, let destination, let source):
      "\(destination.text(size)) \(operation.symbol)= \(source.text(size))"
    case .moveSignExtended(let size, let width, let destination, let source):
      "\(destination.text(size)) = (s\(width.bitCount))\(source.text(size))"
    case .negate(let size, let destination): "\(destination.text(size)) = -\(destination.text(size))"
    case .byteOrder(let order, let width, let destination):
      "\(destination.text) = \(order.symbol)\(width.bitCount) \(destination.text)"
    case .loadImmediate(let destination, let value): "\(destination.text) = 0x\(value.hexadecimal) ll"
    case .load(let width, let isSigned, let destination, let base, let offset):
      "\(destination.text) = \(Self.place(width, isSigned ? "s" : "u", base, offset))"
    case .store(let width, let base, let offset, let source):
      "\(Self.place(width, "u", base, offset)) = \(source.storeText(width))"
    case .atomic(let operation, let width, let base, let offset, let source):
      Self.atomicText(operation, width, base, offset, source)
    case .jump(let size, let offset):
      "\(size == .word ? "gotol" : "goto") \(offset.signed)"
    case .branch(let condition, let size, let left, let right, let offset):
      "if \(left.text(size)) \(condition.symbol) \(right.text(size)) goto \(offset.signed)"
    case .callHelper(let number): "call \(Int32(bitPattern: number))"
    case .callLocal(let offset): "call local \(offset.signed)"
    case .exit: "exit"
    }
  }

  private static func place(
    _ width: AccessWidth, _ sign: String, _ base: Register, _ offset: Int16
  ) -> String {
    let distance = Int(offset)
    let signed = distance < 0 ? "- \(-distance)" : "+ \(distance)"
    return "*(\(sign)\(width.bitCount) *)(\(base.text) \(signed))"
  }

  private static func atomicText(
    _ operation: AtomicOperation, _ width: AccessWidth, _ base: Register, _ offset: Int16,
    _ source: Register
  ) -> String {
    let whole = place(width, "u", base, offset)
    let pointer = String(whole.dropFirst())
    let bare = "\(base.text) \(offset < 0 ? "-" : "+") \(abs(Int(offset)))"
    let isWord = width == .word
    let name = source.text(isWord ? .word : .doubleWord)
    return switch operation {
    case .add: "lock \(whole) += \(name)"
    case .or: "lock \(whole) |= \(name)"
    case .and: "lock \(whole) &= \(name)"
    case .exclusiveOr: "lock \(whole) ^= \(name)"
    case .fetchAdd: "\(name) = atomic_fetch_add(\(pointer), \(name))"
    case .fetchOr: "\(name) = atomic_fetch_or(\(pointer), \(name))"
    case .fetchAnd: "\(name) = atomic_fetch_and(\(pointer), \(name))"
    case .fetchExclusiveOr: "\(name) = atomic_fetch_xor(\(pointer), \(name))"
    case .exchange where isWord: "\(name) = xchg32_32(\(bare), \(name))"
    case .exchange: "\(name) = xchg_64(\(bare), \(name))"
    case .compareExchange where isWord: "w0 = cmpxchg32_32(\(bare), w0, \(name))"
    case .compareExchange: "r0 = cmpxchg_64(\(bare), r0, \(name))"
    }
  }
}

extension Register {
  /// The register's name in 64-bit operations.
  public var text: String { "r\(number)" }
  func text(_ size: OperandSize) -> String { size == .word ? "w\(number)" : "r\(number)" }
}

extension Operand {
  func text(_ size: OperandSize) -> String {
    switch self {
    case .register(let register): register.text(size)
    case .immediate(let value): "\(value)"
    }
  }

  func storeText(_ width: AccessWidth) -> String {
    text(width == .doubleWord ? .doubleWord : .word)
  }
}

extension ArithmeticOperation {
  /// The operator before the equals sign; nothing for a move.
  var symbol: String {
    switch self {
    case .add: "+"
    case .subtract: "-"
    case .multiply: "*"
    case .divide: "/"
    case .signedDivide: "s/"
    case .or: "|"
    case .and: "&"
    case .shiftLeft: "<<"
    case .shiftRight: ">>"
    case .modulo: "%"
    case .signedModulo: "s%"
    case .exclusiveOr: "^"
    case .move: ""
    case .arithmeticShiftRight: "s>>"
    }
  }
}

extension ByteOrder {
  var symbol: String {
    switch self {
    case .little: "le"
    case .big: "be"
    case .swap: "bswap"
    }
  }
}

extension Condition {
  var symbol: String {
    switch self {
    case .equal: "=="
    case .notEqual: "!="
    case .anyBitSet: "&"
    case .greater: ">"
    case .greaterOrEqual: ">="
    case .less: "<"
    case .lessOrEqual: "<="
    case .signedGreater: "s>"
    case .signedGreaterOrEqual: "s>="
    case .signedLess: "s<"
    case .signedLessOrEqual: "s<="
    }
  }
}

extension FixedWidthInteger {
  /// The number with its sign, as distances are written.
  var signed: String { self < 0 ? "\(self)" : "+\(self)" }
  /// The number in base 16, without a prefix.
  public var hexadecimal: String { String(self, radix: 16) }
}

/// A whole program as text.
public enum Disassembler {
  /// One line for each instruction: its slot, and what it says; what does not decode is shown with its reason.
  public static func lines(_ program: [UInt64]) -> [String] {
    var lines: [String] = []
    var index = 0
    while index < program.count {
      let text: String
      var count = 1
      do throws(ProgramError) {
        let instruction = try Instruction(program.span, at: index)
        count = instruction.slotCount
        text = instruction.text
      } catch {
        text = "<0x\(program[index].hexadecimal)> \(error.sentence)"
      }
      let number = String(index)
      lines.append(String(repeating: " ", count: max(0, 6 - number.utf8.count)) + "\(number): \(text)")
      index += count
    }
    return lines
  }
}
