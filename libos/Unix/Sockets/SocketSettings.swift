// SPDX-License-Identifier: Apache-2.0
// SocketSettings.swift: what setsockopt(2) keeps for every socket, the flags of its calls, and who is at its other end.

/// The types of sockets, with Linux's numbers.
public enum SocketType: Int {
  /// SOCK_STREAM.
  case stream = 1
  /// SOCK_DGRAM.
  case datagram = 2
  /// SOCK_RAW.
  case raw = 3
  /// SOCK_SEQPACKET.
  case sequence = 5
}

/// Options of the level SOL_SOCKET (socket(7)).
public struct SocketSettings {
  /// SO_REUSEADDR.
  public var reusesAddress = false
  /// SO_REUSEPORT.
  public var reusesPort = false
  /// SO_KEEPALIVE.
  public var keepsAlive = false
  /// SO_BROADCAST.
  public var mayBroadcast = false
  /// SO_OOBINLINE.
  public var showsUrgentInline = false
  /// SO_DONTROUTE.
  public var avoidsRouters = false
  /// SO_PASSCRED.
  public var passesCredentials = false
  /// SO_TIMESTAMP.
  public var stampsTime = false
  /// SO_LINGER: seconds; nil: off.
  public var linger: Int32?
  /// SO_SNDBUF in bytes: twice what was asked for, as Linux counts.
  public var sendBuffer = 212_992
  /// SO_RCVBUF in bytes.
  public var receiveBuffer = 212_992
  /// SO_RCVLOWAT in bytes.
  public var lowMark: Int32 = 1
  /// SO_RCVTIMEO in nanoseconds; 0: for ever.
  public var receiveTimeout: UInt64 = 0
  /// SO_SNDTIMEO in nanoseconds; 0: for ever.
  public var sendTimeout: UInt64 = 0
  /// SO_PRIORITY.
  public var priority: Int32 = 0
  /// SO_MARK.
  public var mark: Int32 = 0
}

/// Flags of send(2) and recv(2).
public struct MessageFlags: Equatable {
  /// The bits.
  public var rawValue: UInt32
  /// A set from its bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// No flag.
  public static var none: MessageFlags { .init(rawValue: 0) }
  /// MSG_OOB.
  public static var urgent: MessageFlags { .init(rawValue: 1) }
  /// MSG_PEEK.
  public static var peek: MessageFlags { .init(rawValue: 2) }
  /// MSG_CTRUNC.
  public static var controlTruncated: MessageFlags { .init(rawValue: 8) }
  /// MSG_TRUNC.
  public static var truncated: MessageFlags { .init(rawValue: 0x20) }
  /// MSG_DONTWAIT.
  public static var doNotWait: MessageFlags { .init(rawValue: 0x40) }
  /// MSG_EOR.
  public static var endOfRecord: MessageFlags { .init(rawValue: 0x80) }
  /// MSG_WAITALL.
  public static var waitForAll: MessageFlags { .init(rawValue: 0x100) }
  /// MSG_ERRQUEUE.
  public static var errorQueue: MessageFlags { .init(rawValue: 0x2000) }
  /// MSG_NOSIGNAL.
  public static var noSignal: MessageFlags { .init(rawValue: 0x4000) }
  /// MSG_CMSG_CLOEXEC.
  public static var closeOnExec: MessageFlags { .init(rawValue: 0x4000_0000) }

  /// Whether every bit of `other` is set.
  public func contains(_ other: MessageFlags) -> Bool { rawValue & other.rawValue == other.rawValue }
  /// Both together.
  public func union(_ other: MessageFlags) -> MessageFlags { .init(rawValue: rawValue | other.rawValue) }
}

/// Who is at the other end of a socket (`struct ucred`).
public struct PeerCredentials: Equatable {
  /// The process's id.
  public var process: Int32
  /// The user's id.
  public var user: UInt32
  /// The group's id.
  public var group: UInt32

  /// Who it is.
  public init(process: Int32, user: UInt32, group: UInt32) {
    self.process = process
    self.user = user
    self.group = group
  }

  /// What stands for nobody: no process, and the ids of nobody (65534 is what Linux shows for -1).
  public static var nobody: PeerCredentials { PeerCredentials(process: 0, user: .max, group: .max) }
}

/// What a socket's call needs to know of its caller.
public struct SocketCaller {
  /// Walks paths for it, with its credentials.
  public let walker: PathWalker
  /// How it is shown to the other end.
  public let credentials: PeerCredentials

  /// A caller.
  public init(walker: PathWalker, credentials: PeerCredentials) {
    self.walker = walker
    self.credentials = credentials
  }
}
