// SPDX-License-Identifier: Apache-2.0
// Revocation.swift: telling the environments what they are asked for, and taking by force what does not come.
//
// The taking runs at the scheduler's choices, in bounded steps and not for long at a time. Its time is charged to the
// account that made it necessary, which pays with slices.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// How many resources of a kind an account has.
func held(_ kind: RevocationKind, by account: UInt16) -> UInt32 {
  let accounts = kernel.frames.accounts.accounts
  guard UInt32(account) < accounts.count else { return 0 }
  return accounts[UInt32(account)][kind.budget].used
}

func vectorPage(_ frame: UInt32) -> Record<apus_repossession> { Record(physical: UInt64(frame) << 12) }

/// An account has no environment left.
func forgetRevocations(of account: UInt16) { unpin(kernel.revocations.forget(account)) }

// MARK: Telling

/// Tells the environments of an account, and wakes those that have an entry for it.
func tellOfRevocation(_ account: UInt16, _ kind: RevocationKind, held: UInt32) {
  guard let index = kernel.revocations.index(of: account) else { return }
  let count = kernel.revocations.outstanding(kind, from: account, held: held)
  let deadline = kernel.revocations.records[index][kind].deadline
  kernel.environments.forEachLive(of: account) { slot in
    let area = userArea(kernel.environments.environments[slot].uarea_frame)
    area.value.revocation_kind = kind.rawValue
    area.value.revocation_count = UInt64(count)
    area.value.revocation_deadline = deadline
    area.value.pending |= UInt64(APUS_PENDING_REVOCATION)
    let isAsleep = kernel.environments.environments[slot].state == UInt32(APUS_ENVIRONMENT_SLEEPING)
    if isAsleep, area.value.revocation_entry != 0 { wake(slot) }
  }
  kickIdle()
}

/// Where an environment's slice begins: at its revocation entry while the kernel has asked for something.
@inline(__always) func sliceBeginEntry(_ area: Record<apus_uarea>) -> UInt64 {
  if area.value.pending & UInt64(APUS_PENDING_REVOCATION) != 0, area.value.revocation_entry != 0 {
    return area.value.revocation_entry
  }
  return area.value.slice_begin_entry
}

// MARK: Taking

/// Whether there is something to take by force now.
@inline(__always) func isRepossessing(_ now: UInt64) -> Bool {
  kernel.repossession.isBusy || now >= kernel.revocations.nextDeadline
}

/// Takes by force what is overdue, for a part of a slice's time at most.
func repossess() {
  let start = apus_rdtsc()
  guard isRepossessing(start) else { return }
  let limit = kernel.information.value.slice_ticks / 4
  repeat {
    repossessionStep()
    takeBreath()  // a bounded piece of work is done: a path ends here
  } while isRepossessing(apus_rdtsc()) && apus_rdtsc() &- start < limit
}

/// One bounded step of taking by force, charged to who made it necessary.
func repossessionStep() {
  let start = apus_rdtsc()
  if !kernel.repossession.isChoosing, let due = kernel.revocations.due(at: start) {
    if kernel.repossessedAccount != due.account { kernel.repossessedProcessor = 0 }
    kernel.repossessedAccount = due.account
    begin(due)
  } else if kernel.repossession.isChoosing {
    chooseNext()
  } else if kernel.repossession.isBusy {
    giveBack()
  }
  kernel.revocations.charge(kernel.repossessedAccount, ticks: apus_rdtsc() &- start)
}

/// Tells an account that it has lost something.
private func note(_ index: UInt32, _ kind: RevocationKind, _ number: UInt64) {
  let frame = kernel.revocations.records[index].vector_frame
  let consumed = frame == 0 ? 0 : vectorPage(frame).value.consumed
  let place = kernel.revocations.noteTaken(index, kind, consumed: consumed)
  guard frame != 0 else { return }
  let vector = vectorPage(frame)
  guard let place else {
    vector.value.overflow &+= 1
    return
  }
  PhysicalMemory.setShared64(
    UInt64(frame) << 12 + 64 + UInt64(place) << 3, kind.rawValue << UInt64(APUS_REPOSSESSION_KIND_SHIFT) | number)
  vector.value.written = kernel.revocations.records[index].vector_written
}

