// SPDX-License-Identifier: Apache-2.0
// Quotas.swift: nobody holds more than its budget, and budgets are neither made nor lost.

import ApusABI

private var kinds: [4 of AccountKind] { [.frames, .environments, .slices, .time] }

/// The limits of all accounts together, and whether the uses of frames are what the frame table says.
struct Balance {
  private(set) var limits: [4 of UInt64] = [0, 0, 0, 0]

  init() {
    for account in 0..<Information.page.account_count {
      let record = Information.account(account)
      limits[0] += UInt64(record.frames.limit)
      limits[1] += UInt64(record.environments.limit)
      limits[2] += UInt64(record.slices.limit)
      limits[3] += UInt64(record.time.limit)
    }
  }

  func isEqual(to other: Balance) -> Bool {
    for kind in limits.indices where limits[kind] != other.limits[kind] { return false }
    return true
  }

  func compare(with later: Balance, _ check: inout Check) {
    for kind in limits.indices { check.expect(later.limits[kind], equals: limits[kind], "all limits together") }
  }

  /// Counts what accounts hold in the other tables.
  static func verify(_ account: UInt64, _ check: inout Check) {
    let page = Information.page
    var frames: UInt64 = 0
    for number in 0..<page.frame_count {
      let record = Information.frame(number)
      let isOwned = record.type >= UInt8(APUS_FRAME_ORDINARY) && record.type <= UInt8(APUS_FRAME_TABLE4)
      if isOwned, UInt64(record.account) == account { frames += 1 }
    }
    check.expect(Budget.used(.frames, of: account), equals: frames, "frames booked")
    var environments: UInt64 = 0
    var slices: UInt64 = 0
    for slot in 0..<page.environment_count {
      let record = Information.environment(slot: slot)
      guard record.state != UInt32(APUS_ENVIRONMENT_FREE), UInt64(record.account) == account else { continue }
      environments += 1
      slices += UInt64(record.slices_owned)
    }
    check.expect(Budget.used(.environments, of: account), equals: environments, "environments booked")
    check.expect(Budget.used(.slices, of: account), equals: slices, "slices booked")
    var time: UInt64 = 0
    for index in 0..<page.processor_count * UInt64(APUS_CONTRACT_COUNT) {
      let record = Information.contract(index)
      let isOwned = record.environment != UInt32(APUS_CONTRACT_FREE) && UInt64(record.account) == account
      if isOwned { time += UInt64(record.share) }
    }
    check.expect(Budget.used(.time, of: account), equals: time, "time booked")
  }
}

func quotaChecks(_ report: inout Report) {
  Budget.collect()
  let before = Balance()
  authority(&report)
  limits(&report)
  nothing(&report)
  frames(&report)
  transfer(&report)
  environmentsAndSlices(&report)
  passingDown(&report)
  afterDeath(&report)
  var check = Check("quotas", "the balance of all accounts")
  Budget.collect()
  var found = Balance()
  _ = waitUntil(turns: 100) {
    found = Balance()
    return found.isEqual(to: before)
  }
  before.compare(with: found, &check)
  Balance.verify(Budget.own, &check)
  check.expect(Budget.limit(.environments, of: Budget.own), equals: Information.page.environment_count, "all came back")
  report.finish(check)
}

