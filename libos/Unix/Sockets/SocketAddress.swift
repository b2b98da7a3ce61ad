// SPDX-License-Identifier: Apache-2.0
// SocketAddress.swift: names of sockets, and `struct sockaddr` of each family (unix(7), ip(7), ipv6(7)).

import ApusNet
import ApusRuntime

/// The families of sockets that exist, with Linux's numbers.
public enum SocketFamily: Int, Sendable {
  /// AF_UNIX: on this machine.
  case local = 1
  /// AF_INET.
  case internet = 2
  /// AF_INET6.
  case internet6 = 10
}

/// What a socket can be called.
public enum SocketAddress: Equatable {
  /// AF_UNSPEC, by which a socket is disconnected.
  case unspecified
  /// AF_UNIX without a name.
  case unnamed
  /// AF_UNIX with a name in the file tree.
  case path([UInt8])
  /// AF_UNIX with a name of its own name space, which begins behind a zero byte.
  case abstract([UInt8])
  /// AF_INET or AF_INET6, by the address's version.
  case internet(Endpoint)

  private static var pathLimit: Int { 108 }

  /// Reads a `struct sockaddr`.
  ///
  /// - Throws: `EINVAL` if it is too short or too long for its family, `EAFNOSUPPORT` for other families.
  public init(_ bytes: Bytes) throws(Errno) {
    guard bytes.count >= 2 else { throw .EINVAL }
    switch Int(bytes.load(0, as: UInt16.self)) {
    case 0: self = .unspecified
    case SocketFamily.local.rawValue:
      guard bytes.count <= 2 + Self.pathLimit else { throw .EINVAL }
      self = Self.local(bytes.from(2))
    case SocketFamily.internet.rawValue:
      guard bytes.count >= 16 else { throw .EINVAL }
      let address = IPv4Address(UInt32(bigEndian: bytes.load(4, as: UInt32.self)))
      self = .internet(Endpoint(.v4(address), UInt16(bigEndian: bytes.load(2, as: UInt16.self))))
    case SocketFamily.internet6.rawValue:
      // A scope may be missing (ipv6(7): RFC 2133's structure).
      guard bytes.count >= 24 else { throw .EINVAL }
      self = .internet(
        Endpoint(.v6(IPv6Address(bytes.part(8, 16))), UInt16(bigEndian: bytes.load(2, as: UInt16.self))))
    default: throw .EAFNOSUPPORT
    }
  }

  private static func local(_ name: Bytes) -> SocketAddress {
    guard name.count > 0 else { return .unnamed }
    if name[0] == 0 { return .abstract(name.from(1).array) }
    var length = 0
    while length < name.count && name[length] != 0 { length += 1 }
    return .path(name.part(0, length).array)
  }

  /// The family whose addresses look so; nil: none in particular.
  public var family: SocketFamily? {
    switch self {
    case .unspecified: nil
    case .unnamed, .path, .abstract: .local
    case .internet(let endpoint):
      if case .v4 = endpoint.address { .internet } else { .internet6 }
    }
  }

  /// The `struct sockaddr`.
  public var encoded: [UInt8] {
    var bytes: [UInt8] = []
    func append16(_ value: UInt16) { bytes += [UInt8(value & 0xff), UInt8(value >> 8)] }
    append16(UInt16(family?.rawValue ?? 0))
    switch self {
    case .unspecified: bytes += [UInt8](repeating: 0, count: 14)
    case .unnamed: break
    case .path(let path):
      bytes += path
      bytes.append(0)
    case .abstract(let name):
      bytes.append(0)
      bytes += name
    case .internet(let endpoint):
      append16(endpoint.port.bigEndian)
      switch endpoint.address {
      case .v4(let address):
        for shift in [24, 16, 8, 0] as [UInt32] { bytes.append(UInt8(address.bits >> shift & 0xff)) }
        bytes += [UInt8](repeating: 0, count: 8)
      case .v6(let address):
        bytes += [0, 0, 0, 0]
        bytes += address.bytes
        bytes += [0, 0, 0, 0]
      }
    }
    return bytes
  }
}

extension IPv6Address {
  /// Reads the sixteen bytes of an address.
  init(_ bytes: Bytes) {
    self.init(
      high: UInt64(bigEndian: bytes.load(0, as: UInt64.self)), low: UInt64(bigEndian: bytes.load(8, as: UInt64.self)))
  }

  /// The sixteen bytes.
  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    for half in [high, low] {
      var shift: UInt64 = 64
      while shift > 0 {
        shift -= 8
        bytes.append(UInt8(half >> shift & 0xff))
      }
    }
    return bytes
  }

  /// An IPv4 address as sockets of version 6 show it (RFC 4291, 2.5.5.2).
  init(mapping address: IPv4Address) { self.init(high: 0, low: 0xffff_0000_0000 | UInt64(address.bits)) }

  /// The IPv4 address that this one stands for, if it does.
  var mapped: IPv4Address? {
    high == 0 && low >> 32 == 0xffff ? IPv4Address(UInt32(truncatingIfNeeded: low)) : nil
  }
}
