// SPDX-License-Identifier: Apache-2.0
// Transfers.swift: protected control transfer: what arrives, what is refused, and that refusals change nothing.

import ApusABI

private var file: Registers { Registers(address: address_of_hostile_file()) }
private var entered: Registers { Registers(address: address_of_hostile_entered()) }
private var reply: Registers { Registers(address: address_of_hostile_reply()) }
private var replied: Registers { Registers(address: address_of_hostile_replied()) }

enum Transfers {
  static var never: UInt64 { UInt64.max }
  static var now: UInt64 { time_stamp() }
  static func slices(_ count: UInt64) -> UInt64 { count * Information.page.slice_ticks }

  /// A child without time of its own that does a service behind its protected entry.
  static func server(
    _ number: UInt64, _ service: Int32, next: UInt64 = 0, deadline: UInt64 = UInt64.max
  ) -> Child? {
    guard let child = Child(number, body: Body.sleep, slice: false) else { return nil }
    prepare(child.uarea, seenAt: child.uarea, service)
    child[UA_NEXT] = next
    child[UA_DEADLINE] = deadline
    return child
  }

  /// Writes a server's words into a u-area, given where it is mapped here.
  static func prepare(_ page: UInt64, seenAt uarea: UInt64, _ service: Int32) {
    store64(page + UInt64(APUS_UA_PROTECTED_ENTRY), address_of_hostile_protected_entry())
    store64(page + UInt64(APUS_UA_PROTECTED_STACK), uarea + 0x6000)
    store64(page + UInt64(UA_SERVICE), UInt64(service))
  }

  /// Calls with patterns in the registers.
  static func call(_ target: UInt64, deadline: UInt64 = never) -> Answer {
    Answer(raw: hostile_transfer(file.address, target, deadline))
  }

  /// How the last call that came back ended, as rax says at the reply entry.
  static var ending: UInt64 { replied[REGISTER_RAX] }

  static var own: apus_environment { Information.environment(slot: Information.ownSlot) }

  /// Nobody waits, serves or runs that should not.
  static func expectIdle(_ child: Child, _ check: inout Check) {
    let record = child.record
    check.expect(record.returns_to, equals: 0, "whom it serves")
    check.expect(record.transfer_target, equals: 0, "whom it waits for")
    check.expect(UInt64(record.transfer_depth), equals: 0, "callers above it")
    check.expect(UInt64(record.running_on), equals: 0, "the CPU that runs it")
    check.expect(child[APUS_UA_ACCEPTING], equals: 1, "that it accepts again")
    check.expect(UInt64(own.transfer_depth), equals: 0, "callers above this program")
    check.expect(UInt64(own.state), equals: UInt64(APUS_ENVIRONMENT_RUNNABLE), "the own state")
    check.expect(own.transfer_target, equals: 0, "whom this program waits for")
  }
}

func transferChecks(_ report: inout Report) {
  Pattern.fill(file, seed: 3)
  file.flags = 0
  Pattern.fill(reply, seed: 4)
  message(&report)
  leftVectors(&report)
  betweenFamilies(&report)
  refusals(&report)
  busyTargets(&report)
  chains(&report)
  entries(&report)
  endedSlices(&report)
  asynchronous(&report)
  transferTimeChecks(&report)
  var check = Check("transfer", "everything given back")
  for number in 0..<UInt64(10) { check.expect(Child.release(number), "pages of children", number) }
  report.finish(check)
}

/// The nine registers that are the message, in the processor's order: rdx, rbx, rbp, r8, r10, r12 to r15.
private let messageRegisters: UInt64 = 1 << 2 | 1 << 3 | 1 << 5 | 1 << 8 | 1 << 10 | 0xf << 12

/// What an entry found: the message of a file, and nothing else of it.
private func verify(
  _ found: Registers, bases: UInt64, message: Registers, caller: UInt64, rsi: UInt64, stack: UInt64, uarea: UInt64,
  entry: UInt64, _ check: inout Check
) {
  for index in 0..<UInt64(16) {
    let value = load64(found.address + index * 8)
    let expected: UInt64 =
      switch index {
      case _ where messageRegisters >> index & 1 != 0: load64(message.address + index * 8)
      case 0: 0
      case 1: entry
      case 4: stack
      case 6: rsi
      case 7: caller
      case 9: uarea
      default: 0x202
      }
    check.expect(value, equals: expected, messageRegisters >> index & 1 != 0 ? "the message" : "beside the message")
  }
  check.expect(found.flags, equals: 0x202, "flags")
  check.expect(load64(bases), equals: 0, "FS base")
  check.expect(load64(bases + 8), equals: uarea, "GS base")
}

