// SPDX-License-Identifier: Apache-2.0
// Pointers.swift: garbage in every argument of every call. The kernel refuses it, changes nothing and goes on.

import ApusABI

/// What an argument means, which decides what garbage is for it.
private enum Kind {
  /// Not looked at: any value is as good as another.
  case unused
  /// Anything goes, and is no garbage: a value to compare with, a time.
  case free
  /// A capability slot.
  case slot
  /// Two capability slots in one.
  case slots
  /// An address that the kernel reads or writes, here 16 bytes from it on.
  case pointerIn
  case pointerOut
  /// The address of one word.
  case word
  /// A page-aligned address to be mapped.
  case page
  case frame
  case root
  case handle
  case slice
  case count(UInt64)
  /// A number of pages, of which the call does as many as it can.
  case pages
  case level
  case flags
  /// A length of time with an upper and a lower limit.
  case ticks
  case processor
  /// A u-area's address: page-aligned below the limit, mapped or not.
  case uarea
}

/// A call that would succeed, and what each of its arguments means.
private struct Template {
  let name: StaticString
  let call: SystemCall
  let arguments: (UInt64, UInt64, UInt64, UInt64, UInt64)
  let kinds: (Kind, Kind, Kind, Kind, Kind)
}

/// Addresses around which the checks have arranged what is mapped and what is not.
private enum Place {
  /// Two mapped pages, the second read-only, then nothing.
  static var base: UInt64 { Memory.region + 0x18_0000 }
  static var readOnly: UInt64 { base + 4096 }
  static var end: UInt64 { base + 2 * 4096 }
}

/// Goes through garbage for a kind of argument.
private func garbage(_ kind: Kind, _ body: (UInt64) -> Void) {
  func each<let count: Int>(_ values: [count of UInt64]) {
    for index in values.indices { body(values[index]) }
  }
  switch kind {
  case .unused, .free: return
  case .slot:
    each([8, 9, 64, 255, 256, 1 << 16, 1 << 31, 1 << 32, 1 << 63, UInt64.max, Place.base])
  case .slots:
    each([8, 255, 8 << 8, 255 << 8, 1 << 16, 1 << 32, 1 << 63, UInt64.max, Place.base])
  case .pointerIn, .pointerOut, .word:
    each([
      // Near null, unmapped, and the end of what is mapped.
      8, 4088, Memory.region + 0x17_0000, Place.end, Place.end - 8 + 4, Place.end + 8,
      // The kernel: text, constants, physical memory, its stack of devices; information pages, page tables.
      0xffff_ffff_8010_0000, 0xffff_ffff_8011_0000, 0xffff_8800_0010_0000, 0xffff_8800_0000_0000,
      0xffff_ffff_fee0_0000, UInt64(APUS_INFORMATION_BASE) + 4096, UInt64(APUS_TABLES_BASE),
      OwnTables.entryAddress(Place.base, level: 1), OwnTables.entryAddress(Place.base, level: 4),
      // The ends of the lower half and of everything.
      UInt64(APUS_USER_LIMIT) - 4096, UInt64(APUS_USER_LIMIT) - 8, UInt64(APUS_USER_LIMIT), UInt64(APUS_USER_LIMIT) + 8,
      0x0000_7fff_ffff_fff8, 0x0000_8000_0000_0000, 0x8000_0000_0000_0000, 0xffff_7fff_ffff_fff8,
      0xffff_8000_0000_0000, UInt64.max - 4095, UInt64.max - 15, UInt64.max - 7, UInt64.max,
    ])
    if case .pointerOut = kind {
      each([
        0, Place.readOnly, Place.readOnly + 8, Place.readOnly - 8, address_of_hostile_image_start(),
        UInt64(APUS_INFORMATION_BASE),
      ])
    } else if case .pointerIn = kind {
      each([0, UInt64(APUS_INFORMATION_BASE), Place.end - 8])
    } else {
      each([Place.base + 1, Place.base + 4, Place.base + 7, UInt64(APUS_INFORMATION_BASE) + 4])
    }
  case .page, .uarea:
    each([
      1, Place.base + 8, Place.base + 4095, UInt64(APUS_USER_LIMIT), UInt64(APUS_USER_LIMIT) + 4096,
      0x0000_8000_0000_0000, 0x8000_0000_0000_0000, 0xffff_8000_0000_0000, UInt64(APUS_INFORMATION_BASE),
      UInt64(APUS_TABLES_BASE), 0xffff_ffff_8010_0000, UInt64.max - 4095, UInt64.max,
    ])
  case .frame, .root:
    let count = Information.page.frame_count
    each([
      0, 0x100, 0xa0, count, count + 1, 1 << 31, 0xffff_ffff, 1 << 32, 1 << 40, 1 << 51, 1 << 52, 1 << 63,
      UInt64.max, Place.base, firstFreeFrame(),
    ])
    if case .root = kind {
      each([OwnTables.frame(Place.base), (OwnTables.entry(Place.base, level: 2) & 0x000f_ffff_ffff_f000) >> 12])
    } else {
      // A table of another level than the calls ask for.
      each([Information.ownRoot, (OwnTables.entry(Place.base, level: 3) & 0x000f_ffff_ffff_f000) >> 12])
    }
  case .handle:
    let own = Information.ownHandle
    each([
      own + 1 << 32, own - 1 << 32, own & 0xffff_ffff, own | 1 << 63, own + 40, 0xffff_ffff, 1 << 32, UInt64.max,
      1 << 63, Information.page.environment_count + 1, Place.base,
    ])
  case .slice:
    each([Information.page.slice_count, 1 << 31, 1 << 32, 1 << 63, UInt64.max - 1, Place.base])
  case .count(let limit):
    each([limit + 1, 1 << 16 - 1, 1 << 32, 1 << 60, 1 << 61, 1 << 61 + 1, 1 << 63, UInt64.max, Place.base])
  case .pages:
    each([1 << 36, 1 << 52, 1 << 60, 1 << 61, 1 << 61 + 1, 1 << 63, UInt64.max])
  case .level:
    each([0, 5, 255, 1 << 32, 1 << 63, UInt64.max, Place.base])
  case .ticks: each([0, 1, 1 << 32, 1 << 40, 1 << 62, 1 << 63, UInt64.max])
  case .processor: each([Information.page.processor_count, 255, 1 << 16, 1 << 32, 1 << 63, UInt64.max, Place.base])
  case .flags:
    each([4, 0x100, 1 << 32, 1 << 63, UInt64.max, Place.base])
  }
}

