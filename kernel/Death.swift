// SPDX-License-Identifier: Apache-2.0
// Death.swift: how environments and accounts end, and how everything they held comes back.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// The running environment has failed: a fault it cannot handle, or it ignored the end of its slice.
///
/// One that failed inside its LibOS (the critical word says so) leaves the family's shared state half changed, so
/// the whole account ends with it.
func endCurrent(cause: UInt64, rip: UInt64, address: UInt64, stack: UserStack) -> Never {
  accountTime()
  let slot = here.current
  let account = kernel.environments.environments[slot].account
  let critical = ThisProcessor.userArea.value.critical != 0
  report(slot, cause: cause, rip: rip, address: address, stack: stack, wholeFamily: critical)
  leaveAddressSpace()
  beginDeath(slot, cause: cause, rip: rip, address: address)
  var other: UInt32 = 0
  var told: UInt32 = 0
  while other < kernel.environments.highWater {
    if kernel.environments.environments[other].isLive && kernel.environments.environments[other].account == account {
      if critical {
        beginDeath(other, cause: cause, rip: rip, address: address)
        let processor = kernel.environments.environments[other].running_on
        if processor != 0 { endOn(UInt32(processor) - 1) }
      } else {
        tellOfDeath(other)
      }
      told += 1
      if told & 63 == 0 { takeBreath() }  // nobody else runs on this CPU meanwhile
    }
    other += 1
  }
  kernel.hasDying = true
  beginReclaim(account)
  kickIdle()
  takeBreath()
  runNext()
}

private func tellOfDeath(_ slot: UInt32) {
  setPending(slot, UInt64(APUS_PENDING_DEATH))
  if kernel.environments.environments[slot].state == UInt32(APUS_ENVIRONMENT_SLEEPING) { wake(slot) }
}

/// Ends a live environment and gives back what is the kernel's: slices, pins, its slot.
func end(_ slot: UInt32, cause: UInt64, rip: UInt64, address: UInt64) {
  beginDeath(slot, cause: cause, rip: rip, address: address)
  let processor = UInt32(kernel.environments.environments[slot].running_on)
  if processor == 0 || processor == here.index + 1 {
    bury(slot)
  } else {
    // It is buried when that CPU has left it.
    kernel.hasDying = true
    endOn(processor - 1)
  }
}

/// Somebody on another CPU has ended the environment that runs here: away from it.
func leaveIfDead() {
  guard ThisProcessor.environment.value.state == UInt32(APUS_ENVIRONMENT_DYING) else { return }
  accountTime()
  leaveAddressSpace()
  runNext()
}

/// Gives back what a dead environment held of the kernel's.
private func bury(_ slot: UInt32) {
  endWaits(of: slot)
  releaseRing(of: slot)
  var index: UInt32 = 0
  while index < kernel.processors.count, kernel.environments.environments[slot].slices_owned > 0 {
    kernel.processors[index].timeline.freeAll(of: slot, in: kernel.environments)
    index += 1
  }
  kernel.environments.environments[slot].running_on = 0
  forgetTime(of: slot)
  forgetParked(slot)
  let record = kernel.environments.environments[slot]
  unpin(record.uarea_frame)
  kernel.tables.releaseRoot(record.root)
  kernel.environments.vacate(slot)
}

/// Runs on the kernel's own tables, so that the root of a dead environment can be freed.
func leaveAddressSpace() {
  load(root: 0)
}

/// If an account has no environment left, its frames start on their way back.
func beginReclaim(_ account: UInt16) {
  guard kernel.environments.liveCount(of: account) == 0 else { return }
  forgetRevocations(of: account)
  kernel.network?.value.endRings(of: account)
  kernel.programs.value.end(of: account)
  kernel.dying.set(account)
  kernel.isReclaiming = true
  nextReclaim()
}

private func nextReclaim() {
  guard kernel.reclaim == nil else { return }
  guard let account = kernel.dying.takeAny() else {
    kernel.isReclaiming = false
    return
  }
  _ = kernel.held.remove(account)
  kernel.reclaimAccount = account
  kernel.reclaim = ReclaimCursor()
}

/// How many dead environments one step buries.
private let burialsPerStep = 4

