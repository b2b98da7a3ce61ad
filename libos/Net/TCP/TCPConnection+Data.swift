// SPDX-License-Identifier: Apache-2.0
// TCPConnection+Data.swift: what a segment carries: data in and out of order, the FIN, and our window.

extension TCPConnection {
  /// The data and FIN of an acceptable segment (RFC 9293, 3.10.7.4, seventh and eighth).
  func arriveData(_ header: TCPHeader, _ payload: Span<UInt8>, _ now: Instant) {
    guard payload.count > 0 || header.flags.has(.fin) else { return }
    switch state {
    case .established, .finWait1, .finWait2: break
    case .closed, .synSent, .synReceived, .closeWait, .closing, .lastAck, .timeWait:
      mustAcknowledge = true
      return
    }
    if isReleased, payload.count > 0, header.sequence + payload.count > receiveNext {
      // Nobody will ever read this: the peer has to know (RFC 9293, 3.6.1).
      resetToSend = (sendNext, true)
      return end(.reset)
    }
    let end = header.sequence + payload.count
    if header.flags.has(.fin), finish == nil || finish == end, end + 1 - receiveNext <= max(1, receiveWindow) {
      finish = end
    }
    takePayload(payload, at: header.sequence, now)
    if let finish, receiveNext == finish { takeFinish(now) }
  }

  private func takePayload(_ payload: Span<UInt8>, at sequence: SequenceNumber, _ now: Instant) {
    // What lies outside of the window is cut off, in front and behind, and behind a FIN there is nothing.
    let start = max(0, receiveNext - sequence)
    var edge = advertisedEdge
    if let finish { edge = .earlier(edge, finish) }
    let end = min(payload.count, edge - sequence)
    guard start < end else {
      if payload.count > 0 { acknowledgeAtOnce() }
      return
    }
    let part = payload.extracting(start..<end)
    let from = sequence + start
    let offset = receiveRing.count + (from - receiveNext)
    let isInOrder = from == receiveNext
    if isInOrder, receiveRing.count == 0, outOfOrder.isEmpty, let receiver = configuration.receiver, let handle {
      let taken = max(0, min(part.count, receiver.received(part, by: handle)))
      guard taken < part.count else {
        receiveNext += taken
        noteArrival(part.count, isPartial: end < payload.count, now)
        return
      }
      guard receiveRing.put(part.extracting(taken..<part.count), at: 0) else {
        receiveNext += taken
        return acknowledgeAtOnce()
      }
      receiveNext += taken
      return takeInOrder(part.count - taken, isPartial: end < payload.count, now)
    }
    // Memory first for what comes next: a gap behind which nothing fits any more would never close.
    guard isInOrder || outOfOrder.count < outOfOrder.capacity, receiveRing.put(part, at: offset) else {
      return acknowledgeAtOnce()
    }
    if isInOrder {
      takeInOrder(part.count, isPartial: end < payload.count, now)
    } else {
      if outOfOrder.insert(SequenceRange(from, from + part.count)) != nil { remember(from) }
      acknowledgeAtOnce()
    }
  }

  private func takeInOrder(_ count: Int, isPartial: Bool, _ now: Instant) {
    let filledGap = !outOfOrder.isEmpty
    var reached = receiveNext + count
    if let next = outOfOrder.ranges.first, next.start <= reached {
      reached = .later(reached, next.end)
      // The ranges do not touch each other, but the new data may cover several.
      for range in outOfOrder.ranges where range.start <= reached { reached = .later(reached, range.end) }
    }
    receiveRing.extend(by: reached - receiveNext)
    receiveNext = reached
    hasNews = true
    // RFC 5681, 4.2: a segment that fills a gap is acknowledged at once.
    if filledGap {
      outOfOrder.remove(before: reached)
      return acknowledgeAtOnce()
    }
    noteArrival(count, isPartial: isPartial, now)
  }

  /// Bytes came in order: an acknowledgement is owed, at once or after a while.
  private func noteArrival(_ count: Int, isPartial: Bool, _ now: Instant) {
    if isPartial { return acknowledgeAtOnce() }
    // Every second full segment at once, others after a while.
    fullSegmentsUnacknowledged += count >= segmentSize ? 2 : 1
    if fullSegmentsUnacknowledged >= 4 || configuration.acknowledgementDelay == .zero {
      mustAcknowledge = true
    } else if acknowledgeAt == nil {
      acknowledgeAt = now + configuration.acknowledgementDelay
    }
  }

  private func acknowledgeAtOnce() {
    mustAcknowledge = true
    unmergedAcknowledgements = min(unmergedAcknowledgements + 1, 16)
  }

  /// Puts a range first among those to be told.
  private func remember(_ number: SequenceNumber) {
    recent.removeAll {
      outOfOrder.range(holding: $0) == nil || outOfOrder.range(holding: $0) == outOfOrder.range(holding: number)
    }
    recent.insert(number, at: 0)
    if recent.count > 4 { recent.removeLast() }
  }

  /// The ranges to tell, the one that changed last first (RFC 2018, 4).
  var selectionsToTell: SequenceBlocks {
    guard hasSelective, !outOfOrder.isEmpty else { return [] }
    var told = SequenceBlocks()
    for number in recent {
      if let range = outOfOrder.range(holding: number), !told.contains(range) { told.append(range) }
    }
    return told
  }

  /// Everything up to the peer's FIN has come.
  private func takeFinish(_ now: Instant) {
    receiveNext += 1
    hasNews = true
    outOfOrder.removeAll()
    recent.removeAll()
    mustAcknowledge = true
    unmergedAcknowledgements = max(1, unmergedAcknowledgements)
    switch state {
    case .established: state = .closeWait
    // Our FIN's acknowledgement, had it come with this one, would have made this FIN-WAIT-2 already.
    case .finWait1: state = .closing
    case .finWait2: enterTimeWait(now)
    case .closed, .synSent, .synReceived, .closeWait, .closing, .lastAck, .timeWait: break
    }
  }

  /// Where the right edge of our window could be: not a little further than it is, or the peer would send little
  /// segments (RFC 9293, 3.8.6.2.2).
  var possibleEdge: SequenceNumber {
    let free = max(0, configuration.receiveBuffer - receiveRing.count)
    let possible = receiveNext + min(free, hasScaling ? 65_535 << receiveShift : 65_535)
    let step = min(configuration.receiveBuffer / 2, segmentSize)
    return possible - advertisedEdge >= step ? possible : .later(advertisedEdge, receiveNext)
  }

  /// The window field of a segment, which moves the edge that the peer knows; in units of our scale in all but SYNs.
  func takeWindow(isScaled: Bool) -> UInt16 {
    advertisedEdge = possibleEdge
    let shift = isScaled ? receiveShift : 0
    let window = advertisedEdge - receiveNext
    // Rounded up: a window that shrinks is a broken promise (RFC 7323, 2.4).
    let field = min(65_535, (window + (1 << shift) - 1) >> shift)
    advertisedEdge = receiveNext + field << shift
    return UInt16(field)
  }
}
