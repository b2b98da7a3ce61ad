// SPDX-License-Identifier: Apache-2.0
// Contract.swift: what a use of BPF promises its programs, and what it wants of them.

/// Memory that programs may reach, besides their stack.
public struct RegionContract: Sendable {
  /// How many bytes there always are.
  public var minimumByteCount: UInt32
  /// How many bytes there can be; where it is more than the minimum, programs must compare with the region's length
  /// or end before they reach beyond the minimum.
  public var maximumByteCount: UInt32
  /// Whether programs may read here.
  public var isReadable: Bool
  /// Whether programs may write here.
  public var isWritable: Bool
  /// What the region's address is a multiple of.
  public var alignment: UInt32

  /// Describes a region.
  public init(
    minimumByteCount: UInt32, maximumByteCount: UInt32, isReadable: Bool = true,
    isWritable: Bool = false, alignment: UInt32 = 8
  ) {
    self.minimumByteCount = minimumByteCount
    self.maximumByteCount = maximumByteCount
    self.isReadable = isReadable
    self.isWritable = isWritable
    self.alignment = alignment
  }

  /// A region that is not there.
  public static var none: RegionContract {
    RegionContract(minimumByteCount: 0, maximumByteCount: 0, isReadable: false)
  }
}

/// What a register, a field or a result holds.
public enum ValueContract: Sendable {
  /// Nothing that may be read.
  case nothing
  /// A number within bounds, both included.
  case number(least: UInt64, greatest: UInt64)
  /// The address of a region's first byte.
  case address(region: Int)
  /// The address of a region's first byte, or zero.
  case addressOrZero(region: Int)
  /// The address after a region's last byte.
  case end(region: Int)
  /// How many bytes a region has.
  case length(region: Int)

  /// Any number.
  public static var anyNumber: ValueContract { .number(least: 0, greatest: .max) }
}

/// A field of a region that holds more than a number; programs may only read it, and only whole.
public struct FieldContract: Sendable {
  /// The region that holds the field.
  public var region: Int
  /// Where the field begins.
  public var offset: UInt32
  /// How wide it is; addresses are double words.
  public var width: AccessWidth
  /// What it holds.
  public var value: ValueContract

  /// Describes a field.
  public init(region: Int, offset: UInt32, width: AccessWidth = .doubleWord, value: ValueContract) {
    self.region = region
    self.offset = offset
    self.width = width
    self.value = value
  }
}

/// What a helper wants in one of its argument registers.
public enum ArgumentContract: Sendable {
  /// The helper does not look at it.
  case unused
  /// A number within bounds, both included.
  case number(least: UInt64, greatest: UInt64)
  /// The address of a region's first byte.
  case address(region: Int)
  /// The address of so many bytes that the helper reads.
  case readable(byteCount: UInt32)
  /// The address of so many bytes that the helper writes.
  case writable(byteCount: UInt32)
  /// The address of bytes that the helper reads; the next argument says how many, at most `limit`.
  case readableCounted(limit: UInt32)
  /// The address of bytes that the helper writes; the next argument says how many, at most `limit`.
  case writableCounted(limit: UInt32)
  /// The count of the argument before.
  case count
}

/// A helper's signature.
public struct HelperContract: Sendable {
  /// The number that programs call it by.
  public var number: UInt32
  /// What it wants in r1 to r5.
  public var arguments: InlineArray<5, ArgumentContract>
  /// What it leaves in r0.
  public var result: ValueContract
  /// Whether the same arguments and memory always give the same result.
  public var isDeterministic: Bool
  /// How many instructions a call counts for, besides its own.
  public var cost: UInt32

  /// Describes a helper.
  public init(
    number: UInt32, arguments: InlineArray<5, ArgumentContract>, result: ValueContract,
    isDeterministic: Bool = true, cost: UInt32 = 0
  ) {
    self.number = number
    self.arguments = arguments
    self.result = result
    self.isDeterministic = isDeterministic
    self.cost = cost
  }

  /// The place of a helper that is not there.
  public static var none: HelperContract {
    HelperContract(
      number: 0, arguments: InlineArray(repeating: .unused), result: .nothing)
  }
}

/// A use of BPF: everything that the verifier has to know about it.
public struct Contract: Sendable {
  /// How many regions a use can have.
  public static var regionLimit: Int { 8 }
  /// How many fields a use can have.
  public static var fieldLimit: Int { 8 }
  /// How many helpers a use can have.
  public static var helperLimit: Int { 8 }

  /// What r1 to r5 hold at first.
  public var arguments = InlineArray<5, ValueContract>(repeating: .nothing)
  /// What r0 must hold at the end.
  public var resultLeast: UInt64 = 0
  /// What r0 must hold at the end.
  public var resultGreatest: UInt64 = .max
  /// Whether programs may learn or show addresses.
  public var permitsAddressLeaks = false
  /// Whether only deterministic helpers may be called.
  public var isDeterministic = false
  /// How many instructions a run may take at worst, helpers' costs included.
  public var instructionLimit: UInt64 = 1 << 20

  /// The regions; those that were not added have no bytes.
  public private(set) var regions = InlineArray<8, RegionContract>(repeating: .none)
  /// How many regions were added.
  public private(set) var regionCount = 0
  private var fields = InlineArray<8, FieldContract>(
    repeating: FieldContract(region: 0, offset: 0, value: .nothing))
  private var fieldCount = 0
  private var helpers = InlineArray<8, HelperContract>(repeating: .none)
  private var helperCount = 0

  /// A use with nothing.
  public init() {}

  /// Adds a region and returns its number.
  ///
  /// - Precondition: Fewer than `regionLimit` were added.
  public mutating func add(_ region: RegionContract) -> Int {
    precondition(regionCount < Self.regionLimit)
    precondition(region.minimumByteCount <= region.maximumByteCount)
    precondition(region.maximumByteCount <= UInt32(Self.offsetLimit))
    regions[regionCount] = region
    regionCount += 1
    return regionCount - 1
  }

  /// Adds a field.
  ///
  /// - Precondition: Fewer than `fieldLimit` were added.
  public mutating func add(_ field: FieldContract) {
    precondition(fieldCount < Self.fieldLimit)
    fields[fieldCount] = field
    fieldCount += 1
  }

  /// Adds a helper.
  ///
  /// - Precondition: Fewer than `helperLimit` were added.
  public mutating func add(_ helper: HelperContract) {
    precondition(helperCount < Self.helperLimit)
    helpers[helperCount] = helper
    helperCount += 1
  }

  /// How far from a region's start any address may be; nothing near overflows 32 bits.
  static var offsetLimit: Int64 { 1 << 29 }

  func helper(_ number: UInt32) -> HelperContract? {
    for index in 0..<helperCount where helpers[index].number == number { return helpers[index] }
    return nil
  }

  /// The first field of a region that has bytes between two offsets.
  func field(in region: Int, from start: Int64, to end: Int64) -> FieldContract? {
    for index in 0..<fieldCount where fields[index].region == region {
      let first = Int64(fields[index].offset)
      if first < end, start < first + Int64(fields[index].width.byteCount) { return fields[index] }
    }
    return nil
  }
}
