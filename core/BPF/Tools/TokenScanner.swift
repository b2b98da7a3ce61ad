// SPDX-License-Identifier: Apache-2.0
// TokenScanner.swift: one line of assembly, split into words and signs, and read as an instruction.

import ApusBPF

/// Reads one instruction out of a line.
struct TokenScanner {
  let tokens: [String]
  private var position = 0
  /// The label that the instruction jumps to, if it named one instead of a distance.
  private(set) var label: String?

  /// Splits a line; letters, digits, `_`, `.` make words, every other sign stands alone.
  init(_ line: Substring) {
    var tokens: [String] = []
    var word = ""
    for character in line {
      if character.isLetter || character.isNumber || character == "_" || character == "." {
        word.append(character)
        continue
      }
      if !word.isEmpty { tokens.append(word) }
      word = ""
      if !character.isWhitespace { tokens.append(String(character)) }
    }
    if !word.isEmpty { tokens.append(word) }
    self.tokens = tokens
  }

  var isAtEnd: Bool { position == tokens.count }

  private var next: String? { position < tokens.count ? tokens[position] : nil }

  private mutating func take(_ expected: String...) -> Bool {
    let end = position + expected.count
    guard end <= tokens.count, Array(tokens[position..<end]) == expected else { return false }
    position = end
    return true
  }

  private mutating func word() -> String? {
    guard let word = next else { return nil }
    position += 1
    return word
  }

  mutating func instruction() -> Instruction? {
    switch next {
    case "exit": take("exit") ? .exit : nil
    case "goto": take("goto") ? jump(.doubleWord) : nil
    case "gotol": take("gotol") ? jump(.word) : nil
    case "if": branch()
    case "call": call()
    case "lock": atomic()
    case "*": store()
    default: assignment()
    }
  }
}

extension TokenScanner {
  /// A number, decimal or hexadecimal, with or without a sign.
  private mutating func number() -> Int64? {
    let start = position
    let isNegative = take("-")
    if !isNegative { _ = take("+") }
    guard let digits = word(), let first = digits.utf8.first, first >= 0x30, first <= 0x39 else {
      position = start
      return nil
    }
    let magnitude = digits.hasPrefix("0x") ? UInt64(hexadecimal: digits) : UInt64(digits)
    guard let magnitude else { return nil }
    let value = Int64(bitPattern: magnitude)
    return isNegative ? 0 &- value : value
  }

  private mutating func immediate() -> Int32? {
    guard let value = number() else { return nil }
    return Int32(exactly: value) ?? UInt32(exactly: value).map { Int32(bitPattern: $0) }
  }

  private mutating func register() -> (Register, OperandSize)? {
    guard let name = next, let first = name.first, first == "r" || first == "w",
      let number = Int(name.dropFirst()), number >= 0, number < Register.count
    else { return nil }
    position += 1
    return (Register(number), first == "r" ? .doubleWord : .word)
  }

  private mutating func register(_ size: OperandSize) -> Register? {
    let start = position
    guard let (register, found) = register() else { return nil }
    if found == size { return register }
    position = start
    return nil
  }

  private mutating func operand(_ size: OperandSize) -> Operand? {
    if let register = register(size) { return .register(register) }
    return immediate().map { .immediate($0) }
  }

  private mutating func distance() -> Int32? {
    if let value = number() { return Int32(exactly: value) }
    label = word()
    return label == nil ? nil : 0
  }

  private mutating func jump(_ size: OperandSize) -> Instruction? {
    distance().map { .jump(size, offset: $0) }
  }

  private mutating func call() -> Instruction? {
    guard take("call") else { return nil }
    if take("local") { return distance().map { .callLocal(offset: $0) } }
    return immediate().map { .callHelper(number: UInt32(bitPattern: $0)) }
  }

  private mutating func condition() -> Condition? {
    if take("s", ">", "=") { return .signedGreaterOrEqual }
    if take("s", "<", "=") { return .signedLessOrEqual }
    if take("s", ">") { return .signedGreater }
    if take("s", "<") { return .signedLess }
    if take("=", "=") { return .equal }
    if take("!", "=") { return .notEqual }
    if take(">", "=") { return .greaterOrEqual }
    if take("<", "=") { return .lessOrEqual }
    if take(">") { return .greater }
    if take("<") { return .less }
    return take("&") ? .anyBitSet : nil
  }

  private mutating func branch() -> Instruction? {
    guard take("if"), let (left, size) = register(), let condition = condition(),
      let right = operand(size), take("goto"), let offset = distance(),
      let short = Int16(exactly: offset)
    else { return nil }
    return .branch(condition, size, left: left, right: right, offset: short)
  }
}

extension TokenScanner {
  private mutating func width(_ sign: String) -> AccessWidth? {
    if take(sign + "8") { return .byte }
    if take(sign + "16") { return .halfWord }
    if take(sign + "32") { return .word }
    return take(sign + "64") ? .doubleWord : nil
  }

  // r1 + 8
  private mutating func address() -> (Register, Int16)? {
    guard let base = register(.doubleWord), next == "+" || next == "-", let offset = number(),
      let short = Int16(exactly: offset)
    else { return nil }
    return (base, short)
  }

