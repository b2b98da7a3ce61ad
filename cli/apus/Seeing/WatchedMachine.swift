// SPDX-License-Identifier: Apache-2.0
// WatchedMachine.swift: a running machine whose memory can be looked at, found by its name or its process.

import ArgumentParser
import CApusABI
import Glibc

/// Which machine a command looks at.
struct WatchOptions: ParsableArguments {
  @Argument(help: ArgumentHelp("Which machine, by name or process; the only one without.", valueName: "machine"))
  var machine: String?

  /// A copy of a machine's memory, or the memory of one that another command started.
  @Option(name: .customLong("memory-file"), help: .hidden)
  var memoryFile: String?
}

/// A machine whose memory is mapped.
struct WatchedMachine {
  let name: String
  let emulator: pid_t
  /// What its accounts are called.
  let names: [UInt16: String]
  /// What it says of itself; nil for a memory file given by its path.
  let entry: RunningMachine?
  let memory: MachineMemory
  let pages: InformationPages

  /// Finds a machine and maps its memory.
  ///
  /// - Throws: A sentence if it is not running, shares no memory, or has not booted.
  init(_ options: WatchOptions) throws(Failure) {
    if let file = options.memoryFile {
      name = file
      emulator = 0
      names = [:]
      entry = nil
      memory = try MachineMemory(path: Path(file.utf8))
    } else {
      let machine = try Self.find(options.machine)
      let shared = Self.wait(for: machine.emulator) { Self.sharedMemory(of: machine.emulator) }
      guard let file = machine.memoryFile.isEmpty ? shared : machine.memoryFile else {
        throw Failure(sentence: "the machine \(machine.name) shares no memory", status: Status.machine)
      }
      name = machine.name
      emulator = machine.emulator
      entry = machine
      let programs = Dictionary(
        uniqueKeysWithValues: machine.programs.enumerated().map {
          (UInt16(machine.firstAccount + $0.offset), $0.element)
        })
      names = programs.merging([UInt16(APUS_ACCOUNT_REVOKED): "taken by force"]) { own, _ in own }
      memory = try MachineMemory(path: file)
    }
    guard let pages = Self.wait(for: emulator, { [memory] in InformationPages(memory) }) else {
      throw Failure(
        sentence: "the machine \(name) has no tables of the kernel's in its memory: it has not booted",
        status: Status.machine)
    }
    self.pages = pages
  }

  /// What is there once a machine that was just started has booted; nil if that does not come, or the machine goes.
  private static func wait<Value>(for emulator: pid_t, _ look: () -> Value?) -> Value? {
    let start = SeeingClock.milliseconds()
    while true {
      if let value = look() { return value }
      guard emulator != 0, kill(emulator, 0) == 0, SeeingClock.milliseconds() - start < bootMilliseconds else {
        return nil
      }
      usleep(20_000)
    }
  }

  private static let bootMilliseconds = 10_000

  /// Reads who owns what.
  func read() throws(Failure) -> MachineState {
    guard let state = pages.read() else {
      throw Failure(sentence: "the machine \(name) has been restarted or is gone", status: Status.machine)
    }
    return state
  }

  /// Whether its emulator is still there.
  var isRunning: Bool { emulator == 0 || kill(emulator, 0) == 0 || errno == EPERM }

  /// A machine by its name or by the process of its command or emulator; without either, the only one.
  static func find(_ text: String?) throws(Failure) -> RunningMachine {
    if let text, let number = pid_t(text),
      let machine = MachineRegistry.running().first(where: { $0.process == number || $0.emulator == number })
    {
      return machine
    }
    return try MachineRegistry.find(text)
  }

  /// The file in memory that an emulator shares, by its link in /proc.
  ///
  /// - Returns: Nil if it shares none.
  static func sharedMemory(of emulator: pid_t) -> Path? {
    let folder = Path("/proc/\(emulator)/fd/".utf8)
    for name in (try? HostFile.names(in: folder)) ?? [] {
      guard let target = try? HostFile.linkTarget(folder + name) else { continue }
      if shown(target).hasPrefix("/memfd:memory-backend-memfd") { return folder + name }
    }
    return nil
  }
}
