// SPDX-License-Identifier: Apache-2.0
// AddressScope.swift: which of our addresses a socket answers for.

/// The addresses that a listener or a datagram socket is bound to.
public struct AddressScope: Equatable, Sendable {
  /// The only address; nil: all of the versions below.
  public var address: IPAddress?
  /// Whether packets of IPv4 are taken.
  public var takesVersion4: Bool
  /// Whether packets of IPv6 are taken.
  public var takesVersion6: Bool

  /// A scope.
  ///
  /// - Parameters:
  ///   - address: The only address; nil for all.
  ///   - takesVersion4: Whether packets of IPv4 are taken.
  ///   - takesVersion6: Whether packets of IPv6 are taken.
  public init(_ address: IPAddress? = nil, takesVersion4: Bool = true, takesVersion6: Bool = true) {
    self.address = address
    self.takesVersion4 = takesVersion4
    self.takesVersion6 = takesVersion6
  }

  /// Every address of both versions.
  public static let all = AddressScope()

  /// Whether packets to an address are meant; a group or everybody is meant by whoever has no address of its own.
  func covers(_ destination: IPAddress) -> Bool {
    if let address { return address == destination }
    if case .v4 = destination { return takesVersion4 }
    return takesVersion6
  }

  /// Whether there is an address that both cover, this one and another.
  public func overlaps(_ other: AddressScope) -> Bool {
    guard let address else {
      guard let theirs = other.address else {
        return takesVersion4 && other.takesVersion4 || takesVersion6 && other.takesVersion6
      }
      return covers(theirs)
    }
    return other.covers(address)
  }
}
