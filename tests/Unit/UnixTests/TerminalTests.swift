// SPDX-License-Identifier: Apache-2.0
// TerminalTests.swift: what is typed and what is read, what is written and what is seen (termios(3)).

import ApusRuntime
import Testing

@testable import ApusUnix

/// Keeps what a terminal shows and which signals it sends.
private final class Screen: TerminalSink, TerminalDelegate {
  var shown: [UInt8] = []
  var room = Int.max
  var signals: [Int32] = []

  func accept(_ bytes: Bytes, error: Bool) -> Int {
    let count = min(room, bytes.count)
    if room != Int.max { room -= count }
    shown += bytes.part(0, count).array
    return count
  }

  func terminal(_ terminal: Terminal, sends signal: Int32, toGroup group: Int32) { signals.append(signal) }

  var text: String { String(decoding: shown, as: UTF8.self) }
}

/// Keys, what the screen shows, and the lines that a program reads.
struct Typing: Sendable, CustomTestStringConvertible {
  let name: String
  let keys: String
  let screen: String
  let lines: [String]
  var testDescription: String { name }
}

@Suite struct TerminalTests {
  private func make() -> (Terminal, Screen) {
    let screen = Screen()
    let terminal = Terminal(screen, size: WindowSize(rows: 24, columns: 80))
    terminal.setDelegate(screen)
    terminal.foregroundGroup = 5
    return (terminal, screen)
  }

  private func type(_ terminal: Terminal, _ text: String) {
    var bytes = ascii(text)
    Bytes.withArray(&bytes) { terminal.receive($0) }
  }

  private func read(_ terminal: Terminal, _ count: Int = 4096) throws -> String {
    let file = TerminalFile(Tree().files.root, terminal, .readWrite)
    return String(decoding: try file.take(count), as: UTF8.self)
  }

  private static let rub = "\u{8} \u{8}"

  static let typings: [Typing] = [
    Typing(name: "a line", keys: "hi\r", screen: "hi\r\n", lines: ["hi\n"]),
    Typing(name: "two lines", keys: "a\nb\n", screen: "a\r\nb\r\n", lines: ["a\n", "b\n"]),
    Typing(name: "erase", keys: "abx\u{7f}c\r", screen: "abx" + rub + "c\r\n", lines: ["abc\n"]),
    Typing(name: "erase nothing", keys: "\u{7f}a\r", screen: "a\r\n", lines: ["a\n"]),
    Typing(
      name: "erase a control character", keys: "a\u{1}\u{7f}\r", screen: "a^A" + rub + rub + "\r\n", lines: ["a\n"]),
    Typing(name: "erase UTF-8", keys: "a€\u{7f}b\r", screen: "a€" + rub + "b\r\n", lines: ["ab\n"]),
    Typing(name: "kill", keys: "abc\u{15}d\r", screen: "abc" + rub + rub + rub + "d\r\n", lines: ["d\n"]),
    Typing(
      name: "word erase", keys: "one two\u{17}x\r", screen: "one two" + rub + rub + rub + "x\r\n", lines: ["one x\n"]),
    Typing(name: "end of file", keys: "ab\u{4}", screen: "ab", lines: ["ab"]),
    Typing(name: "end of file alone", keys: "\u{4}", screen: "", lines: [""]),
    Typing(name: "literal next", keys: "\u{16}\u{3}\r", screen: "^\u{8}^C\r\n", lines: ["\u{3}\n"]),
    Typing(name: "tab", keys: "a\tb\r", screen: "a\tb\r\n", lines: ["a\tb\n"]),
    Typing(name: "reprint", keys: "ab\u{12}\r", screen: "ab^R\r\nab\r\n", lines: ["ab\n"]),
  ]

