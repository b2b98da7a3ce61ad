// SPDX-License-Identifier: Apache-2.0
// main.swift: says what a verifier with a rule deleted makes of the cases that the rule refuses.
//
// The argument is the rule; status 0: there are at least two such cases and all are accepted.

import ApusBPF
import ApusBPFTools
import Foundation

let rule = CommandLine.arguments.dropFirst().first ?? ""
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
