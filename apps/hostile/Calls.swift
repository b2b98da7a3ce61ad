// SPDX-License-Identifier: Apache-2.0
// Calls.swift: what a system call does to the caller's registers, and callers in odd states.

import ApusABI

private var file: Registers { Registers(address: address_of_hostile_file()) }
private var after: Registers { Registers(address: address_of_hostile_after()) }

/// Bit n stands for register n in the processor's order: what a call returns or clears.
private enum Set {
  /// rax, rcx, r11: the result, the return address, the flags.
  static var results: UInt64 { 1 << 0 | 1 << 1 | 1 << 11 }
  /// rdx, rsi, rdi, r8, r9, r10.
  static var cleared: UInt64 { 1 << 2 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 }
}

/// Executes one SYSCALL with patterns in all registers but those given.
private func probe(_ number: UInt64, _ a0: UInt64, _ a1: UInt64, _ a2: UInt64, flags: UInt64 = Pattern.flags) {
  Pattern.fill(file)
  file.rip = address_of_snippet_foreign()
  file[REGISTER_RAX] = UInt64(APUS_CALL_BIT) | number
  file[REGISTER_RDI] = a0
  file[REGISTER_RSI] = a1
  file[REGISTER_RDX] = a2
  file.flags = flags
  hostile_probe(file.address)
}

private func verify(_ result: UInt64, _ check: inout Check) {
  check.expect(after[REGISTER_RAX], equals: result, "the result")
  check.expect(after.flags, equals: file.flags, "flags")
  Pattern.compare(after, with: file, &check, "a register that a call keeps", leavingOut: Set.results | Set.cleared)
  for index in 0..<UInt64(16) where Set.cleared >> index & 1 != 0 {
    check.expect(load64(after.address + index * 8), equals: 0, "a register that a call clears")
  }
}

func callChecks(_ report: inout Report) {
  registers(&report)
  oddFlags(&report)
  oddBases(&report)
  stackSegment(&report)
}

private func registers(_ report: inout Report) {
  var null = Check("calls", "registers across the null call")
  probe(UInt64(SystemCall.null.rawValue), 1, 2, 3)
  verify(0, &null)
  null.expect(after[REGISTER_RCX], equals: address_of_snippet_foreign_next(), "rcx")
  report.finish(null)

  var longer = Check("calls", "registers across a call that succeeds")
  probe(UInt64(SystemCall.frameAllocate.rawValue), Slot.family, Memory.list, 0)
  // Its fourth argument is a pattern in r10: flags that there are not.
  verify(0 &- UInt64(SystemCallError.invalid.rawValue), &longer)
  probe(UInt64(SystemCall.frameFree.rawValue), Slot.family, Memory.list, 0)
  verify(0, &longer)
  report.finish(longer)

  var refused = Check("calls", "registers across a call that is refused")
  probe(UInt64(SystemCall.frameFree.rawValue), Slot.empty, Memory.list, 1)
  verify(0 &- UInt64(SystemCallError.denied.rawValue), &refused)
  report.finish(refused)

  var fault = Check("calls", "registers across a contract fault")
  probe(UInt64(SystemCall.frameFree.rawValue), Slot.family, 8, 1)
  verify(UInt64(CONTRACT_FAULTED), &fault)
  fault.expect(mainRecord.vector, equals: UInt64(APUS_CAUSE_CONTRACT), "the cause")
  fault.expect(mainRecord.faultAddress, equals: 8, "the argument")
  fault.expect(mainRecord.rip, equals: address_of_snippet_foreign_next(), "where")
  fault.expect(mainRecord[RECORD_ENTRY_FLAGS], equals: 0x202, "flags that the handler starts with")
  fault.expect(mainRecord[RECORD_ENTRY_RSP], equals: address_of_hostile_exception_stack(), "stack of the handler")
  report.finish(fault)
}