/// Who may set a limit.
private func authority(_ report: inout Report) {
  let account: UInt64 = 0x0031
  for index in kinds.indices {
    let kind = kinds[index]
    var check = Check("quotas", "limits without the authority, kind", kind.rawValue)
    func denied(_ slot: UInt64, _ otherwise: StaticString) {
      refused(&check, .denied, otherwise) { Budget.set(kind, of: account, to: 1, by: slot) }
    }
    denied(Slot.empty, "an empty slot")
    denied(Slot.family, "the own family's name")
    denied(Slot.console, "the console's")
    Kernel.call(.capabilityForge, Slot.root, Slot.scratch2, 2 | (Right.read | Right.grant) << 8, account << 48)
    denied(Slot.scratch2, "its name without the right to write")
    Kernel.call(.capabilityForge, Slot.root, Slot.scratch2, 3 | Right.all << 8, account << 48)
    denied(Slot.scratch2, "a longer name")
    Kernel.call(.capabilityForge, Slot.root, Slot.scratch2, 2 | Right.all << 8, (account + 1) << 48)
    denied(Slot.scratch2, "a name beside it")
    Kernel.call(.capabilityDrop, Slot.scratch2)
    denied(Slot.scratch2, "a dropped capability")
    check.expect(Budget.set(kind, of: account, to: 1, by: 8).isFault, "slot 8")
    Kernel.call(.capabilityForge, Slot.root, Slot.scratch2, 2 | Right.write << 8, account << 48)
    check.expect(Budget.set(kind, of: account, to: 1, by: Slot.scratch2).raw, equals: 0, "its name")
    check.expect(Budget.set(kind, of: account, to: 0, by: Slot.scratch2).raw, equals: 0, "taking it back")
    Kernel.call(.capabilityDrop, Slot.scratch2)
    report.finish(check)
  }
}

/// Garbage, and more than there is.
private func limits(_ report: inout Report) {
  let account: UInt64 = 0x0031
  var check = Check("quotas", "limits out of range")
  let wrongKinds: [4 of UInt64] = [4, 255, 1 << 32, UInt64.max]
  for index in wrongKinds.indices {
    refused(&check, .invalid, "a kind that there is not") {
      Kernel.call(.accountLimit, Slot.root, account, wrongKinds[index], 1)
    }
  }
  let accounts: [5 of UInt64] = [
    Information.page.account_count, 1 << 16, 1 << 32, 1 << 63 | account, UInt64.max,
  ]
  for index in accounts.indices {
    refused(&check, .noSuchResource, "an account that there is not") {
      Budget.set(.frames, of: accounts[index], to: 1)
    }
  }
  for index in kinds.indices {
    let kind = kinds[index]
    let room = Budget.limit(kind, of: Budget.own) - Budget.used(kind, of: Budget.own)
    refused(&check, .quotaExceeded, "more than the giver has room for") {
      Budget.set(kind, of: account, to: room + 1)
    }
    refused(&check, .quotaExceeded, "2^32 - 1") { Budget.set(kind, of: account, to: 0xffff_ffff) }
    refused(&check, .invalid, "2^32") { Budget.set(kind, of: account, to: 1 << 32) }
    refused(&check, .invalid, "-1") { Budget.set(kind, of: account, to: UInt64.max) }
    refused(&check, .invalid, "the own account") { Budget.set(kind, of: Budget.own, to: 1) }
    check.expect(Budget.set(kind, of: account, to: room).raw, equals: 0, "all that the giver has room for")
    check.expect(Budget.limit(kind, of: account), equals: room, "the new limit")
    check.expect(
      Budget.limit(kind, of: Budget.own), equals: Budget.used(kind, of: Budget.own), "what the giver has left")
    check.expect(Budget.set(kind, of: account, to: 0).raw, equals: 0, "taking it back")
  }
  report.finish(check)
}

/// An account that nobody gave anything can hold nothing.
private func nothing(_ report: inout Report) {
  let account: UInt64 = 0x0032
  var check = Check("quotas", "an account without a budget")
  Kernel.call(.capabilityForge, Slot.root, Slot.scratch2, 2 | Right.all << 8, account << 48)
  refused(&check, .quotaExceeded, "a frame") { Kernel.call(.frameAllocate, Slot.scratch2, Memory.list, 1, 0) }
  store64(Memory.list, firstFreeFrame())
  refused(&check, .quotaExceeded, "a frame by its name") {
    Kernel.call(.frameAllocate, Slot.scratch2, Memory.list, 1, FrameAllocateFlags.named.rawValue)
  }
  check.expect(
    Kernel.call(.frameAllocate, Slot.scratch2, Memory.list, 0, 0).raw, equals: 0, "nothing is always there")
  // Beyond the table: no budget can be given at all.
  let beyond = Information.page.account_count
  if beyond <= 0xffff {
    Kernel.call(.capabilityForge, Slot.root, Slot.scratch2, 2 | Right.all << 8, beyond << 48)
    refused(&check, .quotaExceeded, "a frame for an account beyond the table") {
      Kernel.call(.frameAllocate, Slot.scratch2, Memory.list, 1, 0)
    }
  }
  Kernel.call(.capabilityDrop, Slot.scratch2)
  report.finish(check)
}

