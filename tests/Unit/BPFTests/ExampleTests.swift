// SPDX-License-Identifier: Apache-2.0
// ExampleTests.swift: the C programs of the book, compiled, verified for their uses, and run on what they are for.

import ApusBPF
import ApusBPFTools
import BPFHost
import Foundation
import Testing

/// What an example did.
private struct Run {
  var result: UInt64 = 0
  var regions: [[UInt8]] = []
  var calls: [(helper: UInt32, arguments: [UInt64])] = []
}

/// An address for each helper.
private struct AnyHelper: HelperAddresses {
  func address(of helper: UInt32) -> UInt64? { 0x1000 }
}

/// A compiler for BPF: the Swift toolchain brings one.
private let compiler: String? = {
  let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
  return folders.map { "\($0)/clang" }.first { FileManager.default.isExecutableFile(atPath: $0) }
}()

@Suite("Examples in C", .enabled(if: compiler != nil))
struct ExampleTests {
  private static let sources = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "../../../apps/bpf").standardized

  private func program(_ name: String) throws -> [UInt64] { try ObjectLoader.program(try object(name)) }

  private func object(_ name: String) throws -> [UInt8] {
    let object = FileManager.default.temporaryDirectory.appending(path: "apus-\(UUID().uuidString).o")
    defer { try? FileManager.default.removeItem(at: object) }
    let process = Process()
    process.executableURL = URL(filePath: try #require(compiler))
    process.arguments = [
      "-target", "bpf", "-mcpu=v3", "-O2", "-Wall", "-Werror", "-c", Self.sources.appending(path: name + ".c").path(),
      "-o",
      object.path(),
    ]
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return [UInt8](try Data(contentsOf: object))
  }

  /// Compiles, verifies and interprets a program, with regions at the addresses that `arguments` is given.
  private func run(
    _ name: String, _ use: Use, _ regions: [[UInt8]], arguments: (InlineArray<4, UInt64>) -> InlineArray<5, UInt64>
  ) throws -> Run {
    let program = try program(name)
    let verification = Verification(program, for: use.contract)
    let verdict = try #require(
      verification.verdict, "\(name): \(verification.outcome) \(verification.registers.joined(separator: "; "))")
    if use.isKernels {
      let kernel = KernelVerification(program, for: use.contract, helpers: AnyHelper())
      #expect(try kernel.outcome.get() >= verdict.worstInstructionCount)
      #expect(!kernel.code.isEmpty && kernel.code.count <= 4096)
    }
    var run = Run()
    let bases: InlineArray<4, UInt64> = [0x1_0000, 0x2_0000, 0x3_0000, 0x4_0000]
    var memory = SimulatedMemory(
      regions.indices.map { .init(base: bases[$0], bytes: regions[$0]) } + [
        .init(base: 0x8_0000, bytes: [UInt8](repeating: 0xee, count: ProgramLimits.stackByteCount))
      ])
    memory.helper = { number, arguments in
      run.calls.append((number, arguments))
      return 0
    }
    let top = 0x8_0000 + UInt64(ProgramLimits.stackByteCount)
    var interpreter = Interpreter(arguments: arguments(bases), stackTop: top)
    run.result = try interpreter.run(program.span, in: &memory, budget: 1 << 20)
    #expect(interpreter.executedCount <= verdict.worstInstructionCount)
    run.regions = memory.regions.map(\.bytes)
    return run
  }

  private func bytes(_ numbers: [UInt64], count: Int) -> [UInt8] {
    let bytes = numbers.flatMap { number in (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0))) } }
    return bytes + [UInt8](repeating: 0, count: count - bytes.count)
  }

  private func number(_ bytes: [UInt8], _ offset: Int) -> UInt64 {
    (0..<8).reversed().reduce(0) { $0 << 8 | UInt64(bytes[offset + $1]) }
  }

  private func datagram(port: UInt8, options: UInt8 = 0, payload: [UInt8]) -> [UInt8] {
    let header: [UInt8] = [0x45 + options, 7, 7, 7, 7, 7, 0, 0, 7, 17, 1, 2, 10, 0, 0, 1, 10, 0, 0, 2]
    let ethernet: [UInt8] = [2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 8, 0]
    return ethernet + header + [UInt8](repeating: 1, count: 4 * Int(options)) + [9, 9, 0, port, 0, 20, 5, 6] + payload
  }

  /// Whatever a file holds, it is loaded or refused with a sentence.
  @Test("damaged object files are refused, or are programs")
  func damaged() throws {
    let good = try object("echo")
    var state: UInt64 = 1
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(limit))
    }
    var refused = 0
    for round in 0..<800 {
      var bytes = good
      for _ in 0...random(3) { bytes[random(bytes.count)] = UInt8(random(256)) }
      if round % 4 == 0 { bytes.removeLast(random(bytes.count)) }
      do {
        let slots = try ObjectLoader.program(bytes)
        _ = Verification(slots, for: Use.packetHandler.contract, budget: 1 << 14, wordCount: 1 << 14)
      } catch {
        #expect(!error.sentence.isEmpty)
        refused += 1
      }
    }
    #expect(refused > 200)
  }

  @Test("dns takes questions and nothing else")
  func dns() throws {
    func taken(_ packet: [UInt8]) throws -> UInt64 {
      try run("dns", .packetFilter, [packet]) { [$0[0], $0[0] + UInt64(packet.count), 0, 0, 0] }.result
    }
    let question = [UInt8](repeating: 0, count: 12)
    #expect(try taken(datagram(port: 53, payload: question)) == 1)
    #expect(try taken(datagram(port: 53, options: 5, payload: question)) == 1)
    #expect(try taken(datagram(port: 54, payload: question)) == 0)
    #expect(try taken(datagram(port: 53, payload: [0, 0, 0x80] + question)) == 0)
    #expect(try taken(datagram(port: 53, payload: [1])) == 0)
    #expect(try taken(datagram(port: 53, options: 10, payload: question).dropLast(1)) == 0)
  }

  @Test("echo answers")
  func echo() throws {
    let packet = datagram(port: 7, payload: [UInt8](1...18))
    let memory = bytes([41], count: Int(Use.Size.handlerMemory))
    let run = try run("echo", .packetHandler, [packet, memory, [UInt8](repeating: 0, count: Int(Use.Size.reply))]) {
      [$0[0], $0[0] + UInt64(packet.count), $0[1], $0[2], 0]
    }
    #expect(run.result == 0)
    #expect(run.calls.map(\.helper) == [4, 2] && run.calls.last?.arguments.first == UInt64(packet.count))
    #expect(run.calls.first?.arguments.prefix(3) == [42, 42, 18])
    #expect(number(run.regions[1], 0) == 42)
    let reply = run.regions[2]
    #expect(Array(reply[..<14]) == [4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 8, 0])
    #expect(Array(reply[26..<38]) == [10, 0, 0, 2, 10, 0, 0, 1, 0, 7, 9, 9])
  }

  /// The word's bytes and the operation's last are where the answer has them.
  @Test("remote reads, writes and swaps")
  func remote() throws {
    func ask(
      _ operation: UInt8, _ offset: [UInt8], value: UInt64 = 0, expected: UInt64 = 0, count: UInt8 = 0
    ) throws -> (run: Run, word: UInt64, done: UInt8, old: UInt64) {
      let question = [0, 0, 0, operation, 0, 0] + offset + [0, 0, 0, count, 0, 0, 0, 0]
      let packet = datagram(port: 9, payload: question + bytes([value, expected], count: 16))
      let memory = bytes([7, 8, 9], count: Int(Use.Size.handlerMemory))
      let run = try run(
        "remote", .packetHandler, [packet, memory, [UInt8](repeating: 0xee, count: Int(Use.Size.reply))]
      ) { [$0[0], $0[0] + UInt64(packet.count), $0[1], $0[2], 0] }
      return (run, number(run.regions[1], 8), run.regions[2][57], number(run.regions[2], 66))
    }
    let read = try ask(1, [0, 8])
    #expect(read.run.result == 0 && read.word == 8 && read.done == 1 && read.old == 8)
    #expect(read.run.calls.map(\.helper) == [5, 2] && read.run.calls[0].arguments.prefix(3) == [8, 74, 0])
    let write = try ask(2, [0, 8], value: 41)
    #expect(write.word == 41 && write.done == 1 && write.old == 8)
    let swap = try ask(3, [0, 8], value: 42, expected: 8)
    #expect(swap.word == 42 && swap.done == 1 && swap.old == 8)
    let missed = try ask(3, [0, 8], value: 42, expected: 9)
    #expect(missed.word == 8 && missed.done == 0 && missed.old == 8)
    #expect(try ask(4, [0, 8]).done == 0)
    #expect(try ask(1, [16, 0]).run.result == 1)
    #expect(try ask(1, [0, 4]).run.result == 1)
  }

  @Test("ready wakes for a queue or the alarm")
  func ready() throws {
    func wakes(_ words: [UInt64], now: UInt64) throws -> UInt64 {
      try run("ready", .wakeupPredicate, [bytes(words, count: 64)]) { [$0[0], now, 0, 0, 0] }.result
    }
    #expect(try wakes([1, 1, 2, 2, 3, 3, 0], now: 9) == 0)
    #expect(try wakes([1, 1, 2, 2, 4, 3, 0], now: 9) == 1)
    #expect(try wakes([1, 1, 2, 2, 3, 3, 10], now: 9) == 0)
    #expect(try wakes([1, 1, 2, 2, 3, 3, 9], now: 9) == 1)
  }

  @Test("inode names what it owns")
  func inode() throws {
    func owned(_ words: [UInt64]) throws -> Run {
      try run("inode", .blockOwner, [bytes(words, count: 4096)]) { [$0[0], 0, 0, 0, 0] }
    }
    let good = try owned([0x2_4150_4953, 5000, 700, 3, 90, 1])
    #expect(good.result == 1)
    #expect(good.calls.map(\.arguments).map { Array($0.prefix(3)) } == [[700, 3, 2], [90, 1, 2]])
    #expect(try owned([0x11_4150_4953, 0]).result == 0)
    #expect(try owned([0x2_4150_4954, 0]).result == 0)
    #expect(try owned([0x1_4150_4953, 0, 700, 0]).result == 0)
  }

  @Test("btree goes down step by step")
  func btree() throws {
    func node(isLeaf: Bool, _ pairs: [(UInt64, UInt64)]) -> [UInt8] {
      let keys = pairs.map(\.0) + [UInt64](repeating: 0, count: 255 - pairs.count)
      return bytes([(isLeaf ? 1 : 0) | UInt64(pairs.count) << 32, 0] + keys + pairs.map(\.1), count: 4096)
    }
    func step(_ node: [UInt8], wanted: UInt64) throws -> Run {
      try run("btree", .storageFunction, [node, bytes([wanted], count: 256)]) { [$0[0], $0[1], 0, 0, 0] }
    }
    let pairs = (0..<255).map { (UInt64($0) * 10, UInt64($0) + 1000) }
    for wanted in [0, 5, 10, 1234, 2540, 9999] as [UInt64] {
      let run = try step(node(isLeaf: false, pairs), wanted: wanted)
      #expect(run.result == 1)
      #expect(run.calls.first?.arguments.first == min(wanted / 10, 254) + 1000)
    }
    let leaf = try step(node(isLeaf: true, [(3, 30), (5, 50)]), wanted: 5)
    #expect(leaf.result == 0 && number(leaf.regions[1], 8) == 1 && number(leaf.regions[1], 16) == 50)
    let other = try step(node(isLeaf: true, [(3, 30), (5, 50)]), wanted: 4)
    #expect(other.result == 0 && number(other.regions[1], 8) == 0)
    #expect(try step(node(isLeaf: false, []), wanted: 4).result == 0)
  }
}
