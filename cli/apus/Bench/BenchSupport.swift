// SPDX-License-Identifier: Apache-2.0
// BenchSupport.swift: files, outside tools and failures of the bench.

import CHost
import Glibc

enum BenchFailure {
  static let status: Int32 = 1

  /// The Linux side cannot be had; Apus's figures are still worth printing.
  static func twin(_ reason: String) -> Failure {
    Failure(sentence: "no Linux twin: \(reason)", status: status)
  }

  static func file(_ path: String, _ number: Int32) -> Failure {
    Failure(sentence: "\(path): \(describe(errno: number))", status: status)
  }
}

enum BenchFile {
  static func read(_ path: String) throws(Failure) -> [UInt8] {
    do throws(HostError) {
      return try HostFile.contents(Path(path.utf8))
    } catch {
      throw BenchFailure.file(path, error.number)
    }
  }

  /// Replaces a file in one step: nobody sees half of it.
  static func write(_ bytes: [UInt8], to path: String, mode: mode_t = 0o644) throws(Failure) {
    let draft = path + ".new"
    let descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw BenchFailure.file(draft, errno) }
    let written = Descriptor.writeAll(descriptor, bytes)
    let reason = errno
    close(descriptor)
    guard written else { throw BenchFailure.file(draft, reason) }
    guard rename(draft, path) == 0 else { throw BenchFailure.file(path, errno) }
  }

  static func remove(_ path: String) {
    unlink(path)
  }

  /// Makes a folder and those above it.
  static func makeFolder(_ path: String) throws(Failure) {
    var made = path.hasPrefix("/") ? "" : "."
    for part in path.split(separator: "/") {
      made += "/" + part
      guard mkdir(made, 0o755) == 0 || errno == EEXIST else { throw BenchFailure.file(made, errno) }
    }
  }

  static func exists(_ path: String) -> Bool {
    access(path, F_OK) == 0
  }

  /// Whether a file is there and at least as new as all of `sources`.
  static func isFresh(_ path: String, from sources: [String]) -> Bool {
    guard let made = modified(path) else { return false }
    return sources.allSatisfy { modified($0).map { $0 <= made } ?? false }
  }

  private static func modified(_ path: String) -> Int64? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    return Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
  }
}

/// A program of the host, run to its end with nothing to read.
enum Tool {
  /// Runs a tool; what it says goes to `log`.
  ///
  /// - Throws: A sentence when it cannot be started or fails.
  static func run(_ name: String, _ arguments: [String], in folder: String, log: String)
    throws(Failure)
  {
    let output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    guard output >= 0 else { throw BenchFailure.file(log, errno) }
    defer { close(output) }
    let process = try start(name, arguments, output: output, error: output, folder: folder)
    let status = waitFor(process)
    guard status == 0 else {
      let last = try BenchFile.read(log).split(separator: 0x0a).last.map(shown) ?? ""
      throw Failure(
        sentence: "\(name) failed with status \(status): \(last)", status: BenchFailure.status)
    }
  }

  /// What a tool prints, at most `limit` bytes of it.
  ///
  /// - Throws: A sentence when it cannot be started or fails.
  static func output(_ name: String, _ arguments: [String], limit: Int) throws(Failure) -> [UInt8] {
    let (process, output) = try startReading(name, arguments, error: -1)
    defer { close(output) }
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 16)
    while bytes.count < limit {
      let count = Glibc.read(output, &part, min(part.count, limit - bytes.count))
      if count < 0, errno == EINTR { continue }
      if count <= 0 { break }
      bytes += part[..<count]
    }
    let status = waitFor(process)
    guard status == 0 else {
      throw Failure(sentence: "\(name) failed with status \(status)", status: BenchFailure.status)
    }
    return bytes
  }

  /// Starts a program whose standard output the caller reads, and closes.
  static func startReading(_ name: String, _ arguments: [String], error: Int32) throws(Failure) -> (
    process: pid_t, output: Int32
  ) {
    var ends: [Int32] = [0, 0]
    let result = chost_pipe(&ends, 1 << 18)
    guard result == 0 else { throw BenchFailure.file("pipe", -result) }
    defer { close(ends[1]) }
    do throws(Failure) {
      return (try start(name, arguments, output: ends[1], error: error, folder: "."), ends[0])
    } catch {
      close(ends[0])
      throw error
    }
  }

  /// Starts a program of PATH; it dies with us.
  static func start(
    _ name: String, _ arguments: [String], output: Int32, error: Int32, folder: String
  ) throws(Failure) -> pid_t {
    let process = withCStrings([name] + arguments) { words in
      chost_spawn_at(name, words, environ, -1, output, error, folder, 0)
    }
    guard process > 0 else {
      throw Failure(
        sentence: "\(name) cannot be started: \(describe(errno: -process))",
        status: BenchFailure.status)
    }
    return process
  }

  static func waitFor(_ process: pid_t) -> Int32 {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    return chost_exit_status(status)
  }
}