/// Nested task, alignment check (which opens SMAP in ring 0), direction, identification, the trap flag.
private func oddFlags(_ report: inout Report) {
  let flags: [6 of UInt64] = [1 << 14, 1 << 18, 1 << 10, 1 << 21, 1 << 14 | 1 << 18 | 1 << 10, 0]
  for index in flags.indices {
    var check = Check("calls", "calls and faults with odd flags", flags[index])
    let odd = 0x202 | flags[index]
    probe(UInt64(SystemCall.null.rawValue), 0, 0, 0, flags: odd)
    verify(0, &check)
    probe(UInt64(SystemCall.frameFree.rawValue), Slot.family, Memory.list, 0, flags: odd)
    verify(0, &check)
    probe(UInt64(SystemCall.frameFree.rawValue), Slot.family, 8, 1, flags: odd)
    verify(UInt64(CONTRACT_FAULTED), &check)
    Pattern.fill(file)
    file.flags = odd
    file.rip = address_of_snippet_ud2()
    Plan.set(PLAN_GO_TO, address_of_snippet_ud2_next())
    hostile_probe(file.address)
    Pattern.compare(after, with: file, &check, "a register across a fault")
    check.expect(after.flags, equals: odd, "flags across a fault")
    check.expect(mainRecord[RECORD_ENTRY_FLAGS], equals: 0x202, "flags that the handler starts with")
    Pattern.fill(file)
    file.flags = odd
    file.rip = address_of_snippet_breakpoint()
    Plan.set(PLAN_FAULT_AGAIN, address_of_snippet_breakpoint_next())
    hostile_probe(file.address)
    check.expect(after.flags, equals: odd, "flags across nested faults")
    report.finish(check)
  }
  var stepped = Check("calls", "a call under the trap flag")
  set_uarea_word(UInt32(UA_STEPS), 0)
  Plan.set(PLAN_STEP, address_of_snippet_foreign_next())
  probe(UInt64(SystemCall.null.rawValue), 0, 0, 0, flags: 0x302)
  stepped.expect(after[REGISTER_RAX], equals: 0, "the result")
  stepped.expect(uarea_word(UInt32(UA_STEPS)) >= 2, "traps", uarea_word(UInt32(UA_STEPS)))
  Plan.set(PLAN_NONE)
  report.finish(stepped)
}

/// A caller whose GS base is garbage, even an address of the kernel: ring 0 never looks at it.
private func oddBases(_ report: inout Report) {
  var check = Check("calls", "calls with a garbage GS base")
  let bases: [5 of UInt64] = [
    0, 0x0000_7fff_ffff_f000, 0xffff_ffff_8011_0000, 0xffff_8800_0000_0000, UInt64.max - 4095,
  ]
  for index in bases.indices {
    check.expect(call_with_gs_base(bases[index], UInt64(APUS_CALL_BIT)), equals: 0, "the null call")
    check.expect(
      call_with_gs_base(bases[index], UInt64(APUS_CALL_BIT) | UInt64(SystemCall.frameFree.rawValue)),
      equals: 0 &- UInt64(SystemCallError.denied.rawValue), "a refused call")
  }
  report.finish(check)
}

/// MOV to SS holds back traps until the next instruction is over, which here is one that enters the kernel
/// (CVE-2018-8897 is what went wrong elsewhere).
private func stackSegment(_ report: inout Report) {
  var call = Check("calls", "MOV SS and a call under the trap flag")
  Pattern.fill(file)
  file.rip = address_of_snippet_stack_segment_call()
  file[REGISTER_RAX] = UInt64(APUS_CALL_BIT)
  file.flags = 0x302
  Plan.set(PLAN_STEP, address_of_snippet_stack_segment_call_next())
  hostile_probe(file.address)
  call.expect(after[REGISTER_RAX], equals: 0, "the result")
  Plan.set(PLAN_NONE)
  report.finish(call)

  var breakpoint = Check("calls", "MOV SS and INT3 under the trap flag")
  Pattern.fill(file)
  file.rip = address_of_snippet_stack_segment_breakpoint()
  file.flags = 0x302
  Plan.set(PLAN_STEP, address_of_snippet_stack_segment_breakpoint_next())
  hostile_probe(file.address)
  Pattern.compare(after, with: file, &breakpoint, "a register")
  Plan.set(PLAN_NONE)
  report.finish(breakpoint)
}
