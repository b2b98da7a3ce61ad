// SPDX-License-Identifier: Apache-2.0
// Dispatch.swift: one function for each system call: decode, check everything, then do what cannot fail.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// The five arguments of a call.
struct CallArguments {
  let a0, a1, a2, a3, a4: UInt64
}

/// The rest of the way in: numbers to cases, results to registers.
@c @used func apus_system_call(
  _ a0: UInt64, _ a1: UInt64, _ a2: UInt64, _ a3: UInt64, _ a4: UInt64, _ number: UInt64
) -> UInt64 {
  ThisProcessor.environment.value.calls &+= 1
  // One page, with everything as it should be, takes a shorter way.
  if number == UInt64(SystemCall.pagesFill.rawValue) { return pageFill(a0, a1, a2, a3, a4, number) }
  if number == UInt64(SystemCall.pagesRelease.rawValue) { return pageRelease(a0, a1, a2, a3, a4, number) }
  return decide(a0, a1, a2, a3, a4, number)
}

/// Any call, at leisure.
@inline(never) func decide(
  _ a0: UInt64, _ a1: UInt64, _ a2: UInt64, _ a3: UInt64, _ a4: UInt64, _ number: UInt64
) -> UInt64 {
  if kernel.processors.count > 1 {
    leaveIfDead()
    settleFlushes()
  }
  let result = perform(number, CallArguments(a0: a0, a1: a1, a2: a2, a3: a3, a4: a4))
  if result != 0 &- UInt64(APUS_CALL_GARBAGE) { return result }
  raiseContractFault(here.garbage)
  return 0
}

/// Makes a call by its number.
///
/// - Returns: What rax says: a value, or minus an error; minus `APUS_CALL_GARBAGE` if the caller broke the contract.
@inline(__always) func perform(_ number: UInt64, _ a: CallArguments) -> UInt64 {
  do throws(SystemCallError) { return try call(number, a) } catch {
    // What is neither free nor of its new type yet will be, once the other CPUs have passed the epoch.
    let told = error == .wrongType && kernel.frames.isCooling ? .flushPending : error
    return 0 &- UInt64(told.rawValue)
  }
}

/// The caller broke the contract with an argument: a fault, unless the call stands in a list.
func garbage(_ argument: UInt64) -> SystemCallError {
  here.garbage = argument
  return .garbage
}

@inline(__always) private func call(_ number: UInt64, _ a: CallArguments) throws(SystemCallError) -> UInt64 {
  guard let call = SystemCall(rawValue: UInt32(truncatingIfNeeded: number)) else { throw garbage(number) }
  switch call {
  case .null: return 0
  case .pagesWrite: return try pagesWrite(a)
  case .pagesProtect: return try pagesProtect(a)
  case .pagesFill: return try pagesFill(a)
  case .pagesRelease: return try pagesRelease(a)
  case .pagesPromote: return try pagesPromote(a)
  case .pagesDemote: return try pagesDemote(a)
  case .yield: return try yield(a)
  case .sleep: return try sleep(a)
  // Transfer.S has taken these on their way here: only there are the registers that are the message.
  case .transfer, .transferReturn, .transferAsynchronously: throw garbage(number)
  case .sliceAllocate: return try sliceAllocate(a)
  case .sliceFree: return try sliceFree(a)
  case .contract: return try contract(a)
  case .contractEnd: return try contractEnd(a)
  case .frameAllocate: return try frameAllocate(a)
  case .frameFree: return try frameFree(a)
  case .frameGuard: return try frameGuard(a)
  case .frameTransfer: return try frameTransfer(a)
  case .tableInstall: return try tableInstall(a)
  case .tableRemove: return try tableRemove(a)
  case .environmentCreate: return try environmentCreate(a)
  case .environmentKill: return try environmentKill(a)
  case .capabilityForge: return try capabilityForge(a)
  case .capabilityGrant: return try capabilityGrant(a)
  case .capabilityDrop: return try capabilityDrop(a)
  case .accountLimit: return try accountLimit(a)
  case .consoleWrite: return try consoleWrite(a)
  case .consoleRead: return try consoleRead(a)
  case .powerOff: return try powerOff(a)
  case .revoke: return try revoke(a)
  case .repossessionVector: return try repossessionVector(a)
  case .guaranteedMinimum: return try guaranteedMinimum(a)
  case .waitAny: return try waitAny(a)
  case .ringRegister: return try ringRegister(a)
  case .ringDrain: return try ringDrain(a)
  case .batch: return try batch(a)
  case .notify:
    kickIdle()
    return 0
  case .packetRingCreate: return try packetRingCreate(a)
  case .packetRingEnd: return try Network.end(a.a1, by: ownCapability(a.a0))
  case .filterInsert: return try filterInsert(a)
  case .filterRemove: return try Network.remove(a.a1, by: ownCapability(a.a0))
  case .transmit: return try transmit(a)
  case .programCreate, .programVerify, .programEnd, .handlerBind, .predicateSleep:
    return try programCall(call, a.a0, a.a1, a.a2, a.a3, a.a4)
  }
}

