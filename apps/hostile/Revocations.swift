// SPDX-License-Identifier: Apache-2.0
// Revocations.swift: asking for what is not one's to ask for, vectors and lists full of lies, and what is left of those
// who do not give back.

import ApusABI

// MARK: What the checks stand on

/// A family that is asked for things, and what it owns.
struct Debtor {
  let child: Child
  /// Its number.
  let account: UInt64
  /// Where its repossession vector is seen here, or 0.
  private(set) var vector: UInt64 = 0
  private(set) var vectorFrame: UInt64 = 0

  static var frames: UInt64 { RevocationKind.frames.rawValue }
  static var slices: UInt64 { RevocationKind.slices.rawValue }
  /// Where a vector is mapped here.
  private static var window: UInt64 { Memory.region + 0x1e_0000 }

  /// Makes a family of one environment; its capability is in `Slot.other` here and there.
  init?(_ account: UInt64, entry: UInt64 = 0, vector: Bool = false) {
    Kernel.forge(Slot.other, name: account << 48, length: 2)
    self.account = account
    var frame: UInt64 = 0
    if vector {
      guard let taken = Memory.takeFrame(Slot.other),
        Memory.write(Entry.page(taken), at: Self.window, by: Memory.both(Slot.family, Slot.other)).value == 1
      else { return nil }
      frame = taken
      self.vector = Self.window
      vectorFrame = taken
    }
    guard
      let child = Child(
        0, body: vector ? address_of_hostile_body_vector() : Body.sleep, foreign: Slot.other,
        capabilities: 1 << Slot.other,
        changing: { page in
          store64(page + UInt64(UA_WORD2), frame)
          store64(page + UInt64(APUS_UA_REVOCATION_ENTRY), entry)
        })
    else { return nil }
    self.child = child
    // The vector is pinned once by its environment's call.
    if vector, !waitUntil(turns: 1000, { Information.frame(frame).pins == 1 }) { return nil }
    if !waitUntil(turns: 1000, { child.isAsleep }) { return nil }
  }

  /// How many frames it holds.
  var held: UInt64 {
    var count: UInt64 = 0
    for number in 0..<Information.page.frame_count {
      let frame = Information.frame(number)
      if UInt64(frame.account) == account, frame.type != UInt8(APUS_FRAME_FREE) { count += 1 }
    }
    return count
  }

  /// Asks it, with a deadline a few slices away.
  func ask(_ count: UInt64, _ kind: UInt64 = frames, by slot: UInt64 = Slot.other) -> Answer {
    Kernel.call(.revoke, slot, account, kind, count, time_stamp() + 3 * Information.page.slice_ticks)
  }

  /// Waits until the deadline of what was asked has passed and the kernel has taken what it takes.
  func waitForTaking() -> Bool {
    waitUntil(turns: 200_000) {
      guard let record = Information.revocation(of: account) else { return true }
      return record.frames.deadline == 0 && record.slices.deadline == 0
    } && waitUntil(turns: 200_000) { !Self.isUnderWay }
  }

  /// Whether frames are on their way from their owner to the free list.
  private static var isUnderWay: Bool {
    for number in 0..<Information.page.frame_count {
      let frame = Information.frame(number)
      if frame.account == UInt16(APUS_ACCOUNT_REVOKED), frame.type == UInt8(APUS_FRAME_ORDINARY) { return true }
    }
    return false
  }

  /// A word of its vector.
  subscript(word: UInt64) -> UInt64 {
    get { load64(vector + word * 8) }
    nonmutating set { store64(vector + word * 8, newValue) }
  }
  var written: UInt64 { self[0] }
  var overflow: UInt64 { self[1] }
  func entry(_ index: UInt64) -> UInt64 { self[8 + index] }
  func setList(_ index: UInt64, _ value: UInt64) { self[8 + UInt64(APUS_REPOSSESSION_ENTRIES) + index] = value }
  static func entry(_ kind: UInt64, _ number: UInt64) -> UInt64 {
    kind << UInt64(APUS_REPOSSESSION_KIND_SHIFT) | number
  }

