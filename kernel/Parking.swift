// SPDX-License-Identifier: Apache-2.0
// Parking.swift: environments that are stopped where they stand, because a contract's time has come.
//
// An environment that can be told makes way by itself: it saves what it needs and yields. One in a critical section
// cannot, and one that takes too long does not; neither may keep another's promise. So the kernel saves its registers
// itself and lets it go on there at its next turn, as if nothing had been.
//
// A critical section stands for a lock that the environments of an account share. While one of them is parked in it the
// turns of the others run that one.

import ApusMachine
import ApusResources
import CApusABI
import CShims

/// A place for each slot of the environment table.
struct ParkingPlaces {
  private let physical: UInt64
  private let stride: UInt64
  /// How many environments are parked.
  var count: UInt32 = 0

  /// Bytes of a place.
  static func stride(extendedStateSize: UInt64) -> UInt64 { (UInt64(APUS_PARKED_SIZE) + extendedStateSize + 63) & ~63 }

  /// Makes the places in zeroed boot memory of `stride` bytes for each slot.
  init(physical: UInt64, extendedStateSize: UInt64) {
    self.physical = physical
    stride = Self.stride(extendedStateSize: extendedStateSize)
  }

  /// The place of a slot.
  subscript(slot: UInt32) -> Record<apus_parked> { Record(physical: physical + UInt64(slot) * stride) }
}

/// How long an environment that was told may take to save itself while a contract waits: 50 microseconds.
var savingTicks: UInt64 { kernel.information.value.ticks_per_second / 20_000 }

/// Stops the running environment where it is and goes on to whoever is next.
func park(_ frame: Record<apus_trap_frame>) -> Never {
  let place = kernel.parking[here.current]
  ThisProcessor.park(in: place, frame: frame)
  place.value.is_parked = 1
  kernel.parking.count += 1
  accountTime()
  runNext()
}

/// Who runs when it is an environment's turn: the one of its account that is parked in a critical section, if there is.
///
/// - Complexity: O(slots): asked while anybody is parked only.
func holder(for slot: UInt32) -> UInt32 {
  guard kernel.parking[slot].value.is_parked == 0 else { return slot }
  let account = kernel.environments.environments[slot].account
  var other: UInt32 = 0
  while other < kernel.environments.highWater {
    if kernel.environments.environments[other].account == account, kernel.parking[other].value.is_parked != 0,
      kernel.environments.environments[other].state == UInt32(APUS_ENVIRONMENT_RUNNABLE),
      kernel.environments.environments[other].running_on == 0,
      userArea(kernel.environments.environments[other].uarea_frame).value.critical != 0
    {
      return other
    }
    other += 1
  }
  return slot
}

/// Goes on where the environment was parked that was just loaded; does nothing if it was not.
func resumeParked(_ slot: UInt32) {
  guard kernel.parking[slot].value.is_parked != 0 else { return }
  forgetParked(slot)
  ThisProcessor.resume(kernel.parking[slot])
}

/// An environment goes on elsewhere, or has died.
func forgetParked(_ slot: UInt32) {
  guard kernel.parking[slot].value.is_parked != 0 else { return }
  kernel.parking[slot].value.is_parked = 0
  kernel.parking.count -= 1
}

/// Lets a contract's time come although the running environment has not made way.
///
/// One in a critical section of the contract's own account goes on, in the contract's time; any other is parked.
///
/// - Returns: Whether it goes on; false: no contract waits.
func forceWay(_ frame: Record<apus_trap_frame>, _ now: UInt64) -> Bool {
  guard let index = waitingContract(now) else { return false }
  guard holdsLock(of: here.contracts.records[index].user) else { park(frame) }
  runUnder(index, now)
  return true
}

/// Whether the running environment is in a critical section of an environment's account.
func holdsLock(of slot: UInt32) -> Bool {
  ThisProcessor.userArea.value.critical != 0
    && ThisProcessor.environment.value.account == kernel.environments.environments[slot].account
}

/// Goes on with the running environment in the time of a contract of its account; when it leaves its critical section
/// it yields, and what is left is there for the contract's own.
private func runUnder(_ index: UInt32, _ now: UInt64) {
  setPending(here.current, UInt64(APUS_PENDING_SLICE_END))
  here.isInterrupted = true
  here.contract = index
  here.charged = kernel.environments.environments[here.contracts.records[index].user].handle
  here.grace = 0
  here.sliceEnd = now &+ here.contracts.records[index].budget
  setTimer(now)
}
