// SPDX-License-Identifier: Apache-2.0
// TCPConnection+Arrival.swift: a segment arrives: the checks of RFC 9293, 3.10.7.4, with those of RFC 5961 and 7323.

extension TCPConnection {
  /// A segment of this connection, whose checksum was right.
  ///
  /// - Parameters:
  ///   - header: Its header.
  ///   - payload: Its data.
  ///   - now: The time.
  func arrive(_ header: TCPHeader, _ payload: Span<UInt8>, _ now: Instant) {
    if state == .closed { return }
    if state == .synSent { return arriveInSynSent(header, now) }
    var header = header
    guard passesHandshake(&header, now), passesTimestamps(header, payload.count, now),
      passesSequence(header, payload.count, now)
    else { return }

    if header.flags.has(.rst) { return arriveReset(header, now) }
    // A SYN in the window is an old duplicate or an attack: the peer is asked (RFC 5961, 4).
    if header.flags.has(.syn) { return challenge(now) }
    guard header.flags.has(.ack) else { return }
    noteTimestamp(header, now)
    guard arriveAcknowledgement(header, payload.count, now) else { return }
    // The urgent pointer means nothing here: the bytes are data like any other (RFC 6093, 5).
    heardFromPeer(now)
    arriveData(header, payload, now)
  }

  /// Handles the peer's SYN coming again in SYN-RECEIVED.
  ///
  /// The table of acceptable segments refuses it. Without an acknowledgement our answer was lost and goes again; with one
  /// it is the other half of a simultaneous open and says all that is missing.
  private func passesHandshake(_ header: inout TCPHeader, _ now: Instant) -> Bool {
    guard state == .synReceived, header.flags.has(.syn), header.sequence == initialReceive, !header.flags.has(.rst)
    else { return true }
    guard header.flags.has(.ack) else {
      mustSynchronize = true
      return false
    }
    header.flags.rawValue &= ~TCPFlags.syn.rawValue
    header.sequence += 1
    mustAcknowledge = true
    return true
  }

  /// Protection against wrapped sequence numbers (RFC 7323, 5.3).
  private func passesTimestamps(_ header: TCPHeader, _ count: Int, _ now: Instant) -> Bool {
    guard hasTimestamps, !header.flags.has(.rst) else { return true }
    guard let timestamps = header.options.timestamps else { return false }
    let isOld = Int32(truncatingIfNeeded: timestamps.value &- recentTimestamp) < 0
    // After 24 days without a segment the comparison means nothing (RFC 7323, 5.5).
    guard isOld, now - recentTimestampTaken < .seconds(24 * 86_400) else { return true }
    acknowledgeUnacceptable(count + (header.flags.has(.fin) ? 1 : 0), now)
    return false
  }

  /// The table of RFC 9293, 3.4: a segment has to begin or end within the window.
  private func passesSequence(_ header: TCPHeader, _ count: Int, _ now: Instant) -> Bool {
    let flags = header.flags
    let length = count + (flags.has(.syn) ? 1 : 0) + (flags.has(.fin) ? 1 : 0)
    let window = receiveWindow
    let offset = header.sequence - receiveNext
    let begins = offset >= 0 && offset < window
    let ends = offset + length > 0 && offset + length <= window
    // A window of zero takes nothing in, but what a segment at its edge says beside its data still counts.
    if offset == 0 || begins || length > 0 && ends { return true }
    // A segment over the whole window begins before it and ends behind it.
    if offset < 0, offset + length > window, window > 0 { return true }
    if !flags.has(.rst) { acknowledgeUnacceptable(count + (flags.has(.fin) ? 1 : 0), now) }
    return false
  }

  /// Answers a segment that is not acceptable.
  ///
  /// Those without data or FIN are answered seldom, or two ends that disagree
  /// would answer each other for ever.
  private func acknowledgeUnacceptable(_ length: Int, _ now: Instant) {
    if length > 0 {
      mustAcknowledge = true
      unmergedAcknowledgements = min(unmergedAcknowledgements + 1, 16)
      if state == .timeWait { endAt = now + configuration.timeWait }
    } else {
      challenge(now)
    }
  }

  /// A challenge acknowledgement (RFC 5961, 3 to 5 and 7): who really is the peer will answer with the exact number.
  func challenge(_ now: Instant) {
    if let last = challengedAt, now - last < .milliseconds(500) { return }
    challengedAt = now
    mustAcknowledge = true
    unmergedAcknowledgements = max(1, unmergedAcknowledgements)
  }

  private func arriveReset(_ header: TCPHeader, _ now: Instant) {
    // In TIME-WAIT a reset would assassinate what protects the next connection (RFC 1337).
    if state == .timeWait { return }
    guard header.sequence == receiveNext else { return challenge(now) }
    switch state {
    case .synReceived: end(isPassive ? .reset : .refused)
    case .closing, .lastAck: end(sendQueue.count > 0 ? .reset : nil)
    case .closed, .synSent, .established, .finWait1, .finWait2, .closeWait, .timeWait: end(.reset)
    }
  }

  /// Keeps the timestamp to echo: the one of the segment that was the next to be acknowledged (RFC 7323, 4.3).
  private func noteTimestamp(_ header: TCPHeader, _ now: Instant) {
    guard hasTimestamps, let timestamps = header.options.timestamps, header.sequence <= lastAcknowledgementSent,
      Int32(truncatingIfNeeded: timestamps.value &- recentTimestamp) >= 0
    else { return }
    recentTimestamp = timestamps.value
    recentTimestampTaken = now
  }

  /// The peer lives: keep-alive begins again.
  func heardFromPeer(_ now: Instant) {
    aliveProbes = 0
    guard let keepAlive = configuration.keepAlive, isSynchronized, state != .timeWait else { return }
    probeAliveAt = now + keepAlive.idle
  }

  /// Keep-alive was switched on or off, or its times are others.
  func keepAliveChanged(_ now: Instant) {
    probeAliveAt = nil
    heardFromPeer(now)
  }
}