private func perform(_ call: SystemCall, _ a: (UInt64, UInt64, UInt64, UInt64, UInt64)) -> Answer {
  switch call {
  case .yield, .sleep: Answer(raw: hostile_suspend(UInt64(call.rawValue), a.0, a.1, a.2, a.3))
  default: Kernel.call(call, a.0, a.1, a.2, a.3, a.4)
  }
}

/// Tries garbage in each argument of a call that takes it.
private func attack(_ template: Template, _ report: inout Report) {
  for position in 0..<UInt64(5) {
    let kind: Kind
    switch position {
    case 0: kind = template.kinds.0
    case 1: kind = template.kinds.1
    case 2: kind = template.kinds.2
    case 3: kind = template.kinds.3
    default: kind = template.kinds.4
    }
    var check = Check("pointers", template.name, position)
    var tried: UInt64 = 0
    garbage(kind) { value in
      fill_words(Memory.list, 64, OwnTables.frame(Place.base))
      var arguments = template.arguments
      switch position {
      case 0: arguments.0 = value
      case 1: arguments.1 = value
      case 2: arguments.2 = value
      case 3: arguments.3 = value
      default: arguments.4 = value
      }
      let before = Snapshot()
      let answer = perform(template.call, arguments)
      check.expect(answer.isRefused, "not refused", value)
      if check.holds { before.compare(with: Snapshot(), &check) }
      tried += 1
    }
    if tried > 0 { report.finish(check) }
  }
}

func pointerChecks(_ report: inout Report) {
  guard let child = Child(0, body: Body.sleep), waitUntil({ child.isAsleep }), Memory.mapFresh(at: Place.base) != nil,
    Memory.mapFresh(at: Place.readOnly, writable: false) != nil, let frame = Memory.takeFrame(),
    Memory.makeTables(for: Memory.region + 0x40_0000, root: Information.ownRoot)
  else {
    var check = Check("pointers", "preparation")
    check.expect(false, "no memory")
    report.finish(check)
    return
  }
  timeCalls(child, &report)
  frameCalls(frame, &report)
  addressSpaceCalls(frame, &report)
  environmentCalls(child, frame, &report)
  deviceCalls(&report)
  unknownNumbers(&report)
  unusedArguments(&report)

  var check = Check("pointers", "everything given back")
  child.kill()
  let table = Kernel.call(.tableRemove, Slot.family, Information.ownRoot, Memory.region + 0x40_0000, 1)
  check.expect(Child.release(0), "the child's pages")
  check.expect(Memory.giveBack(table.raw).value == 1, "the table")
  check.expect(Memory.unmapAndGiveBack(Place.base) && Memory.unmapAndGiveBack(Place.readOnly), "the pages")
  check.expect(Memory.giveBack(frame).value == 1, "the frame")
  report.finish(check)
}

