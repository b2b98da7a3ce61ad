// SPDX-License-Identifier: Apache-2.0
// Upcalls.swift: what goes up from the kernel into an environment: slice begin, slice end, faults.
//
// The usual exception never comes here: Entry.S writes the save area and leaves. This file has the rest: a fault that
// meets a save area in use, faults that system calls raise, and the upcalls of the timeline.

import ApusABI
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// Entry points come from memory that ring 3 writes: cut to the lower half they are always canonical.
@inline(__always) func userEntry(_ claimed: UInt64) -> UInt64 { claimed & 0x7fff_ffff_ffff }

/// Fills a save area from an interrupted frame.
private func save(
  _ area: inout apus_save_area, _ frame: Record<apus_trap_frame>, cause: UInt64,
  address: UInt64
) {
  area.in_use = 1
  area.rip = frame.value.rip
  area.flags = frame.value.flags
  area.rsp = frame.value.rsp
  area.rax = frame.value.rax
  area.rcx = frame.value.rcx
  area.cause = cause
  area.address = address
  frame.value.rax = 0
  frame.value.rcx = 0
}

/// Makes an interrupted frame continue at an entry of the LibOS.
private func redirect(_ frame: Record<apus_trap_frame>, entry: UInt64, stack: UInt64) {
  frame.value.rip = userEntry(entry)
  frame.value.rsp = stack
  frame.value.flags = UInt64(APUS_UPCALL_FLAGS)
}

/// An exception whose save area is in use: the nested entry, once; then the environment has failed.
///
/// - Parameters:
///   - frameAddress: Kernel address of the interrupted frame.
///   - framePointer: The interrupted code's.
@c @used func apus_exception_slow(_ frameAddress: UInt64, _ framePointer: UInt64) {
  leaveIfDead()
  let frame = Record<apus_trap_frame>(kernelAddress: frameAddress)
  let area = ThisProcessor.userArea
  let vector = frame.value.vector
  let cause = vector & 0xff | frame.value.error << 32
  let address = vector == 14 ? apus_read_cr2() : 0
  if area.value.nested.in_use != 0 {
    endCurrent(
      cause: cause, rip: frame.value.rip, address: address,
      stack: UserStack(pointer: frame.value.rsp, frame: framePointer))
  }
  save(&area.value.nested, frame, cause: cause, address: address)
  redirect(frame, entry: area.value.nested_entry, stack: area.value.nested_stack)
  ThisProcessor.environment.value.exception_upcalls &+= 1
}

/// A system call broke its contract: the fault goes to the caller's own handler.
///
/// That is as if the call's instruction had faulted. Every register that a call keeps is kept.
func raiseContractFault(_ argument: UInt64) {
  let call = Record<apus_call_frame>(kernelAddress: ThisProcessor.record.value.system_call)
  let area = ThisProcessor.userArea
  let cause = UInt64(APUS_CAUSE_CONTRACT)
  let useNested = area.value.exception.in_use != 0
  if useNested, area.value.nested.in_use != 0 {
    endCurrent(
      cause: cause, rip: call.value.rip, address: argument, stack: UserStack(pointer: call.value.rsp, frame: 0))
  }
  var saved = apus_save_area()
  saved.in_use = 1
  saved.rip = call.value.rip
  saved.flags = call.value.flags
  saved.rsp = call.value.rsp
  saved.cause = cause
  saved.address = argument
  ThisProcessor.environment.value.exception_upcalls &+= 1
  if useNested {
    area.value.nested = saved
    call.value.rip = userEntry(area.value.nested_entry)
    call.value.rsp = area.value.nested_stack
  } else {
    area.value.exception = saved
    call.value.rip = userEntry(area.value.exception_entry)
    call.value.rsp = area.value.exception_stack
  }
  call.value.flags = UInt64(APUS_UPCALL_FLAGS)
}

/// A timer or device interrupt.
@c @used func apus_interrupt(_ frameAddress: UInt64) {
  let frame = Record<apus_trap_frame>(kernelAddress: frameAddress)
  let fromUser = frame.value.cs & 3 != 0
  switch frame.value.vector {
  case UInt64(APUS_VECTOR_CONSOLE):
    // The device is answered before the controller: its line is sensed by its edge.
    let events = kernel.console.interrupt()
    if events.inputArrived { kernel.information.value.console_input_count &+= 1 }
    if events.outputFreed { kernel.information.value.console_output_count &+= 1 }
    kickIdle()
    kernel.interrupts.acknowledge()
    if kernel.console.isBroken { panic("the console device broke the rules of its queues") }
  case UInt64(APUS_VECTOR_NETWORK):
    kernel.network?.value.interrupt()
    kernel.interrupts.acknowledge()
  case UInt64(APUS_VECTOR_TIMER):
    kernel.interrupts.acknowledge()
    if fromUser {
      leaveIfDead()
      timerInterrupt(frame)
    }
  case UInt64(APUS_VECTOR_KICK):
    kernel.interrupts.acknowledge()
    if fromUser {
      leaveIfDead()
      if here.contracts.isInUse, here.grace == 0 { noticeContracts() }
    }
  default: break
  }
}

