// SPDX-License-Identifier: Apache-2.0
// TransferTimes.swift: protected calls that last: slices, sleep, deadlines, and deaths in every place of a chain.

import ApusABI

func transferTimeChecks(_ report: inout Report) {
  laterSlices(&report)
  sleepers(&report)
  deadlines(&report)
  innerDeadline(&report)
  outerDeadline(&report)
  deadCallees(&report)
  deadCaller(&report)
  deadMiddle(&report)
  yieldToCaller(&report)
}

private func slices(_ count: UInt64) -> UInt64 { Transfers.slices(count) }

/// At a slice's end the callee saves itself; it goes on in its caller's slices, which are charged to the caller.
private func laterSlices(_ report: inout Report) {
  var check = Check("transfer", "a callee goes on in its caller's slices")
  guard let server = Transfers.server(0, SERVICE_WAIT), let other = Child(1, body: Body.spin),
    let stopper = Child(2, body: address_of_hostile_body_stop())
  else { return report.notTried(check) }
  stopper[UA_NEXT] = server.uarea + UInt64(UA_STOPS)
  let before = Transfers.own
  let begins = uarea_word(UInt32(UA_SLICE_BEGINS))
  let spun = other[UA_WORD]
  check.expect(Transfers.call(server.handle).raw, equals: UInt64(RESUMED), "the answer")
  check.expect(Transfers.ending, equals: 0, "how it ended")
  let after = Transfers.own
  let record = server.record
  check.expect(server[UA_SLICE_ENDS] >= 3, "slice ends of the callee", server[UA_SLICE_ENDS])
  check.expect(server[UA_SLICE_BEGINS] >= 3, "slice begins of the callee", server[UA_SLICE_BEGINS])
  check.expect(uarea_word(UInt32(UA_SLICE_BEGINS)), equals: begins, "slice begins of the caller")
  check.expect(after.slices_used >= before.slices_used + 3, "slices of the caller", after.slices_used)
  check.expect(record.slices_used, equals: 0, "slices of the callee")
  check.expect(record.ticks_used, equals: 0, "time charged to the callee")
  check.expect(after.ticks_used >= before.ticks_used + slices(2), "time charged to the caller")
  check.expect(other[UA_WORD] > spun, "the others did not run")
  Transfers.expectIdle(server, &check)
  other.kill()
  stopper.kill()
  server.kill()
  report.finish(check)
}

private func sleepers(_ report: inout Report) {
  var asleep = Check("transfer", "a target that sleeps wakes, and sleeps on")
  guard let sleeper = Child(0, body: Body.sleep) else { return report.notTried(asleep) }
  Transfers.prepare(sleeper.uarea, seenAt: sleeper.uarea, SERVICE_ANSWER)
  sleeper[APUS_UA_PROTECTED_STACK] = sleeper.uarea + 0x3000  // its own context is on its stack
  asleep.expect(waitUntil(turns: 100) { sleeper.isAsleep }, "it does not sleep")
  for round in 1...UInt64(3) {
    asleep.expect(Transfers.call(sleeper.handle).raw, equals: UInt64(RESUMED), "the answer")
    asleep.expect(sleeper[UA_SERVED], equals: round, "times it was entered")
    asleep.expect(waitUntil(turns: 100) { sleeper.isAsleep }, "it does not sleep again")
  }
  sleeper.kill()
  report.finish(asleep)

  var check = Check("transfer", "a callee may sleep")
  let deadline = Transfers.now + slices(3)
  guard let server = Transfers.server(0, SERVICE_SLEEP, deadline: deadline) else { return report.notTried(check) }
  check.expect(Transfers.call(server.handle).raw, equals: UInt64(RESUMED), "the answer")
  check.expect(Transfers.now >= deadline, "it woke too early", deadline &- Transfers.now)
  check.expect(Transfers.ending, equals: 0, "how it ended")
  Transfers.expectIdle(server, &check)
  // Longer than its caller waits: the machine idles, and the caller's deadline ends that.
  let now = Transfers.now
  server[UA_DEADLINE] = Transfers.never
  check.expect(Transfers.call(server.handle, deadline: now + slices(3)).raw, equals: UInt64(RESUMED), "the next answer")
  check.expect(Transfers.ending, equals: UInt64(APUS_TRANSFER_EXPIRED), "how that ended")
  check.expect(Transfers.now >= now + slices(3), "before the deadline")
  check.expect(server.isAsleep, "the callee does not sleep on")
  server.kill()
  report.finish(check)
}

