// SPDX-License-Identifier: Apache-2.0
// TestRunner.swift: runs test commands two at a time and judges what they did.

import CHost
import Glibc

/// What became of one run.
enum Verdict {
  case passed
  case failed(String)
  case notRun(String)
}

/// Runs commands as child processes, a few at once.
struct TestRunner {
  /// A child that runs, and where its output goes.
  private struct Child {
    let index: Int
    let isHost: Bool
    let identifier: pid_t
    let output: Int32
    let error: Int32
    let deadline: UInt64
    var timedOut = false
  }

  private struct Output {
    var status: Int32
    var output: [UInt8]
    var error: [UInt8]
    var timedOut: Bool
  }

  let parallel: Int
  /// Called as each verdict is reached.
  let report: (TestRun, Verdict) -> Void

  /// Runs everything; a run's host command comes before its machine command.
  func run(_ runs: [TestRun]) {
    var waiting = runs.indices.reversed().map { $0 }
    var children: [Child] = []
    var hostOutputs: [Int: Output] = [:]
    var ending = sigset_t()
    sigemptyset(&ending)
    sigaddset(&ending, SIGCHLD)
    sigprocmask(SIG_BLOCK, &ending, nil)
    while !waiting.isEmpty || !children.isEmpty {
      while children.count < parallel, let index = waiting.popLast() {
        if runs[index].testCase.kind == .terminal {
          report(runs[index], TerminalTest(runs[index]).verdict())
          continue
        }
        let needsHost = runs[index].host != nil && hostOutputs[index] == nil
        let command = needsHost ? runs[index].host ?? runs[index].machine : runs[index].machine
        guard let child = start(command, index, isHost: needsHost) else {
          report(runs[index], .failed("\(command.arguments[0]) cannot be started"))
          continue
        }
        children.append(child)
      }
      guard !children.isEmpty else { continue }
      waitBriefly()
      for position in children.indices.reversed() {
        var raw: Int32 = 0
        let ended = waitpid(children[position].identifier, &raw, WNOHANG)
        guard ended != 0 else {
          if Clock.now() > children[position].deadline, !children[position].timedOut {
            children[position].timedOut = true
            kill(-children[position].identifier, SIGKILL)
            kill(children[position].identifier, SIGKILL)
          }
          continue
        }
        let child = children.remove(at: position)
        let output = collect(child, status: chost_exit_status(raw))
        if child.isHost {
          hostOutputs[child.index] = output
          waiting.append(child.index)
        } else {
          let run = runs[child.index]
          report(run, judge(run, output, host: hostOutputs.removeValue(forKey: child.index)))
        }
      }
    }
  }

  private func start(_ command: TestCommand, _ index: Int, isHost: Bool) -> Child? {
    let output = chost_nameless_file("/tmp")
    let error = chost_nameless_file("/tmp")
    guard output >= 0, error >= 0 else { return nil }
    var input: Int32 = -1
    if let path = command.input { input = (try? HostFile.open(path)) ?? -1 }
    defer { if input >= 0 { close(input) } }
    let identifier = HostTool.start(
      command.arguments, environment: command.environment, directory: command.directory,
      input: input, output: output, error: error)
    guard identifier > 0 else {
      close(output)
      close(error)
      return nil
    }
    return Child(
      index: index, isHost: isHost, identifier: identifier, output: output, error: error,
      deadline: Clock.now() + UInt64(command.timeoutSeconds * 1e9))
  }

  /// Waits until a child ends, or for a moment: whichever comes first.
  private func waitBriefly() {
    var set = sigset_t()
    sigemptyset(&set)
    sigaddset(&set, SIGCHLD)
    var limit = timespec(tv_sec: 0, tv_nsec: 100_000_000)
    sigtimedwait(&set, nil, &limit)
  }

  private func collect(_ child: Child, status: Int32) -> Output {
    // What it left in the background ends with it.
    kill(-child.identifier, SIGKILL)
    defer {
      close(child.output)
      close(child.error)
    }
    return Output(
      status: status, output: HostTool.contents(child.output),
      error: HostTool.contents(child.error), timedOut: child.timedOut)
  }

  // MARK: judging

