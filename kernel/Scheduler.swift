// SPDX-License-Identifier: Apache-2.0
// Scheduler.swift: the CPU goes round its timeline. Nothing here chooses: position on the timeline is the policy.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// What an environment's turn comes to, waking it if what it waits for has happened.
func takeTurn(_ slot: UInt32) -> Turn {
  // Nothing has to happen for one that can run; of the others, most sleep, where there are hundreds.
  if kernel.environments.environments[slot].state != UInt32(APUS_ENVIRONMENT_RUNNABLE) {
    let now = apus_rdtsc()
    if isAsleep(slot, now: now) { return .waits }
    settle(slot, now: now)
  }
  if kernel.revocations.hasDebt, paysForRepossession(slot) { return .forfeits }
  let turn = kernel.environments.takeTurn(slot, sliceTicks: max(1, kernel.information.value.slice_ticks))
  if turn == .forfeits { setPending(slot, UInt64(APUS_PENDING_PENALTY)) }
  return turn
}

/// Whether an environment sleeps and has no reason to wake.
@inline(__always) private func isAsleep(_ slot: UInt32, now: UInt64) -> Bool {
  kernel.environments.environments[slot].state == UInt32(APUS_ENVIRONMENT_SLEEPING) && !isAwaited(slot, now: now)
}

/// Wakes an environment, or the one that runs in its place, if what it waits for has happened.
func settle(_ slot: UInt32, now: UInt64) {
  if kernel.environments.isCalling(slot) {
    settleTransfers(of: slot, now: now)
  } else if isAwaited(slot, now: now) {
    wake(slot)
  }
}

/// The u-area in a frame, which is pinned while the environment lives.
func userArea(_ frame: UInt32) -> Record<apus_uarea> { Record(physical: UInt64(frame) << 12) }

/// Sets a pending bit in an environment's u-area.
func setPending(_ slot: UInt32, _ bit: UInt64) {
  let frame = kernel.environments.environments[slot].uarea_frame
  userArea(frame).setPending(bit)
}

/// Whether a sleeping environment's word has changed or its time has come.
func isAwaited(_ slot: UInt32, now: UInt64) -> Bool {
  guard kernel.environments.environments[slot].state == UInt32(APUS_ENVIRONMENT_SLEEPING) else { return false }
  let word = kernel.environments.environments[slot].wait_word
  if word != 0, PhysicalMemory.word(word) != kernel.environments.environments[slot].wait_value { return true }
  if kernel.environments.environments[slot].waits != 0, isAnyFurtherAwaited(slot) { return true }
  let deadline = kernel.environments.environments[slot].wait_deadline
  return deadline != UInt64.max && now >= deadline
}

/// Ends a sleep, and the pin on the word's frame.
func wake(_ slot: UInt32) {
  endWaits(of: slot)
  if kernel.environments.environments[slot].state == UInt32(APUS_ENVIRONMENT_SLEEPING) {
    noteEvent(APUS_EVENT_WAKE, slot, other: here.current)
  }
  kernel.environments.wake(slot)
}

/// Whether somebody other than the running environment could run now.
func anotherIsReady() -> Bool {
  let now = apus_rdtsc()
  if waitingContract(now) != nil { return true }
  var index: UInt32 = 0
  while index < here.timeline.highWater {
    if let slot = here.timeline.owner(of: index), slot != here.current {
      let state = kernel.environments.environments[slot].state
      if state == UInt32(APUS_ENVIRONMENT_RUNNABLE) || isAwaited(slot, now: now) { return true }
      if kernel.environments.isCalling(slot), isChainReady(slot, now: now) { return true }
    }
    index += 1
  }
  return false
}

/// Books the time that was used, at the end of an environment's use of it.
func accountTime() {
  let charged = bookTime(apus_rdtsc())
  ThisProcessor.environment.value.running_on = 0
  if let charged { kernel.environments.environments[charged].running_since = 0 }
}

/// The environment that the time was begun for, if it lives: whoever transfers control answers for the rest.
var chargedSlot: UInt32? {
  let slot = UInt32(truncatingIfNeeded: here.charged) &- 1
  return kernel.environments.environments[slot].handle == here.charged ? slot : nil
}