/// A callee that never returns: the caller goes on after its deadline, the callee serves nobody and is told.
private func deadlines(_ report: inout Report) {
  for variant in 0..<UInt64(4) {
    var check = Check("transfer", "a callee that never returns, variant", variant)
    let other = variant & 1 == 0 ? nil : Child(1, body: Body.spin)
    guard let server = Transfers.server(0, SERVICE_WAIT), variant & 1 == 0 || other != nil else {
      return report.notTried(check)
    }
    // Within this slice or a few slices away.
    Kernel.yield()
    let deadline = Transfers.now + (variant & 2 == 0 ? slices(1) / 2 : slices(4))
    check.expect(Transfers.call(server.handle, deadline: deadline).raw, equals: UInt64(RESUMED), "the answer")
    check.expect(Transfers.ending, equals: UInt64(APUS_TRANSFER_EXPIRED), "how it ended")
    check.expect(Transfers.now >= deadline, "before the deadline", deadline &- Transfers.now)
    // The instruction and stack pointers, the own u-area's address and the flags are what an entry always has.
    for index in 1..<UInt64(16) where 1 << index & UInt64(1 << 1 | 1 << 4 | 1 << 9 | 1 << 11) == 0 {
      check.expect(load64(address_of_hostile_replied() + index * 8), equals: 0, "a register without a reply")
    }
    check.expect(server.isLive && server[UA_SERVED] == 1, "the callee")
    check.expect(server.record.returns_to, equals: 0, "whom it serves")
    check.expect(UInt64(server.record.transfer_depth), equals: 0, "callers above it")
    check.expect(
      server[APUS_UA_PENDING] & UInt64(APUS_PENDING_CALLER_GONE), equals: UInt64(APUS_PENDING_CALLER_GONE),
      "that it is told")
    check.expect(server[APUS_UA_ACCEPTING], equals: 0, "that it does not accept")
    check.expect(Transfers.call(server.handle).error == .inUse, "another call")
    // Its return, when it comes to that in time that somebody gives it, goes nowhere.
    server[UA_STOPS] = 1
    check.expect(
      waitUntil(turns: 200) {
        if server[APUS_UA_ACCEPTING] == 0 { Kernel.yield(to: server.handle) }
        return server[APUS_UA_ACCEPTING] == 1
      }, "it does not get to its return")
    Transfers.expectIdle(server, &check)
    check.expect(Transfers.call(server.handle).raw, equals: UInt64(RESUMED), "the next call")
    check.expect(Transfers.ending, equals: 0, "how the next call ended")
    other?.kill()
    server.kill()
    report.finish(check)
  }
}

/// A deadline in the middle of a chain: that caller goes on and answers its own.
private func innerDeadline(_ report: inout Report) {
  var check = Check("transfer", "a deadline in the middle of a chain")
  guard let last = Transfers.server(1, SERVICE_WAIT),
    let middle = Transfers.server(0, SERVICE_CALL, next: last.handle, deadline: Transfers.now + slices(3))
  else { return report.notTried(check) }
  check.expect(Transfers.call(middle.handle).raw, equals: UInt64(RESUMED), "the answer")
  check.expect(Transfers.ending, equals: 0, "how it ended")
  check.expect(middle[UA_CALLED], equals: UInt64(APUS_TRANSFER_EXPIRED) + 1, "how the inner call ended")
  check.expect(last.record.returns_to, equals: 0, "whom the last serves")
  Transfers.expectIdle(middle, &check)
  last.kill()
  middle.kill()
  report.finish(check)
}

/// A deadline at the head of a chain: the rest goes on as a chain of its own.
private func outerDeadline(_ report: inout Report) {
  var check = Check("transfer", "a deadline at the head of a chain")
  guard let last = Transfers.server(1, SERVICE_WAIT),
    let middle = Transfers.server(0, SERVICE_CALL, next: last.handle)
  else { return report.notTried(check) }
  let answer = Transfers.call(middle.handle, deadline: Transfers.now + slices(3))
  check.expect(answer.raw, equals: UInt64(RESUMED), "the answer")
  check.expect(Transfers.ending, equals: UInt64(APUS_TRANSFER_EXPIRED), "how it ended")
  check.expect(UInt64(middle.record.state), equals: UInt64(APUS_ENVIRONMENT_CALLING), "the middle's state")
  check.expect(middle.record.returns_to, equals: 0, "whom the middle serves")
  check.expect(last.record.returns_to, equals: middle.handle, "whom the last serves")
  check.expect(UInt64(last.record.transfer_depth), equals: 1, "callers above the last")
  // Time for one that waits is time for the end of its chain.
  last[UA_STOPS] = 1
  check.expect(
    waitUntil(turns: 200) {
      if middle[APUS_UA_ACCEPTING] == 0 { Kernel.yield(to: middle.handle) }
      return middle[APUS_UA_ACCEPTING] == 1
    }, "the rest does not come to its end")
  check.expect(middle[UA_CALLED], equals: 1, "how the inner call ended")
  Transfers.expectIdle(middle, &check)
  Transfers.expectIdle(last, &check)
  last.kill()
  middle.kill()
  report.finish(check)
}

