// SPDX-License-Identifier: Apache-2.0
// TCPConnection+Opening.swift: SYNs: what they agree on, and the state SYN-SENT (RFC 9293, 3.10.7.3).

extension TCPConnection {
  /// Takes over what a peer's SYN says.
  func takeSynchronize(_ header: TCPHeader, _ now: Instant) {
    let options = header.options
    // Our own SYN may have told a window already.
    let told = advertisedEdge - receiveNext
    initialReceive = header.sequence
    receiveNext = header.sequence + 1
    advertisedEdge = receiveNext + told
    lastAcknowledgementSent = receiveNext
    // Without the option the MSS is what every host can take (RFC 9293, 3.7.1).
    let isVersion6 = if case .v6 = remote.address { true } else { false }
    let offered = options.maximumSegmentSize.map(Int.init) ?? (isVersion6 ? 1220 : 536)
    segmentLimit = min(segmentLimit, max(64, offered))
    hasSelective = hasSelective && options.isSelectivePermitted
    if hasScaling, let scale = options.windowScale {
      sendShift = Int(scale)
    } else {
      hasScaling = false
      receiveShift = 0
    }
    if hasTimestamps, let timestamps = options.timestamps {
      recentTimestamp = timestamps.value
      recentTimestampTaken = now
    } else {
      hasTimestamps = false
    }
    // A window in a SYN is never scaled (RFC 7323, 2.2).
    sendWindow = Int(header.window)
    largestSendWindow = sendWindow
    windowSequence = header.sequence
    windowAcknowledgement = header.acknowledgement
  }

  /// Both sides know each other's numbers: data may flow.
  func establish(_ now: Instant) {
    controller.start(segmentSize: segmentSize, isCautious: retransmissions > 0)
    if retransmissions > 0 { estimator.synchronizeWasLost() }
    retransmissions = 0
    retransmitAt = nil
    mustSynchronize = false
    lostEdge = sendUnacknowledged
    retransmittedEdge = sendUnacknowledged
    state = isFinishAsked ? .finWait1 : .established
    hasNews = true
    heardFromPeer(now)
  }

  /// A segment in SYN-SENT.
  func arriveInSynSent(_ header: TCPHeader, _ now: Instant) {
    let flags = header.flags
    if flags.has(.ack), header.acknowledgement <= initialSend || header.acknowledgement > sendNext {
      if !flags.has(.rst) { resetToSend = (header.acknowledgement, false) }
      return
    }
    if flags.has(.rst) {
      if flags.has(.ack) { end(.refused) }
      return
    }
    guard flags.has(.syn) else { return }
    let wasSent = sendNext > initialSend
    takeSynchronize(header, now)
    if flags.has(.ack) {
      sampleRoundTrip(header, acknowledging: header.acknowledgement, now)
      sendUnacknowledged = header.acknowledgement
      establish(now)
      mustAcknowledge = true
    } else if wasSent {
      // Simultaneous open: their SYN crossed ours. Ours goes again, with an acknowledgement.
      state = .synReceived
      mustSynchronize = true
    }
  }
}

extension TCPConnection {
  /// Our SYN has gone out already, as a cookie, and what comes is the answer to it.
  func synchronizeWasSentAsCookie() {
    mustSynchronize = false
    sendNext = initialSend + 1
    // The window that the cookie told.
    advertisedEdge = receiveNext + 65_535
  }
}
