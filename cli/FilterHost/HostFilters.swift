// SPDX-License-Identifier: Apache-2.0
// HostFilters.swift: a filter table on the host, its code writable or executable, never both.

import ApusPacketFilter
import CApusABI
import Glibc

extension [Atom]: AtomList {}

/// Records and code in this process's memory.
@safe
public final class HostFilterMemory: FilterMemory {
  /// Records of states, the unused one included.
  public let stateCount: UInt32
  /// Records of fields, the unused one included.
  public let fieldCount: UInt32
  /// Records of filters, the unused one included.
  public let filterCount: UInt32
  /// The logarithm of the number of buckets.
  public let bucketBits: UInt32
  private let states: UnsafeMutableBufferPointer<apus_filter_state>
  private let fields: UnsafeMutableBufferPointer<apus_filter_field>
  private let filters: UnsafeMutableBufferPointer<apus_filter>
  private let buckets: UnsafeMutableBufferPointer<UInt32>
  private let code: UnsafeMutableRawPointer
  private var isExecutable = false
  private var codeSize: Int { Int(fieldCount) * FilterCode.slotSize }
  /// Bytes of code written so far.
  public private(set) var writtenByteCount = 0

  /// Makes tables and room for code; nil if the host has no memory for them.
  ///
  /// - Parameters:
  ///   - filters: How many filters there may be.
  ///   - states: How many states and fields; four for each filter unless said.
  public init?(filters: Int, states: Int? = nil) {
    let places = UInt32(states ?? 4 * filters) + 2
    stateCount = places
    fieldCount = places
    filterCount = UInt32(filters) + 1
    bucketBits = max(4, UInt32(32 - places.leadingZeroBitCount))
    let size = Int(places) * FilterCode.slotSize
    guard
      let code = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      unsafe code != MAP_FAILED
    else { return nil }
    unsafe self.code = code
    unsafe self.states = .allocate(capacity: Int(places))
    unsafe self.states.initialize(repeating: apus_filter_state())
    unsafe fields = .allocate(capacity: Int(places))
    unsafe fields.initialize(repeating: apus_filter_field())
    unsafe self.filters = .allocate(capacity: filters + 1)
    unsafe self.filters.initialize(repeating: apus_filter())
    unsafe buckets = .allocate(capacity: 1 << Int(bucketBits))
    unsafe buckets.initialize(repeating: 0)
  }

  deinit {
    unsafe munmap(code, codeSize)
    unsafe states.deallocate()
    unsafe fields.deallocate()
    unsafe filters.deallocate()
    unsafe buckets.deallocate()
  }

  // SAFETY: the buffers check indices in debug builds, and the table passes what its own records name.
  /// The state with a number.
  public subscript(state index: UInt32) -> apus_filter_state {
    get { unsafe states[Int(index)] }
    set { unsafe states[Int(index)] = newValue }
  }
  /// The field with a number.
  public subscript(field index: UInt32) -> apus_filter_field {
    get { unsafe fields[Int(index)] }
    set { unsafe fields[Int(index)] = newValue }
  }
  /// The filter with a number.
  public subscript(filter index: UInt32) -> apus_filter {
    get { unsafe filters[Int(index)] }
    set { unsafe filters[Int(index)] = newValue }
  }
  /// The first state in a bucket.
  public subscript(bucket index: UInt32) -> UInt32 {
    get { unsafe buckets[Int(index)] }
    set { unsafe buckets[Int(index)] = newValue }
  }

  /// Where the code is.
  public var codeAddress: UInt64 { unsafe UInt64(UInt(bitPattern: code)) }

  /// Puts bytes of code, which cannot run meanwhile.
  public func store(_ bytes: UInt64, count: Int, at offset: Int) {
    precondition(offset >= 0 && offset + count <= codeSize)
    setExecutable(false)
    for index in 0..<count {
      // SAFETY: within the mapping, as just checked.
      unsafe code.storeBytes(
        of: UInt8(truncatingIfNeeded: bytes >> UInt64(8 * index)), toByteOffset: offset + index, as: UInt8.self)
    }
    writtenByteCount += count
  }

  private func setExecutable(_ wanted: Bool) {
    guard isExecutable != wanted else { return }
    isExecutable = wanted
    let result = unsafe mprotect(code, codeSize, wanted ? PROT_READ | PROT_EXEC : PROT_READ | PROT_WRITE)
    precondition(result == 0, "the host refused to change the protection of the filters' code")
  }

  private typealias Entry =
    @convention(c) (
      UnsafeRawPointer?, Int, Int, Int, UnsafeMutablePointer<UInt32>?, UnsafeMutablePointer<apus_filter_state>?
    ) -> UInt32

  /// Runs the compiled filters.
  ///
  /// - Parameter packet: A packet from its first byte.
  /// - Returns: The filter that takes it, or nil.
  public func match(_ packet: [UInt8]) -> UInt32? {
    setExecutable(true)
    // SAFETY: the pages hold a function of this type; it reads `packet.count` bytes and the two tables.
    let entry = unsafe unsafeBitCast(code, to: Entry.self)
    let filter = unsafe packet.withUnsafeBytes {
      unsafe entry($0.baseAddress, $0.count, 0, 0, buckets.baseAddress, states.baseAddress)
    }
    return filter == 0 ? nil : filter
  }
}