private func message(_ report: inout Report) {
  var check = Check("transfer", "a message there and back")
  guard let server = Transfers.server(0, SERVICE_ANSWER) else { return report.notTried(check) }
  let served = Transfers.own
  for round in 1...UInt64(20) {
    Pattern.fill(file, seed: round)
    file.flags = 0
    Pattern.fill(reply, seed: round + 100)
    let deadline = round & 1 == 0 ? Transfers.never : Transfers.now + Transfers.slices(100)
    check.expect(Transfers.call(server.handle, deadline: deadline).raw, equals: UInt64(RESUMED), "the answer")
    verify(
      entered, bases: address_of_hostile_entered_bases(), message: file, caller: Information.ownHandle, rsi: deadline,
      stack: server.uarea + 0x6000, uarea: server.uarea, entry: address_of_hostile_protected_entry(), &check)
    verify(
      replied, bases: address_of_hostile_replied_bases(), message: reply, caller: server.handle, rsi: 0,
      stack: uarea_word(UInt32(APUS_UA_REPLY_STACK)), uarea: UInt64(APUS_LIBOS_BASE),
      entry: address_of_hostile_reply_entry(), &check)
    check.expect(server[UA_SERVED], equals: round, "times it was entered")
    Transfers.expectIdle(server, &check)
  }
  check.expect(server.record.slice_upcalls, equals: 0, "slice upcalls of the server")
  check.expect(UInt64(Transfers.own.running_on), equals: UInt64(served.running_on), "the CPU that runs this program")
  server.kill()
  report.finish(check)
}

