// SPDX-License-Identifier: Apache-2.0
// Capabilities.swift: every call that takes a capability, with one that is missing, foreign or too weak.

import ApusABI

/// The authority that a call needs.
struct Authority {
  let name: UInt64
  let length: UInt64
  /// A name of the same shape that dominates nothing of this.
  let foreignName: UInt64
  /// All rights but the one that is needed.
  let weakRights: UInt64

  static var family: Authority {
    Authority(name: 0x0001 << 48, length: 2, foreignName: 0x0009 << 48, weakRights: Right.read | Right.grant)
  }
  static func device(_ letter: UInt64, weakRights: UInt64) -> Authority {
    Authority(name: letter << 56, length: 1, foreignName: 0x7e << 56, weakRights: weakRights)
  }
}

/// What a call that has no foreign name can be given instead: names that lead to another account are no refusal.
enum Foreign {
  case denied
  case notTried
}

/// Tries a call with bad capabilities.
///
/// `attempt` gets the slot to use and has to leave nothing behind when refused.
func refusals(
  _ name: StaticString, _ authority: Authority, foreign: Foreign = .denied, packed: Bool = false,
  _ report: inout Report, _ attempt: (UInt64) -> Answer
) {
  var check = Check("capabilities", name)
  func refused(_ slot: UInt64, fault: Bool, _ otherwise: StaticString) {
    let before = Snapshot()
    let answer = attempt(slot)
    let later = Snapshot()
    if fault {
      check.expect(answer.isFault, otherwise, answer.raw)
    } else {
      check.expect(answer.raw, equals: 0 &- UInt64(SystemCallError.denied.rawValue), otherwise)
    }
    before.compare(with: later, &check)
  }
  refused(Slot.empty, fault: false, "an empty slot")
  refused(8, fault: true, "slot 8")
  refused(255, fault: true, "slot 255")
  if !packed {
    refused(1 << 32, fault: true, "slot 2^32")
    refused(UInt64.max, fault: true, "slot -1")
  }
  Kernel.forge(Slot.scratch, name: authority.name, length: authority.length, rights: authority.weakRights)
  refused(Slot.scratch, fault: false, "too weak rights")
  Kernel.forge(Slot.scratch, name: authority.name, length: authority.length, rights: 0)
  refused(Slot.scratch, fault: false, "no rights")
  if case .denied = foreign {
    Kernel.forge(Slot.scratch, name: authority.foreignName, length: authority.length)
    refused(Slot.scratch, fault: false, "a name beside it")
    Kernel.forge(Slot.scratch, name: authority.name | 0x5a << 32, length: 8)
    refused(Slot.scratch, fault: false, "a longer name")
  }
  Kernel.call(.capabilityDrop, Slot.scratch)
  refused(Slot.scratch, fault: false, "a dropped capability")
  report.finish(check)
}

/// Reports a call with the right capability, which shows that the refusals before it had no other reason.
private func accepted(_ name: StaticString, _ report: inout Report, _ answer: Answer) {
  var check = Check("capabilities", name)
  check.expect(answer.value != nil, "refused with the right capability", answer.raw)
  report.finish(check)
}

func capabilityChecks(_ report: inout Report) {
  guard let child = Child(0, body: Body.sleep), waitUntil(turns: 1000, { child.isAsleep }),
    let frame = Memory.takeFrame()
  else {
    var check = Check("capabilities", "preparation")
    check.expect(false, "no child")
    report.finish(check)
    return
  }
  forging(child, &report)
  accounts(&report)
  sliceCalls(child, &report)
  frameCalls(frame, &report)
  tableCalls(frame, &report)
  pageCalls(frame, &report)
  environmentCalls(child, frame, &report)
  inheritance(&report)
  grants(child, &report)
  deviceCalls(&report)
  var check = Check("capabilities", "everything given back")
  check.expect(Memory.giveBack(frame).value == 1, "the frame")
  check.expect(!child.isLive, "the child lives")
  check.expect(Child.release(0), "the child's pages")
  report.finish(check)
}

