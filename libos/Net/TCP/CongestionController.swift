// SPDX-License-Identifier: Apache-2.0
// CongestionController.swift: how much may be in flight: the protocol that an application may supply its own type for.

/// Decides how many bytes a connection may have in flight.
///
/// What is lost is the connection's to find out (RFC 6675, 6582); the controller is told and gives the window. A class,
/// since Embedded Swift has existential types of classes only.
public protocol CongestionController: AnyObject {
  /// How many bytes may be in flight.
  var window: Int { get }
  /// The connection is there, or its segment size has changed.
  ///
  /// - Parameters:
  ///   - segmentSize: Payload bytes of a full segment.
  ///   - isCautious: Whether a SYN was lost: start with one segment (RFC 5681, 3.1).
  func start(segmentSize: Int, isCautious: Bool)
  /// Bytes were acknowledged, and no loss is being repaired by fast recovery.
  ///
  /// - Parameters:
  ///   - bytes: How many; more than 0.
  ///   - isLimiting: Whether the window was what limited the sender: one that is not used must not grow.
  ///   - roundTrip: The smoothed round-trip time, once one has been measured.
  ///   - now: The time.
  func acknowledged(_ bytes: Int, isLimiting: Bool, roundTrip: TimeSpan?, now: Instant)
  /// Fast recovery begins; called once for each window with losses.
  ///
  /// - Parameters:
  ///   - inFlight: Bytes sent and not acknowledged.
  ///   - now: The time.
  func lossDetected(inFlight: Int, now: Instant)
  /// The retransmission timer ran out.
  ///
  /// - Parameters:
  ///   - inFlight: Bytes sent and not acknowledged.
  ///   - isRepeated: Whether it is not the first time for the same data.
  ///   - now: The time.
  func timedOut(inFlight: Int, isRepeated: Bool, now: Instant)
  /// Fast recovery is over.
  ///
  /// - Parameter inFlight: Bytes sent and not acknowledged.
  func recovered(inFlight: Int)
  /// Nothing was sent for longer than the retransmission timeout (RFC 5681, 4.1).
  func idled()
}

/// Ten segments, or less if they are large (RFC 6928, 2).
func initialWindow(segmentSize: Int) -> Int { min(10 * segmentSize, max(2 * segmentSize, 14_600)) }

/// NewReno: slow start, then one segment more for each round trip, half at a loss (RFC 5681, 6582).
public final class NewReno: CongestionController {
  /// How many bytes may be in flight.
  public private(set) var window = 0
  private var threshold = Int.max
  private var segmentSize = 0
  private var acknowledgedBytes = 0

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
    guard isLimiting else { return }
    if window < threshold {
      // At most two segments for each acknowledgement (RFC 3465, 2.2).
      window += min(bytes, 2 * segmentSize)
    } else {
      acknowledgedBytes += bytes
      if acknowledgedBytes >= window {
        acknowledgedBytes -= window
        window += segmentSize
      }
    }
  }

  /// Fast recovery begins: half of what is in flight (RFC 5681, equation 4).
  public func lossDetected(inFlight: Int, now: Instant) {
    threshold = max(inFlight / 2, 2 * segmentSize)
    window = threshold
    acknowledgedBytes = 0
  }

  /// The retransmission timer ran out: start again from one segment (RFC 5681, 3.1).
  public func timedOut(inFlight: Int, isRepeated: Bool, now: Instant) {
    if !isRepeated { threshold = max(inFlight / 2, 2 * segmentSize) }
    window = segmentSize
    acknowledgedBytes = 0
  }

  /// Fast recovery is over; no burst is allowed (RFC 6582, 3.2, step 3).
  public func recovered(inFlight: Int) {
    window = min(threshold, max(inFlight, segmentSize) + segmentSize)
  }

  /// Nothing was sent for a while.
  public func idled() { window = min(window, initialWindow(segmentSize: segmentSize)) }
}
