// SPDX-License-Identifier: Apache-2.0
// MachineMemory.swift: the physical memory of a machine as its emulator shares it, read while the machine runs.

import Glibc

/// The memory file of a machine, mapped read-only: nothing in the machine notices.
final class MachineMemory {
  private let base: UnsafeRawPointer
  /// Bytes of memory, without the hole below 4 GiB.
  let byteCount: UInt64
  /// Where memory ends below 4 GiB; what there is more begins at 4 GiB.
  private var lowEnd = UInt64.max

  /// Maps a memory file.
  ///
  /// - Throws: A sentence if it cannot be opened or mapped, or is empty.
  init(path: Path) throws(Failure) {
    func refuse(_ reason: String) -> Failure {
      Failure(sentence: "the machine's memory \(shown(path)) \(reason)", status: Status.machine)
    }
    let descriptor: Int32
    do { descriptor = try HostFile.open(path) } catch { throw refuse("cannot be opened: \(error.words)") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_size >= 4096 else { throw refuse("is empty") }
    let place = mmap(nil, Int(status.st_size), PROT_READ, MAP_SHARED, descriptor, 0)
    guard let place, place != MAP_FAILED else { throw refuse("cannot be mapped: \(describe(errno: errno))") }
    base = UnsafeRawPointer(place)
    byteCount = UInt64(status.st_size)
  }

  deinit { munmap(UnsafeMutableRawPointer(mutating: base), Int(byteCount)) }

  /// Says where physical addresses end: the rest of what lies in the file is below the hole.
  ///
  /// - Parameter end: First physical address behind all memory.
  func place(end: UInt64) {
    let high: UInt64 = 1 << 32
    if end > high, end - high <= byteCount { lowEnd = byteCount - (end - high) }
  }

  /// Where `count` bytes at a physical address lie in the file; nil outside of memory.
  private func offset(_ physical: UInt64, _ count: UInt64) -> UInt64? {
    var at = physical
    if physical >= lowEnd {
      guard physical >= 1 << 32 else { return nil }
      at = physical - (1 << 32) + lowEnd
    }
    guard at <= byteCount, count <= byteCount - at else { return nil }
    return at
  }

  /// A value at a physical address; nil outside of memory.
  func load<Value: BitwiseCopyable>(_ physical: UInt64, as type: Value.Type) -> Value? {
    guard let at = offset(physical, UInt64(MemoryLayout<Value>.size)) else { return nil }
    return base.loadUnaligned(fromByteOffset: Int(at), as: type)
  }

  /// The bytes of a page, as they are; nil outside of memory.
  func page(_ physical: UInt64) -> UnsafeRawBufferPointer? {
    guard let at = offset(physical, 4096) else { return nil }
    return UnsafeRawBufferPointer(start: base + Int(at), count: 4096)
  }

  /// Copies a table of records out of memory that the machine may be writing.
  ///
  /// A record counts once two readings in a row agree; one that never holds still is returned as it was read last.
  ///
  /// - Parameters:
  ///   - physical: Where the table begins.
  ///   - count: How many records it has.
  ///   - type: The records' type.
  /// - Returns: The records and how many of them did not hold still; nil if the table is not all in memory.
  func records<Value: BitwiseCopyable>(
    _ physical: UInt64, count: Int, of type: Value.Type
  ) -> (values: [Value], unsteady: Int)? {
    let stride = MemoryLayout<Value>.stride
    let (bytes, isTooMany) = count.multipliedReportingOverflow(by: stride)
    guard !isTooMany, count > 0, let at = offset(physical, UInt64(bytes)) else { return nil }
    var unsteady = 0
    let values = [Value](unsafeUninitializedCapacity: count) { buffer, filled in
      guard let start = UnsafeMutableRawPointer(buffer.baseAddress) else { return }
      let source = base + Int(at)
      memcpy(start, source, bytes)
      for index in 0..<count {
        var attempts = 0
        while memcmp(start + index * stride, source + index * stride, stride) != 0 {
          attempts += 1
          if attempts > Self.attempts {
            unsteady += 1
            break
          }
          memcpy(start + index * stride, source + index * stride, stride)
        }
      }
      filled = count
    }
    return (values, unsteady)
  }

  /// How often a record is read again until two readings agree.
  private static let attempts = 64
}
