// SPDX-License-Identifier: Apache-2.0
// Failure.swift: what went wrong, in a sentence for a person, and the status the command ends with.

import Glibc

/// The statuses of the host command's own failures; env(1), timeout(1) and sysexits(3) use the same.
enum Status {
  static let usage: Int32 = 64
  static let timeout: Int32 = 124
  static let machine: Int32 = 125
  static let notRunnable: Int32 = 126
  static let notFound: Int32 = 127
}

/// A failure that ends the command: one sentence and a status.
struct Failure: Error {
  let sentence: String
  let status: Int32
}

/// The command's own messages; they go to standard error and start with "apus: ".
enum Diagnostics {
  /// While the terminal is raw, lines end with a carriage return as well.
  nonisolated(unsafe) static var lineEnd = "\n"

  static func say(_ sentence: String) {
    write("apus: " + sentence)
  }

  /// Writes a line to standard output at once.
  static func tell(_ line: String) {
    Descriptor.writeAll(1, Array((line + "\n").utf8))
  }

  /// Writes lines as they are.
  static func write(_ text: String) {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    var bytes = [UInt8](lines.joined(separator: lineEnd).utf8)
    bytes += [UInt8](lineEnd.utf8)
    Descriptor.writeAll(2, bytes)
  }
}

/// The words of the C library for an error number.
func describe(errno number: Int32) -> String {
  var buffer = [CChar](repeating: 0, count: 256)
  guard strerror_r(number, &buffer, buffer.count) == 0 else { return "error \(number)" }
  return shown(buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) })
}

/// Bytes of a path or an argument as text to show.
func shown(_ bytes: some Sequence<UInt8>) -> String {
  String(decoding: Array(bytes), as: UTF8.self)
}
