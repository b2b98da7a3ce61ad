// SPDX-License-Identifier: Apache-2.0
// Programs.swift: attacks on programs in the kernel: what it must not take, and what becomes of those that it took.

import ApusABI

/// Programs as the group `programs` makes and spoils them.
enum BPF {
  static var slots: UInt64 { PacketPlace.payload }
  static var list: UInt64 { PacketPlace.list }
  static var frameCount: UInt64 { 3 }

  /// One instruction.
  static func slot(_ code: UInt64, _ to: UInt64 = 0, _ from: UInt64 = 0, _ offset: Int64 = 0, _ value: Int64 = 0)
    -> UInt64
  {
    let low = UInt64(bitPattern: offset) & 0xffff
    return code | to << 8 | from << 12 | low << 16 | UInt64(bitPattern: value) << 32
  }
  static func set(_ register: UInt64, _ value: Int64) -> UInt64 { slot(0xb7, register, 0, 0, value) }
  static func load(_ to: UInt64, _ from: UInt64, _ offset: Int64) -> UInt64 { slot(0x79, to, from, offset) }
  static func call(_ helper: Int64) -> UInt64 { slot(0x85, 0, 0, 0, helper) }
  static var exit: UInt64 { 0x95 }

  /// Lists fresh frames at `list`.
  static func takeFrames(_ count: UInt64 = frameCount, _ slot: UInt64 = Slot.family) -> Bool {
    Kernel.call(.frameAllocate, slot, list, count, 0).value == count
  }

  /// Gives the frames at `list` back, from one on; false if one is not an ordinary frame of nobody else's.
  static func giveFramesBack(from first: UInt64 = 0, _ count: UInt64 = frameCount) -> Bool {
    Kernel.call(.frameFree, Slot.family, list + first * 8, count - first).value == count - first
  }

  static func create(_ use: ProgramUse, _ count: UInt64, by slot: UInt64 = Slot.family) -> Answer {
    Kernel.call(.programCreate, slot, use.rawValue | count << 8, slots, list, frameCount)
  }

  /// Verifies and compiles; what the last call said.
  static func verify(_ name: UInt64) -> Answer {
    for _ in 0..<2000 {
      let answer = Kernel.call(.programVerify, Slot.family, name)
      if answer.raw != 1 { return answer }
    }
    return Kernel.call(.programVerify, Slot.family, name)
  }

  /// Makes a program of the instructions at `slots`, with the frames at `list`.
  static func make(_ use: ProgramUse, _ count: UInt64) -> UInt64? {
    guard takeFrames(), let name = create(use, count).value, verify(name).raw == 0, giveFramesBack(from: 1) else {
      return nil
    }
    return name
  }

  /// Ends a program whose first frame is at `list`.
  static func end(_ name: UInt64) -> Bool {
    Kernel.call(.programEnd, Slot.family, name).raw == 0 && giveFramesBack(from: 0, 1)
  }
}

func programChecks(_ report: inout Report) {
  var memory = Check("programs", "memory")
  for page in 0..<PacketPlace.pages {
    memory.expect(Memory.mapFresh(at: PacketPlace.header + page * 4096) != nil, "a page")
  }
  guard memory.holds else { return report.finish(memory) }
  programsThatCannotBe(&report)
  programsRefused(&report)
  longestProgram(&report)
  framesOfPrograms(&report)
  programsRunOut(&report)
  predicates(&report)
  codeIsReadOnly(&report)
  for page in 0..<PacketPlace.pages {
    memory.expect(Memory.unmapAndGiveBack(PacketPlace.header + page * 4096), "given back")
  }
  report.finish(memory)
}

/// Writes an instruction of the program to come.
private func put(_ index: UInt64, _ slot: UInt64) { store64(BPF.slots + index * 8, slot) }

