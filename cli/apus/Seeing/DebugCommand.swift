// SPDX-License-Identifier: Apache-2.0
// DebugCommand.swift: `apus gdb`: a debugger at a running machine, with the names of kernel and LibOS.

import ArgumentParser
import CApusABI
import Glibc

struct DebugCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gdb",
    abstract: "Debug a running machine: gdb with the names of kernel and LibOS.",
    discussion: """
      The machine stands still while gdb is attached and goes on when that ends. The command apus-environments lists \
      who lives there. Words behind -- are gdb's own: apus gdb NAME -- -batch -ex backtrace
      """)

  @Argument(help: ArgumentHelp("Which machine, by name or process; the only one without.", valueName: "machine"))
  var machine: String?

  @Argument(parsing: .postTerminator, help: ArgumentHelp("Words for gdb.", valueName: "words"))
  var words: [String] = []

  func run() throws { try execute() }

  private func execute() throws(Failure) {
    let home = try Home()
    let entry = try WatchedMachine.find(machine)
    guard let debugger = HostFile.findProgram(Path("gdb".utf8)) else {
      throw Failure(
        sentence: "gdb is missing; on Debian and Ubuntu install it with: apt-get install gdb", status: Status.notFound)
    }
    // A new one each time: the emulator removes the last one's name when it opens the next.
    let socket = MachineRegistry.file("gdb.\(getpid())", of: entry.name)
    guard socket.count < 108, !socket.contains(0x2c) else {
      throw Failure(
        sentence: "the path \(shown(socket)) is too long for a socket; set XDG_RUNTIME_DIR to a shorter one",
        status: Status.machine)
    }
    do {
      let monitor = try EmulatorMonitor(entry: entry)
      try monitor.command("gdbserver unix:\(shown(socket)),server=on,wait=off")
    }
    let kernel = entry.kernel.isEmpty ? try home.kernel() : entry.kernel
    var arguments = [
      shown(debugger), "-q", "-nx", "-iex", "set complaints 0", "-ex", "set confirm off", "-ex", "set pagination off",
      "-ex", "directory \(shown(home.path))", "-ex",
      "set $apus_environment_size = \(MemoryLayout<apus_environment>.stride)",
    ]
    if !entry.libos.isEmpty { arguments += ["-ex", "add-symbol-file \(shown(entry.libos))"] }
    arguments += [
      "-ex", "target remote \(shown(socket))", "-ex", "source \(shown(home.path))/tools/gdb/apus.py",
    ]
    arguments += words + [shown(kernel)]
    let reason = withCStrings(arguments) { vector -> Int32 in
      execv(arguments[0], vector)
      return errno
    }
    throw Failure(sentence: "gdb cannot be started: \(describe(errno: reason))", status: Status.machine)
  }
}
