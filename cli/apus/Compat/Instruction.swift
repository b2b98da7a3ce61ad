// SPDX-License-Identifier: Apache-2.0
// Instruction.swift: how long an x86-64 instruction is, and what it leaves in eax (SDM vol. 2, chapters 2 and A).

/// What an instruction does to eax.
enum AccumulatorEffect: Equatable {
  case none
  case constant(UInt32)
  case unknown
  /// Execution does not go on at the next instruction.
  case leaves
}

/// One decoded instruction: just enough to follow a constant into a system call.
struct Instruction {
  let length: Int
  let effect: AccumulatorEffect

  /// Decodes the instruction at `start`; nil if it is not one, or runs past the end.
  init?(_ code: ArraySlice<UInt8>, at start: Int) {
    var position = start
    func byte(_ offset: Int) -> UInt8? { offset < code.endIndex ? code[offset] : nil }
    var wide = false
    var rex: UInt8 = 0
    let prefixes: [UInt8] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]
    while let prefix = byte(position), prefixes.contains(prefix) {
      if prefix == 0x66 { wide = true }
      position += 1
      guard position - start < 15 else { return nil }
    }
    if let prefix = byte(position), prefix & 0xf0 == 0x40 {
      rex = prefix
      position += 1
    }
    guard let opcode = byte(position) else { return nil }
    position += 1

    var hasModRM: Bool
    var immediate = 0
    var effect = AccumulatorEffect.none
    let word = wide ? 2 : 4

    switch opcode {
    case 0xc5, 0xc4:
      // VEX: a payload of one byte implies map 1, one of two bytes names the map.
      let map: UInt8 = opcode == 0xc5 ? 1 : (byte(position) ?? 0) & 0x1f
      position += opcode == 0xc5 ? 1 : 2
      guard let vector = byte(position) else { return nil }
      position += 1
      hasModRM = !(map == 1 && vector == 0x77)
      immediate = map == 3 || (map == 1 && Self.hasImmediate.contains(vector)) ? 1 : 0
    case 0x0f:
      guard let second = byte(position) else { return nil }
      position += 1
      switch second {
      case 0x38:
        hasModRM = true
        position += 1
      case 0x3a:
        hasModRM = true
        immediate = 1
        position += 1
      case 0x80...0x8f:
        hasModRM = false
        immediate = 4
      case 0x05...0x09, 0x0b, 0x30...0x37, 0x77, 0xa0...0xa2, 0xa8...0xaa, 0xc8...0xcf:
        hasModRM = false
        if [0x05, 0x31, 0x32, 0xa2].contains(second) { effect = .unknown }
        if second == 0x0b { effect = .leaves }
      default:
        hasModRM = true
        if Self.hasImmediate.contains(second) { immediate = 1 }
        let writesRegister =
          (0x40...0x4f).contains(second) || [0xaf, 0xb6, 0xb7, 0xbc, 0xbd, 0xbe, 0xbf].contains(second)
        if let modRM = byte(position), writesRegister, modRM & 0x38 == 0, rex & 4 == 0 { effect = .unknown }
        if (0x90...0x9f).contains(second), byte(position) == 0xc0, rex & 1 == 0 { effect = .unknown }
      }
    default:
      guard let shape = Self.shape(opcode, word: word, rex: rex, next: byte(position)) else { return nil }
      hasModRM = shape.hasModRM
      immediate = shape.immediate
      effect = Self.effect(opcode, rex: rex, next: byte(position))
    }

