// SPDX-License-Identifier: Apache-2.0
// ContractTime.swift: the CPU's time by contract, before its timeline: the calls, and whose time it is.
//
// A contract whose time has come interrupts what runs. Who is interrupted gets its slice-end upcall and keeps the rest
// of its slice, or of its own contract's budget: it goes on when no contract's time is nearer.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// Stands for no contract.
let noContract = UInt32(APUS_CONTRACT_FREE)

/// What is left of a slice of the timeline that a contract interrupted.
struct SliceRest {
  /// Ticks; 0: nothing.
  var ticks: UInt64 = 0
  /// The slot of who has them.
  var user: UInt32 = 0
}

// MARK: Calls

/// The call `contract`.
func contract(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let slot = try kernel.environments.slot(of: a.a1, by: capability, needing: .write)
  let processor = try processor(a.a4)
  let name = try kernel.processors[processor].contracts.make(
    period: a.a2, slice: a.a3, for: slot, in: kernel.environments, now: apus_rdtsc())
  if processor == here.index { noticeContracts() } else { kick(processor) }
  return name
}

/// The call `contractEnd`.
func contractEnd(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let processor = try processor(UInt64(Contracts<Table<apus_contract>>.processor(of: a.a1)))
  try kernel.processors[processor].contracts.end(a.a1, by: capability, in: kernel.environments)
  return 0
}

/// Ends what an environment has of contracts and of an interrupted slice, on every CPU.
func forgetTime(of slot: UInt32) {
  for processor in 0..<kernel.processors.count {
    kernel.processors[processor].contracts.endAll(of: slot, accounts: kernel.environments.accounts)
    if kernel.processors[processor].rest.user == slot { kernel.processors[processor].rest.ticks = 0 }
  }
}

// MARK: Whose time it is

/// Chooses among the contracts, waking those whose sleep is over.
private func dueContract(_ now: UInt64) -> UInt32? {
  guard here.contracts.highWater > 0 else {
    here.nextEvent = UInt64.max
    return nil
  }
  let due = here.contracts.choose(now: now) {
    settle($0, now: now)
    return kernel.environments.canRun($0, on: here.index)
  }
  here.nextEvent = here.contracts.nextEvent(wakeTime: wakeTime)
  return due
}

private func wakeTime(_ slot: UInt32) -> UInt64 {
  if kernel.environments.isCalling(slot) { return chainDeadline(slot) }
  guard kernel.environments.environments[slot].state == UInt32(APUS_ENVIRONMENT_SLEEPING) else { return UInt64.max }
  return kernel.environments.environments[slot].wait_deadline
}

/// A contract of this CPU was made: the timer may be set too late for it.
func noticeContracts() {
  here.nextEvent = 0
  setTimer(apus_rdtsc())
}

/// Runs under the contract whose time it is, if there is one.
func runContract() {
  let now = apus_rdtsc()
  here.isInterrupted = false
  guard let index = dueContract(now) else {
    here.contract = noContract
    return
  }
  here.contract = index
  beginTime(here.contracts.records[index].budget)
  enter(here.contracts.records[index].user)
}

/// Runs what a contract interrupted on the timeline, if that can go on.
func runRest() {
  let ticks = here.rest.ticks
  guard ticks > 0 else { return }
  here.rest.ticks = 0
  guard takeTurn(here.rest.user) == .runs else { return }
  beginTime(ticks)
  enter(here.rest.user)
}

/// The contract whose time has come while somebody else runs.
func waitingContract(_ now: UInt64) -> UInt32? {
  guard let index = dueContract(now), runner(of: index) != here.current else { return nil }
  return index
}

/// Who would run under a contract.
private func runner(of index: UInt32) -> UInt32 {
  kernel.environments.endOfChain(here.contracts.records[index].user)
}

/// Looks, in the middle of somebody's time, whether a contract's time has come.
///
/// - Returns: Whether the running environment has to make way; what is left is kept for it then.
func makesWay(_ now: UInt64) -> Bool {
  bookTime(now)
  guard let index = dueContract(now), index != here.contract else { return false }
  keepRest(now)
  guard runner(of: index) != here.current else {
    // Its own: it goes on under the contract and is told nothing.
    here.isInterrupted = false
    here.contract = index
    here.charged = kernel.environments.environments[here.contracts.records[index].user].handle
    here.sliceEnd = now &+ here.contracts.records[index].budget
    setSliceEnd(for: here.current, now: now)
    return false
  }
  here.sliceEnd = now
  return true
}

/// Keeps what is left of the time that is running, be it a slice of the timeline or a contract's budget.
func keepRest(_ now: UInt64) {
  let end = here.wholeSliceEnd != 0 ? here.wholeSliceEnd : here.sliceEnd
  here.isInterrupted = true
  if here.contract != noContract {
    here.contracts.give(here.contract, to: heir)
  } else if end > now, end &- now >= here.contracts.limits.switchCost {
    here.rest = SliceRest(ticks: end &- now, user: heir)
  }
}

/// Who goes on when the time that is running is interrupted: whom it was begun for, as long as the running environment
/// runs in that one's place, or in a critical section of its account.
private var heir: UInt32 {
  guard let slot = chargedSlot else { return here.current }
  return kernel.environments.endOfChain(slot) == here.current || holdsLock(of: slot) ? slot : here.current
}

/// The running environment gives the rest of its time to another one, or to nobody.
///
/// - Returns: Whether the time is still there to be used at once.
func passTime(to target: UInt32?) -> Bool {
  if here.isInterrupted {
    if here.grace == 0, here.contract == noContract { keepRest(apus_rdtsc()) }  // it had another's slice
    guard let target else { return false }  // it is kept for the one that was interrupted
    if here.contract != noContract { here.contracts.give(here.contract, to: target) } else { here.rest.user = target }
    return false
  }
  if target == nil, here.contract != noContract { here.contracts.giveUp(here.contract) }
  return here.grace == 0
}