private func frames(_ report: inout Report) {
  let account: UInt64 = 0x0033
  var check = Check("quotas", "frames up to the limit")
  Kernel.call(.capabilityForge, Slot.root, Slot.scratch2, 2 | Right.all << 8, account << 48)
  check.expect(Budget.set(.frames, of: account, to: 5).raw, equals: 0, "a budget of five frames")
  check.expect(Kernel.call(.frameAllocate, Slot.scratch2, Memory.list, 3, 0).raw, equals: 3, "three")
  check.expect(Budget.used(.frames, of: account), equals: 3, "what is booked")
  check.expect(Kernel.call(.frameAllocate, Slot.scratch2, Memory.list2, 3, 0).raw, equals: 2, "of three more")
  refused(&check, .quotaExceeded, "a sixth") { Kernel.call(.frameAllocate, Slot.scratch2, Memory.list2 + 16, 1, 0) }
  // Under a longer name the account is the same.
  Kernel.call(.capabilityForge, Slot.scratch2, Slot.scratch, 3 | Right.all << 8, account << 48 | 0x77 << 40)
  refused(&check, .quotaExceeded, "a sixth under a longer name") {
    Kernel.call(.frameAllocate, Slot.scratch, Memory.list2 + 16, 1, 0)
  }
  Kernel.call(.capabilityDrop, Slot.scratch)
  refused(&check, .inUse, "a limit below what it holds") { Budget.set(.frames, of: account, to: 4) }
  check.expect(Kernel.call(.frameFree, Slot.scratch2, Memory.list2, 2).raw, equals: 2, "giving two back")
  check.expect(Budget.used(.frames, of: account), equals: 3, "what is booked then")
  let free = firstFreeFrame()
  store64(Memory.list2, free)
  var second = free + 1
  while Information.frame(second).type != UInt8(APUS_FRAME_FREE) { second += 1 }
  var third = second + 1
  while Information.frame(third).type != UInt8(APUS_FRAME_FREE) { third += 1 }
  store64(Memory.list2 + 8, second)
  store64(Memory.list2 + 16, third)
  refused(&check, .quotaExceeded, "three by their names, with room for two") {
    Kernel.call(.frameAllocate, Slot.scratch2, Memory.list2, 3, FrameAllocateFlags.named.rawValue)
  }
  check.expect(
    Kernel.call(.frameAllocate, Slot.scratch2, Memory.list2, 2, FrameAllocateFlags.named.rawValue).raw, equals: 2,
    "two by their names")
  check.expect(Kernel.call(.frameFree, Slot.scratch2, Memory.list2, 2).raw, equals: 2, "giving those back")
  check.expect(Kernel.call(.frameFree, Slot.scratch2, Memory.list, 3).raw, equals: 3, "giving all back")
  Balance.verify(account, &check)
  check.expect(Budget.set(.frames, of: account, to: 0).raw, equals: 0, "taking the budget back")
  Kernel.call(.capabilityDrop, Slot.scratch2)
  report.finish(check)
}