  private func judge(_ run: TestRun, _ result: Output, host: Output?) -> Verdict {
    let testCase = run.testCase
    func failure(_ reason: String) -> Verdict {
      let words = shown(result.error.suffix(2000))
      return .failed(words.isEmpty ? reason : "\(reason)\nits standard error ended with:\n\(words)")
    }
    guard !result.timedOut else { return failure("it did not end in time, nor did apus run") }
    if let host {
      if host.timedOut { return .notRun("the host did not finish it in time") }
      guard testCase.kind == .programs || result.status == host.status else {
        return failure(
          "status \(result.status) where the host has \(host.status)\n"
            + (Self.difference(host.output, result.output) ?? ""))
      }
      for (name, output) in Self.outputs(testCase, result.output) {
        if let difference = Self.difference(host.output, output) { return failure(name + difference) }
      }
    }
    for promise in testCase.values("keeps") {
      if let reason = Self.brokenPromise(promise, result.error) { return failure(reason) }
    }
    if testCase.value("beside") != nil, result.status == Self.mayNot {
      let words = shown(result.error.suffix(200)).split(separator: "\n").last
      return .notRun(words.map { String($0) } ?? "it may not be run here")
    }
    if let expected = testCase.expectedStatus, expected != result.status {
      return failure("status \(result.status), expected \(expected)\n\(shown(result.output.suffix(1000)))")
    }
    if let name = testCase.value("stdout") {
      let folder = PathWalk.join(Array(PathWalk.components(testCase.file).dropLast()))
      guard let expected = try? HostFile.contents(folder + Path("/\(name)".utf8)) else {
        return .failed("\(name) cannot be read")
      }
      if let difference = Self.difference(expected, result.output) { return failure(difference) }
    }
    for text in testCase.values("stdout-has") where !Self.contains(result.output, Words.unescaped(text)) {
      return failure("its output lacks: \(text)\n\(shown(result.output.suffix(1000)))")
    }
    for text in testCase.values("stderr-has") where !Self.contains(result.error, Words.unescaped(text)) {
      return failure("its standard error lacks: \(text)")
    }
    return .passed
  }

  /// What is compared with the host's output: all of it, or the lines of each of several programs without their labels.
  private static func outputs(_ testCase: TestCase, _ output: [UInt8]) -> [(String, [UInt8])] {
    guard let names = testCase.value("programs") else { return [("", output)] }
    let lines = output.split(separator: 0x0a, omittingEmptySubsequences: false)
    return Words.split(names).map { name in
      let label = Array("\(name) | ".utf8)
      return (name + ": ", lines.filter { $0.starts(with: label) }.flatMap { $0.dropFirst(label.count) + [0x0a] })
    }
  }

  /// Whether a program had the part of its CPU that its contract promises, within 2 %, in all but one of a hundred periods.
  ///
  /// - Parameters:
  ///   - promise: The program and its part in per cent.
  ///   - log: What the start environment told at the end.
  /// - Returns: What is wrong; nil if nothing is.
  private static func brokenPromise(_ promise: String, _ log: [UInt8]) -> String? {
    let words = Words.split(promise)
    guard words.count == 2, let percent = Double(words[1]) else {
      return "keeps takes a program and a part: \(promise)"
    }
    let start = "\(words[0]): contract used "
    guard let line = shown(log).split(separator: "\n").last(where: { $0.hasPrefix(start) }) else {
      return "nothing was told of the contract of \(words[0])"
    }
    let numbers = line.split { !$0.isNumber }.compactMap { Double($0) }.suffix(4)
    guard numbers.count == 4, let used = numbers.first, numbers[numbers.startIndex + 1] > 0 else {
      return "no numbers in: \(line)"
    }
    let part = used / numbers[numbers.startIndex + 1] * 100
    let (missed, periods) = (numbers[numbers.startIndex + 2], numbers[numbers.startIndex + 3])
    guard abs(part - percent) <= percent * 0.02, missed * 100 <= periods else {
      return "\(words[0]) had \(part) % of its CPU where its contract promises \(percent) %: \(line)"
    }
    return nil
  }

  /// How a program beside the machine says that it may not do here what it has to.
  private static let mayNot: Int32 = 77

  /// The first line in which two outputs differ; nil if they are equal.
  static func difference(_ expected: [UInt8], _ actual: [UInt8]) -> String? {
    guard expected != actual else { return nil }
    let left = expected.split(separator: 0x0a, omittingEmptySubsequences: false)
    let right = actual.split(separator: 0x0a, omittingEmptySubsequences: false)
    var line = 0
    while line < left.count, line < right.count, left[line] == right[line] { line += 1 }
    func text(_ lines: [ArraySlice<UInt8>]) -> String {
      line < lines.count ? shown(lines[line].prefix(300)) : "(nothing more)"
    }
    return "line \(line + 1) of the output differs\nexpected: \(text(left))\nactual:   \(text(right))"
  }

  static func contains(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
    guard !part.isEmpty, bytes.count >= part.count else { return part.isEmpty }
    return (0...(bytes.count - part.count)).contains { bytes[$0..<($0 + part.count)].elementsEqual(part) }
  }
}

/// A clock that only rises.
enum Clock {
  static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
