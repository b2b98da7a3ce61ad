// SPDX-License-Identifier: Apache-2.0
// RandomSequences.swift: random operations on the frame ledger and the page tables, against the model.
//
// After each operation: it failed exactly if the model has a reason; a failed one changed no word and no record;
// the counts in the records are what the tables' contents say; everything that changed is what the model has.
// APUS_LONG multiplies the number of sequences.

import Foundation
import Testing

@Suite struct RandomSequences {
  #if DEBUG
    static let sequences = 30
    static let operations = 1000
  #else
    static let sequences = 200
    static let operations = 2000
  #endif

  static var factor: Int { max(1, Int(ProcessInfo.processInfo.environment["APUS_LONG"] ?? "") ?? 1) }

  @Test func noSequenceBreaksTheLedger() {
    var succeeded: [String: Int] = [:]
    var failed: [String: Int] = [:]
    for seed in 1...UInt64(Self.sequences * Self.factor) {
      let sequence = RandomSequence(seed: seed)
      for step in 0..<Self.operations {
        let (name, error) = sequence.step()
        if error == nil { succeeded[name, default: 0] += 1 } else { failed[name, default: 0] += 1 }
        if let complaint = sequence.complaint(isFull: step % 64 == 63) {
          Issue.record("seed \(seed), step \(step), \(name): \(complaint)")
          return
        }
      }
      if let complaint = sequence.windUp() {
        Issue.record("seed \(seed), at the end: \(complaint)")
        return
      }
    }
    // A test that only ever fails its operations would show nothing.
    for name in RandomSequence.names {
      #expect((succeeded[name] ?? 0) > 5, "\(name) hardly ever succeeded")
      if !RandomSequence.infallible.contains(name) {
        #expect((failed[name] ?? 0) > 5, "\(name) hardly ever failed")
      }
    }
  }
}
