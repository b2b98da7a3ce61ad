// SPDX-License-Identifier: Apache-2.0
// RandomProgramTests.swift: interpreter, machine code and verifier against each other on random programs.
//
// 10,000 programs in a normal run, 1,000,000 with APUS_LONG set; APUS_BPF_SEED repeats one.

import ApusBPF
import ApusBPFTools
import BPFHost
import Foundation
import Testing

@Suite("Random programs")
struct RandomProgramTests {
  static let isLong = ProcessInfo.processInfo.environment["APUS_LONG"] != nil
  static let total: UInt64 = isLong ? 1_000_000 : 10_000
  static let partCount: UInt64 = 8

  static func seeds(_ part: UInt64) -> StrideTo<UInt64> {
    if let text = ProcessInfo.processInfo.environment["APUS_BPF_SEED"], let seed = UInt64(text) {
      return stride(from: seed, to: part == 0 ? seed + 1 : seed, by: 1)
    }
    return stride(from: part, to: total, by: Int(partCount))
  }

  static func memory(_ seed: UInt64) -> [UInt8] {
    var numbers = SeededNumbers(seed: seed ^ 0xabcd)
    return (0..<ProgramGenerator.memoryByteCount).map { _ in
      UInt8(truncatingIfNeeded: numbers.next())
    }
  }

  static let contract = Contract.freeStanding(memoryByteCount: ProgramGenerator.memoryByteCount)

  @Test("interpreter and machine code agree, and the verifier accepts", arguments: 0..<partCount)
  func agreement(_ part: UInt64) throws {
    let arena = Arena(Self.memory(part))
    for seed in Self.seeds(part) {
      let program = ProgramGenerator.program(seed: seed)
      arena.memory.bytes = Self.memory(seed)
      let interpreted = arena.interpret(program, budget: 10_000)
      guard interpreted.fault == nil else {
        Issue.record("seed \(seed): \(interpreted)")
        return
      }
      let native = try arena.runNatively(program)
      guard native == interpreted else {
        Issue.record("seed \(seed): \(interpreted) interpreted, \(native) compiled")
        return
      }
      // A budget like the kernel's: random data in loops has many states, which is no fault of the verifier's.
      let verification = Verification(
        program, for: Self.contract, budget: 20_000, wordCount: 1 << 15)
      guard verification.verdict != nil || verification.rule == .tooComplex else {
        Issue.record("seed \(seed): \(verification.outcome)")
        return
      }
      if let verdict = verification.verdict {
        guard arena.executedCount(program) <= verdict.worstInstructionCount else {
          Issue.record("seed \(seed): longer than \(verdict.worstInstructionCount)")
          return
        }
      }
    }
  }

  @Test("what the verifier accepts never faults, and all agree on it", arguments: 0..<partCount)
  func spoiled(_ part: UInt64) throws {
    let arena = Arena(Self.memory(part))
    var accepted = 0
    for seed in Self.seeds(part) {
      let program = ProgramGenerator.spoiled(ProgramGenerator.program(seed: seed), seed: seed)
      let verification = Verification(
        program, for: Self.contract, budget: 20_000, wordCount: 1 << 15)
      guard let verdict = verification.verdict else { continue }
      accepted += 1
      for round in 0..<2 {
        arena.memory.bytes = Self.memory(seed &+ UInt64(round) * 77)
        let interpreted = arena.interpret(program, budget: verdict.worstInstructionCount)
        guard interpreted.fault == nil else {
          Issue.record("seed \(seed): accepted, but \(interpreted)")
          return
        }
        let native = try arena.runNatively(program)
        guard native == interpreted else {
          Issue.record("seed \(seed): \(interpreted) interpreted, \(native) compiled")
          return
        }
      }
    }
    if ProcessInfo.processInfo.environment["APUS_BPF_SEED"] == nil { #expect(accepted > 50) }
  }
}
