// SPDX-License-Identifier: Apache-2.0
// RunTests.swift: `apus run` from outside: streams, statuses, and what it says of what it cannot run.

import Foundation
import Testing

@Suite struct RunTests {
  let workshop: Workshop

  init() throws { workshop = try Workshop() }

  @Test(arguments: [0, 1, 7, 255])
  func `the program's status is the command's`(status: Int32) throws {
    #expect(try workshop.apus("run", workshop.program(), "exit", "\(status)").status == status)
  }

  @Test func `the streams stay apart and notices reach standard error`() throws {
    let result = try workshop.apus("run", workshop.program(), "both")
    #expect(result.text == "out\n")
    #expect(result.error == "err\ntrace line\napus: a notice\n")
    #expect(result.status == 0)
  }

  @Test func `the streams keep their order where they lead to the same place`() throws {
    let process = workshop.command(["run", try workshop.program(), "alternate"])
    let both = Pipe()
    process.standardOutput = both
    process.standardError = both
    try process.run()
    try both.fileHandleForWriting.close()
    let text = String(decoding: both.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(text == (0..<200).map { "\($0)\n" }.joined())
  }

  @Test func `log lines appear only when asked for`() throws {
    let result = try workshop.apus("run", "--verbose", workshop.program(), "both")
    #expect(result.error.contains("a log line\n"))
  }

  @Test func `every byte passes both ways`() throws {
    var generator = SystemRandomNumberGenerator()
    let bytes = Data((0..<1_500_000).map { _ in UInt8.random(in: 0...255, using: &generator) })
    let result = try workshop.apus("run", workshop.program(), "cat", input: bytes)
    #expect(result.output == bytes)
    #expect(result.status == 0)
  }

  @Test func `end of input arrives`() throws {
    #expect(try workshop.apus("run", workshop.program(), "cat", input: Data()).status == 0)
  }

  @Test func `arguments arrive as they are, empty ones and options too`() throws {
    let program = try workshop.program()
    let result = try workshop.apus(
      "run", "--trace", "--env", "A=b", "--env", "HOME=/x", "--workdir", "/w", program, "command", "", "a b", "--help")
    let lines = result.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    #expect(lines.contains("program \(program)"))
    #expect(
      lines.filter { $0.hasPrefix("argument ") }.dropFirst() == [
        "argument command", "argument ", "argument a b", "argument --help",
      ])
    #expect(lines.contains("environment A=b"))
    #expect(lines.filter { $0.hasPrefix("environment HOME=") } == ["environment HOME=/x"])
    #expect(lines.contains("trace=1"))
    #expect(lines.contains("workdir=/w"))
    #expect(lines.contains("terminal=0"))
    #expect(!lines.contains("verbose=1"))
  }

  @Test func `a relative program has its absolute path in the guest and nothing else of the host is there`() throws {
    _ = try workshop.program()
    _ = try workshop.file("secret", [1])
    let result = try workshop.apus("run", "./program", "image")
    let paths = result.text.split(separator: "\n").map { String($0.split(separator: " ")[1]) }
    #expect(paths.contains(workshop.folder.path + "/program"))
    #expect(!result.text.contains("secret"))
    #expect(!result.text.contains("/build"))
  }