  /// Ends it; everything that it held comes back.
  func end(_ free: UInt64, _ check: inout Check) {
    if vector != 0 { Memory.write(0, at: vector) }
    if child.isLive { child.kill() }
    balance(free, &check)
    check.expect(Information.revocation(of: account) == nil, "the kernel remembers the dead")
    Kernel.call(.capabilityDrop, Slot.other)
  }
}

/// Makes the frame in UA_WORD2 the family's vector, says in UA_WORD3 what came of it, and sleeps.
@c @used func hostile_body_vector(_ uarea: UInt64) {
  let answer = Kernel.call(.repossessionVector, Slot.other, uarea_word(UInt32(UA_WORD2)))
  set_uarea_word(UInt32(UA_WORD3), answer.raw)
  while true { Kernel.sleep() }
}

private func account(_ number: UInt64) -> UInt64 { 0x0080 + number }

/// Takes frames for the family in `Slot.other` into the second page of the list.
private func takeMany(_ count: UInt64) -> Bool {
  for index in 0..<count {
    guard let frame = Memory.takeFrame(Slot.other) else { return false }
    store64(Memory.list2 + index * 8, frame)
  }
  return true
}
private func taken(_ index: UInt64) -> UInt64 { load64(Memory.list2 + index * 8) }

// MARK: Checks

func revocationChecks(_ report: inout Report) {
  authority(&report)
  arguments(&report)
  vectors(&report)
  asking(&report)
  force(&report)
  lies(&report)
  overflow(&report)
  minimum(&report)
  farDeadlines(&report)
  takingAgain(&report)
  slices(&report)
  deaths(&report)
  wildEntry(&report)
}

private func authority(_ report: inout Report) {
  var check = Check("revocation", "everything given back", 1)
  let free = free_frames()
  guard let debtor = Debtor(account(0)), takeMany(50), let own = Memory.takeFrame() else {
    return report.notTried(check)
  }
  let later = time_stamp() + 1 << 40
  let name = debtor.account << 48
  refusals(
    "revoke", Authority(name: name, length: 2, foreignName: 0x0009 << 48, weakRights: Right.read | Right.grant),
    &report
  ) { Kernel.call(.revoke, $0, debtor.account, Debtor.frames, 1, later) }
  // What the family keeps is for somebody above it to say.
  refusals(
    "guaranteedMinimum",
    Authority(name: 0, length: 1, foreignName: 0x7e << 56, weakRights: Right.read | Right.grant), &report
  ) { Kernel.call(.guaranteedMinimum, $0, debtor.account, Debtor.frames, 5) }
  refusals("repossessionVector", .family, &report) { Kernel.call(.repossessionVector, $0, own) }
  var itself = Check("revocation", "a family's own name does not set its minimum")
  let before = Snapshot()
  let answer = Kernel.call(.guaranteedMinimum, Slot.other, debtor.account, Debtor.frames, 1 << 20)
  itself.expect(answer.error == .denied, "answer", answer.raw)
  before.compare(with: Snapshot(), &itself)
  itself.expect(
    Kernel.call(.guaranteedMinimum, Slot.root, debtor.account, Debtor.frames, 5).raw, equals: 0, "from above")
  itself.expect(
    Kernel.call(.revoke, Slot.root, debtor.account, Debtor.frames, 1, later).raw, equals: 1, "asked from above")
  report.finish(itself)
  Memory.giveBack(own)
  debtor.end(free, &check)
  report.finish(check)
}