private func sliceCalls(_ child: Child, _ report: inout Report) {
  refusals("sliceAllocate", .family, &report) { Kernel.call(.sliceAllocate, $0, UInt64.max, child.handle) }
  let slice = Kernel.call(.sliceAllocate, Slot.family, UInt64.max, child.handle)
  accepted("sliceAllocate, allowed", &report, slice)
  guard let number = slice.value else { return report.notTried(Check("capabilities", "sliceFree")) }
  refusals("sliceFree", .family, &report) { Kernel.call(.sliceFree, $0, number) }
  accepted("sliceFree, allowed", &report, Kernel.call(.sliceFree, Slot.family, number))

  let tenth = Information.page.ticks_per_second / 10
  refusals("contract", .family, &report) { Kernel.call(.contract, $0, child.handle, tenth, tenth / 100, 0) }
  let contract = Kernel.call(.contract, Slot.family, child.handle, tenth, tenth / 100, 0)
  accepted("contract, allowed", &report, contract)
  refusals("contractEnd", .family, &report) { Kernel.call(.contractEnd, $0, contract.raw) }
  accepted("contractEnd, allowed", &report, Kernel.call(.contractEnd, Slot.family, contract.raw))
}

private func frameCalls(_ frame: UInt64, _ report: inout Report) {
  let list = Memory.list
  // Any name of two bytes is an account of its own, so a foreign one is no reason to refuse.
  refusals("frameAllocate", .family, foreign: .notTried, &report) { Kernel.call(.frameAllocate, $0, list, 2, 0) }
  var rootless = Check("capabilities", "frameAllocate by a name without an account")
  let before = Snapshot()
  let answer = Kernel.call(.frameAllocate, Slot.root, list, 1, 0)
  rootless.expect(answer.error == .denied, "answer", answer.raw)
  before.compare(with: Snapshot(), &rootless)
  report.finish(rootless)

  refusals("frameAllocate, named", .family, foreign: .notTried, &report) {
    store64(list, firstFreeFrame())
    return Kernel.call(.frameAllocate, $0, list, 1, FrameAllocateFlags.named.rawValue)
  }
  refusals("frameFree", .family, &report) {
    store64(list, frame)
    return Kernel.call(.frameFree, $0, list, 1)
  }
  refusals("frameTransfer", .family, &report) {
    store64(list, frame)
    return Kernel.call(.frameTransfer, $0, list, 1, Slot.family)
  }
  // As with frameAllocate, any name of two bytes is an account.
  refusals("frameTransfer, receiver", .family, foreign: .notTried, &report) {
    store64(list, frame)
    return Kernel.call(.frameTransfer, Slot.family, list, 1, $0)
  }
  refusals("frameGuard", .family, &report) { Kernel.call(.frameGuard, $0, frame, 3, 0x0001_01 << 40) }
  guard let other = Memory.takeFrame() else { return report.notTried(rootless) }
  accepted("frameGuard, allowed", &report, Kernel.call(.frameGuard, Slot.family, other, 3, 0x0001_01 << 40))
  accepted("frameFree, allowed", &report, Memory.giveBack(other))
}

/// A frame that is free now.
func firstFreeFrame() -> UInt64 {
  var frame: UInt64 = 0
  while Information.frame(frame).type != UInt8(APUS_FRAME_FREE) { frame += 1 }
  return frame
}

private func tableCalls(_ frame: UInt64, _ report: inout Report) {
  let root = Information.ownRoot
  let address = Memory.region + 0x40_0000
  refusals("tableInstall, root", .family, &report) { Kernel.call(.tableInstall, $0, 0, 0, 4, frame) }
  refusals("tableInstall", .family, &report) { Kernel.call(.tableInstall, $0, root, address, 1, frame) }
  accepted("tableInstall, allowed", &report, Kernel.call(.tableInstall, Slot.family, root, address, 1, frame))
  refusals("tableRemove", .family, &report) { Kernel.call(.tableRemove, $0, root, address, 1) }
  accepted("tableRemove, allowed", &report, Kernel.call(.tableRemove, Slot.family, root, address, 1))
  accepted("tableInstall of a root, allowed", &report, Kernel.call(.tableInstall, Slot.family, 0, 0, 4, frame))
  refusals("tableRemove, root", .family, &report) { Kernel.call(.tableRemove, $0, frame, 0, 4) }
  accepted("tableRemove of a root, allowed", &report, Kernel.call(.tableRemove, Slot.family, frame, 0, 4))
}

