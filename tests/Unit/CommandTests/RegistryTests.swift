// SPDX-License-Identifier: Apache-2.0
// RegistryTests.swift: `apus ps`, `stop` and `logs` find machines that run, tell them apart, and forget the dead.

import Foundation
import Testing

@testable import apus

@Suite struct RegistryTests {
  let workshop: Workshop

  init() throws { workshop = try Workshop() }

  /// Starts a machine that writes "ready" and waits for its input's end.
  private func start(_ options: String...) throws -> (process: Process, input: Pipe) {
    let input = Pipe()
    let process = workshop.command(["run"] + options + [try workshop.program(), "records"], input: input)
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
    var text = Data()
    while !String(decoding: text, as: UTF8.self).contains("ready\n") {
      let more = output.fileHandleForReading.availableData
      if more.isEmpty { break }
      text += more
    }
    return (process, input)
  }

  @Test func `without machines each command says so`() throws {
    #expect(try workshop.apus("ps").error == "apus: no machine is running\n")
    for command in ["stop", "logs"] {
      let result = try workshop.apus(command)
      #expect(result.status == 64)
      #expect(result.error == "apus: no machine is running; start one with: apus run\n")
    }
    #expect(try workshop.apus("ps", "--json").text == "[]\n")
  }

  @Test func `two machines are told apart, and each is stopped by its name`() throws {
    let first = try start()
    let second = try start()
    let named = try start("--name", "third")
    let lines = try workshop.apus("ps").text.split(separator: "\n").dropFirst().map { $0.prefix { $0 != " " } }
    #expect(lines == ["program", "program-2", "third"])
    let unclear = try workshop.apus("stop")
    #expect(unclear.status == 64)
    #expect(unclear.error.contains("name one of them: program, program-2, third"))
    #expect(try workshop.apus("logs", "program-2").text == "ready\n")
    #expect(try workshop.apus("stop", "program-2").status == 0)
    second.process.waitUntilExit()
    #expect(second.process.terminationReason == .uncaughtSignal)
    #expect(second.process.terminationStatus == SIGTERM)
    #expect(first.process.isRunning && named.process.isRunning)
    try first.input.fileHandleForWriting.close()
    first.process.waitUntilExit()
    #expect(try workshop.apus("ps").text.contains("third"))
    #expect(try workshop.apus("stop").status == 0)
    named.process.waitUntilExit()
    #expect(try workshop.apus("ps").error == "apus: no machine is running\n")
  }

  @Test func `a taken name is refused, and whose it is keeps it`() throws {
    let first = try start("--name", "mine")
    let second = try workshop.apus("run", "--name", "mine", workshop.program(), "exit", "0")
    #expect(second.status == 64)
    #expect(second.error == "apus: a machine called mine is running already; choose another name with --name\n")
    #expect(try workshop.apus("stop", "mine").status == 0)
    first.process.waitUntilExit()
  }

  @Test func `what a killed command leaves is cleaned up`() throws {
    let machine = try start("--name", "gone")
    kill(machine.process.processIdentifier, SIGKILL)
    machine.process.waitUntilExit()
    let folder = workshop.folder.appendingPathComponent("apus/gone")
    #expect(FileManager.default.fileExists(atPath: folder.path))
    #expect(try workshop.apus("logs", "gone").error.contains("no machine called gone is running; none is"))
    #expect(!FileManager.default.fileExists(atPath: folder.path))
  }

  @Test func `a program that is not there is named with those that are`() throws {
    let machine = try start("--name", "one")
    let result = try workshop.apus("logs", "one/other")
    #expect(result.status == 64)
    #expect(result.error == "apus: the machine one has no program called other; its programs: program\n")
    #expect(try workshop.apus("run", "--name", "a/b", workshop.program()).status == 64)
    try machine.input.fileHandleForWriting.close()
    machine.process.waitUntilExit()
  }

  @Test func `a machine's words about itself are read back`() throws {
    var machine = RunningMachine()
    machine.name = "a-name.2"
    machine.process = 12
    machine.emulator = 13
    machine.started = 1_700_000_000
    machine.memory = Memory(bytes: 1 << 28)
    machine.processors = 3
    machine.memoryFile = Path("/proc/12/fd/7".utf8)
    machine.programs = ["one", "two"]
    machine.firstAccount = 2
    #expect(RunningMachine(text: machine.text) == machine)
    #expect(RunningMachine(text: "name x\n") == nil)
    #expect(RunningMachine(text: "nonsense") == nil)
  }

  @Test func `the last output is remembered, no more`() {
    var memory = OutputMemory(limit: 100)
    for number in 0..<5000 { memory.append(Array("line \(number)\n".utf8), of: number % 2 == 0 ? "even" : "odd") }
    let lines = String(decoding: memory.bytes(of: nil), as: UTF8.self).split(separator: "\n")
    #expect(lines.last == "line 4999")
    #expect((8...10).contains(lines.count))
    #expect(memory.bytes(of: "even").count < memory.bytes(of: nil).count)
  }
}
