// SPDX-License-Identifier: Apache-2.0
// Cubic.swift: CUBIC congestion control in whole numbers (RFC 9438).

/// CUBIC: after a loss the window follows a cubic function of time, flat around the size at which it was lost.
///
/// LibOS code has no floating point (decision 12): time is in milliseconds, windows are in bytes, and the constants are
/// C = 0.4 and beta = 0.7 as fractions.
public final class Cubic: CongestionController {
  /// How many bytes may be in flight.
  public private(set) var window = 0
  private var threshold = Int.max
  private var segmentSize = 0
  /// The window before the last reduction (W_max).
  private var maximum = 0
  /// When congestion avoidance began after it, and how long the cubic takes to come back to `maximum` (K).
  private var epoch: Instant?
  private var plateauMilliseconds: Int64 = 0
  /// What NewReno would have (W_est), and bytes towards its next step.
  private var estimate = 0
  private var estimateCredit = 0
  /// Bytes towards the next segment of growth.
  private var credit = 0
  // No window that matters is larger; below it nothing here overflows.
  private static let largest = 1 << 30

  /// A controller for one connection.
  public init() {}

  /// The connection is there, or its segment size has changed.
  public func start(segmentSize: Int, isCautious: Bool) {
    let isFirst = self.segmentSize == 0
    self.segmentSize = segmentSize
    if isFirst { window = isCautious ? segmentSize : initialWindow(segmentSize: segmentSize) }
    window = max(window, segmentSize)
  }

  /// Bytes were acknowledged outside of fast recovery.
  public func acknowledged(_ bytes: Int, isLimiting: Bool, roundTrip: TimeSpan?, now: Instant) {
    guard isLimiting else {
      // Time in which the window is not used must not count (RFC 9438, 4.2).
      epoch = nil
      return
    }
    if window < threshold {
      window = min(Self.largest, window + min(bytes, 2 * segmentSize))
      return
    }
    let start = epoch ?? begin(now)
    let elapsed = (now - start) + (roundTrip ?? .zero)
    let target = cubic(at: elapsed.wholeMilliseconds)
    growEstimate(bytes)
    if target < estimate {
      // The Reno-friendly region (RFC 9438, 4.3).
      window = max(window, estimate)
    } else if target > window {
      // (target - cwnd) / cwnd for each segment acknowledged (RFC 9438, 4.4), not more than half a window a round trip.
      credit += bytes * min(target - window, window / 2) / window
      window += credit
      credit = 0
    }
    window = min(window, Self.largest)
  }

  private func begin(_ now: Instant) -> Instant {
    epoch = now
    estimate = window
    estimateCredit = 0
    if maximum > window {
      // K = cbrt((W_max - cwnd) / C) seconds, windows in segments.
      let missing = UInt64(min(maximum - window, Self.largest))
      plateauMilliseconds = Int64(cubeRoot(missing * 2_500_000_000 / UInt64(segmentSize)))
    } else {
      maximum = window
      plateauMilliseconds = 0
    }
    return now
  }

  /// C * (t - K)^3 + W_max, in bytes.
  private func cubic(at milliseconds: Int64) -> Int {
    let distance = max(-1_000_000, min(1_000_000, milliseconds - plateauMilliseconds))
    let thousandths = distance * distance * distance / 1_000_000 * 4 / 10
    let bytes = max(-Int64(Self.largest), min(Int64(Self.largest), thousandths * Int64(segmentSize) / 1000))
    return max(segmentSize, min(Self.largest, maximum + Int(bytes)))
  }

  /// alpha = 3 * (1 - beta) / (1 + beta) = 9/17 segments each window, and 1 from the old maximum on (RFC 9438, 4.3).
  private func growEstimate(_ bytes: Int) {
    estimateCredit += estimate < maximum ? bytes * 9 / 17 : bytes
    guard estimateCredit >= estimate else { return }
    estimateCredit -= estimate
    estimate += segmentSize
  }

  private func reduce(_ inFlight: Int) {
    // Fast convergence: who was lower than last time leaves more to newcomers (RFC 9438, 4.7).
    maximum = window < maximum ? window * 17 / 20 : window
    threshold = max(min(inFlight, window) * 7 / 10, 2 * segmentSize)
    epoch = nil
    credit = 0
  }

  /// Fast recovery begins.
  public func lossDetected(inFlight: Int, now: Instant) {
    reduce(inFlight)
    window = threshold
  }

  /// The retransmission timer ran out.
  public func timedOut(inFlight: Int, isRepeated: Bool, now: Instant) {
    if !isRepeated { reduce(inFlight) }
    epoch = nil
    window = segmentSize
  }

  /// Fast recovery is over; no burst is allowed.
  public func recovered(inFlight: Int) {
    window = max(2 * segmentSize, min(threshold, inFlight + segmentSize))
    // The window is the threshold again as soon as it is used: that growth is slow start's.
  }

  /// Nothing was sent for a while.
  public func idled() {
    window = min(window, initialWindow(segmentSize: segmentSize))
    epoch = nil
  }
}

/// The largest whole number whose cube is not above `value`, bit by bit.
func cubeRoot(_ value: UInt64) -> UInt64 {
  var root: UInt64 = 0
  var bit: UInt64 = 1 << 20
  while bit != 0 {
    let candidate = root | bit
    if candidate * candidate * candidate <= value { root = candidate }
    bit >>= 1
  }
  return root
}
