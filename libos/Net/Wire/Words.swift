// SPDX-License-Identifier: Apache-2.0
// Words.swift: words out of bytes in one load: the one file of the stack that is not checked by the language.
//
// A span reads a byte at a time, each with its check. Headers and checksums read words, and that is most of what a
// packet costs; here the check is made once for the word.

extension Span<UInt8> {
  /// The word at an offset, in the machine's byte order.
  @inline(__always) func word<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, as type: T.Type) -> T {
    precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size)
    // SAFETY: the word lies within the span, as was just checked, and every pattern of bits is a value of an integer.
    return unsafe bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: type)
  }
}

extension MutableSpan<UInt8> {
  /// Writes a word in network byte order.
  @inline(__always) mutating func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
    // SAFETY: the bytes of an integer are bytes like any other, and the store is checked.
    var bytes = unsafe mutableBytes
    bytes.storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
  }
}

extension [UInt8] {
  /// Appends bytes in one copy.
  @inline(__always) mutating func append(copying bytes: Span<UInt8>) {
    // SAFETY: the buffer does not outlive the call.
    unsafe bytes.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
  }

  /// Overwrites what stands at `offset` in one copy; all of it has to fit.
  @inline(__always) mutating func overwrite(at offset: Int, with bytes: Span<UInt8>) {
    precondition(offset >= 0 && bytes.count <= count - offset)
    guard bytes.count > 0 else { return }
    unsafe withUnsafeMutableBufferPointer { target in
      unsafe bytes.withUnsafeBufferPointer { source in
        guard let to = target.baseAddress, let from = source.baseAddress else { return }
        // SAFETY: the target has room behind the offset, as was just checked; a span never lies in an array that is
        // being changed.
        unsafe (to + offset).update(from: from, count: source.count)
      }
    }
  }
}