private func arguments(_ report: inout Report) {
  var check = Check("revocation", "garbage in the arguments")
  let free = free_frames()
  guard let debtor = Debtor(account(1)), takeMany(50) else { return report.notTried(check) }
  let later = time_stamp() + 1 << 40
  func refused(
    _ target: UInt64, _ kind: UInt64, _ count: UInt64, _ deadline: UInt64, _ expected: SystemCallError,
    _ otherwise: StaticString
  ) {
    let before = Snapshot()
    let answer = Kernel.call(.revoke, Slot.root, target, kind, count, deadline)
    check.expect(answer.error == expected, otherwise, answer.raw)
    before.compare(with: Snapshot(), &check)
  }
  let handle = debtor.child.handle
  let wild: [8 of UInt64] = [
    0, account(60), 0x1_0000, 0xffff_ffff, handle + 1 << 32, handle | 1 << 63, 1 << 32, UInt64.max,
  ]
  for index in wild.indices { refused(wild[index], 1, 1, later, .noSuchResource, "a target that there is not") }
  let kinds: [5 of UInt64] = [0, 3, 255, 1 << 32 | 1, UInt64.max]
  for index in kinds.indices { refused(handle, kinds[index], 1, later, .invalid, "a kind that there is not") }
  let counts: [4 of UInt64] = [0, 1 << 32, 1 << 32 | 1, UInt64.max]
  for index in counts.indices { refused(debtor.account, 1, counts[index], later, .invalid, "a count") }
  let times: [3 of UInt64] = [0, 1, time_stamp()]
  for index in times.indices { refused(handle, 1, 1, times[index], .invalid, "a deadline that has passed") }
  let minimum = Kernel.call(.guaranteedMinimum, Slot.root, handle, 1, 1 << 32)
  check.expect(minimum.error == .invalid, "a minimum beyond all frames", minimum.raw)
  check.expect(
    Kernel.call(.guaranteedMinimum, Slot.root, handle, 3, 1).error == .invalid, "a minimum of no kind")
  check.expect(
    Kernel.call(.guaranteedMinimum, Slot.root, account(60), 1, 1).error == .noSuchResource, "a minimum of nobody")
  debtor.end(free, &check)
  report.finish(check)
}

private func vectors(_ report: inout Report) {
  var check = Check("revocation", "frames that are no vector")
  let free = free_frames()
  guard let debtor = Debtor(account(2)), let foreign = Memory.takeFrame(Slot.other), let own = Memory.takeFrame()
  else { return report.notTried(check) }
  func refused(_ frame: UInt64, by slot: UInt64, _ expected: SystemCallError, _ otherwise: StaticString) {
    let before = Snapshot()
    let answer = Kernel.call(.repossessionVector, slot, frame)
    check.expect(answer.error == expected, otherwise, answer.raw)
    before.compare(with: Snapshot(), &check)
  }
  refused(foreign, by: Slot.other, .denied, "another family's frame, with its capability")
  refused(foreign, by: Slot.root, .denied, "another family's frame, with every right")
  refused(own, by: Slot.other, .denied, "an own frame, with another family's capability")
  refused(debtor.child.uareaFrame, by: Slot.root, .denied, "another's u-area")
  refused(Information.ownRoot, by: Slot.family, .wrongType, "a page table")
  refused(firstFreeFrame(), by: Slot.family, .wrongType, "a free frame")
  refused(0x100, by: Slot.root, .wrongType, "a frame of the kernel's")
  refused(0, by: Slot.family, .wrongType, "frame 0")
  refused(Information.page.frame_count, by: Slot.family, .noSuchResource, "a frame that there is not")
  refused(1 << 32 | own, by: Slot.family, .noSuchResource, "bits above a frame's number")
  refused(UInt64.max - 1, by: Slot.family, .noSuchResource, "frame -2")
  check.expect(Kernel.call(.repossessionVector, Slot.family, own).raw, equals: 0, "an own frame")
  check.expect(UInt64(Information.frame(own).pins), equals: 1, "its pins")
  check.expect(Memory.giveBack(own).error == .inUse, "it is given back")
  check.expect(Kernel.call(.repossessionVector, Slot.family, own).raw, equals: 0, "the same frame again")
  check.expect(UInt64(Information.frame(own).pins), equals: 1, "its pins then")
  check.expect(Kernel.call(.repossessionVector, Slot.family, UInt64.max).raw, equals: 0, "no vector any more")
  check.expect(UInt64(Information.frame(own).pins), equals: 0, "pins that are left")
  check.expect(Memory.giveBack(own).raw, equals: 1, "giving it back")
  debtor.end(free, &check)
  report.finish(check)
}

