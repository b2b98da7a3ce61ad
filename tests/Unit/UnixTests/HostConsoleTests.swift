// SPDX-License-Identifier: Apache-2.0
// HostConsoleTests.swift: the host's streams arrive whole, and its records may be cut anywhere.

import ApusABI
import ApusRuntime
import Testing

@testable import ApusUnix

private final class Signals: HostConsoleDelegate {
  var received: [Int32] = []
  func console(_ console: HostConsole, signal: Int32) { received.append(signal) }
}

/// The console device of the host tests is one for all: one test at a time.
@Suite(.serialized) struct HostConsoleTests {
  private func record(_ kind: ConsoleInput, _ payload: [UInt8]) -> [UInt8] {
    [kind.rawValue, 0, UInt8(payload.count & 255), UInt8(payload.count >> 8)] + payload
  }

  private func console(terminal: UInt32 = 0) -> HostConsole {
    Console.reset()
    return HostConsole(
      RamFileSystem().fileSystem, terminalStreams: terminal, size: WindowSize(rows: 24, columns: 80))
  }

  private func file(_ console: HostConsole, _ stream: Int) -> OpenFile {
    let file = console.standardFile(stream, terminalNode: Tree().files.root)
    file.acquire()
    return file
  }

  @Test(arguments: [1, 3, 5, 4096])
  func standardInputComesWholeAndEnds(cut: Int) throws {
    let console = console()
    let input = file(console, 0)
    let data = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 3) }
    var stream = record(.bytes, Array(data[..<1000])) + record(.bytes, []) + record(.bytes, Array(data[1000...]))
    stream += record(.end, [])
    while !stream.isEmpty {
      Console.arrive(Array(stream.prefix(cut)))
      stream.removeFirst(min(cut, stream.count))
      console.pump()
    }
    #expect(try input.take(10_000) == data)
    #expect(try input.take(10) == [])
  }

  @Test func aSlowReaderLosesNothing() throws {
    let console = console()
    let input = file(console, 0)
    let data = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
    for start in stride(from: 0, to: data.count, by: 4000) {
      Console.arrive(record(.bytes, Array(data[start..<min(start + 4000, data.count)])))
    }
    Console.arrive(record(.end, []))
    console.pump()
    var got: [UInt8] = []
    while true {
      let part = try input.take(7000)
      if part.isEmpty { break }
      got += part
    }
    #expect(got == data)
  }

  @Test func outputAndErrorAreTwoStreams() throws {
    let console = console()
    let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0) }
    #expect(try file(console, 1).put(bytes) == 10_000)
    #expect(try file(console, 2).put(ascii("oops\n")) == 5)
    #expect(Console.sent(.output) == bytes)
    #expect(Console.sent(.error) == ascii("oops\n"))
  }

  @Test func aCloggedHostIsWaitedFor() throws {
    let console = console()
    let output = file(console, 1)
    let waiter = CountingWaiter()
    output.writeQueue.add(waiter)
    Console.setRoom(5000)
    #expect(try output.put([UInt8](repeating: 1, count: 8000)) == 5000)
    #expect(throws: Errno.EAGAIN) { try output.put([1]) }
    #expect(output.poll() == .none)
    #expect(console.isAwaitingOutput)
    Console.setRoom(Int.max)
    console.outputProceeds()
    #expect(waiter.count == 1)
    #expect(try output.put([1]) == 1)
  }

  @Test func aTerminalTakesAllThreeStreams() throws {
    let console = console(terminal: 7)
    let signals = Signals()
    console.setDelegate(signals)
    let terminal = try #require(console.terminal)
    #expect(file(console, 0).terminal === terminal)
    #expect(file(console, 2).terminal === terminal)
    Console.arrive(record(.bytes, ascii("ls\r")) + record(.windowSize, [50, 0, 100, 0]) + record(.signal, [2]))
    console.pump()
    #expect(try file(console, 0).take(10) == ascii("ls\n"))
    #expect(terminal.windowSize == WindowSize(rows: 50, columns: 100))
    #expect(signals.received == [2])
    #expect(Console.sent(.output) == ascii("ls\r\n"))
    _ = try file(console, 2).put(ascii("e\n"))
    #expect(Console.sent(.error) == ascii("e\r\n"))
    Console.arrive(record(.end, []))
    console.pump()
    #expect(try file(console, 0).take(10) == [])
  }

  @Test func onlyInputMayBeATerminal() throws {
    let console = console(terminal: 1)
    #expect(file(console, 0).terminal != nil)
    #expect(file(console, 1).terminal == nil)
  }
}
