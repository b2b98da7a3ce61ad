// SPDX-License-Identifier: Apache-2.0
// Contracts.swift: what contracts are refused, and what those admitted give whatever others try. In virtual time.

import ApusABI

private var milli: UInt64 { Information.page.ticks_per_second / 1000 }

/// Asks for a contract on the first CPU.
private func make(_ handle: UInt64, _ period: UInt64, _ slice: UInt64, slot: UInt64 = Slot.family) -> Answer {
  Kernel.call(.contract, slot, handle, period, slice, 0)
}

private func record(_ name: UInt64) -> apus_contract { Information.contract(name & 0xffff) }

/// Sleeps until everything begun under ended contracts is over: shares are free again then.
private func settle() { Kernel.sleep(deadline: time_stamp() + 20 * milli) }

// MARK: Bodies of children

/// Works for UA_WORD2 ticks, sleeps for UA_WORD3, again and again.
@c @used func hostile_body_nap(_ uarea: UInt64) {
  while true {
    let start = time_stamp()
    while time_stamp() &- start < uarea_word(UInt32(UA_WORD2)) {}
    Kernel.sleep(deadline: time_stamp() + uarea_word(UInt32(UA_WORD3)))
    set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1)
  }
}

/// Ends its contract, whose name is UA_WORD3, each time that it has worked for UA_WORD2 ticks, and makes it anew.
@c @used func hostile_body_renew(_ uarea: UInt64) {
  let own = Information.ownHandle
  while true {
    let start = time_stamp()
    while time_stamp() &- start < uarea_word(UInt32(UA_WORD2)) {}
    Kernel.call(.contractEnd, Slot.family, uarea_word(UInt32(UA_WORD3)))
    let answer = make(own, 4 * milli, milli)
    if let name = answer.value { set_uarea_word(UInt32(UA_WORD3), name) }
    set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1)
  }
}

/// Works for a moment and gives the rest of its time to UA_WORD2, again and again.
@c @used func hostile_body_pass(_ uarea: UInt64) {
  while true {
    let start = time_stamp()
    while time_stamp() &- start < uarea_word(UInt32(UA_WORD3)) {}
    Kernel.yield(to: uarea_word(UInt32(UA_WORD2)))
    set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1)
  }
}

/// Is in a critical section for UA_WORD2 ticks, again and again; says in UA_WORD3 when another of the family was, too.
@c @used func hostile_body_hold(_ uarea: UInt64) {
  while true {
    set_uarea_word(UInt32(APUS_UA_CRITICAL), 1)
    Shared[8] = Shared[8] + 1
    let start = time_stamp()
    var rounds: UInt64 = 0
    let before = Shared[9]
    while time_stamp() &- start < uarea_word(UInt32(UA_WORD2)) {
      rounds += 1
      Shared[9] = before + rounds
      // Somebody else of the family was in the section.
      if Shared[9] != before + rounds || Shared[8] & 1 == 0 { set_uarea_word(UInt32(UA_WORD3), 1) }
    }
    if Shared[9] != before + rounds { set_uarea_word(UInt32(UA_WORD3), 2) }
    Shared[8] = Shared[8] + 1
    set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1)
    // The yield ends the section, as its context is whole.
    Kernel.yield()
  }
}

// MARK: Checks

func contractChecks(_ report: inout Report) {
  terms(&report)
  sums(&report)
  names(&report)
  quotas(&report)
  guarantee(&report)
  interrupted(&report)
  napping(&report)
  renewing(&report)
  passing(&report)
  givenUp(&report)
  deaths(&report)
  greedy(&report)
  deaf(&report)
  parkedRegisters(&report)
  familyLock(&report)
  var check = Check("contracts", "everything given back")
  for number in 0..<UInt64(5) { check.expect(Child.release(number), "pages of a child", number) }
  report.finish(check)
}