/// Who is asked is told at the begin of its next slice, asleep or not.
private func asking(_ report: inout Report) {
  var check = Check("revocation", "who is asked is told")
  let free = free_frames()
  guard let child = Child(0, body: Body.sleep), waitUntil({ child.isAsleep }) else { return report.notTried(check) }
  guard let deaf = Child(1, body: Body.sleep), waitUntil({ deaf.isAsleep }) else { return report.notTried(check) }
  child[APUS_UA_REVOCATION_ENTRY] = address_of_hostile_revocation_entry()
  let deadline = time_stamp() + 1 << 40
  let begins = deaf[UA_SLICE_BEGINS]
  // The first family asks itself: that is its own affair.
  let answer = Kernel.call(.revoke, Slot.family, child.handle, Debtor.slices, 2, deadline)
  check.expect(answer.raw, equals: 2, "answer")
  check.expect(child[APUS_UA_REVOCATION_KIND], equals: Debtor.slices, "the kind")
  check.expect(child[APUS_UA_REVOCATION_COUNT], equals: 2, "the count")
  check.expect(child[APUS_UA_REVOCATION_DEADLINE], equals: deadline, "the deadline")
  check.expect(waitUntil(turns: 1000) { child[UA_REVOCATIONS] == 1 }, "no upcall")
  check.expect(waitUntil(turns: 1000) { child.isAsleep }, "it does not sleep again")
  check.expect(
    deaf[APUS_UA_PENDING] & UInt64(APUS_PENDING_REVOCATION), equals: UInt64(APUS_PENDING_REVOCATION),
    "one without an entry is not told")
  check.expect(deaf[UA_SLICE_BEGINS], equals: begins, "one without an entry is woken")
  check.expect(child[UA_REVOCATIONS], equals: 1, "upcalls")
  // What is asked adds up; nobody withdraws it by asking for less.
  check.expect(
    Kernel.call(.revoke, Slot.family, 1, Debtor.slices, 5, UInt64.max).error == .exhausted, "the last slice")
  check.expect(Information.revocation(of: 1)?.slices.deadline ?? 0, equals: deadline, "the deadline afterwards")
  check.expect(Kernel.call(.revoke, Slot.family, 1, Debtor.slices, 1, time_stamp() + 1).isRefused, "one more")
  // Both slices come back in time: nothing is left to take.
  child.kill()
  deaf.kill()
  Child.release(0)
  Child.release(1)
  balance(free, &check)
  set_uarea_word(UInt32(APUS_UA_PENDING), 0)
  report.finish(check)
}

/// Frames of a family that does nothing are taken, the mappings elsewhere too, and no others.
private func force(_ report: inout Report) {
  var check = Check("revocation", "what is not given back is taken")
  let free = free_frames()
  guard let debtor = Debtor(account(3), vector: true), takeMany(100) else { return report.notTried(check) }
  let place = Memory.region + 0x10_0000
  for index in 0..<UInt64(100) {
    let entry = Entry.page(taken(index))
    guard Memory.write(entry, at: place + index * Memory.page, by: Memory.both(Slot.family, Slot.other)).value == 1
    else { return report.notTried(check) }
    store64(place + index * Memory.page, index)
  }
  let held = debtor.held
  let freeBefore = free_frames()
  let deadline = time_stamp() + 4 * Information.page.slice_ticks
  check.expect(
    Kernel.call(.revoke, Slot.root, debtor.account, Debtor.frames, 60, deadline).raw, equals: 60, "answer")
  check.expect(debtor.held, equals: held, "taken at once")
  Kernel.sleep(deadline: deadline - Information.page.slice_ticks * 2)
  if time_stamp() < deadline { check.expect(debtor.held, equals: held, "taken before the deadline") }
  check.expect(debtor.waitForTaking(), "not taken")
  check.expect(debtor.held, equals: held - 60, "what it holds then")
  // On several CPUs a frame cools until each has forgotten its translations.
  _ = waitUntil { free_frames() >= freeBefore + 60 }
  check.expect(free_frames(), equals: freeBefore + 60, "what is free then")
  check.expect(debtor.written, equals: 60, "entries of the vector")
  check.expect(debtor.overflow, equals: 0, "entries without room")
  check.expect(Information.revocation(of: debtor.account)?.frames.taken ?? 0 == 60, "the count in the record")
  // Each frame that is gone is in the vector, each that is in the vector is gone; mappings are there for the rest.
  var gone: UInt64 = 0
  for index in 0..<UInt64(100) {
    let frame = taken(index)
    var isTold = false
    for entry in 0..<debtor.written where debtor.entry(entry) == Debtor.entry(Debtor.frames, frame) { isTold = true }
    let record = Information.frame(frame)
    let isOwned = UInt64(record.account) == debtor.account
    check.expect(isTold != isOwned, "the vector lies about a frame", frame)
    let isMapped = OwnTables.entry(place + index * Memory.page) & 1 != 0
    check.expect(isMapped == isOwned, "a mapping of a frame", frame)
    if isMapped { check.expect(load64(place + index * Memory.page), equals: index, "what it has") }
    if !isOwned { gone += 1 }
  }
  check.expect(gone >= 50, "frames that it had not mapped itself", gone)
  check.expect(debtor.child.isLive, "it is dead")
  for index in 0..<UInt64(100) where OwnTables.entry(place + index * Memory.page) != 0 {
    Memory.write(0, at: place + index * Memory.page)
  }
  debtor.end(free, &check)
  report.finish(check)
}

