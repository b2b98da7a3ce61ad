// SPDX-License-Identifier: Apache-2.0
// BadInputTests.swift: a user's mistakes end in one sentence and the right status.

import Foundation
import Testing

@Suite struct BadInputTests {
  let workshop: Workshop

  init() throws { workshop = try Workshop() }

  /// One line that starts with "apus: " and holds the words.
  private func expectSentence(_ result: Finished, status: Int32, _ words: String...) {
    #expect(result.status == status)
    #expect(result.output.isEmpty)
    #expect(result.error.hasPrefix("apus: "))
    #expect(result.error.split(separator: "\n").count == 1)
    for word in words { #expect(result.error.contains(word)) }
  }

  @Test func `a program that is not there`() throws {
    expectSentence(try workshop.apus("run", "/nowhere/program"), status: 127, "/nowhere", "does not exist")
    expectSentence(try workshop.apus("run", "no-such-program"), status: 127, "PATH")
  }

  @Test func `a network that is not there`() throws {
    let program = try workshop.file("program", SmallProgram().bytes)
    expectSentence(
      try workshop.apus("run", "--net", "tap:apus-nobody", program), status: 125, "apus-nobody", "ip tuntap add")
    #expect(try workshop.apus("run", "--net", "bridge", program).status == 64)
    #expect(try workshop.apus("run", "--publish", "1:2", program).status == 64)
    #expect(try workshop.apus("run", "--net", "user", "--publish", "0:2", program).status == 64)
    let twice = try workshop.apus("run", "--net", "user", "--publish", "7:7", "--publish", "7:8", program)
    #expect(twice.status == 64 && twice.error.contains("port 7"))
  }

  @Test func `a program that may not be run`() throws {
    let plain = try workshop.file("plain", SmallProgram().bytes, mode: 0o644)
    expectSentence(try workshop.apus("run", plain), status: 126, "chmod +x")
    expectSentence(try workshop.apus("run", workshop.folder.path), status: 126, "directory")
  }

  @Test(arguments: [
    (SmallProgram(interpreter: "/lib/ld.so"), "dynamically linked"),
    (SmallProgram(elfClass: 1, machine: 3), "32-bit x86"),
    (SmallProgram(elfClass: 1), "32-bit program"),
    (SmallProgram(machine: 183), "AArch64"),
    (SmallProgram(byteOrder: 2, machine: 22 << 8), "s390"),
    (SmallProgram(type: 1), "object file"),
    (SmallProgram(type: 4), "core dump"),
  ])
  func `a program of the wrong kind`(program: SmallProgram, words: String) throws {
    let path = try workshop.file("wrong", program.bytes)
    expectSentence(try workshop.apus("run", path), status: 126, words)
  }

  @Test func `a truncated program, at every length`() throws {
    let whole = SmallProgram().bytes
    for length in 4..<whole.count {
      let path = try workshop.file("cut", [UInt8](whole[..<length]))
      expectSentence(try workshop.apus("run", path), status: 126, "truncated")
    }
  }

  @Test func `a file that is no program`() throws {
    expectSentence(try workshop.apus("run", workshop.file("empty", [])), status: 126, "empty")
    expectSentence(
      try workshop.apus("run", workshop.file("text", Array("hello\n".utf8))), status: 126, "neither")
    expectSentence(
      try workshop.apus("run", workshop.file("bare", Array("#!\n".utf8))), status: 126, "no interpreter")
    expectSentence(
      try workshop.apus("run", workshop.file("lost", Array("#!/nowhere/sh\n".utf8))), status: 126, "/nowhere")
  }

  @Test func `too little memory`() throws {
    let path = try workshop.file("large", SmallProgram().bytes + [UInt8](repeating: 0, count: 3 << 20))
    expectSentence(try workshop.apus("run", "--memory", "4M", path), status: 125, "--memory", "4 MiB")
  }

  @Test func `a root that is none`() throws {
    expectSentence(try workshop.apus("run", "--root", "/nowhere", "/x"), status: 64, "/nowhere")
    expectSentence(
      try workshop.apus("run", "--root", workshop.folder.path, "/missing"), status: 127, "/missing")
  }

  @Test func `nothing built`() throws {
    try FileManager.default.removeItem(at: workshop.folder.appendingPathComponent("build/libos.elf"))
    expectSentence(try workshop.apus("run", workshop.program()), status: 125, "make")
  }

  @Test func `no QEMU`() throws {
    let process = workshop.command(["run", try workshop.program()])
    process.environment = ["APUS_HOME": workshop.folder.path, "PATH": "/nowhere"]
    let error = Pipe()
    process.standardError = error
    try process.run()
    let words = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 125)
    #expect(words.hasPrefix("apus: QEMU is missing"))
    #expect(words.contains("apt-get install qemu-system-x86"))
  }

  @Test(arguments: [
    ["run"], ["run", "--bogus", "/x"], ["run", "--memory", "x", "/x"], ["run", "--memory", "0", "/x"],
    ["run", "--timeout", "0", "/x"], ["run", "--timeout", "soon", "/x"], ["run", "--env", "A", "/x"],
    ["run", "--env", "=A", "/x"], ["run", "--machine", "pc", "/x"], ["run", "--memory"], ["fly"],
    ["run", "--cpus", "0", "/x"], ["run", "--cpus", "256", "/x"], ["run", "--icount", "--accel", "kvm", "/x"],
  ])
  func `a wrong command line`(words: [String]) throws {
    let process = workshop.command(words)
    let error = Pipe()
    process.standardError = error
    try process.run()
    let text = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 64)
    #expect(text.hasPrefix("apus: "))
  }
}