/// Frames that change hands: the receiver's budget pays, the giver's is free again, and the giver has no hold left.
private func transfer(_ report: inout Report) {
  let account: UInt64 = 0x0037
  var check = Check("quotas", "frames given to another account")
  let page = Memory.region + 0x18_0000
  Kernel.call(.capabilityForge, Slot.root, Slot.scratch2, 2 | Right.all << 8, account << 48)
  guard let first = Memory.takeFrame(), let second = Memory.takeFrame(), let third = Memory.takeFrame() else {
    return report.notTried(check)
  }
  func give(_ a: UInt64, _ b: UInt64, by slot: UInt64? = nil, to receiver: UInt64? = nil) -> Answer {
    store64(Memory.list, a)
    store64(Memory.list + 8, b)
    return Kernel.call(.frameTransfer, slot ?? Slot.family, Memory.list, 2, receiver ?? Slot.scratch2)
  }
  func map(_ entry: UInt64, _ slot: UInt64? = nil) -> Answer {
    store64(Memory.list2, entry)
    return Kernel.call(
      .pagesWrite, Memory.both(Slot.family, slot ?? Slot.family), Information.ownRoot, page, 1, Memory.list2)
  }
  refused(&check, .quotaExceeded, "to an account without a budget") { give(first, second) }
  check.expect(Budget.set(.frames, of: account, to: 1).raw, equals: 0, "a budget of one frame")
  refused(&check, .quotaExceeded, "two, with room for one") { give(first, second) }
  check.expect(Budget.set(.frames, of: account, to: 3).raw, equals: 0, "a budget of three frames")
  refused(&check, .invalid, "one twice") { give(first, first) }
  refused(&check, .wrongType, "a page table") { give(first, Information.ownRoot) }
  refused(&check, .wrongType, "a free frame") { give(first, firstFreeFrame()) }
  refused(&check, .wrongType, "the kernel's frame") { give(first, 0x100, by: Slot.root) }
  refused(&check, .noSuchResource, "a frame beyond memory") { give(first, Information.page.frame_count) }
  refused(&check, .inUse, "the own u-area") { give(first, OwnTables.frame(UInt64(APUS_LIBOS_BASE))) }
  check.expect(map(Entry.page(second)).value == 1, "mapping one")
  store64(page + 64, 0x6f77_6e65_72)
  refused(&check, .inUse, "a mapped frame") { give(first, second) }
  check.expect(map(0).value == 1, "unmapping it")
  Kernel.call(.capabilityForge, Slot.root, Slot.scratch, 2 | Right.read << 8, account << 48)
  refused(&check, .denied, "to a name that may only be read") { give(first, second, to: Slot.scratch) }
  Kernel.call(.capabilityDrop, Slot.scratch)

  let held = Budget.used(.frames, of: Budget.own)
  check.expect(give(first, second).raw, equals: 2, "what it gave")
  check.expect(Budget.used(.frames, of: Budget.own), equals: held - 2, "what the giver holds")
  check.expect(Budget.used(.frames, of: account), equals: 2, "what the receiver holds")
  Balance.verify(account, &check)
  Balance.verify(Budget.own, &check)
  refused(&check, .denied, "mapped by the giver") { map(Entry.page(second)) }
  refused(&check, .denied, "freed by the giver") { Memory.giveBack(second) }
  refused(&check, .denied, "made a table by the giver") {
    Kernel.call(.tableInstall, Slot.family, 0, 0, 4, second)
  }
  refused(&check, .denied, "taken back by the giver") { give(first, second, to: Slot.family) }
  check.expect(map(Entry.page(second), Slot.scratch2).value == 1, "mapped by the receiver's name")
  check.expect(load64(page + 64), equals: 0x6f77_6e65_72, "what is in it")
  check.expect(map(0).value == 1, "unmapping it again")
  refused(&check, .denied, "another's with one's own") { give(third, first) }
  store64(Memory.list, first)
  store64(Memory.list + 8, second)
  check.expect(Kernel.call(.frameFree, Slot.scratch2, Memory.list, 2).raw, equals: 2, "freed by the receiver")
  check.expect(Memory.giveBack(third).value == 1, "giving the third back")
  check.expect(Budget.set(.frames, of: account, to: 0).raw, equals: 0, "taking the budget back")
  Kernel.call(.capabilityDrop, Slot.scratch2)
  report.finish(check)
}