/// The list of what to take first is an allegation: only what is the family's own, and can be taken, counts.
private func lies(_ report: inout Report) {
  var check = Check("revocation", "a list full of lies")
  let free = free_frames()
  guard let debtor = Debtor(account(4), vector: true), takeMany(60), let own = Memory.takeFrame() else {
    return report.notTried(check)
  }
  let frames = Debtor.frames
  let list: [15 of UInt64] = [
    0, UInt64.max, own, Debtor.entry(frames, own), Debtor.entry(frames, Information.ownRoot),
    Debtor.entry(frames, 0x100), Debtor.entry(frames, Information.page.frame_count), Debtor.entry(frames, 1 << 32),
    Debtor.entry(frames, debtor.child.uareaFrame), Debtor.entry(frames, debtor.child.root),
    Debtor.entry(frames, debtor.vectorFrame), Debtor.entry(Debtor.slices, taken(40)), Debtor.entry(3, taken(41)),
    Debtor.entry(frames, taken(50)), Debtor.entry(frames, taken(50)),
  ]
  for index in list.indices { debtor.setList(UInt64(index), list[index]) }
  debtor.setList(15, Debtor.entry(frames, taken(55)))
  debtor[3] = UInt64.max  // as many as there can be
  let held = debtor.held
  check.expect(debtor.ask(3).raw, equals: 3, "answer")
  check.expect(debtor.waitForTaking(), "not taken")
  check.expect(debtor.held, equals: held - 3, "what it holds then")
  check.expect(debtor.written, equals: 3, "entries of the vector")
  check.expect(debtor.entry(0), equals: Debtor.entry(frames, taken(50)), "the first")
  check.expect(debtor.entry(1), equals: Debtor.entry(frames, taken(55)), "the second")
  check.expect(UInt64(Information.frame(own).account), equals: 1, "a frame of the first family that the list named")
  check.expect(
    UInt64(Information.frame(debtor.child.uareaFrame).account), equals: debtor.account, "the u-area that it named")
  check.expect(
    UInt64(Information.frame(debtor.child.root).type), equals: UInt64(APUS_FRAME_TABLE4), "the root that it named")
  check.expect(UInt64(Information.frame(debtor.vectorFrame).pins), equals: 1, "pins of the vector that it named")
  Memory.giveBack(own)
  debtor.end(free, &check)
  report.finish(check)
}

/// More is taken than the vector has room for, and what the LibOS says that it has read is garbage.
private func overflow(_ report: inout Report) {
  var check = Check("revocation", "a vector that overflows")
  let free = free_frames()
  let room = UInt64(APUS_REPOSSESSION_ENTRIES)
  guard let debtor = Debtor(account(5), vector: true), takeMany(320) else { return report.notTried(check) }
  check.expect(debtor.ask(room + 22).raw, equals: room + 22, "answer")
  check.expect(debtor.waitForTaking(), "not taken")
  check.expect(debtor.written, equals: room, "entries")
  check.expect(debtor.overflow, equals: 22, "entries without room")
  debtor[2] = UInt64.max
  debtor[0] = 5  // what the kernel wrote is its own to know
  check.expect(debtor.ask(3).raw, equals: 3, "the second answer")
  check.expect(debtor.waitForTaking(), "not taken the second time")
  check.expect(debtor.overflow, equals: 25, "entries without room then")
  debtor[2] = room - 1
  check.expect(debtor.ask(3).raw, equals: 3, "the third answer")
  check.expect(debtor.waitForTaking(), "not taken the third time")
  check.expect(debtor.overflow, equals: 25, "entries without room in the end")
  check.expect(debtor.written, equals: room + 3, "entries in the end")
  debtor.end(free, &check)
  report.finish(check)
}

