// SPDX-License-Identifier: Apache-2.0
// Exceptions.swift: each exception that ring 3 can raise reaches the handler whole, and the way back needs no kernel.

import ApusABI

/// A piece of code and the exception that it has to raise.
struct ExceptionCase {
  let name: StaticString
  /// Where the probe goes.
  let code: UInt64
  /// Where the saved instruction pointer has to point.
  let fault: UInt64
  /// Where the handler goes on.
  let next: UInt64
  let vector: UInt64
  var error: UInt64 = 0
  /// What an older QEMU says instead.
  var olderError: UInt64?
  /// For page faults.
  var address: UInt64?
  /// Operands of the code; a pattern otherwise.
  var rbx: UInt64?
  var rbp: UInt64?
  var extraFlags: UInt64 = 0

  init(_ name: StaticString, _ code: UInt64, _ next: UInt64, _ vector: UInt64, error: UInt64 = 0) {
    self.name = name
    self.code = code
    self.fault = code
    self.next = next
    self.vector = vector
    self.error = error
  }

  /// A trap: the saved instruction pointer is the next instruction's.
  init(trap name: StaticString, _ code: UInt64, _ next: UInt64, _ vector: UInt64) {
    self.name = name
    self.code = code
    self.fault = next
    self.next = next
    self.vector = vector
  }

  init(
    _ name: StaticString, _ code: UInt64, faultingAt fault: UInt64, _ next: UInt64, _ vector: UInt64
  ) {
    self.name = name
    self.code = code
    self.fault = fault
    self.next = next
    self.vector = vector
  }

  /// A page fault by an access to an address.
  init(
    pageFault name: StaticString, _ code: UInt64, _ next: UInt64, at address: UInt64, error: UInt64
  ) {
    self.init(name, code, next, 14, error: error)
    self.address = address
    rbx = address
  }

  /// A page fault by a jump to an address.
  init(fetch name: StaticString, at address: UInt64, error: UInt64) {
    self.init(
      name, address_of_snippet_jump(), faultingAt: address, address_of_snippet_jump_next(), 14)
    self.address = address
    self.error = error
    rbx = address
  }

}

/// A register file full of patterns, none of them a valid address.
enum Pattern {
  /// All status flags but DF and, as the program stays preemptible, IF; the constant second bit.
  static var flags: UInt64 { 0xed7 }

  static func fill(_ file: Registers, seed: UInt64 = 0) {
    for index in 0..<UInt64(16) {
      store64(file.address + index * 8, (0x0123_4567_89ab_cdef &* (2 * index + 3)) ^ (seed &* 0x9e37_79b9_7f4a_7c15))
    }
    file[REGISTER_RSP] = address_of_hostile_probe_stack() - 256
    file.flags = flags
  }

  /// Compares general registers; rcx and r11 may be left out.
  static func compare(
    _ actual: Registers, with file: Registers, _ check: inout Check, _ otherwise: StaticString, leavingOut: UInt64 = 0
  ) {
    for index in 0..<UInt64(16) where leavingOut >> index & 1 == 0 {
      check.expect(
        load64(actual.address + index * 8), equals: load64(file.address + index * 8), otherwise)
    }
  }
}

private var file: Registers { Registers(address: address_of_hostile_file()) }
private var after: Registers { Registers(address: address_of_hostile_after()) }
var mainRecord: Registers { Registers(address: UInt64(APUS_LIBOS_BASE) + UInt64(UA_RECORD)) }
private var nestedRecord: Registers { Registers(address: UInt64(APUS_LIBOS_BASE) + UInt64(UA_NESTED_RECORD)) }

// The resume flag: processors may set it in the flags that a fault saves (SDM vol. 3, 18.3.1.1).
private let resumeFlag: UInt64 = 1 << 16

/// Whether the processor is QEMU's own: it leaves out two exceptions.
var isEmulated: Bool { processor_says(0x4000_0000, 0).ebx == 0x5447_4354 }

/// Counts the calls and exception upcalls of a body; the end of a slice, whose handler makes a call, has it run again.
private func countUndisturbed(_ body: () -> Void) -> (calls: UInt64, upcalls: UInt64) {
  let slot = Information.ownSlot
  var counts: (calls: UInt64, upcalls: UInt64) = (0, 0)
  for _ in 0..<1000 {
    let begins = uarea_word(UInt32(UA_SLICE_BEGINS))
    let before = Information.environment(slot: slot)
    body()
    let now = Information.environment(slot: slot)
    counts = (now.calls &- before.calls, now.exception_upcalls &- before.exception_upcalls)
    if uarea_word(UInt32(UA_SLICE_BEGINS)) == begins { break }
  }
  return counts
}

