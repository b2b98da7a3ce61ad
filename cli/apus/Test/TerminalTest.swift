// SPDX-License-Identifier: Apache-2.0
// TerminalTest.swift: a test that types at a terminal and waits for what appears there.
//
// Each line that is no comment is a step: `expect TEXT` waits for a text after the last one found, `send TEXT`
// types, `insist TEXT` waits likewise and types what was sent last again now and then, `size ROWS COLUMNS` resizes
// the window, `status N` waits for the end. \n, \r, \t, \e and \xNN are understood.

import CHost
import Glibc

struct TerminalTest {
  private let run: TestRun

  init(_ run: TestRun) { self.run = run }

  private enum Step {
    case expect([UInt8])
    /// For a program that can lose a signal: readline, between its last look for one and its wait for a key.
    case insist([UInt8])
    case send([UInt8])
    case size(rows: UInt16, columns: UInt16)
    case status(Int32)
  }

  private func steps() -> [Step]? {
    guard let contents = try? HostFile.contents(run.testCase.file) else { return nil }
    var steps: [Step] = []
    for line in shown(contents).split(separator: "\n") where !line.hasPrefix("#") {
      let split = line.firstIndex(of: " ") ?? line.endIndex
      let rest = String(line[split...].dropFirst())
      let numbers = rest.split(separator: " ").compactMap { UInt16($0) }
      switch line[..<split] {
      case "expect": steps.append(.expect(Words.unescaped(rest)))
      case "insist": steps.append(.insist(Words.unescaped(rest)))
      case "send": steps.append(.send(Words.unescaped(rest)))
      case "size" where numbers.count == 2: steps.append(.size(rows: numbers[0], columns: numbers[1]))
      case "status" where numbers.count == 1: steps.append(.status(Int32(numbers[0])))
      default: return nil
      }
    }
    return steps
  }

  /// Tries it on the host first if the case says so: a case that the host fails proves nothing.
  func verdict() -> Verdict {
    guard let steps = steps() else {
      return .failed("it has a step that is none of expect, insist, send, size, status")
    }
    if let host = run.host {
      if case .failed(let reason) = follow(steps, host) { return .failed("on the host: \(reason)") }
    }
    return follow(steps, run.machine)
  }

  private func follow(_ steps: [Step], _ command: TestCommand) -> Verdict {
    var master: Int32 = -1
    let identifier = withCStrings(command.arguments) { arguments in
      withCStrings(command.environment + ["TERM=vt100"]) { environment in
        HostFile.withPath(command.directory) {
          chost_spawn_at_terminal(command.arguments[0], arguments, environment, $0, &master)
        }
      }
    }
    guard identifier > 0 else { return .notRun("no terminal can be made: \(describe(errno: -identifier))") }
    defer { close(master) }
    var status: Int32?
    defer {
      if status == nil {
        kill(identifier, SIGKILL)
        var raw: Int32 = 0
        waitpid(identifier, &raw, 0)
      }
    }
    let deadline = Clock.now() + UInt64(command.timeoutSeconds * 1e9)
    var seen: [UInt8] = []
    var searched = 0
    var sent: [UInt8] = []
    func failure(_ reason: String) -> Verdict {
      .failed("\(reason)\nthe terminal showed:\n\(shown(seen.suffix(1500)))")
    }
    for step in steps {
      switch step {
      case .send(let bytes):
        sent = bytes
        Descriptor.writeAll(master, bytes)
      case .size(let rows, let columns): chost_set_terminal_size(master, rows, columns)
      case .expect(let text), .insist(let text):
        var patience = deadline
        if case .insist = step { patience = min(Clock.now() + Self.patience, deadline) }
        while true {
          if let end = Self.find(text, in: seen, from: searched) {
            searched = end
            break
          }
          if Self.more(master, &seen, until: patience) { continue }
          // Before its time: the terminal is gone.
          guard Clock.now() >= patience, patience < deadline else {
            return failure("never seen: \(String(decoding: text, as: UTF8.self))")
          }
          Descriptor.writeAll(master, sent)
          patience = min(Clock.now() + Self.patience, deadline)
        }
      case .status(let expected):
        while Self.more(master, &seen, until: deadline) {}
        var raw: Int32 = 0
        while waitpid(identifier, &raw, WNOHANG) == 0 {
          guard Clock.now() < deadline else { return failure("it did not end") }
          usleep(10_000)
        }
        let actual = chost_exit_status(raw)
        status = actual
        guard actual == expected else { return failure("status \(actual), expected \(expected)") }
        // The master outlives the program, and with it the terminal's settings.
        guard chost_terminal_is_cooked(master) == 1 else { return failure("it left the terminal in raw mode") }
      }
    }
    return .passed
  }

  /// How long `insist` waits before it types again, in nanoseconds.
  private static let patience: UInt64 = 5_000_000_000

  private static func find(_ text: [UInt8], in seen: [UInt8], from start: Int) -> Int? {
    guard seen.count - start >= text.count else { return nil }
    for offset in start...(seen.count - text.count)
    where seen[offset..<(offset + text.count)].elementsEqual(text) {
      return offset + text.count
    }
    return nil
  }

  /// Reads what the terminal shows next; false when it is gone or the time is over.
  private static func more(_ master: Int32, _ seen: inout [UInt8], until deadline: UInt64) -> Bool {
    let now = Clock.now()
    guard now < deadline else { return false }
    var entry = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
    guard poll(&entry, 1, Int32(min((deadline - now) / 1_000_000 + 1, 600_000))) > 0 else { return false }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = read(master, &buffer, buffer.count)
    guard count > 0 else { return false }
    seen += buffer[..<count]
    return true
  }
}
