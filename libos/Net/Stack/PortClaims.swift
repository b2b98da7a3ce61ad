// SPDX-License-Identifier: Apache-2.0
// PortClaims.swift: ports as a resource of the machine: what a stack claims of the packets that arrive.

/// What carries a port.
public enum PortTransport: Equatable, Sendable {
  /// TCP.
  case tcp
  /// UDP.
  case udp
}

/// Packets to a port of ours.
public struct PortClaim: Equatable, Sendable {
  /// What carries the port.
  public var transport: PortTransport
  /// Our port.
  public var port: UInt16
  /// The only peer whose packets are claimed; nil: everybody's.
  public var remote: Endpoint?

  /// Packets to a port, from one peer or from all.
  public init(_ transport: PortTransport, _ port: UInt16, from remote: Endpoint? = nil) {
    self.transport = transport
    self.port = port
    self.remote = remote
  }
}

/// Brings packets to a stack that shares its card with others: the protocol that whoever holds the card's filters
/// conforms to.
///
/// A class, since Embedded Swift has existential types of classes only.
public protocol PortClaims: AnyObject {
  /// Brings packets for a port; the same may be claimed again, and is then to be released as often.
  ///
  /// - Returns: Whether they are ours from now on; not if somebody else has them.
  func claim(_ claim: PortClaim) -> Bool
  /// Ends a claim.
  func release(_ claim: PortClaim)
  /// The address that all claims are for is another one, or there is none.
  func addressChanged(to address: IPv4Configuration?)
}

extension NetworkStack {
  func claim(_ claim: PortClaim) -> Bool { claims?.claim(claim) ?? true }

  /// Ends what a connection's slot has claimed: its listener's port, or its own peer's packets.
  func releaseClaim(of connection: TCPConnection, wasAccepted: Bool) {
    claims?.release(
      PortClaim(.tcp, connection.local.port, from: wasAccepted ? nil : connection.remote))
  }
}