private func environmentsAndSlices(_ report: inout Report) {
  let account: UInt64 = 0x0034
  var check = Check("quotas", "environments and slices up to the limit")
  let free = free_frames()
  Kernel.forge(Slot.other, name: account << 48, length: 2)
  Budget.set(.environments, of: account, to: 1)
  Budget.set(.slices, of: account, to: 2)
  guard let child = Child(0, body: Body.sleep, foreign: Slot.other), waitUntil({ child.isAsleep }) else {
    return report.notTried(check)
  }
  refused(&check, .quotaExceeded, "a second environment") {
    Kernel.call(.environmentCreate, Slot.other, child.root, child.uareaFrame, child.uarea, 0)
  }
  check.expect(Kernel.call(.sliceAllocate, Slot.other, UInt64.max, child.handle).value != nil, "a second slice")
  refused(&check, .quotaExceeded, "a third slice") {
    Kernel.call(.sliceAllocate, Slot.other, UInt64.max, child.handle)
  }
  refused(&check, .quotaExceeded, "a third slice by its number") {
    Kernel.call(.sliceAllocate, Slot.other, Information.page.slice_count - 1, child.handle)
  }
  refused(&check, .inUse, "fewer slices than it holds") { Budget.set(.slices, of: account, to: 1) }
  refused(&check, .inUse, "fewer environments than it holds") { Budget.set(.environments, of: account, to: 0) }
  Balance.verify(account, &check)
  child.kill()
  balance(free, &check)
  check.expect(Budget.used(.slices, of: account) + Budget.used(.environments, of: account), equals: 0, "what is left")
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

/// The giver is who calls, and its own room is the bound.
private func passingDown(_ report: inout Report) {
  var check = Check("quotas", "a budget moves, whole")
  Budget.collect()
  let account: UInt64 = 0x0035
  for index in kinds.indices {
    let kind = kinds[index]
    let mine = Budget.limit(kind, of: Budget.own)
    check.expect(Budget.set(kind, of: account, to: 6).raw, equals: 0, "giving six")
    check.expect(Budget.limit(kind, of: Budget.own), equals: mine - 6, "the giver's limit")
    check.expect(Budget.set(kind, of: account, to: 6).raw, equals: 0, "giving six again")
    check.expect(Budget.limit(kind, of: Budget.own), equals: mine - 6, "the giver's limit again")
    check.expect(Budget.set(kind, of: account, to: 2).raw, equals: 0, "taking four back")
    check.expect(Budget.limit(kind, of: Budget.own), equals: mine - 2, "the giver's limit then")
    check.expect(UInt64(Information.account(account).parent), equals: Budget.own, "who gave it")
    check.expect(Budget.set(kind, of: account, to: 0).raw, equals: 0, "taking all back")
    check.expect(Budget.limit(kind, of: Budget.own), equals: mine, "the giver's limit in the end")
  }
  report.finish(check)
}

/// What a dead family had goes back to who gave it.
private func afterDeath(_ report: inout Report) {
  var check = Check("quotas", "the budget of a dead family goes back")
  let account: UInt64 = 0x0036
  let free = free_frames()
  Budget.collect()
  let mine = Budget.limit(.frames, of: Budget.own)
  Kernel.forge(Slot.other, name: account << 48, length: 2)
  guard let child = Child(0, body: Body.sleep, foreign: Slot.other) else { return report.notTried(check) }
  let given = Budget.limit(.frames, of: account)
  check.expect(given > 0 && Budget.limit(.frames, of: Budget.own) == mine - given, "what it got", given)
  child.kill()
  balance(free, &check)
  check.expect(
    waitUntil(turns: 1000) { Budget.limit(.frames, of: account) == 0 }, "its limit", Budget.limit(.frames, of: account))
  check.expect(Budget.limit(.frames, of: Budget.own), equals: mine, "the giver's limit")
  check.expect(Budget.limit(.slices, of: account) + Budget.limit(.environments, of: account), equals: 0, "other limits")
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}
