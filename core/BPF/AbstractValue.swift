// SPDX-License-Identifier: Apache-2.0
// AbstractValue.swift: what the verifier knows of one register or stack slot, and how that is kept in words.

/// What kind of thing a value is.
public enum ValueKind: UInt8, Sendable {
  case uninitialised
  case number
  /// An address in a region.
  case region
  /// An address in a function's stack; offsets count from the frame pointer.
  case stack
  /// The address after a region's last byte.
  case end
}

/// Everything that is known of a value.
public struct AbstractValue: Equatable, Sendable {
  /// The kind of thing that it is.
  public internal(set) var kind: ValueKind
  /// For addresses and lengths: which region; for stack addresses: which frame, the first function's being 0.
  public internal(set) var place: UInt8 = 0
  /// Whether an address may be zero instead.
  public internal(set) var mayBeZero = false
  /// Whether the number is the length of the region `place`.
  public internal(set) var isLength = false
  /// For stack slots: which of the eight bytes have a value.
  var initialisedBytes: UInt8 = 0xff
  /// Values with the same identity, other than 0, are copies or, for addresses, differ only by `distance`.
  var identity: UInt32 = 0
  /// How far the address is from the one that got the identity.
  var distance: Int32 = 0
  /// How many bytes after the address that got the identity are known to be in the region.
  var proven: Int32 = 0
  /// The number, or the address's offset.
  public internal(set) var scalar: Scalar

  static var uninitialised: AbstractValue {
    AbstractValue(kind: .uninitialised, scalar: .exactly(0))
  }
  static func number(_ scalar: Scalar) -> AbstractValue {
    AbstractValue(kind: .number, scalar: scalar)
  }
  static var anyNumber: AbstractValue { .number(.anything) }
  static func address(region: Int) -> AbstractValue {
    AbstractValue(kind: .region, place: UInt8(region), scalar: .exactly(0))
  }
  static func stack(frame: Int) -> AbstractValue {
    AbstractValue(kind: .stack, place: UInt8(frame), scalar: .exactly(0))
  }

  /// Whether the value shows where something is.
  var isAddress: Bool {
    switch kind {
    case .region, .stack, .end: true
    case .uninitialised, .number: false
    }
  }

  /// The offset of an address, or the number, if it is known.
  var signedConstant: Int64? { scalar.constant.map { Int64(bitPattern: $0) } }
}

/// How much of a value has to be written down.
private enum Packing: UInt64 {
  case all = 0
  case constant = 1
  case anyNumber = 2
}

extension AbstractValue {
  /// How many words the longest value takes.
  static var wordCount: Int { 8 }

  private func header(_ packing: Packing) -> UInt64 {
    var bits = UInt64(kind.rawValue) | UInt64(place) << 8
    if mayBeZero { bits |= 1 << 16 }
    if isLength { bits |= 1 << 17 }
    return bits | UInt64(initialisedBytes) << 24 | UInt64(identity) << 32 | packing.rawValue << 60
  }

  private var packing: Packing {
    if kind == .number, scalar == .anything { return .anyNumber }
    return scalar.constant == nil ? .all : .constant
  }

  /// Writes the value in as few words as it needs and returns the index after them.
  func write(to memory: inout some WordMemory & ~Copyable, at index: Int) -> Int {
    let packing = packing
    memory[index] = header(packing)
    if packing == .anyNumber { return index + 1 }
    if packing == .constant {
      memory[index + 1] = scalar.least
      if kind == .number { return index + 2 }
      memory[index + 2] = track
      return index + 3
    }
    memory[index + 1] = track
    memory[index + 2] = scalar.bits.value
    memory[index + 3] = scalar.bits.unknown
    memory[index + 4] = scalar.least
    memory[index + 5] = scalar.greatest
    memory[index + 6] = UInt64(bitPattern: scalar.signedLeast)
    memory[index + 7] = UInt64(bitPattern: scalar.signedGreatest)
    return index + Self.wordCount
  }

  private var track: UInt64 {
    UInt64(UInt32(bitPattern: distance)) | UInt64(UInt32(bitPattern: proven)) << 32
  }

  /// Reads what `write` wrote, and moves the index after it.
  init(_ memory: borrowing some WordMemory & ~Copyable, at index: inout Int) {
    let header = memory[index]
    var track: UInt64 = 0
    switch Packing(rawValue: header >> 60) {
    case .anyNumber:
      scalar = .anything
      index += 1
    case .constant:
      scalar = .exactly(memory[index + 1])
      if header & 0xff == UInt64(ValueKind.number.rawValue) {
        index += 2
      } else {
        track = memory[index + 2]
        index += 3
      }
    case .all, nil:
      track = memory[index + 1]
      scalar = Scalar(
        bits: KnownBits(value: memory[index + 2], unknown: memory[index + 3]),
        least: memory[index + 4], greatest: memory[index + 5],
        signedLeast: Int64(bitPattern: memory[index + 6]),
        signedGreatest: Int64(bitPattern: memory[index + 7]))
      index += Self.wordCount
    }
    kind = ValueKind(rawValue: UInt8(truncatingIfNeeded: header)) ?? .uninitialised
    place = UInt8(truncatingIfNeeded: header >> 8)
    mayBeZero = header >> 16 & 1 != 0
    isLength = header >> 17 & 1 != 0
    initialisedBytes = UInt8(truncatingIfNeeded: header >> 24)
    identity = UInt32(truncatingIfNeeded: header >> 32) & 0xfff_ffff
    distance = Int32(truncatingIfNeeded: track)
    proven = Int32(truncatingIfNeeded: track >> 32)
  }
}
