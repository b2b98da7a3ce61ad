// SPDX-License-Identifier: Apache-2.0
// NewTests.swift: `apus new`: names, folders that are there already, and a package made, built and run.

import Foundation
import Testing

@testable import apus

@Suite struct PackageFilesTests {
  @Test(arguments: ["a", "hello", "my-os-2", String(repeating: "x", count: 32)])
  func `a name`(name: String) { #expect(PackageFiles.isName(name)) }

  @Test(arguments: [
    "", "Hello", "2nd", "-a", "a_b", "a.b", "a/b", "..", "a b", "é", String(repeating: "x", count: 33),
  ])
  func `no name`(name: String) { #expect(!PackageFiles.isName(name)) }

  @Test func `what the template leaves open`() {
    #expect(PackageFiles.filled("@NAME@ @HOME@/x @c @NAME", name: "n", home: "/h") == "n /h/x @c @NAME")
  }

  @Test func `a path that make cannot take`() {
    let home = Path(Repository.home.path.utf8)
    for folder in ["/a b", "/a#b", "/a$b", "/a:b", "/a'b"] {
      #expect(throws: Failure.self) { try PackageFiles(named: "n", home: home, folder: Path(folder.utf8)) }
      #expect(throws: Failure.self) { try PackageFiles(named: "n", home: Path(folder.utf8), folder: home) }
    }
  }
}

/// The repository that these tests belong to.
private enum Repository {
  static let home = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  static let isBuilt =
    ["kernel.elf", "libos/ApusRuntime.o"].allSatisfy {
      FileManager.default.fileExists(atPath: home.appendingPathComponent("build/\($0)").path)
    }
    && HostFile.findProgram(Path(Home.emulatorName.utf8)) != nil
    && HostFile.findProgram(Path("swiftc".utf8)) != nil && HostFile.findProgram(Path("ld.lld".utf8)) != nil
}

@Suite struct NewTests {
  private let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
    "apus-new-\(UUID().uuidString.prefix(8))")

  /// Runs a program in a folder to its end.
  private func run(_ words: [String], in place: URL) throws -> Finished {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = words
    process.currentDirectoryURL = place
    var environment = ProcessInfo.processInfo.environment
    // A make that started the tests must not hand its flags to the one below.
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] { environment[name] = nil }
    environment["APUS_HOME"] = Repository.home.path
    environment["XDG_RUNTIME_DIR"] = folder.path
    process.environment = environment
    process.standardInput = FileHandle.nullDevice
    let output = folder.appendingPathComponent("output-\(UUID().uuidString)")
    try Data().write(to: output)
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = process.standardOutput
    try process.run()
    process.waitUntilExit()
    return Finished(status: process.terminationStatus, output: try Data(contentsOf: output), error: "")
  }

  private var apus: String { Workshop.binaries.appendingPathComponent("apus").path }

  @Test func `what is there already is left alone`() throws {
    try FileManager.default.createDirectory(
      at: folder.appendingPathComponent("mine"), withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data("precious".utf8).write(to: folder.appendingPathComponent("mine/LibOS.swift"))
    let result = try run([apus, "new", "mine"], in: folder)
    #expect(result.status == 64 && result.text.hasPrefix("apus: mine is here already"), "\(result.text)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/mine") == ["LibOS.swift"])
    #expect(try String(contentsOfFile: folder.path + "/mine/LibOS.swift", encoding: .utf8) == "precious")
    let bad = try run([apus, "new", "My OS"], in: folder)
    #expect(bad.status == 64 && bad.text.contains("no name for a package"), "\(bad.text)")
  }

  @Test(.enabled(if: Repository.isBuilt, "build/ is not complete"))
  func `a package is made, built and run`() throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let made = try run([apus, "new", "hello"], in: folder)
    #expect(made.status == 0 && made.text.contains("cd hello"), "\(made.text)")
    let package = folder.appendingPathComponent("hello")
    let built = try run(["make"], in: package)
    try #require(built.status == 0, "\(built.text)")
    let result = try run(
      [apus, "run", "--timeout", "120", "--icount", "--libos", "build/hello.elf"], in: package)
    #expect(result.status == 0)
    let text = result.text
    for name in ["hare", "tortoise"] {
      #expect(text.contains("\(name): primes below 50000: 5133\n"), "\(text)")
      #expect(text.contains("\(name): primes below 1600000: 121127\n"), "\(text)")
    }
    // Three tickets against one, in virtual time: within a slice of three quarters.
    let shares = try #require(
      text.firstMatch(of: /hare is done; of the time so far hare had (\d+) %, tortoise had (\d+) %/))
    let hare = try #require(Int(shares.1))
    #expect((68...80).contains(hare), "\(hare)")
    #expect(text.contains("785 pages came when they were touched: 1 of the program, 784 of zeroes\n"), "\(text)")
  }
}