private func timeCalls(_ child: Child, _ report: inout Report) {
  attack(
    Template(
      name: "yield", call: .yield, arguments: (0, 0, 0, 0, 0), kinds: (.handle, .unused, .unused, .unused, .unused)),
    &report)
  // The word differs from the value, so that the call would return at once.
  attack(
    Template(
      name: "sleep", call: .sleep, arguments: (Place.base, 77, UInt64.max, 0, 0),
      kinds: (.word, .free, .free, .handle, .unused)), &report)
  attack(
    Template(
      name: "sliceAllocate", call: .sliceAllocate, arguments: (Slot.family, UInt64.max, child.handle, 0, 0),
      kinds: (.slot, .slice, .handle, .unused, .unused)), &report)
  attack(
    Template(
      name: "sliceFree", call: .sliceFree, arguments: (Slot.family, 5, 0, 0, 0),
      kinds: (.slot, .slice, .unused, .unused, .unused)), &report)
  let tenth = Information.page.ticks_per_second / 10
  attack(
    Template(
      name: "contract", call: .contract, arguments: (Slot.family, child.handle, tenth, tenth / 100, 0),
      kinds: (.slot, .handle, .ticks, .ticks, .processor)), &report)
  attack(
    Template(
      name: "contractEnd", call: .contractEnd, arguments: (Slot.family, 1 << 32, 0, 0, 0),
      kinds: (.slot, .handle, .unused, .unused, .unused)), &report)
}

private func frameCalls(_ frame: UInt64, _ report: inout Report) {
  attack(
    Template(
      name: "frameAllocate", call: .frameAllocate, arguments: (Slot.family, Memory.list, 2, 0, 0),
      kinds: (.slot, .pointerOut, .count(64), .flags, .unused)), &report)
  attack(
    Template(
      name: "frameAllocate, named", call: .frameAllocate, arguments: (Slot.family, Memory.list, 2, 1, 0),
      kinds: (.unused, .pointerOut, .unused, .unused, .unused)), &report)
  attack(
    Template(
      name: "frameFree", call: .frameFree, arguments: (Slot.family, Memory.list, 2, 0, 0),
      kinds: (.slot, .pointerIn, .count(512), .unused, .unused)), &report)
  attack(
    Template(
      name: "frameTransfer", call: .frameTransfer, arguments: (Slot.family, Memory.list, 2, Slot.family, 0),
      kinds: (.slot, .pointerIn, .count(512), .slot, .unused)), &report)
  attack(
    Template(
      name: "frameGuard", call: .frameGuard, arguments: (Slot.family, frame, 3, 0x0001_01 << 40, 0),
      kinds: (.slot, .frame, .count(8), .slot, .unused)), &report)
}

private func addressSpaceCalls(_ frame: UInt64, _ report: inout Report) {
  let root = Information.ownRoot
  let both = Memory.both(Slot.family, Slot.family)
  attack(
    Template(
      name: "tableInstall", call: .tableInstall, arguments: (Slot.family, root, Memory.region + 0x60_0000, 1, frame),
      kinds: (.slot, .root, .page, .level, .frame)), &report)
  attack(
    Template(
      name: "tableInstall, root", call: .tableInstall, arguments: (Slot.family, 0, 0, 4, frame),
      kinds: (.slot, .unused, .unused, .unused, .frame)), &report)
  attack(
    Template(
      name: "tableRemove", call: .tableRemove, arguments: (Slot.family, root, Memory.region + 0x40_0000, 1, 0),
      kinds: (.slot, .root, .page, .level, .unused)), &report)
  attack(
    Template(
      name: "pagesWrite", call: .pagesWrite, arguments: (both, root, Memory.region + 0x10_0000, 2, Memory.list),
      kinds: (.slots, .root, .page, .pages, .pointerIn)), &report)
  attack(
    Template(
      name: "pagesProtect", call: .pagesProtect, arguments: (both, root, Place.base, 1 | 2 << 16, UInt64.max),
      kinds: (.slots, .root, .page, .pages, .free)), &report)
}