private func programsThatCannotBe(_ report: inout Report) {
  put(0, BPF.set(0, 1))
  put(1, BPF.exit)
  var check = Check("programs", "programs that cannot be")
  check.expect(BPF.takeFrames(), "frames")
  refusals("programCreate", .family, &report) { BPF.create(.wakeupPredicate, 2, by: $0) }
  func create(_ word: UInt64, _ frames: UInt64 = 3) -> Answer {
    Kernel.call(.programCreate, Slot.family, word, BPF.slots, BPF.list, frames)
  }
  refused(&check, .invalid, "no use") { create(2 << 8) }
  refused(&check, .invalid, "a use that there is not") { create(4 | 2 << 8) }
  refused(&check, .invalid, "no instructions") { create(3) }
  refused(&check, .invalid, "513 instructions") { create(3 | 513 << 8) }
  refused(&check, .invalid, "2^56 - 1 instructions") { create(3 | UInt64.max << 8) }
  refused(&check, .invalid, "one frame") { create(3 | 2 << 8, 1) }
  refused(&check, .invalid, "two frames for 512 instructions") { create(3 | 512 << 8, 2) }
  refused(&check, .invalid, "nine frames") { create(3 | 2 << 8, 9) }
  let third = load64(BPF.list + 16)
  func cannot(_ frame: UInt64, _ error: SystemCallError) {
    store64(BPF.list + 16, frame)
    refused(&check, error, "a third frame that cannot be") { create(3 | 2 << 8) }
  }
  cannot(load64(BPF.list), .wrongType)
  cannot(Information.page.frame_count, .noSuchResource)
  cannot(UInt64.max, .noSuchResource)
  cannot(Information.ownRoot, .wrongType)
  cannot(OwnTables.frame(PacketPlace.list), .inUse)
  store64(BPF.list + 16, third)
  let call = SystemCall.programCreate
  check.expect(Kernel.call(call, Slot.family, 3 | 2 << 8, 0, BPF.list, 3).isFault, "instructions nowhere")
  check.expect(Kernel.call(call, Slot.family, 3 | 2 << 8, BPF.slots, 8, 3).isFault, "a list nowhere")
  let end = PacketPlace.header + PacketPlace.pages * 4096
  check.expect(
    Kernel.call(call, Slot.family, 3 | 512 << 8, end - 4088, BPF.list, 3).isFault, "instructions not all there")
  func unknown(_ name: UInt64) {
    refused(&check, .noSuchResource, "verifying none") { Kernel.call(.programVerify, Slot.family, name) }
    refused(&check, .noSuchResource, "ending none") { Kernel.call(.programEnd, Slot.family, name) }
    refused(&check, .noSuchResource, "sleeping on none") {
      Kernel.call(.predicateSleep, Slot.family, name, BPF.list, 1)
    }
  }
  unknown(0)
  unknown(0x13f)
  unknown(1 << 40)
  unknown(UInt64.max)
  check.expect(BPF.giveFramesBack(), "a frame was kept")
  report.finish(check)
}

/// A program of so many instructions is refused by a rule at a slot, and gives its frames back.
private func refusedBy(
  _ reason: UInt64, at slot: UInt64, _ use: ProgramUse, _ count: UInt64, _ check: inout Check, _ what: StaticString
) {
  check.expect(BPF.takeFrames(), "frames")
  let name = BPF.create(use, count).value ?? 0
  check.expect(name != 0, what)
  check.expect(BPF.verify(name).raw, equals: 0 &- (13 | reason << 8 | slot << 16), what)
  check.expect(Kernel.call(.programVerify, Slot.family, name).error == .noSuchResource, "it is still there")
  check.expect(BPF.giveFramesBack(), "a frame was kept")
}

