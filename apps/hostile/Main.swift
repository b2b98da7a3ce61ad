// SPDX-License-Identifier: Apache-2.0
// Main.swift: sets up the upcalls, runs the groups of checks that the start command names, and powers off.
//
// The program is the first environment of the machine, in the place of a LibOS: nothing stands between the checks and
// the kernel. Arguments of the start command: the names of groups; none: all of them.

import ApusABI

/// A group of checks.
private struct Group {
  let name: StaticString
  let run: (inout Report) -> Void
}

@c @used func hostile_main() -> Never {
  setUpUpcalls(UInt64(APUS_LIBOS_BASE))
  set_uarea_word(UInt32(APUS_UA_CRITICAL), 0)
  guard Memory.makeTables(for: Memory.region, root: Information.ownRoot),
    Memory.makeTables(for: Memory.children, root: Information.ownRoot)
  else { Kernel.exit(98) }
  var report = Report()
  runGroups(&report)
  report.finish()
  Kernel.exit(report.failed == 0 && report.passed > 0 ? 0 : 1)
}

/// Writes the entries into a u-area at an address where it is mapped.
func setUpUpcalls(_ uarea: UInt64) {
  func set(_ offset: Int32, _ value: UInt64) { store64(uarea + UInt64(offset), value) }
  set(APUS_UA_EXCEPTION_ENTRY, address_of_hostile_exception_entry())
  set(APUS_UA_EXCEPTION_STACK, address_of_hostile_exception_stack())
  set(APUS_UA_NESTED_ENTRY, address_of_hostile_nested_entry())
  set(APUS_UA_NESTED_STACK, address_of_hostile_nested_stack())
  set(APUS_UA_FOREIGN_ENTRY, address_of_hostile_foreign_entry())
  set(APUS_UA_SLICE_BEGIN_ENTRY, address_of_hostile_slice_begin_entry())
  set(APUS_UA_SLICE_END_ENTRY, address_of_hostile_slice_end_entry())
  set(APUS_UA_SLICE_STACK, address_of_hostile_slice_stack())
  set(APUS_UA_PROTECTED_ENTRY, address_of_hostile_quick_entry())
  set(APUS_UA_PROTECTED_STACK, address_of_hostile_nested_stack())
  set(APUS_UA_REPLY_ENTRY, address_of_hostile_slice_begin_entry())
  set(APUS_UA_REPLY_STACK, address_of_hostile_slice_stack())
  set(APUS_UA_SELF, uarea)
}

private func runGroups(_ report: inout Report) {
  func run(_ name: StaticString, _ checks: (inout Report) -> Void) {
    guard StartCommand.names(name) else { return }
    checks(&report)
  }
  run("boot", bootChecks)
  run("exceptions", exceptionChecks)
  run("resume", resumeChecks)
  run("calls", callChecks)
  run("capabilities", capabilityChecks)
  run("pointers", pointerChecks)
  run("memory", memoryChecks)
  run("pages", pageCallChecks)
  run("large", largePageChecks)
  run("quotas", quotaChecks)
  run("sharing", sharingChecks)
  run("timeline", timelineChecks)
  run("contracts", contractChecks)
  run("isolation", isolationChecks)
  run("transfer", transferChecks)
  run("transfer-processors", transferProcessorChecks)
  run("death", deathChecks)
  run("processors", processorChecks)
  run("revocation", revocationChecks)
  run("rings", ringChecks)
  run("programs", programChecks)
  run("network", networkChecks)
  run("fuzz", fuzzChecks)
  if StartCommand.names("revocation-experiment", orNothing: false) { revocationExperiment(&report) }
  if StartCommand.names("network-cost", orNothing: false) { networkCostChecks(&report) }
  if StartCommand.names("handler-times", orNothing: false) { handlerTimes(&report) }
  if StartCommand.names("longest", orNothing: false) { longestPathChecks(&report) }
  if StartCommand.names("fuzz-seeds", orNothing: false) { seededFuzzChecks(&report) }
}

/// The start command's words, in the boot module.
enum StartCommand {
  /// Whether a group is to run: it is named, or none is.
  static func names(_ group: StaticString, orNothing: Bool = true) -> Bool {
    var word = UInt64(APUS_MODULE_BASE) + image_command_offset()
    while load8(word) != 0 { word = next(word) }
    word = next(word + 1)  // over the empty word and the program
    if load8(word) != 0 { word = next(word) }  // argv[0]
    if load8(word) == 0 { return orNothing }
    while load8(word) != 0 {
      if matches(word, group) { return true }
      word = next(word)
    }
    return false
  }

  /// The decimal number that follows a prefix in one of the words.
  static func number(_ prefix: StaticString) -> UInt64? {
    var word = UInt64(APUS_MODULE_BASE) + image_command_offset()
    while load8(word) != 0 { word = next(word) }
    word = next(word + 1)
    while load8(word) != 0 {
      if starts(word, prefix) {
        var at = word + UInt64(prefix.utf8CodeUnitCount)
        var value: UInt64 = 0
        while load8(at) != 0 {
          value = value &* 10 &+ UInt64(load8(at) &- 48)
          at += 1
        }
        return value
      }
      word = next(word)
    }
    return nil
  }

  private static func next(_ word: UInt64) -> UInt64 {
    var at = word
    while load8(at) != 0 { at += 1 }
    return at + 1
  }

  private static func starts(_ word: UInt64, _ text: StaticString) -> Bool {
    for index in 0..<text.utf8CodeUnitCount where load8(word + UInt64(index)) != text.utf8Start[index] { return false }
    return true
  }

  private static func matches(_ word: UInt64, _ text: StaticString) -> Bool {
    starts(word, text) && load8(word + UInt64(text.utf8CodeUnitCount)) == 0
  }
}
