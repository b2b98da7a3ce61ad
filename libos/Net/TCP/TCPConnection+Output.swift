// SPDX-License-Identifier: Apache-2.0
// TCPConnection+Output.swift: what is to be sent now, one segment at a time.

/// A segment to send: its header, and which part of the send ring it carries.
struct OutgoingSegment {
  var header: TCPHeader
  var offset = 0
  var count = 0
}

extension TCPConnection {
  /// The next segment that is owed, or that the windows let out; nil when there is none for now.
  func nextSegment(_ now: Instant) -> OutgoingSegment? {
    if let reset = resetToSend {
      resetToSend = nil
      return plain(reset.acknowledges ? .rst | .ack : .rst, reset.sequence, now)
    }
    switch state {
    case .closed: return nil
    case .synSent, .synReceived: return mustSynchronize ? synchronize(now) : acknowledgement(now)
    case .established, .finWait1, .finWait2, .closeWait, .closing, .lastAck, .timeWait: break
    }
    // Only an acknowledgement without data counts as a duplicate.
    if unmergedAcknowledgements > 0 { return plain(.ack, sendNext, now) }
    guard loss != .open || mustAcknowledge || mustProbe || mustProbeAlive || unsent > 0 || owesFinish else {
      return nil
    }
    if loss != .open, let segment = retransmission(now) { return segment }
    if unsent > 0 || owesFinish, let segment = newData(now) { return segment }
    if mustProbe || mustProbeAlive, let segment = probe(now) { return segment }
    return acknowledgement(now)
  }

  // MARK: kinds of segments

  private func header(_ flags: TCPFlags, _ sequence: SequenceNumber, _ now: Instant) -> TCPHeader {
    var header = TCPHeader(
      sourcePort: local.port, destinationPort: remote.port, sequence: sequence,
      acknowledgement: flags.has(.ack) ? receiveNext : SequenceNumber(0), flags: flags,
      window: flags.has(.rst) ? 0 : takeWindow(isScaled: !flags.has(.syn)))
    if hasTimestamps {
      header.options.timestamps = TCPTimestamps(value: timestamp(now), echo: flags.has(.ack) ? recentTimestamp : 0)
    }
    if flags.has(.ack), !flags.has(.rst), !flags.has(.syn) {
      if !outOfOrder.isEmpty { header.options.selective = selectionsToTell }
      lastAcknowledgementSent = receiveNext
      unmergedAcknowledgements = max(0, unmergedAcknowledgements - 1)
      mustAcknowledge = unmergedAcknowledgements > 0
      acknowledgeAt = nil
      fullSegmentsUnacknowledged = 0
    }
    return header
  }

  private func plain(_ flags: TCPFlags, _ sequence: SequenceNumber, _ now: Instant) -> OutgoingSegment {
    OutgoingSegment(header: header(flags, sequence, now))
  }

  private func acknowledgement(_ now: Instant) -> OutgoingSegment? {
    mustAcknowledge ? plain(.ack, sendNext, now) : nil
  }

  private func synchronize(_ now: Instant) -> OutgoingSegment {
    mustSynchronize = false
    let isAnswer = state == .synReceived
    var header = header(isAnswer ? .syn | .ack : .syn, initialSend, now)
    header.options.maximumSegmentSize = UInt16(clamping: offeredSegmentSize)
    header.options.isSelectivePermitted = hasSelective
    if hasScaling { header.options.windowScale = UInt8(receiveShift) }
    if sendNext == initialSend {
      sendNext += 1
      timedSegment = (sendNext, now)
    }
    lastAcknowledgementSent = receiveNext
    lastSent = now
    if retransmitAt == nil { retransmitAt = now + estimator.timeout }
    return OutgoingSegment(header: header)
  }

  /// A segment of data or FIN that begins at `sequence`.
  private func segment(_ sequence: SequenceNumber, _ length: Int, withFinish: Bool, _ now: Instant) -> OutgoingSegment {
    var flags = TCPFlags.ack
    if withFinish { flags = flags | .fin }
    // Data that empties the ring is pushed (RFC 9293, 3.9.1.2).
    if length > 0, sequence + length == dataEnd { flags = flags | .psh }
    let segment = OutgoingSegment(header: header(flags, sequence, now), offset: sequence - dataStart, count: length)
    lastSent = now
    if retransmitAt == nil { retransmitAt = now + estimator.timeout }
    return segment
  }

  /// How much data a segment has room for, beside the options that it will have.
  private var room: Int {
    if outOfOrder.isEmpty { return segmentSize }
    let blocks = min(hasTimestamps ? 3 : 4, selectionsToTell.count)
    return max(1, segmentSize - (blocks == 0 ? 0 : 4 + 8 * blocks))
  }

  /// Bytes of our own that a link which gathers copies behind the headers.
  private var inlineLimit: Int {
    let isVersion6 = if case .v6 = remote.address { true } else { false }
    let headers =
      EthernetHeader.byteCount + (isVersion6 ? IPv6Header.byteCount : IPv4Header.byteCount) + TCPHeader.byteCount
    return configuration.copiedByLink - headers - (segmentLimit - room)
  }