  @Test(arguments: typings)
  func linesAreEdited(typing: Typing) throws {
    let (terminal, screen) = make()
    type(terminal, typing.keys)
    #expect(screen.text == typing.screen)
    for line in typing.lines { #expect(try read(terminal) == line) }
    #expect(throws: Errno.EAGAIN) { try read(terminal) }
  }

  @Test func aReadTakesAtMostOneLineAndCanTakeLess() throws {
    let (terminal, _) = make()
    type(terminal, "hello\nworld\n")
    #expect(try read(terminal, 3) == "hel")
    #expect(try read(terminal) == "lo\n")
    #expect(try read(terminal) == "world\n")
  }

  @Test(arguments: [("\u{3}", 2, "^C"), ("\u{1c}", 3, "^\\"), ("\u{1a}", 20, "^Z")])
  func signalsGoToTheForeground(key: String, signal: Int32, shown: String) throws {
    let (terminal, screen) = make()
    type(terminal, "abc" + key + "d\r")
    #expect(screen.signals == [signal])
    #expect(screen.text == "abc" + shown + "d\r\n")
    #expect(try read(terminal) == "d\n")
    terminal.settings.local &= ~Termios.Local.signals
    type(terminal, key + "\r")
    #expect(screen.signals == [signal])
    #expect(try read(terminal) == key + "\n")
  }

  @Test func passwordsAreNotShown() throws {
    let (terminal, screen) = make()
    terminal.settings.local &= ~Termios.Local.echo
    terminal.settings.local |= Termios.Local.echoNewline
    type(terminal, "secret\r")
    #expect(screen.text == "\r\n")
    #expect(try read(terminal) == "secret\n")
  }

  private func makeRaw(_ terminal: Terminal, minimum: UInt8, time: UInt8) {
    var raw = terminal.settings
    raw.local &= ~(Termios.Local.canonical | Termios.Local.echo | Termios.Local.signals)
    raw.input &= ~Termios.Input.mapReturn
    raw.characters[Termios.Index.minimum.rawValue] = minimum
    raw.characters[Termios.Index.time.rawValue] = time
    terminal.change(raw, flush: false)
  }

  @Test func rawModeGivesBytesAsTheyCome() throws {
    let (terminal, screen) = make()
    makeRaw(terminal, minimum: 1, time: 0)
    #expect(throws: Errno.EAGAIN) { try read(terminal) }
    type(terminal, "a\r\u{3}\u{7f}")
    #expect(screen.text == "")
    #expect(screen.signals == [])
    #expect(try read(terminal) == "a\r\u{3}\u{7f}")
  }

  @Test func minimumAndTime() throws {
    let (terminal, _) = make()
    makeRaw(terminal, minimum: 3, time: 0)
    type(terminal, "ab")
    #expect(throws: Errno.EAGAIN) { try read(terminal) }
    #expect(!terminal.isReadable)
    #expect(try read(terminal, 2) == "ab", "no more was asked for")
    makeRaw(terminal, minimum: 0, time: 0)
    #expect(try read(terminal) == "")
    makeRaw(terminal, minimum: 0, time: 2)
    #expect(throws: Errno.EAGAIN) { try read(terminal) }
    #expect(terminal.readTimeoutNanoseconds == 200_000_000)
    #expect(try terminal.read(Page.allocate(zeroed: true)!.bytes, timedOut: true) == 0)
    makeRaw(terminal, minimum: 5, time: 1)
    #expect(terminal.readTimeoutNanoseconds == nil, "the clock starts with the first byte")
    type(terminal, "x")
    #expect(terminal.readTimeoutNanoseconds == 100_000_000)
    #expect(try terminal.read(Page.allocate(zeroed: true)!.bytes, timedOut: true) == 1)
  }

  @Test func changingTheModeKeepsWhatWasTyped() throws {
    let (terminal, _) = make()
    type(terminal, "one\ntw")
    makeRaw(terminal, minimum: 1, time: 0)
    #expect(try read(terminal) == "one\ntw")
    type(terminal, "x")
    terminal.change(Termios(), flush: true)
    #expect(throws: Errno.EAGAIN) { try read(terminal) }
  }

  @Test func outputGetsItsReturns() throws {
    let (terminal, screen) = make()
    let file = TerminalFile(Tree().files.root, terminal, .readWrite)
    let long = String(repeating: "0123456789\n", count: 2000)
    var rest = ascii("a\n\nb") + ascii(long)
    while !rest.isEmpty { rest.removeFirst(try file.put(rest)) }
    #expect(screen.text == ("a\n\nb" + long).replacing("\n", with: "\r\n"))
    terminal.settings.output = 0
    screen.shown = []
    _ = try file.put(ascii("x\ny"))
    #expect(screen.text == "x\ny")
  }

  @Test func outputWaitsForTheHost() throws {
    let (terminal, screen) = make()
    let waiter = CountingWaiter()
    let file = TerminalFile(Tree().files.root, terminal, .readWrite)
    file.writeQueue.add(waiter)
    screen.room = 3
    #expect(try file.put(ascii("a\nbc")) == 4)
    #expect(screen.text == "a\r\n")
    #expect(throws: Errno.EAGAIN) { try file.put(ascii("d")) }
    #expect(!file.poll().intersects(.writable))
    screen.room = Int.max
    terminal.outputProceeds()
    #expect(waiter.count == 1)
    #expect(screen.text == "a\r\nbc")
    #expect(try file.put(ascii("d")) == 1)
    #expect(screen.text == "a\r\nbcd")
  }

  @Test func stopAndStart() throws {
    let (terminal, screen) = make()
    let file = TerminalFile(Tree().files.root, terminal, .readWrite)
    type(terminal, "\u{13}")
    #expect(throws: Errno.EAGAIN) { try file.put(ascii("x")) }
    type(terminal, "\u{11}")
    #expect(try file.put(ascii("x")) == 1)
    #expect(screen.text == "x")
  }

  @Test func aNewSizeIsTold() {
    let (terminal, screen) = make()
    terminal.resize(WindowSize(rows: 24, columns: 80))
    #expect(screen.signals == [])
    terminal.resize(WindowSize(rows: 30, columns: 80))
    #expect(screen.signals == [28])
  }

  @Test func settingsKeepTheirLayout() {
    var settings = Termios()
    settings.characters[Termios.Index.erase.rawValue] = 8
    let page = Page.allocate(zeroed: true)!
    settings.store(into: page.bytes.part(0, 36))
    #expect(page.bytes.load(12, as: UInt32.self) == settings.local)
    #expect(page.bytes[17 + 2] == 8)
    #expect(Termios(from: page.bytes.part(0, 36)).characters == settings.characters)
    page.release()
  }

  @Test(arguments: [0, 1, 7, 8, 9, 15, 16, 17, 100])
  func spansAreFoundAtEveryOffset(position: Int) {
    var bytes = [UInt8](repeating: 0x0b, count: 101)
    bytes[position] = 10
    if position < 100 { bytes[100] = 10 }
    #expect(Bytes.withArray(&bytes) { $0.spanWithout(10) } == position)
  }
}