/// Copies the list of what an account wants to lose first.
///
/// - Returns: How many entries it has.
private func copyList(_ index: UInt32) -> Int {
  let frame = kernel.revocations.records[index].vector_frame
  guard frame != 0 else { return 0 }
  let count = Int(truncatingIfNeeded: min(vectorPage(frame).value.first_count, UInt64(APUS_REPOSSESSION_FIRST)))
  let first = UInt64(frame) << 12 + 64 + UInt64(APUS_REPOSSESSION_ENTRIES) << 3
  for entry in 0..<count { kernel.words[entry] = PhysicalMemory.word(first + UInt64(entry) << 3) }
  return count
}

private func begin(_ due: DueRevocation) {
  let count = copyList(due.index)
  let held = held(due.kind, by: due.account)
  guard held > due.allowed else {
    kernel.repossessedProcessor = 0
    close(due, missed: 0)
    return
  }
  switch due.kind {
  case .frames:
    kernel.repossession.begin(due)
    _ = kernel.repossession.takeListed(kernel.words, count: count, held: held, from: kernel.frames) {
      note(due.index, .frames, UInt64($0))
    }
  case .slices: takeSlices(due, held: held, listed: count)
  }
}

/// Ends a request: as much budget as was asked for goes over to who asked.
private func close(_ due: DueRevocation, missed: UInt32) {
  let result = kernel.revocations.close(due, missed: missed)
  guard kernel.environments.liveCount(of: result.requester) > 0 else { return }
  kernel.frames.accounts.cede(due.kind.budget, result.granted, from: due.account, to: result.requester)
}

private func chooseNext() {
  guard let due = kernel.repossession.due else { return }
  // The account may have died since, and its record be another's.
  guard kernel.revocations.records[due.index].account == due.account else {
    kernel.repossession.giveUp()
    return
  }
  let held = held(.frames, by: due.account)
  let taken = kernel.repossession.takeNext(held: held, from: kernel.frames) {
    note(due.index, .frames, UInt64($0))
  }
  if !kernel.repossession.isChoosing {
    let left = held - taken
    close(due, missed: left > due.allowed ? left - due.allowed : 0)
  }
}

private func giveBack() {
  let step = kernel.repossession.giveBack(to: &kernel.frames, tables: kernel.tables)
  if step.needsInvalidation {
    apus_write_cr3(apus_read_cr3())
    if kernel.processors.count > 1 { flushOthers(running: nil) }
  }
  if step.leavesHeld {
    kernel.held.set(UInt16(APUS_ACCOUNT_REVOKED))
    kernel.isHolding = true
  }
  publishFreeFrames()
}

/// The slices of one CPU's timeline are one step.
private func takeSlices(_ due: DueRevocation, held: UInt32, listed: Int) {
  var left = held - due.allowed
  for index in 0..<listed where left > 0 {
    if let number = RevocationKind.slices.number(in: kernel.words[index]), takeSlice(number, due) { left -= 1 }
  }
  let processor = kernel.repossessedProcessor
  var number = UInt64(kernel.processors[processor].timeline.highWater)
  while left > 0, number > 0 {
    number -= 1
    if takeSlice(UInt64(processor) << 16 | number, due) { left -= 1 }
  }
  // Until all CPUs are through, or enough is there, the request stays due.
  kernel.repossessedProcessor = processor + 1
  guard left == 0 || processor + 1 == kernel.processors.count else { return }
  kernel.repossessedProcessor = 0
  close(due, missed: left)
}

private func takeSlice(_ name: UInt64, _ due: DueRevocation) -> Bool {
  guard name >> 16 < UInt64(kernel.processors.count) else { return false }
  let processor = UInt32(truncatingIfNeeded: name >> 16)
  guard kernel.processors[processor].timeline.repossess(name & 0xffff, from: due.account, in: kernel.environments)
  else { return false }
  note(due.index, .slices, name)
  return true
}

/// How long after a deadline everything that was asked for is back, at the latest: a few slices until the scheduler
/// looks, and the steps, of which four fifths of the time go to others.
func revocationBound(frameCount: UInt64, sliceTicks: UInt64) -> UInt64 {
  sliceTicks * 4 + Repossession.stepBound(frameCount: frameCount) * stepTicks * 5
}

/// What a step of at most 40,000 instructions may take.
private let stepTicks: UInt64 = 50_000

/// Whether an environment gives up its turn for what the kernel had to do because of its account.
func paysForRepossession(_ slot: UInt32) -> Bool {
  guard kernel.environments.environments[slot].state == UInt32(APUS_ENVIRONMENT_RUNNABLE) else { return false }
  return kernel.revocations.pays(
    kernel.environments.environments[slot].account, sliceTicks: max(1, kernel.information.value.slice_ticks))
}