    if hasModRM {
      guard let modRM = byte(position) else { return nil }
      position += 1
      let mode = modRM >> 6
      if mode != 3 {
        if modRM & 7 == 4 {
          guard let scale = byte(position) else { return nil }
          position += 1
          if mode == 0, scale & 7 == 5 { position += 4 }
        } else if mode == 0, modRM & 7 == 5 {
          position += 4
        }
        if mode == 1 { position += 1 }
        if mode == 2 { position += 4 }
      }
    }
    let constantAt = position
    position += immediate
    guard position <= code.endIndex, position - start <= 15 else { return nil }
    // mov $imm32,%eax in its two encodings; the value is the bytes just before the end.
    let movesConstant =
      (opcode == 0xb8 && rex & 1 == 0 && !wide)
      || (opcode == 0xc7 && code[constantAt - 1] == 0xc0 && rex & 1 == 0 && !wide)
    if movesConstant {
      effect = .constant(
        UInt32(code[constantAt]) | UInt32(code[constantAt + 1]) << 8
          | UInt32(code[constantAt + 2]) << 16 | UInt32(code[constantAt + 3]) << 24)
    }
    length = position - start
    self.effect = effect
  }

  /// The opcodes after 0f, or in VEX map 1, that end with an immediate byte.
  private static let hasImmediate: Set<UInt8> = [
    0x70, 0x71, 0x72, 0x73, 0xa4, 0xac, 0xba, 0xc2, 0xc4, 0xc5, 0xc6,
  ]

  /// Whether a one-byte opcode has a ModRM byte, and how many immediate bytes follow.
  private static func shape(
    _ opcode: UInt8, word: Int, rex: UInt8, next: UInt8?
  ) -> (hasModRM: Bool, immediate: Int)? {
    switch opcode {
    case 0x00...0x3f:
      switch opcode & 7 {
      case 0...3: (true, 0)
      case 4: (false, 1)
      case 5: (false, word)
      default: nil
      }
    case 0x50...0x5f, 0x6c...0x6f, 0x90...0x99, 0x9b...0x9f, 0xa4...0xa7, 0xaa...0xaf: (false, 0)
    case 0xc3, 0xc9, 0xcb, 0xcc, 0xcf, 0xd7, 0xec...0xef, 0xf1, 0xf4, 0xf5, 0xf8...0xfd: (false, 0)
    case 0x63, 0x84...0x8f, 0xd0...0xd3, 0xd8...0xdf, 0xfe, 0xff: (true, 0)
    case 0x68, 0xa9: (false, word)
    case 0x69, 0x81, 0xc7: (true, word)
    case 0x6a, 0x70...0x7f, 0xa8, 0xb0...0xb7, 0xcd, 0xe0...0xe7, 0xeb: (false, 1)
    case 0x6b, 0x80, 0x83, 0xc0, 0xc1, 0xc6: (true, 1)
    case 0xa0...0xa3: (false, 8)
    case 0xb8...0xbf: (false, rex & 8 != 0 ? 8 : word)
    case 0xc2, 0xca: (false, 2)
    case 0xc8: (false, 3)
    case 0xe8, 0xe9: (false, 4)
    case 0xf6: (true, (next ?? 0) & 0x30 == 0 ? 1 : 0)
    case 0xf7: (true, (next ?? 0) & 0x30 == 0 ? word : 0)
    default: nil
    }
  }

  /// What a one-byte opcode does to eax; constants that are immediates are read later.
  private static func effect(_ opcode: UInt8, rex: UInt8, next: UInt8?) -> AccumulatorEffect {
    let modRM = next ?? 0
    let registerIsAccumulator = modRM & 0x38 == 0 && rex & 4 == 0
    let operandIsAccumulator = modRM & 0xc7 == 0xc0 && rex & 1 == 0
    switch opcode {
    case 0x31, 0x33, 0x29, 0x2b:
      if modRM == 0xc0, rex & 5 == 0 { return .constant(0) }
      return opcode & 2 == 0
        ? (operandIsAccumulator ? .unknown : .none) : (registerIsAccumulator ? .unknown : .none)
    case 0x00...0x37:
      if opcode & 7 >= 4 { return .unknown }
      return opcode & 2 == 0
        ? (operandIsAccumulator ? .unknown : .none) : (registerIsAccumulator ? .unknown : .none)
    case 0x58: return rex & 1 == 0 ? .unknown : .none
    case 0x63, 0x69, 0x6b, 0x8a, 0x8b, 0x8d: return registerIsAccumulator ? .unknown : .none
    case 0x80...0x83: return operandIsAccumulator && modRM & 0x38 != 0x38 ? .unknown : .none
    case 0x86, 0x87: return registerIsAccumulator || operandIsAccumulator ? .unknown : .none
    case 0x88, 0x89, 0x8f, 0xc0, 0xc1, 0xc6, 0xd0...0xd3, 0xfe:
      return operandIsAccumulator ? .unknown : .none
    case 0x90...0x99, 0xa0, 0xa1, 0xac, 0xad, 0xb0, 0xb4: return opcode == 0x90 && rex & 1 == 0 ? .none : .unknown
    case 0xf6, 0xf7:
      return operandIsAccumulator && modRM & 0x30 != 0 ? .unknown : (modRM & 0x20 != 0 ? .unknown : .none)
    case 0xff:
      return (0x10...0x1f).contains(modRM & 0x38)
        ? .unknown : (modRM & 0x38 == 0x20 ? .leaves : (operandIsAccumulator ? .unknown : .none))
    case 0xe8: return .unknown
    case 0xc3, 0xcb, 0xe9, 0xeb, 0xcc, 0xf4: return .leaves
    default: return .none
    }
  }
}
