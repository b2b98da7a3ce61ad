// SPDX-License-Identifier: Apache-2.0
// TCPConnection+Acknowledgement.swift: the acknowledgement field: progress, window, round trips (RFC 9293, 3.10.7.4).

extension TCPConnection {
  /// The acknowledgement field of an acceptable segment.
  ///
  /// - Returns: Whether the rest of the segment is to be looked at.
  func arriveAcknowledgement(_ header: TCPHeader, _ count: Int, _ now: Instant) -> Bool {
    let acknowledgement = header.acknowledgement
    if state == .synReceived {
      guard acknowledgement > sendUnacknowledged, acknowledgement <= sendNext else {
        resetToSend = (acknowledgement, false)
        return false
      }
      sampleRoundTrip(header, acknowledging: acknowledgement, now)
      sendWindow = Int(header.window) << sendShift
      largestSendWindow = max(largestSendWindow, sendWindow)
      windowSequence = header.sequence
      windowAcknowledgement = acknowledgement
      sendUnacknowledged = initialSend + 1
      establish(now)
    }
    // Acknowledgements far in the past or of what was not sent are of somebody who guesses (RFC 5961, 5.2).
    if acknowledgement > sendNext || sendUnacknowledged - acknowledgement > max(largestSendWindow, 65_535) {
      challenge(now)
      return false
    }
    let reportsNew = noteSelected(header)
    let isUpdate = updateWindow(header)
    let progress = acknowledgement - sendUnacknowledged
    if progress > 0 {
      advance(to: acknowledgement, header, now)
    } else if progress == 0, inFlight > 0 {
      probesWereAnswered(now)
      // RFC 5681, 2: what a duplicate is; with SACK, one that tells something new (RFC 6675, 2). The answers to probes of
      // a closed window are none.
      let isDuplicate = count == 0 && !header.flags.has(.fin) && !isUpdate && sendWindow > 0
      if hasSelective ? reportsNew : isDuplicate { noteDuplicate(now) }
    }
    return state != .closed
  }

  /// Takes the window over from a segment that is newer than the last that did.
  ///
  /// - Returns: Whether the window is another one now.
  private func updateWindow(_ header: TCPHeader) -> Bool {
    guard
      windowSequence < header.sequence
        || windowSequence == header.sequence && windowAcknowledgement <= header.acknowledgement
    else { return false }
    let window = Int(header.window) << sendShift
    let isOther = window != sendWindow
    // A closed window refused what was in flight, a probe at least: it goes again before anything else.
    if sendWindow == 0, window > 0, inFlight > 0, header.acknowledgement == sendUnacknowledged { resendInFlight() }
    sendWindow = window
    largestSendWindow = max(largestSendWindow, window)
    windowSequence = header.sequence
    windowAcknowledgement = header.acknowledgement
    return isOther
  }

  /// A closed window may stay closed for ever as long as its owner answers (RFC 9293, 3.8.6.1).
  private func probesWereAnswered(_ now: Instant) {
    guard sendWindow == 0 else { return }
    retransmissions = 0
  }

  /// Something new was acknowledged.
  private func advance(to acknowledgement: SequenceNumber, _ header: TCPHeader, _ now: Instant) {
    let before = inFlight
    let progress = acknowledgement - sendUnacknowledged
    sampleRoundTrip(header, acknowledging: acknowledgement, now)
    let finishIsAcknowledged = isFinishSent && acknowledgement > dataEnd
    let bytes = min(sendQueue.count, max(0, acknowledgement - dataStart))
    sendQueue.drop(bytes)
    dataStart += bytes
    sendQueue.shrink()
    if tellsProgress {
      tellsProgress = false
      hasNews = true
    }
    sendUnacknowledged = acknowledgement
    selected.remove(before: acknowledgement)
    retransmissions = 0
    hasProgressed(by: progress, flightBefore: before, now)
    // RFC 6298, 5.2 and 5.3.
    retransmitAt = inFlight > 0 ? now + estimator.timeout : nil
    if finishIsAcknowledged { finishWasAcknowledged(now) }
  }

  /// Our FIN has arrived.
  private func finishWasAcknowledged(_ now: Instant) {
    switch state {
    case .finWait1:
      state = .finWait2
      if isReleased { endAt = now + configuration.finishWait }
    case .closing: enterTimeWait(now)
    case .lastAck: end(nil)
    case .closed, .synSent, .synReceived, .established, .finWait2, .closeWait, .timeWait: break
    }
  }

  /// Measures a round trip, by the timestamp echoed (RFC 7323, 4.1) or by the one segment that is timed.
  func sampleRoundTrip(_ header: TCPHeader, acknowledging acknowledgement: SequenceNumber, _ now: Instant) {
    if hasTimestamps, let timestamps = header.options.timestamps {
      let milliseconds = Int32(truncatingIfNeeded: timestamp(now) &- timestamps.echo)
      if timestamps.echo != 0, milliseconds >= 0 { estimator.sample(.milliseconds(Int64(milliseconds))) }
      return
    }
    guard let timed = timedSegment, acknowledgement >= timed.end else { return }
    estimator.sample(now - timed.sent)
    timedSegment = nil
  }
}