/// Runs one case and checks everything about it.
private func run(_ one: ExceptionCase, _ report: inout Report) {
  var check = Check("exceptions", one.name)
  Pattern.fill(file)
  if let rbx = one.rbx { file[REGISTER_RBX] = rbx }
  if let rbp = one.rbp { file[REGISTER_RBP] = rbp }
  file.rip = one.code
  file.flags |= one.extraFlags
  let counts = countUndisturbed {
    Plan.set(PLAN_GO_TO, one.next)
    hostile_probe(file.address)
  }
  check.expect(counts.upcalls, equals: 1, "number of upcalls")
  check.expect(counts.calls, equals: 0, "number of kernel calls")
  verify(one, &check)
  report.finish(check)
}

private func verify(_ one: ExceptionCase, _ check: inout Check) {
  let found = mainRecord
  check.expect(found.vector, equals: one.vector, "vector")
  if found.errorCode != one.olderError { check.expect(found.errorCode, equals: one.error, "error code") }
  if let address = one.address { check.expect(found.faultAddress, equals: address, "address") }
  check.expect(uarea_word(UInt32(UA_FOUND_RIP)), equals: one.fault, "instruction pointer")
  check.expect(uarea_word(UInt32(UA_FOUND_FLAGS)) & ~resumeFlag, equals: file.flags, "flags")
  Pattern.compare(found, with: file, &check, "a register in the handler")
  check.expect(found[RECORD_ENTRY_FLAGS], equals: 0x202, "flags that the handler starts with")
  check.expect(found[RECORD_ENTRY_RSP], equals: address_of_hostile_exception_stack(), "stack of the handler")
  check.expect(found[RECORD_ENTRY_RAX] | found[RECORD_ENTRY_RCX], equals: 0, "rax and rcx that the handler starts with")
  Pattern.compare(after, with: file, &check, "a register after the way back")
  check.expect(after.flags & ~UInt64(FLAG_TRAP), equals: file.flags & ~UInt64(FLAG_TRAP), "flags after the way back")
}

func exceptionChecks(_ report: inout Report) {
  arithmeticAndTraps(&report)
  privileged(&report)
  accesses(&report)
  floatingPoint(&report)
  alignment(&report)
  nested(&report)
  foreign(&report)
}

private func arithmeticAndTraps(_ report: inout Report) {
  run(.init("divide by zero", address_of_snippet_divide(), address_of_snippet_divide_next(), 0), &report)
  run(
    .init("quotient too large", address_of_snippet_divide_overflow(), address_of_snippet_divide_overflow_next(), 0),
    &report)
  run(.init(trap: "breakpoint", address_of_snippet_breakpoint(), address_of_snippet_breakpoint_next(), 3), &report)
  run(.init(trap: "overflow", address_of_snippet_int_4(), address_of_snippet_int_4_next(), 4), &report)
  run(.init("ud2", address_of_snippet_ud2(), address_of_snippet_ud2_next(), 6), &report)
  run(.init("invalid in 64-bit mode", address_of_snippet_push_cs(), address_of_snippet_push_cs_next(), 6), &report)
  run(.init("lock on nop", address_of_snippet_lock_nop(), address_of_snippet_lock_nop_next(), 6), &report)
  // The trap flag is set by POPF; the trap comes after the instruction that follows it.
  var step = ExceptionCase("single step", address_of_snippet_nothing(), address_of_hostile_probe_end(), 1)
  step.extraFlags = UInt64(FLAG_TRAP)
  runStep(step, &report)
  if !isEmulated {
    // QEMU 7.2 takes INT1 for a breakpoint of its own debugger and stops the machine.
    run(.init(trap: "int1", address_of_snippet_icebp(), address_of_snippet_icebp_next(), 1), &report)
  }
}

/// One single step; the handler clears the flag.
private func runStep(_ one: ExceptionCase, _ report: inout Report) {
  var check = Check("exceptions", one.name)
  Pattern.fill(file)
  file.rip = one.code
  file.flags |= one.extraFlags
  Plan.set(PLAN_STEP, one.code)
  hostile_probe(file.address)
  verify(one, &check)
  report.finish(check)
}