/// Between two address spaces nothing but the message passes, in either direction.
private func betweenFamilies(_ report: inout Report) {
  var check = Check("transfer", "nothing but the message between families")
  let free = free_frames()
  Kernel.forge(Slot.other, name: 0x0051 << 48, length: 2)
  guard
    let server = Child(
      0, body: Body.sleep, foreign: Slot.other, slice: false,
      changing: { Transfers.prepare($0, seenAt: Child.uarea(of: 0), SERVICE_VECTORS) })
  else { return report.notTried(check) }
  fillVectors(address_of_hostile_holder_vectors())
  store64(address_of_hostile_holder_fs(), 0x0000_1357_9bdf_0246)
  for round in 1...UInt64(5) {
    Pattern.fill(file, seed: round)
    file.flags = 1  // patterns in the vector registers and the FS base
    // A deadline within the slice takes the slow path, the others the fast one.
    let deadline = round & 1 == 0 ? Transfers.never : Transfers.now + Transfers.slices(1) / 2
    check.expect(Transfers.call(server.handle, deadline: deadline).raw, equals: UInt64(RESUMED), "the answer")
    if Transfers.ending != 0 { break }  // the host was slow, and the server is still at it
    verify(
      entered, bases: address_of_hostile_entered_bases(), message: file, caller: Information.ownHandle, rsi: deadline,
      stack: Child.uarea(of: 0) + 0x6000, uarea: Child.uarea(of: 0), entry: address_of_hostile_protected_entry(),
      &check)
    lookAtVectors(address_of_hostile_entered_vectors()) { check.expect(false, "the caller's vectors", $0 << 48 | $1) }
    verify(
      replied, bases: address_of_hostile_replied_bases(), message: reply, caller: server.handle, rsi: 0,
      stack: uarea_word(UInt32(APUS_UA_REPLY_STACK)), uarea: UInt64(APUS_LIBOS_BASE),
      entry: address_of_hostile_reply_entry(), &check)
    lookAtVectors(address_of_hostile_replied_vectors()) { check.expect(false, "the callee's vectors", $0 << 48 | $1) }
  }
  file.flags = 0
  server.kill()
  balance(free, &check)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

/// What a callee leaves in the vector registers, when its slice goes on to the caller's family, is not there.
private func leftVectors(_ report: inout Report) {
  var check = Check("transfer", "vectors that a callee leaves behind")
  let free = free_frames()
  Kernel.forge(Slot.other, name: 0x0052 << 48, length: 2)
  guard
    let server = Child(
      0, body: Body.sleep, foreign: Slot.other, slice: false,
      changing: { Transfers.prepare($0, seenAt: Child.uarea(of: 0), SERVICE_KEEP) }),
    let reader = Child(1, body: Body.sleep, slice: false)
  else { return report.notTried(check) }
  fillVectors(address_of_hostile_holder_vectors())
  reader[APUS_UA_SLICE_BEGIN_ENTRY] = address_of_hostile_reader_entry()
  reader[APUS_UA_SLICE_STACK] = reader.uarea + 0x6000
  check.expect(Kernel.call(.sliceAllocate, Slot.family, UInt64.max, reader.handle).value != nil, "a slice")
  Kernel.yield()
  for index in 0..<UInt64(16) { Shared[index] = 0 }
  // The callee's last slice is the reader's next: who waits has no turn between them.
  let answer = Transfers.call(server.handle, deadline: Transfers.now + Transfers.slices(3))
  check.expect(answer.raw, equals: UInt64(RESUMED), "the answer")
  check.expect(Transfers.ending, equals: UInt64(APUS_TRANSFER_EXPIRED), "how it ended")
  check.expect(Shared[0] > 0, "the reader did not look")
  check.expect(vectorsFound, equals: 0, "times that it found the callee's vectors")
  reader.kill()
  server.kill()
  check.expect(Child.release(1), "pages of the reader")
  balance(free, &check)
  Kernel.call(.capabilityDrop, Slot.other)
  report.finish(check)
}

/// Handles that name nobody, and targets that do not accept: an error, and nothing has changed.
private func refusals(_ report: inout Report) {
  var check = Check("transfer", "targets that there are not, or that do not accept")
  guard let server = Transfers.server(0, SERVICE_ANSWER), let dead = Transfers.server(1, SERVICE_ANSWER) else {
    return report.notTried(check)
  }
  dead.kill()
  func refused(_ target: UInt64, deadline: UInt64 = UInt64.max, _ error: SystemCallError) {
    set_uarea_word(UInt32(APUS_UA_ACCEPTING), 1)
    let before = Snapshot()
    let accepting = server[APUS_UA_ACCEPTING]
    let answer = Transfers.call(target, deadline: deadline)
    check.expect(answer.error == error, "the answer to a call", answer.raw)
    if deadline == UInt64.max {
      let other = Answer(raw: hostile_suspend(UInt64(CALL_TRANSFER_ASYNCHRONOUSLY), target, 0, 0, 0))
      check.expect(other.error == error, "the answer to an asynchronous one", other.raw)
    }
    before.compare(with: Snapshot(), &check)
    check.expect(server[APUS_UA_ACCEPTING], equals: accepting, "its word")
    set_uarea_word(UInt32(APUS_UA_ACCEPTING), 0)
  }
  let free = Information.page.environment_count
  let targets: [13 of UInt64] = [
    0, 1, free, free + 1, 0xffff_ffff, UInt64.max, 1 << 63, 1 << 32, server.handle + (1 << 32), server.handle ^ 1 << 63,
    server.handle + free, dead.handle, dead.handle + (1 << 32),
  ]
  for index in targets.indices { refused(targets[index], .noSuchResource) }
  refused(Information.ownHandle, .inUse)
  let values: [4 of UInt64] = [0, 2, UInt64.max - 1, 1 << 63]
  for index in values.indices {
    server[APUS_UA_ACCEPTING] = values[index]
    refused(server.handle, .inUse)
  }
  server[APUS_UA_ACCEPTING] = 1
  let deadlines: [3 of UInt64] = [0, 1, Transfers.now]
  for index in deadlines.indices { refused(server.handle, deadline: deadlines[index], .expired) }
  check.expect(server[UA_SERVED], equals: 0, "times it was entered")
  server.kill()
  report.finish(check)
}

/// A target that serves or waits for somebody cannot be entered again, whatever it says; so no cycle closes.
private func busyTargets(_ report: inout Report) {
  var check = Check("transfer", "one that serves is not entered again")
  guard let server = Transfers.server(0, SERVICE_ACCEPT), let caller = Child(1, body: address_of_hostile_body_call())
  else { return report.notTried(check) }
  caller[UA_NEXT] = server.handle
  caller[UA_DEADLINE] = Transfers.never
  check.expect(waitUntil { server[UA_SERVED] == 1 && server[APUS_UA_ACCEPTING] == 1 }, "it is not entered")
  check.expect(server.record.returns_to, equals: caller.handle, "whom it serves")
  check.expect(UInt64(caller.record.state), equals: UInt64(APUS_ENVIRONMENT_CALLING), "the caller's state")
  let answer = Transfers.call(server.handle)
  check.expect(answer.error == .inUse, "the second caller's answer", answer.raw)
  caller[APUS_UA_ACCEPTING] = 1
  check.expect(Transfers.call(caller.handle).error == .inUse, "a call to one that waits")
  let other = Answer(raw: hostile_suspend(UInt64(CALL_TRANSFER_ASYNCHRONOUSLY), server.handle, 0, 0, 0))
  check.expect(other.error == .inUse, "an asynchronous one", other.raw)
  server[UA_STOPS] = 1
  check.expect(waitUntil { caller[UA_WORD] == 1 }, "the first caller has no reply")
  check.expect(caller[UA_CALLED], equals: 1, "how its call ended")
  Transfers.expectIdle(server, &check)
  caller.kill()
  server.kill()
  report.finish(check)

  var cycle = Check("transfer", "a cycle is refused")
  guard let first = Transfers.server(0, SERVICE_CALL, next: Information.ownHandle) else {
    return report.notTried(cycle)
  }
  set_uarea_word(UInt32(APUS_UA_ACCEPTING), 1)
  cycle.expect(Transfers.call(first.handle).raw, equals: UInt64(RESUMED), "the answer")
  set_uarea_word(UInt32(APUS_UA_ACCEPTING), 0)
  cycle.expect(Answer(raw: first[UA_ANSWER]).error == .inUse, "calling back one's caller", first[UA_ANSWER])
  Transfers.expectIdle(first, &cycle)
  first.kill()
  report.finish(cycle)
}

/// Eight may wait above one; the ninth call of a chain is refused, and all return.
private func chains(_ report: inout Report) {
  var check = Check("transfer", "a chain of nine")
  let bound = UInt64(APUS_TRANSFER_CHAIN)
  guard let last = Transfers.server(9, SERVICE_ANSWER) else { return report.notTried(check) }
  var next = last.handle
  var servers: InlineArray<9, UInt64> = .init(repeating: 0)
  for number in 0..<bound {
    guard let server = Transfers.server(bound - 1 - number, SERVICE_CALL, next: next) else {
      return report.notTried(check)
    }
    next = server.handle
    servers[Int(number)] = next
  }
  check.expect(Transfers.call(next).raw, equals: UInt64(RESUMED), "the answer")
  check.expect(Transfers.ending, equals: 0, "how it ended")
  func word(_ number: UInt64, _ offset: Int32) -> UInt64 { load64(Child.uarea(of: number) + UInt64(offset)) }
  for number in 0..<bound {
    check.expect(word(number, UA_SERVED), equals: 1, "times that each was entered")
    let isLast = number == bound - 1
    if isLast {
      check.expect(Answer(raw: word(number, UA_ANSWER)).error == .exhausted, "the ninth", word(number, UA_ANSWER))
    } else {
      check.expect(word(number, UA_ANSWER), equals: UInt64(RESUMED), "those before")
    }
  }
  check.expect(last[UA_SERVED], equals: 0, "the one too many was entered")
  // One less is within the bound: its call comes to the last.
  check.expect(Transfers.call(servers[Int(bound) - 2]).raw, equals: UInt64(RESUMED), "the shorter chain's answer")
  check.expect(last[UA_SERVED], equals: 1, "the last of the shorter chain")
  for index in 0..<Int(bound) { Kernel.call(.environmentKill, Slot.family, servers[index]) }
  Transfers.expectIdle(last, &check)
  last.kill()
  report.finish(check)
}

/// Entries are allegations: they are cut to addresses that ring 3 can have.
private func entries(_ report: inout Report) {
  var check = Check("transfer", "entries that are not canonical")
  guard let server = Transfers.server(0, SERVICE_ANSWER) else { return report.notTried(check) }
  let entry = address_of_hostile_protected_entry()
  let wrong: [3 of UInt64] = [0xffff_8000_0000_0000, 1 << 63, 1 << 47]
  for index in wrong.indices {
    server[APUS_UA_PROTECTED_ENTRY] = entry | wrong[index]
    check.expect(Transfers.call(server.handle).raw, equals: UInt64(RESUMED), "the answer")
    check.expect(entered[REGISTER_RCX], equals: entry, "where it was entered")
  }
  // An entry where there is nothing, and a stack that is no address: the server's own faults.
  let entries: [3 of UInt64] = [0, 0x7fff_ffff_ffff, 0xffff_8880_0000_1000]
  let stacks: [3 of UInt64] = [0, 1 << 63, UInt64.max]
  for index in entries.indices {
    guard let other = Transfers.server(1, SERVICE_ANSWER) else { return report.notTried(check) }
    other[APUS_UA_PROTECTED_ENTRY] = entries[index]
    other[APUS_UA_PROTECTED_STACK] = stacks[index]
    check.expect(Transfers.call(other.handle).raw, equals: UInt64(RESUMED), "the answer of a broken one")
    check.expect(Transfers.ending, equals: UInt64(APUS_TRANSFER_DIED), "how that call ended")
    check.expect(!other.isLive, "the broken one lives")
  }
  set_uarea_word(UInt32(APUS_UA_PENDING), 0)
  server.kill()
  report.finish(check)
}

/// After a slice's end there is nothing to donate, neither for a call nor for a return.
private func endedSlices(_ report: inout Report) {
  var check = Check("transfer", "nothing is donated after a slice's end")
  guard let server = Transfers.server(0, SERVICE_ANSWER), let other = Child(1, body: Body.spin) else {
    return report.notTried(check)
  }
  Kernel.yield()
  set_uarea_word(UInt32(APUS_UA_CRITICAL), 1)
  while uarea_word(UInt32(APUS_UA_PENDING)) & UInt64(APUS_PENDING_SLICE_END) == 0 {}
  let call = Transfers.call(server.handle)
  let given = Kernel.call(.transferAsynchronously, server.handle)
  Kernel.yield()
  check.expect(call.error == .expired, "a call's answer", call.raw)
  check.expect(given.error == .expired, "an asynchronous one's answer", given.raw)
  check.expect(server[UA_SERVED], equals: 0, "times it was entered")

  server[UA_SERVICE] = UInt64(SERVICE_DAWDLE)
  let before = Transfers.own
  check.expect(Transfers.call(server.handle).raw, equals: UInt64(RESUMED), "the answer")
  check.expect(Transfers.ending, equals: 0, "how it ended")
  check.expect(server[UA_REFUSED], equals: 1, "returns that were refused")
  check.expect(Answer(raw: server[UA_ANSWER]).error == .expired, "with what", server[UA_ANSWER])
  // Whoever donated the slice answers for its end.
  check.expect(server.record.excess_ticks, equals: 0, "what the server is charged")
  check.expect(Transfers.own.excess_ticks > before.excess_ticks, "what its caller is charged")
  Transfers.expectIdle(server, &check)
  other.kill()
  server.kill()
  report.finish(check)
}

private func asynchronous(_ report: inout Report) {
  var check = Check("transfer", "asynchronously")
  guard let server = Transfers.server(0, SERVICE_ANSWER) else { return report.notTried(check) }
  for round in 1...UInt64(5) {
    let answer = hostile_suspend(UInt64(CALL_TRANSFER_ASYNCHRONOUSLY), server.handle, 0, 11, 12)
    check.expect(answer, equals: UInt64(RESUMED), "the answer")
    check.expect(server[UA_SERVED], equals: round, "times it was entered")
    check.expect(entered[REGISTER_RAX], equals: UInt64(APUS_TRANSFER_ASYNCHRONOUS), "rax")
    check.expect(entered[REGISTER_RDI], equals: Information.ownHandle, "rdi")
    check.expect(entered[REGISTER_RSI], equals: 0, "rsi")
    check.expect(entered[REGISTER_R9], equals: server.uarea, "r9")
    check.expect(entered[REGISTER_RDX], equals: 11, "the message")
    Transfers.expectIdle(server, &check)
  }
  server.kill()
  report.finish(check)

  var alone = Check("transfer", "a return without a caller goes nowhere")
  guard let child = Child(0, body: address_of_hostile_body_return()) else { return report.notTried(alone) }
  child[APUS_UA_ACCEPTING] = 0
  alone.expect(waitUntil(turns: 200) { child[UA_WORD] >= 5 }, "it does not come back at its slices")
  alone.expect(child[UA_ANSWER], equals: UInt64(RESUMED), "the answer")
  alone.expect(child[APUS_UA_ACCEPTING], equals: 1, "that it accepts")
  child.kill()
  report.finish(alone)
}
