// SPDX-License-Identifier: Apache-2.0
// main.swift: says what a verifier with a rule deleted makes of the cases that the rule refuses.
//
// The argument is the rule; status 0: there are at least two such cases and all are accepted.

import ApusBPF
import ApusBPFTools
import Foundation

let rule = CommandLine.arguments.dropFirst().first ?? ""

// With "kernel" behind it: the kernel's verifier and its cases; what another rule refuses then is not this one's.
if CommandLine.arguments.contains("kernel") {
  let refusals = Refusal.all.filter { $0.rule.hasPrefix(rule + " ") }
  let kept = refusals.filter { refusal in
    guard let program = try? Assembler.assemble(refusal.text),
      case .failure(.rejection(let rejection)) = KernelVerification(program, for: refusal.use.contract).outcome
    else { return false }
    return "\(rejection.rule) @ \(rejection.slot)" == refusal.rule
  }
  print("\(rule), in the kernel: \(refusals.count) cases, \(refusals.count - kept.count) not refused by it any more")
  exit(!refusals.isEmpty && kept.isEmpty ? 0 : 1)
}
let cases = CaseFile.all.filter { $0.refused?.hasPrefix(rule + " ") ?? false }
var refusedCount = 0
for testCase in cases {
  guard let program = try? testCase.assembled() else { continue }
  let verification = Verification(
    program, for: Uses.contract(testCase), budget: testCase.budget, wordCount: testCase.words)
  if case .failure(let error) = verification.outcome {
    print("  still refused: \(testCase.name): \(error)")
    refusedCount += 1
  }
}
print("\(rule): \(cases.count) cases, \(cases.count - refusedCount) accepted")
exit(cases.count >= 2 && refusedCount == 0 ? 0 : 1)
