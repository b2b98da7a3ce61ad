// SPDX-License-Identifier: Apache-2.0
// Handlers.swift: what happens between an exception's entry and the way back. The checks leave a plan in the u-area.

import ApusABI

/// A register file in memory.
struct Registers {
  let address: UInt64

  subscript(offset: Int32) -> UInt64 {
    get { load64(address + UInt64(offset)) }
    nonmutating set { store64(address + UInt64(offset), newValue) }
  }
  var rip: UInt64 {
    get { self[REGISTER_RIP] }
    nonmutating set { self[REGISTER_RIP] = newValue }
  }
  var flags: UInt64 {
    get { self[REGISTER_FLAGS] }
    nonmutating set { self[REGISTER_FLAGS] = newValue }
  }
  var cause: UInt64 { self[RECORD_CAUSE] }
  var vector: UInt64 { cause & 0xff }
  var errorCode: UInt64 { cause >> 32 }
  var faultAddress: UInt64 { self[RECORD_ADDRESS] }
}

/// What the handler of the next exception is to do.
enum Plan {
  static func set(_ plan: Int32, _ argument: UInt64 = 0, _ argument2: UInt64 = 0) {
    set_uarea_word(UInt32(UA_PLAN_ARGUMENT), argument)
    set_uarea_word(UInt32(UA_PLAN_ARGUMENT2), argument2)
    set_uarea_word(UInt32(UA_PLAN), UInt64(plan))
  }
  fileprivate static var current: Int32 { Int32(truncatingIfNeeded: uarea_word(UInt32(UA_PLAN))) }
  fileprivate static var argument: UInt64 { uarea_word(UInt32(UA_PLAN_ARGUMENT)) }
  fileprivate static var argument2: UInt64 { uarea_word(UInt32(UA_PLAN_ARGUMENT2)) }
}

private func count(_ word: Int32) { set_uarea_word(UInt32(word), uarea_word(UInt32(word)) + 1) }

@c @used func hostile_exception(_ uarea: UInt64, _ record: UInt64) {
  let registers = Registers(address: record)
  if registers.vector == UInt64(APUS_CAUSE_CONTRACT) {
    contractFault(registers)
    return
  }
  set_uarea_word(UInt32(UA_FOUND_RIP), registers.rip)
  set_uarea_word(UInt32(UA_FOUND_FLAGS), registers.flags)
  switch Plan.current {
  case PLAN_GO_TO:
    registers.rip = Plan.argument
    Plan.set(PLAN_NONE)
  case PLAN_GO_ON:
    Plan.set(PLAN_NONE)
  case PLAN_GO_ON_ALWAYS: return
  case PLAN_STEP:
    count(UA_STEPS)
    if registers.rip == Plan.argument {
      registers.flags &= ~UInt64(FLAG_TRAP)
      Plan.set(PLAN_NONE)
    }
  case PLAN_STEP_RETURN where registers.vector == 1:
    count(UA_RESUME_STEPS)
  case PLAN_STEP_RETURN:
    set_uarea_word(UInt32(UA_STEPS_RESUME), 1)
  case PLAN_MAP:
    let (address, entry) = (Plan.argument, Plan.argument2)
    Plan.set(PLAN_NONE)
    if Memory.write(entry, at: address).value == nil { unexpected(registers) }
  case PLAN_FAULT_AGAIN:
    let next = Plan.argument
    hostile_fault_here()
    registers.rip = next
    Plan.set(PLAN_NONE)
  default: unexpected(registers)
  }
}

@c @used func hostile_nested(_ uarea: UInt64, _ record: UInt64) {
  let registers = Registers(address: record)
  if registers.vector == UInt64(APUS_CAUSE_CONTRACT) {
    contractFault(registers)
    return
  }
  switch Plan.current {
  case PLAN_FAULT_AGAIN: registers.rip = address_of_hostile_fault_here_next()
  case PLAN_STEP_RETURN where registers.vector == 1: count(UA_RESUME_STEPS)
  default: unexpected(registers)
  }
}

/// A call that broke its contract: its caller sees a value that no call returns.
private func contractFault(_ registers: Registers) {
  set_uarea_word(UInt32(UA_CONTRACT_ARGUMENT), registers.faultAddress)
  registers[REGISTER_RAX] = UInt64(CONTRACT_FAULTED)
}

/// An exception that no check asked for ends the run, or the child that raised it.
private func unexpected(_ registers: Registers) {
  if uarea_word(UInt32(APUS_UA_SELF)) != UInt64(APUS_LIBOS_BASE) {
    Kernel.call(.environmentKill)
    return
  }
  var line = Line(inHandler: true)
  line.put("not ok an exception that nobody expected: vector ")
  line.put(registers.vector)
  line.put(", error ")
  line.put(hexadecimal: registers.errorCode)
  line.put(", address ")
  line.put(hexadecimal: registers.faultAddress)
  line.put(", at ")
  line.put(hexadecimal: registers.rip)
  line.put(", stack ")
  line.put(hexadecimal: registers[REGISTER_RSP])
  line.send()
  Kernel.exit(99)
}
