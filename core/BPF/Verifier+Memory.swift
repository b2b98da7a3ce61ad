// SPDX-License-Identifier: Apache-2.0
// Verifier+Memory.swift: loads, stores and atomic operations on regions, and what a range of bytes must fulfil.

/// What is done to memory.
enum AccessKind {
  case read
  case write
}

/// The bytes that an access may touch, counted from the region's start or from the frame pointer.
struct AccessRange {
  /// The first byte that may be touched.
  let start: Int64
  /// The byte after the last that may be touched.
  let end: Int64
  /// Whether it is known which bytes are touched.
  let isExact: Bool

  init(_ address: AbstractValue, _ offset: Int64, _ byteCount: Int64) {
    start = address.scalar.signedLeast &+ offset
    end = address.scalar.signedGreatest &+ offset &+ byteCount
    isExact = address.scalar.constant != nil
  }
}

extension Verifier where Memory: ~Copyable {
  func load(
    _ width: AccessWidth, _ isSigned: Bool, from address: AbstractValue, _ offset: Int64
  ) throws(Rejection) -> AbstractValue {
    let loaded = try loaded(width, from: address, offset)
    guard isSigned, loaded.kind == .number else { return loaded }
    return .number(loaded.scalar.signExtended(from: width))
  }

  private func loaded(
    _ width: AccessWidth, from address: AbstractValue, _ offset: Int64
  ) throws(Rejection) -> AbstractValue {
    try require(address.kind == .region || address.kind == .stack, .notAnAddress)
    try require(!address.mayBeZero, .zeroAddress)
    let range = AccessRange(address, offset, Int64(width.byteCount))
    if address.kind == .stack { return try loadStack(Int(address.place), range, width) }
    try checkRegion(address, offset, Int64(width.byteCount), .read)
    let region = Int(address.place)
    guard let field = contract.field(in: region, from: range.start, to: range.end) else {
      return .number(.anything(width))
    }
    let isWhole = range.isExact && range.start == Int64(field.offset) && width == field.width
    try require(isWhole, .partOfField)
    return fieldValue(field)
  }

  private func fieldValue(_ field: FieldContract) -> AbstractValue {
    switch field.value {
    case .nothing: return .anyNumber
    case .number(let least, let greatest): return .number(.from(least, to: greatest))
    case .address(let region): return .address(region: region)
    case .addressOrZero(let region):
      // Without an identity a comparison tells of this copy alone.
      var value = AbstractValue.address(region: region)
      value.mayBeZero = true
      return value
    case .end(let region):
      return AbstractValue(kind: .end, place: UInt8(region), scalar: .exactly(0))
    case .length(let region):
      let maximum = UInt64(contract.regions[region].maximumByteCount)
      var value = AbstractValue.number(.from(UInt64(provenSizes[region]), to: maximum))
      value.isLength = true
      value.place = UInt8(region)
      return value
    }
  }

  mutating func store(
    _ value: AbstractValue, _ width: AccessWidth, to address: AbstractValue, _ offset: Int64
  ) throws(Rejection) {
    try require(address.kind == .region || address.kind == .stack, .notAnAddress)
    try require(!address.mayBeZero, .zeroAddress)
    let range = AccessRange(address, offset, Int64(width.byteCount))
    if address.kind == .stack {
      try storeStack(value, Int(address.place), range, width)
      return
    }
    try checkRegion(address, offset, Int64(width.byteCount), .write)
    try require(!value.isAddress || contract.permitsAddressLeaks, .addressStored)
  }

  /// Checks that bytes of a region may be read or written.
  func checkRegion(
    _ address: AbstractValue, _ offset: Int64, _ byteCount: Int64, _ kind: AccessKind
  ) throws(Rejection) {
    let region = Int(address.place) & (Contract.regionLimit - 1)
    let range = AccessRange(address, offset, byteCount)
    let isProvenForAll = range.end <= Int64(provenSizes[region])
    let isProvenForThis =
      address.identity != 0 && Int64(address.distance) + offset + byteCount <= Int64(address.proven)
    let isInside = range.start >= 0 && (isProvenForAll || isProvenForThis)
    try require(isInside, .outsideRegion)
    guard kind == .write else {
      try require(contract.regions[region].isReadable, .notReadable)
      return
    }
    try require(contract.regions[region].isWritable, .notWritable)
    let isFree = contract.field(in: region, from: range.start, to: range.end) == nil
    try require(isFree, .writesField)
  }

  mutating func change(
    _ operation: AtomicOperation, _ width: AccessWidth, at address: AbstractValue,
    _ offset: Int64, _ source: Register
  ) throws(Rejection) {
    let operand = try read(source)
    try require(!operand.isAddress || contract.permitsAddressLeaks, .addressToAtomic)
    if operation == .compareExchange {
      let expected = try read(.result)
      try require(!expected.isAddress || contract.permitsAddressLeaks, .addressToAtomic)
    }
    try require(isAligned(address, offset, width), .misalignedAtomic)
    let old = try load(width, false, from: address, offset)
    try require(!old.isAddress || contract.permitsAddressLeaks, .addressToAtomic)
    try store(.number(.anything(width)), width, to: address, offset)
    if operation.returnsOldValueInSource { self[source] = .number(.anything(width)) }
    if operation == .compareExchange { self[.result] = .number(.anything(width)) }
  }

  private func isAligned(_ address: AbstractValue, _ offset: Int64, _ width: AccessWidth) -> Bool {
    let place = address.scalar + .exactly(UInt64(bitPattern: offset))
    let low = UInt64(width.byteCount - 1)
    guard place.bits.greatest & low == 0 else { return false }
    guard address.kind == .region else { return true }
    let region = Int(address.place) & (Contract.regionLimit - 1)
    return contract.regions[region].alignment >= UInt32(width.byteCount)
  }
}
