// SPDX-License-Identifier: Apache-2.0
// Measurement.swift: a native program's figures as lines for `apus bench`; bench/README.md says what they look like.

import ApusABI

/// Samples of one figure, printed as one line.
struct Measurement {
  private let name: StaticString
  private let metric: StaticString
  private var samples: InlineArray<16, UInt64> = .init(repeating: 0)
  private var count = 0
  private var operations: UInt64 = 0

  init(_ name: StaticString, _ metric: StaticString) {
    self.name = name
    self.metric = metric
  }

  /// Adds what so many operations took; of counts other than instructions the same.
  mutating func add(_ ticks: UInt64, operations: UInt64) {
    guard count < samples.count, operations > 0 else { return }
    samples[count] = ticks * 1000 / operations
    count += 1
    self.operations += operations
  }

  /// The samples' median, in thousandths.
  var median: UInt64 {
    var sorted = samples
    for index in 1..<max(1, count) {
      var at = index
      while at > 0, sorted[at - 1] > sorted[at] {
        sorted.swapAt(at - 1, at)
        at -= 1
      }
    }
    return sorted[count / 2]
  }

  /// Prints the line; `mark_sum` goes before it, so that what the bench counted beside belongs to it.
  func tell() {
    mark_sum()
    var line = Line()
    line.put("@@ {\"case\":\"")
    line.put(name)
    line.put("\",\"metric\":\"")
    line.put(metric)
    line.put("\",\"instructions\":")
    line.put(thousandths: median)
    line.put(",\"operations\":")
    line.put(operations)
    line.put(",\"samples\":[")
    for index in 0..<count {
      if index > 0 { line.put(",") }
      line.put(thousandths: samples[index])
    }
    line.put("]}")
    line.end()
  }

  /// Prints what the bench takes for the end of the boot.
  static func tellStart() {
    mark_sum_of_all()
    var line = Line()
    line.put("@@ {\"case\":\"boot\",\"metric\":\"op\",\"instructions\":")
    line.put(first_ring3_ticks())
    line.put("}")
    line.end()
  }

  /// Prints what the bench waits for at the end.
  static func tellEnd() {
    var line = Line()
    line.put("@@ {\"clock\":")
    line.put(ticks_per_second())
    line.put("}\n@@ {\"end\":true}")
    line.end()
  }
}
