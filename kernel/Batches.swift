// SPDX-License-Identifier: Apache-2.0
// Batches.swift: several calls in one crossing, and calls without any: a list, or a ring in shared memory.
//
// An entry is copied once, then checked and done like the call by itself. What ends the caller's use of the CPU, or the
// caller, is no call for a list. Each step is bounded by what its calls are estimated to cost; the rest waits for the
// next step, which the application asks for.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// Instructions that the calls of a whole step may cost, and of a step on the way to something else.
private let stepCost: UInt64 = 30_000
private let passingCost: UInt64 = 8000

/// The number and the arguments of a call, as they were when they were copied.
private struct CallEntry {
  let number: UInt64
  let arguments: CallArguments

  /// Copies an entry from the kernel's own copy of a list, or from a ring's frame.
  init(_ physical: UInt64) {
    number = PhysicalMemory.word(physical)
    arguments = CallArguments(
      a0: PhysicalMemory.word(physical + 8), a1: PhysicalMemory.word(physical + 16),
      a2: PhysicalMemory.word(physical + 24), a3: PhysicalMemory.word(physical + 32),
      a4: PhysicalMemory.word(physical + 40))
  }

  /// The call, if it is one for a list: it comes back, and to its caller.
  var call: SystemCall? {
    guard let call = SystemCall(rawValue: UInt32(truncatingIfNeeded: number)), number >> 32 == 0 else { return nil }
    switch call {
    case .yield, .sleep, .waitAny, .transfer, .transferReturn, .transferAsynchronously, .environmentKill, .powerOff,
      .ringRegister, .ringDrain, .batch, .predicateSleep:
      return nil
    default: return call
    }
  }

  /// Instructions that the call may cost at most, roughly.
  func cost(of call: SystemCall) -> UInt64 {
    switch call {
    case .null, .capabilityForge, .capabilityGrant, .capabilityDrop, .notify: 500
    case .frameAllocate: 1000 + 600 * min(arguments.a2, 64)
    case .frameFree, .frameTransfer: 1000 + 70 * min(arguments.a2, 512)
    case .pagesWrite: 1000 + 50 * min(arguments.a3, 512)
    case .pagesFill: 1000 + 600 * min(arguments.a3, 64)
    case .pagesRelease: 1000 + 60 * min(arguments.a3, 512)
    case .pagesProtect: 1000 + 50 * min(arguments.a3 & 0xffff, 512)
    case .consoleWrite, .consoleRead, .filterInsert, .filterRemove, .transmit, .programVerify: stepCost
    default: 10_000
    }
  }

  /// Makes the call, unless more was spent before than leaves room for it.
  ///
  /// - Parameters:
  ///   - spent: What the calls of the step may have cost so far; this one is added.
  ///   - limit: What they may cost. The first call of a whole step is made whatever it costs.
  /// - Returns: What the call by itself would leave in rax; minus `APUS_CALL_GARBAGE` where that would be a fault.
  ///   Nothing if there is no room for it.
  func make(_ spent: inout UInt64, upTo limit: UInt64) -> UInt64? {
    guard let call else { return 0 &- UInt64(SystemCallError.invalid.rawValue) }
    let cost = cost(of: call)
    if spent + cost > limit, spent > 0 || limit < stepCost { return nil }
    spent += cost
    ThisProcessor.environment.value.calls &+= 1
    return perform(number, arguments)
  }
}

/// The call `batch`.
func batch(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  guard a.a1 <= UInt64(APUS_BATCH_CALLS) else { throw .invalid }
  let stride = UInt64(MemoryLayout<apus_call>.stride)
  let size = Int(a.a1 * stride)
  guard a.a0 & 7 == 0, UserMemory.isWritable(a.a0, size, root: caller.root),
    UserMemory.copyIn(a.a0, size, root: caller.root, to: kernel.calls.bytes)
  else { throw garbage(a.a0) }
  var done: UInt64 = 0
  var spent: UInt64 = 0
  while done < a.a1 {
    let place = done * stride + 48
    guard let result = CallEntry(kernel.calls.physical + done * stride).make(&spent, upTo: stepCost) else { break }
    done += 1
    kernel.calls[Int(place) / 8] = result
    // A call of the list may have taken the list's own memory away: that is its caller's business.
    _ = UserMemory.copyOut(kernel.calls.bytes.part(Int(place), 8), 8, root: caller.root, to: a.a0 + place)
    if Int64(bitPattern: result) < 0 { break }
  }
  return done
}

// MARK: Rings

/// The call `ringRegister`.
func ringRegister(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let slot = here.current
  if a.a1 == 0 {
    releaseRing(of: slot)
    return 0
  }
  guard a.a1 & 4095 == 0, let physical = UserMemory.translate(a.a1, root: caller.root, writable: true) else {
    throw garbage(a.a1)
  }
  guard kernel.environments.environments[slot].ring_frame == 0 else { throw .inUse }
  try kernel.frames.pinUarea(physical >> 12, account: try account(of: capability), by: capability)
  kernel.environments.environments[slot].ring_frame = UInt32(physical >> 12)
  kernel.environments.environments[slot].ring_done = 0
  Record<apus_ring>(physical: physical).value.completed = 0
  return 0
}

