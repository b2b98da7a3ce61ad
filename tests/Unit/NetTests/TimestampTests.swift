// SPDX-License-Identifier: Apache-2.0
// TimestampTests.swift: timestamps, old segments, round trips and window scale (RFC 7323), and the timeout (RFC 6298).

import Testing

@testable import ApusNet

@Suite struct TimestampTests {
  private func established() -> Script {
    Script.established(Script.plain { $0.usesTimestamps = true }) {
      $0.options.timestamps = TCPTimestamps(value: 1000, echo: 1)
    }
  }

  private func stamp(_ value: UInt32, _ echo: UInt32 = 0) -> (inout TCPHeader) -> Void {
    { $0.options.timestamps = TCPTimestamps(value: value, echo: echo) }
  }

  @Test func oldSegmentsAreNotTaken() {
    let script = established()
    script.gets("A 1 1 10", stamp(1010))
    script.gets("A 11 1 10", stamp(1005))
    #expect(script.read()?.count == 10)
    #expect(script.sent == ["A 1 11 0"])
    script.gets("A 11 1 10", stamp(1011))
    #expect(script.read()?.count == 10)
    // Without the option that was agreed on nothing is taken, but for resets.
    script.gets("A 21 1 10")
    #expect(script.read()?.count == 0)
    script.gets("R 21 0 0")
    #expect(script.connection.error == .reset)
  }

  @Test func theEchoIsOfTheSegmentThatWasNext() {
    let script = established()
    script.gets("A 1 1 1000", stamp(2000))
    script.gets("A 2001 1 1000", stamp(2100))
    #expect(script.segments.map { $0.header.options.timestamps?.echo } == [2000])
    script.gets("A 1001 1 1000", stamp(2050))
    #expect(script.segments.last?.header.options.timestamps?.echo == 2050)
  }

  @Test func timestampsMakeRoomInSegments() {
    let script = established()
    script.write(3000)
    #expect(script.sent == ["A 1 1 988", "A 989 1 988", "A 1977 1 988", "PA 2965 1 36"].prefix(3).map { $0 })
  }

  @Test func scaledWindowsCountFromTheFirstSegmentBehindTheSyn() {
    let script = Script.established(Script.plain { $0.usesWindowScaling = true }) {
      $0.options.windowScale = 4
      $0.window = 2000
    }
    #expect(script.connection.sendWindow == 2000)
    script.gets("A 1 1 0", window: 2000)
    #expect(script.connection.sendWindow == 32_000)
  }

  @Test func theEstimatorFollowsTheStandard() {
    var estimator = RoundTripEstimator(initial: .seconds(1), minimum: .milliseconds(200), maximum: .seconds(60))
    #expect(estimator.timeout == .seconds(1))
    estimator.sample(.milliseconds(100))
    #expect(estimator.smoothed == .milliseconds(100))
    #expect(estimator.timeout == .milliseconds(300))
    estimator.sample(.milliseconds(200))
    // SRTT = 7/8 * 100 + 1/8 * 200, RTTVAR = 3/4 * 50 + 1/4 * 100.
    #expect(estimator.smoothed == .microseconds(112_500))
    #expect(estimator.timeout == .microseconds(112_500 + 4 * 62_500))
    estimator.backOff()
    #expect(estimator.timeout == .microseconds(2 * (112_500 + 4 * 62_500)))
    for _ in 0..<40 { estimator.backOff() }
    #expect(estimator.timeout == .seconds(60))
    for _ in 0..<100 { estimator.sample(.milliseconds(1)) }
    #expect(estimator.timeout == .milliseconds(200))
  }
}
