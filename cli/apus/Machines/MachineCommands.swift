// SPDX-License-Identifier: Apache-2.0
// MachineCommands.swift: `apus ps`, `apus stop` and `apus logs`: machines that another terminal runs.

import ArgumentParser
import Glibc

/// `MACHINE` or `MACHINE/PROGRAM`.
struct MachineName: ExpressibleByArgument {
  let machine: String
  let program: String?

  init?(argument: String) {
    let parts = argument.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard let first = parts.first, !first.isEmpty, parts.count <= 2, parts.last?.isEmpty == false else { return nil }
    machine = first
    program = parts.count == 2 ? parts[1] : nil
  }

  /// The machine of that name, or the only one; its program is one that it has.
  static func find(_ name: MachineName?) throws(Failure) -> RunningMachine {
    let machine = try MachineRegistry.find(name?.machine)
    guard let program = name?.program, !machine.programs.contains(program) else { return machine }
    throw Failure(
      sentence: "the machine \(machine.name) has no program called \(program); its programs: "
        + machine.programs.joined(separator: ", "),
      status: Status.usage)
  }
}

struct ListMachines: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ps", abstract: "List the machines that run.",
    discussion: "A line for each machine, and one for each of its programs where it has several.")

  @Flag(help: "As JSON.")
  var json = false

  func run() throws {
    let machines = MachineRegistry.running()
    if json {
      Diagnostics.tell(JSONText.array(machines.map(Self.json)))
      return
    }
    guard !machines.isEmpty else {
      Diagnostics.say("no machine is running")
      return
    }
    let width = max(8, machines.map(\.name.count).max() ?? 0)
    Diagnostics.tell(Self.padded("NAME", width) + "  PROCESS   MEMORY  CPUS  UP        PROGRAMS")
    let now = Int64(time(nil))
    for machine in machines {
      let columns = [
        Self.padded(machine.name, width), Self.padded(String(machine.process), 8),
        Self.padded(machine.memory.text, 7), Self.padded(String(machine.processors), 4),
        Self.padded(Self.duration(now - machine.started), 8), machine.programs.joined(separator: " "),
      ]
      Diagnostics.tell(columns.joined(separator: "  "))
      guard machine.firstAccount > 1 else { continue }
      let states = (try? ControlClient.ask(machine, ControlRequest(verb: "programs", program: nil))) ?? ""
      for line in states.split(separator: "\n") { Diagnostics.tell("  " + line) }
    }
  }

  private static func json(_ machine: RunningMachine) -> String {
    JSONText.object([
      ("name", JSONText.string(machine.name)), ("process", String(machine.process)),
      ("emulator", String(machine.emulator)), ("started", String(machine.started)),
      ("memory", String(machine.memory.bytes)), ("processors", String(machine.processors)),
      ("programs", JSONText.array(machine.programs.map(JSONText.string))),
    ])
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private static func duration(_ seconds: Int64) -> String {
    if seconds < 120 { return "\(max(0, seconds)) s" }
    return seconds < 7200 ? "\(seconds / 60) min" : "\(seconds / 3600) h"
  }
}

struct StopMachine: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stop", abstract: "Stop a machine that runs, or one of its programs.",
    discussion: "Without a name: the only machine. Its `apus run` ends with status 143, as by SIGTERM.")

  @Argument(help: ArgumentHelp("Which one.", valueName: "machine[/program]"))
  var name: MachineName?

  func run() throws {
    let machine = try MachineName.find(name)
    let answer = try ControlClient.ask(machine, ControlRequest(verb: "stop", program: name?.program))
    guard answer == "ok\n" else {
      throw Failure(
        sentence: answer.isEmpty
          ? "the machine \(machine.name) gave no answer"
          : String(answer.prefix { $0 != "\n" }),
        status: Status.machine)
    }
  }
}

struct ShowLogs: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logs", abstract: "Show what a machine that runs has written lately.",
    discussion: "Both of its streams, as far as its command remembers them: the last 256 KiB.")

  @Flag(name: .shortAndLong, help: "Go on with what it writes from now on.")
  var follow = false

  @Argument(help: ArgumentHelp("Which one.", valueName: "machine[/program]"))
  var name: MachineName?

  func run() throws {
    let machine = try MachineName.find(name)
    let request = ControlRequest(verb: follow ? "follow" : "logs", program: name?.program)
    try ControlClient.ask(machine, request) { Descriptor.writeAll(1, $0) }
  }
}
