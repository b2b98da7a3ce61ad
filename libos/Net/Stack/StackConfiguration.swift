// SPDX-License-Identifier: Apache-2.0
// StackConfiguration.swift: what a stack is told at its beginning, its bounds among it, and what it counts.

/// What a stack is told at its beginning.
public struct StackConfiguration {
  /// Our Ethernet address.
  public var hardwareAddress: MACAddress
  /// The largest IP packet of the link, in bytes.
  public var maximumPacket = 1500
  /// 128 random bits, of which everything unpredictable is made.
  public var secret: Secret
  /// What all connections' and sockets' buffers may take together, in bytes.
  public var memoryLimit = 64 << 20
  /// How many connections there may be, those in TIME-WAIT among them.
  public var maximumConnections = 8192
  /// How many frames may wait to be taken by the link.
  public var maximumQueuedFrames = 1024
  /// How many neighbours are remembered.
  public var maximumNeighbours = 128
  /// What incomplete IPv4 packets may take together, in bytes.
  public var reassemblyLimit = 256 << 10
  /// What new connections are given unless said otherwise.
  public var tcp = TCPConfiguration()

  /// The defaults.
  ///
  /// - Parameters:
  ///   - hardwareAddress: Our Ethernet address.
  ///   - secret: 128 random bits.
  public init(hardwareAddress: MACAddress, secret: Secret) {
    self.hardwareAddress = hardwareAddress
    self.secret = secret
  }
}

/// What a stack has seen; every frame that is dropped is counted by its reason.
public struct StackStatistics: Equatable, Sendable {
  /// Frames that came.
  public var framesReceived = 0
  /// Frames that went out.
  public var framesSent = 0
  /// Frames dropped since they are for somebody else.
  public var foreign = 0
  /// Frames dropped since their form is wrong.
  public var malformed = 0
  /// Packets dropped for a wrong checksum.
  public var badChecksums = 0
  /// Packets dropped since nobody wants them.
  public var unwanted = 0
  /// Packets and connection attempts dropped for want of room.
  public var overflows = 0
  /// Packets not sent for want of a route or a neighbour.
  public var unroutable = 0
  /// Fragments dropped: overlapping, too many, too old.
  public var fragmentsDropped = 0
  /// SYNs answered with a cookie.
  public var cookiesSent = 0
  /// Connections made out of a cookie.
  public var cookiesTaken = 0
}
