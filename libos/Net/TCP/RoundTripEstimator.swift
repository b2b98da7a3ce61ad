// SPDX-License-Identifier: Apache-2.0
// RoundTripEstimator.swift: how long to wait for an acknowledgement (RFC 6298).

struct RoundTripEstimator {
  private(set) var smoothed: TimeSpan?
  private var variation = TimeSpan.zero
  /// What the measurements say, before any backing off.
  private var base: TimeSpan
  private var shift: Int64 = 0
  private let minimum: TimeSpan
  private let maximum: TimeSpan
  /// The clock's granularity G.
  private static let granularity = TimeSpan.milliseconds(1)

  init(initial: TimeSpan, minimum: TimeSpan, maximum: TimeSpan) {
    base = initial
    self.minimum = minimum
    self.maximum = maximum
  }

  /// The retransmission timeout.
  var timeout: TimeSpan { min(maximum, base * (1 << shift)) }

  /// Takes a measurement in (RFC 6298, 2.2 and 2.3); backing off ends with it.
  mutating func sample(_ roundTrip: TimeSpan) {
    let measured = max(.zero, min(roundTrip, .seconds(120)))
    if let old = smoothed {
      let error = TimeSpan(nanoseconds: abs(old.nanoseconds - measured.nanoseconds))
      variation = (variation * 3 + error) / 4
      smoothed = (old * 7 + measured) / 8
    } else {
      smoothed = measured
      variation = measured / 2
    }
    base = max(minimum, min(maximum, (smoothed ?? measured) + max(Self.granularity, variation * 4)))
    shift = 0
  }

  /// Doubles the timeout (RFC 6298, 5.5).
  mutating func backOff() { if timeout < maximum { shift += 1 } }

  /// The SYN was lost and nothing has been measured: data starts with three seconds (RFC 6298, 5.7).
  mutating func synchronizeWasLost() {
    guard smoothed == nil else { return }
    base = max(base, .seconds(3))
    shift = 0
  }
}
