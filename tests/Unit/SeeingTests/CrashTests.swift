// SPDX-License-Identifier: Apache-2.0
// CrashTests.swift: readable names, places that say nothing, and reports that are cut short or hostile.

import CApusABI
import Testing

@testable import apus

@Suite struct CrashTests {
  @Test(arguments: [
    ("Faulty.(readNull in _6EC37EC0FD8D9052485B4EE75EEA2D0C)(Swift.UInt64) -> Swift.UInt64", "Faulty.readNull"),
    (
      "closure #1 (Swift.Int) -> () in Module.Type.method<A>(label: A) throws -> ()", "closure #1 in Module.Type.method"
    ),
    ("Module.Type.property.getter : Swift.Int", "Module.Type.property.getter"),
    ("generic specialization <Swift.UInt8> of Swift.Array.append(__owned A) -> ()", "Swift.Array.append"),
    ("static Module.Type.make() -> Module.Type", "static Module.Type.make"), ("plain", "plain"),
    ("a in _xyz", "a in _xyz"),
  ])
  func `names lose their types`(text: String, name: String) {
    #expect(Demangler.shortened(text) == name)
  }

  @Test func `Swift's symbols become names and others stay`() {
    #expect(Demangler.readable("$s6Module8functionyyF") == "Module.function")
    #expect(Demangler.readable("$e6Module8functionyyF") == "Module.function")
    #expect(Demangler.readable("apus_system_call") == "apus_system_call")
  }

  @Test func `the compiler's own code is left out but for what its check says`() {
    let places = [
      SourcePlace(function: "Swift runtime failure: arithmetic overflow", file: "/<compiler-generated>", line: 0),
      SourcePlace(function: "M.f", file: "m.swift", line: 3), SourcePlace(function: "M.g", file: "m.swift", line: 9),
    ]
    #expect(CrashReader.telling(places).map(\.text) == ["M.f (arithmetic overflow) at m.swift:3", "M.g at m.swift:9"])
    #expect(CrashReader.telling([places[0]]).count == 1)
  }

  @Test func `a report of nothing but zeros, or of nothing, is a sentence`() {
    let reader = CrashReader(CodeFiles())
    #expect(reader.lines([]).first?.hasPrefix("apus: ") == true)
    #expect(reader.lines([UInt8](repeating: 0, count: 4096)).first?.hasPrefix("apus: ") == true)
  }

  @Test func `whatever a machine reports, it becomes lines`() {
    var generator = SplitMix(state: 7)
    let reader = CrashReader(CodeFiles())
    for _ in 0..<200 {
      let bytes = (0..<Int(generator.next() % 800)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
      #expect(!reader.lines(bytes).isEmpty)
    }
  }

  @Test func `the kernel's sentence says what happened`() {
    var crash = apus_crash()
    crash.kind = UInt32(APUS_CRASH_ENVIRONMENT)
    crash.slot = 5
    crash.cause = 6 << 32 | 14
    crash.rip = 0x1234
    crash.address = 0x10
    crash.flags = UInt32(APUS_CRASH_FAMILY_ENDS)
    #expect(
      CrashReader.sentence(crash)
        == "environment 5 ended: page fault it did not handle, error 0x6, at 0x1234, address 0x10; "
        + "it was inside its LibOS, so its whole family ends")
  }
}

/// Numbers from a seed.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}