private func terms(_ report: inout Report) {
  var check = Check("contracts", "terms that nobody could keep")
  guard let child = Child(0, body: Body.sleep), waitUntil({ child.isAsleep }) else { return report.notTried(check) }
  let day: UInt64 = 1 << 46
  let bad: [16 of (UInt64, UInt64)] = [
    (0, 0), (0, milli), (4 * milli, 0), (4 * milli, 4 * milli + 1), (4 * milli, UInt64.max), (UInt64.max, milli),
    (UInt64.max, UInt64.max), (1 << 63, 1 << 63), (1, 1), (milli / 2 - milli / 8, milli / 4), (milli, 1),
    (1 << 31 + 1, milli), (day, milli), (day, day), (1 << 32, milli), (1 << 32 | 4 * milli, 1 << 32 | milli),
  ]
  for index in bad.indices {
    let before = Snapshot()
    let answer = make(child.handle, bad[index].0, bad[index].1)
    check.expect(answer.error == .invalid, "terms", UInt64(index))
    before.compare(with: Snapshot(), &check)
  }
  let before = Snapshot()
  check.expect(make(child.handle, 4 * milli, 4 * milli).error == .exhausted, "all of a CPU")
  check.expect(make(0, 4 * milli, milli).error == .noSuchResource, "for nobody")
  let processors = Information.page.processor_count
  for index in 0..<UInt64(4) {
    let number = index == 0 ? processors : index == 1 ? 1 << 16 : index == 2 ? 1 << 32 : UInt64.max
    let answer = Kernel.call(.contract, Slot.family, child.handle, 4 * milli, milli, number)
    check.expect(answer.error == .noSuchResource, "a CPU that there is not", number)
  }
  before.compare(with: Snapshot(), &check)
  child.kill()
  check.expect(make(child.handle, 4 * milli, milli).error == .noSuchResource, "for one that has died")
  report.finish(check)
}

private func sums(_ report: inout Report) {
  var check = Check("contracts", "more than a CPU has")
  guard let child = Child(0, body: Body.sleep) else { return report.notTried(check) }
  // Eight tenths; then another eight, then the rest in small pieces.
  guard let first = make(child.handle, 10 * milli, 8 * milli).value else { return report.notTried(check) }
  check.expect(make(child.handle, 10 * milli, 8 * milli).error == .exhausted, "as much again")
  check.expect(make(child.handle, 10 * milli, milli).error == .exhausted, "more than is left, with the switch")
  var made: UInt64 = 0
  var share = UInt64(record(first).share)
  while let name = make(child.handle, 100 * milli, milli / 2).value, made < 100 {
    share += UInt64(record(name).share)
    made += 1
  }
  check.expect(make(child.handle, 100 * milli, milli / 2).error == .exhausted, "when none is left")
  check.expect(made > 5 && made < UInt64(APUS_CONTRACT_COUNT), "contracts made", made)
  check.expect(share <= 900_000, "shares", share)
  child.kill()
  settle()
  for index in 0..<UInt64(APUS_CONTRACT_COUNT) {
    check.expect(Information.contract(index).environment == UInt32(APUS_CONTRACT_FREE), "in force after its end", index)
  }
  report.finish(check)
}

private func names(_ report: inout Report) {
  var check = Check("contracts", "names of contracts")
  guard let child = Child(0, body: Body.sleep), waitUntil({ child.isAsleep }) else { return report.notTried(check) }
  guard let name = make(child.handle, 4 * milli, milli).value else { return report.notTried(check) }
  let wrong: [9 of UInt64] = [
    0, 1, 1 << 32, UInt64.max, name ^ 1, name ^ 1 << 16, name ^ 1 << 32, name | 0xff00, name | 1 << 63,
  ]
  for index in wrong.indices {
    let before = Snapshot()
    check.expect(
      Kernel.call(.contractEnd, Slot.family, wrong[index]).error == .noSuchResource, "a name of nothing", wrong[index])
    before.compare(with: Snapshot(), &check)
  }
  check.expect(Kernel.call(.contractEnd, Slot.family, name).raw, equals: 0, "ending it")
  check.expect(Kernel.call(.contractEnd, Slot.family, name).error == .noSuchResource, "ending it again")
  guard let next = make(child.handle, 4 * milli, milli).value else { return report.notTried(check) }
  check.expect(next != name, "the same name again")
  check.expect(Kernel.call(.contractEnd, Slot.family, name).error == .noSuchResource, "the old name")
  check.expect(record(next).environment != UInt32(APUS_CONTRACT_FREE), "the new contract has ended")
  child.kill()
  report.finish(check)
}

