// SPDX-License-Identifier: Apache-2.0
// Words.swift: words out of bytes in one load, and bytes in one copy: the one file of the stack that is not checked by
// the language.
//
// A span reads a byte at a time, each with its check. Headers and checksums read words, and that is most of what a
// packet costs; here the check is made once for the word. Copies are the memory functions' own.

extension Span<UInt8> {
  /// The word at an offset, in the machine's byte order.
  @inline(__always) func word<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, as type: T.Type) -> T {
    precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size)
    // SAFETY: the word lies within the span, as was just checked, and every pattern of bits is a value of an integer.
    return unsafe bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: type)
  }
}

extension [UInt8] {
  /// Appends bytes in one copy.
  mutating func append(copying bytes: Span<UInt8>) {
    let added = bytes.count
    guard added > 0 else { return }
    // SAFETY: all of the new array is initialized by the copy.
    append(
      contentsOf: unsafe [UInt8](unsafeUninitializedCapacity: added) { buffer, initialized in
        unsafe bytes.withUnsafeBytes { source in
          if let from = source.baseAddress, let to = buffer.baseAddress {
            unsafe UnsafeMutableRawPointer(to).copyMemory(from: from, byteCount: added)
          }
        }
        initialized = added
      })
  }

  /// Overwrites what stands at `offset` in one copy; all of it has to fit.
  @inline(__always) mutating func overwrite(at offset: Int, with bytes: Span<UInt8>) {
    precondition(offset >= 0 && bytes.count <= count - offset)
    guard bytes.count > 0 else { return }
    unsafe withUnsafeMutableBytes { target in
      unsafe bytes.withUnsafeBytes { source in
        guard let to = target.baseAddress, let from = source.baseAddress else { return }
        // SAFETY: the target has room behind the offset, as was just checked; a span never lies in an array that is
        // being changed.
        unsafe (to + offset).copyMemory(from: from, byteCount: source.count)
      }
    }
  }
}

/// The frame in the making: memory of its own that is written over again and again.
///
/// An array would check at each byte whether it is shared and has room.
@safe final class FrameBuffer {
  private let base: UnsafeMutableRawPointer
  private let capacity: Int
  /// How many bytes it holds.
  private(set) var count = 0

  /// Room for so many bytes.
  init(capacity: Int) {
    unsafe base = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
    self.capacity = capacity
  }

  deinit { unsafe base.deallocate() }

  /// Makes it so many bytes long; what they are is for the caller to write.
  @inline(__always) func begin(_ count: Int) {
    precondition(count >= 0 && count <= capacity)
    self.count = count
  }

  /// Writes a word in network byte order.
  @inline(__always) func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
    precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size)
    // SAFETY: the word lies within the memory, as was just checked.
    unsafe base.storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
  }

  /// Appends bytes.
  @inline(__always) func append(_ bytes: Span<UInt8>) {
    precondition(bytes.count <= capacity - count)
    guard bytes.count > 0 else { return }
    unsafe bytes.withUnsafeBytes { source in
      guard let from = source.baseAddress else { return }
      // SAFETY: there is room, as was just checked.
      unsafe (base + count).copyMemory(from: from, byteCount: source.count)
    }
    count &+= bytes.count
  }

  /// Calls `body` with the bytes from an offset on.
  @inline(__always) func withSpan<R>(from offset: Int, _ body: (Span<UInt8>) -> R) -> R {
    precondition(offset >= 0 && offset <= count)
    // SAFETY: the memory is this object's, which lives as long as the call.
    let start = unsafe UnsafePointer<UInt8>((base + offset).assumingMemoryBound(to: UInt8.self))
    return unsafe body(Span(_unsafeStart: start, count: count - offset))
  }
}
