// SPDX-License-Identifier: Apache-2.0
// Verifier+Liveness.swift: which registers may still be read, and which of those decide anything.
//
// Registers that are not read any more need not be compared or remembered. A number that is only read to compute other
// numbers, and never becomes part of an address, a comparison, an argument, the stack or a bounded result, may differ
// between two states without making a difference: counters and sums do not multiply the states of a loop.

extension Instruction {
  /// The registers that the instruction reads.
  var readRegisters: RegisterSet {
    switch self {
    case .arithmetic(.move, _, _, let source): source.registers
    case .arithmetic(_, _, let destination, let source):
      RegisterSet.only(destination).union(source.registers)
    case .moveSignExtended(_, _, _, let source): .only(source)
    case .negate(_, let destination), .byteOrder(_, _, let destination): .only(destination)
    case .loadImmediate, .jump: .none
    case .load(_, _, _, let base, _): .only(base)
    case .store(_, let base, _, let source): RegisterSet.only(base).union(source.registers)
    case .atomic(let operation, _, let base, _, let source):
      RegisterSet.only(base).union(.only(source))
        .union(operation == .compareExchange ? .only(.result) : .none)
    case .branch(_, _, let left, let right, _): RegisterSet.only(left).union(right.registers)
    case .callHelper, .callLocal: RegisterSet(bits: 0b11_1110)
    case .exit: .only(.result)
    }
  }

  /// The registers whose old values are gone after the instruction.
  var overwrittenRegisters: RegisterSet {
    switch self {
    case .arithmetic(_, _, let destination, _), .moveSignExtended(_, _, let destination, _),
      .negate(_, let destination), .byteOrder(_, _, let destination),
      .loadImmediate(let destination, _), .load(_, _, let destination, _, _):
      .only(destination)
    case .atomic(let operation, _, _, _, let source):
      operation.returnsOldValueInSource
        ? .only(source) : operation == .compareExchange ? .only(.result) : .none
    case .callHelper, .callLocal: RegisterSet(bits: 0b11_1111)
    case .store, .jump, .branch, .exit: .none
    }
  }
}

extension Verifier where Memory: ~Copyable {
  /// Marks every instruction with the registers that may be read from there on within its function, and with those
  /// that decide something.
  ///
  /// - Complexity: O(slots): where loops are nested too deep to settle soon, every register counts as both.
  mutating func findLiveRegisters(_ program: Span<UInt64>) throws(ProgramError) {
    for index in 0..<program.count {
      var mark = mark(index)
      mark.liveRegisters = .none
      mark.decidingRegisters = .none
      memory[index] = mark.bits
    }
    let stackAddresses = try registersWithStackAddresses(program)
    var mainEnd = 1
    while mainEnd < program.count, !mark(mainEnd).isFunctionStart { mainEnd += 1 }
    for _ in 0..<16 {
      guard try passOverLiveRegisters(program, stackAddresses, mainEnd) else { return }
    }
    for index in 0..<program.count {
      var mark = mark(index)
      mark.liveRegisters = RegisterSet(bits: 0x7ff)
      mark.decidingRegisters = RegisterSet(bits: 0x7ff)
      memory[index] = mark.bits
    }
  }

  /// The registers that may hold the address of a stack anywhere in the program.
  private func registersWithStackAddresses(
    _ program: Span<UInt64>
  ) throws(ProgramError) -> RegisterSet {
    var found = RegisterSet.only(.framePointer)
    var isInMemory = false
    var changed = true
    while changed {
      changed = false
      var index = 0
      while index < program.count {
        let instruction = try Instruction(program, at: index)
        var new = found
        switch instruction {
        case .arithmetic(_, .doubleWord, let destination, .register(let source))
        where found.contains(source):
          new = found.union(.only(destination))
        case .store(_, _, _, .register(let source)) where found.contains(source):
          changed = changed || !isInMemory
          isInMemory = true
        case .load(_, _, let destination, _, _) where isInMemory:
          new = found.union(.only(destination))
        default: break
        }
        if new != found {
          found = new
          changed = true
        }
        index += instruction.slotCount
      }
    }
    return found
  }

  /// Goes through the program backwards once; returns whether anything changed.
  private mutating func passOverLiveRegisters(
    _ program: Span<UInt64>, _ stackAddresses: RegisterSet, _ mainEnd: Int
  ) throws(ProgramError) -> Bool {
    var changed = false
    var index = program.count - 1
    while index >= 0 {
      var mark = mark(index)
      if mark.isSecondHalf {
        index -= 1
        continue
      }
      let instruction = try Instruction(program, at: index)
      var live = RegisterSet.none
      var deciding = RegisterSet.none
      if instruction.fallsThrough {
        let next = self.mark(index + instruction.slotCount)
        live = next.liveRegisters
        deciding = next.decidingRegisters
      }
      if let offset = instruction.jumpOffset {
        let target = self.mark(index + 1 + offset)
        live = live.union(target.liveRegisters)
        deciding = deciding.union(target.decidingRegisters)
      }
      let overwritten = instruction.overwrittenRegisters
      let passesOn = deciding.bits & overwritten.bits != 0
      live = live.subtracting(overwritten).union(instruction.readRegisters)
      deciding = deciding.subtracting(overwritten)
        .union(passesOn ? instruction.readRegisters : .none)
        .union(decided(by: instruction, stackAddresses, isMain: index < mainEnd))
      if live != mark.liveRegisters || deciding != mark.decidingRegisters {
        mark.liveRegisters = live
        mark.decidingRegisters = deciding
        memory[index] = mark.bits
        changed = true
      }
      index -= 1
    }
    return changed
  }

  /// The registers whose values an instruction makes a difference of.
  private func decided(
    by instruction: Instruction, _ stackAddresses: RegisterSet, isMain: Bool
  ) -> RegisterSet {
    switch instruction {
    case .load(_, _, _, let base, _), .atomic(_, _, let base, _, _): .only(base)
    case .store(_, let base, _, let source):
      // What is stored on the stack can come back.
      stackAddresses.contains(base) ? source.registers.union(.only(base)) : .only(base)
    case .branch, .callHelper, .callLocal: instruction.readRegisters
    case .exit:
      isMain && contract.resultLeast == 0 && contract.resultGreatest == .max
        ? .none : .only(.result)
    default: .none
    }
  }
}
