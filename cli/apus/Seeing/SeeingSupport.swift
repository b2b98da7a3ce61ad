// SPDX-License-Identifier: Apache-2.0
// SeeingSupport.swift: the terminal, files and time of the commands that watch machines.

import CHost
import Glibc

extension TextStyle {
  /// How standard output wants it: colours only on a terminal, and not if NO_COLOR is set to anything.
  static var standard: TextStyle {
    var rows: UInt16 = 0
    var columns: UInt16 = 0
    let isTerminal = isatty(1) == 1
    let hasSize = isTerminal && chost_terminal_size(1, &rows, &columns) == 0 && rows > 0 && columns > 0
    var isColored = isTerminal
    if let value = getenv("NO_COLOR"), value.pointee != 0 { isColored = false }
    if let value = getenv("TERM"), String(cString: value) == "dumb" { isColored = false }
    return TextStyle(columns: hasSize ? Int(columns) : 80, rows: hasSize ? Int(rows) : 24, isColored: isColored)
  }
}

enum SeeingFile {
  /// Writes a file, whole or not at all.
  static func write(_ text: String, to path: String) throws(Failure) {
    try write(Array(text.utf8), to: path)
  }

  /// Writes a file, whole or not at all.
  static func write(_ bytes: [UInt8], to path: String) throws(Failure) {
    do { try BenchFile.write(bytes, to: path) } catch {
      throw Failure(sentence: "\(path) cannot be written: \(describe(errno: errno))", status: Status.usage)
    }
  }
}

enum SeeingClock {
  /// Time that only goes forward.
  static func milliseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
  }
}

/// SIGINT, SIGTERM and SIGHUP as something to wait for.
struct StopRequest {
  /// From here on the signals are reported and have no effect of their own.
  let descriptor = chost_signals()

  /// Waits.
  ///
  /// - Returns: Whether somebody wants this process to end.
  func wait(milliseconds: Int) -> Bool {
    let end = SeeingClock.milliseconds() + milliseconds
    while true {
      var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      let left = max(0, end - SeeingClock.milliseconds())
      guard poll(&entry, 1, Int32(left)) > 0 else { return false }
      while true {
        let number = chost_next_signal(descriptor)
        if number == 0 { break }
        if number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT { return true }
      }
    }
  }
}
