// SPDX-License-Identifier: Apache-2.0
// LossTests.swift: retransmission, fast recovery, windows, probes, Nagle, delayed acknowledgements, segment by segment.

import Testing

@testable import ApusNet

@Suite struct LossTests {
  private let selective: (inout TCPConfiguration) -> Void = { $0.usesSelectiveAcknowledgement = true }

  private func withSelective() -> Script {
    Script.established(Script.plain(selective)) { $0.options.isSelectivePermitted = true }
  }

  /// The peer reports ranges beyond its acknowledgement.
  private func reports(_ script: Script, _ acknowledgement: Int, _ ranges: [(Int, Int)]) {
    script.gets("A 1 \(acknowledgement) 0") {
      $0.options.selective = SequenceBlocks(ranges.map { SequenceRange(Script.ours + $0.0, Script.ours + $0.1) })
    }
  }

  @Test func theInitialWindowIsTenSegments() {
    let script = Script.established()
    script.write(20_000)
    #expect(script.sent == (0..<10).map { "A \(1 + 1000 * $0) 1 1000" })
    script.gets("A 1 1001 0")
    // Slow start: one acknowledged, two sent.
    #expect(script.sent == ["A 10001 1 1000"])
    script.gets("A 1 2001 0", window: 30_000)
    #expect(script.sent == ["A 11001 1 1000", "A 12001 1 1000", "A 13001 1 1000"])
  }

  @Test func threeDuplicatesSendTheFirstSegmentAgain() {
    let script = Script.established()
    script.window = 60_000
    script.gets("A 1 1 0")
    script.write(20_000)
    _ = script.sent
    // Limited transmit: each of the first duplicates lets a new segment out (RFC 3042).
    script.gets("A 1 1 0")
    #expect(script.sent == ["A 10001 1 1000"])
    script.gets("A 1 1 0")
    #expect(script.sent == ["A 11001 1 1000"])
    script.gets("A 1 1 0")
    #expect(script.sent == ["A 1 1 1000"])
    #expect(script.connection.controller.window == 6000)
    // A partial acknowledgement sends the next gap (RFC 6582).
    script.gets("A 1 3001 0")
    #expect(script.sent.first == "A 3001 1 1000")
    script.gets("A 1 12001 0")
    #expect(script.connection.loss == .open)
    #expect(script.connection.controller.window <= 6000)
  }

  @Test func updatesOfTheWindowAreNoDuplicates() {
    let script = Script.established()
    script.write(5000)
    _ = script.sent
    for window in [9000, 8000, 7000, 9500] as [UInt16] { script.gets("A 1 1 0", window: window) }
    #expect(script.connection.loss == .open)
    #expect(script.sent == [])
  }

  @Test func selectiveReportsSendJustTheGaps() {
    let script = withSelective()
    script.write(10_000)
    #expect(script.sent.count == 10)
    // 1 and 4 are missing; three segments are reported above 1.
    reports(script, 1, [(1001, 2001)])
    reports(script, 1, [(1001, 3001)])
    #expect(script.sent == [])
    reports(script, 1, [(4001, 5001), (1001, 3001)])
    #expect(script.sent == ["A 1 1 1000"])
    reports(script, 1, [(4001, 8001), (1001, 3001)])
    // And the last segment, once: should it be lost, the reports about it will say so (RFC 6675, 4, NextSeg, rule 4).
    #expect(script.sent == ["A 3001 1 1000", "PA 9001 1 1000"])
    script.gets("A 1 8001 0")
    script.gets("A 1 10001 0")
    #expect(script.connection.loss == .open)
    #expect(script.connection.selected.isEmpty)
  }

  @Test func reportsOfWhatWasNeverSentAreIgnored() {
    let script = withSelective()
    script.write(3000)
    _ = script.sent
    reports(script, 1, [(5001, 6001), (2001, 1001), (-500, 1)])
    // Half a circle away everything looks as if it were in between.
    reports(script, 1, [(0x7000_0000, 0xe000_0000), (0x7000_0000, 0x7000_1000)])
    #expect(script.connection.selected.isEmpty)
    #expect(script.connection.duplicates == 0)
  }

