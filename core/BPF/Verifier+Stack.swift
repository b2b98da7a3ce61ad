// SPDX-License-Identifier: Apache-2.0
// Verifier+Stack.swift: loads and stores on the stack, slot by slot of eight bytes.
//
// A slot keeps one value and which of its bytes have been written. An address survives only whole; of a number that
// is written in parts the known bits are kept.

extension Verifier where Memory: ~Copyable {
  private static var frameByteCount: Int64 { Int64(ProgramLimits.frameByteCount) }

  /// The bytes of a range counted from the frame's lowest byte.
  func stackBytes(_ range: AccessRange) throws(Rejection) -> Range<Int> {
    let isInside = range.start >= -Self.frameByteCount && range.end <= 0 && range.start < range.end
    try require(isInside, .outsideStack)
    let first = Int((range.start &+ Self.frameByteCount) & (Self.frameByteCount - 1))
    return first..<max(first + 1, Int((range.end &+ Self.frameByteCount - 1) & (Self.frameByteCount - 1)) + 1)
  }

  func loadStack(
    _ frame: Int, _ range: AccessRange, _ width: AccessWidth
  ) throws(Rejection) -> AbstractValue {
    let bytes = try stackBytes(range)
    let slot = bytes.lowerBound / 8
    if range.isExact, width == .doubleWord, bytes.lowerBound % 8 == 0 {
      var value = stackSlot(frame, slot)
      let isInitialised = value.kind != .uninitialised && value.initialisedBytes == 0xff
      try require(isInitialised, .uninitialisedStack)
      value.initialisedBytes = 0xff
      return value.kind == .uninitialised ? .anyNumber : value
    }
    try checkStackIsReadable(frame, bytes)
    let value = stackSlot(frame, slot)
    guard range.isExact, value.kind == .number, (bytes.upperBound - 1) / 8 == slot else {
      return .number(.anything(width))
    }
    let shifted = value.scalar.shiftedRight(UInt64(bytes.lowerBound % 8) * 8)
    return .number(shifted.truncated(to: width))
  }

  /// Checks that bytes have values, none of which is a part of an address.
  func checkStackIsReadable(_ frame: Int, _ bytes: Range<Int>) throws(Rejection) {
    for byte in bytes {
      let value = stackSlot(frame, byte / 8)
      let isInitialised =
        value.kind != .uninitialised && value.initialisedBytes >> UInt8(byte % 8) & 1 != 0
      try require(isInitialised, .uninitialisedStack)
      try require(!value.isAddress || contract.permitsAddressLeaks, .addressBytesRead)
    }
  }

  mutating func storeStack(
    _ value: AbstractValue, _ frame: Int, _ range: AccessRange, _ width: AccessWidth
  ) throws(Rejection) {
    let bytes = try stackBytes(range)
    if value.isAddress {
      let isWhole = range.isExact && width == .doubleWord && bytes.lowerBound % 8 == 0
      try require(isWhole || contract.permitsAddressLeaks, .addressStored)
      let outlives = value.kind == .stack && Int(value.place) > frame
      try require(!outlives, .danglingStack)
    }
    if !range.isExact {
      try forgetStack(frame, bytes)
      return
    }
    let slot = bytes.lowerBound / 8
    if width == .doubleWord, bytes.lowerBound % 8 == 0 {
      var stored = value
      stored.initialisedBytes = 0xff
      setStackSlot(frame, slot, stored)
      return
    }
    let number = value.kind == .number ? value.scalar : .anything
    for byte in bytes {
      let distance = UInt64(byte - bytes.lowerBound) * 8
      setStackByte(frame, byte, number.shiftedRight(distance).bits.truncated(to: 0xff))
    }
  }

  /// Puts a byte's bits among those of its slot.
  private mutating func setStackByte(_ frame: Int, _ byte: Int, _ bits: KnownBits) {
    let old = stackSlot(frame, byte / 8)
    let shift = UInt64(byte % 8) * 8
    let kept: KnownBits = old.kind == .number ? old.scalar.bits : .anything
    let hole: UInt64 = 0xff << shift
    var new = AbstractValue.number(
      .matching(
        KnownBits(
          value: kept.value & ~hole | bits.value << shift,
          unknown: kept.unknown & ~hole | bits.unknown << shift)))
    new.initialisedBytes = remainingBytes(old) | 1 << UInt8(byte % 8)
    setStackSlot(frame, byte / 8, new)
  }

  /// The bytes of a slot that may still be read after a part of it was overwritten.
  private func remainingBytes(_ old: AbstractValue) -> UInt8 {
    switch old.kind {
    case .uninitialised: 0
    case .number: old.initialisedBytes
    case .region, .stack, .end: contract.permitsAddressLeaks ? 0xff : 0
    }
  }

  /// Forgets what bytes hold, some of which were overwritten; none of them gains a value by that.
  mutating func forgetStack(_ frame: Int, _ bytes: Range<Int>) throws(Rejection) {
    for slot in bytes.lowerBound / 8...(bytes.upperBound - 1) / 8 {
      let old = stackSlot(frame, slot)
      try require(!old.isAddress, .addressOverwritten)
      if old.kind == .uninitialised { continue }
      var new = AbstractValue.anyNumber
      new.initialisedBytes = remainingBytes(old)
      setStackSlot(frame, slot, new)
    }
  }

  /// Gives bytes that something else wrote unknown values.
  mutating func fillStack(_ frame: Int, _ bytes: Range<Int>) {
    for byte in bytes { setStackByte(frame, byte, KnownBits(value: 0, unknown: 0xff)) }
  }
}