/// Buries a few of the environments that died with their family, or while another CPU ran them.
///
/// - Returns: Whether there was one that could be buried.
private func buryStep() -> Bool {
  var areRunning = false
  var slot: UInt32 = 0
  var left = burialsPerStep
  while slot < kernel.environments.highWater {
    if kernel.environments.environments[slot].state == UInt32(APUS_ENVIRONMENT_DYING) {
      if left == 0 { return true }
      if kernel.environments.environments[slot].running_on != 0 {
        areRunning = true
      } else {
        left -= 1
        bury(slot)
      }
    }
    slot += 1
  }
  kernel.hasDying = areRunning
  return left < burialsPerStep
}

/// One bounded step of it, at every choice of the scheduler.
///
/// - Returns: Whether there was anything to do.
func reclaimStep() -> Bool {
  if kernel.hasDying {
    if buryStep() { return true }
    if kernel.hasDying { return false }
  }
  guard var cursor = kernel.reclaim else { return false }
  // An account whose capability somebody still holds may have got environments again: those keep their frames.
  guard kernel.environments.liveCount(of: kernel.reclaimAccount) == 0 else {
    kernel.reclaim = nil
    nextReclaim()
    return true
  }
  let step = kernel.frames.reclaimStep(kernel.reclaimAccount, cursor: &cursor, tables: kernel.tables)
  if step.needsInvalidation {
    apus_write_cr3(apus_read_cr3())
    if kernel.processors.count > 1 { flushOthers(running: nil) }
  }
  switch step.progress {
  case .more: kernel.reclaim = cursor
  case .done:
    dissolve(kernel.reclaimAccount)
    _ = kernel.dying.remove(kernel.reclaimAccount)
    kernel.reclaim = nil
    nextReclaim()
  case .held:
    kernel.held.set(kernel.reclaimAccount)
    kernel.isHolding = true
    kernel.reclaim = nil
    nextReclaim()
  }
  publishFreeFrames()
  return true
}

/// Ends a pin, unless the frame is 0: if it kept the frame of a dead account, that account is reclaimed once more.
///
/// So it is when the account is being reclaimed just now, as that may have passed the frame already.
func unpin(_ frame: UInt32) {
  guard frame != 0 else { return }
  kernel.frames.unpin(frame)
  guard kernel.isHolding || kernel.reclaim != nil else { return }
  let account = kernel.frames.frames[frame].account
  let isAtWork = kernel.reclaim != nil && kernel.reclaimAccount == account
  guard kernel.held.remove(account) || isAtWork else { return }
  kernel.dying.set(account)
  kernel.isReclaiming = true
  nextReclaim()
}

/// Whether an account's frames are on their way back: it cannot take new ones meanwhile.
func isBeingReclaimed(_ account: UInt16) -> Bool {
  guard kernel.isReclaiming else { return false }
  return kernel.reclaim != nil && kernel.reclaimAccount == account || kernel.dying.contains(account)
}

/// Nobody is left.
func endMachine() -> Never {
  drainConsole()
  powerOff(status: nobodyLeftStatus)
}

/// Status of the debug-exit device when the last environment has gone without switching the power off.
let nobodyLeftStatus: UInt32 = 0x7d

/// A set of accounts: a bit for each, in memory of its own, as a copy would be dear.
struct AccountSet {
  private let words: Table<UInt64>

  /// How much memory a set takes.
  static var byteCount: UInt64 { 8192 }

  /// An empty set in zeroed memory.
  init(physical: UInt64) { words = Table(physical: physical, count: 1024) }

  func set(_ account: UInt16) { words[UInt32(account >> 6)] |= 1 << UInt64(account & 63) }

  func contains(_ account: UInt16) -> Bool { words[UInt32(account >> 6)] >> UInt64(account & 63) & 1 != 0 }

  /// Takes an account out.
  ///
  /// - Returns: Whether it was in the set.
  func remove(_ account: UInt16) -> Bool {
    guard contains(account) else { return false }
    words[UInt32(account >> 6)] &= ~(1 << UInt64(account & 63))
    return true
  }

  /// Takes the lowest account out.
  func takeAny() -> UInt16? {
    for index in 0..<words.count where words[index] != 0 {
      let bit = words[index].trailingZeroBitCount
      words[index] &= words[index] &- 1
      return UInt16(index * 64 + UInt32(bit))
    }
    return nil
  }
}