  @Test func theTimeoutDoublesAndGivesUp() {
    let script = Script.established(Script.plain { $0.retries = 3 })
    script.write(500)
    #expect(script.sent == ["PA 1 1 500"])
    var gaps: [Int64] = []
    for _ in 0..<3 {
      let before = script.now
      script.timeOut()
      gaps.append((script.now - before).wholeMilliseconds)
      #expect(script.sent == ["PA 1 1 500"])
    }
    #expect(gaps[1] == gaps[0] * 2 && gaps[2] == gaps[0] * 4)
    script.timeOut()
    #expect(script.sent == ["RA 501 1 0"])
    #expect(script.connection.error == .timedOut)
  }

  @Test func afterATimeoutSlowStartRepairsInOrder() {
    let script = Script.established()
    script.write(8000)
    #expect(script.sent.count == 8)
    script.timeOut()
    #expect(script.sent == ["A 1 1 1000"])
    script.gets("A 1 1001 0")
    #expect(script.sent == ["A 1001 1 1000", "A 2001 1 1000"])
    script.gets("A 1 3001 0")
    #expect(script.sent.count == 4)
    script.gets("A 1 8001 0")
    #expect(script.connection.loss == .open)
    #expect(script.connection.inFlight == 0)
    #expect(script.connection.retransmitAt == nil)
  }

  @Test func theSynIsSentAgainAndTheAttemptGivenUp() {
    let script = Script(active: Script.plain { $0.synchronizeRetries = 2 })
    #expect(script.sent == ["S 0 0 0"])
    script.timeOut()
    #expect(script.sent == ["S 0 0 0"])
    script.timeOut()
    #expect(script.sent == ["S 0 0 0"])
    script.timeOut()
    #expect(script.connection.error == .timedOut)
  }

  @Test func aClosedWindowIsProbedAsLongAsItsOwnerAnswers() {
    let script = Script.established(Script.plain { $0.retries = 3 })
    script.gets("A 1 1 0", window: 0)
    script.write(2000)
    #expect(script.sent == [])
    for _ in 0..<10 {
      script.timeOut()
      #expect(script.sent == ["A 1 1 1"])
      script.gets("A 1 1 0", window: 0)
      #expect(script.sent == [])
    }
    #expect(script.connection.error == nil)
    script.gets("A 1 1 0", window: 5000)
    // The refused byte goes again with all that follows.
    #expect(script.sent == ["A 1 1 1", "A 2 1 1000"])
    for _ in 0..<4 { script.timeOut() }
    #expect(script.connection.error == .timedOut)
  }

  @Test func smallWindowsAreNotFilledAtOnce() {
    let script = Script.established()
    script.gets("A 1 1 0", window: 100)
    script.write(5000)
    // The sender's side of silly windows (RFC 9293, 3.8.6.2.1): 100 of once 10,000 is not worth a segment, for a while.
    #expect(script.sent == [])
    script.timeOut()
    #expect(script.sent == ["A 1 1 100"])
  }

  @Test func nagleHoldsSmallSegmentsBackWhileOneIsInFlight() {
    let script = Script.established()
    script.write(10)
    #expect(script.sent == ["PA 1 1 10"])
    script.write(10)
    script.write(10)
    #expect(script.sent == [])
    script.gets("A 1 11 0")
    #expect(script.sent == ["PA 11 1 20"])
    let atOnce = Script.established(Script.plain { $0.sendsAtOnce = true })
    for place in [1, 11, 21] {
      atOnce.write(10)
      #expect(atOnce.sent == ["PA \(place) 1 10"])
    }
  }

