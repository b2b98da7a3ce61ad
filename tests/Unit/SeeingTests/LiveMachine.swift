// SPDX-License-Identifier: Apache-2.0
// LiveMachine.swift: a machine that really runs, for tests that look at it from outside.

import CHost
import Foundation

@testable import apus

/// The repository that these tests belong to, and what has been built in it.
enum Built {
  static let home = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  static func file(_ name: String) -> String { home.appendingPathComponent("build/\(name)").path }

  /// Whether there is everything that a machine needs.
  static let isComplete =
    ["kernel.elf", "libos.elf", "hostile.elf", "faulty.elf"].allSatisfy {
      FileManager.default.fileExists(atPath: file($0))
    }
    && HostFile.findProgram(Path(Home.emulatorName.utf8)) != nil

  /// The command, as these tests were built with it.
  static let command = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("apus").path
}

/// An `apus run` in the background, and a run directory of its own, where commands find it.
final class LiveMachine {
  let folder: URL
  private let process = Process()
  private let output: URL

  /// Starts a machine with the words behind `apus run`, in the run directory of another one if that is given.
  init(_ words: [String], folder: URL? = nil) throws {
    self.folder =
      folder
      ?? FileManager.default.temporaryDirectory.appendingPathComponent("apus-seeing-\(UUID().uuidString.prefix(8))")
    let folder = self.folder
    try FileManager.default.createDirectory(
      at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    output = folder.appendingPathComponent("output-\(UUID().uuidString)")
    try Data().write(to: output)
    process.executableURL = URL(fileURLWithPath: Built.command)
    process.arguments = ["run", "--timeout", "120"] + words
    process.environment = environment
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = process.standardOutput
    try process.run()
  }

  deinit { end() }

  /// What commands see of the world.
  var environment: [String: String] {
    [
      "APUS_HOME": Built.home.path, "XDG_RUNTIME_DIR": folder.path, "PATH": "/usr/local/bin:/usr/bin:/bin",
      "TERM": "xterm",
    ]
  }

  /// What it has written.
  var text: String { (try? String(decoding: Data(contentsOf: output), as: UTF8.self)) ?? "" }

  /// Its entry in the run directory, once it is there with an emulator.
  func entry(named wanted: String? = nil) throws -> RunningMachine {
    for _ in 0..<1000 {
      let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path + "/apus")) ?? []
      for name in names where !name.hasPrefix(".") {
        let text = (try? String(contentsOfFile: folder.path + "/apus/\(name)/machine", encoding: .utf8)) ?? ""
        if let machine = RunningMachine(text: text), machine.emulator != 0,
          wanted == nil || machine.name == wanted
        {
          return machine
        }
      }
      usleep(10_000)
    }
    throw Failure(sentence: "the machine did not start: \(text.suffix(300))", status: 1)
  }

  /// Its pages, once it has booted.
  func pages() throws -> InformationPages {
    let entry = try entry()
    for _ in 0..<1000 {
      if let file = WatchedMachine.sharedMemory(of: entry.emulator), let memory = try? MachineMemory(path: file),
        let pages = InformationPages(memory)
      {
        return pages
      }
      usleep(10_000)
    }
    throw Failure(sentence: "the machine did not boot: \(text.suffix(300))", status: 1)
  }

  /// Runs another command beside it.
  func apus(_ arguments: String...) throws -> (status: Int32, output: String, error: String) {
    let other = Process()
    other.executableURL = URL(fileURLWithPath: Built.command)
    other.arguments = arguments
    other.environment = environment
    other.standardInput = FileHandle.nullDevice
    let places = ["out", "err"].map { folder.appendingPathComponent("\($0)-\(UUID().uuidString)") }
    for place in places { try Data().write(to: place) }
    other.standardOutput = try FileHandle(forWritingTo: places[0])
    other.standardError = try FileHandle(forWritingTo: places[1])
    try other.run()
    other.waitUntilExit()
    let texts = try places.map { String(decoding: try Data(contentsOf: $0), as: UTF8.self) }
    return (other.terminationStatus, texts[0], texts[1])
  }

  /// Waits until it has ended by itself.
  ///
  /// - Returns: All that it has written.
  func finish() -> String {
    process.waitUntilExit()
    return text
  }

  /// Its status, once it has ended.
  var status: Int32 { process.terminationStatus }

  /// Waits until it has written something.
  func expect(_ words: String, times: Int = 1) throws {
    for _ in 0..<6000 {
      if text.components(separatedBy: words).count > times { return }
      guard process.isRunning else { break }
      usleep(10_000)
    }
    guard text.components(separatedBy: words).count > times else {
      throw Failure(sentence: "never written: \(words)\n\(text.suffix(1000))", status: 1)
    }
  }

  /// Ends it, and leaves its run directory to others.
  func stop() {
    if process.isRunning {
      process.terminate()
      process.waitUntilExit()
    }
  }

  /// Ends it.
  func end() {
    stop()
    try? FileManager.default.removeItem(at: folder)
  }
}
