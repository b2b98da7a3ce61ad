// SPDX-License-Identifier: Apache-2.0
// Session.swift: relays between the machine and the person until the program ends.
//
// One thread, one poll loop. Nothing is read from a side whose other side is behind: each queue has a limit, and
// a full pipe makes the machine or the writer of our standard input wait.

import ApusABI
import CHost
import Glibc

/// How a session shows things.
struct SessionOptions {
  var programName = ""
  var isVerbose = false
  var timeoutSeconds: Double?
  /// For the names in reports of failures.
  var code = CodeFiles()
  /// Where the core of what fails is kept.
  var core: String?
  /// How other commands find the machine; nil: they do not.
  var registration: MachineRegistration?
  /// The names of several programs, by which their lines are labelled; nil: there is one, and its bytes are passed on.
  var labels: [String]?
}

/// How the machine's program ended.
enum Outcome: Equatable {
  case exited(Int32)
  case timedOut
  /// The machine ended without saying how the program did.
  case died(explanation: String)
  /// This process was told to end.
  case interrupted(signal: Int32)
  /// Nobody reads standard output any more.
  case outputClosed
}

struct Session: ~Copyable {
  private var process: MachineProcess
  private let options: SessionOptions
  private let signals: Int32
  private var decoder = RecordDecoder()
  private var toMachine = ByteQueue()
  private var toOutput = ByteQueue()
  private var toError = ByteQueue()
  /// Both streams lead to the same place, a terminal or by `2>&1`, where their order is to be seen.
  private let streamsAreOne = Descriptor.areSame(1, 2)
  private var emulatorWords: [UInt8] = []
  private let crashes: CrashReader
  private let cores: CoreKeeper?
  private var log = LineAssembler(remembered: 20)
  private var noticed = false
  private var inputEnded = false
  private var machineEnded = false
  private var emulatorIsSilent = false
  private var isRaw = false
  private var escapes = 0
  private var exitStatus: Int32?
  private var exitDeadline: UInt64?
  private var deadline: UInt64?
  private var result: Outcome?
  private let registration: MachineRegistration?
  private let control: ControlServer
  private var lines: ProgramLines?
  private var written = OutputMemory(limit: 256 << 10)

  private static let queueLimit = 256 << 10
  private static let inputLimit = 64 << 10
  /// How long the machine may take to power off after the program's end.
  private static let powerOffNanoseconds: UInt64 = 1_000_000_000
  /// Ctrl-], three times in a row, ends a machine that answers to nothing else.
  private static let escape: UInt8 = 0x1d

  init(_ line: MachineLine, _ options: SessionOptions) throws(Failure) {
    signals = chost_signals()
    process = try MachineProcess(line)
    registration = options.registration
    let emulator = process.identifier
    registration?.update { $0.emulator = emulator }
    control = ControlServer(listener: registration?.listener ?? -1)
    self.options = options
    crashes = CrashReader(options.code)
    cores = options.core.map { CoreKeeper($0, options.code) }
    cores?.watch(process.identifier)
    if let labels = options.labels {
      lines = ProgramLines(labels)
      inputEnded = true
    }
    if let seconds = options.timeoutSeconds {
      deadline = Self.now() + UInt64(seconds * 1e9)
    }
  }

  /// Relays until the end.
  mutating func run() -> Outcome {
    makeTerminalRaw()
    defer {
      restoreTerminal()
      process.end()
      registration?.remove()
    }
    while result == nil {
      step()
    }
    drain()
    restoreTerminal()
    return result ?? .timedOut
  }

  // MARK: one turn

