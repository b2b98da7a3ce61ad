// SPDX-License-Identifier: Apache-2.0
// Isolation.swift: one family holds patterns in every register; a neighbour of another family finds none of them.

import ApusABI

/// Kinds of registers that the reader looks at.
///
/// Each has three words of the shared memory: how often it found something
/// there, and where and what that was the first time.
private enum Kind: UInt64 {
  case general, flags, bases, selectors, vectors, rights

  var failures: UInt64 { Shared[1 + rawValue * 3] }
  var place: UInt64 { Shared[2 + rawValue * 3] }
  var value: UInt64 { Shared[3 + rawValue * 3] }

  func found(_ place: UInt64, _ value: UInt64) {
    if failures == 0 {
      Shared[2 + rawValue * 3] = place
      Shared[3 + rawValue * 3] = value
    }
    Shared[1 + rawValue * 3] = failures + 1
  }

  static var looks: UInt64 { Shared[0] }
}

/// Offsets in an XSAVE area with x87, SSE and AVX state.
///
/// SDM vol. 1, 13.4. From 416 on it has 96 bytes for software
/// and 64 of header.
private enum Area {
  static var mxcsr: UInt64 { 24 }
  static var header: UInt64 { 512 }
  static var words: UInt64 { 832 / 8 }

  static func isState(_ word: UInt64) -> Bool {
    word * 8 < 416 || word * 8 >= 576 && Information.page.extended_state_mask & 4 != 0
  }
}

/// How often the reader found something in the x87 and vector state.
var vectorsFound: UInt64 { Kind.vectors.failures }

/// What the reader does with the registers that it wrote down at the begin of its slice.
@c @used func hostile_reader_look() {
  let file = Registers(address: address_of_hostile_reader_file())
  for index in 0..<UInt64(16) {
    // SYSRET leaves the entry in rcx and the flags in r11; rsp is what the u-area says.
    let expected: UInt64 =
      switch index {
      case 1: address_of_hostile_reader_entry()
      case 4: uarea_word(UInt32(APUS_UA_SLICE_STACK))
      case 11: 0x202
      default: 0
      }
    let value = load64(file.address + index * 8)
    if value != expected { Kind.general.found(index, value) }
  }
  if file.flags != 0x202 { Kind.flags.found(0, file.flags) }
  let fs = load64(address_of_hostile_reader_fs())
  if fs != 0 { Kind.bases.found(0, fs) }
  let gs = load64(address_of_hostile_reader_gs())
  if gs != uarea_word(UInt32(APUS_UA_SELF)) { Kind.bases.found(1, gs) }
  for index in 0..<UInt64(3) {
    let selector = load64(address_of_hostile_reader_selectors() + index * 8)
    if selector != 0 { Kind.selectors.found(index, selector) }
  }
  lookAtVectors(address_of_hostile_reader_vectors()) { Kind.vectors.found($0, $1) }
  if Information.page.protection_keys != 0, read_rights() != 0 { Kind.rights.found(0, read_rights()) }
  Shared[0] = Kind.looks + 1
}

/// All zero, but for the control words, which have their initial values, and the processor's mask beside MXCSR.
func lookAtVectors(_ area: UInt64, _ found: (UInt64, UInt64) -> Void) {
  for word in 0..<Area.words where Area.isState(word) {
    let value = load64(area + word * 8)
    let expected: UInt64 = word == 0 ? 0x37f : word * 8 == Area.mxcsr ? 0x1f80 : 0
    let looked = word * 8 == Area.mxcsr ? value & 0xffff_ffff : value
    // XSAVE need not write components that are in their initial state.
    if looked != expected && value != 0 { found(word * 8, value) }
  }
}

/// Fills the vector state that the holder loads: eight x87 registers, control words, sixteen vector registers.
func fillVectors(_ area: UInt64) {
  for word in 0..<Area.words { store64(area + word * 8, (word + 1) &* 0x0101_0101_0101_0101 ^ 0x5a5a_0000_a5a5) }
  // Control word with other rounding, an empty status, all registers in use; no instruction or operand pointer.
  store64(area, 0x0000_00ff_0000_0f7f)
  store64(area + 8, 0)
  store64(area + 16, 0)
  // Flush to zero, rounding down, all masked.
  store64(area + Area.mxcsr, 0xbf80)
  for register in 0..<UInt64(8) {
    // A normal 80-bit number: the explicit leading one, an exponent in the middle.
    store64(area + 32 + register * 16, 1 << 63 | 0x1234_5678 &* (register + 1))
    store64(area + 40 + register * 16, 0x3fff + register)
  }
  fill_words(area + 416, 20, 0)
  store64(area + Area.header, Information.page.extended_state_mask & 7)
}

