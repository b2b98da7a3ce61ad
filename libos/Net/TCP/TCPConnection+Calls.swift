// SPDX-License-Identifier: Apache-2.0
// TCPConnection+Calls.swift: what the application asks for: SEND, RECEIVE, CLOSE, ABORT (RFC 9293, 3.10).

extension TCPConnection {
  /// Queues bytes to be sent.
  ///
  /// - Returns: How many were taken; 0 when the buffer is full.
  /// - Throws: What ended the connection; `finished` after `finish`; `notConnected`.
  func write(_ bytes: Span<UInt8>) throws(TCPError) -> Int {
    if let error { throw error }
    if isFinishAsked { throw .finished }
    switch state {
    case .synSent, .synReceived, .established, .closeWait: return sendQueue.append(bytes)
    case .closed, .finWait1, .finWait2, .closing, .lastAck, .timeWait: throw .notConnected
    }
  }

  /// Queues bytes of the application's own memory.
  ///
  /// - Returns: How many were taken.
  /// - Throws: What ended the connection; `finished` after `finish`; `notConnected`.
  func write(from source: any PayloadSource, _ offset: Int, _ count: Int) throws(TCPError) -> Int {
    if let error { throw error }
    if isFinishAsked { throw .finished }
    switch state {
    case .synSent, .synReceived, .established, .closeWait: return sendQueue.append(source, offset, count)
    case .closed, .finWait1, .finWait2, .closing, .lastAck, .timeWait: throw .notConnected
    }
  }

  /// Takes bytes that have come, in order.
  ///
  /// - Parameters:
  ///   - limit: How many at most.
  ///   - bytes: What they are appended to.
  /// - Returns: How many; 0 when there are none yet; nil at the end of what the peer sends.
  /// - Throws: What ended the connection, once everything before it was read.
  func read(_ limit: Int, into bytes: inout [UInt8]) throws(TCPError) -> Int? {
    let count = min(limit, receiveRing.count)
    guard count > 0 else {
      if let error { throw error }
      if let finish, receiveNext > finish { return nil }
      if state == .closed { throw .notConnected }
      return 0
    }
    receiveRing.copy(0, count, to: &bytes)
    receiveRing.drop(count)
    if outOfOrder.isEmpty { receiveRing.shrink() }
    tellOfWindow()
    return count
  }

  /// Tells the peer that it may send more, once that is worth a segment (RFC 9293, 3.8.6.2.2).
  private func tellOfWindow() {
    guard isSynchronized, finish == nil else { return }
    let gain = possibleEdge - advertisedEdge
    let isWorth = gain >= min(configuration.receiveBuffer / 2, 2 * segmentSize) || receiveWindow == 0 && gain > 0
    if isWorth, gain >= configuration.receiveBuffer / 4 || receiveWindow < 2 * segmentSize { mustAcknowledge = true }
  }

  /// How many bytes can be read now.
  var readable: Int { receiveRing.count }
  /// How many bytes `write` would take now, memory allowing.
  var writable: Int {
    switch state {
    case .synSent, .synReceived, .established, .closeWait: isFinishAsked ? 0 : sendQueue.free
    case .closed, .finWait1, .finWait2, .closing, .lastAck, .timeWait: 0
    }
  }

  /// Sends no more than what is queued: CLOSE.
  func finish(_ now: Instant) {
    guard !isFinishAsked else { return }
    switch state {
    case .closed, .finWait1, .finWait2, .closing, .lastAck, .timeWait: return
    case .synSent:
      // Nothing to say, and nobody yet to say it to.
      if sendQueue.count == 0 { return end(nil) }
    case .synReceived: break
    case .established: state = .finWait1
    case .closeWait: state = .lastAck
    }
    isFinishAsked = true
  }

  /// Ends the connection at once: ABORT.
  func abort() {
    switch state {
    case .closed, .synSent, .timeWait: break
    case .synReceived, .established, .finWait1, .finWait2, .closeWait, .closing, .lastAck:
      resetToSend = (sendNext, true)
    }
    end(.notConnected)
  }

  /// The application lets go: what is queued is still sent, what comes is not read any more.
  func release(_ now: Instant) {
    guard !isReleased else { return }
    // Data that nobody read is lost, and the peer has to know (RFC 9293, 3.6.1; RFC 2525, 2.17).
    if receiveRing.count > 0, state != .timeWait, state != .closed {
      abort()
      isReleased = true
      receiveRing.release()
      return
    }
    isReleased = true
    finish(now)
    if state == .finWait2 { endAt = now + configuration.finishWait }
    if state == .timeWait || state == .closed { receiveRing.release() }
  }
}