/// A family without a budget of time has no contracts; one with a budget has as many as that pays for.
private func quotas(_ report: inout Report) {
  var check = Check("contracts", "a family without a share")
  Kernel.forge(Slot.other, name: 0x0033 << 48, length: 2)
  let free = free_frames()
  guard let child = Child(1, body: Body.sleep, foreign: Slot.other), waitUntil({ child.isAsleep }) else {
    return report.notTried(check)
  }
  let before = Snapshot()
  check.expect(make(child.handle, 4 * milli, milli, slot: Slot.other).error == .quotaExceeded, "by its own capability")
  check.expect(make(child.handle, 4 * milli, milli, slot: Slot.root).error == .quotaExceeded, "by the root capability")
  check.expect(make(child.handle, 4 * milli, milli).error == .denied, "by another family's capability")
  check.expect(
    make(Information.ownHandle, 4 * milli, milli, slot: Slot.other).error == .denied, "for another family's environment"
  )
  before.compare(with: Snapshot(), &check)
  // A fourth and the switch, but not that twice.
  Budget.set(.time, of: 0x0033, to: 300_000)
  guard let name = make(child.handle, 4 * milli, milli, slot: Slot.other).value else { return report.notTried(check) }
  check.expect(make(child.handle, 4 * milli, milli, slot: Slot.other).error == .quotaExceeded, "a second one")
  check.expect(Budget.used(.time, of: 0x0033), equals: UInt64(record(name).share), "what it is charged")
  check.expect(Kernel.call(.contractEnd, Slot.family, name).error == .denied, "ending another family's")
  check.expect(Kernel.call(.contractEnd, Slot.other, name).raw, equals: 0, "ending its own")
  check.expect(Budget.used(.time, of: 0x0033), equals: 0, "what it is charged then")
  settle()
  check.expect(make(child.handle, 4 * milli, milli, slot: Slot.other).value != nil, "another one")
  child.kill()
  balance(free, &check)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

/// A child with a contract of 1.2 ms in 4 ms and no slice, beside others.
private struct Victim {
  let child: Child
  let name: UInt64
  private let used: UInt64
  private let since: UInt64

  init?() {
    guard let child = Child(0, body: Body.spin, slice: false),
      let name = make(child.handle, 4 * milli, milli + milli / 5).value
    else { return nil }
    self.child = child
    self.name = name
    Kernel.sleep(deadline: time_stamp() + 5 * milli)
    used = child.record.ticks_used
    since = time_stamp()
  }

  /// Checks that it has had what was promised.
  func verify(_ check: inout Check) {
    let periods = (time_stamp() - since) / (4 * milli)
    check.expect(record(name).missed, equals: 0, "periods that the victim missed")
    let got = child.record.ticks_used - used
    let due = (periods - 1) * (milli + milli / 5)
    check.expect(got + milli / 100 >= due, "the victim's time", got)
    check.expect(
      got <= (periods + 2) * (milli + milli / 5 + milli / 50), "the victim's time is more than was promised", got)
  }
}

/// Runs others beside a victim for a while, with two environments that share the rest.
private func beside(_ check: inout Check, _ others: (inout Check) -> Void) {
  guard let victim = Victim(), let third = Child(3, body: Body.spin), let fourth = Child(4, body: Body.spin) else {
    check.expect(false, "no children")
    return
  }
  let rest = third.record.ticks_used
  let start = time_stamp()
  others(&check)
  victim.verify(&check)
  // Nobody's tricks keep those from their turns that have no contract.
  check.expect(third.record.ticks_used - rest >= (time_stamp() - start) / 50, "time of one without a contract")
  victim.child.kill()
  third.kill()
  fourth.kill()
  settle()
}

private func guarantee(_ report: inout Report) {
  var check = Check("contracts", "a slice in each period beside loops")
  beside(&check) { _ in Kernel.sleep(deadline: time_stamp() + 200 * milli) }
  report.finish(check)
}

/// Who is interrupted for a contract gets the rest of its slice, and is told like at any slice's end.
private func interrupted(_ report: inout Report) {
  var check = Check("contracts", "who makes way keeps its share")
  guard let first = Child(1, body: Body.spin), let second = Child(2, body: Body.spin),
    let third = Child(3, body: Body.spin, slice: false)
  else { return report.notTried(check) }
  // Half of the CPU, in pieces far shorter than a slice.
  guard let name = make(third.handle, milli, milli / 2).value else { return report.notTried(check) }
  Kernel.sleep(deadline: time_stamp() + 5 * milli)
  let start = time_stamp()
  let used = (first.record.ticks_used, second.record.ticks_used, record(name).used)
  let runs = first.record.slices_used
  let ends = first[UA_SLICE_ENDS]
  Kernel.sleep(deadline: start + 300 * milli)
  let passed = time_stamp() - start
  let got = (first.record.ticks_used - used.0, second.record.ticks_used - used.1)
  check.expect(got.0 >= passed / 5, "the first one's time", got.0)
  check.expect(got.1 >= passed / 5, "the second one's time", got.1)
  check.expect(first[UA_SLICE_ENDS] - ends > 2 * (first.record.slices_used - runs), "interruptions that it was told of")
  check.expect(record(name).missed, equals: 0, "periods missed")
  check.expect(
    record(name).used - used.2 <= (passed / milli + 2) * (milli / 2 + milli / 100), "time under the contract",
    record(name).used - used.2)
  first.kill()
  second.kill()
  third.kill()
  settle()
  report.finish(check)
}

/// Sleeping just before the budget ends, for a moment, brings no other budget.
private func napping(_ report: inout Report) {
  var check = Check("contracts", "a nap before the budget ends gains nothing")
  beside(&check) { check in
    guard let thief = Child(1, body: address_of_hostile_body_nap(), slice: false) else {
      return check.expect(false, "no thief")
    }
    thief[UA_WORD2] = milli - milli / 20
    thief[UA_WORD3] = milli / 50
    guard let name = make(thief.handle, 4 * milli, milli).value else { return check.expect(false, "no contract") }
    let start = time_stamp()
    Kernel.sleep(deadline: start + 200 * milli)
    let periods = (time_stamp() - start) / (4 * milli)
    check.expect(thief[UA_WORD] > periods / 2, "it did not nap", thief[UA_WORD])
    check.expect(record(name).used <= (periods + 2) * (milli + milli / 20), "the thief's time", record(name).used)
    check.expect(
      thief.record.ticks_used <= (periods + 2) * (milli + milli / 20), "all its time", thief.record.ticks_used)
    thief.kill()
  }
  report.finish(check)
}

/// Ending a contract that has been used and making it anew brings no other budget.
private func renewing(_ report: inout Report) {
  var check = Check("contracts", "a contract made anew gains nothing")
  beside(&check) { check in
    guard let thief = Child(1, body: address_of_hostile_body_renew(), capabilities: 1, slice: false),
      let filler = Child(2, body: Body.sleep)
    else { return check.expect(false, "no thief") }
    // Others hold what is left, so that the time it has used is not there to be promised again.
    guard make(filler.handle, 4 * milli, milli + milli / 10).value != nil else {
      return check.expect(false, "no filler")
    }
    thief[UA_WORD2] = milli - milli / 10
    guard let name = make(thief.handle, 4 * milli, milli).value else { return check.expect(false, "no contract") }
    thief[UA_WORD3] = name
    let start = time_stamp()
    // Once it has ended its contract in vain it has none and never runs again.
    Kernel.sleep(deadline: start + 200 * milli)
    let periods = (time_stamp() - start) / (4 * milli)
    check.expect(
      thief.record.ticks_used <= (periods + 2) * (milli + milli / 20), "the thief's time", thief.record.ticks_used)
    filler.kill()
    thief.kill()
  }
  report.finish(check)
}

/// Two that give each other the rest of their slice all the time get two slices, not more.
private func passing(_ report: inout Report) {
  var check = Check("contracts", "yields between two gain nothing")
  beside(&check) { check in
    guard let first = Child(1, body: address_of_hostile_body_pass()),
      let second = Child(2, body: address_of_hostile_body_pass())
    else { return check.expect(false, "no thieves") }
    first[UA_WORD2] = second.handle
    first[UA_WORD3] = milli / 10
    second[UA_WORD2] = first.handle
    second[UA_WORD3] = milli / 10
    Kernel.sleep(deadline: time_stamp() + 10 * milli)
    let before = first.record.ticks_used + second.record.ticks_used
    let start = time_stamp()
    Kernel.sleep(deadline: start + 300 * milli)
    let got = first.record.ticks_used + second.record.ticks_used - before
    // 70 % are not the victim's, and two of four slices theirs.
    check.expect(got <= (time_stamp() - start) * 42 / 100, "the thieves' time", got)
    check.expect(first[UA_WORD] > 50, "they did not yield", first[UA_WORD])
    first.kill()
    second.kill()
  }
  report.finish(check)
}

/// A yield to nobody gives up the rest of the period's budget; a directed one lets another use it.
private func givenUp(_ report: inout Report) {
  var check = Check("contracts", "what is given up, and to whom")
  guard let giver = Child(1, body: address_of_hostile_body_pass(), slice: false),
    let taker = Child(2, body: Body.spin, slice: false), let third = Child(3, body: Body.spin)
  else { return report.notTried(check) }
  giver[UA_WORD3] = milli / 10
  guard let name = make(giver.handle, 4 * milli, 2 * milli).value else { return report.notTried(check) }
  let start = time_stamp()
  Kernel.sleep(deadline: start + 100 * milli)
  var used = record(name).used
  check.expect(used <= 26 * (milli / 10 + milli / 20), "time used before each yield", used)
  check.expect(used >= 23 * milli / 10, "time used at all", used)
  check.expect(record(name).missed, equals: 0, "periods given up are not missed")
  check.expect(taker.record.ticks_used, equals: 0, "time of one to whom nobody yields")
  giver[UA_WORD2] = taker.handle
  Kernel.sleep(deadline: time_stamp() + 100 * milli)
  used = record(name).used - used
  check.expect(used >= 24 * 2 * milli, "time used by both", used)
  check.expect(taker.record.ticks_used >= 20 * milli, "the taker's time", taker.record.ticks_used)
  taker.kill()
  Kernel.sleep(deadline: time_stamp() + 20 * milli)
  check.expect(giver.isLive && third.isLive, "the others live")
  check.expect(record(name).user == record(name).environment, "who has it after the taker's end")
  giver.kill()
  third.kill()
  settle()
  report.finish(check)
}

private func deaths(_ report: inout Report) {
  var check = Check("contracts", "who dies leaves its time to the others")
  for round in 0..<UInt64(3) {
    guard let child = Child(1, body: round == 1 ? Body.sleep : Body.spin, slice: round == 2),
      let other = Child(2, body: Body.spin)
    else { return report.notTried(check) }
    guard let name = make(child.handle, 4 * milli, 2 * milli).value else { return report.notTried(check) }
    Kernel.sleep(deadline: time_stamp() + 10 * milli)
    check.expect(child.kill().value == 0, "ending it")
    check.expect(record(name).environment == UInt32(APUS_CONTRACT_FREE), "its contract is in force")
    check.expect(Kernel.call(.contractEnd, Slot.family, name).error == .noSuchResource, "its contract has a name")
    let used = other.record.ticks_used
    let start = time_stamp()
    Kernel.sleep(deadline: start + 40 * milli)
    check.expect(other.record.ticks_used - used >= (time_stamp() - start) * 8 / 10, "the other's time")
    other.kill()
    settle()
  }
  report.finish(check)
}

// MARK: Those who do not make way

/// One of another family that never leaves its critical section does not keep a contract's time from coming.
private func greedy(_ report: inout Report) {
  var check = Check("contracts", "a critical section without an end takes nobody's promised time")
  Kernel.forge(Slot.other, name: 0x0034 << 48, length: 2)
  let free = free_frames()
  beside(&check) { check in
    guard let thief = Child(1, body: address_of_hostile_body_greedy(), foreign: Slot.other) else {
      return check.expect(false, "no thief")
    }
    Kernel.sleep(deadline: time_stamp() + 200 * milli)
    // Its slices last as long as others' do, between the contract's.
    check.expect(thief.record.ticks_used < 100 * milli, "the thief's time", thief.record.ticks_used)
    thief.kill()
  }
  check.expect(waitUntil { free_frames() == free }, "frames that came back")
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

/// One that never yields at the end of its slice does not either.
private func deaf(_ report: inout Report) {
  var check = Check("contracts", "who does not listen takes nobody's promised time")
  beside(&check) { check in
    guard let thief = Child(1, body: address_of_hostile_body_deaf()) else { return check.expect(false, "no thief") }
    Kernel.sleep(deadline: time_stamp() + 200 * milli)
    check.expect(thief.record.ticks_used < 100 * milli, "the thief's time", thief.record.ticks_used)
    thief.kill()
  }
  set_uarea_word(UInt32(APUS_UA_PENDING), 0)
  report.finish(check)
}

/// Registers of all kinds survive being stopped in a critical section.
private func parkedRegisters(_ report: inout Report) {
  var check = Check("contracts", "registers survive being stopped in a critical section")
  Kernel.forge(Slot.other, name: 0x0034 << 48, length: 2)
  Budget.set(.time, of: 0x0034, to: 600_000)
  let free = free_frames()
  guard let child = Child(1, body: Body.spin, foreign: Slot.other, slice: false),
    let name = make(child.handle, milli, milli / 2, slot: Slot.other).value
  else { return report.notTried(check) }
  let file = Registers(address: address_of_hostile_file())
  let after = Registers(address: address_of_hostile_after())
  let base = fs_base()
  for round in 0..<UInt64(5) {
    Pattern.fill(file, seed: round)
    file.rip = address_of_snippet_count_down()
    file[REGISTER_RAX] = 0
    file[REGISTER_RDX] = 2_000_000
    set_fs_base(0x1234_5678_9abc)
    set_uarea_word(UInt32(APUS_UA_CRITICAL), 1)
    let ends = uarea_word(UInt32(UA_SLICE_ENDS))
    hostile_probe(file.address)
    check.expect(uarea_word(UInt32(UA_SLICE_ENDS)), equals: ends, "it was told inside its section")
    set_uarea_word(UInt32(APUS_UA_CRITICAL), 0)
    check.expect(after[REGISTER_RAX], equals: 2_000_000 * 2_000_001 / 2, "the sum")
    Pattern.compare(after, with: file, &check, "a register", leavingOut: 1 | 4)
    check.expect(fs_base(), equals: 0x1234_5678_9abc, "the FS base")
  }
  set_fs_base(base)
  check.expect(record(name).periods >= 10, "periods meanwhile", record(name).periods)
  check.expect(record(name).missed, equals: 0, "periods missed")
  child.kill()
  check.expect(waitUntil { free_frames() == free }, "frames that came back")
  settle()
  Budget.set(.time, of: 0x0034, to: 0)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

/// While one of a family is stopped in a critical section no other of that family runs: it stands for a lock.
private func familyLock(_ report: inout Report) {
  var check = Check("contracts", "a critical section excludes the family, also when it is stopped")
  Kernel.forge(Slot.other, name: 0x0034 << 48, length: 2)
  Budget.set(.time, of: 0x0034, to: 300_000)
  let free = free_frames()
  guard let stranger = Child(1, body: Body.spin, foreign: Slot.other, slice: false),
    make(stranger.handle, milli, milli / 5, slot: Slot.other).value != nil,
    let first = Child(0, body: address_of_hostile_body_hold(), slice: false),
    let second = Child(2, body: address_of_hostile_body_hold(), slice: false),
    let third = Child(3, body: address_of_hostile_body_hold(), slice: false)
  else { return report.notTried(check) }
  Shared[8] = 0
  Shared[9] = 0
  first[UA_WORD2] = 3 * milli
  second[UA_WORD2] = milli / 3
  third[UA_WORD2] = 2 * milli
  // One of them by contract: its time comes in the middle of the others' sections.
  let name = make(second.handle, 2 * milli, milli / 2)
  check.expect(name.value != nil, "a contract", name.raw)
  check.expect(Kernel.call(.sliceAllocate, Slot.family, UInt64.max, first.handle).value != nil, "a slice")
  check.expect(Kernel.call(.sliceAllocate, Slot.family, UInt64.max, third.handle).value != nil, "another slice")
  Kernel.sleep(deadline: time_stamp() + 200 * milli)
  let children = [first, second, third] as [3 of Child]
  for index in children.indices {
    check.expect(children[index][UA_WORD3], equals: 0, "somebody was in the section of another")
    // The one by contract spends nearly all its time on the others' sections, which never end for long.
    let least: UInt64 = index == 1 ? 1 : 10
    check.expect(children[index][UA_WORD] >= least, "sections that it came through", children[index][UA_WORD])
  }
  first.kill()
  second.kill()
  third.kill()
  stranger.kill()
  check.expect(waitUntil { free_frames() == free }, "frames that came back")
  settle()
  Budget.set(.time, of: 0x0034, to: 0)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}
