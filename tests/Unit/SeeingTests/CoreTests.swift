// SPDX-License-Identifier: Apache-2.0
// CoreTests.swift: core files: what page tables say, what is written, and what a debugger makes of it.

import CApusABI
import Foundation
import Testing

@testable import apus

/// A core file, read back.
private struct ReadCore {
  var segments: [(type: UInt32, flags: UInt32, offset: Int, address: UInt64, size: Int)] = []
  var notes: [UInt32: [UInt8]] = [:]
  let bytes: [UInt8]

  init(_ path: String) throws {
    bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    try #require(bytes.count > 64 && Array(bytes[..<4]) == ElfFile.magic && bytes.load16(16) == 4)
    for index in 0..<Int(bytes.load16(56)) {
      let at = Int(bytes.load64(32)) + index * 56
      segments.append(
        (
          bytes.load32(at), bytes.load32(at + 4), Int(bytes.load64(at + 8)), bytes.load64(at + 16),
          Int(bytes.load64(at + 32))
        ))
    }
    for segment in segments where segment.type == 4 {
      var at = segment.offset
      while at < segment.offset + segment.size {
        let size = Int(bytes.load32(at + 4))
        notes[bytes.load32(at + 8)] = Array(bytes[at + 20..<at + 20 + size])
        at += 20 + (size + 3) & ~3
      }
    }
  }

  /// Bytes of memory.
  func memory(_ address: UInt64, _ count: Int) -> [UInt8]? {
    for segment in segments where segment.type == 1 && address >= segment.address {
      let at = Int(address - segment.address)
      if at + count <= segment.size { return Array(bytes[segment.offset + at..<segment.offset + at + count]) }
    }
    return nil
  }

  func register(_ index: Int) -> UInt64 { notes[1]?.load64(112 + index * 8) ?? 0 }
}

@Suite struct GuestSpaceTests {
  /// Tables at frames 500 to 503: two neighbouring pages of code, one to be written, and a word in it.
  private func space() throws -> (GuestSpace, MemoryFile) {
    let file = try MemoryFile()
    func put(_ table: UInt64, _ index: UInt64, _ entry: UInt64) { file.put(entry, at: table << 12 + index * 8) }
    put(500, 1, 501 << 12 | 7)
    put(500, 300, 501 << 12 | 7)  // the kernel's half
    put(501, 2, 502 << 12 | 7)
    put(501, 3, 7 | 1 << 7)  // no table
    put(502, 3, 503 << 12 | 7)
    put(503, 4, 600 << 12 | 5)
    put(503, 5, 700 << 12 | 5)
    put(503, 6, 601 << 12 | 7 | 1 << 63)
    put(503, 8, 602 << 12 | 6)  // not present
    file.put(0x1122_3344_5566_7788 as UInt64, at: 601 << 12 | 0x18)
    return (GuestSpace(memory: try MachineMemory(path: Path(file.path.utf8)), root: 500), file)
  }

  private let base: UInt64 = 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12

  @Test func `pages with the same rights are one stretch`() throws {
    let (space, _) = try space()
    let stretches = space.stretches()
    #expect(stretches.map(\.address) == [base, base + 0x2000])
    #expect(stretches.map(\.pages) == [[600 << 12, 700 << 12], [601 << 12]])
    #expect(stretches.map(\.isWritable) == [false, true] && stretches.map(\.isExecutable) == [true, false])
    #expect(space.word(base + 0x2018) == 0x1122_3344_5566_7788)
    #expect(space.word(base + 0x4000) == nil && space.word(base + 1) == nil && space.word(UInt64.max & ~7) == nil)
  }

  @Test func `a core has the memory, the registers and the name`() throws {
    let (space, file) = try space()
    var core = CoreFile()
    core.registers[.instruction] = 0x1234
    core.registers[.stack] = 0x5678
    core.signal = 11
    core.program = "/bin/program"
    core.entry = 0x4000
    let path = file.path + ".core"
    defer { unlink(path) }
    try core.write(to: path, space.stretches(), in: space.memory)
    let read = try ReadCore(path)
    #expect(read.memory(base + 0x2018, 8) == [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11])
    #expect(read.segments.filter { $0.type == 1 }.map(\.flags) == [5, 6])
    #expect(read.register(16) == 0x1234 && read.register(19) == 0x5678)
    #expect(read.notes[1]?.load16(12) == 11)
    #expect(read.notes[3].map { String(decoding: $0[40..<47], as: UTF8.self) } == "program")
    #expect(read.notes[6]?.load64(24) == 0x4000)
    #expect(throws: Failure.self) { try core.write(to: "/no/such/core", space.stretches(), in: space.memory) }
  }
}

