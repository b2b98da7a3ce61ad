// SPDX-License-Identifier: Apache-2.0
// Courier.swift: a LibOS that does nothing but call and serve: it shows and checks the Runtime's protected calls.
//
// Each check is a line; the machine's status says whether all held. An execution serves, others call it.

import ApusABI
import ApusRuntime

/// What the server is asked to do.
private enum Operation: UInt64 {
  /// Answer with the sum of the next three words, and with who asks.
  case add
  /// Call back whoever asks, and answer with how that ended.
  case callBack
  /// Sleep until a time, then answer.
  case sleep
  /// Use all of the slice, and more, then answer.
  case dawdle
  /// End.
  case end
}

/// What was checked.
private final class Report {
  private(set) var failures = 0

  func check(_ name: String, _ holds: Bool) {
    if !holds { failures += 1 }
    print((holds ? "ok " : "not ok ") + name)
  }

  func print(_ text: String) {
    var line = Array(text.utf8) + [10]
    while Bytes.withArray(&line, { Console.write(.output, $0) }) == 0 {}
  }
}

private func answer(_ message: ProtectedMessage) -> ProtectedMessage {
  switch Operation(rawValue: message[0]) {
  case .add?: return ProtectedMessage(message[1] &+ message[2] &+ message[8], message.sender, message.deadline)
  case .callBack?:
    do throws(ProtectedCallError) {
      _ = try ProtectedTransfer.call(message.sender, ProtectedMessage(), deadline: UInt64.max)
      return ProtectedMessage(0)
    } catch {
      return ProtectedMessage(error == .busy ? 1 : 2)
    }
  case .sleep?:
    while Clock.ticks < message[1] { Execution.suspend(deadline: message[1], handOffTo: nil) }
    return ProtectedMessage(Clock.ticks)
  case .dawdle?:
    while Clock.ticks < message[1] {}
    return ProtectedMessage(message[1])
  case .end?: Execution.exitCurrent(handOffTo: nil)
  case nil: return ProtectedMessage()
  }
}

/// Calls as soon as the server accepts.
private func call(
  _ server: Execution, _ message: ProtectedMessage, deadline: UInt64 = UInt64.max
) throws(ProtectedCallError) -> ProtectedMessage {
  for _ in 0..<1000 {
    do throws(ProtectedCallError) {
      return try ProtectedTransfer.call(server.environmentHandle, message, deadline: deadline)
    } catch {
      guard error == .busy else { throw error }
      Execution.yield(to: server)
    }
  }
  throw .busy
}

private func ending(_ body: () throws(ProtectedCallError) -> Void) -> ProtectedCallError? {
  do throws(ProtectedCallError) {
    try body()
    return nil
  } catch {
    return error
  }
}

private func milliseconds(_ count: UInt64) -> UInt64 { Clock.ticks(afterNanoseconds: count * 1_000_000) }

private func sums(_ server: Execution, _ report: Report) throws(ProtectedCallError) {
  Execution.current.fsBase = 0x1234_5678_9000
  var isRight = true
  for number in 0..<UInt64(1000) {
    var message = ProtectedMessage(Operation.add.rawValue, number, 5)
    message[8] = number &* 3
    let deadline = number & 1 == 0 ? UInt64.max : milliseconds(10_000)
    let reply = try call(server, message, deadline: deadline)
    isRight =
      isRight && reply[0] == number &* 4 &+ 5 && reply[2] == deadline && reply[3] == 0
      && reply.sender == server.environmentHandle
    isRight = isRight && Execution.current.fsBase == 0x1234_5678_9000
  }
  report.check("a thousand calls of a server", isRight)
}

private func run(_ report: Report) throws(ProtectedCallError) {
  let body: () -> Never = { ProtectedTransfer.serve(answer) }
  guard let server = Execution.startSystem(body), let other = Execution.startSystem(body) else {
    report.check("executions", false)
    return
  }
  try sums(server, report)
  let back = try call(server, ProtectedMessage(Operation.callBack.rawValue))
  report.check("a server that calls its caller", back[0] == 1)
  var wake = milliseconds(20)
  let woken = try call(server, ProtectedMessage(Operation.sleep.rawValue, wake))
  report.check("a server that sleeps", woken[0] >= wake)
  // The other server is ready now and then, so the slice of the first comes to an end, and its answer has to wait.
  wake = milliseconds(30)
  let late = try call(other, ProtectedMessage(Operation.dawdle.rawValue, wake))
  report.check("an answer after the slice's end", late[0] == wake)
  wake = milliseconds(200)
  let missed = ending { () throws(ProtectedCallError) in
    _ = try call(other, ProtectedMessage(Operation.sleep.rawValue, wake), deadline: milliseconds(20))
  }
  report.check("a deadline", missed == .expired && Clock.ticks < wake)
  report.check("the other server meanwhile", try call(server, ProtectedMessage(Operation.add.rawValue, 1, 2))[0] == 3)
  while Clock.ticks < wake { Execution.suspend(deadline: wake, handOffTo: nil) }
  report.check("the late one afterwards", try call(other, ProtectedMessage(Operation.add.rawValue, 3, 4))[0] == 7)
  let ended = ending { () throws(ProtectedCallError) in
    _ = try call(other, ProtectedMessage(Operation.end.rawValue))
  }
  report.check("a server that ends", ended == .gone)
  let gone = ending { () throws(ProtectedCallError) in _ = try call(other, ProtectedMessage()) }
  report.check("one that has ended", gone == .gone)
}

// MARK: The Runtime's side of a LibOS: the addresses that the entries pass are not used here

@c @used func linux_start(_ image: UInt64, _ size: UInt64) -> Never {
  let report = Report()
  let failure = ending { () throws(ProtectedCallError) in try run(report) }
  if failure != nil { report.check("every call has its reply", false) }
  report.print(report.failures == 0 ? "all checks held" : "not all checks held")
  var status: [UInt8] = [report.failures == 0 ? 0 : 1, 0, 0, 0]
  while Bytes.withArray(&status, { Console.write(.exit, $0) }) == 0 {}
  Console.powerOff(status: report.failures == 0 ? 0 : 1)
}

@c @used func linux_system_call(_ registers: UInt64) {}
@c @used func linux_fault(_ registers: UInt64, _ vector: UInt64, _ error: UInt64, _ address: UInt64) {}
@c @used func linux_attention(_ registers: UInt64) {}
