// SPDX-License-Identifier: Apache-2.0
// HostTests.swift: runs `swift test` and counts what it says.

import Glibc

/// How many tests passed, failed and were not run.
struct TestCount {
  var passed = 0
  var failed = 0
  var skipped = 0

  static func += (left: inout TestCount, right: TestCount) {
    left.passed += right.passed
    left.failed += right.failed
    left.skipped += right.skipped
  }

  /// The last line of `apus test`.
  var text: String { "\(passed) passed, \(failed) failed, \(skipped) skipped" }
}

struct HostTests {
  let home: Home
  let isLong: Bool

  /// Builds and runs the host's tests; says what failed.
  func run() -> TestCount {
    if isLong { setenv("APUS_LONG", "10", 1) } else { unsetenv("APUS_LONG") }
    var arguments = ["swift", "test", "--package-path", shown(home.path)]
    if let scratch = getenv("SCRATCH"), scratch.pointee != 0 {
      arguments += ["--scratch-path", String(cString: scratch)]
    }
    guard let result = HostTool.run(arguments, directory: home.path) else {
      Diagnostics.tell("FAIL     swift test cannot be started")
      return TestCount(failed: 1)
    }
    let count = Self.count(result.text)
    guard result.status != 0 else { return count }
    let lines = result.text.split(separator: "\n")
    let signs = ["error:", "✘", "recorded an issue", "Fatal error"]
    let complaints = lines.filter { line in signs.contains { line.contains($0) } }
    Diagnostics.tell("FAIL     swift test:")
    for line in complaints.isEmpty ? lines.suffix(30) : complaints.suffix(60) {
      Diagnostics.tell("         \(line)")
    }
    for name in Self.unfinished(lines) { Diagnostics.tell("         it was at: \(name)") }
    let log = home.path + Path("/build/host-tests.log".utf8)
    if let stream = HostFile.withPath(log, { fopen($0, "w") }) {
      fwrite(result.output, 1, result.output.count, stream)
      fclose(stream)
      Diagnostics.tell("         all it said is in \(shown(log))")
    }
    var failing = count
    // A crash or a build that fails has no result of its own.
    if failing.failed == 0 { failing.failed = 1 }
    return failing
  }

  /// The tests that began and never ended: where a crash happened.
  static func unfinished(_ lines: [Substring]) -> [String] {
    var open: [String] = []
    for line in lines {
      guard let start = line.firstRange(of: "Test ") else { continue }
      let rest = line[start.upperBound...]
      guard !rest.hasPrefix("run "), !rest.hasPrefix("case ") else { continue }
      if rest.hasSuffix(" started.") { open.append(String(rest.dropLast(9))) }
      let isEnd = rest.contains(" passed after ") || rest.contains(" failed after ")
      if isEnd { open.removeAll { rest.hasPrefix($0 + " ") } }
    }
    return open
  }

  /// Counts Swift Testing's lines; a test's line starts with a symbol and "Test".
  static func count(_ text: String) -> TestCount {
    var count = TestCount()
    for line in text.split(separator: "\n") {
      guard let start = line.firstRange(of: "Test ") else { continue }
      let rest = line[start.upperBound...]
      // "Test run with ..." and "Test case ..." sum up or detail what is counted already.
      guard !rest.hasPrefix("run "), !rest.hasPrefix("case ") else { continue }
      if rest.contains(" passed after ") { count.passed += 1 }
      if rest.contains(" failed after ") { count.failed += 1 }
      if rest.contains(" skipped") { count.skipped += 1 }
    }
    return count
  }
}
