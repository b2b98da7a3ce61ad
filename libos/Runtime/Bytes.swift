// SPDX-License-Identifier: Apache-2.0
// Bytes.swift: a bounds-checked view of memory that somebody else keeps alive.

/// A view of `count` bytes of memory; every access is checked against the bounds.
///
/// The view does not own the memory: a page of the pool, a range of the application that was made present,
/// a part of the boot image. Whoever makes a view answers for the memory's lifetime.
@safe public struct Bytes {
  private let base: UnsafeMutableRawPointer
  /// How many bytes the view spans.
  public let count: Int

  /// Makes a view of memory.
  ///
  /// - Parameters:
  ///   - base: The first byte.
  ///   - count: How many bytes; not negative.
  @inline(__always) public init(base: UnsafeMutableRawPointer, count: Int) {
    precondition(count >= 0)
    unsafe self.base = base
    self.count = count
  }

  /// An empty view.
  public static var empty: Bytes {
    unsafe Bytes(base: UnsafeMutableRawPointer(bitPattern: 4096).unsafelyUnwrapped, count: 0)
  }

  /// The address of the first byte.
  public var address: UInt64 { unsafe UInt64(UInt(bitPattern: base)) }

  @inline(__always) private func check(_ offset: Int, _ size: Int) {
    precondition(offset >= 0 && size >= 0 && size <= count && offset <= count - size)
  }

  /// One byte.
  public subscript(offset: Int) -> UInt8 {
    @inline(__always) get { load(offset, as: UInt8.self) }
    @inline(__always) nonmutating set { store(newValue, at: offset) }
  }

  /// Reads a fixed-width integer in the machine's byte order, aligned or not.
  @inline(__always) public func load<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, as type: T.Type) -> T {
    check(offset, MemoryLayout<T>.size)
    return unsafe base.loadUnaligned(fromByteOffset: offset, as: type)
  }

  /// Writes a fixed-width integer in the machine's byte order, aligned or not.
  @inline(__always) public func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
    check(offset, MemoryLayout<T>.size)
    unsafe base.storeBytes(of: value, toByteOffset: offset, as: T.self)
  }

  /// The part from `offset`, `count` bytes long.
  @inline(__always) public func part(_ offset: Int, _ count: Int) -> Bytes {
    check(offset, count)
    return unsafe Bytes(base: base + offset, count: count)
  }

  /// Everything from `offset` on.
  @inline(__always) public func from(_ offset: Int) -> Bytes { part(offset, count - offset) }

  /// Copies all of `source` to `offset`; the two may overlap.
  public func copy(_ source: Bytes, to offset: Int = 0) {
    check(offset, source.count)
    unsafe (base + offset).copyMemory(from: source.base, byteCount: source.count)
  }

  /// Copies an array to `offset`.
  public func copy(_ source: [UInt8], to offset: Int = 0) {
    check(offset, source.count)
    unsafe source.withUnsafeBytes { bytes in
      guard let start = bytes.baseAddress else { return }
      unsafe (base + offset).copyMemory(from: start, byteCount: bytes.count)
    }
  }

  /// Copies a span to `offset`.
  @inline(__always) public func copy(_ source: Span<UInt8>, to offset: Int = 0) {
    check(offset, source.count)
    // SAFETY: the bytes lie within the view, as was just checked; the buffer does not outlive the call.
    unsafe source.withUnsafeBytes { bytes in
      guard let start = bytes.baseAddress else { return }
      unsafe (base + offset).copyMemory(from: start, byteCount: bytes.count)
    }
  }

  /// Sets every byte to `value`.
  public func fill(_ value: UInt8) {
    unsafe base.initializeMemory(as: UInt8.self, repeating: value, count: count)
  }

  /// The bytes as an array.
  public var array: [UInt8] {
    unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      guard let start = buffer.baseAddress else { return }
      unsafe UnsafeMutableRawPointer(start).copyMemory(from: base, byteCount: count)
      initialized = count
    }
  }

  /// Calls `body` with the bytes as a span.
  @inline(__always) public func withSpan<R>(_ body: (Span<UInt8>) -> R) -> R {
    // SAFETY: whoever made the view answers for the memory; the span does not outlive the call.
    unsafe body(Span(_unsafeStart: UnsafePointer(base.assumingMemoryBound(to: UInt8.self)), count: count))
  }

  /// Calls `body` with a view of an array's elements.
  public static func withArray<R>(_ array: inout [UInt8], _ body: (Bytes) -> R) -> R {
    let count = array.count
    return unsafe array.withUnsafeMutableBytes { buffer in
      guard let start = buffer.baseAddress else { return body(.empty) }
      return unsafe body(Bytes(base: start, count: count))
    }
  }
}

extension Bytes {
  /// A view of the running application's memory, which the caller has made present.
  ///
  /// - Parameters:
  ///   - address: The first byte, in the lower half.
  ///   - count: How many bytes.
  /// - Returns: An empty view if there are none, or the address is 0.
  public static func application(at address: UInt64, count: Int) -> Bytes {
    guard count > 0, let base = unsafe UnsafeMutableRawPointer(bitPattern: UInt(address)) else { return .empty }
    return unsafe Bytes(base: base, count: count)
  }
}

extension StaticString {
  /// The bytes of a literal.
  public var bytes: [UInt8] {
    withUTF8Buffer { unsafe [UInt8]($0) }
  }
}