  @Test func acknowledgementsWaitForASecondSegmentOrAWhile() {
    let script = Script.established()
    script.gets("A 1 1 1000")
    #expect(script.sent == [])
    script.gets("A 1001 1 1000")
    #expect(script.sent == ["A 1 2001 0"])
    script.gets("A 2001 1 10")
    #expect(script.sent == [])
    script.pass(.milliseconds(50))
    #expect(script.sent == ["A 1 2011 0"])
    // Data takes it along.
    script.gets("A 2011 1 10")
    script.write(5)
    #expect(script.sent == ["PA 1 2021 5"])
    script.pass(.milliseconds(50))
    #expect(script.sent == [])
  }

  @Test func eachSegmentOutOfOrderIsAcknowledgedAtOnce() {
    let script = withSelective()
    var told: [[Int]] = []
    for place in [2001, 4001, 6001] {
      script.gets("A \(place) 1 1000")
      let segments = script.segments
      #expect(segments.map(Script.text) == ["A 1 1 0"])
      told.append(segments.flatMap { $0.header.options.selective.ranges.map { $0.start - Script.theirs } })
    }
    // The range that changed last comes first (RFC 2018, 4).
    #expect(told == [[2001], [4001, 2001], [6001, 4001, 2001]])
    script.gets("A 1 1 1000")
    #expect(script.sent == ["A 1 1001 0"])
    script.gets("A 1001 1 1000")
    #expect(script.sent == ["A 1 3001 0"])
  }

  @Test func theWindowOpensInLargeSteps() {
    let script = Script.established()
    for place in 0..<10 { script.gets("A \(1 + place * 1000) 1 1000") }
    #expect(script.segments.last?.header.window == 0)
    _ = script.read(500)
    #expect(script.sent == [])
    _ = script.read(2000)
    let update = script.segments
    #expect(update.map(Script.text) == ["A 1 10001 0"])
    #expect(update.first?.header.window == 2500)
  }

  @Test func theWindowNeverShrinksWhateverTheScale() {
    let script = Script.established(
      Script.plain {
        $0.usesWindowScaling = true
        $0.receiveBuffer = 1_000_000
      }
    ) { $0.options.windowScale = 3 }
    var edge = Int.min
    var place = 1
    for count in [1, 999, 1000, 777, 1000, 3, 500, 1000, 1000] {
      script.gets("A \(place) 1 \(count)")
      place += count
      script.connection.mustAcknowledge = true
      for segment in script.segments {
        let right = (segment.header.acknowledgement - Script.theirs) + Int(segment.header.window) << 4
        #expect(right >= edge)
        edge = right
      }
    }
  }

  @Test func silentPeersAreProbedAndGivenUp() {
    let script = Script.established(
      Script.plain { $0.keepAlive = KeepAlive(idle: .seconds(10), interval: .seconds(2), count: 2) })
    script.pass(.seconds(9))
    #expect(script.sent == [])
    script.pass(.seconds(1))
    #expect(script.sent == ["A 0 1 0"])
    script.gets("A 1 1 0")
    script.pass(.seconds(10))
    #expect(script.sent == ["A 0 1 0"])
    script.pass(.seconds(2))
    #expect(script.sent == ["A 0 1 0"])
    script.pass(.seconds(2))
    #expect(script.sent == ["RA 1 1 0"])
    #expect(script.connection.error == .timedOut)
  }

  @Test func aSmallerPathCutsWhatIsInFlightAnew() {
    let script = Script.established()
    script.write(3000)
    #expect(script.sent.count == 3)
    let window = script.connection.controller.window
    // Quotes of what is not in flight are not believed.
    script.connection.pathTakes(400, quoted: Script.ours + 5000, script.now)
    #expect(script.sent == [])
    script.connection.pathTakes(400, quoted: Script.ours + 1, script.now)
    #expect(script.sent.prefix(2) == ["A 1 1 400", "A 401 1 400"])
    #expect(script.connection.controller.window == window)
  }

  @Test func challengesAreRare() {
    let script = Script.established()
    for number in 2..<50 { script.gets("R \(number) 0 0") }
    #expect(script.sent == ["A 1 1 0"])
    script.pass(.milliseconds(600))
    script.gets("S 1 0 0")
    #expect(script.sent == ["A 1 1 0"])
    #expect(script.connection.state == .established)
  }
}
