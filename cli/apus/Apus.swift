// SPDX-License-Identifier: Apache-2.0
// Apus.swift: the host command's entry, and how its failures reach the user.

import ArgumentParser
import Glibc

@main
struct Apus: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "apus",
    abstract: "Runs unmodified Linux programs on the Apus exokernel.",
    subcommands: [
      Run.self, Serve.self, ListMachines.self, StopMachine.self, ShowLogs.self, MapCommand.self, TopCommand.self,
      TraceCommand.self, FilterCommand.self, DebugCommand.self, AddressCommand.self, Compat.self, Test.self,
      Doctor.self, Bench.self, Demo.self, BPFCommand.self, New.self, DiskCommand.self,
    ])

  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let failure as Failure {
      Diagnostics.say(failure.sentence)
      Glibc.exit(failure.status)
    } catch let code as ExitCode {
      Glibc.exit(code.rawValue)
    } catch {
      guard exitCode(for: error) != .success else { exit(withError: error) }
      let text = fullMessage(for: error)
      let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
      let first = lines.first ?? ""
      Diagnostics.say(first.hasPrefix("Error: ") ? String(first.dropFirst(7)) : first)
      for line in lines.dropFirst() where !line.isEmpty { Diagnostics.write(line) }
      Glibc.exit(Status.usage)
    }
  }
}
