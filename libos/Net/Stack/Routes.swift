// SPDX-License-Identifier: Apache-2.0
// Routes.swift: our addresses, and where packets go next.

/// An IPv4 address of ours and the network it is in.
public struct IPv4Configuration: Equatable, Sendable {
  /// The address.
  public var address: IPv4Address
  /// How many bits of it name the network, 0 to 32.
  public var prefixLength: Int
  /// The router to everywhere else, if there is one.
  public var router: IPv4Address?

  /// An address, its network and its router.
  public init(_ address: IPv4Address, prefixLength: Int, router: IPv4Address? = nil) {
    self.address = address
    self.prefixLength = max(0, min(32, prefixLength))
    self.router = router
  }

  var mask: UInt32 { prefixLength == 0 ? 0 : ~UInt32(0) << UInt32(32 - prefixLength) }
  func isOnLink(_ other: IPv4Address) -> Bool { (other.bits ^ address.bits) & mask == 0 }
  /// The network's directed broadcast; networks of two or one address have none (RFC 3021).
  var broadcast: IPv4Address? { prefixLength > 30 ? nil : IPv4Address(address.bits | ~mask) }
}

/// An IPv6 address of ours.
struct IPv6Assignment: Equatable {
  var address: IPv6Address
  var prefixLength: Int
  /// Not yet known to be nobody else's: it is looked for and not used (RFC 4862, 5.4).
  var isTentative: Bool
  var tentativeUntil: Instant
  /// When it may be used no more.
  var validUntil: Instant?
  /// When it is to be used for nothing new, and whether that has come.
  var preferredUntil: Instant?
  var isDeprecated = false
}

/// A route to a network behind a router.
struct Route: Equatable {
  var network: IPv4Address
  var prefixLength: Int
  var router: IPv4Address

  func covers(_ address: IPv4Address) -> Bool {
    prefixLength == 0 || (address.bits ^ network.bits) >> UInt32(32 - prefixLength) == 0
  }
}

/// Where a packet goes next.
enum NextHop: Equatable {
  /// Back to us.
  case ourselves
  /// Everybody on the link, or a group.
  case group(MACAddress)
  /// A neighbour whose Ethernet address has to be known.
  case neighbour(IPAddress)
}
