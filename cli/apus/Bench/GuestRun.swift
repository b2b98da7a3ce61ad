// SPDX-License-Identifier: Apache-2.0
// GuestRun.swift: one boot of a machine for the bench, and the lines that its bench program printed.

import ApusABI
import Glibc

/// How a guest's console carries text.
enum GuestConsole {
  /// As it is: Linux.
  case text
  /// In console records: Apus.
  case records
}

/// What a boot gave.
struct GuestResult {
  /// Samples of each metric, in counter ticks per operation, in the order they were printed.
  var samples: [Series] = []
  /// Ticks of the guest's counter per second; nil when it never said.
  var clock: Double?
  /// Seconds of the host's clock from starting the emulator to the guest's first bench line.
  var secondsToFirstLine: Double?
  /// Why the run is not complete.
  var failure: String?

  /// One metric's samples.
  struct Series {
    let metric: BenchLine.Metric
    let values: [Double]
    let operations: Double?
    /// What an operation did, when that was counted.
    var events: BenchEvents?
  }
}

enum GuestRun {
  /// Boots a machine and reads its console until the bench program ends, or `seconds` have passed.
  static func boot(_ line: MachineLine, console: GuestConsole, seconds: Int) throws(Failure)
    -> GuestResult
  {
    let start = now()
    var process = try MachineProcess(line)
    defer { process.end() }
    var reader = ConsoleReader(console: console)
    var words = LineAssembler(remembered: 1)
    var result = GuestResult()
    while result.failure == nil {
      let left = Double(seconds) - (now() - start)
      var entries = [
        pollfd(fd: process.output, events: Int16(POLLIN), revents: 0),
        pollfd(fd: process.error, events: Int16(POLLIN), revents: 0),
      ]
      let ready = left > 0 ? poll(&entries, 2, Int32(left * 1000) + 1) : 0
      if ready < 0, errno == EINTR { continue }
      if ready <= 0 { result.failure = "no end after \(seconds) seconds" }
      let said = read(process.error)
      _ = words.add(said ?? [])
      guard let bytes = read(process.output) else {
        result.failure = "the machine stopped before the bench program's end"
        break
      }
      for line in reader.lines(from: bytes) {
        guard let line = BenchLine(line) else { continue }
        if result.secondsToFirstLine == nil { result.secondsToFirstLine = now() - start }
        switch line {
        case .samples(let metric, let values, let operations):
          result.samples.append(.init(metric: metric, values: values, operations: operations))
        case .clock(let ticks): result.clock = ticks
        case .failure(let reason): result.failure = reason
        case .end: return result
        }
      }
      // A closed standard error would end every poll at once; its end is the emulator's.
      if said == nil {
        result.failure = result.failure ?? "the emulator ended before the bench program"
      }
    }
    _ = words.add(read(process.error) ?? [])
    if let last = reader.lastWords ?? words.recent.last ?? words.flush().last {
      result.failure = result.failure.map { "\($0); its last words: \(last)" }
    }
    return result
  }

  /// What has arrived, at most one buffer; nil at the end.
  private static func read(_ descriptor: Int32) -> ArraySlice<UInt8>? {
    var part = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = Glibc.read(descriptor, &part, part.count)
      if count > 0 { return part[..<count] }
      if count < 0, errno == EINTR { continue }
      return count < 0 && errno == EAGAIN ? [] : nil
    }
  }

  private static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}

/// Turns a console's bytes into lines.
struct ConsoleReader {
  private let console: GuestConsole
  private var decoder = RecordDecoder()
  private var text = LineAssembler(remembered: 0)
  /// The last line that is not for the bench.
  private(set) var lastWords: String?

  init(console: GuestConsole) {
    self.console = console
  }

  /// The lines that these bytes complete.
  mutating func lines(from bytes: ArraySlice<UInt8>) -> [String] {
    var lines: [String] = []
    switch console {
    case .text:
      lines = text.add(bytes)
    case .records:
      decoder.append(bytes)
      while let record = decoder.next() {
        switch record.stream {
        case .output, .error: lines += text.add(record.payload)
        case .notice, .log, .trace: lines += text.add(Array(record.payload) + [0x0a])
        case .crash: lines += CrashReader(CodeFiles()).lines(record.payload)
        case .exit, .terminal, .program: break
        }
      }
      // Where no record can start, a kernel in trouble writes plain text.
      if let last = shown(decoder.stray).split(separator: "\n").last { lastWords = String(last) }
    }
    let plain = lines.last { !$0.contains("@@ {") && $0.contains { !$0.isWhitespace } }
    if let plain { lastWords = plain }
    return lines
  }
}