@Suite(.enabled(if: Built.isComplete, "build/ is not complete")) struct CoreMachineTests {
  /// Runs a machine that fails, and reads the core that it leaves.
  private func core(_ words: [String]) throws -> (core: ReadCore, path: String, text: String) {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("apus-core-\(UUID().uuidString)").path
    let machine = try LiveMachine(["--core", path] + words)
    defer { machine.end() }
    let text = machine.finish()
    try #require(text.contains("apus: a core is in \(path)"), "\(text)")
    return (try ReadCore(path), path, text)
  }

  private func debugger(_ program: String, _ core: String) -> String? {
    guard HostFile.findProgram(Path("gdb".utf8)) != nil else { return nil }
    return HostTool.run(["gdb", "-nx", "-batch", "-ex", "bt", program, core])?.text
  }

  @Test(arguments: [("null", 11), ("check", 4), ("panic", 6), ("refused", 31)])
  func `a LibOS's core has its code, its stack and the place where it failed`(failure: String, signal: UInt16) throws {
    let libos = Built.file("faulty.elf")
    let (core, path, text) = try core(["--bare", "--libos", libos, "--memory", "64M", "faulty", failure])
    defer { unlink(path) }
    #expect(core.notes[1]?.load16(12) == signal)
    let file = Array(try Data(contentsOf: URL(fileURLWithPath: libos)))
    let place = core.register(16)
    let header = try #require(
      (0..<Int(file.load16(56))).map { Int(file.load64(32)) + $0 * 56 }.first {
        file.load32($0) == 1 && place >= file.load64($0 + 16) && place < file.load64($0 + 16) + file.load64($0 + 32)
      })
    let code = Int(file.load64(header + 8) + place - file.load64(header + 16))
    #expect(core.memory(place, 4) == Array(file[code..<code + 4]))
    #expect(core.memory(core.register(19) & ~7, 8) != nil)
    let top = try #require(text.split(separator: "\n").first { $0.hasPrefix("   0  ") })
    guard let told = debugger(libos, path) else { return }
    // The same line as in the report, at the same place of the stack.
    let line = try #require(top.split(separator: ":").last)
    #expect(told.contains("apps/faulty/Faulty.swift:\(line)"), "\(told)")
    #expect(told.contains("in runtime_start () at libos/Runtime/Entry.S"), "\(told)")
  }

  @Test(arguments: [["-static"], ["-static-pie", "-fPIE"]])
  func `a program's core has all its registers, and a debugger finds its variables`(flags: [String]) throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("apus-core-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let source = folder.appendingPathComponent("null.c").path
    try """
    __attribute__((noinline)) long read_at(long *place, long number) { return *place + number; }
    int main(int count, char **words) { return (int)read_at((long *)(long)(count - 1), 4711); }
    """.write(toFile: source, atomically: true, encoding: .utf8)
    let program = folder.appendingPathComponent("null").path
    let made = HostTool.run(["cc"] + flags + ["-g", "-O0", source, "-o", program])
    try #require(made?.status == 0, "\(made?.text ?? "no compiler")")
    let (core, path, _) = try core([program])
    defer { unlink(path) }
    #expect(core.notes[1]?.load16(12) == 11)
    #expect(core.register(13) == 4711, "the second argument, in rsi")
    guard let told = debugger(program, path) else { return }
    #expect(told.contains("read_at (place=0x0, number=4711) at \(source):1"), "\(told)")
    #expect(told.contains("main (count=1"), "\(told)")
  }

  @Test func `who does not fail leaves no core, and a place that cannot be written is refused`() throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("apus-core-\(UUID().uuidString)").path
    let machine = try LiveMachine(["--core", path, "/bin/busybox", "true"])
    defer { machine.end() }
    #expect(machine.finish().isEmpty && machine.status == 0)
    #expect(!FileManager.default.fileExists(atPath: path))
    let refused = try machine.apus("run", "--core", "/no/such/place", "/bin/busybox", "true")
    #expect(refused.status == 64 && refused.error.contains("--core /no/such/place: no file can be written there"))
    let several = try machine.apus("run", "--core", path, "--manifest", "none.yaml")
    #expect(several.status == 64 && several.error.contains("with --manifest"))
  }
}
