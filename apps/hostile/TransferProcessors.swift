// SPDX-License-Identifier: Apache-2.0
// TransferProcessors.swift: protected calls while several CPUs run: targets that run elsewhere, callers that meet at one
// server, and deaths from afar.

import ApusABI

func transferProcessorChecks(_ report: inout Report) {
  guard Information.page.processor_count > 1 else { return }
  Pattern.fill(Registers(address: address_of_hostile_file()), seed: 5)
  store64(address_of_hostile_file() + UInt64(REGISTER_FLAGS), 0)
  runningElsewhere(&report)
  oneServer(&report)
  endedFromAfar(&report)
  endedInTheMiddle(&report)
}

/// The lowest free slice of the second CPU's timeline, for a child.
private func start(_ child: Child) -> Bool {
  Kernel.call(.sliceAllocate, Slot.family, 1 << 16 | 0xffff, child.handle).value != nil
}

/// Waits without giving this CPU away; the other one may have to wait for its host.
private func spin(until condition: () -> Bool) -> Bool {
  for _ in 0..<1_000_000_000 { if condition() { return true } }
  return condition()
}

private func isGone(_ child: Child) -> Bool {
  waitUntil(turns: 5_000_000) { child.record.state == UInt32(APUS_ENVIRONMENT_FREE) }
}

private func caller(_ number: UInt64, _ body: UInt64, next: UInt64) -> Child? {
  guard let child = Child(number, body: body, slice: false) else { return nil }
  child[UA_NEXT] = next
  child[UA_DEADLINE] = Transfers.never
  return child
}

private func runningElsewhere(_ report: inout Report) {
  var check = Check("transfer", "a target that another CPU runs")
  guard let child = Child(0, body: Body.spin, slice: false), start(child) else { return report.notTried(check) }
  Transfers.prepare(child.uarea, seenAt: child.uarea, SERVICE_ANSWER)
  check.expect(spin { child.record.running_on == 2 && child[UA_WORD] > 0 }, "it does not run")
  for _ in 0..<1000 {
    let answer = Transfers.call(child.handle)
    check.expect(answer.error == .inUse, "the answer", answer.raw)
  }
  check.expect(child[UA_SERVED], equals: 0, "times it was entered")
  check.expect(child.kill().value == 0 && isGone(child), "it does not end")
  report.finish(check)
}

/// Two CPUs call one server: it serves one at a time, and everyone who got in gets an answer.
private func oneServer(_ report: inout Report) {
  var check = Check("transfer", "two CPUs at one server")
  guard let server = Transfers.server(0, SERVICE_ANSWER),
    let other = caller(1, address_of_hostile_body_call_on(), next: server.handle), start(other)
  else { return report.notTried(check) }
  check.expect(spin { other[UA_WORD] > 0 }, "the other CPU gets no answer")
  var replies: UInt64 = 0
  var refusals: UInt64 = 0
  while replies < 2000 && refusals < 10_000_000 {
    let answer = Transfers.call(server.handle)
    if answer.raw == UInt64(RESUMED) {
      replies += 1
    } else {
      refusals += 1
      check.expect(answer.error == .inUse || answer.error == .expired, "a refusal", answer.raw)
    }
  }
  other[UA_STOPS] = 1
  check.expect(waitUntil(turns: 5_000_000) { other[UA_WORD3] == 1 && other.isAsleep }, "the other does not end")
  check.expect(replies, equals: 2000, "replies")
  check.expect(server[UA_SERVED], equals: replies + other[UA_WORD], "calls and replies")
  Transfers.expectIdle(server, &check)
  other.kill()
  check.expect(isGone(other), "the other is still there")
  server.kill()
  report.finish(check)
}

/// A caller, then a callee, ended from this CPU while the callee runs on the other.
private func endedFromAfar(_ report: inout Report) {
  for variant in 0..<UInt64(2) {
    let endsCaller = variant == 0
    var check = Check("transfer", endsCaller ? "a caller ended from afar" : "a callee ended from afar")
    guard let server = Transfers.server(0, SERVICE_WAIT),
      let other = caller(1, address_of_hostile_body_call(), next: server.handle), start(other)
    else { return report.notTried(check) }
    check.expect(spin { server[UA_SERVED] == 1 && server.record.running_on == 2 }, "the server does not run")
    if endsCaller {
      check.expect(other.kill().value == 0 && isGone(other), "the caller does not end")
      check.expect(server.record.returns_to, equals: 0, "whom the server serves")
      check.expect(
        server[APUS_UA_PENDING] & UInt64(APUS_PENDING_CALLER_GONE), equals: UInt64(APUS_PENDING_CALLER_GONE), "the bit")
      // It had that CPU for the caller's slice only, or until somebody else wants it.
      server[UA_STOPS] = 1
      check.expect(
        waitUntil(turns: 5_000_000) {
          if server.record.running_on == 0, server[APUS_UA_ACCEPTING] == 0 { Kernel.yield(to: server.handle) }
          return server[APUS_UA_ACCEPTING] == 1 && server.record.running_on == 0
        }, "the server does not get to its return")
      Transfers.expectIdle(server, &check)
      server.kill()
    } else {
      check.expect(server.kill().value == 0, "ending the callee")
      check.expect(waitUntil(turns: 5_000_000) { other[UA_WORD] == 1 && other.isAsleep }, "the caller is not told")
      check.expect(other[UA_CALLED], equals: UInt64(APUS_TRANSFER_DIED) + 1, "how its call ended")
      other.kill()
    }
    check.expect(isGone(other) && isGone(server), "one of them is still there")
    report.finish(check)
  }
}

/// A caller that is ended at any moment of many fast calls leaves a server that serves nobody.
private func endedInTheMiddle(_ report: inout Report) {
  var check = Check("transfer", "ended from afar, in the middle of calls")
  for round in 0..<UInt64(40) {
    guard let server = Transfers.server(0, SERVICE_ANSWER),
      let other = caller(1, address_of_hostile_body_call_on(), next: server.handle), start(other)
    else { return report.notTried(check) }
    check.expect(spin { other[UA_WORD] > 3 + round }, "the other CPU gets no answers", round)
    let victim = round & 1 == 0 ? other : server
    check.expect(victim.kill().value == 0, "ending it", round)
    if victim.handle == server.handle { other.kill() }
    check.expect(isGone(other), "the caller is still there", round)
    check.expect(server.record.returns_to, equals: 0, "whom the server serves")
    server.kill()
    check.expect(isGone(server), "the server is still there", round)
    if !check.holds { break }
  }
  set_uarea_word(UInt32(APUS_UA_PENDING), 0)
  report.finish(check)
}