/// However much is asked for, the minimum stays.
private func minimum(_ report: inout Report) {
  var check = Check("revocation", "the guaranteed minimum stays")
  let free = free_frames()
  guard let debtor = Debtor(account(6)), takeMany(100) else { return report.notTried(check) }
  let held = debtor.held
  check.expect(
    Kernel.call(.guaranteedMinimum, Slot.root, debtor.account, Debtor.frames, held - 30).raw, equals: 0, "setting it")
  // Counts do not wrap, one by one or added up.
  check.expect(debtor.ask(0xffff_ffff).raw, equals: 30, "how many will come")
  check.expect(debtor.ask(0xffff_ffff).error == .exhausted, "once more")
  check.expect(debtor.ask(1).error == .exhausted, "one more")
  // Raised on the way: that counts too.
  check.expect(
    Kernel.call(.guaranteedMinimum, Slot.root, debtor.account, Debtor.frames, held - 20).raw, equals: 0, "raising it")
  check.expect(debtor.waitForTaking(), "not taken")
  check.expect(debtor.held, equals: held - 20, "what it holds then")
  // All but what cannot be taken.
  check.expect(
    Kernel.call(.guaranteedMinimum, Slot.root, debtor.account, Debtor.frames, 0).raw, equals: 0, "taking it away")
  check.expect(debtor.ask(0xffff_ffff).raw, equals: held - 20, "how many will come without one")
  check.expect(debtor.waitForTaking(), "not taken in the end")
  let record = Information.revocation(of: debtor.account)
  check.expect(UInt64(record?.frames.missed ?? 0), equals: debtor.held, "what could not be taken")
  check.expect(debtor.held > 4 && debtor.held < 40, "page tables and pinned frames", debtor.held)
  debtor.end(free, &check)
  report.finish(check)
}

/// The last time there is, and a nearer one.
private func farDeadlines(_ report: inout Report) {
  var check = Check("revocation", "a deadline that never comes does not stop a nearer one")
  let free = free_frames()
  guard let debtor = Debtor(account(7)), takeMany(60) else { return report.notTried(check) }
  let held = debtor.held
  check.expect(
    Kernel.call(.revoke, Slot.other, debtor.account, Debtor.frames, 1, UInt64.max).raw, equals: 1, "the last time")
  Kernel.sleep(deadline: time_stamp() + 4 * Information.page.slice_ticks)
  check.expect(debtor.held, equals: held, "taken already")
  check.expect(debtor.ask(5, by: Slot.root).raw, equals: 5, "the nearer one")
  check.expect(debtor.waitForTaking(), "not taken")
  check.expect(debtor.held, equals: held - 6, "what it holds then")
  debtor.end(free, &check)
  report.finish(check)
}

/// Giving back and taking others does not count as giving back.
private func takingAgain(_ report: inout Report) {
  var check = Check("revocation", "taking again what was given back")
  let free = free_frames()
  guard let debtor = Debtor(account(8)), takeMany(80) else { return report.notTried(check) }
  let held = debtor.held
  check.expect(debtor.ask(40).raw, equals: 40, "answer")
  for index in 0..<UInt64(40) { Memory.giveBack(taken(index), Slot.other) }
  check.expect(takeMany(55), "taking others")
  check.expect(debtor.waitForTaking(), "not taken")
  check.expect(debtor.held, equals: held - 40, "what it holds then")
  // One that has given back in time loses nothing.
  let before = debtor.held
  check.expect(debtor.ask(1).raw, equals: 1, "the second answer")
  var given = false
  for index in 0..<UInt64(55) where !given && UInt64(Information.frame(taken(index)).account) == debtor.account {
    given = Memory.giveBack(taken(index), Slot.other).value == 1
  }
  let count = Information.revocation(of: debtor.account)?.frames.taken ?? 0
  check.expect(debtor.waitForTaking(), "the second request stays")
  check.expect(debtor.held, equals: before - 1, "what it holds in the end")
  check.expect(Information.revocation(of: debtor.account)?.frames.taken ?? 0 == count, "taken from one who gave back")
  debtor.end(free, &check)
  report.finish(check)
}

