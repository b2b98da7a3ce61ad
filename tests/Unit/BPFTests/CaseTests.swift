// SPDX-License-Identifier: Apache-2.0
// CaseTests.swift: runs the project's own cases through decoder, verifier, interpreter and compiler.

import ApusBPF
import ApusBPFTools
import BPFHost
import Testing

extension Case: CustomTestStringConvertible {
  var testDescription: String { fullName }
}

@Suite("Cases")
struct CaseTests {
  @Test("give what they say", arguments: CaseFile.all)
  func outcome(_ testCase: Case) throws {
    let program = try testCase.assembled()
    if let invalid = testCase.invalid {
      #expect(Self.invalidity(program) == invalid)
      return
    }
    var marks = HeapWords(count: program.count)
    _ = try ProgramOutline(program.span, marks: &marks)
    if testCase.isVerified { check(testCase, program) }
    guard testCase.result != nil || testCase.faults != nil else { return }
    try run(testCase, program)
  }

  private func run(_ testCase: Case, _ program: [UInt64]) throws {
    let arena = Arena(testCase.memory)
    let interpreted = arena.interpret(program)
    if let faults = testCase.faults {
      #expect(interpreted.fault.map { "\($0.reason) @ \($0.slot)" } == faults)
      return
    }
    #expect(interpreted.result == testCase.result, "\(interpreted)")
    if let leaves = testCase.leaves { #expect(interpreted.memory == leaves) }
    #expect(try arena.runNatively(program) == interpreted)
  }

  private func check(_ testCase: Case, _ program: [UInt64]) {
    let verification = Verification(
      program, for: Uses.contract(testCase), budget: testCase.budget, wordCount: testCase.words)
    let found: String
    switch verification.outcome {
    case .success: found = "accepted"
    case .failure(.rejection(let rejection)): found = "\(rejection.rule) @ \(rejection.slot)"
    case .failure(.program(let error)): found = "invalid \(error.reason) @ \(error.slot)"
    }
    if testCase.faults != nil, testCase.refused == nil {
      #expect(found != "accepted")
    } else {
      #expect(
        found == testCase.refused ?? "accepted",
        "\(verification.registers.joined(separator: "; "))")
    }
    if let worst = testCase.worst {
      #expect(verification.verdict?.worstInstructionCount == worst)
    }
  }

  static func invalidity(_ program: [UInt64]) -> String {
    var marks = HeapWords(count: program.count)
    do throws(ProgramError) {
      _ = try ProgramOutline(program.span, marks: &marks)
      return "valid"
    } catch { return "\(error.reason) @ \(error.slot)" }
  }

  @Test("there are cases, and none twice")
  func files() {
    #expect(CaseFile.all.count > 200)
    #expect(Set(CaseFile.all.map(\.fullName)).count == CaseFile.all.count)
  }

  @Test("at least two for every rule of the verifier")
  func rules() {
    for value in UInt8.min...UInt8.max {
      // From there on they are the kernel's own.
      guard let rule = VerifierRule(rawValue: value), rule != .jumpsBack else { break }
      let count = CaseFile.all.filter { $0.refused?.hasPrefix("\(rule) ") ?? false }.count
      #expect(count >= 2, "\(rule)")
    }
  }

  @Test("at least one for every way of being no program")
  func reasons() {
    let elsewhere: [ProgramError.Reason] = [
      .empty, .tooLong, .workingMemory, .codeBuffer, .helperWithoutAddress,
    ]
    for value in UInt8.min...UInt8.max {
      guard let reason = ProgramError.Reason(rawValue: value) else { break }
      let isThere = CaseFile.all.contains { $0.invalid?.hasPrefix("\(reason) ") ?? false }
      #expect(isThere || elsewhere.contains(reason), "\(reason)")
    }
  }
}
