// SPDX-License-Identifier: Apache-2.0
// Atom.swift: the smallest part of a packet filter: bits of a packet that have to have a value.
//
// A filter is a conjunction of atoms. Offsets count from a base, which is the packet's start until a shift atom adds
// what it reads to it: so the ports behind an IPv4 header of any length are reached (Engler and Kaashoek, "DPF: Fast,
// Flexible Message Demultiplexing using Dynamic Code Generation", SIGCOMM '96, 3.1).

import CApusABI

/// A comparison of bits of a packet, or a move of the base.
public struct Atom: Equatable, Sendable {
  /// Bytes from the base to the field.
  public var offset: UInt16
  /// The field's width: 1, 2 or 4 bytes.
  public var width: UInt8
  /// `APUS_ATOM_COMPARE`, or `APUS_ATOM_SHIFT` with a count of 0 to 3 in its low bits.
  public var kind: UInt8
  /// The bits that matter, in network order.
  public var mask: UInt32
  /// What these bits have to be, in network order; 0 for a shift.
  public var value: UInt32

  /// An atom that compares.
  ///
  /// - Parameters:
  ///   - offset: Bytes from the base to the field.
  ///   - width: 1, 2 or 4 bytes.
  ///   - mask: The bits that matter; all of them if there is none.
  ///   - value: What they have to be.
  public init(at offset: UInt16, width: UInt8, mask: UInt32? = nil, is value: UInt32) {
    self.offset = offset
    self.width = width
    kind = UInt8(APUS_ATOM_COMPARE)
    self.mask = mask ?? Self.allBits(width)
    self.value = value
  }

  /// An atom that adds a masked field, shifted left by `count` bits, to the base.
  public init(shiftAt offset: UInt16, width: UInt8, mask: UInt32, by count: UInt8) {
    self.offset = offset
    self.width = width
    kind = UInt8(APUS_ATOM_SHIFT) | count
    self.mask = mask
    value = 0
  }

  /// An atom as callers pass it: offset, width, kind, and the mask above bit 32 in one word, the value in the next.
  public init(word: UInt64, value: UInt64) {
    offset = UInt16(truncatingIfNeeded: word)
    width = UInt8(truncatingIfNeeded: word >> 16)
    kind = UInt8(truncatingIfNeeded: word >> 24)
    mask = UInt32(truncatingIfNeeded: word >> 32)
    self.value = UInt32(truncatingIfNeeded: value)
  }

  /// The first of its two words; the second is the value.
  public var word: UInt64 { UInt64(offset) | UInt64(width) << 16 | UInt64(kind) << 24 | UInt64(mask) << 32 }

  /// Whether it moves the base.
  public var isShift: Bool { kind & UInt8(APUS_ATOM_SHIFT) != 0 }

  /// Fields are asked in this order, shifts last; so of two filters of which one has all atoms of the other and more,
  /// the one with more is found first.
  var order: UInt64 {
    UInt64(kind) << 56 | UInt64(offset) << 40 | UInt64(width) << 32 | UInt64(mask)
  }

  /// Whether it means something: a width that exists, bits within it, a base that stays near.
  var isValid: Bool {
    guard width == 1 || width == 2 || width == 4, offset <= Self.offsetLimit else { return false }
    guard mask != 0, mask & ~Self.allBits(width) == 0, value & ~mask == 0 else { return false }
    if kind == UInt8(APUS_ATOM_COMPARE) { return true }
    return kind & ~3 == UInt8(APUS_ATOM_SHIFT) && value == 0 && UInt64(mask) << UInt64(kind & 3) <= 0xffff
  }

  /// The largest offset: a packet of the largest frame, with room.
  public static var offsetLimit: UInt16 { 16_383 }

  static func allBits(_ width: UInt8) -> UInt32 { width >= 4 ? .max : 1 << (8 * UInt32(width)) - 1 }

  /// The value as the records have it.
  var loadedValue: UInt32 { Self.loaded(value, width) }

  /// A number of `width` bytes as a load on a little-endian machine sees it, and back.
  static func loaded(_ value: UInt32, _ width: UInt8) -> UInt32 { value.byteSwapped >> (32 - 8 * UInt32(width & 7)) }
}

/// The atoms of a filter, in a copy that nobody changes meanwhile.
public protocol AtomList {
  /// How many there are.
  var count: Int { get }
  /// The atom at an index below `count`.
  subscript(_ index: Int) -> Atom { get }
}

/// Why a filter is not taken.
public enum FilterError: Error, Equatable, Sendable {
  /// The atom at this index means nothing, or stands before one that sorts below it, or there are none or too many.
  case invalid(atom: Int)
  /// This filter takes packets that the new one would take.
  case overlap(UInt32)
  /// There is no room for it.
  case exhausted
  /// Packets of others would be looked at in more places than is allowed.
  case costly
}
