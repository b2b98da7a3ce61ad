// SPDX-License-Identifier: Apache-2.0
// Capability.swift: a hierarchical name with rights, and what it dominates.
//
// A name is a string of up to eight bytes, kept with its first byte in the top bits and zeroes after its end.
// A name dominates every name that it is a prefix of, itself included: the empty name dominates all. The bytes
// may have any value, zero too, so lengths are always compared along with the bits.

import ApusABI
import CApusABI

/// The bits that a name of `length` bytes may have set.
public func nameMask(length: UInt8) -> UInt64 {
  // A shift by 64 gives 0 in Swift, so a full name's mask has every bit.
  ~(UInt64.max >> (8 * UInt64(length)))
}

/// A valid capability: at most eight bytes of name, zeroes after it, known rights.
public struct Capability: Equatable, Sendable {
  /// The bytes of the name, first byte in the top bits.
  public let name: UInt64
  /// How many bytes the name has.
  public let length: UInt8
  /// What the holder may do.
  public let rights: Rights

  /// Makes a capability from parts.
  ///
  /// - Returns: Nothing if the name is longer than eight bytes or has bits after its end, or a right is unknown.
  public init?(name: UInt64, length: UInt8, rights: Rights) {
    guard length <= 8, name & ~nameMask(length: length) == 0, rights.isKnown else { return nil }
    self.name = name
    self.length = length
    self.rights = rights
  }

  /// Reads a slot of a capability list, which only ever held what `record` made: nothing is checked again.
  ///
  /// - Returns: Nothing if the slot is empty.
  public init?(_ record: apus_capability) {
    guard record.valid != 0 else { return nil }
    name = record.name
    length = record.length
    rights = Rights(rawValue: record.rights)
  }

  /// The shape in which a capability lies in an environment's list.
  public var record: apus_capability {
    var record = apus_capability()
    record.name = name
    record.length = length
    record.rights = rights.rawValue
    record.valid = 1
    return record
  }

  /// The bits in which a guard must equal the name to be dominated.
  public var mask: UInt64 { nameMask(length: length) }

  /// Whether the name is a prefix of a guard, whatever the rights.
  public func covers(guard name: UInt64, length: UInt8) -> Bool {
    (name ^ self.name) & mask == 0 && length >= self.length
  }

  /// Whether the name is a prefix of a guard and the rights hold what is needed.
  public func dominates(guard name: UInt64, length: UInt8, needing rights: Rights) -> Bool {
    self.rights.contains(rights) && covers(guard: name, length: length)
  }

  /// Makes a capability that this one dominates.
  ///
  /// - Throws: `invalid` for a malformed name or an unknown right, `denied` for a name or a right that this
  ///   capability does not reach.
  public func forge(
    name: UInt64, length: UInt8, rights: Rights
  ) throws(SystemCallError) -> Capability {
    guard let forged = Capability(name: name, length: length, rights: rights) else { throw .invalid }
    guard dominates(guard: name, length: length, needing: rights) else { throw .denied }
    return forged
  }
}