/// However a callee ends, its caller is told.
private func deadCallees(_ report: inout Report) {
  let services: [3 of Int32] = [SERVICE_END, SERVICE_FAULT, SERVICE_WAIT]
  for index in services.indices {
    let service = services[index]
    var check = Check("transfer", "a callee that ends, service", UInt64(service))
    guard let server = Transfers.server(0, service) else { return report.notTried(check) }
    server[APUS_UA_EXCEPTION_ENTRY] = address_of_hostile_faulting_entry()
    server[APUS_UA_NESTED_ENTRY] = address_of_hostile_faulting_nested_entry()
    var killer: Child?
    if service == SERVICE_WAIT {
      killer = Child(1, body: address_of_hostile_body_kill(), capabilities: 1 << Slot.family, slice: false)
      killer?[UA_NEXT] = server.handle
      if let killer { Kernel.call(.sliceAllocate, Slot.family, UInt64.max, killer.handle) }
    }
    set_uarea_word(UInt32(APUS_UA_ACCEPTING), 1)
    check.expect(Transfers.call(server.handle).raw, equals: UInt64(RESUMED), "the answer")
    check.expect(Transfers.ending, equals: UInt64(APUS_TRANSFER_DIED), "how it ended")
    check.expect(!server.isLive, "it lives")
    check.expect(uarea_word(UInt32(APUS_UA_ACCEPTING)), equals: 0, "that the caller accepts meanwhile")
    check.expect(UInt64(Transfers.own.transfer_failure), equals: 0, "that it is told once")
    check.expect(Transfers.own.transfer_target, equals: 0, "whom it waits for")
    set_uarea_word(UInt32(APUS_UA_PENDING), 0)
    killer?.kill()
    report.finish(check)
  }
}

/// A caller that ends: its callee keeps its own time only, and its return goes nowhere.
private func deadCaller(_ report: inout Report) {
  var check = Check("transfer", "a caller that ends")
  guard let server = Transfers.server(0, SERVICE_WAIT),
    let caller = Child(1, body: address_of_hostile_body_call(), slice: false)
  else { return report.notTried(check) }
  caller[UA_NEXT] = server.handle
  caller[UA_DEADLINE] = Transfers.never
  check.expect(Kernel.call(.sliceAllocate, Slot.family, UInt64.max, caller.handle).value != nil, "a slice")
  check.expect(waitUntil { server[UA_SERVED] == 1 }, "the server is not entered")
  check.expect(caller.kill().value == 0, "ending the caller")
  check.expect(server.record.returns_to, equals: 0, "whom the server serves")
  check.expect(
    server[APUS_UA_PENDING] & UInt64(APUS_PENDING_CALLER_GONE), equals: UInt64(APUS_PENDING_CALLER_GONE), "the bit")
  let ends = server[UA_SLICE_ENDS]
  letOthersRun(5)
  check.expect(server[UA_SLICE_ENDS], equals: ends, "time that the server gets all the same")
  server[UA_STOPS] = 1
  check.expect(
    waitUntil(turns: 200) {
      if server[APUS_UA_ACCEPTING] == 0 { Kernel.yield(to: server.handle) }
      return server[APUS_UA_ACCEPTING] == 1
    }, "it does not get to its return")
  Transfers.expectIdle(server, &check)
  server.kill()
  report.finish(check)
}

/// The middle of a chain ends: its caller is told, its callee serves nobody.
private func deadMiddle(_ report: inout Report) {
  var check = Check("transfer", "the middle of a chain ends")
  guard let last = Transfers.server(1, SERVICE_WAIT),
    let middle = Transfers.server(0, SERVICE_CALL, next: last.handle),
    let caller = Child(2, body: address_of_hostile_body_call(), slice: false)
  else { return report.notTried(check) }
  caller[UA_NEXT] = middle.handle
  caller[UA_DEADLINE] = Transfers.never
  check.expect(Kernel.call(.sliceAllocate, Slot.family, UInt64.max, caller.handle).value != nil, "a slice")
  check.expect(waitUntil { last[UA_SERVED] == 1 }, "the last is not entered")
  check.expect(UInt64(last.record.transfer_depth), equals: 2, "callers above the last")
  check.expect(middle.kill().value == 0, "ending the middle")
  check.expect(last.record.returns_to, equals: 0, "whom the last serves")
  check.expect(UInt64(last.record.transfer_depth), equals: 0, "callers above the last afterwards")
  check.expect(waitUntil(turns: 200) { caller[UA_WORD] == 1 }, "the caller is not told")
  check.expect(caller[UA_CALLED], equals: UInt64(APUS_TRANSFER_DIED) + 1, "how its call ended")
  caller.kill()
  last.kill()
  report.finish(check)
}

/// A yield to one that waits is a yield to the end of its chain: itself.
private func yieldToCaller(_ report: inout Report) {
  var check = Check("transfer", "a callee yields to its caller")
  guard let server = Transfers.server(0, SERVICE_YIELD) else { return report.notTried(check) }
  check.expect(Transfers.call(server.handle).raw, equals: UInt64(RESUMED), "the answer")
  check.expect(Transfers.ending, equals: 0, "how it ended")
  check.expect(server[UA_SLICE_BEGINS], equals: 1, "slices that it began")
  Transfers.expectIdle(server, &check)
  server.kill()
  report.finish(check)
}