private func privileged(_ report: inout Report) {
  func run(_ name: StaticString, _ code: UInt64, _ next: UInt64, error: UInt64 = 0) {
    Hostile.run(.init(name, code, next, 13, error: error), &report)
  }
  run("cli", address_of_snippet_cli(), address_of_snippet_cli_next())
  run("sti", address_of_snippet_sti(), address_of_snippet_sti_next())
  run("hlt", address_of_snippet_hlt(), address_of_snippet_hlt_next())
  run("in", address_of_snippet_in(), address_of_snippet_in_next())
  run("out", address_of_snippet_out(), address_of_snippet_out_next())
  run("rdmsr", address_of_snippet_rdmsr(), address_of_snippet_rdmsr_next())
  run("wrmsr", address_of_snippet_wrmsr(), address_of_snippet_wrmsr_next())
  run("rdpmc", address_of_snippet_rdpmc(), address_of_snippet_rdpmc_next())
  run("read cr0", address_of_snippet_read_cr0(), address_of_snippet_read_cr0_next())
  run("write cr0", address_of_snippet_write_cr0(), address_of_snippet_write_cr0_next())
  run("read cr3", address_of_snippet_read_cr3(), address_of_snippet_read_cr3_next())
  run("write cr3", address_of_snippet_write_cr3(), address_of_snippet_write_cr3_next())
  run("write cr4", address_of_snippet_write_cr4(), address_of_snippet_write_cr4_next())
  run("write cr8", address_of_snippet_write_cr8(), address_of_snippet_write_cr8_next())
  run("write dr7", address_of_snippet_write_dr7(), address_of_snippet_write_dr7_next())
  run("read dr6", address_of_snippet_read_dr6(), address_of_snippet_read_dr6_next())
  run("lgdt", address_of_snippet_lgdt(), address_of_snippet_lgdt_next())
  run("lidt", address_of_snippet_lidt(), address_of_snippet_lidt_next())
  run("lldt", address_of_snippet_lldt(), address_of_snippet_lldt_next())
  run("ltr", address_of_snippet_ltr(), address_of_snippet_ltr_next())
  run("clts", address_of_snippet_clts(), address_of_snippet_clts_next())
  run("lmsw", address_of_snippet_lmsw(), address_of_snippet_lmsw_next())
  run("invlpg", address_of_snippet_invlpg(), address_of_snippet_invlpg_next())
  run("invd", address_of_snippet_invd(), address_of_snippet_invd_next())
  run("wbinvd", address_of_snippet_wbinvd(), address_of_snippet_wbinvd_next())
  run("xsetbv", address_of_snippet_xsetbv(), address_of_snippet_xsetbv_next())
  run("swapgs", address_of_snippet_swapgs(), address_of_snippet_swapgs_next())
  run("sysret", address_of_snippet_sysret(), address_of_snippet_sysret_next())
  if processor_says(7, 0).ecx & 4 != 0 {  // UMIP
    run("sgdt", address_of_snippet_sgdt(), address_of_snippet_sgdt_next())
    run("sidt", address_of_snippet_sidt(), address_of_snippet_sidt_next())
    run("sldt", address_of_snippet_sldt(), address_of_snippet_sldt_next())
    run("str", address_of_snippet_str(), address_of_snippet_str_next())
    run("smsw", address_of_snippet_smsw(), address_of_snippet_smsw_next())
  }
  // The error code of a software interrupt names its gate: vector * 8 + 2 (SDM vol. 3, 6.13). QEMU 7.2 has * 16.
  func interrupt(_ name: StaticString, _ code: UInt64, _ next: UInt64, _ vector: UInt64) {
    var one = ExceptionCase(name, code, next, 13, error: vector * 8 + 2)
    if isEmulated { one.olderError = vector * 16 + 2 }
    Hostile.run(one, &report)
  }
  interrupt("int 0x20", address_of_snippet_int_timer(), address_of_snippet_int_timer_next(), 0x20)
  interrupt("int 0x80", address_of_snippet_int_128(), address_of_snippet_int_128_next(), 0x80)
  interrupt("int 14", address_of_snippet_int_page_fault(), address_of_snippet_int_page_fault_next(), 14)
  interrupt("int 8", address_of_snippet_int_double_fault(), address_of_snippet_int_double_fault_next(), 8)
  run(
    "data selector of ring 0", address_of_snippet_kernel_data_selector(),
    address_of_snippet_kernel_data_selector_next(), error: 0x10)
  run(
    "stack selector of ring 0", address_of_snippet_kernel_stack_selector(),
    address_of_snippet_kernel_stack_selector_next(), error: 0x10)
  run(
    "far jump into ring 0", address_of_snippet_far_return_to_ring_0(),
    address_of_snippet_far_return_to_ring_0_next(), error: 8)

  var beyond = ExceptionCase(
    "non-canonical address", address_of_snippet_non_canonical(), address_of_snippet_non_canonical_next(), 13)
  beyond.rbx = 0x8000_0000_0000_0000
  Hostile.run(beyond, &report)
  // QEMU raises a general protection fault for the stack segment too.
  var stack = ExceptionCase(
    "non-canonical stack address", address_of_snippet_non_canonical_stack(),
    address_of_snippet_non_canonical_stack_next(), isEmulated ? 13 : 12)
  stack.rbp = 0x0001_0000_0000_0000
  Hostile.run(stack, &report)
}