/// The running environment's record.
@inline(__always) var caller: apus_environment {
  ThisProcessor.environment.value
}

/// A capability of the caller's.
///
/// - Parameters:
///   - slot: Where it lies.
///   - argument: The argument that says so; the slot itself where it has no other part.
/// - Returns: The capability.
/// - Throws: `denied` if the slot is empty, `garbage` if there is none.
@inline(__always) func ownCapability(
  _ slot: UInt64, in argument: UInt64? = nil
) throws(SystemCallError) -> Capability {
  guard slot < UInt64(APUS_CAPABILITY_COUNT) else { throw garbage(argument ?? slot) }
  guard let capability = Capability(ThisProcessor.capability(slot)) else { throw .denied }
  return capability
}

/// Copies words of the caller's memory to where a call finds them.
func copyIn(_ count: UInt64, wordsAt address: UInt64) throws(SystemCallError) {
  guard count <= UInt64(WordBuffer.capacity) else { throw .invalid }
  guard UserMemory.copyIn(address, Int(count) * 8, root: caller.root, to: kernel.words.bytes) else {
    throw garbage(address)
  }
}

/// A CPU by its number.
func processor(_ number: UInt64) throws(SystemCallError) -> UInt32 {
  guard number < UInt64(kernel.processors.count) else { throw .noSuchResource }
  return UInt32(truncatingIfNeeded: number)
}

/// The account that a capability's resources are charged to: the first two bytes of its name.
func account(of capability: Capability) throws(SystemCallError) -> UInt16 {
  guard capability.length >= 2, capability.name >> 48 != UInt64(APUS_ACCOUNT_REVOKED) else { throw .denied }
  return UInt16(truncatingIfNeeded: capability.name >> 48)
}

/// The account that a capability's resources are charged to, unless what it held is just being taken back.
func accountThatTakes(_ capability: Capability) throws(SystemCallError) -> UInt16 {
  let account = try account(of: capability)
  if isBeingReclaimed(account) { throw .inUse }
  return account
}

func publishFreeFrames() {
  kernel.information.value.frames_free = UInt64(kernel.frames.freeCount)
}

// MARK: Time

private func yield(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  drainInPassing()
  if a.a0 == 0 {
    let since = here.ranSince
    accountTime()
    let ticks = here.ranSince &- since
    if ticks < kernel.information.value.slice_ticks >> 4 { ThisProcessor.environment.value.polling_ticks &+= ticks }
    _ = passTime(to: nil)
    runNext()
  }
  let target = try kernel.environments.slot(of: a.a0)
  ThisProcessor.environment.value.slices_donated &+= 1
  accountTime()
  runDirected(to: target)
}

private func sleep(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  drainInPassing()
  var word: UInt64 = 0
  if a.a0 != 0 {
    guard a.a0 & 7 == 0, let physical = physicalWord(a.a0) else { throw garbage(a.a0) }
    word = physical
  }
  let target: UInt32? = a.a3 == 0 ? nil : try kernel.environments.slot(of: a.a3)
  if word != 0, PhysicalMemory.word(word) != a.a1 { return 1 }
  if a.a2 != UInt64.max, apus_rdtsc() >= a.a2 { return 1 }
  if word != 0 { try pinWord(word) }
  kernel.environments.sleep(here.current, word: word, value: a.a1, deadline: a.a2)
  accountTime()
  if let target {
    ThisProcessor.environment.value.slices_donated &+= 1
    runDirected(to: target)
  }
  runNext()
}