  private mutating func step() {
    var entries: [pollfd] = []
    func add(_ descriptor: Int32, _ events: Int32) -> Int {
      entries.append(pollfd(fd: descriptor, events: Int16(events), revents: 0))
      return entries.count - 1
    }
    let mayRead = toOutput.count < Self.queueLimit && toError.count < Self.queueLimit
    let signalEntry = add(signals, POLLIN)
    let outputEntry = !machineEnded && mayRead ? add(process.output, POLLIN) : nil
    let errorEntry = emulatorIsSilent ? nil : add(process.error, POLLIN)
    let inputEntry = !inputEnded && toMachine.count < Self.inputLimit ? add(0, POLLIN) : nil
    let machineEntry = toMachine.isEmpty || machineEnded ? nil : add(process.input, POLLOUT)
    let standardEntry = toOutput.isEmpty ? nil : add(1, POLLOUT)
    let wordsEntry = toError.isEmpty ? nil : add(2, POLLOUT)

    let controlEntries = entries.count...
    entries += control.entries

    let count = poll(&entries, nfds_t(entries.count), waitMilliseconds())
    guard count > 0 else {
      checkDeadlines()
      return
    }
    func isReady(_ index: Int?) -> Bool { index.map { entries[$0].revents != 0 } ?? false }

    if isReady(signalEntry) { takeSignals() }
    answerRequests(entries[controlEntries])
    if isReady(standardEntry) { write(toOutput: true) }
    if isReady(wordsEntry) { write(toOutput: false) }
    if isReady(machineEntry) { feedMachine() }
    if isReady(inputEntry) { readInput() }
    if isReady(errorEntry) { readEmulatorWords() }
    if isReady(outputEntry) { readMachine() }
    checkDeadlines()
    if machineEnded, toOutput.isEmpty, toError.isEmpty, result == nil { conclude() }
  }

  private func waitMilliseconds() -> Int32 {
    let next = [deadline, exitDeadline].compactMap { $0 }.min()
    guard let next else { return -1 }
    let now = Self.now()
    guard next > now else { return 0 }
    return Int32(min((next - now) / 1_000_000 + 1, 60_000))
  }

  private mutating func checkDeadlines() {
    guard result == nil else { return }
    let now = Self.now()
    if let exitDeadline, now >= exitDeadline, !machineEnded {
      machineEnded = true
      if toOutput.isEmpty, toError.isEmpty { conclude() }
    }
    if let deadline, now >= deadline { result = .timedOut }
  }

  // MARK: from the machine

  private mutating func readMachine() {
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    let count = read(process.output, &buffer, buffer.count)
    if count < 0 {
      if errno != EAGAIN, errno != EINTR { machineEnded = true }
      return
    }
    guard count > 0 else {
      machineEnded = true
      return
    }
    decoder.append(buffer[..<count])
    while let record = decoder.next() { take(record) }
    write(toOutput: true)
    if !decoder.stray.isEmpty, decoder.stray.count >= 1 << 16 { machineEnded = true }
  }

  private mutating func take(_ record: ConsoleRecord) {
    switch record.stream {
    case .output, .error: takeOutput(record)
    case .program: takeProgram(record)
    // Of several programs the start environment says how they ended.
    case .exit where lines != nil && record.account != 1: break
    case .exit:
      var bits: UInt32 = 0
      for (index, byte) in record.payload.prefix(4).enumerated() { bits |= UInt32(byte) << UInt32(index * 8) }
      exitStatus = Int32(bits & 0xff)
      inputEnded = true
      if exitDeadline == nil { exitDeadline = Self.now() + Self.powerOffNanoseconds }
    case .notice:
      noticed = true
      sayLines(record.payload, prefix: "apus: " + (lines?.name(record.account).map { $0 + ": " } ?? ""))
    case .trace: sayLines(record.payload, prefix: lines?.name(record.account).map { $0 + " | " } ?? "")
    case .log:
      let lines = log.add(record.payload)
      if options.isVerbose { for line in lines { say(line) } }
    case .crash:
      noticed = true
      let report = CrashRecord(record.payload)
      for line in crashes.lines(report) { say(line) }
      for line in cores?.keep(report) ?? [] { say(line) }
    case .terminal: break
    }
  }

  private mutating func takeOutput(_ record: ConsoleRecord) {
    let isError = record.stream == .error
    guard let bytes = lines?.add(record.payload, of: record.account, error: isError) else {
      queue(record.payload, error: isError, of: options.programName)
      return
    }
    if !bytes.isEmpty { queue(bytes, error: isError, of: lines?.name(record.account) ?? "") }
  }

  private mutating func takeProgram(_ record: ConsoleRecord) {
    guard record.account == 1, let news = lines?.take(record.payload) else { return }
    for isError in [false, true] {
      guard let bytes = lines?.flush(news.account, error: isError), !bytes.isEmpty else { continue }
      queue(bytes, error: isError, of: lines?.name(news.account) ?? "")
    }
    if let sentence = news.sentence { say("apus: " + sentence) }
  }

  private mutating func sayLines(_ payload: ArraySlice<UInt8>, prefix: String) {
    for line in payload.split(separator: 0x0a) where !line.isEmpty {
      let text = shown(line)
      say(text.hasPrefix(prefix) ? text : prefix + (text.hasPrefix("apus: ") ? String(text.dropFirst(6)) : text))
    }
  }