private func pageCalls(_ frame: UInt64, _ report: inout Report) {
  let root = Information.ownRoot
  let list = Memory.list
  let address = Memory.region + 0x10_0000
  func write(_ caps: UInt64, _ entry: UInt64) -> Answer {
    store64(list, entry)
    return Kernel.call(.pagesWrite, caps, root, address, 1, list)
  }
  refusals("pagesWrite, tables", .family, packed: true, &report) {
    write(Memory.both($0, Slot.family), Entry.page(frame))
  }
  refusals("pagesWrite, frames", .family, &report) { write(Memory.both(Slot.family, $0), Entry.page(frame)) }
  let unreadable = Authority(name: 0x0001 << 48, length: 2, foreignName: 0x0009 << 48, weakRights: Right.write)
  refusals("pagesWrite, frames to read", unreadable, &report) {
    write(Memory.both(Slot.family, $0), Entry.page(frame, writable: false))
  }
  accepted(
    "pagesWrite, allowed", &report, write(Memory.both(Slot.family, Slot.family), Entry.page(frame, writable: false)))
  let makeWritable = 1 | Entry.writable << 16
  refusals("pagesProtect, tables", .family, packed: true, &report) {
    Kernel.call(.pagesProtect, Memory.both($0, Slot.family), root, address, makeWritable, UInt64.max)
  }
  refusals("pagesProtect, frames", .family, &report) {
    Kernel.call(.pagesProtect, Memory.both(Slot.family, $0), root, address, makeWritable, UInt64.max)
  }
  accepted(
    "pagesProtect, allowed", &report,
    Kernel.call(.pagesProtect, Memory.both(Slot.family, Slot.family), root, address, makeWritable, UInt64.max))
  refusals("pagesWrite, unmapping", .family, packed: true, &report) { write(Memory.both($0, Slot.family), 0) }
  accepted("pagesWrite, unmapping allowed", &report, write(Memory.both(Slot.family, Slot.family), 0))
}

private func environmentCalls(_ child: Child, _ frame: UInt64, _ report: inout Report) {
  let root = Information.ownRoot
  refusals("environmentCreate", .family, &report) {
    Kernel.call(.environmentCreate, $0, root, frame, Child.uarea(of: 9), 0)
  }
  let made = Kernel.call(.environmentCreate, Slot.family, root, frame, Child.uarea(of: 9), 0)
  accepted("environmentCreate, allowed", &report, made)
  guard let handle = made.value else { return report.notTried(Check("capabilities", "environmentKill")) }
  refusals("environmentKill", .family, &report) { Kernel.call(.environmentKill, $0, handle) }
  accepted("environmentKill, allowed", &report, Kernel.call(.environmentKill, Slot.family, handle))
}

private func deviceCalls(_ report: inout Report) {
  let text = address_of_hostile_text() + 4096
  refusals("consoleWrite", .device(0x43, weakRights: Right.read | Right.grant), &report) {
    Kernel.call(.consoleWrite, $0, 6, text, 1)
  }
  refusals("consoleRead", .device(0x43, weakRights: Right.write | Right.grant), &report) {
    Kernel.call(.consoleRead, $0, text, 1)
  }
  accepted("consoleRead, allowed", &report, Kernel.call(.consoleRead, Slot.console, text, 1))
  refusals("powerOff", .device(0x4d, weakRights: Right.read | Right.grant), &report) { Kernel.call(.powerOff, $0, 55) }
}

// MARK: Capabilities themselves

private func record(_ slot: UInt64, of environment: UInt64 = Information.ownSlot) -> apus_capability {
  let list = Information.environment(slot: environment).capabilities
  switch slot {
  case 0: return list.0
  case 1: return list.1
  case 2: return list.2
  case 3: return list.3
  case 4: return list.4
  case 5: return list.5
  case 6: return list.6
  default: return list.7
  }
}

