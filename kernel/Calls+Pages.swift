// SPDX-License-Identifier: Apache-2.0
// Calls+Pages.swift: pages and their frames in one call.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// `pagesFill(caps, root, address, count, bits)`.
func pagesFill(_ a: CallArguments) throws(SystemCallError) -> Outcome {
  guard a.a0 >> 8 < UInt64(APUS_CAPABILITY_COUNT), a.a0 & 0xff < UInt64(APUS_CAPABILITY_COUNT) else {
    return .fault(a.a0)
  }
  guard a.a4 & ~0x1fff == 0 else { throw .invalid }
  let tables = try ownCapability(a.a0 & 0xff)
  let owner = try ownCapability(a.a0 >> 8)
  let charged = try account(of: owner)
  if isBeingReclaimed(charged) { throw .inUse }
  let filled = try kernel.frames.fillPages(
    a.a3, at: a.a2, root: a.a1, bits: PageEntry.unpacked(set: a.a4), account: try account(of: tables), tables: tables,
    owner: owner, charging: charged, in: kernel.tables)
  publishFreeFrames()
  return .value(UInt64(filled.first) << 16 | UInt64(filled.count))
}

/// `pagesRelease(caps, root, address, count, flags)`.
func pagesRelease(_ a: CallArguments) throws(SystemCallError) -> Outcome {
  guard a.a0 >> 8 < UInt64(APUS_CAPABILITY_COUNT), a.a0 & 0xff < UInt64(APUS_CAPABILITY_COUNT) else {
    return .fault(a.a0)
  }
  guard a.a4 <= 1 else { throw .invalid }
  let tables = try ownCapability(a.a0 & 0xff)
  let owner = try ownCapability(a.a0 >> 8)
  let account = try account(of: tables)
  let epoch = beginFlush()
  let released: ReleasedPages
  do throws(SystemCallError) {
    released = try kernel.frames.releasePages(
      a.a3, at: a.a2, root: a.a1, caller: PageCaller(account: account, currentRoot: here.loadedRoot), tables: tables,
      owner: a.a4 == 0 ? owner : nil, in: kernel.tables)
  } catch {
    endFlush(epoch)
    throw error
  }
  perform(released.maintenance, account: account)
  endFlush(epoch)
  publishFreeFrames()
  return .value(released.count)
}

/// With several CPUs: opens the next flush epoch, for frames that are given back before the others are asked to forget
/// them.
private func beginFlush() -> UInt32 {
  guard kernel.processors.count > 1 else { return 0 }
  let epoch = kernel.flushEpoch &+ 1
  kernel.frames.flushEpoch = epoch
  return epoch
}

/// If no CPU had to be asked, the epoch is passed as soon as those before it are.
private func endFlush(_ epoch: UInt32) {
  guard kernel.processors.count > 1 else { return }
  kernel.flushEpoch = epoch
  kernel.frames.flushEpoch = epoch
  settleFlushes()
}

/// A capability of the caller, by the number of its slot, of which there is one.
///
/// Reads the slot alone: a copy of the whole record would be most of a short call.
@inline(__always) func ownCapability(_ slot: UInt64) throws(SystemCallError) -> Capability {
  guard let capability = Capability(ThisProcessor.capability(slot)) else { throw .denied }
  return capability
}

// MARK: One page

/// `pagesFill` of one page, where everything is plain; anything else goes on to `decide`.
@inline(never) func pageFill(
  _ caps: UInt64, _ root: UInt64, _ address: UInt64, _ count: UInt64, _ bits: UInt64, _ number: UInt64
) -> UInt64 {
  let slot = caps >> 8
  guard slot < UInt64(APUS_CAPABILITY_COUNT), caps == slot << 8 | slot, count == 1, kernel.processors.count == 1,
    bits & ~0x1fff == 0,
    !kernel.isReclaiming, let capability = Capability(ThisProcessor.capability(slot)), capability.length >= 2,
    let frame = kernel.frames.fillPage(
      at: address, root: root, bits: PageEntry.unpacked(set: bits), by: capability, in: kernel.tables)
  else { return decide(caps, root, address, count, bits, number) }
  publishFreeFrames()
  return UInt64(frame) << 16 | 1
}

/// `pagesRelease` of one page, where everything is plain; anything else goes on to `pagesReleaseRun`.
@inline(never) func pageRelease(
  _ caps: UInt64, _ root: UInt64, _ address: UInt64, _ count: UInt64, _ flags: UInt64, _ number: UInt64
) -> UInt64 {
  let slot = caps >> 8
  guard count == 1, slot < UInt64(APUS_CAPABILITY_COUNT), caps == slot << 8 | slot, flags == 0,
    kernel.processors.count == 1, let capability = Capability(ThisProcessor.capability(slot)), capability.length >= 2,
    kernel.frames.releasePage(at: address, root: root, loaded: here.loadedRoot, by: capability, in: kernel.tables)
  else { return pagesReleaseRun(caps, root, address, count, flags, number) }
  apus_invlpg(address)
  publishFreeFrames()
  return 1
}

/// `pagesRelease` of several pages in one table, where everything is plain; anything else goes on to `decide`.
@inline(never) private func pagesReleaseRun(
  _ caps: UInt64, _ root: UInt64, _ address: UInt64, _ count: UInt64, _ flags: UInt64, _ number: UInt64
) -> UInt64 {
  let slot = caps >> 8
  guard slot < UInt64(APUS_CAPABILITY_COUNT), caps == slot << 8 | slot, flags == 0, kernel.processors.count == 1,
    let capability = Capability(ThisProcessor.capability(slot)), capability.length >= 2
  else { return decide(caps, root, address, count, flags, number) }
  let done = kernel.frames.releasePlainPages(
    count, at: address, root: root, loaded: here.loadedRoot, by: capability, in: kernel.tables)
  guard done != 0 else { return decide(caps, root, address, count, flags, number) }
  invalidate(from: address, Int(truncatingIfNeeded: done))
  publishFreeFrames()
  return done
}
