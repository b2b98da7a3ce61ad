// SPDX-License-Identifier: Apache-2.0
// TopTests.swift: what each environment did between two looks, as text and as JSON, and `top` at a terminal.

import CApusABI
import CHost
import Foundation
import Testing

@testable import apus

@Suite struct TopTests {
  private func machine() throws -> MemoryFile {
    let file = try MemoryFile()
    file.setEnvironment(0) {
      $0.account = 1
      $0.handle = 1 << 32 | 1
      $0.slices_used = 10
      $0.ticks_used = 1000
      $0.calls = 3
    }
    file.setEnvironment(3) {
      $0.account = 7
      $0.handle = 2 << 32 | 4
      $0.state = UInt32(APUS_ENVIRONMENT_SLEEPING)
      $0.ticks_used = 3000
      $0.polling_ticks = 1500
      $0.slices_donated = 8
    }
    file.setAccount(7) { $0.frames = apus_budget(limit: 100, used: 55) }
    return file
  }

  @Test func `counters are those since the look before, and those of a new environment its own`() throws {
    let file = try machine()
    let first = MachineTop(try file.state())
    #expect(first.entries.map(\.slot) == [0, 3])
    #expect(first.entries[0].recent[.slices] == 10)
    file.setEnvironment(0) {
      $0.account = 1
      $0.handle = 1 << 32 | 1
      $0.slices_used = 14
      $0.ticks_used = 1600
      $0.calls = 3
    }
    file.setEnvironment(3) {
      $0.account = 9
      $0.handle = 3 << 32 | 4
      $0.slices_used = 2
    }
    let second = MachineTop(try file.state(), after: first)
    #expect(second.entries[0].recent[.slices] == 4)
    #expect(second.entries[0].recent[.calls] == 0)
    #expect(second.entries[0].totals[.slices] == 14)
    #expect(second.entries[1].recent[.slices] == 2)
    #expect(second.busyTicks == 600)
  }

  @Test func `a line has the part of the time and the part of that spent on polling`() throws {
    let lines = MachineTop(try machine().state()).lines(
      title: "m", names: [7: "sort"], order: .donated,
      style: TextStyle(columns: 200, rows: 10, isColored: false))
    #expect(lines.count == 4)
    let words = lines[2].split(separator: " ").map(String.init)
    #expect(words == ["3", "7", "sort", "sleeping", "75.0", "50.0", "0", "0", "8", "0", "55", "0", "0", "0", "0"])
  }

  @Test func `a screen's width and height are kept`() throws {
    let lines = MachineTop(try machine().state()).lines(
      title: "m", names: [:], order: nil, style: TextStyle(columns: 40, rows: 4, isColored: false))
    #expect(lines.count == 3)
    #expect(lines.dropFirst().allSatisfy { $0.count <= 40 })
  }

  @Test func `the JSON is one`() throws {
    let text = MachineTop(try machine().state()).json([("machine", "\"m\"")])
    let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
    let environments = try #require(object?["environments"] as? [[String: Any]])
    #expect((environments[1]["total"] as? [String: Int])?["polling"] == 1500)
  }
}

