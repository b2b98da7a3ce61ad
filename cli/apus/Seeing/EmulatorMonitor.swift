// SPDX-License-Identifier: Apache-2.0
// EmulatorMonitor.swift: requests to a machine's emulator over its monitor socket (QMP: one JSON object a line).

import CHost
import Glibc

/// A connection to an emulator's monitor.
final class EmulatorMonitor {
  private let descriptor: Int32
  private var pending: [UInt8] = []

  /// Connects to the monitor of a machine in the run directory.
  ///
  /// - Parameters:
  ///   - entry: The machine.
  ///   - folder: The run directory.
  /// - Throws: A sentence if it has none, or it does not answer.
  init(entry: RunningMachine, folder: String = shown(MachineRegistry.directory)) throws(Failure) {
    descriptor = HostFile.withPath(Path("\(folder)/\(entry.name)".utf8)) { chost_connect($0, "monitor") }
    guard descriptor >= 0 else {
      throw Failure(
        sentence: "the emulator of the machine \(entry.name) takes no requests: \(describe(errno: -descriptor))",
        status: Status.machine)
    }
    _ = try line()  // the greeting
    _ = try request("qmp_capabilities")
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// Makes a request.
  ///
  /// - Parameters:
  ///   - command: Its name.
  ///   - arguments: Texts by their names.
  /// - Returns: The line that answers it, as JSON.
  /// - Throws: A sentence if the emulator refuses it or goes away.
  @discardableResult
  func request(_ command: String, _ arguments: [(String, String)] = []) throws(Failure) -> String {
    var members = [("execute", JSONText.string(command))]
    if !arguments.isEmpty {
      members.append(("arguments", JSONText.object(arguments.map { ($0.0, JSONText.string($0.1)) })))
    }
    guard Descriptor.writeAll(descriptor, Array((JSONText.object(members) + "\n").utf8)) else { throw Self.gone }
    while true {
      // Events come between request and answer.
      let answer = try line()
      if answer.hasPrefix("{\"return\"") { return answer }
      if answer.hasPrefix("{\"error\"") {
        throw Failure(sentence: "the emulator refuses \(command): \(answer)", status: Status.machine)
      }
    }
  }

  /// Makes a request in the words of the emulator's monitor for people.
  @discardableResult
  func command(_ line: String) throws(Failure) -> String {
    try request("human-monitor-command", [("command-line", line)])
  }

  private func line() throws(Failure) -> String {
    while true {
      if let end = pending.firstIndex(of: 0x0a) {
        let text = shown(pending[..<end].filter { $0 != 0x0d })
        pending.removeFirst(end + 1)
        return text
      }
      var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&entry, 1, Self.patienceMilliseconds) > 0 else { throw Self.gone }
      var buffer = [UInt8](repeating: 0, count: 4096)
      let count = read(descriptor, &buffer, buffer.count)
      guard count > 0 else { throw Self.gone }
      pending += buffer[..<count]
    }
  }

  private static let patienceMilliseconds: Int32 = 10_000
  private static var gone: Failure {
    Failure(sentence: "the emulator does not answer: its machine has ended", status: Status.machine)
  }
}
