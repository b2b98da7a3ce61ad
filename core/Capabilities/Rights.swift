// SPDX-License-Identifier: Apache-2.0
// Rights.swift: what the holder of a capability may do with the resources that it reaches.

import CApusABI

/// A set of rights. (`OptionSet` mentions arrays, which the kernel cannot have.)
public struct Rights: Equatable, Sendable {
  /// One bit for each right, as in `apus_capability.rights`.
  public let rawValue: UInt8

  /// Takes the bits as they are; `isKnown` tells whether each has a meaning.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// No right at all.
  public static var none: Rights { Rights(rawValue: 0) }
  /// May map a frame, read its contents.
  public static var read: Rights { Rights(rawValue: UInt8(APUS_RIGHT_READ)) }
  /// May map a frame writable, free it, guard it, make a table of it; may change an environment.
  public static var write: Rights { Rights(rawValue: UInt8(APUS_RIGHT_WRITE)) }
  /// May be copied into another environment's list.
  public static var grant: Rights { Rights(rawValue: UInt8(APUS_RIGHT_GRANT)) }
  /// Every right.
  public static var all: Rights { read.union(write).union(grant) }

  /// Whether every bit has a meaning.
  public var isKnown: Bool { isSubset(of: .all) }

  /// Whether `other` holds every right of this set.
  public func isSubset(of other: Rights) -> Bool { rawValue & ~other.rawValue == 0 }

  /// Whether this set holds every right of `other`.
  public func contains(_ other: Rights) -> Bool { other.isSubset(of: self) }

  /// The rights of both.
  public func union(_ other: Rights) -> Rights { Rights(rawValue: rawValue | other.rawValue) }
}