/// The physical address of a word that the caller can read: its own memory, or the information pages.
func physicalWord(_ address: UInt64) -> UInt64? {
  let offset = address &- UInt64(APUS_INFORMATION_BASE)
  // The information region's first page has the words to wait for.
  if offset < 4096 {
    return kernel.information.kernelAddress &- PhysicalMemory.directBase &+ offset
  }
  return UserMemory.translate(address, root: caller.root, writable: false)
}

/// The information page belongs to the kernel and needs no pin.
func pinWord(_ word: UInt64) throws(SystemCallError) {
  if isKernelFrame(word >> 12) { return }
  try kernel.frames.pin(word >> 12)
}

func unpinWord(_ word: UInt64) {
  if !isKernelFrame(word >> 12) { unpin(UInt32(word >> 12)) }
}

private func isKernelFrame(_ frame: UInt64) -> Bool {
  kernel.frames.frames[UInt32(frame)].type == UInt8(APUS_FRAME_KERNEL)
}

/// The index that means any slice of a CPU.
private let anySlice: UInt64 = 0xffff

private func sliceAllocate(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let slot = try kernel.environments.slot(of: a.a2, by: capability, needing: .write)
  let name = a.a1 == UInt64.max ? UInt64(here.index) << 16 | anySlice : a.a1
  let processor = try processor(name >> 16)
  let index = name & 0xffff
  let slice = try kernel.processors[processor].timeline.allocate(
    index == anySlice ? nil : index, for: slot, in: kernel.environments)
  kernel.environments.environments[slot].processor = UInt8(truncatingIfNeeded: processor)
  kickIdle()
  return UInt64(processor << 16 | slice)
}

private func sliceFree(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let processor = try processor(a.a1 >> 16)
  try kernel.processors[processor].timeline.free(a.a1 & 0xffff, by: capability, in: kernel.environments)
  return 0
}

// MARK: Frames

/// The most frames that one call zeroes: 64 frames are 32,768 stores.
private let zeroingLimit: UInt64 = 64

private func frameAllocate(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  guard a.a2 <= zeroingLimit, a.a3 & ~3 == 0 else { throw .invalid }
  let account = try accountThatTakes(capability)
  guard UserMemory.isWritable(a.a1, Int(a.a2) * 8, root: caller.root) else { throw garbage(a.a1) }
  let keepsOwn = a.a3 & FrameAllocateFlags.dirty.rawValue != 0
  var taken = Int(a.a2)
  if a.a3 & FrameAllocateFlags.named.rawValue != 0 {
    try copyIn(a.a2, wordsAt: a.a1)
    try kernel.frames.allocateNamed(
      taken, in: kernel.words, under: capability, account: account, keepsOwn: keepsOwn, memory: TableFrames())
  } else {
    taken = try kernel.frames.allocate(
      taken, into: kernel.words, under: capability, account: account, keepsOwn: keepsOwn, memory: TableFrames())
    _ = UserMemory.copyOut(kernel.words.bytes, taken * 8, root: caller.root, to: a.a1)
  }
  publishFreeFrames()
  return UInt64(taken)
}

private func frameFree(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  try copyIn(a.a2, wordsAt: a.a1)
  try kernel.frames.free(Int(a.a2), of: kernel.words, by: capability)
  publishFreeFrames()
  return a.a2
}

/// `frameTransfer(cap, list, count, to)`.
private func frameTransfer(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let receiver = try ownCapability(a.a3)
  try copyIn(a.a2, wordsAt: a.a1)
  try kernel.frames.transfer(
    Int(a.a2), of: kernel.words, by: capability, to: receiver, account: try accountThatTakes(receiver))
  return a.a2
}

private func frameGuard(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  guard a.a2 <= 8 else { throw .invalid }
  try kernel.frames.setGuard(of: a.a1, to: a.a3, length: UInt8(a.a2), by: capability)
  return 0
}

// MARK: Address spaces

