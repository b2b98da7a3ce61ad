// SPDX-License-Identifier: Apache-2.0
// CrashReport.swift: what the person at the console is told of an environment that failed: numbers, no names.

import ApusABI
import ApusMachine
import ApusResources
import CApusABI

/// Where an environment's frames are: its stack pointer, and its frame pointer if it is known, else 0.
struct UserStack {
  let pointer: UInt64
  let frame: UInt64
}

/// Sends a report about an environment that failed.
func report(_ slot: UInt32, cause: UInt64, rip: UInt64, address: UInt64, stack: UserStack, wholeFamily: Bool) {
  guard let buffer = kernel.console.beginOutput(kernel.bytes) else { return }
  let record = kernel.environments.environments[slot]
  let area = userArea(record.uarea_frame)
  let crash = Record<apus_crash>(kernelAddress: buffer.address)
  crash.value = apus_crash()
  crash.value.kind = UInt32(APUS_CRASH_ENVIRONMENT)
  crash.value.slot = slot
  crash.value.account = UInt32(record.account)
  crash.value.flags = wholeFamily ? UInt32(APUS_CRASH_FAMILY_ENDS) : 0
  crash.value.cause = cause
  crash.value.rip = rip
  crash.value.rsp = stack.pointer
  crash.value.address = address
  crash.value.slices_used = record.slices_used
  crash.value.slices_forfeited = record.slices_forfeited
  crash.value.ticks_used = record.ticks_used
  crash.value.excess_ticks = record.excess_ticks
  crash.value.slice_upcalls = record.slice_upcalls
  crash.value.exception_upcalls = record.exception_upcalls
  crash.value.calls = record.calls
  crash.value.resources = kernel.environments.accounts.accounts[UInt32(record.account)]
  crash.value.exception = area.value.exception
  crash.value.nested = area.value.nested
  crash.value.slice = area.value.slice
  addTaken(crash, account: record.account)
  crash.value.frame_count = walk(stack.frame, root: record.root, to: buffer.address &+ UInt64(APUS_CRASH_FRAMES_OFFSET))
  kernel.console.send(
    stream: ConsoleStream.crash.rawValue, account: UInt8(truncatingIfNeeded: record.account),
    buffer.part(0, Int(APUS_CRASH_PROGRAM_OFFSET)))
}

/// Copies the last entries of the account's repossession vector.
private func addTaken(_ crash: Record<apus_crash>, account: UInt16) {
  guard let index = kernel.revocations.index(of: account) else { return }
  let frame = kernel.revocations.records[index].vector_frame
  guard frame != 0 else { return }
  let written = kernel.revocations.records[index].vector_written
  crash.value.flags |= UInt32(APUS_CRASH_HAS_VECTOR)
  crash.value.repossessed = written
  for entry in 0..<min(written, UInt64(APUS_CRASH_TAKEN)) {
    let place = (written - 1 - entry) % UInt64(APUS_REPOSSESSION_ENTRIES)
    Record<UInt64>(kernelAddress: crash.kernelAddress &+ UInt64(APUS_CRASH_TAKEN_OFFSET) &+ entry << 3).value =
      PhysicalMemory.word(UInt64(frame) << 12 + 64 + place << 3)
  }
}

/// Follows frame pointers, as far as they lie in memory that the environment can read and lead upwards.
///
/// - Returns: How many return addresses were written.
private func walk(_ frame: UInt64, root: UInt32, to place: UInt64) -> UInt64 {
  var at = frame
  var count: UInt64 = 0
  while count < UInt64(APUS_CRASH_FRAMES), at != 0, at & 7 == 0,
    let link = UserMemory.translate(at, root: root, writable: false),
    let back = UserMemory.translate(at &+ 8, root: root, writable: false)
  {
    Record<UInt64>(kernelAddress: place &+ count << 3).value = PhysicalMemory.word(back)
    count += 1
    let next = PhysicalMemory.word(link)
    guard next > at else { break }
    at = next
  }
  return count
}