/// Bits of a page fault's error code.
private enum Fault {
  static var present: UInt64 { 1 }
  static var write: UInt64 { 2 }
  static var user: UInt64 { 4 }
  static var fetch: UInt64 { 16 }
}

private func accesses(_ report: inout Report) {
  let (read, readNext) = (address_of_snippet_read(), address_of_snippet_read_next())
  let (write, writeNext) = (address_of_snippet_write(), address_of_snippet_write_next())
  let absent = Memory.region + 0x123
  let readOnly = Memory.region + 0x1000
  let data = Memory.region + 0x2000
  guard Memory.mapFresh(at: readOnly, writable: false) != nil, Memory.mapFresh(at: data) != nil else {
    var check = Check("exceptions", "pages for page faults")
    check.expect(false, "no memory")
    report.finish(check)
    return
  }
  run(.init(pageFault: "read where nothing is", read, readNext, at: absent, error: Fault.user), &report)
  run(
    .init(pageFault: "write where nothing is", write, writeNext, at: absent, error: Fault.user | Fault.write), &report)
  run(.init(pageFault: "read of page zero", read, readNext, at: 8, error: Fault.user), &report)
  run(
    .init(
      pageFault: "write to a read-only page", write, writeNext, at: readOnly + 8,
      error: Fault.user | Fault.write | Fault.present), &report)
  run(
    .init(
      pageFault: "write to the own code", write, writeNext, at: address_of_snippet_read(),
      error: Fault.user | Fault.write | Fault.present), &report)
  run(.init(fetch: "jump where nothing is", at: absent, error: Fault.user | Fault.fetch), &report)
  run(
    .init(fetch: "jump to data", at: data + 16, error: Fault.user | Fault.fetch | Fault.present), &report)
  let kernelText: UInt64 = 0xffff_ffff_8010_0000
  run(
    .init(pageFault: "read of the kernel's text", read, readNext, at: kernelText, error: Fault.user | Fault.present),
    &report)
  run(
    .init(
      pageFault: "write to the kernel's text", write, writeNext, at: kernelText,
      error: Fault.user | Fault.present | Fault.write), &report)
  run(.init(fetch: "jump into the kernel", at: kernelText, error: Fault.user | Fault.fetch | Fault.present), &report)
  let direct: UInt64 = 0xffff_8800_0010_0000
  run(
    .init(pageFault: "read of physical memory", read, readNext, at: direct, error: Fault.user | Fault.present),
    &report)
  run(
    .init(
      pageFault: "write to the information page", write, writeNext, at: UInt64(APUS_INFORMATION_BASE),
      error: Fault.user | Fault.present | Fault.write), &report)
  run(
    .init(
      pageFault: "write to the own page tables", write, writeNext, at: OwnTables.entryAddress(data, level: 1),
      error: Fault.user | Fault.present | Fault.write), &report)
  run(
    .init(
      fetch: "jump into the information page", at: UInt64(APUS_INFORMATION_BASE),
      error: Fault.user | Fault.present | Fault.fetch), &report)
  retry(absent & ~4095, &report)
  var clean = Check("exceptions", "pages given back")
  clean.expect(Memory.unmapAndGiveBack(readOnly) && Memory.unmapAndGiveBack(data), "they were refused")
  report.finish(clean)
}

/// A handler that maps the page lets the same instruction go on.
private func retry(_ address: UInt64, _ report: inout Report) {
  var check = Check("exceptions", "a handler maps the page and the access goes on")
  guard let frame = Memory.takeFrame() else { return report.notTried(check) }
  Pattern.fill(file)
  file[REGISTER_RBX] = address + 24
  file[REGISTER_RAX] = 0x5a
  file.rip = address_of_snippet_write()
  Plan.set(PLAN_MAP, address, Entry.page(frame))
  hostile_probe(file.address)
  Pattern.compare(after, with: file, &check, "a register after the way back")
  check.expect(UInt64(load8(address + 24)), equals: 0x5a, "what was written")
  let entry = OwnTables.entry(address)
  check.expect(entry & 0x60, equals: 0x60, "accessed and dirty bits")
  check.expect(Memory.unmapAndGiveBack(address), "the page was not given back")
  report.finish(check)
}

