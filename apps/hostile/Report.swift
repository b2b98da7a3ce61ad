// SPDX-License-Identifier: Apache-2.0
// Report.swift: what was checked, and whether it held. One line for each check.

import ApusABI

/// A check with several aspects; the first that does not hold is the one that is told.
struct Check {
  fileprivate let group: StaticString
  fileprivate let name: StaticString
  fileprivate let number: UInt64?
  fileprivate var failure: StaticString?
  fileprivate var actual: UInt64 = 0
  fileprivate var expected: UInt64?

  /// Names a check; a number tells variants apart.
  init(_ group: StaticString, _ name: StaticString, _ number: UInt64? = nil) {
    self.group = group
    self.name = name
    self.number = number
    tell()
  }

  /// Says on the standard error what is tried: should the machine stop, the last such line names the adversary.
  private func tell() {
    var line = Line()
    line.put("# ")
    line.put(group)
    line.put("/")
    line.put(name)
    if let number {
      line.put(" ")
      line.put(number)
    }
    line.send(.error)
  }

  /// Whether everything has held so far.
  var holds: Bool { failure == nil }

  /// Says that something has to hold.
  mutating func expect(_ condition: Bool, _ otherwise: StaticString, _ actual: UInt64 = 0) {
    guard failure == nil, !condition else { return }
    failure = otherwise
    self.actual = actual
  }

  /// Says that two values have to be equal.
  mutating func expect(_ actual: UInt64, equals expected: UInt64, _ otherwise: StaticString) {
    guard failure == nil, actual != expected else { return }
    failure = otherwise
    self.actual = actual
    self.expected = expected
  }
}

/// The count of all checks.
struct Report {
  private(set) var passed: UInt64 = 0
  private(set) var failed: UInt64 = 0
  /// The first checks that failed, told again at the end: a runner shows the end of the output.
  private var failures: InlineArray<8, Check?> = .init(repeating: nil)

  /// Prints a check's result.
  mutating func finish(_ check: Check) {
    if check.holds {
      passed += 1
    } else {
      if failed < UInt64(failures.count) { failures[Int(failed)] = check }
      failed += 1
    }
    Self.print(check)
  }

  /// Prints a check that could not be made: it has failed.
  mutating func notTried(_ check: Check) {
    var check = check
    check.expect(false, "frames or environments for it were refused")
    finish(check)
  }

  private static func print(_ check: Check) {
    var line = Line()
    line.put(check.holds ? "ok " : "not ok ")
    line.put(check.group)
    line.put("/")
    line.put(check.name)
    if let number = check.number {
      line.put(" ")
      line.put(number)
    }
    if let failure = check.failure {
      line.put(": ")
      line.put(failure)
      line.put(": ")
      line.put(hexadecimal: check.actual)
      if let expected = check.expected {
        line.put(", expected ")
        line.put(hexadecimal: expected)
      }
    }
    line.send()
  }

  /// Prints the totals.
  func finish() {
    var line = Line()
    if failed > 0 {
      line.put("failed:")
      line.send()
      for index in failures.indices { if let check = failures[index] { Self.print(check) } }
    }
    line.put(passed)
    line.put(" passed, ")
    line.put(failed)
    line.put(" failed")
    line.send()
  }
}
