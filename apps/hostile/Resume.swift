// SPDX-License-Identifier: Apache-2.0
// Resume.swift: the way back from an exception, one instruction at a time.

import ApusABI

private var file: Registers { Registers(address: address_of_hostile_file()) }
private var after: Registers { Registers(address: address_of_hostile_after()) }

/// Instructions from the one after the trap flag was set to the IRETQ, in hostile_resume.
private let wayBackInstructions: UInt64 = 32

func resumeChecks(_ report: inout Report) {
  stepProgram("a program, step by step", rounds: 20, length: 100, &report)
  stepWayBack("the way back, step by step", rounds: 50, &report)
  underLoad(&report)
}

/// The same with two others that loop, so that slices end and begin in the middle of everything.
private func underLoad(_ report: inout Report) {
  guard let first = Child(0, body: Body.spin), let second = Child(1, body: Body.spin) else {
    return report.notTried(Check("resume", "under load"))
  }
  let ends = uarea_word(UInt32(UA_SLICE_ENDS))
  var rounds: UInt64 = 0
  // As many rounds as it takes to be preempted often; each round counts its steps.
  while uarea_word(UInt32(UA_SLICE_ENDS)) < ends + 30 && rounds < 100_000 {
    stepProgramQuietly(rounds: 5, length: 200, &report)
    stepWayBackQuietly(rounds: 20, &report)
    rounds += 1
  }
  var check = Check("resume", "under load")
  check.expect(uarea_word(UInt32(UA_SLICE_ENDS)) >= ends + 30, "slice ends meanwhile")
  check.expect(first[UA_WORD] > 0 && second[UA_WORD] > 0, "the others did not run")
  check.expect(first.isLive && second.isLive, "the others have ended")
  report.finish(check)
  first.kill()
  second.kill()
  Child.release(0)
  Child.release(1)
}

/// As the checks without load, but silent as long as they hold: there are many.
private func stepProgramQuietly(rounds: UInt64, length: UInt64, _ report: inout Report) {
  var check = Check("resume", "a program, step by step, under load")
  stepProgram(rounds: rounds, length: length, &check)
  if !check.holds { report.finish(check) }
}

private func stepWayBackQuietly(rounds: UInt64, _ report: inout Report) {
  var check = Check("resume", "the way back, step by step, under load")
  stepWayBack(rounds: rounds, &check)
  if !check.holds { report.finish(check) }
}

private func stepProgram(_ name: StaticString, rounds: UInt64, length: UInt64, _ report: inout Report) {
  var check = Check("resume", name)
  stepProgram(rounds: rounds, length: length, &check)
  report.finish(check)
}

private func stepWayBack(_ name: StaticString, rounds: UInt64, _ report: inout Report) {
  var check = Check("resume", name)
  stepWayBack(rounds: rounds, &check)
  report.finish(check)
}

/// Single-steps a loop: each instruction gives one exception, and the loop computes what it should.
private func stepProgram(rounds: UInt64, length: UInt64, _ check: inout Check) {
  for round in 0..<rounds {
    Pattern.fill(file, seed: round)
    file.rip = address_of_snippet_count_down()
    file[REGISTER_RDX] = length
    file[REGISTER_RAX] = 0
    file.flags |= UInt64(FLAG_TRAP)
    set_uarea_word(UInt32(UA_STEPS), 0)
    Plan.set(PLAN_STEP, address_of_snippet_count_down_next())
    hostile_probe(file.address)
    check.expect(uarea_word(UInt32(UA_STEPS)), equals: 3 * length + 1, "number of steps")
    check.expect(after[REGISTER_RAX], equals: length * (length + 1) / 2, "result")
    check.expect(after[REGISTER_RDX], equals: 0, "counter")
    Pattern.compare(after, with: file, &check, "a register", leavingOut: 1 | 4)
  }
}

/// Single-steps the handler's way back itself: before the save area is given free each step takes the nested entry,
/// after that the first one again, in the middle of the way back of the exception before.
private func stepWayBack(rounds: UInt64, _ check: inout Check) {
  for round in 0..<rounds {
    Pattern.fill(file, seed: round)
    file.rip = address_of_snippet_breakpoint()
    set_uarea_word(UInt32(UA_RESUME_STEPS), 0)
    Plan.set(PLAN_STEP_RETURN)
    hostile_probe(file.address)
    check.expect(uarea_word(UInt32(UA_RESUME_STEPS)), equals: wayBackInstructions, "number of steps")
    Pattern.compare(after, with: file, &check, "a register")
    check.expect(after.flags, equals: file.flags, "flags")
  }
  Plan.set(PLAN_NONE)
}