private func programsRefused(_ report: inout Report) {
  var check = Check("programs", "programs that break a rule")
  put(0, BPF.exit)
  refusedBy(0, at: 0, .wakeupPredicate, 1, &check, "no result")
  put(0, BPF.load(0, 1, 64))
  put(1, BPF.exit)
  refusedBy(4, at: 0, .wakeupPredicate, 2, &check, "beyond the words")
  put(0, BPF.slot(0x7b, 1, 2))
  refusedBy(7, at: 0, .wakeupPredicate, 2, &check, "writing to the words")
  put(0, BPF.slot(0xbf, 0, 1))
  refusedBy(17, at: 1, .wakeupPredicate, 2, &check, "telling an address")
  put(0, BPF.set(0, 2))
  refusedBy(29, at: 1, .wakeupPredicate, 2, &check, "a result out of range")
  put(0, BPF.set(0, 0))
  put(1, BPF.slot(0x05, 0, 0, -2))
  refusedBy(30, at: 1, .wakeupPredicate, 2, &check, "a loop")
  put(0, BPF.slot(0x85, 0, 1, 0, 1))
  put(1, BPF.exit)
  put(2, BPF.exit)
  refusedBy(31, at: 0, .wakeupPredicate, 3, &check, "a function")
  put(0, BPF.call(1))
  refusedBy(20, at: 0, .wakeupPredicate, 2, &check, "a helper of another use")
  put(0, UInt64.max)
  refusedBy(128 | 3, at: 0, .wakeupPredicate, 2, &check, "no instruction")
  put(0, BPF.slot(0x05, 0, 0, 1))
  put(1, BPF.exit)
  refusedBy(128 | 13, at: 0, .wakeupPredicate, 2, &check, "a jump out of it")
  put(0, BPF.slot(0x18, 0))
  refusedBy(128 | 5, at: 0, .wakeupPredicate, 1, &check, "half an instruction")
  report.finish(check)
}

/// As many instructions as there may be, with as many ways to meet as the memory holds: each step stays short.
private func longestProgram(_ report: inout Report) {
  var check = Check("programs", "the longest program")
  put(0, BPF.set(0, 0))
  for index in 1..<UInt64(511) { put(index, BPF.slot(0x15, 2, 0, 0, Int64(index))) }
  put(511, BPF.exit)
  check.expect(BPF.takeFrames(), "frames")
  let name = BPF.create(.packetHandler, 512).value ?? 0
  // r2 is an address, which is compared with a number.
  check.expect(BPF.verify(name).raw, equals: 0 &- (13 | 13 << 8 | 1 << 16), "comparing an address")
  put(0, BPF.load(0, 3, 0))
  for index in 1..<UInt64(510) { put(index, BPF.slot(0x15, 0, 0, 0, Int64(index & 63))) }
  put(510, BPF.set(0, 0))
  let good = BPF.create(.packetHandler, 512).value ?? 0
  var steps: UInt64 = 0
  var most: UInt64 = 0
  while true {
    let start = time_stamp()
    let answer = Kernel.call(.programVerify, Slot.family, good)
    most = max(most, time_stamp() - start)
    steps += 1
    if answer.raw != 1 || steps == 2000 {
      check.expect(answer.raw, equals: 0, "the verdict")
      break
    }
  }
  check.expect(steps > 64, "it was not done in steps", steps)
  var line = Line()
  line.put(steps)
  line.put(" steps for the longest program, the longest of ")
  line.put(most)
  line.put(" ticks")
  line.send()
  check.expect(BPF.giveFramesBack(from: 1) && BPF.end(good), "the frames")
  report.finish(check)
}

private func framesOfPrograms(_ report: inout Report) {
  var check = Check("programs", "frames of a program are nobody's to touch")
  put(0, BPF.set(0, 1))
  put(1, BPF.exit)
  check.expect(BPF.takeFrames(), "frames")
  let name = BPF.create(.wakeupPredicate, 2).value ?? 0
  for index in 0..<BPF.frameCount {
    let frame = load64(BPF.list + index * 8)
    check.expect(Memory.write(Entry.page(frame), at: PacketPlace.packet + 4096).error == .wrongType, "mapping one")
    store64(PacketPlace.packet, frame)
    check.expect(Kernel.call(.frameFree, Slot.family, PacketPlace.packet, 1).error == .wrongType, "freeing one")
    check.expect(
      Kernel.call(.tableInstall, Slot.family, Information.ownRoot, 0, 4, frame).error == .wrongType, "a root of one")
  }
  refusals("programVerify", .family, &report) { Kernel.call(.programVerify, $0, name) }
  refusals("programEnd", .family, &report) { Kernel.call(.programEnd, $0, name) }
  refused(&check, .wrongType, "sleeping on what is not ready") {
    Kernel.call(.predicateSleep, Slot.family, name, BPF.list, 1)
  }
  check.expect(Kernel.call(.programEnd, Slot.family, name).raw, equals: 0, "ending it half way")
  refused(&check, .noSuchResource, "ending it twice") { Kernel.call(.programEnd, Slot.family, name) }
  check.expect(BPF.giveFramesBack(), "the frames")
  report.finish(check)
}