private func environmentCalls(_ child: Child, _ frame: UInt64, _ report: inout Report) {
  let root = Information.ownRoot
  attack(
    Template(
      name: "environmentCreate", call: .environmentCreate,
      arguments: (Slot.family, root, frame, Child.uarea(of: 9), 0),
      kinds: (.slot, .root, .frame, .uarea, .count(255))), &report)
  attack(
    Template(
      name: "environmentKill", call: .environmentKill, arguments: (Slot.family, child.handle, 0, 0, 0),
      kinds: (.slot, .handle, .unused, .unused, .unused)), &report)
  attack(
    Template(
      name: "environmentKill of the caller", call: .environmentKill, arguments: (Slot.family, 0, 0, 0, 0),
      kinds: (.unused, .unused, .handle, .unused, .unused)), &report)
  attack(
    Template(
      name: "capabilityForge", call: .capabilityForge,
      arguments: (Slot.family, Slot.scratch, 2 | Right.all << 8, 0x0001 << 48, 0),
      kinds: (.slot, .slot, .count(0xffff), .slot, .unused)), &report)
  attack(
    Template(
      name: "capabilityGrant", call: .capabilityGrant, arguments: (Slot.family, Slot.family, child.handle, 5, 0),
      kinds: (.slot, .slot, .handle, .slot, .unused)), &report)
  attack(
    Template(
      name: "capabilityDrop", call: .capabilityDrop, arguments: (Slot.scratch, 0, 0, 0, 0),
      kinds: (.slot, .unused, .unused, .unused, .unused)), &report)
}

private func deviceCalls(_ report: inout Report) {
  attack(
    Template(
      name: "consoleWrite", call: .consoleWrite, arguments: (Slot.console, 6, Memory.list, 16, 0),
      kinds: (.slot, .count(255), .pointerIn, .count(4096), .unused)), &report)
  attack(
    Template(
      name: "consoleRead", call: .consoleRead, arguments: (Slot.console, Memory.list, 16, 0, 0),
      kinds: (.slot, .unused, .count(4096), .unused, .unused)), &report)
  attack(
    Template(
      name: "powerOff", call: .powerOff, arguments: (Slot.machine, 0, 0, 0, 0),
      kinds: (.slot, .unused, .unused, .unused, .unused)), &report)
}

/// Numbers that no call has are a breach of contract, whatever the rest of the register holds.
private func unknownNumbers(_ report: inout Report) {
  var check = Check("pointers", "unknown call numbers")
  func unknown(_ number: UInt64) {
    let before = Snapshot()
    let answer = Kernel.call(number: number, 0, Place.base, 1, 2, 3)
    check.expect(answer.isFault, "no fault", number)
    check.expect(uarea_word(UInt32(UA_CONTRACT_ARGUMENT)), equals: number & 0x7fff_ffff, "the number that is told")
    before.compare(with: Snapshot(), &check)
  }
  for number in 0..<UInt64(256) where SystemCall(rawValue: UInt32(number)) == nil {
    unknown(UInt64(APUS_CALL_BIT) | number)
  }
  let others: [5 of UInt64] = [0x8000_0100, 0x8001_0001, 0x8000_1010, 0xc000_0001, 0xffff_ffff]
  for index in others.indices { unknown(others[index]) }
  unknown(0xffff_ffff_8000_0006)
  let high = Kernel.call(number: 0xdead_beef_8000_0000, 0, 0, 0, 0, 0)
  check.expect(high.raw, equals: 0, "the null call with bits above eax")
  report.finish(check)
}

/// Arguments that a call does not have are not looked at.
private func unusedArguments(_ report: inout Report) {
  var check = Check("pointers", "arguments that a call does not have")
  let wild: UInt64 = 0xffff_8800_0000_0008
  let before = Snapshot()
  check.expect(Kernel.call(.null, wild, wild, wild, wild, wild).raw, equals: 0, "null")
  check.expect(Kernel.call(.capabilityDrop, Slot.scratch, wild, wild, wild, wild).raw, equals: 0, "capabilityDrop")
  check.expect(Kernel.call(.frameFree, Slot.family, wild, 0, wild, wild).raw, equals: 0, "frameFree of nothing")
  check.expect(
    Kernel.call(.pagesWrite, Memory.both(Slot.family, Slot.family), Information.ownRoot, Place.base, 0, wild).raw,
    equals: 0, "pagesWrite of nothing")
  check.expect(Kernel.sleep(deadline: 0).raw, equals: 1, "sleep until a time that has come")
  check.expect(Kernel.sleep(word: Place.base, value: wild).raw, equals: 1, "sleep until a change that has come")
  before.compare(with: Snapshot(), &check)
  report.finish(check)
}