@Suite(.serialized, .enabled(if: Built.isComplete, "build/ is not complete")) struct TopMachineTests {
  @Test func `two machines are told apart, and none is said to be none`() throws {
    let one = try LiveMachine(["--name", "one", "/bin/busybox", "sleep", "100"])
    defer { one.end() }
    _ = try one.pages()
    for command in ["top", "map"] {
      let alone = try one.apus(command, "--json", command == "top" ? "--once" : "one")
      #expect(alone.status == 0 && alone.output.contains("\"machine\": \"one\""), "\(alone.error)")
    }
    let two = try LiveMachine(["--name", "two", "/bin/busybox", "sleep", "100"], folder: one.folder)
    let entry = try two.entry(named: "two")
    let unclear = try one.apus("map")
    #expect(unclear.status == 64 && unclear.error.contains("one, two"))
    #expect(try one.apus("map", "--json", "two").output.contains("\"machine\": \"two\""))
    #expect(try one.apus("map", "--json", "\(entry.process)").output.contains("\"machine\": \"two\""))
    two.stop()
    one.stop()
    for command in ["top", "map"] {
      let nothing = try one.apus(command)
      #expect(nothing.status == 64 && nothing.error.contains("no machine is running"), "\(nothing.error)")
    }
  }

  @Test func `at a terminal top draws a screen, sorts by a key, and leaves everything as it was`() throws {
    let machine = try LiveMachine(["--name", "load"] + MapMachineTests.load)
    defer { machine.end() }
    _ = try machine.pages()
    let terminal = try TypedTerminal(["top", "--every", "50", "load"], machine)
    try terminal.expect("load: 1 CPU")
    try terminal.expect("poll%")
    try terminal.expect("by number")
    terminal.type("c")
    try terminal.expect("by calls")
    terminal.resize(rows: 10, columns: 60)
    try terminal.expect("\u{1b}[H")
    terminal.type("q")
    #expect(try terminal.finish() == 0)
    #expect(terminal.text.hasSuffix("\u{1b}[?25h\u{1b}[?1049l"))
    #expect(terminal.isCooked)
  }

  @Test func `at a terminal the map has colours, and none with NO_COLOR`() throws {
    let machine = try LiveMachine(["--name", "load"] + MapMachineTests.load)
    defer { machine.end() }
    _ = try machine.pages()
    let colored = try TypedTerminal(["map", "load"], machine)
    #expect(try colored.finish() == 0)
    #expect(colored.text.contains("\u{1b}[48;5;") && colored.text.contains("cpu 0"))
    let plain = try TypedTerminal(["map", "load"], machine, variables: ["NO_COLOR": "1"])
    #expect(try plain.finish() == 0)
    #expect(!plain.text.contains("\u{1b}") && plain.text.contains("####"))
  }
}

/// A command at a terminal that tests type at.
final class TypedTerminal {
  private var master: Int32 = -1
  private let process: pid_t
  private var seen: [UInt8] = []
  private var searched = 0
  private var status: Int32?

  init(_ words: [String], _ machine: LiveMachine, variables: [String: String] = [:]) throws {
    let environment = machine.environment.merging(variables) { $1 }.map { "\($0.key)=\($0.value)" }
    var side: Int32 = -1
    let folder = machine.folder.path
    process = withCStrings([Built.command] + words) { arguments in
      withCStrings(environment) { chost_spawn_at_terminal(Built.command, arguments, $0, folder, &side) }
    }
    master = side
    guard process > 0 else { throw Failure(sentence: "no terminal", status: 1) }
  }

  deinit {
    if status == nil {
      kill(process, SIGKILL)
      var raw: Int32 = 0
      waitpid(process, &raw, 0)
    }
    close(master)
  }

  var text: String { String(decoding: seen, as: UTF8.self) }
  var isCooked: Bool { chost_terminal_is_cooked(master) == 1 }

  func type(_ text: String) { Descriptor.writeAll(master, Array(text.utf8)) }
  func resize(rows: UInt16, columns: UInt16) { chost_set_terminal_size(master, rows, columns) }

  /// Reads on; false when the terminal is gone, or nothing has come for a long time.
  private func more() -> Bool {
    var entry = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
    guard poll(&entry, 1, 60_000) > 0 else { return false }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = read(master, &buffer, buffer.count)
    guard count > 0 else { return false }
    seen += buffer[..<count]
    return true
  }

  /// Waits for a text behind the last one that was found.
  func expect(_ text: String) throws {
    let wanted = Array(text.utf8)
    while true {
      if seen.count - searched >= wanted.count {
        for at in searched...(seen.count - wanted.count) where seen[at..<at + wanted.count].elementsEqual(wanted) {
          searched = at + wanted.count
          return
        }
      }
      guard more() else { throw Failure(sentence: "never seen: \(text) in \(self.text.suffix(500))", status: 1) }
    }
  }

  /// Waits for the end.
  func finish() throws -> Int32 {
    while more() {}
    var raw: Int32 = 0
    guard waitpid(process, &raw, 0) == process else { throw Failure(sentence: "it is gone", status: 1) }
    let result = chost_exit_status(raw)
    status = result
    return result
  }
}
