// SPDX-License-Identifier: Apache-2.0
// Addresses.swift: addresses of Ethernet, IPv4 and IPv6 as values.

/// An Ethernet address.
public struct MACAddress: Equatable, Sendable {
  /// The address in the low 48 bits.
  public let bits: UInt64

  /// The address in the low 48 bits; the others are dropped.
  public init(_ bits: UInt64) { self.bits = bits & 0xffff_ffff_ffff }

  static let broadcast = MACAddress(0xffff_ffff_ffff)
  var isMulticast: Bool { bits >> 40 & 1 == 1 }

  init(_ bytes: Span<UInt8>, at offset: Int) {
    bits = UInt64(bytes.big16(offset)) << 32 | UInt64(bytes.big32(offset + 2))
  }

  func append(to packet: inout [UInt8]) {
    packet.append16(UInt16(bits >> 32))
    packet.append32(UInt32(bits & 0xffff_ffff))
  }
}

/// An IPv4 address.
public struct IPv4Address: Equatable, Sendable {
  /// The address with its first byte on top.
  public let bits: UInt32

  /// The address with its first byte on top.
  public init(_ bits: UInt32) { self.bits = bits }

  /// The address written `a.b.c.d`.
  public init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
    bits = UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d)
  }

  static let any = IPv4Address(0)
  static let broadcast = IPv4Address(0xffff_ffff)
  var isMulticast: Bool { bits >> 28 == 0xe }
  var isLoopback: Bool { bits >> 24 == 127 }
  /// Whether one host can have it: not "any", not a group, not of the reserved block above.
  var isUnicast: Bool { bits != 0 && bits >> 28 < 0xe }

  /// The Ethernet group of an IPv4 group (RFC 1112, 6.4).
  var group: MACAddress { MACAddress(0x0100_5e00_0000 | UInt64(bits & 0x7f_ffff)) }
}

/// An IPv6 address.
public struct IPv6Address: Equatable, Sendable {
  /// The first eight bytes.
  public let high: UInt64
  /// The last eight bytes.
  public let low: UInt64

  /// The address of two halves.
  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  init(_ bytes: Span<UInt8>, at offset: Int) {
    high = bytes.big64(offset)
    low = bytes.big64(offset + 8)
  }

  func append(to packet: inout [UInt8]) {
    packet.append64(high)
    packet.append64(low)
  }

  static let any = IPv6Address(high: 0, low: 0)
  static let loopback = IPv6Address(high: 0, low: 1)
  static let allNodes = IPv6Address(high: 0xff02 << 48, low: 1)
  static let allRouters = IPv6Address(high: 0xff02 << 48, low: 2)
  var isMulticast: Bool { high >> 56 == 0xff }
  var isLinkLocal: Bool { high >> 54 == 0xfe80 >> 6 }
  var isLoopback: Bool { self == .loopback }
  var isUnicast: Bool { !isMulticast && self != .any }

  /// The group in which a host with this address is looked for (RFC 4291, 2.7.1).
  var solicitedNode: IPv6Address { IPv6Address(high: 0xff02 << 48, low: 0x1_ff00_0000 | low & 0xff_ffff) }
  /// The Ethernet group of an IPv6 group (RFC 2464, 7).
  var group: MACAddress { MACAddress(0x3333_0000_0000 | low & 0xffff_ffff) }

  /// Whether the first `length` bits are those of `other`.
  func hasPrefix(_ other: IPv6Address, length: Int) -> Bool {
    let highMask = length >= 64 ? ~0 : ~(~UInt64(0) >> UInt64(max(0, length)))
    let lowMask = length >= 128 ? ~0 : length <= 64 ? 0 : ~(~UInt64(0) >> UInt64(length - 64))
    return (high ^ other.high) & highMask == 0 && (low ^ other.low) & lowMask == 0
  }
}

/// An address of either version.
public enum IPAddress: Equatable, Sendable {
  /// Version 4.
  case v4(IPv4Address)
  /// Version 6.
  case v6(IPv6Address)

  /// Whether one host can have it.
  var isUnicast: Bool {
    switch self {
    case .v4(let address): address.isUnicast
    case .v6(let address): address.isUnicast
    }
  }

  var isLoopback: Bool {
    switch self {
    case .v4(let address): address.isLoopback
    case .v6(let address): address.isLoopback
    }
  }

  var isAny: Bool { self == .v4(.any) || self == .v6(.any) }

  /// The words that a hash of the address takes.
  var words: (UInt64, UInt64) {
    switch self {
    case .v4(let address): (0xffff_0000_0000 | UInt64(address.bits), 0)
    case .v6(let address): (address.low, address.high)
    }
  }
}

/// One end of a transport: an address and a port.
public struct Endpoint: Equatable, Sendable {
  /// The host.
  public var address: IPAddress
  /// The port, in the machine's byte order.
  public var port: UInt16

  /// One end.
  public init(_ address: IPAddress, _ port: UInt16) {
    self.address = address
    self.port = port
  }
}

/// The numbers of protocols above IP that are known here.
struct IPProtocol: Equatable {
  let rawValue: UInt8

  static let icmp = IPProtocol(rawValue: 1)
  static let tcp = IPProtocol(rawValue: 6)
  static let udp = IPProtocol(rawValue: 17)
  static let icmpv6 = IPProtocol(rawValue: 58)
}
