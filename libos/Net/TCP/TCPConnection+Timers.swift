// SPDX-License-Identifier: Apache-2.0
// TCPConnection+Timers.swift: what happens when nothing happens: retransmission, probes, the end of TIME-WAIT.

extension TCPConnection {
  /// When `expire` is to be called next, if nothing else happens before.
  var deadline: Instant? {
    earlier(earlier(retransmitAt, acknowledgeAt), earlier(endAt, probeAliveAt))
  }

  /// Does what is due.
  func expire(_ now: Instant) {
    if let due = endAt, due <= now { return end(state == .timeWait ? nil : .timedOut) }
    if let due = acknowledgeAt, due <= now {
      acknowledgeAt = nil
      mustAcknowledge = true
    }
    if let due = retransmitAt, due <= now {
      retransmitAt = nil
      retransmissionTimedOut(now)
    }
    if let due = probeAliveAt, due <= now { keepAliveTimedOut(now) }
  }

  private func retransmissionTimedOut(_ now: Instant) {
    switch state {
    case .closed, .timeWait: return
    case .synSent, .synReceived:
      guard retransmissions < configuration.synchronizeRetries else { return end(.timedOut) }
      retransmissions += 1
      estimator.backOff()
      timedSegment = nil
      mustSynchronize = true
    case .established, .finWait1, .finWait2, .closeWait, .closing, .lastAck:
      if inFlight > 0, sendWindow > 0 { return loseInFlight(now) }
      guard inFlight > 0 || sendQueue.count > 0 || isFinishAsked && !isFinishSent else { return }
      if sendWindow > 0 {
        // Small data waited for a larger window, long enough (RFC 9293, 3.8.6.2.1).
        overridesAvoidance = true
        return
      }
      // Probes go on for as long as the peer answers them (RFC 9293, 3.8.6.1).
      guard retransmissions < configuration.retries else { return end(.timedOut) }
      retransmissions += 1
      estimator.backOff()
      mustProbe = true
      timedSegment = nil
      retransmitAt = now + estimator.timeout
    }
  }

  private func loseInFlight(_ now: Instant) {
    guard retransmissions < configuration.retries else {
      resetToSend = (sendNext, true)
      return end(.timedOut)
    }
    retransmissions += 1
    loseEverything(now)
    estimator.backOff()
    retransmitAt = now + estimator.timeout
  }

  private func keepAliveTimedOut(_ now: Instant) {
    probeAliveAt = nil
    guard let keepAlive = configuration.keepAlive, isSynchronized, state != .timeWait else { return }
    // While data is in flight its own timer watches the peer.
    guard inFlight == 0 else {
      probeAliveAt = now + keepAlive.interval
      return
    }
    guard aliveProbes < keepAlive.count else {
      resetToSend = (sendNext, true)
      return end(.timedOut)
    }
    aliveProbes += 1
    mustProbeAlive = true
    probeAliveAt = now + keepAlive.interval
  }

  /// The path takes less than we send: what is in flight is cut anew and sent again at once (RFC 1191, 6.3; 8201, 5.4).
  ///
  /// - Parameters:
  ///   - limit: What the path takes of TCP's options and payload.
  ///   - sequence: Which segment of ours was too large, as the router quotes it: one that guesses is not believed.
  ///   - now: The time.
  func pathTakes(_ limit: Int, quoted sequence: SequenceNumber, _ now: Instant) {
    guard isSynchronized, sequence >= sendUnacknowledged, sequence < sendNext, limit < segmentLimit else { return }
    segmentLimit = max(limit, 64)
    controller.start(segmentSize: segmentSize, isCautious: false)
    if inFlight > 0 { resendInFlight() }
  }

  /// A router or the peer's host says that the destination cannot be reached: it ends an attempt to connect, and is
  /// otherwise no more than a hint (RFC 5461).
  func destinationIsUnreachable(quoted sequence: SequenceNumber, isRefusal: Bool) {
    guard state == .synSent, sequence == initialSend else { return }
    end(isRefusal ? .refused : .unreachable)
  }
}
