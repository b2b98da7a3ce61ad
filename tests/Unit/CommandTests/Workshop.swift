// SPDX-License-Identifier: Apache-2.0
// Workshop.swift: a folder with what `apus run` needs, and the command run in it against the stand-in machine.

import Foundation

/// What a finished command left.
struct Finished {
  let status: Int32
  let output: Data
  let error: String

  var text: String { String(decoding: output, as: UTF8.self) }
}

/// A temporary repository: `build/kernel.elf`, `build/libos.elf` and whatever a test puts there.
final class Workshop {
  let folder: URL

  init() throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("apus-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(
      at: folder.appendingPathComponent("build"), withIntermediateDirectories: true)
    _ = try file("build/kernel.elf", SmallProgram().bytes)
    _ = try file("build/libos.elf", SmallProgram(address: 0x7000_0000_0000).bytes)
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  /// Writes a file and returns its path.
  func file(_ name: String, _ bytes: [UInt8], mode: Int = 0o755) throws -> String {
    let place = folder.appendingPathComponent(name)
    try FileManager.default.createDirectory(
      at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(bytes).write(to: place)
    try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: place.path)
    return place.path
  }

  func program() throws -> String { try file("program", SmallProgram().bytes) }

  /// The folder of the binaries that this test belongs to.
  static let binaries = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent()

  /// A command not yet started.
  func command(_ arguments: [String], input: Any = FileHandle.nullDevice) -> Process {
    let process = Process()
    process.executableURL = Self.binaries.appendingPathComponent("apus")
    // Whatever is wrong with the command, a test ends.
    process.arguments =
      arguments.first == "run" && !arguments.contains("--timeout")
      ? ["run", "--timeout", "60"] + arguments.dropFirst() : arguments
    process.environment = [
      "APUS_HOME": folder.path, "APUS_QEMU": Self.binaries.appendingPathComponent("FakeMachine").path,
      "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": folder.path,
    ]
    process.currentDirectoryURL = folder
    process.standardInput = input
    return process
  }

  /// Runs `apus` to its end.
  func apus(_ arguments: String..., input: Data? = nil) throws -> Finished {
    let inputPlace = folder.appendingPathComponent("input-\(UUID().uuidString)")
    if let input { try input.write(to: inputPlace) }
    let process = command(
      arguments, input: input == nil ? FileHandle.nullDevice : try FileHandle(forReadingFrom: inputPlace))
    // Files, not pipes: nobody has to empty them meanwhile.
    let places = ["output", "error"].map { folder.appendingPathComponent("\($0)-\(UUID().uuidString)") }
    for place in places { try Data().write(to: place) }
    process.standardOutput = try FileHandle(forWritingTo: places[0])
    process.standardError = try FileHandle(forWritingTo: places[1])
    try process.run()
    process.waitUntilExit()
    return Finished(
      status: process.terminationReason == .exit
        ? process.terminationStatus : 128 + process.terminationStatus,
      output: try Data(contentsOf: places[0]),
      error: String(decoding: try Data(contentsOf: places[1]), as: UTF8.self))
  }
}

/// A 64-bit ELF file with one segment, each field of which can be spoilt.
struct SmallProgram {
  var elfClass: UInt8 = 2
  var byteOrder: UInt8 = 1
  var type: UInt16 = 2
  var machine: UInt16 = 62
  var address: UInt64 = 0x40_0000
  var interpreter: String?
  var code: [UInt8] = [0x0f, 0x0b]

  var bytes: [UInt8] {
    func little(_ value: UInt64, _ count: Int) -> [UInt8] {
      (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
    }
    let headers = interpreter == nil ? 1 : 2
    let start = 64 + 56 * headers
    let tail: [UInt8] = interpreter.map { Array($0.utf8) + [0] } ?? []
    var result: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, elfClass, byteOrder, 1, 0] + [UInt8](repeating: 0, count: 8)
    result += little(UInt64(type), 2) + little(UInt64(machine), 2) + little(1, 4)
    result += little(address + UInt64(start), 8) + little(64, 8) + little(0, 8) + little(0, 4)
    result += little(64, 2) + little(56, 2) + little(UInt64(headers), 2) + little(0, 6)
    let size = UInt64(start + code.count)
    result += little(1, 4) + little(5, 4) + little(0, 8) + little(address, 8) + little(address, 8)
    result += little(size, 8) + little(size, 8) + little(4096, 8)
    if interpreter != nil {
      result += little(3, 4) + little(4, 4) + little(size, 8) + little(0, 16)
      result += little(UInt64(tail.count), 8) + little(UInt64(tail.count), 8) + little(1, 8)
    }
    return result + code + tail
  }
}
