// SPDX-License-Identifier: Apache-2.0
// CrashMachineTests.swift: what is told of a LibOS, and of a program, that fail on a machine.

import CApusABI
import Foundation
import Testing

@testable import apus

@Suite(.enabled(if: Built.isComplete, "build/ is not complete")) struct CrashMachineTests {
  /// The line of apps/faulty that says it is where a failure happens.
  private func line(_ failure: String) throws -> Int {
    let source = try String(
      contentsOf: Built.home.appendingPathComponent("apps/faulty/Faulty.swift"), encoding: .utf8)
    let lines = source.split(separator: "\n", omittingEmptySubsequences: false)
    return try #require(lines.firstIndex { $0.hasSuffix("// fails: \(failure)") }) + 1
  }

  @Test(arguments: [
    ("null", "Faulty.readNull", "page fault"), ("check", "Faulty.indexTooFar (Index out of range)", "invalid opcode"),
    ("panic", "Faulty.giveUp", "the LibOS stopped here"), ("refused", "Faulty.callWithGarbage", "the kernel refused"),
  ])
  func `a failure in LibOS code names its function and line, and who called`(
    failure: String, function: String, words: String
  ) throws {
    let machine = try LiveMachine([
      "--bare", "--libos", Built.file("faulty.elf"), "--memory", "64M", "faulty", failure,
    ])
    defer { machine.end() }
    let text = machine.finish()
    #expect(text.contains(words))
    #expect(text.contains("   0  \(function) at apps/faulty/Faulty.swift:\(try line(failure))\n"), "\(text)")
    let frames = text.split(separator: "\n").filter { $0.dropFirst(3).first?.isNumber == true }
    #expect(frames.contains { $0.contains("Faulty.fail at") })
    #expect(frames.last?.contains("runtime_start") == true)
    #expect(text.contains("   resources: environment 0 of account 1, which has "))
    #expect(text.contains("   last upcalls: "))
  }

  @Test func `a program's null dereference names its own function and line`() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("apus-null-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let source = folder.appendingPathComponent("null.c")
    try """
    struct node { long value; struct node *next; };
    __attribute__((noinline)) long last(struct node *node) {
      while (1)
        if (node->next) node = node->next; else return node->value;
    }
    int main(int count, char **words) { return last((struct node *)(long)(count - 1)) + 1; }
    """.write(to: source, atomically: true, encoding: .utf8)
    let program = folder.appendingPathComponent("null").path
    let result = HostTool.run(["cc", "-static", "-g", "-O0", source.path, "-o", program])
    try #require(result?.status == 0, "\(result?.text ?? "no compiler")")
    let machine = try LiveMachine([program])
    defer { machine.end() }
    let text = machine.finish()
    #expect(text.contains("ended by signal 11 (SIGSEGV) at address 0x8"))
    #expect(text.contains("   0  last at \(source.path):4\n"), "\(text)")
    #expect(text.contains("   1  main at \(source.path):6\n"), "\(text)")
  }

  @Test func `the kernel's report of an environment that it ended has the function that failed`() throws {
    // Random calls: some family ends itself soon.
    let machine = try LiveMachine(MapMachineTests.load.map { $0 == "seeds=100000" ? "seeds=2" : $0 })
    defer { machine.end() }
    let text = machine.finish()
    let lines = text.split(separator: "\n").map(String.init)
    let at = try #require(lines.firstIndex { $0.hasPrefix("apus: environment ") && $0.contains(" ended: page fault") })
    #expect(lines[at + 1].hasPrefix("   0  ") && lines[at + 1].contains("apps/hostile/"), "\(lines[at + 1])")
  }

  @Test func `addresses are looked up from outside, and what is none is refused`() throws {
    let machine = try LiveMachine(["/bin/busybox", "true"])
    defer { machine.end() }
    let nothing = try machine.apus("addr2line", "0x1234")
    #expect(nothing.status == 64 && nothing.error.contains("--elf"))
    #expect(try machine.apus("addr2line", "zebra").error.contains("no hexadecimal address"))
    #expect(try machine.apus("addr2line", "--elf", "/no/such", "0x1").error.contains("no file"))
    let symbols = HostTool.run(["nm", Built.file("kernel.elf")])?.text ?? ""
    let line = try #require(symbols.split(separator: "\n").first { $0.hasSuffix(" apus_system_call") })
    let found = try machine.apus("addr2line", String(line.prefix(16)))
    #expect(found.output.contains("apus_system_call at kernel/Dispatch.swift:"))
  }
}

@Suite(
  .enabled(if: Built.isComplete, "build/ is not complete"),
  .enabled(if: HostFile.findProgram(Path("gdb".utf8)) != nil, "gdb is not there")) struct DebugMachineTests
{
  @Test func `gdb attaches with names and lists the environments`() throws {
    let machine = try LiveMachine(["--name", "debugged", "/bin/busybox", "sh", "-c", "while :; do :; done"])
    defer { machine.end() }
    let pages = try machine.pages()
    // Until the shell is in its loop, nobody need be running.
    for _ in 0..<1000 where (pages.read()?.environments[1].slices_used ?? 0) < 20 { usleep(10_000) }
    var isRunningSeen = false
    for _ in 0..<3 {  // a second time, too
      let result = try machine.apus(
        "gdb", "debugged", "--", "-batch", "-ex", "apus-environments", "-ex", "info symbol apus_system_call", "-ex",
        "info line performCall")
      #expect(result.output.contains("apus_system_call"), "\(result.output) \(result.error)")
      #expect(result.output.contains("environment  account  state"))
      // Unless the machine was stopped in the kernel, between two turns.
      isRunningSeen = isRunningSeen || result.output.contains("\n* ")
    }
    #expect(isRunningSeen)
  }
}