/// The timer ran out in ring 3: the slice has ended, or the grace after its end, or a contract's time has come.
private func timerInterrupt(_ frame: Record<apus_trap_frame>) {
  let now = apus_rdtsc()
  if here.grace != 0 {
    endGraceStep(frame, now)
  } else if now >= here.sliceEnd || now >= here.nextEvent && makesWay(now) {
    kernel.network?.value.work()
    endSlice(frame, now)
  } else {
    setTimer(now)  // early: the timer's reach is shorter than the slice
  }
}

/// Tells the running environment that its time is over.
///
/// One that is in a critical section is told later, or stopped as it is when a contract waits; if nobody waits for the
/// CPU, it need not be told.
private func endSlice(_ frame: Record<apus_trap_frame>, _ now: UInt64) {
  if here.contract != noContract { bookTime(now) }  // the choice of who is next looks at what is left of it
  if here.wholeSliceEnd != 0 { keepRest(now) }  // a transfer's deadline: the caller goes on with the rest
  let area = ThisProcessor.userArea
  // A context that is still being saved must not be overwritten by another.
  if area.value.critical != 0 || area.value.slice.in_use != 0 {
    if forceWay(frame, now) { return }
    area.value.pending |= UInt64(APUS_PENDING_SLICE_END)
    if anotherIsReady() { beginGrace(now) } else { renewSlice(now) }
    return
  }
  beginGrace(now)
  save(&area.value.slice, frame, cause: 0, address: 0)
  redirect(frame, entry: area.value.slice_end_entry, stack: area.value.slice_stack)
  ThisProcessor.environment.value.slice_upcalls &+= 1
}

/// Nobody waits for the CPU, so the time costs nothing.
private func renewSlice(_ now: UInt64) {
  here.contract = noContract
  if here.isInterrupted { here.rest.ticks = 0 }
  here.isInterrupted = false
  var length = kernel.information.value.slice_ticks
  if isRepossessing(now) {
    repossessionStep()
    length /= 16  // what is left goes on soon
  }
  beginTime(length)
}

// MARK: Grace

/// In how many steps the bound for a slice's end passes.
///
/// A step is over when the environment has been interrupted in it, so it has run: however long the machine itself had
/// to wait for its host, that costs one step.
private let graceSteps: UInt32 = 16

/// The length of a step.
var graceStepTicks: UInt64 { kernel.information.value.critical_bound_ticks / UInt64(graceSteps) + 1 }

/// From now on the application is past its slice's end; at the bound the abort protocol applies.
private func beginGrace(_ now: UInt64) {
  here.graceSteps = graceSteps
  here.grace = now &+ graceStepTicks
  here.savingEnd = now &+ savingTicks
  if waitingContract(now) != nil { here.nextEvent = 0 }
  setTimer(now)
}

private func endGraceStep(_ frame: Record<apus_trap_frame>, _ now: UInt64) {
  bookTime(now)
  if now >= here.savingEnd, forceWay(frame, now) { return }
  if now >= here.grace {
    here.graceSteps -= 1
    here.grace = now &+ graceStepTicks
    if here.graceSteps == 0 {
      if anotherIsReady() {
        let kept = Record<apus_kept_registers>(
          kernelAddress: frame.kernelAddress &- UInt64(MemoryLayout<apus_kept_registers>.size))
        endCurrent(
          cause: UInt64(APUS_CAUSE_OVERRUN), rip: frame.value.rip, address: 0,
          stack: UserStack(pointer: frame.value.rsp, frame: kept.value.rbp))
      }
      renewSlice(now)
      return
    }
  }
  setTimer(now)
}

/// Lets a caller go on, at its reply entry, whose call came to no reply.
func enterWithFailure(_ slot: UInt32) -> Never {
  let failure = kernel.environments.environments[slot].transfer_failure
  kernel.environments.environments[slot].transfer_failure = 0
  let area = ThisProcessor.userArea
  apus_enter_without_message(
    UInt64(failure), 0, userEntry(area.value.reply_entry), area.value.reply_stack,
    kernel.environments.environments[slot].uarea_address)
}