private func floatingPoint(_ report: inout Report) {
  run(
    .init(
      "x87 exception", address_of_snippet_floating_point(), faultingAt: address_of_snippet_floating_point_wait(),
      address_of_snippet_floating_point_next(), 16), &report)
  // QEMU 7.2 raises no exception for vector instructions, masked or not.
  if !isEmulated {
    run(
      .init(
        "vector exception", address_of_snippet_vector(), faultingAt: address_of_snippet_vector_division(),
        address_of_snippet_vector_next(), 19), &report)
  }
}

/// CR0.AM is clear, so a program that sets the alignment-check flag gets no exception.
private func alignment(_ report: inout Report) {
  var check = Check("exceptions", "no alignment check")
  let alignmentFlag: UInt64 = 1 << 18
  Pattern.fill(file)
  file.rip = address_of_snippet_misaligned()
  file.flags |= alignmentFlag
  check.expect(countUndisturbed { hostile_probe(file.address) }.upcalls, equals: 0, "upcalls")
  check.expect(after.flags, equals: file.flags, "flags")
  Pattern.compare(after, with: file, &check, "a register", leavingOut: 1)
  report.finish(check)
}

private func nested(_ report: inout Report) {
  var check = Check("exceptions", "a fault in the handler goes to the nested entry")
  Pattern.fill(file)
  file.rip = address_of_snippet_breakpoint()
  let nestedBefore = uarea_word(UInt32(UA_NESTED_EXCEPTIONS))
  Plan.set(PLAN_FAULT_AGAIN, address_of_snippet_breakpoint_next())
  hostile_probe(file.address)
  check.expect(uarea_word(UInt32(UA_NESTED_EXCEPTIONS)), equals: nestedBefore + 1, "nested upcalls")
  check.expect(nestedRecord.vector, equals: 6, "vector of the nested fault")
  check.expect(nestedRecord[RECORD_ENTRY_RSP], equals: address_of_hostile_nested_stack(), "stack of the nested handler")
  check.expect(nestedRecord[RECORD_ENTRY_FLAGS], equals: 0x202, "flags that the nested handler starts with")
  check.expect(
    nestedRecord[RECORD_ENTRY_RAX] | nestedRecord[RECORD_ENTRY_RCX], equals: 0,
    "rax and rcx that the nested handler starts with")
  check.expect(
    address_of_hostile_exception_stack() &- nestedRecord[REGISTER_RSP] < 16384, "stack of the first handler",
    nestedRecord[REGISTER_RSP])
  check.expect(mainRecord.vector, equals: 3, "vector of the first fault")
  Pattern.compare(after, with: file, &check, "a register after both ways back")
  check.expect(after.flags, equals: file.flags, "flags after both ways back")
  check.expect(
    uarea_word(UInt32(APUS_UA_EXCEPTION)) | uarea_word(UInt32(APUS_UA_NESTED)), equals: 0, "save areas in use")
  report.finish(check)
}

/// A number without bit 31 is reflected: every register but rcx and r11 is the caller's.
private func foreign(_ report: inout Report) {
  let numbers: [5 of UInt64] = [0, 1, 39, 0x7fff_ffff, 0xffff_ffff_0000_0000]
  for index in numbers.indices {
    let number = numbers[index]
    var check = Check("exceptions", "foreign system call", number)
    Pattern.fill(file)
    file.rip = address_of_snippet_foreign()
    file[REGISTER_RAX] = number
    check.expect(countUndisturbed { hostile_probe(file.address) }.calls, equals: 0, "kernel calls counted")
    check.expect(load64(address_of_foreign_number()), equals: number, "the number")
    check.expect(after[REGISTER_RAX], equals: UInt64(FOREIGN_ANSWER), "the answer")
    check.expect(after[REGISTER_R11], equals: file.flags, "the flags that the LibOS is shown")
    check.expect(after[REGISTER_RCX], equals: address_of_snippet_foreign_next(), "the return address")
    Pattern.compare(after, with: file, &check, "a register", leavingOut: 1 | 2 | 1 << 11)
    report.finish(check)
  }
}
