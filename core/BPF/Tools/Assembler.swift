// SPDX-License-Identifier: Apache-2.0
// Assembler.swift: reads the text that the disassembler writes, with labels; the language of the test cases.

import ApusBPF

/// Why a text is no program.
public struct AssemblyError: Error, Equatable {
  /// The line, counted from 1.
  public let line: Int
  /// What is wrong, in one sentence.
  public let sentence: String
}

/// Turns text into programs.
///
/// A line is empty, a comment after `#` or `;`, `label:`, `.slot HEX` or one instruction.
public struct Assembler {
  private var slots: [UInt64] = []
  private var labels: [String: Int] = [:]
  private var jumps: [(line: Int, slot: Int, label: String, isWide: Bool)] = []
  private var line = 0

  private init() {}

  /// Assembles a whole text.
  ///
  /// - Throws: The first line that says nothing.
  public static func assemble(_ text: String) throws(AssemblyError) -> [UInt64] {
    var assembler = Assembler()
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      try assembler.add(line)
    }
    try assembler.resolve()
    return assembler.slots
  }

  private mutating func add(_ raw: Substring) throws(AssemblyError) {
    line += 1
    let end = raw.firstIndex { $0 == "#" || $0 == ";" } ?? raw.endIndex
    var scanner = TokenScanner(raw[..<end])
    guard let first = scanner.tokens.first else { return }
    if scanner.tokens.count == 2, scanner.tokens[1] == ":" {
      guard labels.updateValue(slots.count, forKey: first) == nil else {
        throw AssemblyError(line: line, sentence: "The label \(first) is there twice.")
      }
      return
    }
    if first == ".slot", scanner.tokens.count == 2, let bits = UInt64(hexadecimal: scanner.tokens[1]) {
      slots.append(bits)
      return
    }
    guard let instruction = scanner.instruction(), scanner.isAtEnd else {
      throw AssemblyError(line: line, sentence: "This is no instruction: \(raw)")
    }
    if let label = scanner.label {
      let isWide =
        switch instruction {
        case .jump(.word, _), .callLocal: true
        default: false
        }
      jumps.append((line, slots.count, label, isWide))
    }
    slots += instruction.slots
  }

  private mutating func resolve() throws(AssemblyError) {
    for jump in jumps {
      guard let target = labels[jump.label] else {
        throw AssemblyError(line: jump.line, sentence: "There is no label \(jump.label).")
      }
      let distance = target - jump.slot - 1
      if jump.isWide {
        slots[jump.slot] |= UInt64(UInt32(bitPattern: Int32(distance))) << 32
      } else if let short = Int16(exactly: distance) {
        slots[jump.slot] |= UInt64(UInt16(bitPattern: short)) << 16
      } else {
        throw AssemblyError(line: jump.line, sentence: "The label \(jump.label) is too far away.")
      }
    }
  }
}

extension UInt64 {
  /// Reads a number in base 16, with or without `0x`.
  public init?(hexadecimal text: some StringProtocol) {
    let digits = text.hasPrefix("0x") ? text.dropFirst(2) : text[...]
    guard !digits.isEmpty, !digits.hasPrefix("+"), !digits.hasPrefix("-") else { return nil }
    self.init(digits, radix: 16)
  }
}
