// SPDX-License-Identifier: Apache-2.0
// Descriptor.swift: reading and writing file descriptors whole, in spite of signals.

import Glibc

enum Descriptor {
  /// Writes all bytes, waiting as needed; an error ends the attempt silently.
  @discardableResult
  static func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
    bytes.withUnsafeBytes { buffer in
      var done = 0
      while done < buffer.count {
        let count = Glibc.write(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done)
        if count < 0 {
          if errno == EINTR { continue }
          if errno == EAGAIN {
            var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            poll(&entry, 1, -1)
            continue
          }
          return false
        }
        done += count
      }
      return true
    }
  }

  /// Reads at most `limit` bytes from an offset of a file.
  static func read(_ descriptor: Int32, at offset: UInt64, limit: Int) -> [UInt8]? {
    var failed = false
    let bytes = [UInt8](unsafeUninitializedCapacity: limit) { buffer, filled in
      while filled < limit {
        let count = pread(
          descriptor, buffer.baseAddress.map { $0 + filled }, limit - filled,
          off_t(offset) + off_t(filled))
        if count < 0 {
          if errno == EINTR { continue }
          failed = true
          return
        }
        if count == 0 { return }
        filled += count
      }
    }
    return failed ? nil : bytes
  }

  /// Writes all bytes at an offset of a file.
  static func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) -> Bool {
    var done = 0
    while done < bytes.count {
      let count = pwrite(
        descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done,
        off_t(offset) + off_t(done))
      if count < 0 {
        if errno == EINTR { continue }
        return false
      }
      done += count
    }
    return true
  }

  /// Whether two descriptors lead to the same file, pipe or terminal.
  static func areSame(_ one: Int32, _ other: Int32) -> Bool {
    var first = stat()
    var second = stat()
    guard fstat(one, &first) == 0, fstat(other, &second) == 0 else { return false }
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino
  }

  /// Makes reads and writes return at once.
  static func makeNonblocking(_ descriptor: Int32) {
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
  }
}
