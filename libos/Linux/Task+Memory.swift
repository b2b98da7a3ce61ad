// SPDX-License-Identifier: Apache-2.0
// Task+Memory.swift: the LibOS's access to what an application's pointers name.

import ApusRuntime
import ApusUnix

extension Task {
  /// A range of the application's memory, made present; it stays so until the task waits.
  ///
  /// - Throws: `EFAULT` when the application could not read (or write) all of it, `ENOMEM`.
  @inline(__always)
  func memory(at address: UInt64, count: Int, write: Bool) throws(Errno) -> Bytes {
    guard count >= 0 else { throw .EFAULT }
    if count == 0 { return .empty }
    try memory.ensure(address, count: count, write: write)
    return Bytes.application(at: address, count: count)
  }

  /// Reads a number.
  @inline(__always)
  func load<T: FixedWidthInteger & BitwiseCopyable>(
    _ address: UInt64, as type: T.Type
  ) throws(Errno) -> T {
    try memory(at: address, count: MemoryLayout<T>.size, write: false).load(0, as: type)
  }

  /// Writes a number.
  @inline(__always)
  func store<T: FixedWidthInteger & BitwiseCopyable>(
    _ value: T, at address: UInt64
  ) throws(Errno) {
    try memory(at: address, count: MemoryLayout<T>.size, write: true).store(value, at: 0)
  }

  /// Reads bytes.
  func copyIn(_ address: UInt64, count: Int) throws(Errno) -> [UInt8] {
    try memory(at: address, count: count, write: false).array
  }

  /// Writes bytes.
  func copyOut(_ bytes: [UInt8], to address: UInt64) throws(Errno) {
    try memory(at: address, count: bytes.count, write: true).copy(bytes)
  }

  /// How long the zero-terminated string at an address is.
  ///
  /// - Throws: `EFAULT`; `ENAMETOOLONG` when no zero comes within `limit` bytes.
  func stringLength(at address: UInt64, limit: Int) throws(Errno) -> Int {
    var length = 0
    while length < limit {
      let at = address &+ UInt64(length)
      let chunk = min(limit - length, 4096 - Int(at & 4095))
      let bytes = try memory(at: at, count: chunk, write: false)
      for index in 0..<chunk where bytes[index] == 0 { return length + index }
      length += chunk
    }
    throw .ENAMETOOLONG
  }

  /// The zero-terminated string at an address, such as a path.
  ///
  /// - Throws: `EFAULT`; `ENAMETOOLONG` when it has `limit` bytes or more.
  func string(at address: UInt64, limit: Int = 4096) throws(Errno) -> [UInt8] {
    let length = try stringLength(at: address, limit: limit)
    return try memory(at: address, count: length, write: false).array
  }
}