  /// Queues a line of ours behind what the program wrote to standard error.
  private mutating func say(_ line: String) {
    queue(Array((line + (isRaw ? "\r\n" : "\n")).utf8), error: true, of: options.programName)
  }

  private mutating func queue(_ bytes: some Collection<UInt8>, error: Bool, of program: String) {
    if error && !streamsAreOne { toError.append(bytes) } else { toOutput.append(bytes) }
    // Kept for those who ask.
    guard registration != nil else { return }
    written.append(bytes, of: program)
    control.tell(bytes, of: program)
  }

  // MARK: other commands

  private mutating func answerRequests(_ entries: ArraySlice<pollfd>) {
    var isStopped = false
    var stopped: [UInt8] = []
    control.step(entries, memory: written) { request in
      switch request.verb {
      case "logs", "follow": return nil
      case "programs": return lines?.states ?? ""
      case "stop":
        if let program = request.program, let lines {
          guard let account = lines.account(of: program) else { return "there is no program \(program)\n" }
          stopped.append(account)
        } else {
          isStopped = true
        }
        return "ok\n"
      default: return "there is no request \(request.verb)\n"
      }
    }
    for account in stopped { toMachine.append(.signal, account: account, [UInt8(SIGTERM)]) }
    if isStopped { result = .interrupted(signal: SIGTERM) }
  }