private func tableInstall(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let account = try account(of: capability)
  // Another CPU could write, through a translation that it has not forgotten, to the frame that becomes a table.
  guard kernel.frames.flushEpoch == 0 else { throw .flushPending }
  if a.a3 == 4 {
    try kernel.tables.makeRoot(
      a.a4, account: account, by: capability, initialize: KernelTables.initialize(root:))
  } else {
    try kernel.tables.installTable(
      a.a4, level: a.a3, at: a.a2, root: a.a1, account: account, by: capability)
  }
  return 0
}

private func tableRemove(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let account = try account(of: capability)
  if a.a3 == 4 { return UInt64(try kernel.tables.removeRoot(a.a1, account: account, by: capability)) }
  let removed = try kernel.tables.removeTable(
    level: a.a3, at: a.a2, root: a.a1, account: account, by: capability)
  perform(removed.maintenance, account: account)
  if kernel.frames.flushEpoch != 0 { kernel.frames.coolTable(removed.frame) }
  return UInt64(removed.frame)
}

/// The authority over page tables and its account, and the one over the frames that they map.
@inline(__always) func authorities(
  _ slots: UInt64
) throws(SystemCallError) -> (tables: Capability, frames: Capability, account: UInt16) {
  let tables = try ownCapability(slots & 0xff, in: slots)
  let frames = try ownCapability(slots >> 8, in: slots)
  return (tables, frames, try account(of: tables))
}

private func pagesWrite(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let (tables, mapped, account) = try authorities(a.a0)
  try copyIn(min(a.a3, UInt64(WordBuffer.capacity)), wordsAt: a.a4)
  let written = try kernel.tables.writeEntries(
    kernel.words, count: a.a3, at: a.a2, root: a.a1,
    caller: PageCaller(account: account, currentRoot: here.loadedRoot), tables: tables, mapped: mapped)
  perform(written.maintenance, account: account)
  return UInt64(truncatingIfNeeded: written.count)
}

private func pagesProtect(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let (tables, mapped, account) = try authorities(a.a0)
  guard a.a3 >> 16 <= 0x1fff else { throw .invalid }
  let changed = try kernel.tables.protectEntries(
    count: a.a3 & 0xffff, at: a.a2, root: a.a1, set: PageEntry.unpacked(set: a.a3 >> 16), keep: a.a4,
    caller: PageCaller(account: account, currentRoot: here.loadedRoot), tables: tables, mapped: mapped)
  perform(changed.maintenance, account: account)
  return UInt64(truncatingIfNeeded: changed.count)
}

// MARK: Environments

private func environmentCreate(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  guard a.a3 & 4095 == 0, a.a3 < UInt64(APUS_USER_LIMIT), a.a4 <= 0xff else { throw .invalid }
  let account = try account(of: capability)
  let root = try kernel.tables.checkRoot(a.a1, account: account, by: capability)
  let slot = try kernel.environments.vacantSlot(for: account)
  try kernel.frames.pinUarea(a.a2, account: account, by: capability)
  kernel.tables.retainRoot(root)
  let handle = kernel.environments.occupy(
    slot, account: account, under: capability, root: root, uareaFrame: UInt32(a.a2), uareaAddress: a.a3)
  kernel.environments.environments[slot].uarea_kernel = userArea(UInt32(a.a2)).kernelAddress
  for index in 0..<UInt64(APUS_CAPABILITY_COUNT) where a.a4 >> index & 1 != 0 {
    guard let capability = Capability(ThisProcessor.capability(index)) else { continue }
    // What may not be granted stays in the family.
    guard account == caller.account || capability.rights.contains(.grant) else { continue }
    kernel.environments.environments[slot].setCapability(capability, at: index)
  }
  return handle
}

private func environmentKill(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  var slot = here.current
  var target: UInt32?
  if a.a1 != 0 {
    slot = try kernel.environments.slot(of: a.a1, by: try ownCapability(a.a0), needing: .write)
  } else if a.a2 != 0 {
    target = try kernel.environments.slot(of: a.a2)
  }
  let isOwn = slot == here.current
  let account = kernel.environments.environments[slot].account
  if isOwn {
    accountTime()
    leaveAddressSpace()
  }
  end(slot, cause: UInt64(APUS_CAUSE_KILLED), rip: 0, address: 0)
  beginReclaim(account)
  guard isOwn else { return 0 }
  if let target, target != slot { runDirected(to: target) }
  runNext()
}

