// SPDX-License-Identifier: Apache-2.0
// TCPConnection.swift: one TCP connection (RFC 9293): its variables, how it begins and how it ends.

// Theory of operation. A connection is a function of what happens to it: a segment arrives (`arrive`), time passes
// (`expire`), the application calls. None of these sends: they change variables and note what is owed. Whoever owns the
// connection then asks `nextSegment` until there is none, and asks again when `deadline` is reached. There is no other
// state: no thread, no queue of packets. What was sent is not kept as segments but as bytes in the send ring; a
// retransmission cuts them anew, so a smaller path MTU needs nothing special.
//
// The sequence space of the sender, in order: `sendUnacknowledged` (SND.UNA), then what is in flight, with what the peer
// reported to have (`selected`), up to `sendNext` (SND.NXT, which never goes back), then what waits in the ring. The
// FIN, once asked for, has the number behind the ring's last byte (`dataEnd`).

/// How the sender sees losses.
enum LossState: Equatable {
  /// Nothing is known to be lost.
  case open
  /// Fast recovery, until everything below the point is acknowledged (RFC 6675, 6582).
  case recovery(until: SequenceNumber)
  /// After a timeout: everything below the point that the peer did not report counts as lost.
  case timedOut(until: SequenceNumber)
}

/// One connection.
public final class TCPConnection {
  /// Our end.
  public let local: Endpoint
  /// The peer's end.
  public let remote: Endpoint
  /// Its own copy.
  var configuration: TCPConfiguration
  /// Where the connection is in its life.
  public internal(set) var state: TCPState
  /// Why the connection ended, if not as asked for.
  public internal(set) var error: TCPError?
  /// Whether it came from a listener.
  let isPassive: Bool
  /// What names it in its stack, once it has a place there.
  var handle: TCPHandle?
  /// Whether something has happened that the application may want to know.
  var hasNews = false
  /// Whether an acknowledgement is such a thing.
  var tellsProgress = false
  /// Whether the application has let go of it: nobody reads any more.
  var isReleased = false

  // What was agreed on.
  /// Payload and options bytes of a full segment: the smaller of the peer's MSS and what the path takes.
  var segmentLimit: Int
  var hasTimestamps: Bool
  var hasSelective: Bool
  var hasScaling: Bool
  var sendShift = 0
  var receiveShift = 0
  /// Our own MSS as we tell it.
  let offeredSegmentSize: Int

  // Sending.
  let initialSend: SequenceNumber
  var sendUnacknowledged: SequenceNumber
  var sendNext: SequenceNumber
  var sendWindow = 0
  var largestSendWindow = 0
  /// SND.WL1 and SND.WL2: the segment that set the window last.
  var windowSequence = SequenceNumber(0)
  var windowAcknowledgement = SequenceNumber(0)
  let sendQueue: SendQueue
  /// The sequence number of the ring's first byte.
  var dataStart: SequenceNumber
  var isFinishAsked = false
  let controller: any CongestionController
  var estimator: RoundTripEstimator
  /// A segment whose round trip is measured where there are no timestamps (Karn: never one sent twice).
  var timedSegment: (end: SequenceNumber, sent: Instant)?
  var lastSent: Instant

  // Losses.
  var loss = LossState.open
  var selected = SequenceRanges(capacity: 64)
  /// Everything below it that was not selected counts as lost.
  var lostEdge: SequenceNumber
  /// Everything below it has been sent again in this episode (HighRxt).
  var retransmittedEdge: SequenceNumber
  var duplicates = 0
  /// The first segment of an episode goes out whatever the window says.
  var mustRetransmit = false
  var hasRescued = false
  var retransmissions = 0

  // Receiving.
  var initialReceive = SequenceNumber(0)
  var receiveNext = SequenceNumber(0)
  var receiveRing: ByteRing
  var outOfOrder = SequenceRanges(capacity: 32)
  /// Numbers in ranges out of order, latest first: which are told first (RFC 2018, 4).
  var recent: [SequenceNumber] = []
  /// The right edge of the window as the peer knows it; it never goes back.
  var advertisedEdge = SequenceNumber(0)
  var finish: SequenceNumber?
  var recentTimestamp: UInt32 = 0
  var recentTimestampTaken = Instant.zero
  var lastAcknowledgementSent = SequenceNumber(0)
  let timestampOffset: UInt32

  // What is owed to the peer.
  var mustSynchronize = false
  var mustAcknowledge = false
  /// Acknowledgements that may not be merged: each tells the peer of one more segment that came (RFC 5681, 3.2).
  var unmergedAcknowledgements = 0
  var mustProbe = false
  var mustProbeAlive = false
  var overridesAvoidance = false
  var resetToSend: (sequence: SequenceNumber, acknowledges: Bool)?
  var fullSegmentsUnacknowledged = 0

  // Timers.
  var retransmitAt: Instant?
  var acknowledgeAt: Instant?
  var endAt: Instant?
  var probeAliveAt: Instant?
  var aliveProbes = 0
  var challengedAt: Instant?

