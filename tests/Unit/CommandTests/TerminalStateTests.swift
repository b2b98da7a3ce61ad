// SPDX-License-Identifier: Apache-2.0
// TerminalStateTests.swift: however `apus run` ends, the terminal is as it was.

import CHost
import Foundation
import Testing

@Suite struct TerminalStateTests {
  let workshop: Workshop

  init() throws { workshop = try Workshop() }

  /// Starts the command at a terminal and waits until its program speaks.
  private func start(_ master: inout Int32) throws -> pid_t {
    let words = [
      Workshop.binaries.appendingPathComponent("apus").path, "run", "--timeout", "60", try workshop.program(),
      "records",
    ]
    let variables = [
      "APUS_HOME=\(workshop.folder.path)",
      "APUS_QEMU=\(Workshop.binaries.appendingPathComponent("FakeMachine").path)",
    ]
    var arguments = words.map { strdup($0) } + [nil]
    var environment = variables.map { strdup($0) } + [nil]
    defer { for text in arguments + environment { free(text) } }
    let identifier = chost_spawn_at_terminal(words[0], &arguments, &environment, "/", &master)
    #expect(identifier > 0)
    #expect(wait(for: "ready", master))
    return identifier
  }

  private func wait(for text: String, _ master: Int32) -> Bool {
    var seen = ""
    var entry = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
    while !seen.contains(text), poll(&entry, 1, 20_000) > 0 {
      var buffer = [UInt8](repeating: 0, count: 1000)
      let count = read(master, &buffer, buffer.count)
      guard count > 0 else { return false }
      seen += String(decoding: buffer[..<count], as: UTF8.self)
    }
    return seen.contains(text)
  }

  private func end(_ identifier: pid_t) -> Int32 {
    var status: Int32 = 0
    waitpid(identifier, &status, 0)
    return chost_exit_status(status)
  }

  @Test(arguments: [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGSEGV, SIGABRT, SIGILL])
  func `a signal leaves the terminal as it was`(signal: Int32) throws {
    var master: Int32 = -1
    let identifier = try start(&master)
    defer { close(master) }
    #expect(chost_terminal_is_cooked(master) == 0)
    kill(identifier, signal)
    #expect(end(identifier) == 128 + signal)
    #expect(chost_terminal_is_cooked(master) == 1)
  }

  @Test func `keys reach the program raw, and its end restores the terminal`() throws {
    var master: Int32 = -1
    let identifier = try start(&master)
    defer { close(master) }
    #expect(write(master, "\u{3}\u{1a}q", 3) == 3)
    #expect(wait(for: "113]", master))
    #expect(end(identifier) == 0)
    #expect(chost_terminal_is_cooked(master) == 1)
  }

  @Test func `a new size of the window is told`() throws {
    var master: Int32 = -1
    let identifier = try start(&master)
    defer { close(master) }
    chost_set_terminal_size(master, 30, 100)
    #expect(wait(for: "windowSize [30, 0, 100, 0]", master))
    #expect(write(master, "q", 1) == 1)
    #expect(end(identifier) == 0)
  }

  @Test func `a stopped command gives the terminal back until it goes on`() throws {
    var master: Int32 = -1
    let identifier = try start(&master)
    defer { close(master) }
    kill(identifier, SIGSTOP)
    kill(identifier, SIGCONT)
    #expect(write(master, "q", 1) == 1)
    #expect(wait(for: "113]", master))
    #expect(end(identifier) == 0)
    #expect(chost_terminal_is_cooked(master) == 1)
  }
}