private func forging(_ child: Child, _ report: inout Report) {
  refusals("capabilityForge", .family, &report) {
    Kernel.forge(Slot.scratch2, name: 0x0001_77 << 40, length: 3, by: $0)
  }
  var check = Check("capabilities", "what forging may not do")
  func refused(_ slot: UInt64, _ name: UInt64, _ packed: UInt64, by authority: UInt64, _ otherwise: StaticString) {
    let before = Snapshot()
    let answer = Kernel.call(.capabilityForge, authority, slot, packed, name)
    check.expect(answer.isRefused, otherwise, answer.raw)
    before.compare(with: Snapshot(), &check)
  }
  let own: UInt64 = 0x0001 << 48
  refused(Slot.scratch, 0x0002 << 48, 2 | Right.all << 8, by: Slot.family, "a name beside the own one")
  refused(Slot.scratch, 0, 0 | Right.all << 8, by: Slot.family, "the empty name")
  refused(Slot.scratch, 0, 1 | Right.all << 8, by: Slot.family, "a prefix of the own name")
  refused(Slot.scratch, own | 1, 3 | Right.all << 8, by: Slot.family, "bits after the name's end")
  refused(Slot.scratch, own, 9 | Right.all << 8, by: Slot.family, "nine bytes of name")
  refused(Slot.scratch, own, 2 | 8 << 8, by: Slot.family, "an unknown right")
  refused(Slot.scratch, own, 2 | Right.all << 8 | 1 << 16, by: Slot.family, "bits beyond the rights")
  refused(Slot.scratch, own, 2 | 1 << 63, by: Slot.family, "bit 63 of the shape")
  refused(8, own, 2 | Right.all << 8, by: Slot.family, "slot 8")
  refused(UInt64.max, own, 2 | Right.all << 8, by: Slot.family, "slot -1")
  Kernel.forge(Slot.scratch2, name: own, length: 2, rights: Right.read)
  refused(Slot.scratch, own, 2 | Right.write << 8, by: Slot.scratch2, "a right that the source lacks")
  refused(Slot.scratch, own, 2 | Right.grant << 8, by: Slot.scratch2, "the right to grant that the source lacks")
  report.finish(check)

  var made = Check("capabilities", "what forging makes")
  made.expect(
    Kernel.forge(Slot.scratch, name: own | 0xab << 40, length: 3, rights: Right.read).raw, equals: 0, "answer")
  made.expect(record(Slot.scratch).name, equals: own | 0xab << 40, "name")
  made.expect(UInt64(record(Slot.scratch).length), equals: 3, "length")
  made.expect(UInt64(record(Slot.scratch).rights), equals: Right.read, "rights")
  made.expect(UInt64(record(Slot.scratch).valid), equals: 1, "valid")
  made.expect(Kernel.call(.capabilityDrop, Slot.scratch).raw, equals: 0, "drop")
  made.expect(UInt64(record(Slot.scratch).valid) | record(Slot.scratch).name, equals: 0, "what a drop leaves")
  made.expect(Kernel.call(.capabilityDrop, Slot.scratch).raw, equals: 0, "drop of an empty slot")
  Kernel.call(.capabilityDrop, Slot.scratch2)
  report.finish(made)

  var drops = Check("capabilities", "drops out of range")
  let slots: [3 of UInt64] = [8, 1 << 32, UInt64.max]
  for index in slots.indices {
    let before = Snapshot()
    drops.expect(Kernel.call(.capabilityDrop, slots[index]).isFault, "no fault", slots[index])
    before.compare(with: Snapshot(), &drops)
  }
  report.finish(drops)
}

/// Whose name is too short for an account, or says the kernel's, owns nothing.
private func accounts(_ report: inout Report) {
  var check = Check("capabilities", "names that are no account")
  func tries(_ name: UInt64, _ length: UInt64, _ otherwise: StaticString) {
    Kernel.forge(Slot.scratch, name: name, length: length, by: Slot.root)
    refused(&check, .denied, otherwise) { Kernel.call(.frameAllocate, Slot.scratch, Memory.list, 1, 0) }
    refused(&check, .denied, otherwise) {
      Kernel.call(.tableInstall, Slot.scratch, Information.ownRoot, Memory.region + 0x60_0000, 1, firstFreeFrame())
    }
  }
  // One byte of a name, as an account of two, would be one that nobody has.
  tries(0x7e << 56, 1, "one byte")
  tries(0, 0, "no byte")
  tries(UInt64(APUS_ACCOUNT_REVOKED) << 48, 2, "what is taken by force")
  tries(UInt64(APUS_ACCOUNT_REVOKED) << 48 | 0x55 << 40, 3, "a name below that")
  Kernel.call(.capabilityDrop, Slot.scratch)
  report.finish(check)
}