func isolationChecks(_ report: inout Report) {
  var check = Check("isolation", "a holder of patterns and a neighbour take turns")
  let free = free_frames()
  let file = Registers(address: address_of_hostile_holder_file())
  Pattern.fill(file, seed: 99)
  fillVectors(address_of_hostile_holder_vectors())
  store64(address_of_hostile_holder_fs(), 0x0000_1357_9bdf_0246)
  store64(address_of_hostile_holder_done(), 0)
  // Nothing but key 0, which all of this program has.
  store64(address_of_hostile_holder_rights(), Information.page.protection_keys != 0 ? 0xffff_fffc : 0)
  for index in 0..<UInt64(19) { Shared[index] = 0 }
  Kernel.forge(Slot.other, name: 0x0041 << 48, length: 2)
  Kernel.forge(Slot.scratch, name: 0x0042 << 48, length: 2)
  guard
    let holder = Child(
      0, body: address_of_hostile_holder_body(), foreign: Slot.other,
      changing: { store64($0 + UInt64(UA_PLAN), UInt64(PLAN_GO_ON_ALWAYS)) }),
    let reader = Child(
      1, body: 0, foreign: Slot.scratch,
      changing: {
        store64($0 + UInt64(APUS_UA_SLICE_BEGIN_ENTRY), address_of_hostile_reader_entry())
        store64($0 + UInt64(APUS_UA_SLICE_STACK), Child.uarea(of: 1) + 0x6000)
      })
  else {
    check.expect(false, "no children")
    report.finish(check)
    return
  }
  let before = holder.record
  check.expect(
    waitUntil { Kind.looks >= 50 && holder.record.slices_used >= before.slices_used + 20 }, "nobody runs", Kind.looks)
  check.expect(holder.isLive && reader.isLive, "one of them has ended")
  report.finish(check)
  // The number tells which of the kind differs, or its offset in the XSAVE area.
  func nothing(_ kind: Kind, _ name: StaticString) {
    var one = Check("isolation", name)
    if kind.failures > 0 { one = Check("isolation", name, kind.place) }
    one.expect(kind.failures == 0, "found", kind.value)
    report.finish(one)
  }
  nothing(.general, "nothing in the general registers")
  nothing(.flags, "nothing in the flags")
  nothing(.bases, "nothing in the FS and GS bases")
  nothing(.selectors, "nothing in the data selectors")
  nothing(.vectors, "nothing in the x87 and vector state")
  nothing(.rights, "nothing in the rights of protection keys")

  var own = Check("isolation", "the holder finds its own registers")
  let held = holder.record
  own.expect(
    held.exception_upcalls > 20 && held.calls > 20 && held.slice_upcalls > 20, "faults, calls and slices meanwhile",
    held.exception_upcalls)
  let rcx = file[REGISTER_RCX]
  file[REGISTER_RCX] = 0  // the sign to end
  own.expect(waitUntil { load64(address_of_hostile_holder_done()) == 1 }, "it does not end")
  let after = Registers(address: address_of_hostile_holder_after())
  own.expect(after[REGISTER_RCX], equals: 0, "rcx at the end")
  file[REGISTER_RCX] = rcx
  Pattern.compare(after, with: file, &own, "a general register", leavingOut: 1 << 1 | 1 << 4)
  own.expect(after.flags, equals: file.flags, "flags")
  own.expect(load64(address_of_hostile_holder_fs_after()), equals: 0x0000_1357_9bdf_0246, "FS base")
  for word in 0..<Area.words where Area.isState(word) {
    let mask: UInt64 = word * 8 == Area.mxcsr ? 0xffff_ffff : UInt64.max
    own.expect(
      load64(address_of_hostile_holder_vectors_after() + word * 8) & mask,
      equals: load64(address_of_hostile_holder_vectors() + word * 8) & mask, "a word of the vector state")
  }
  holder.kill()
  reader.kill()
  balance(free, &own)
  report.finish(own)
  Kernel.call(.capabilityDrop, Slot.other)
  Kernel.call(.capabilityDrop, Slot.scratch)
}
