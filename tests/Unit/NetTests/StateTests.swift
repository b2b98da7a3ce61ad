// SPDX-License-Identifier: Apache-2.0
// StateTests.swift: every event of RFC 9293, 3.10 in every state: what is sent, and where the connection is then.

import Testing

@testable import ApusNet

/// Something that happens to a connection.
enum Event: Sendable {
  case segment(String)
  case send(Int)
  case close
  case abort
  case timeout
}

/// A row of the table: in this state, when this happens, this is sent and this is the state.
struct Transition: Sendable, CustomTestStringConvertible {
  let state: TCPState
  let event: Event
  let sent: [String]
  let then: TCPState
  var error: TCPError?

  init(_ state: TCPState, _ event: Event, _ sent: [String], _ then: TCPState, _ error: TCPError? = nil) {
    self.state = state
    self.event = event
    self.sent = sent
    self.then = then
    self.error = error
  }

  var testDescription: String { "\(state), \(event)" }
}

@Suite struct StateTests {
  // In all states from ESTABLISHED on our first data byte has number 1, and so has theirs; a FIN has 1 where it was sent.
  static let table: [Transition] = [
    // SYN-SENT (3.10.7.3).
    Transition(.synSent, .segment("SA 0 1 0"), ["A 1 1 0"], .established),
    Transition(.synSent, .segment("S 0 0 0"), ["SA 0 1 0"], .synReceived),
    Transition(.synSent, .segment("A 5 1 0"), [], .synSent),
    Transition(.synSent, .segment("A 5 0 0"), ["R 0 0 0"], .synSent),
    Transition(.synSent, .segment("SA 0 2 0"), ["R 2 0 0"], .synSent),
    Transition(.synSent, .segment("RA 0 1 0"), [], .closed, .refused),
    Transition(.synSent, .segment("RA 0 2 0"), [], .synSent),
    Transition(.synSent, .segment("R 0 0 0"), [], .synSent),
    Transition(.synSent, .segment("FA 0 1 0"), [], .synSent),
    Transition(.synSent, .send(10), [], .synSent),
    Transition(.synSent, .close, [], .closed),
    Transition(.synSent, .abort, [], .closed, .notConnected),
    Transition(.synSent, .timeout, ["S 0 0 0"], .synSent),
    // SYN-RECEIVED.
    Transition(.synReceived, .segment("A 1 1 0"), [], .established),
    Transition(.synReceived, .segment("A 1 1 10"), [], .established),
    Transition(.synReceived, .segment("FA 1 1 0"), ["A 1 2 0"], .closeWait),
    Transition(.synReceived, .segment("A 1 0 0"), ["R 0 0 0"], .synReceived),
    Transition(.synReceived, .segment("A 1 2 0"), ["R 2 0 0"], .synReceived),
    Transition(.synReceived, .segment("S 0 0 0"), ["SA 0 1 0"], .synReceived),
    Transition(.synReceived, .segment("SA 0 1 0"), ["A 1 1 0"], .established),
    Transition(.synReceived, .segment("S 5 0 0"), ["A 1 1 0"], .synReceived),
    Transition(.synReceived, .segment("R 1 0 0"), [], .closed, .reset),
    Transition(.synReceived, .segment("R 5 0 0"), ["A 1 1 0"], .synReceived),
    Transition(.synReceived, .segment("R 90000 0 0"), [], .synReceived),
    Transition(.synReceived, .send(10), [], .synReceived),
    Transition(.synReceived, .close, [], .synReceived),
    Transition(.synReceived, .abort, ["RA 1 1 0"], .closed, .notConnected),
    Transition(.synReceived, .timeout, ["SA 0 1 0"], .synReceived),
    // ESTABLISHED.
    Transition(.established, .segment("A 1 1 10"), [], .established),
    Transition(.established, .segment("A 20000 1 10"), ["A 1 1 0"], .established),
    Transition(.established, .segment("A 0 1 1"), ["A 1 1 0"], .established),
    Transition(.established, .segment("A 11 1 10"), ["A 1 1 0"], .established),
    Transition(.established, .segment("A 1 2 0"), ["A 1 1 0"], .established),
    Transition(.established, .segment("A 1 -90000 0"), ["A 1 1 0"], .established),
    Transition(.established, .segment("FA 1 1 0"), ["A 1 2 0"], .closeWait),
    Transition(.established, .segment("FA 1 1 10"), ["A 1 12 0"], .closeWait),
    Transition(.established, .segment("FA 11 1 10"), ["A 1 1 0"], .established),
    Transition(.established, .segment("F 1 0 0"), [], .established),
    Transition(.established, .segment("UA 1 1 10"), [], .established),
    Transition(.established, .segment("S 1 0 0"), ["A 1 1 0"], .established),
    Transition(.established, .segment("SA 0 1 0"), ["A 1 1 0"], .established),
    Transition(.established, .segment("R 1 0 0"), [], .closed, .reset),
    Transition(.established, .segment("R 2 0 0"), ["A 1 1 0"], .established),
    Transition(.established, .segment("R 20000 0 0"), [], .established),
    Transition(.established, .send(10), ["PA 1 1 10"], .established),
    Transition(.established, .close, ["FA 1 1 0"], .finWait1),
    Transition(.established, .abort, ["RA 1 1 0"], .closed, .notConnected),
    // FIN-WAIT-1.
    Transition(.finWait1, .segment("A 1 1 10"), [], .finWait1),
    Transition(.finWait1, .segment("A 1 2 0"), [], .finWait2),
    Transition(.finWait1, .segment("A 1 2 10"), [], .finWait2),
    Transition(.finWait1, .segment("FA 1 1 0"), ["A 2 2 0"], .closing),
    Transition(.finWait1, .segment("FA 1 2 0"), ["A 2 2 0"], .timeWait),
    Transition(.finWait1, .segment("A 1 3 0"), ["A 2 1 0"], .finWait1),
    Transition(.finWait1, .segment("S 1 0 0"), ["A 2 1 0"], .finWait1),
    Transition(.finWait1, .segment("R 1 0 0"), [], .closed, .reset),
    Transition(.finWait1, .segment("R 2 0 0"), ["A 2 1 0"], .finWait1),
    Transition(.finWait1, .close, [], .finWait1),
    Transition(.finWait1, .abort, ["RA 2 1 0"], .closed, .notConnected),
    Transition(.finWait1, .timeout, ["FA 1 1 0"], .finWait1),
    // FIN-WAIT-2.
    Transition(.finWait2, .segment("A 1 2 10"), [], .finWait2),
    Transition(.finWait2, .segment("FA 1 2 0"), ["A 2 2 0"], .timeWait),
    Transition(.finWait2, .segment("FA 1 2 10"), ["A 2 12 0"], .timeWait),
    Transition(.finWait2, .segment("R 1 0 0"), [], .closed, .reset),
    Transition(.finWait2, .segment("R 2 0 0"), ["A 2 1 0"], .finWait2),
    Transition(.finWait2, .segment("S 1 0 0"), ["A 2 1 0"], .finWait2),
    Transition(.finWait2, .close, [], .finWait2),
    Transition(.finWait2, .abort, ["RA 2 1 0"], .closed, .notConnected),
    // CLOSE-WAIT.
    Transition(.closeWait, .segment("A 2 1 10"), ["A 1 2 0"], .closeWait),
    Transition(.closeWait, .segment("FA 1 1 0"), ["A 1 2 0"], .closeWait),
    Transition(.closeWait, .segment("R 2 0 0"), [], .closed, .reset),
    Transition(.closeWait, .segment("R 3 0 0"), ["A 1 2 0"], .closeWait),
    Transition(.closeWait, .segment("S 2 0 0"), ["A 1 2 0"], .closeWait),
    Transition(.closeWait, .send(10), ["PA 1 2 10"], .closeWait),
    Transition(.closeWait, .close, ["FA 1 2 0"], .lastAck),
    Transition(.closeWait, .abort, ["RA 1 2 0"], .closed, .notConnected),
    // CLOSING.
    Transition(.closing, .segment("A 2 2 0"), [], .timeWait),
    Transition(.closing, .segment("A 2 1 0"), [], .closing),
    Transition(.closing, .segment("FA 1 1 0"), ["A 2 2 0"], .closing),
    Transition(.closing, .segment("R 2 0 0"), [], .closed),
    Transition(.closing, .segment("S 2 0 0"), ["A 2 2 0"], .closing),
    Transition(.closing, .close, [], .closing),
    Transition(.closing, .abort, ["RA 2 2 0"], .closed, .notConnected),
    Transition(.closing, .timeout, ["FA 1 2 0"], .closing),
    // LAST-ACK.
    Transition(.lastAck, .segment("A 2 2 0"), [], .closed),
    Transition(.lastAck, .segment("A 2 1 0"), [], .lastAck),
    Transition(.lastAck, .segment("FA 1 1 0"), ["A 2 2 0"], .lastAck),
    Transition(.lastAck, .segment("R 2 0 0"), [], .closed),
    Transition(.lastAck, .segment("S 2 0 0"), ["A 2 2 0"], .lastAck),
    Transition(.lastAck, .close, [], .lastAck),
    Transition(.lastAck, .abort, ["RA 2 2 0"], .closed, .notConnected),
    Transition(.lastAck, .timeout, ["FA 1 2 0"], .lastAck),
    // TIME-WAIT.
    Transition(.timeWait, .segment("FA 1 2 0"), ["A 2 2 0"], .timeWait),
    Transition(.timeWait, .segment("A 2 2 0"), [], .timeWait),
    Transition(.timeWait, .segment("A 2 2 5"), ["A 2 2 0"], .timeWait),
    Transition(.timeWait, .segment("R 2 0 0"), [], .timeWait),
    Transition(.timeWait, .segment("S 2 0 0"), ["A 2 2 0"], .timeWait),
    Transition(.timeWait, .close, [], .timeWait),
    Transition(.timeWait, .abort, [], .closed, .notConnected),
    Transition(.timeWait, .timeout, [], .closed),
    // CLOSED: the connection is gone; what still comes is the stack's to refuse.
    Transition(.closed, .segment("A 1 1 5"), [], .closed),
    Transition(.closed, .segment("S 0 0 0"), [], .closed),
    Transition(.closed, .close, [], .closed),
  ]

