// SPDX-License-Identifier: Apache-2.0
// TCPConfiguration.swift: what an application may choose about its connections.

/// When a silent peer is asked whether it is still there (RFC 9293, 3.8.4).
public struct KeepAlive: Sendable {
  /// Silence before the first probe.
  public var idle: TimeSpan
  /// Time between probes.
  public var interval: TimeSpan
  /// Unanswered probes after which the connection is given up.
  public var count: Int

  /// Two hours, 75 seconds, nine probes, unless said.
  public init(idle: TimeSpan = .seconds(7200), interval: TimeSpan = .seconds(75), count: Int = 9) {
    self.idle = idle
    self.interval = interval
    self.count = count
  }
}

/// How connections behave; each has its own copy.
public struct TCPConfiguration {
  /// Bytes that the application may have written and the peer not acknowledged.
  public var sendBuffer = 1 << 18
  /// Bytes that the peer may have sent and the application not read.
  public var receiveBuffer = 1 << 18
  /// Whether timestamps are offered (RFC 7323).
  public var usesTimestamps = true
  /// Whether selective acknowledgement is offered (RFC 2018).
  public var usesSelectiveAcknowledgement = true
  /// Whether window scaling is offered (RFC 7323).
  public var usesWindowScaling = true
  /// Whether small segments go out at once instead of waiting for acknowledgements (Nagle's algorithm off).
  public var sendsAtOnce = false
  /// How long an acknowledgement may wait for company; below 500 ms (RFC 9293, 3.8.6.3); zero: none waits.
  public var acknowledgementDelay = TimeSpan.milliseconds(40)
  /// The retransmission timeout before anything has been measured (RFC 6298, 2.1).
  public var initialTimeout = TimeSpan.seconds(1)
  /// The shortest retransmission timeout.
  ///
  /// RFC 6298, 2.4 says one second; like most stacks we wait less.
  public var minimumTimeout = TimeSpan.milliseconds(200)
  /// The longest retransmission timeout.
  public var maximumTimeout = TimeSpan.seconds(60)
  /// How often a SYN is sent again before the attempt is given up.
  public var synchronizeRetries = 6
  /// How often the same data is sent again before the connection is given up.
  public var retries = 15
  /// Probes of silent peers, if any.
  public var keepAlive: KeepAlive?
  /// How long a closed connection's numbers are remembered (2 MSL).
  public var timeWait = TimeSpan.seconds(60)
  /// How long a peer may take to close its side once the application has let go of the connection.
  public var finishWait = TimeSpan.seconds(60)
  /// Takes bytes as they come in order, instead of the receive buffer; nil: they are read from there.
  public var receiver: (any StreamReceiver)?
  /// The first bytes of a frame that a link which gathers copies, before it needs a part for more.
  public var copiedByLink = 128
  /// The congestion controller of a new connection.
  public var makeController: () -> any CongestionController = { Cubic() }

  /// The defaults.
  public init() {}
}

/// Takes a connection's bytes where the link has put them, without a buffer between.
///
/// A class, since Embedded Swift has existential types of classes only.
public protocol StreamReceiver: AnyObject {
  /// Bytes have come, in order, and there are none before them in the receive buffer.
  ///
  /// The connection may be written to and finished here; what has to be sent goes with the next poll.
  ///
  /// - Parameters:
  ///   - bytes: The bytes; they are gone when this returns.
  ///   - connection: Whose they are; perhaps one that was not accepted yet.
  /// - Returns: How many were taken; the others wait in the receive buffer, to be read.
  func received(_ bytes: Span<UInt8>, by connection: TCPHandle) -> Int
}

/// What ended a connection, or keeps a call from doing what it is asked for.
public enum TCPError: Error, Equatable, Sendable {
  /// The peer refused the connection.
  case refused
  /// The peer reset the connection.
  case reset
  /// The peer did not answer any more.
  case timedOut
  /// The destination cannot be reached.
  case unreachable
  /// There is no such connection, or it was ended by the caller.
  case notConnected
  /// The caller has finished sending already.
  case finished
  /// There is no room for another connection, or no free port.
  case exhausted
  /// The port is in use.
  case inUse
}

/// The states of RFC 9293, 3.3.2.
///
/// LISTEN is a `Listener`'s, not a connection's.
public enum TCPState: Equatable, Sendable {
  /// CLOSED.
  case closed
  /// SYN-SENT.
  case synSent
  /// SYN-RECEIVED.
  case synReceived
  /// ESTABLISHED.
  case established
  /// FIN-WAIT-1.
  case finWait1
  /// FIN-WAIT-2.
  case finWait2
  /// CLOSE-WAIT.
  case closeWait
  /// CLOSING.
  case closing
  /// LAST-ACK.
  case lastAck
  /// TIME-WAIT.
  case timeWait
}
