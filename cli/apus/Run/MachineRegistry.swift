// SPDX-License-Identifier: Apache-2.0
// MachineRegistry.swift: which machines of this person run now, as other commands find them.
//
// Each running machine has a folder, named like it, in the run directory: `apus` in XDG_RUNTIME_DIR, or `apus-UID` in
// the temporary directory. In the folder are
//
//     machine   lines `key value`: what the machine is; locked (flock(2)) as long as its `apus run` lives
//     monitor   the emulator's own socket (QMP), if its path is short enough for one
//     control   a Unix socket that takes requests (ControlSocket.swift)
//
// Whoever finds a folder without a lock removes it: a command that was killed leaves one behind.

import CHost
import Glibc

/// What is known of a machine that runs.
struct RunningMachine: Equatable {
  /// What people call it; no other machine in the run directory is called so.
  var name = ""
  /// The `apus` command that runs it, and the emulator.
  var process: pid_t = 0
  var emulator: pid_t = 0
  /// When it was started, in seconds since 1970.
  var started: Int64 = 0
  /// How much memory it has.
  var memory = Memory(bytes: 0)
  var processors = 1
  /// The file that holds its memory, byte for byte from physical address 0, where it is shared; empty where not.
  var memoryFile: Path = []
  /// The kernel and the LibOS that it runs, for symbols.
  var kernel: Path = []
  var libos: Path = []
  /// The programs that it was started with, in the order of their accounts.
  var programs: [String] = []
  /// The first program's account: 1, or 2 where a start environment has that one, as with a manifest.
  var firstAccount = 1

  /// The lines of its file.
  var text: String {
    var lines = [
      "name \(name)", "process \(process)", "emulator \(emulator)", "started \(started)", "memory \(memory.bytes)",
      "processors \(processors)", "first-account \(firstAccount)",
    ]
    for (key, path) in [("memory-file", memoryFile), ("kernel", kernel), ("libos", libos)] where !path.isEmpty {
      lines.append("\(key) \(shown(path))")
    }
    lines += programs.map { "program \($0)" }
    return lines.joined(separator: "\n") + "\n"
  }

  init() {}

  /// Reads the lines of a machine's file; nil if they are not all there.
  init?(text: String) {
    for line in text.split(separator: "\n") {
      guard let split = line.firstIndex(of: " ") else { return nil }
      let value = String(line[line.index(after: split)...])
      switch line[..<split] {
      case "name": name = value
      case "process": process = pid_t(value) ?? 0
      case "emulator": emulator = pid_t(value) ?? 0
      case "started": started = Int64(value) ?? 0
      case "memory": memory = Memory(bytes: UInt64(value) ?? 0)
      case "processors": processors = Int(value) ?? 1
      case "memory-file": memoryFile = Path(value.utf8)
      case "kernel": kernel = Path(value.utf8)
      case "libos": libos = Path(value.utf8)
      case "first-account": firstAccount = Int(value) ?? 1
      case "program": programs.append(value)
      default: break
      }
    }
    guard !name.isEmpty, process > 0 else { return nil }
  }
}

enum MachineRegistry {
  static let descriptionName = "machine"
  static let controlName = "control"

  /// The run directory of this person.
  static var directory: Path {
    if let value = getenv("XDG_RUNTIME_DIR"), value.pointee != 0 {
      return Path((String(cString: value) + "/apus").utf8)
    }
    var folder = "/tmp"
    if let value = getenv("TMPDIR"), value.pointee != 0 { folder = String(cString: value) }
    return Path("\(folder)/apus-\(getuid())".utf8)
  }

  /// The folder of a machine.
  static func folder(of name: String) -> Path { directory + [HostFile.slash] + Path(name.utf8) }

  /// The file of a machine's folder that a name stands for.
  static func file(_ file: String, of name: String) -> Path { folder(of: name) + [HostFile.slash] + Path(file.utf8) }

  /// Where a machine's emulator takes requests.
  ///
  /// - Returns: Empty if the path is too long for a socket's address or has a comma, which the emulator's options lack.
  static func monitor(of name: String) -> Path {
    let path = file("monitor", of: name)
    return path.count < 108 && !path.contains(0x2c) ? path : []
  }

  /// Whether the run directory is there and nobody else can write to it.
  static func prepareDirectory() -> Bool {
    _ = HostFile.withPath(directory) { mkdir($0, 0o700) }
    guard let facts = try? HostFile.facts(directory) else { return false }
    return facts.isDirectory && facts.user == getuid() && facts.mode & 0o022 == 0
  }

  /// The machines that run, by name; what others left behind is removed.
  static func running() -> [RunningMachine] {
    guard let names = try? HostFile.names(in: directory) else { return [] }
    return names.compactMap { name in
      name.first == 0x2e ? nil : look(at: shown(name))
    }
  }

  /// Finds a machine.
  ///
  /// - Parameter name: Its name; nil: the only one that runs.
  /// - Returns: What is known of it.
  /// - Throws: A sentence that names those that do run.
  static func find(_ name: String?) throws(Failure) -> RunningMachine {
    let machines = running()
    let names = machines.map(\.name).joined(separator: ", ")
    if let name {
      if let machine = machines.first(where: { $0.name == name }) { return machine }
      throw Failure(
        sentence: "no machine called \(name) is running; "
          + (machines.isEmpty ? "none is: start one with: apus run" : "there are: \(names)"),
        status: Status.usage)
    }
    guard let first = machines.first else {
      throw Failure(sentence: "no machine is running; start one with: apus run", status: Status.usage)
    }
    guard machines.count == 1 else {
      throw Failure(sentence: "several machines are running; name one of them: \(names)", status: Status.usage)
    }
    return first
  }

  /// A machine's own words about itself, if it is alive; its folder is removed if not.
  private static func look(at name: String) -> RunningMachine? {
    let descriptor: Int32
    do {
      descriptor = try HostFile.open(file(descriptionName, of: name))
    } catch {
      return nil
    }
    defer { close(descriptor) }
    if chost_lock(descriptor) == 0 {
      remove(name)
      return nil
    }
    guard let bytes = Descriptor.read(descriptor, at: 0, limit: 1 << 16),
      let machine = RunningMachine(text: shown(bytes)), machine.name == name
    else { return nil }
    return kill(machine.process, 0) == 0 || errno == EPERM ? machine : nil
  }

  /// Removes a machine's folder.
  static func remove(_ name: String) {
    for entry in (try? HostFile.names(in: folder(of: name))) ?? [] {
      _ = HostFile.withPath(folder(of: name) + [HostFile.slash] + entry) { unlink($0) }
    }
    _ = HostFile.withPath(folder(of: name)) { rmdir($0) }
  }
}