  @Test(arguments: table) func theStandardSaysSo(_ row: Transition) {
    let script = Script.inState(row.state)
    #expect(script.connection.state == row.state)
    switch row.event {
    case .segment(let text): script.gets(text)
    case .send(let count): #expect(script.write(count) == count)
    case .close: script.connection.finish(script.now)
    case .abort: script.connection.abort()
    case .timeout: script.timeOut()
    }
    #expect(script.sent == row.sent)
    #expect(script.connection.state == row.then)
    #expect(script.connection.error == row.error)
  }

  @Test(arguments: [TCPState.closed, .finWait1, .finWait2, .closing, .lastAck, .timeWait])
  func nothingIsSentAfterTheEnd(_ state: TCPState) {
    #expect(Script.inState(state).write(1) == -1)
  }

  @Test func bothSidesMayOpenAtOnce() {
    let script = Script()
    #expect(script.sent == ["S 0 0 0"])
    script.gets("S 0 0 0")
    #expect(script.sent == ["SA 0 1 0"])
    script.gets("SA 0 1 0")
    #expect(script.connection.state == .established)
    #expect(script.sent == ["A 1 1 0"])
    script.gets("A 1 1 5")
    #expect(script.read() == [1, 2, 3, 4, 5])
  }

  @Test func dataMayComeBeforeItsPlaceAndTheEndBeforeTheData() {
    let script = Script.established()
    script.gets("FA 21 1 10")
    script.gets("A 11 1 10")
    #expect(script.read() == [])
    #expect(script.connection.state == .established)
    script.gets("A 1 1 10")
    #expect(script.connection.state == .closeWait)
    #expect(script.sent.last == "A 1 32 0")
    #expect(script.read() == (1...30).map { UInt8($0) })
    // An end, not an error.
    #expect(script.read() == nil)
    #expect(script.connection.error == nil)
  }

  @Test func overlapsAreCutAndNothingBeyondTheWindowIsTaken() {
    let script = Script.established()
    script.gets("A 1 1 10")
    script.gets("A 6 1 10")
    #expect(script.read() == (1...15).map { UInt8($0) })
    _ = script.sent
    script.gets("A 16 1 10")
    script.gets("A 1 1 30")
    #expect(script.read() == (16...30).map { UInt8($0) })
    let window = script.connection.receiveWindow
    script.gets("A 31 1 \(window + 500)")
    #expect(script.connection.readable == window)
  }
}
