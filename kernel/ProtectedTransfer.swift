// SPDX-License-Identifier: Apache-2.0
// ProtectedTransfer.swift: protected control transfer where machine/Boot/Transfer.S does not decide by itself.
//
// That is: refusals, a target that sleeps, a deadline within the slice, transfers without a way back, and returns to
// nobody. And what happens to a chain later: its turns, its deadlines, the death of one of it.

import ApusABI
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// A call of this group.
///
/// - Returns: Why it is refused; one that is not does not return.
@c @used func apus_transfer(_ target: UInt64, _ deadline: UInt64, _ number: UInt64, _ message: UInt64) -> UInt64 {
  leaveIfDead()
  ThisProcessor.environment.value.calls &+= 1
  let message = Record<apus_message>(kernelAddress: message)
  do throws(SystemCallError) {
    if number == UInt64(SystemCall.transferReturn.rawValue) { try goBack(message) }
    try transfer(to: target, waits: number == UInt64(SystemCall.transfer.rawValue), until: deadline, message)
  } catch {
    return 0 &- UInt64(error.rawValue)
  }
}

/// Lets a target go on with the message; the caller waits for it until the deadline, or does not wait.
private func transfer(
  to handle: UInt64, waits: Bool, until deadline: UInt64, _ message: Record<apus_message>
) throws(SystemCallError) -> Never {
  let caller = here.current
  let target = try kernel.environments.checkTransfer(to: handle, from: caller, waits: waits)
  let area = Record<apus_uarea>(kernelAddress: kernel.environments.environments[target].uarea_kernel)
  guard area.value.accepting & 1 != 0 else { throw .inUse }
  let now = apus_rdtsc()
  guard here.grace == 0, !waits || deadline > now else { throw .expired }
  area.value.accepting &= ~1
  wake(target)
  if waits {
    kernel.environments.beginTransfer(to: target, from: caller, deadline: deadline)
    message.value.rax = UInt64(APUS_TRANSFER_CALL)
    message.value.rsi = deadline
  } else {
    kernel.environments.moveProcessor(from: caller, to: target)
    message.value.rax = UInt64(APUS_TRANSFER_ASYNCHRONOUS)
    message.value.rsi = 0
  }
  noteEvent(waits ? APUS_EVENT_CALL : APUS_EVENT_SEND, caller, other: target, at: now)
  setSliceEnd(for: target, now: now)
  enter(target, from: caller, message, area.value.protected_entry, area.value.protected_stack)
}

/// Where nobody waits any longer the return goes nowhere, and the slice on to whoever is next.
private func goBack(_ message: Record<apus_message>) throws(SystemCallError) -> Never {
  let callee = here.current
  let waits = kernel.environments.environments[callee].returns_to != 0
  guard !waits || here.grace == 0 else { throw .expired }
  ThisProcessor.userArea.value.accepting = 1
  guard let caller = kernel.environments.returnTransfer(from: callee) else {
    accountTime()
    _ = passTime(to: nil)
    runNext()
  }
  setSliceEnd(for: caller, now: apus_rdtsc())
  noteEvent(APUS_EVENT_RETURN, callee, other: caller)
  message.value.rax = UInt64(APUS_TRANSFER_REPLY)
  message.value.rsi = 0
  let area = Record<apus_uarea>(kernelAddress: kernel.environments.environments[caller].uarea_kernel)
  enter(caller, from: callee, message, area.value.reply_entry, area.value.reply_stack)
}

/// Lets an environment go on with a message.
///
/// The time stays charged to whom it was before.
private func enter(
  _ slot: UInt32, from sender: UInt32, _ message: Record<apus_message>, _ entry: UInt64, _ stack: UInt64
) -> Never {
  message.value.rdi = kernel.environments.environments[sender].handle
  let root = here.loadedRoot
  load(slot)
  // As Transfer.S: another address space sees none of the vector registers, one family or two.
  if root != here.loadedRoot { ThisProcessor.resetVectors(from: kernel.initialVectors) }
  apus_enter_with_message(
    message.kernelAddress, userEntry(entry), stack, kernel.environments.environments[slot].uarea_address)
}

// MARK: Time

/// Ends the slice early if the deadline of a caller above the running environment comes first, or no longer.
func setSliceEnd(for slot: UInt32, now: UInt64) {
  let whole = here.wholeSliceEnd != 0 ? here.wholeSliceEnd : here.sliceEnd
  let earliest = kernel.environments.earliestDeadline(above: slot)
  let isShortened = earliest < whole
  guard isShortened || here.wholeSliceEnd != 0 else { return }
  here.sliceEnd = isShortened ? earliest : whole
  here.wholeSliceEnd = isShortened ? whole : 0
  setTimer(now)
}

/// At the turn of an environment that waits for a return: the first deadline in its chain that has passed ends that
/// wait; otherwise the chain's last environment wakes if what it sleeps for has happened.
func settleTransfers(of slot: UInt32, now: UInt64) {
  if let caller = kernel.environments.expiredCaller(from: slot, now: now) {
    tell(kernel.environments.failTransfer(of: caller, failure: APUS_TRANSFER_EXPIRED))
    return
  }
  let end = kernel.environments.endOfChain(slot)
  if isAwaited(end, now: now) { wake(end) }
}

/// Whether the turn of an environment that waits for a return would come to anything, other than for the running one.
func isChainReady(_ slot: UInt32, now: UInt64) -> Bool {
  if kernel.environments.expiredCaller(from: slot, now: now) != nil { return true }
  let end = kernel.environments.endOfChain(slot)
  guard end != here.current else { return false }
  return kernel.environments.environments[end].state == UInt32(APUS_ENVIRONMENT_RUNNABLE)
    || isAwaited(end, now: now)
}

/// When the turn of an environment that waits for a return comes to something again, if nobody changes a word.
func chainDeadline(_ slot: UInt32) -> UInt64 {
  let end = kernel.environments.endOfChain(slot)
  return min(
    kernel.environments.earliestDeadline(above: end), kernel.environments.environments[end].wait_deadline)
}

// MARK: Failures

/// Marks an environment dead, and tells those whom its protected calls concern.
func beginDeath(_ slot: UInt32, cause: UInt64, rip: UInt64, address: UInt64) {
  noteEvent(APUS_EVENT_DEATH, slot, detail: cause)
  tell(kernel.environments.beginDeath(slot, cause: cause, rip: rip, address: address))
}

/// Tells those whose calls were cut short.
///
/// A callee that serves nobody any longer sees a bit in its u-area. A caller whose call failed is told at its next
/// slice, and until then does not accept: another call would come between.
private func tell(_ cut: CutTransfers) {
  if let callee = cut.callee { setPending(callee, UInt64(APUS_PENDING_CALLER_GONE)) }
  if let caller = cut.caller {
    Record<apus_uarea>(kernelAddress: kernel.environments.environments[caller].uarea_kernel).value.accepting = 0
  }
}