/// Ends the pin on an environment's ring.
func releaseRing(of slot: UInt32) {
  let frame = kernel.environments.environments[slot].ring_frame
  kernel.environments.environments[slot].ring_frame = 0
  unpin(frame)
}

/// The call `ringDrain`.
func ringDrain(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let slot = a.a1 == 0 ? here.current : try kernel.environments.slot(of: a.a1, by: capability, needing: .write)
  guard kernel.environments.environments[slot].ring_frame != 0 else { throw .noSuchResource }
  return drain(slot, upTo: stepCost)
}

/// Does what waits in the running environment's own ring, if it has one, on its way out.
func drainInPassing() {
  if ThisProcessor.environment.value.ring_frame != 0 { _ = drain(here.current, upTo: passingCost) }
}

/// Does calls of an environment's ring in its name.
///
/// - Returns: How many were done.
private func drain(_ slot: UInt32, upTo limit: UInt64) -> UInt64 {
  let physical = UInt64(kernel.environments.environments[slot].ring_frame) << 12
  let ring = Record<apus_ring>(physical: physical)
  let own = ThisProcessor.record
  let (environment, area) = (own.value.environment, own.value.uarea)
  own.value.environment = kernel.environments.environments.record(slot).kernelAddress
  own.value.uarea = kernel.environments.environments[slot].uarea_kernel
  var done: UInt64 = 0
  var spent: UInt64 = 0
  var next = kernel.environments.environments[slot].ring_done
  // What the application says of its own progress is believed only as far as the ring reaches.
  let waiting = ring.value.submitted &- next
  while done < min(waiting, UInt64(APUS_RING_CALLS)) {
    let place = physical + 64 + (next % UInt64(APUS_RING_CALLS)) * UInt64(MemoryLayout<apus_call>.stride)
    guard let result = CallEntry(place).make(&spent, upTo: limit) else { break }
    PhysicalMemory.setShared64(place + 48, result)
    next &+= 1
    done += 1
    kernel.environments.environments[slot].ring_done = next
    PhysicalMemory.setShared64(physical + 8, next)
  }
  own.value.environment = environment
  own.value.uarea = area
  if done > 0 { kickIdle() }
  return done
}

// MARK: Waiting for any of several words

/// The call `waitAny`.
func waitAny(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  guard a.a1 >= 1, a.a1 <= UInt64(APUS_WAIT_WORDS) else { throw .invalid }
  let count = Int(a.a1)
  guard a.a0 & 7 == 0 else { throw garbage(a.a0) }
  try copyIn(2 * a.a1, wordsAt: a.a0)
  for index in 0..<count {
    let address = kernel.words[2 * index]
    guard address & 7 == 0, let physical = physicalWord(address) else { throw garbage(address) }
    kernel.words[2 * index] = physical
  }
  let target: UInt32? = a.a3 == 0 ? nil : try kernel.environments.slot(of: a.a3)
  for index in 0..<count where PhysicalMemory.word(kernel.words[2 * index]) != kernel.words[2 * index + 1] {
    return UInt64(index)
  }
  if a.a2 != UInt64.max, apus_rdtsc() >= a.a2 { return a.a1 }
  var pinned = 0
  do throws(SystemCallError) {
    while pinned < count {
      try pinWord(kernel.words[2 * pinned])
      pinned += 1
    }
  } catch {
    for index in 0..<pinned { unpinWord(kernel.words[2 * index]) }
    throw error
  }
  let slot = here.current
  kernel.environments.sleep(slot, word: kernel.words[0], value: kernel.words[1], deadline: a.a2)
  kernel.environments.environments[slot].waits = UInt32(count - 1)
  for index in 1..<count {
    kernel.environments.environments[slot].setWait(
      index - 1, word: kernel.words[2 * index], value: kernel.words[2 * index + 1])
  }
  accountTime()
  if let target { runDirected(to: target) }
  runNext()
}

/// Stands for a predicate instead of further words.
let waitsForPredicate = UInt32.max

/// Whether one of the further words of a sleeper has changed, or its predicate holds.
func isAnyFurtherAwaited(_ slot: UInt32) -> Bool {
  let further = kernel.environments.environments[slot].waits
  if further == waitsForPredicate { return kernel.programs.value.holds(for: slot) }
  for index in 0..<Int(further) {
    let wait = kernel.environments.environments[slot].wait(index)
    if PhysicalMemory.word(wait.word) != wait.value { return true }
  }
  return false
}

/// Ends the pins on the words that an environment sleeps on.
func endWaits(of slot: UInt32) {
  let word = kernel.environments.environments[slot].wait_word
  if word != 0 {
    kernel.environments.environments[slot].wait_word = 0
    unpinWord(word)
  }
  let further = kernel.environments.environments[slot].waits
  guard further != 0 else { return }
  kernel.environments.environments[slot].waits = 0
  if further == waitsForPredicate { return kernel.programs.value.endSleep(of: slot) }
  for index in 0..<Int(further) { unpinWord(kernel.environments.environments[slot].wait(index).word) }
}