// MARK: Capabilities

private func capabilityForge(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  guard a.a1 < UInt64(APUS_CAPABILITY_COUNT) else { throw garbage(a.a1) }
  let capability = try ownCapability(a.a0)
  guard a.a2 <= 0xffff, a.a2 & 0xff <= 8 else { throw .invalid }
  let forged = try capability.forge(
    name: a.a3, length: UInt8(a.a2 & 0xff), rights: Rights(rawValue: UInt8(a.a2 >> 8)))
  ThisProcessor.environment.value.setCapability(forged, at: a.a1)
  return 0
}

private func capabilityGrant(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  guard a.a3 < UInt64(APUS_CAPABILITY_COUNT) else { throw garbage(a.a3) }
  let capability = try ownCapability(a.a0)
  let granted = try ownCapability(a.a1)
  try kernel.environments.grant(granted, to: a.a2, at: a.a3, by: capability)
  return 0
}

private func capabilityDrop(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  guard a.a0 < UInt64(APUS_CAPABILITY_COUNT) else { throw garbage(a.a0) }
  ThisProcessor.environment.value.setCapability(nil, at: a.a0)
  return 0
}

// MARK: Packets

private func packetRingCreate(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  guard a.a3 &- 1 < UInt64(APUS_PACKET_RING_ENTRIES) else { throw .invalid }
  try copyIn(a.a3, wordsAt: a.a2)
  return try Network.make(header: a.a1, entries: Int(a.a3), account: account(of: capability), by: capability)
}

private func filterInsert(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0 & 0xff, in: a.a0)
  let wider = try ownCapability(a.a0 >> 8, in: a.a0)
  guard a.a3 <= 16 else { throw .invalid }
  try copyIn(a.a3 * 2, wordsAt: a.a2)
  return try Network.insert(Int(a.a3), a.a1, by: capability, wider: wider)
}

private func transmit(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0 & 0xff, in: a.a0)
  let wider = try ownCapability(a.a0 >> 8, in: a.a0)
  guard a.a3 <= UInt64(APUS_TRANSMIT_PACKETS) else { throw .invalid }
  try copyIn(a.a3 * UInt64(MemoryLayout<apus_transmit>.stride / 8), wordsAt: a.a2)
  return try Network.transmit(Int(a.a3), a.a1, by: capability, wider: wider)
}

// MARK: The console and power

private func consoleWrite(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  guard capability.covers(BootName.console, needing: .write) else { throw .denied }
  guard a.a3 <= UInt64(consolePayloadLimit), a.a1 <= 0xff else { throw .invalid }
  guard let buffer = kernel.console.beginOutput(kernel.bytes) else { return 0 }
  guard UserMemory.copyIn(a.a2, Int(a.a3), root: caller.root, to: buffer) else { throw garbage(a.a2) }
  let taken = min(Int(a.a3), kernel.console.recordLimit)
  kernel.console.send(
    stream: UInt8(a.a1), account: UInt8(truncatingIfNeeded: caller.account), buffer.part(0, taken))
  return UInt64(taken)
}

private func consoleRead(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  guard capability.covers(BootName.console, needing: .read) else { throw .denied }
  guard a.a2 <= 4096 else { throw .invalid }
  let bytes = kernel.console.arrived(Int(a.a2))
  let count = bytes.count
  guard UserMemory.isWritable(a.a1, count, root: caller.root) else { throw garbage(a.a1) }
  _ = UserMemory.copyOut(bytes, count, root: caller.root, to: a.a1)
  kernel.console.consume(count)
  return UInt64(count)
}

private func powerOff(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  guard capability.covers(BootName.machine, needing: .write) else { throw .denied }
  drainConsole()
  powerOff(status: UInt32(a.a1 & 0x7f))
}

extension Capability {
  /// Whether a capability reaches one of the boot names.
  func covers(_ name: Capability, needing rights: Rights) -> Bool {
    dominates(guard: name.name, length: name.length, needing: rights)
  }
}