/// A new environment gets the capabilities that it is to get; another family only those that may be granted.
private func inheritance(_ report: inout Report) {
  var check = Check("capabilities", "what a new environment gets")
  let free = free_frames()
  Kernel.forge(Slot.other, name: 0x0011 << 48, length: 2)
  Kernel.forge(Slot.scratch, name: 0x0001_55 << 40, length: 3, rights: Right.read | Right.write)
  Kernel.forge(Slot.scratch2, name: 0x0001_56 << 40, length: 3, rights: Right.read | Right.grant)
  let which: UInt64 = 1 << Slot.scratch | 1 << Slot.scratch2 | 1 << Slot.empty
  guard let own = Child(1, body: Body.sleep, capabilities: which, slice: false),
    let foreign = Child(2, body: Body.sleep, foreign: Slot.other, capabilities: which, slice: false)
  else {
    check.expect(false, "no children")
    report.finish(check)
    return
  }
  let slot = Information.slot(of: own.handle)
  check.expect(record(5, of: slot).name, equals: 0x0001_55 << 40, "its own family's, slot 5")
  check.expect(UInt64(record(5, of: slot).rights), equals: Right.read | Right.write, "rights of slot 5")
  check.expect(record(6, of: slot).name, equals: 0x0001_56 << 40, "its own family's, slot 6")
  check.expect(UInt64(record(7, of: slot).valid), equals: 0, "the empty slot")
  check.expect(UInt64(record(0, of: slot).valid | record(3, of: slot).valid), equals: 0, "slots that were not named")
  let other = Information.slot(of: foreign.handle)
  check.expect(UInt64(record(5, of: other).valid), equals: 0, "one that may not be granted, in another family")
  check.expect(UInt64(record(6, of: other).valid), equals: 1, "one that may be granted, in another family")
  own.kill()
  foreign.kill()
  Child.release(1)
  balance(free, &check)
  Kernel.call(.capabilityDrop, Slot.other)
  Kernel.call(.capabilityDrop, Slot.scratch)
  Kernel.call(.capabilityDrop, Slot.scratch2)
  report.finish(check)
}

private func grants(_ child: Child, _ report: inout Report) {
  refusals("capabilityGrant, authority", .family, &report) {
    Kernel.call(.capabilityGrant, $0, Slot.family, child.handle, 1)
  }
  let ungrantable = Authority(
    name: 0x0001 << 48, length: 2, foreignName: 0x0009 << 48, weakRights: Right.read | Right.write)
  refusals("capabilityGrant, what is granted", ungrantable, foreign: .notTried, &report) {
    Kernel.call(.capabilityGrant, Slot.family, $0, child.handle, 1)
  }
  var check = Check("capabilities", "grants to what is not there")
  func refused(_ handle: UInt64, _ to: UInt64, _ otherwise: StaticString) {
    let before = Snapshot()
    let answer = Kernel.call(.capabilityGrant, Slot.family, Slot.family, handle, to)
    check.expect(answer.isRefused, otherwise, answer.raw)
    before.compare(with: Snapshot(), &check)
  }
  refused(child.handle, 8, "slot 8")
  refused(child.handle, UInt64.max, "slot -1")
  refused(0, 1, "handle 0")
  refused(child.handle + 1 << 32, 1, "a later generation")
  refused(UInt64.max, 1, "handle -1")
  report.finish(check)

  var granted = Check("capabilities", "a grant, and what death leaves")
  let answer = Kernel.call(.capabilityGrant, Slot.family, Slot.family, child.handle, 6)
  let slot = Information.slot(of: child.handle)
  granted.expect(answer.raw, equals: 0, "answer")
  granted.expect(record(6, of: slot).name, equals: 0x0001 << 48, "name")
  granted.expect(UInt64(record(6, of: slot).rights), equals: Right.all, "rights")
  granted.expect(child.kill().raw, equals: 0, "killing")
  granted.expect(record(6, of: slot).name | UInt64(record(6, of: slot).valid), equals: 0, "the dead child's capability")
  let before = Snapshot()
  let stale = Kernel.call(.capabilityGrant, Slot.family, Slot.family, child.handle, 6)
  granted.expect(stale.error == .noSuchResource, "a grant to the dead", stale.raw)
  before.compare(with: Snapshot(), &granted)
  report.finish(granted)
}