private func programsRunOut(_ report: inout Report) {
  var check = Check("programs", "programs run out, and come back")
  let names = PacketPlace.packet
  var made: UInt64 = 0
  put(0, BPF.set(0, 1))
  put(1, BPF.exit)
  while made < 100 {
    guard BPF.takeFrames() else { break }
    guard let name = BPF.create(.wakeupPredicate, 2).value else { break }
    store64(names + made * 16, name)
    store64(names + made * 16 + 8, load64(BPF.list))
    check.expect(BPF.verify(name).raw == 0 && BPF.giveFramesBack(from: 1), "verifying")
    made += 1
  }
  check.expect(made, equals: 64, "programs")
  check.expect(BPF.create(.wakeupPredicate, 2).error == .exhausted && BPF.giveFramesBack(), "one more")
  for index in 0..<made {
    store64(BPF.list, load64(names + index * 16 + 8))
    check.expect(BPF.end(load64(names + index * 16)), "an end")
  }
  report.finish(check)
}

/// Eight words at a page, of which a program compares the first with the second.
private func predicates(_ report: inout Report) {
  var check = Check("programs", "sleeping on a predicate")
  put(0, BPF.load(3, 1, 0))
  put(1, BPF.load(4, 1, 8))
  put(2, BPF.set(0, 1))
  put(3, BPF.slot(0x5d, 3, 4, 1))
  put(4, BPF.set(0, 0))
  put(5, BPF.exit)
  guard let name = BPF.make(.wakeupPredicate, 6) else { return report.notTried(check) }
  let frame = load64(BPF.list)
  let words = PacketPlace.entries
  let list = PacketPlace.packet
  for index in 0..<UInt64(8) { store64(list + index * 8, index < 2 ? words + index * 8 : 0) }
  func sleep(_ deadline: UInt64) -> UInt64 {
    hostile_suspend(UInt64(SystemCall.predicateSleep.rawValue), Slot.family, name, list, deadline)
  }
  refusals("predicateSleep", .family, &report) { Kernel.call(.predicateSleep, $0, name, list, 1) }
  store64(words, 5)
  store64(words + 8, 6)
  check.expect(Kernel.call(.predicateSleep, Slot.family, name, list, UInt64.max).raw, equals: 1, "it holds already")
  store64(words + 8, 5)
  check.expect(Kernel.call(.predicateSleep, Slot.family, name, list, 1).raw, equals: 1, "a time that has passed")
  let start = time_stamp()
  let deadline = start + Information.page.slice_ticks * 4
  _ = sleep(deadline)
  check.expect(time_stamp() >= deadline, "it woke before its time")
  store64(list, words + 4)
  check.expect(Kernel.call(.predicateSleep, Slot.family, name, list, 1).isFault, "half a word")
  store64(list, 0x1000)
  check.expect(Kernel.call(.predicateSleep, Slot.family, name, list, 1).isFault, "a word nowhere")
  store64(list, UInt64(APUS_INFORMATION_BASE) + 4096)
  check.expect(Kernel.call(.predicateSleep, Slot.family, name, list, 1).isFault, "a word of the frame table")
  store64(BPF.list, frame)
  check.expect(BPF.end(name), "the end")
  report.finish(check)
}

/// Whatever lies where the kernel keeps code cannot be reached from ring 3.
private func codeIsReadOnly(_ report: inout Report) {
  var check = Check("programs", "code cannot be reached from ring 3")
  let places: [3 of UInt64] = [0xffff_ffff_a000_0000, 0xffff_ffff_a020_0000, 0xffff_8800_0010_0000]
  for index in places.indices {
    check.expect(faults(places[index]), "reading it", places[index])
    check.expect(faults(places[index], writing: true), "writing it", places[index])
  }
  report.finish(check)
}