  // (u32 *)(r1 + 8)
  private mutating func place(_ sign: String) -> (AccessWidth, Register, Int16)? {
    guard take("("), let width = width(sign), take("*", ")", "("), let (base, offset) = address(),
      take(")")
    else { return nil }
    return (width, base, offset)
  }

  private mutating func store() -> Instruction? {
    guard take("*"), let (width, base, offset) = place("u"), take("=") else { return nil }
    if let (source, _) = register() {
      return .store(width, base: base, offset: offset, source: .register(source))
    }
    return immediate().map { .store(width, base: base, offset: offset, source: .immediate($0)) }
  }

  private mutating func atomic() -> Instruction? {
    guard take("lock", "*"), let (width, base, offset) = place("u") else { return nil }
    let operation: AtomicOperation
    if take("+", "=") {
      operation = .add
    } else if take("|", "=") {
      operation = .or
    } else if take("&", "=") {
      operation = .and
    } else if take("^", "=") {
      operation = .exclusiveOr
    } else {
      return nil
    }
    guard let (source, _) = register() else { return nil }
    return .atomic(operation, width, base: base, offset: offset, source: source)
  }

  private mutating func fetch(_ destination: Register) -> Instruction? {
    let operation: AtomicOperation
    if take("atomic_fetch_add") {
      operation = .fetchAdd
    } else if take("atomic_fetch_or") {
      operation = .fetchOr
    } else if take("atomic_fetch_and") {
      operation = .fetchAnd
    } else if take("atomic_fetch_xor") {
      operation = .fetchExclusiveOr
    } else {
      return exchange(destination)
    }
    guard take("("), let (width, base, offset) = place("u"), take(","), let (source, _) = register(),
      source == destination, take(")")
    else { return nil }
    return .atomic(operation, width, base: base, offset: offset, source: source)
  }

  private mutating func exchange(_ destination: Register) -> Instruction? {
    let width: AccessWidth
    let compares: Bool
    switch word() {
    case "xchg_64": (width, compares) = (.doubleWord, false)
    case "xchg32_32": (width, compares) = (.word, false)
    case "cmpxchg_64": (width, compares) = (.doubleWord, true)
    case "cmpxchg32_32": (width, compares) = (.word, true)
    default: return nil
    }
    guard take("("), let (base, offset) = address(), take(",") else { return nil }
    if compares {
      guard let (expected, _) = register(), expected == .result, take(",") else { return nil }
    }
    guard let (source, _) = register(), compares || source == destination, take(")") else {
      return nil
    }
    return .atomic(
      compares ? .compareExchange : .exchange, width, base: base, offset: offset, source: source)
  }
}

extension TokenScanner {
  private mutating func assignment() -> Instruction? {
    guard let (destination, size) = register() else { return nil }
    if take("=") { return value(for: destination, size) }
    let operation: ArithmeticOperation
    if take("s", "/") {
      operation = .signedDivide
    } else if take("s", "%") {
      operation = .signedModulo
    } else if take("s", ">", ">") {
      operation = .arithmeticShiftRight
    } else if take("<", "<") {
      operation = .shiftLeft
    } else if take(">", ">") {
      operation = .shiftRight
    } else {
      switch word() {
      case "+": operation = .add
      case "-": operation = .subtract
      case "*": operation = .multiply
      case "/": operation = .divide
      case "%": operation = .modulo
      case "|": operation = .or
      case "&": operation = .and
      case "^": operation = .exclusiveOr
      default: return nil
      }
    }
    guard take("="), let source = operand(size) else { return nil }
    return .arithmetic(operation, size, destination: destination, source: source)
  }

  private mutating func value(for destination: Register, _ size: OperandSize) -> Instruction? {
    if take("*") {
      for sign in ["u", "s"] {
        let start = position
        if let (width, base, offset) = place(sign) {
          return .load(
            width, isSigned: sign == "s", destination: destination, base: base, offset: offset)
        }
        position = start
      }
      return nil
    }
    if take("(") {
      guard let width = width("s"), take(")"), let source = register(size) else { return nil }
      return .moveSignExtended(size, from: width, destination: destination, source: source)
    }
    let start = position
    if take("-"), let source = register(size) {
      return source == destination ? .negate(size, destination: destination) : nil
    }
    position = start
    if let instruction = byteOrder(destination) { return instruction }
    position = start
    if let value = number(), take("ll") {
      return .loadImmediate(destination: destination, value: UInt64(bitPattern: value))
    }
    position = start
    if let source = operand(size) {
      return .arithmetic(.move, size, destination: destination, source: source)
    }
    return fetch(destination)
  }

  private mutating func byteOrder(_ destination: Register) -> Instruction? {
    let order: ByteOrder
    let width: AccessWidth
    switch word() {
    case "le16": (order, width) = (.little, .halfWord)
    case "le32": (order, width) = (.little, .word)
    case "le64": (order, width) = (.little, .doubleWord)
    case "be16": (order, width) = (.big, .halfWord)
    case "be32": (order, width) = (.big, .word)
    case "be64": (order, width) = (.big, .doubleWord)
    case "bswap16": (order, width) = (.swap, .halfWord)
    case "bswap32": (order, width) = (.swap, .word)
    case "bswap64": (order, width) = (.swap, .doubleWord)
    default: return nil
    }
    guard let (source, _) = register(), source == destination else { return nil }
    return .byteOrder(order, width, destination: destination)
  }
}
