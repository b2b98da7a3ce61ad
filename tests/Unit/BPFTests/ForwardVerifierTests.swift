// SPDX-License-Identifier: Apache-2.0
// ForwardVerifierTests.swift: the kernel's verifier against the one that knows more, against runs, and rule by rule.

import ApusBPF
import ApusBPFTools
import Testing

extension Refusal: CustomTestStringConvertible {
  var testDescription: String { rule }
}

@Suite("The kernel's verifier")
struct ForwardVerifierTests {
  private func found(_ program: [UInt64], _ contract: Contract, count: Int = 8) -> String {
    switch KernelVerification(program, for: contract, count: count).outcome {
    case .success: "accepted"
    case .failure(.rejection(let rejection)): "\(rejection.rule) @ \(rejection.slot)"
    case .failure(.program(let error)): "\(error.reason) @ \(error.slot)"
    }
  }

  @Test("refuses what breaks a rule", arguments: Refusal.all)
  func refusal(_ refusal: Refusal) throws {
    let program = try Assembler.assemble(refusal.text)
    #expect(found(program, refusal.use.contract) == refusal.rule)
    #expect(found(program, refusal.use.contract, count: 1) == refusal.rule)
  }

  @Test("counts helpers, and refuses what takes too long")
  func length() throws {
    let call = "r1 = 0\nr2 = 0\nr3 = 0\ncall 1\n"
    let twice = try Assembler.assemble(call + call + "r0 = 0\nexit")
    let verification = KernelVerification(twice, for: Use.packetHandler.contract)
    #expect(try verification.outcome.get() == 2 * 3_072 + 10)
    let often = try Assembler.assemble(call + call + call + "r0 = 0\nexit")
    #expect(found(often, Use.packetHandler.contract) == "tooManyInstructions @ 11")
  }

  @Test("accepts nothing that the other verifier refuses", arguments: CaseFile.all.filter(\.isVerified))
  func cases(_ testCase: Case) throws {
    let program = try testCase.assembled()
    let contract = Uses.contract(testCase)
    guard testCase.invalid == nil, found(program, contract) == "accepted" else { return }
    // What is too much for one that follows every path may be little for one that does not.
    if let refused = testCase.refused, refused.hasPrefix("tooComplex") { return }
    #expect(testCase.refused == nil && testCase.faults == nil)
    let verdict = Verification(program, for: contract, budget: testCase.budget, wordCount: testCase.words).verdict
    #expect(try KernelVerification(program, for: contract).outcome.get() >= #require(verdict).worstInstructionCount)
  }

  @Test("a good part of the cases are within its reach")
  func reach() throws {
    var accepted = 0
    for testCase in CaseFile.all where testCase.isVerified && testCase.invalid == nil {
      if found(try testCase.assembled(), Uses.contract(testCase)) == "accepted" { accepted += 1 }
    }
    #expect(accepted > 100)
  }

  @Test("what it accepts runs as interpreted, within its bound", arguments: 0..<RandomProgramTests.partCount)
  func random(_ part: UInt64) throws {
    let arena = Arena(RandomProgramTests.memory(part))
    var accepted = 0
    for seed in RandomProgramTests.seeds(part) {
      var program = ProgramGenerator.program(seed: seed)
      if seed % 3 != 0 { program = ProgramGenerator.spoiled(program, seed: seed) }
      let outcome = KernelVerification(program, for: RandomProgramTests.contract).outcome
      guard let worst = try? outcome.get() else { continue }
      accepted += 1
      arena.memory.bytes = RandomProgramTests.memory(seed)
      let interpreted = arena.interpret(program, budget: worst)
      guard interpreted.fault == nil else {
        Issue.record("seed \(seed): accepted, but \(interpreted)")
        return
      }
      guard try arena.runNatively(program) == interpreted else {
        Issue.record("seed \(seed): the machine code does something else")
        return
      }
    }
    #expect(accepted > 20 || RandomProgramTests.seeds(part).underestimatedCount < 1000)
  }

  @Test("compiling in steps gives what compiling at once gives")
  func steps() throws {
    var tried = 0
    for seed in 0..<UInt64(200) {
      let program = ProgramGenerator.program(seed: seed)
      let verification = KernelVerification(program, for: RandomProgramTests.contract, count: 3)
      guard (try? verification.outcome.get()) != nil else { continue }
      var compiler = Compiler(into: HeapCode(capacity: 1 << 16), marks: HeapWords(count: program.count))
      let count = try compiler.compile(program.span, helpers: NoHelpers())
      #expect(verification.code == Array(compiler.end().bytes.prefix(count)))
      tried += 1
    }
    #expect(tried > 10)
  }
}