  private mutating func readEmulatorWords() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = read(process.error, &buffer, buffer.count)
    if count > 0 {
      emulatorWords += buffer[..<count]
      if emulatorWords.count > 1 << 16 { emulatorWords.removeFirst(emulatorWords.count - (1 << 15)) }
    } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
      emulatorIsSilent = true
    }
  }

  // MARK: to the person

  /// Writes what waits as long as the reader takes it at once.
  private mutating func write(toOutput isOutput: Bool) {
    let descriptor: Int32 = isOutput ? 1 : 2
    var failed = false
    // A pipe that polls writable takes this much without blocking (pipe(7), PIPE_BUF).
    let chunk = 4096
    func put(_ bytes: UnsafeRawBufferPointer) -> Int {
      var done = 0
      var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      while done < bytes.count, let start = bytes.baseAddress, poll(&entry, 1, 0) > 0 {
        let count = Glibc.write(descriptor, start + done, min(bytes.count - done, chunk))
        if count < 0 {
          if errno == EAGAIN || errno == EINTR { break }
          failed = true
          return bytes.count
        }
        done += count
      }
      return done
    }
    if isOutput { toOutput.consume(put) } else { toError.consume(put) }
    if failed, isOutput { result = .outputClosed }
  }

  // MARK: to the machine

  private mutating func readInput() {
    var buffer = [UInt8](repeating: 0, count: 32 << 10)
    let count = read(0, &buffer, buffer.count)
    if count < 0, errno == EAGAIN || errno == EINTR { return }
    guard count > 0 else {
      inputEnded = true
      toMachine.append(.end, [])
      return
    }
    if isRaw { watchForEscape(buffer[..<count]) }
    var start = 0
    while start < count {
      let end = min(start + consolePayloadLimit, count)
      toMachine.append(.bytes, buffer[start..<end])
      start = end
    }
  }

  private mutating func watchForEscape(_ bytes: ArraySlice<UInt8>) {
    for byte in bytes {
      escapes = byte == Self.escape ? escapes + 1 : 0
      if escapes == 3 { result = .interrupted(signal: SIGTERM) }
    }
  }

  private mutating func feedMachine() {
    let descriptor = process.input
    toMachine.consume { bytes in
      let count = Glibc.write(descriptor, bytes.baseAddress, bytes.count)
      if count >= 0 { return count }
      return errno == EAGAIN || errno == EINTR ? 0 : bytes.count
    }
  }

  // MARK: signals and the terminal

  private mutating func takeSignals() {
    while true {
      let number = chost_next_signal(signals)
      switch number {
      case 0: return
      case SIGWINCH: sendWindowSize()
      case SIGCHLD: break
      case SIGCONT: makeTerminalRaw()
      case SIGTSTP:
        restoreTerminal()
        process.signal(SIGSTOP)
        chost_take_signal(SIGTSTP)
        process.signal(SIGCONT)
        makeTerminalRaw()
      default: result = .interrupted(signal: number)
      }
    }
  }

  private mutating func sendWindowSize() {
    guard let size = Terminal.size() else { return }
    toMachine.append(
      .windowSize,
      [
        UInt8(truncatingIfNeeded: size.rows), UInt8(truncatingIfNeeded: size.rows >> 8),
        UInt8(truncatingIfNeeded: size.columns), UInt8(truncatingIfNeeded: size.columns >> 8),
      ])
  }

  private mutating func makeTerminalRaw() {
    guard lines == nil, isatty(0) == 1, tcgetpgrp(0) == getpgrp(), chost_terminal_raw(0) == 0 else { return }
    isRaw = true
    Diagnostics.lineEnd = "\r\n"
  }

  private mutating func restoreTerminal() {
    chost_terminal_restore()
    isRaw = false
    Diagnostics.lineEnd = "\n"
  }

  // MARK: the end

  /// Writes what is left for the person, as far as the reader takes it before the deadline.
  private mutating func drain() {
    if case .outputClosed? = result { return }
    if case .interrupted? = result { return }
    while !toOutput.isEmpty || !toError.isEmpty {
      var entries = [
        pollfd(fd: toOutput.isEmpty ? -1 : 1, events: Int16(POLLOUT), revents: 0),
        pollfd(fd: toError.isEmpty ? -1 : 2, events: Int16(POLLOUT), revents: 0),
      ]
      guard poll(&entries, 2, 2000) > 0 else { return }
      if entries[0].revents != 0 { write(toOutput: true) }
      if entries[1].revents != 0 { write(toOutput: false) }
      if case .outputClosed? = result { return }
    }
  }

  private mutating func conclude() {
    for line in log.flush() where options.isVerbose { say(line) }
    for isError in [false, true] {
      guard let bytes = lines?.flushAll(error: isError), !bytes.isEmpty else { continue }
      queue(bytes, error: isError, of: "")
    }
    if let exitStatus {
      explainSignal(exitStatus)
      result = .exited(exitStatus)
      return
    }
    process.end()
    readEmulatorWords()
    result = .died(explanation: explanation())
  }

  /// A program that died of its own mistake is worth a sentence, unless the LibOS gave one.
  private mutating func explainSignal(_ status: Int32) {
    let causes: [Int32: String] = [
      SIGILL: "illegal instruction", SIGTRAP: "trap", SIGABRT: "abort", SIGBUS: "bus error",
      SIGFPE: "arithmetic error", SIGSEGV: "segmentation fault", SIGSYS: "bad system call",
    ]
    guard lines == nil, !noticed, status > 128, let cause = causes[status - 128] else { return }
    say("apus: \(options.programName) ended with status \(status), that of signal \(status - 128) (\(cause))")
  }

  private mutating func explanation() -> String {
    let words = shown(emulatorWords).split(separator: "\n").map(String.init)
    var lines: [String] = []
    if !words.isEmpty {
      lines.append("the machine stopped before \(options.programName) ended; QEMU said:")
      lines += words.suffix(10)
    } else if !decoder.stray.isEmpty {
      lines.append("the machine sent what is no console record, and \(options.programName) has no result; it sent:")
    } else {
      lines.append("the machine stopped without saying how \(options.programName) ended")
    }
    if !decoder.stray.isEmpty { lines += printable(decoder.stray) }
    if !log.recent.isEmpty, !options.isVerbose {
      lines.append("the kernel's last messages:")
      lines += log.recent
    }
    return lines.joined(separator: "\n")
  }

  private func printable(_ bytes: [UInt8]) -> [String] {
    let text = bytes.prefix(2000).map { byte -> UInt8 in
      byte == 0x0a || (0x20..<0x7f).contains(byte) ? byte : 0x2e
    }
    return shown(text).split(separator: "\n").prefix(20).map(String.init)
  }

  private static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

/// What the person's terminal is.
enum Terminal {
  /// Bit n: standard stream n is a terminal.
  static func bits() -> Int {
    (0...2).reduce(0) { bits, stream in isatty(Int32(stream)) == 1 ? bits | 1 << stream : bits }
  }

  /// The size of the first standard stream that is a terminal.
  static func size() -> (rows: UInt16, columns: UInt16)? {
    for stream: Int32 in 0...2 {
      var rows: UInt16 = 0
      var columns: UInt16 = 0
      if chost_terminal_size(stream, &rows, &columns) == 0, rows > 0, columns > 0 { return (rows, columns) }
    }
    return nil
  }
}