  @Test func `symbolic links to a program are packed with it`() throws {
    let program = try workshop.program()
    let link = workshop.folder.appendingPathComponent("link").path
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "program")
    let result = try workshop.apus("run", link, "image")
    #expect(result.text.contains(" \(link) -> program\n"))
    #expect(result.text.contains(" \(program) "))
  }

  @Test func `a root is packed with links, modes and hard links`() throws {
    _ = try workshop.file("root/bin/p", SmallProgram().bytes)
    _ = try workshop.file("root/data", Array("hello".utf8), mode: 0o640)
    let root = workshop.folder.appendingPathComponent("root").path
    try FileManager.default.linkItem(atPath: root + "/data", toPath: root + "/hard")
    try FileManager.default.createSymbolicLink(atPath: root + "/sym", withDestinationPath: "/data")
    let result = try workshop.apus("run", "--root", root, "/bin/p", "image")
    let lines = result.text.split(separator: "\n").map(String.init)
    #expect(lines.contains("100640 /data 5 0"))
    #expect(lines.contains { $0.hasPrefix("100640 /hard = ") })
    #expect(lines.contains("120777 /sym -> /data"))
    #expect(lines.contains("41777 /tmp"))
    #expect(!result.text.contains("/etc/passwd"))
    #expect(try workshop.apus("run", "--root", root, "p", "exit", "3").status == 3)
  }

  @Test func `a script is packed with its static interpreter`() throws {
    let interpreter = try workshop.program()
    let script = try workshop.file("script", Array("#!\(interpreter) -x\n".utf8))
    let result = try workshop.apus("run", script, "image")
    #expect(result.text.contains(" \(interpreter) "))
    #expect(result.text.contains(" \(script) "))
  }

  @Test func `a machine that hangs is stopped at the timeout`() throws {
    let result = try workshop.apus("run", "--timeout", "0.3", workshop.program(), "hang")
    #expect(result.status == 124)
    #expect(result.error.hasPrefix("apus: "))
    #expect(result.error.contains("did not end within 0.3 seconds"))
  }

  @Test func `a machine that lingers after the program is not waited for`() throws {
    #expect(try workshop.apus("run", "--timeout", "60", workshop.program(), "linger").status == 5)
  }

  @Test(arguments: [
    ("die", "last words"), ("complain", "qemu: no such device"), ("garbage", "early words of a kernel"),
  ])
  func `a machine that dies is explained`(verb: String, words: String) throws {
    let result = try workshop.apus("run", workshop.program(), verb)
    #expect(result.status == 125)
    #expect(result.error.hasPrefix("apus: the machine "))
    #expect(result.error.contains(words))
  }

  @Test func `a signal to the command ends the machine`() throws {
    let process = workshop.command(["run", try workshop.program(), "records"])
    let input = Pipe()
    let output = Pipe()
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    // The machine is up once its program speaks.
    #expect(output.fileHandleForReading.availableData == Data("ready\n".utf8))
    process.terminate()
    process.waitUntilExit()
    #expect(process.terminationReason == .uncaughtSignal)
    #expect(process.terminationStatus == SIGTERM)
    // Its end of the pipe closes with it.
    #expect(output.fileHandleForReading.readDataToEndOfFile().isEmpty)
  }

  @Test func `a reader that goes away ends the command`() throws {
    let process = workshop.command(["run", try workshop.program(), "flood", "100000000"])
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    try output.fileHandleForWriting.close()
    _ = output.fileHandleForReading.availableData
    try output.fileHandleForReading.close()
    process.waitUntilExit()
    #expect(process.terminationStatus == 128 + SIGPIPE)
  }

  @Test func `the QEMU line is shown on request and its image kept`() throws {
    let result = try workshop.apus("run", "--print", "--memory", "64M", "--machine", "q35", workshop.program(), "line")
    let shown = result.error.trimmingCharacters(in: .newlines)
    #expect(shown == result.text.split(separator: "\n").joined(separator: " "))
    #expect(shown.contains("-machine q35") && shown.contains("-m 64M"))
    let words = shown.split(separator: " ").map(String.init)
    let image = words[(words.firstIndex(of: "-initrd") ?? 0) + 1]
    #expect(FileManager.default.fileExists(atPath: image))
    try? FileManager.default.removeItem(atPath: image)
  }

  @Test func `processors, virtual time and words for the kernel reach the machine`() throws {
    let result = try workshop.apus(
      "run", "--cpus", "4", "--icount", "--append", "a=1 b", "--append", "c", workshop.program(), "line")
    let words = result.text.split(separator: "\n").map(String.init)
    func value(_ option: String) -> String? { words.firstIndex(of: option).map { words[$0 + 1] } }
    #expect(value("-smp") == "4")
    #expect(value("-icount") == "shift=0,sleep=off")
    #expect(value("-append") == "a=1 b c")
  }

  @Test func `in virtual time every start is the same`() throws {
    let first = try workshop.apus("run", "--icount", workshop.program(), "command").text
    #expect(first.contains("epoch=1700000000000000000"))
    #expect(try workshop.apus("run", "--icount", workshop.program(), "command").text == first)
  }
}