  // MARK: what is sent again

  private func retransmission(_ now: Instant) -> OutgoingSegment? {
    guard loss != .open, inFlight > 0 else { return nil }
    if mustRetransmit {
      mustRetransmit = false
      if let gap = nextGap(speculating: true) ?? firstGap { return sendAgain(gap, now) }
    }
    // What is sent again counts against the window as new data does, and the peer's window does not matter to it.
    guard controller.window - pipe >= segmentSize else { return nil }
    if let gap = nextGap(speculating: false) { return sendAgain(gap, now) }
    if canSendNew { return nil }
    if let gap = nextGap(speculating: true) { return sendAgain(gap, now) }
    guard let last = rescue() else { return nil }
    hasRescued = true
    return sendAgain(last, isRescue: true, now)
  }

  private var firstGap: SequenceRange? {
    guard sendUnacknowledged < sendNext else { return nil }
    let end = selected.ranges.first.map { SequenceNumber.earlier($0.start, sendNext) } ?? sendNext
    return sendUnacknowledged < end ? SequenceRange(sendUnacknowledged, end) : nil
  }

  private func sendAgain(_ gap: SequenceRange, isRescue: Bool = false, _ now: Instant) -> OutgoingSegment? {
    guard gap.start >= dataStart else { return nil }
    let whole = max(0, min(room, SequenceNumber.earlier(gap.end, dataEnd) - gap.start))
    let length = sendQueue.cut(gap.start - dataStart, whole, inlineLimit: inlineLimit)
    let reachesFinish = isFinishSent && gap.start + length == dataEnd && gap.end > dataEnd
    guard length > 0 || reachesFinish else { return nil }
    if !isRescue {
      retransmittedEdge = .later(retransmittedEdge, gap.start + length + (reachesFinish ? 1 : 0))
    }
    timedSegment = nil
    return segment(gap.start, length, withFinish: reachesFinish, now)
  }

  // MARK: what is new

  /// Bytes in the ring that were never sent.
  private var unsent: Int { max(0, dataEnd - sendNext) }
  private var owesFinish: Bool { isFinishAsked && !isFinishSent }
  private var usableWindow: Int { sendUnacknowledged + sendWindow - sendNext }
  private var canSendNew: Bool { unsent > 0 && usableWindow > 0 }

  private func newData(_ now: Instant) -> OutgoingSegment? {
    guard unsent > 0 || owesFinish else { return nil }
    restartAfterIdle(now)
    let usable = usableWindow
    let whole = min(room, unsent, max(0, usable))
    let length = sendQueue.cut(sendNext - dataStart, whole, inlineLimit: inlineLimit)
    let isLast = length == unsent
    let withFinish = owesFinish && isLast && usable > length
    guard length < whole || isWorthSending(length, isLast: isLast, withFinish: withFinish) else {
      // Nothing in flight means that nothing will wake us but a timer (RFC 9293, 3.8.6.1 and 3.8.6.2.1).
      if inFlight == 0, retransmitAt == nil { retransmitAt = now + estimator.timeout }
      return nil
    }
    guard pipe + length <= controller.window || inFlight == 0 else { return nil }
    overridesAvoidance = false
    let sequence = sendNext
    let segment = segment(sequence, length, withFinish: withFinish, now)
    sendNext = sequence + length + (withFinish ? 1 : 0)
    if timedSegment == nil, loss == .open { timedSegment = (sendNext, now) }
    return segment
  }

  /// The sender's side of silly window avoidance, and Nagle's algorithm (RFC 9293, 3.8.6.2.1 and 3.7.4).
  private func isWorthSending(_ length: Int, isLast: Bool, withFinish: Bool) -> Bool {
    if withFinish { return true }
    guard length > 0 else { return false }
    if length >= room || overridesAvoidance { return true }
    if isLast { return inFlight == 0 || configuration.sendsAtOnce || isFinishAsked }
    return length >= largestSendWindow / 2
  }

  /// After a pause the window says nothing about the path any more (RFC 5681, 4.1).
  private func restartAfterIdle(_ now: Instant) {
    guard inFlight == 0, now - lastSent > estimator.timeout else { return }
    controller.idled()
    lastSent = now
  }

  // MARK: probes

  /// A byte beyond a closed window, or an old number to an idle peer: both have to be answered.
  private func probe(_ now: Instant) -> OutgoingSegment? {
    if mustProbeAlive {
      mustProbeAlive = false
      return OutgoingSegment(header: header(.ack, sendUnacknowledged - 1, now))
    }
    guard mustProbe else { return nil }
    mustProbe = false
    if inFlight > 0 {
      let length = min(1, max(0, dataEnd - sendUnacknowledged))
      return segment(sendUnacknowledged, length, withFinish: length == 0 && isFinishSent, now)
    }
    guard unsent > 0 || owesFinish else { return nil }
    let length = min(1, unsent)
    let sequence = sendNext
    let segment = segment(sequence, length, withFinish: length == 0, now)
    sendNext += 1
    return segment
  }
}
