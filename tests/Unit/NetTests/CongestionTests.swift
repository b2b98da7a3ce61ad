// SPDX-License-Identifier: Apache-2.0
// CongestionTests.swift: how the windows of NewReno and CUBIC grow and shrink.

import Testing

@testable import ApusNet

@Suite struct CongestionTests {
  /// Acknowledges whole windows, one each round trip.
  private func run(_ controller: any CongestionController, rounds: Int, from start: Instant) -> Instant {
    var now = start
    for _ in 0..<rounds {
      now = now + .milliseconds(100)
      var left = controller.window
      while left > 0 {
        controller.acknowledged(min(1000, left), isLimiting: true, roundTrip: .milliseconds(100), now: now)
        left -= 1000
      }
    }
    return now
  }

  @Test(arguments: [0, 1]) func slowStartDoublesAndLossesShrink(_ kind: Int) {
    let controller: any CongestionController = kind == 0 ? NewReno() : Cubic()
    controller.start(segmentSize: 1000, isCautious: false)
    #expect(controller.window == 10_000)
    let now = run(controller, rounds: 3, from: .zero)
    #expect(controller.window == 80_000)
    controller.acknowledged(1000, isLimiting: false, roundTrip: nil, now: now)
    #expect(controller.window == 80_000)
    controller.lossDetected(inFlight: 80_000, now: now)
    #expect(controller.window == (kind == 0 ? 40_000 : 56_000))
    controller.timedOut(inFlight: 40_000, isRepeated: false, now: now)
    #expect(controller.window == 1000)
  }

  @Test func newRenoAddsASegmentEachRoundTrip() {
    let controller = NewReno()
    controller.start(segmentSize: 1000, isCautious: false)
    controller.lossDetected(inFlight: 40_000, now: .zero)
    _ = run(controller, rounds: 10, from: .zero)
    #expect(controller.window == 30_000)
  }

  @Test func cubicComesBackToWhereItLostStaysThereAndGoesOn() {
    let controller = Cubic()
    controller.start(segmentSize: 1000, isCautious: false)
    var now = run(controller, rounds: 7, from: .zero)
    let before = controller.window
    #expect(before == 1_280_000)
    controller.lossDetected(inFlight: before, now: now)
    let after = controller.window
    #expect(after == before * 7 / 10)
    // K = cbrt(0.3 * 1280 / 0.4) = 9.9 seconds.
    now = run(controller, rounds: 50, from: now)
    #expect(controller.window > after + (before - after) / 2 && controller.window < before)
    now = run(controller, rounds: 50, from: now)
    #expect(abs(controller.window - before) < before / 50)
    now = run(controller, rounds: 100, from: now)
    #expect(controller.window > before * 11 / 10)
  }

  @Test func cubicIsNoSlowerThanRenoOnShortPaths() {
    let controller = Cubic()
    controller.start(segmentSize: 1000, isCautious: false)
    controller.lossDetected(inFlight: 20_000, now: .zero)
    let start = controller.window
    var now = Instant.zero
    for _ in 0..<100 {
      now = now + .milliseconds(1)
      controller.acknowledged(controller.window, isLimiting: true, roundTrip: .milliseconds(1), now: now)
    }
    #expect(controller.window >= start + 50 * 1000)
  }

  @Test func cubeRootsAreWhole() {
    for value in [0, 1, 7, 8, 26, 27, 1_000_000, 999_999, 9_223_372_036_854_775_807] as [UInt64] {
      let root = cubeRoot(value)
      #expect(root * root * root <= value)
      #expect((root + 1).multipliedReportingOverflow(by: (root + 1) * (root + 1)).partialValue > value)
    }
  }
}