/// Charges the time since that was last done, and what of it was taken past the slice's end.
///
/// Past the end a stretch counts for two steps of the grace at most: while the machine itself waits for its host, time
/// passes that no environment uses.
///
/// - Returns: Who is charged, if it lives.
@discardableResult func bookTime(_ now: UInt64) -> UInt32? {
  let ticks = now &- here.ranSince
  here.ranSince = now
  if here.contract != noContract { here.contracts.charge(here.contract, ticks: ticks) }
  guard let slot = chargedSlot else { return nil }
  kernel.environments.environments[slot].running_since = now
  kernel.environments.environments[slot].ticks_used &+= ticks
  noteEvent(APUS_EVENT_RUN, slot, other: here.current, detail: ticks, at: now)
  if here.grace != 0, here.contract == noContract {
    let excess = min(ticks, now &- here.sliceEnd)
    kernel.environments.environments[slot].excess_ticks &+= min(excess, 2 * graceStepTicks)
  }
  return slot
}

/// The rest of the slice goes to one environment, if it can run here; otherwise on to the next slice.
///
/// One that has slices of another CPU would miss its turns there for as long as this CPU runs it.
func runDirected(to slot: UInt32) -> Never {
  let isHere =
    kernel.environments.environments[slot].processor == UInt8(truncatingIfNeeded: here.index)
    || kernel.environments.environments[slot].slices_owned == 0
  if passTime(to: isHere ? slot : nil) {
    if isHere, takeTurn(slot) == .runs { enter(slot) }
    _ = passTime(to: nil)
  }
  runNext()
}

/// Goes on to the next slice whose owner can run; halts the CPU until there is one.
func runNext() -> Never {
  while true {
    repossess()
    if reclaimStep() { takeBreath() }  // a bounded piece of work is done: a path ends here
    attendNetwork()
    runContract()
    runRest()
    switch here.timeline.next(after: here.slice, takeTurn: takeTurn) {
    case .slice(let index):
      here.slice = index
      here.timeline.countRun(of: index)
      guard let slot = here.timeline.owner(of: index) else { continue }
      kernel.environments.environments[slot].slices_used &+= 1
      noteEvent(APUS_EVENT_SLICE, slot, detail: UInt64(here.index << 16 | index))
      beginSlice()
      enter(slot)
    case .forfeited: continue
    case .nobody: idle()
    }
  }
}

private func beginSlice() { beginTime(kernel.information.value.slice_ticks) }

/// From now on somebody has so much time.
func beginTime(_ ticks: UInt64) {
  let now = apus_rdtsc()
  here.sliceEnd = now &+ ticks
  here.grace = 0
  setTimer(now)
}

/// Sets the timer for what comes first: the end of the running environment's time, or of its grace, or the time of a
/// contract.
func setTimer(_ now: UInt64) {
  var next = here.sliceEnd
  if here.grace != 0 {
    next = min(here.grace, max(here.nextEvent, here.savingEnd))
  } else if here.nextEvent < next {
    next = here.nextEvent
  }
  kernel.interrupts.interrupt(afterTicks: next > now ? next &- now : 1)
}

/// Nobody can run: halt until an interrupt, the timer set for the earliest deadline.
private func idle() {
  let start = apus_rdtsc()
  var earliest = here.nextEvent
  var index: UInt32 = 0
  var sleepers = here.contracts.isInUse
  while index < here.timeline.highWater {
    if let slot = here.timeline.owner(of: index) {
      sleepers = true
      let isCalling = kernel.environments.isCalling(slot)
      let deadline = isCalling ? chainDeadline(slot) : kernel.environments.environments[slot].wait_deadline
      earliest = min(earliest, deadline)
    }
    index += 1
  }
  if kernel.reclaim != nil || isRepossessing(start) || kernel.network?.value.isBusy == true {
    takeBreath()  // the search ends a path, too
    return
  }
  earliest = min(earliest, kernel.revocations.nextDeadline)
  if !sleepers && nobodyIsLeft() { endMachine() }
  if earliest <= start {
    takeBreath()
    return
  }
  var wait = earliest == UInt64.max ? 1 << 40 : earliest &- start
  // Another CPU may change a word that somebody here waits for, without the kernel's help: look now and then.
  let areOthers = kernel.processors.count > 1 || kernel.programs.value.sleeperCount > 0
  if sleepers && areOthers { wait = min(wait, kernel.information.value.slice_ticks) }
  here.isIdle = true
  kernel.interrupts.interrupt(afterTicks: wait)
  halt()
  here.isIdle = false
  kernel.information.value.idle_ticks &+= apus_rdtsc() &- start
}

