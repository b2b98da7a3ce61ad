// SPDX-License-Identifier: Apache-2.0
// TCPConnection+Losses.swift: what is lost, and how much is still on its way (RFC 6675; RFC 6582 without SACK).

extension TCPConnection {
  private static let duplicateThreshold = 3

  /// Takes over what the peer says to have beyond its acknowledgement.
  ///
  /// - Returns: Whether something of it is new.
  func noteSelected(_ header: TCPHeader) -> Bool {
    guard hasSelective, !header.options.selective.isEmpty else { return false }
    let before = selected.total
    let floor = SequenceNumber.later(sendUnacknowledged, header.acknowledgement)
    for index in 0..<header.options.selective.count {
      let range = header.options.selective[index]
      // A block below the acknowledgement tells of a duplicate (RFC 2883) or is nonsense, as is one beyond what was sent.
      // All are measured from one place: comparing in a circle is not transitive.
      let start = range.start - floor
      let end = range.end - floor
      guard 0 < start, start < end, end <= sendNext - floor else { continue }
      _ = selected.insert(range)
    }
    return selected.total > before
  }

  /// Below this, what is not selected is lost: three ranges or more than two segments were selected above it.
  private var edgeBySelection: SequenceNumber {
    var ranges = 0
    var bytes = 0
    for range in selected.ranges.reversed() {
      ranges += 1
      bytes += range.count
      if ranges >= Self.duplicateThreshold || bytes > (Self.duplicateThreshold - 1) * segmentSize { return range.start }
    }
    return sendUnacknowledged
  }

  private func updateLostEdge() {
    lostEdge = .later(lostEdge, sendUnacknowledged)
    if hasSelective { lostEdge = .later(lostEdge, edgeBySelection) }
  }

  /// An acknowledgement that moved nothing: a segment behind a gap has arrived.
  func noteDuplicate(_ now: Instant) {
    duplicates += 1
    updateLostEdge()
    guard loss == .open, duplicates >= Self.duplicateThreshold || lostEdge > sendUnacknowledged else { return }
    loss = .recovery(until: sendNext)
    controller.lossDetected(inFlight: inFlight, now: now)
    retransmittedEdge = sendUnacknowledged
    // Without SACK one segment is known to be lost, the first.
    lostEdge = .later(lostEdge, sendUnacknowledged + min(inFlight, segmentSize))
    mustRetransmit = true
    hasRescued = false
    timedSegment = nil
  }

  /// Acknowledgements have moved on.
  func hasProgressed(by progress: Int, flightBefore: Int, _ now: Instant) {
    retransmittedEdge = .later(retransmittedEdge, sendUnacknowledged)
    updateLostEdge()
    switch loss {
    case .open:
      duplicates = 0
      // A sender that does not fill its window must not grow it (RFC 9293, 3.8.2; RFC 7661): in slow start half is full.
      let isLimiting = flightBefore + 2 * segmentSize > controller.window / 2
      controller.acknowledged(progress, isLimiting: isLimiting, roundTrip: estimator.smoothed, now: now)
      // Selections may have piled up below the threshold while acknowledgements still moved.
      if hasSelective, lostEdge > sendUnacknowledged { noteDuplicate(now) }
    case .recovery(let point):
      if sendUnacknowledged >= point {
        loss = .open
        duplicates = 0
        controller.recovered(inFlight: inFlight)
      } else if !hasSelective {
        // A partial acknowledgement: the next gap begins here (RFC 6582, 3.2). Duplicates counted what it now covers.
        duplicates = max(0, duplicates - max(0, progress - segmentSize) / segmentSize)
        retransmittedEdge = sendUnacknowledged
        lostEdge = sendUnacknowledged + min(inFlight, segmentSize)
        mustRetransmit = true
      }
    case .timedOut(let point):
      duplicates = 0
      controller.acknowledged(progress, isLimiting: true, roundTrip: estimator.smoothed, now: now)
      if sendUnacknowledged >= point { loss = .open }
    }
  }

  /// The retransmission timer ran out with data in flight.
  func loseEverything(_ now: Instant) {
    controller.timedOut(inFlight: inFlight, isRepeated: retransmissions > 1, now: now)
    // Who reported what comes next and does not acknowledge it has thrown it away (RFC 2018, 8).
    if let first = selected.ranges.first, first.start <= sendUnacknowledged { selected.removeAll() }
    resendInFlight()
  }

  /// Takes everything in flight that was not selected for lost, without a word to the congestion controller.
  func resendInFlight() {
    loss = .timedOut(until: sendNext)
    lostEdge = sendNext
    retransmittedEdge = sendUnacknowledged
    duplicates = 0
    hasRescued = false
    mustRetransmit = true
    timedSegment = nil
  }

  /// How many bytes are thought to be on their way (RFC 6675, 4, SetPipe).
  var pipe: Int {
    var sum = 0
    var at = sendUnacknowledged
    func addGap(to end: SequenceNumber) {
      guard end > at else { return }
      let living = SequenceNumber.later(at, lostEdge)
      if end > living { sum += end - living }
      let again = SequenceNumber.earlier(end, retransmittedEdge)
      if again > at { sum += again - at }
    }
    for range in selected.ranges {
      addGap(to: range.start)
      at = range.end
    }
    addGap(to: sendNext)
    if !hasSelective { sum = max(0, sum - duplicates * segmentSize) }
    return sum
  }

  /// The next range to send again, if its turn has come (RFC 6675, 4, NextSeg, rules 1 and 3).
  ///
  /// Speculating, what is not known to be lost is sent, too, since there is no new data.
  func nextGap(speculating: Bool) -> SequenceRange? {
    guard loss != .open else { return nil }
    var at = SequenceNumber.later(sendUnacknowledged, retransmittedEdge)
    let highest = selected.ranges.last?.start ?? lostEdge
    let limit = speculating ? SequenceNumber.later(highest, lostEdge) : lostEdge
    for range in selected.ranges where range.end > at {
      if range.start > at { break }
      at = range.end
    }
    guard at < limit, at < sendNext else { return nil }
    var end = SequenceNumber.earlier(limit, sendNext)
    for range in selected.ranges where range.start > at {
      end = .earlier(end, range.start)
      break
    }
    return SequenceRange(at, end)
  }

  /// The end of what is in flight and not selected, sent once more in an episode so that its loss is found out without
  /// waiting for the timer (RFC 6675, 4, NextSeg, rule 4).
  func rescue() -> SequenceRange? {
    guard case .recovery(let point) = loss, hasSelective, !hasRescued else { return nil }
    let end = sendNext
    let start = SequenceNumber.later(
      selected.ranges.last?.end ?? sendUnacknowledged, .later(retransmittedEdge, end - segmentSize))
    guard start < end, start < point else { return nil }
    return SequenceRange(start, end)
  }
}