  private init(
    local: Endpoint, remote: Endpoint, configuration: TCPConfiguration, budget: MemoryBudget, state: TCPState,
    isPassive: Bool, initialSend: SequenceNumber, timestampOffset: UInt32, segmentLimit: Int, now: Instant
  ) {
    self.local = local
    self.remote = remote
    self.configuration = configuration
    self.state = state
    self.isPassive = isPassive
    self.initialSend = initialSend
    self.timestampOffset = timestampOffset
    self.segmentLimit = segmentLimit
    offeredSegmentSize = segmentLimit
    hasTimestamps = configuration.usesTimestamps
    hasSelective = configuration.usesSelectiveAcknowledgement
    hasScaling = configuration.usesWindowScaling
    sendUnacknowledged = initialSend
    sendNext = initialSend
    dataStart = initialSend + 1
    lostEdge = initialSend
    retransmittedEdge = initialSend
    sendQueue = SendQueue(capacity: configuration.sendBuffer, budget: budget)
    // A window is told in units of its scale and rounded up, so that it never shrinks; a unit more has to fit.
    let shift = configuration.usesWindowScaling ? Self.shift(for: configuration.receiveBuffer) : 0
    receiveRing = ByteRing(capacity: configuration.receiveBuffer + 1 << shift, budget: budget)
    receiveShift = shift
    controller = configuration.makeController()
    estimator = RoundTripEstimator(
      initial: configuration.initialTimeout, minimum: configuration.minimumTimeout,
      maximum: configuration.maximumTimeout)
    lastSent = now
  }

  /// Opens actively: a SYN is owed.
  ///
  /// The initial sequence number and the offset of timestamps are such as nobody can guess (RFC 6528); the limit of
  /// segments is what the link's MTU leaves for TCP's options and payload.
  convenience init(
    connecting local: Endpoint, to remote: Endpoint, _ configuration: TCPConfiguration, _ budget: MemoryBudget,
    initialSend: SequenceNumber, timestampOffset: UInt32, segmentLimit: Int, now: Instant
  ) {
    self.init(
      local: local, remote: remote, configuration: configuration, budget: budget, state: .synSent, isPassive: false,
      initialSend: initialSend, timestampOffset: timestampOffset, segmentLimit: segmentLimit, now: now)
    mustSynchronize = true
  }

  /// Opens passively, out of a SYN that came to a listener: a SYN with an acknowledgement is owed.
  convenience init(
    accepting local: Endpoint, from remote: Endpoint, _ configuration: TCPConfiguration, _ budget: MemoryBudget,
    synchronize: TCPHeader, initialSend: SequenceNumber, timestampOffset: UInt32, segmentLimit: Int, now: Instant
  ) {
    self.init(
      local: local, remote: remote, configuration: configuration, budget: budget, state: .synReceived, isPassive: true,
      initialSend: initialSend, timestampOffset: timestampOffset, segmentLimit: segmentLimit, now: now)
    takeSynchronize(synchronize, now)
    mustSynchronize = true
  }

  /// The smallest shift with which a window of so many bytes can be told (RFC 7323, 2.3).
  private static func shift(for window: Int) -> Int {
    var shift = 0
    while shift < 14, window >> shift > 65_535 { shift += 1 }
    return shift
  }

  /// The number of the FIN, sent or not.
  var dataEnd: SequenceNumber { dataStart + sendQueue.count }
  var isFinishSent: Bool { isFinishAsked && sendNext > dataEnd }
  var inFlight: Int { sendNext - sendUnacknowledged }
  /// Payload bytes of a full segment without selective acknowledgements.
  var segmentSize: Int { max(1, segmentLimit - (hasTimestamps ? 12 : 0)) }
  /// What may still come without our having to say more.
  var receiveWindow: Int { max(0, advertisedEdge - receiveNext) }

  /// Whether both sides have synchronized.
  var isSynchronized: Bool {
    switch state {
    case .closed, .synSent, .synReceived: false
    case .established, .finWait1, .finWait2, .closeWait, .closing, .lastAck, .timeWait: true
    }
  }

  /// The clock of our timestamps: milliseconds from an offset that the peer cannot know.
  func timestamp(_ now: Instant) -> UInt32 {
    UInt32(truncatingIfNeeded: now.wholeMilliseconds) &+ timestampOffset
  }

  /// Ends the connection at once; buffers of what was not read stay until the application lets go.
  func end(_ reason: TCPError?) {
    state = .closed
    hasNews = true
    if error == nil { error = reason }
    sendQueue.release()
    dataStart = sendNext
    selected.removeAll()
    outOfOrder.removeAll()
    mustSynchronize = false
    mustAcknowledge = false
    unmergedAcknowledgements = 0
    mustProbe = false
    mustProbeAlive = false
    mustRetransmit = false
    retransmitAt = nil
    acknowledgeAt = nil
    endAt = nil
    probeAliveAt = nil
    if reason != nil || isReleased { receiveRing.release() }
  }

  /// Both sides have closed: the numbers are remembered for a while, the buffers are not (RFC 9293, 3.6.1).
  func enterTimeWait(_ now: Instant) {
    state = .timeWait
    retransmitAt = nil
    probeAliveAt = nil
    endAt = now + configuration.timeWait
    sendQueue.release()
    if isReleased { receiveRing.release() }
  }
}
