// SPDX-License-Identifier: Apache-2.0
// Calls+Pages.swift: pages and their frames in one call.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// `pagesFill(caps, root, address, count, bits)`.
func pagesFill(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  guard a.a4 & ~0x1fff == 0 else { throw .invalid }
  let (tables, owner, account) = try authorities(a.a0)
  let charged = try accountThatTakes(owner)
  let filled = try kernel.frames.fillPages(
    a.a3, at: a.a2, root: a.a1, bits: PageEntry.unpacked(set: a.a4), account: account, tables: tables, owner: owner,
    charging: charged, in: kernel.tables)
  publishFreeFrames()
  return UInt64(filled.first) << 16 | UInt64(truncatingIfNeeded: filled.count)
}

/// `pagesRelease(caps, root, address, count, flags)`.
func pagesRelease(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  guard a.a4 <= 1 else { throw .invalid }
  let (tables, owner, account) = try authorities(a.a0)
  let epoch = beginFlush()
  defer {
    endFlush(epoch)
    publishFreeFrames()
  }
  let released = try kernel.frames.releasePages(
    a.a3, at: a.a2, root: a.a1, caller: PageCaller(account: account, currentRoot: here.loadedRoot), tables: tables,
    owner: a.a4 == 0 ? owner : nil, in: kernel.tables)
  perform(released.maintenance, account: account)
  return released.count
}

/// `pagesPromote(cap, root, address)`.
func pagesPromote(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let account = try account(of: capability)
  let promoted = try kernel.tables.promote(at: a.a2, root: a.a1, account: account, by: capability)
  perform(promoted.maintenance, account: account)
  return UInt64(promoted.table)
}

/// `pagesDemote(cap, table)`.
func pagesDemote(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let account = try account(of: capability)
  perform(try kernel.tables.demote(a.a1, account: account, by: capability), account: account)
  return 0
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

// MARK: One page

/// The capability that stands for both authorities over one page, where nothing else is to be looked at.
@inline(__always) private func capabilityForOnePage(_ slots: UInt64, count: UInt64) -> Capability? {
  // The count is a power of two: a slot beyond it does not survive.
  let slot = slots & UInt64(APUS_CAPABILITY_COUNT - 1)
  guard count == 1, slots == slot << 8 | slot, kernel.processors.count == 1,
    let capability = Capability(ThisProcessor.capability(slot)), capability.length >= 2
  else { return nil }
  return capability
}

/// `pagesFill` of one page, where everything is plain; anything else goes on to `decide`.
@inline(never) func pageFill(
  _ slots: UInt64, _ root: UInt64, _ address: UInt64, _ count: UInt64, _ bits: UInt64, _ number: UInt64
) -> UInt64 {
  guard !kernel.isReclaiming, let capability = capabilityForOnePage(slots, count: count),
    let frame = kernel.frames.fillPage(
      at: address, root: root, packed: bits, by: capability, in: kernel.tables)
  else { return decide(slots, root, address, count, bits, number) }
  publishFreeFrames()
  return UInt64(frame) << 16 | 1
}

/// `pagesRelease` of one page, where everything is plain; anything else goes on to `decide`.
@inline(never) func pageRelease(
  _ slots: UInt64, _ root: UInt64, _ address: UInt64, _ count: UInt64, _ flags: UInt64, _ number: UInt64
) -> UInt64 {
  guard flags == 0, let capability = capabilityForOnePage(slots, count: count),
    kernel.frames.releasePage(at: address, root: root, loaded: here.loadedRoot, by: capability, in: kernel.tables)
  else { return decide(slots, root, address, count, flags, number) }
  apus_invlpg(address)
  publishFreeFrames()
  return 1
}