private func slices(_ report: inout Report) {
  var check = Check("revocation", "slices")
  let free = free_frames()
  guard let debtor = Debtor(account(9), vector: true) else { return report.notTried(check) }
  var last: UInt64 = 0
  var first: UInt64 = 0
  for index in 0..<UInt64(5) {
    guard let slice = Kernel.call(.sliceAllocate, Slot.other, UInt64.max, debtor.child.handle).value else {
      return report.notTried(check)
    }
    if index == 0 { first = slice }
    last = slice
  }
  let own = Kernel.call(.sliceAllocate, Slot.family, UInt64.max, Information.ownHandle)
  debtor.setList(0, Debtor.entry(Debtor.slices, own.raw))
  debtor.setList(1, Debtor.entry(Debtor.slices, 0))
  debtor.setList(2, Debtor.entry(Debtor.slices, 1 << 16))
  debtor.setList(3, Debtor.entry(Debtor.slices, 0xffff))
  debtor.setList(4, Debtor.entry(Debtor.frames, last))
  debtor.setList(5, Debtor.entry(Debtor.slices, first))
  debtor[3] = 6
  check.expect(debtor.ask(2, Debtor.slices).raw, equals: 2, "answer")
  check.expect(debtor.waitForTaking(), "not taken")
  check.expect(UInt64(debtor.child.record.slices_owned), equals: 4, "slices that it owns")
  check.expect(debtor.written, equals: 2, "entries")
  check.expect(debtor.entry(0), equals: Debtor.entry(Debtor.slices, first), "the one that the list named")
  check.expect(debtor.entry(1), equals: Debtor.entry(Debtor.slices, last), "the last one")
  check.expect(UInt64(Information.slice(first).environment), equals: UInt64(APUS_SLICE_FREE), "the first one's owner")
  check.expect(
    UInt64(Information.slice(own.raw).environment), equals: Information.ownSlot, "the owner of one that the list named")
  check.expect(debtor.ask(0xffff_ffff, Debtor.slices).raw, equals: 3, "all but the minimum")
  check.expect(debtor.waitForTaking(), "not taken in the end")
  check.expect(UInt64(debtor.child.record.slices_owned), equals: 1, "the minimum")
  check.expect(debtor.ask(1, Debtor.slices).error == .exhausted, "the last slice")
  Kernel.call(.sliceFree, Slot.family, own.raw)
  debtor.end(free, &check)
  report.finish(check)
}

/// The account dies with a request under way, at every stage of it.
private func deaths(_ report: inout Report) {
  for stage in 0..<UInt64(6) {
    var check = Check("revocation", "death with a request under way", stage)
    let free = free_frames()
    guard let debtor = Debtor(account(10 + stage), vector: true), takeMany(200) else { return report.notTried(check) }
    let deadline = time_stamp() + Information.page.slice_ticks
    check.expect(
      Kernel.call(.revoke, Slot.other, debtor.account, Debtor.frames, 150, deadline).raw, equals: 150, "answer")
    if stage > 0 {
      while time_stamp() < deadline {}
      for _ in 1..<stage { Kernel.yield() }
    }
    debtor.child.kill()
    let answer = Kernel.call(.revoke, Slot.other, debtor.account, Debtor.frames, 1, time_stamp() + 1 << 30)
    check.expect(answer.error == .noSuchResource, "asking the dead", answer.raw)
    debtor.end(free, &check)
    report.finish(check)
  }
}

private func wildEntry(_ report: inout Report) {
  let wild: [4 of UInt64] = [8, 0xffff_ffff_8010_0000, 0x0000_8000_0000_0000, UInt64.max]
  for index in wild.indices {
    var check = Check("revocation", "a garbage entry", UInt64(index))
    let free = free_frames()
    guard let debtor = Debtor(account(20 + UInt64(index)), entry: wild[index]) else { return report.notTried(check) }
    Kernel.call(.sliceAllocate, Slot.other, UInt64.max, debtor.child.handle)
    check.expect(debtor.ask(1, Debtor.slices).raw, equals: 1, "answer")
    check.expect(waitUntil { !debtor.child.isLive }, "it lives")
    debtor.end(free, &check)
    report.finish(check)
  }
}