/// Whether no CPU has anybody on its timeline, or runs anybody.
private func nobodyIsLeft() -> Bool {
  if kernel.hasDying { return false }
  var index: UInt32 = 0
  while index < kernel.processors.count {
    if kernel.processors[index].timeline.highWater != 0 { return false }
    if index != here.index, loadedRoot(of: index) != 0 { return false }
    index += 1
  }
  return true
}

/// Lets an environment use the slice from its slice-begin entry; while it waits for a return, the end of its chain.
func enter(_ owner: UInt32) -> Never {
  let end = kernel.environments.endOfChain(owner)
  let slot = kernel.parking.count > 0 ? holder(for: end) : end
  if slot != end {
    // It helps itself out of its critical section and then makes way: what is left is kept.
    setPending(slot, UInt64(APUS_PENDING_SLICE_END))
    here.isInterrupted = true
  }
  load(slot)
  kernel.environments.environments[slot].running_on = UInt16(here.index) + 1
  kernel.environments.environments[slot].slice_upcalls &+= 1
  let now = apus_rdtsc()
  here.ranSince = now
  here.charged = kernel.environments.environments[owner].handle
  kernel.environments.environments[owner].running_since = now
  if kernel.information.value.first_ring3_ticks == 0 {
    kernel.information.value.first_ring3_ticks = now
  }
  if slot != owner { setSliceEnd(for: slot, now: now) }
  if kernel.parking.count > 0 { resumeParked(slot) }
  if kernel.environments.environments[slot].transfer_failure != 0 { enterWithFailure(slot) }
  let area = ThisProcessor.userArea
  apus_enter(
    userEntry(sliceBeginEntry(area)), area.value.slice_stack,
    kernel.environments.environments[slot].uarea_address, 0)
}

/// Makes an environment the running one: its u-area, address space and account.
func load(_ slot: UInt32) {
  let record = kernel.environments.environments.record(slot)
  ThisProcessor.record.value.uarea = record.value.uarea_kernel
  ThisProcessor.record.value.environment = record.kernelAddress
  if record.value.root != here.loadedRoot {
    load(root: record.value.root)
  }
  if record.value.account != here.vectorsAccount {
    here.vectorsAccount = record.value.account
    ThisProcessor.resetVectors(from: kernel.initialVectors)
  }
}

/// The first environment of the machine.
func startFirst(root: UInt32, uarea: UInt32, entry: UInt64) throws(SystemCallError) -> Never {
  let slot = try kernel.environments.vacantSlot(for: firstAccount)
  try kernel.frames.pin(UInt64(uarea))
  kernel.tables.retainRoot(root)
  _ = kernel.environments.occupy(
    slot, account: firstAccount, under: BootName.family, root: root, uareaFrame: uarea,
    uareaAddress: UInt64(APUS_LIBOS_BASE))
  kernel.environments.environments[slot].uarea_kernel = userArea(uarea).kernelAddress
  kernel.environments.environments[slot].setCapability(BootName.family, at: 0)
  kernel.environments.environments[slot].setCapability(BootName.console, at: 1)
  kernel.environments.environments[slot].setCapability(BootName.machine, at: 2)
  kernel.environments.environments[slot].setCapability(BootName.root, at: 3)
  _ = try here.timeline.allocate(nil, for: slot, in: kernel.environments)
  let area = userArea(uarea)
  area.value.slice_begin_entry = entry
  area.value.critical = 1  // until it has entries, a slice end would have nowhere to go
  area.value.self_address = UInt64(APUS_LIBOS_BASE)
  publishFreeFrames()
  runNext()
}
