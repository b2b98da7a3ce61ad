// SPDX-License-Identifier: Apache-2.0
// HostConsole.swift: the host's three streams: standard input, output and error, or the person's terminal.

import ApusABI
import ApusRuntime

/// Who sends the signals that arrive from the host.
public protocol HostConsoleDelegate: AnyObject {
  /// The host asks for a signal, by its Linux number, to the foreground.
  func console(_ console: HostConsole, signal: Int32)
}

/// Sends output to the host and takes its input apart (ConsoleProtocol.swift).
public final class HostConsole: TerminalSink, Waiter {
  private let fileSystem: FileSystem
  /// Bit n: the host's stream n is a terminal.
  private let terminalStreams: UInt32
  private var madeTerminal: Terminal?
  private var delegate: (any HostConsoleDelegate)?

  /// Standard input that is no terminal: a pipe that the host writes.
  private let input: PipeNode
  private let inputFeed: PipeFile
  private var inputEnded = false
  /// The host did not take output; told by `outputProceeds` that it does again.
  private var isClogged = false
  /// Who waits for the host to take output.
  public let outputQueue = WaitQueue()

  private let arrival: Page?
  private var header: [UInt8] = []
  private var kind: ConsoleInput?
  private var payloadLeft = 0
  /// The payload of a short record.
  private var message: [UInt8] = []

  /// Connects to the host.
  ///
  /// - Parameters:
  ///   - fileSystem: Where the streams' inodes are numbered.
  ///   - terminalStreams: Bit n: the host's stream n is a terminal.
  ///   - size: Of that terminal.
  public init(_ fileSystem: FileSystem, terminalStreams: UInt32, size: WindowSize) {
    self.fileSystem = fileSystem
    self.terminalStreams = terminalStreams
    input = PipeNode(fileSystem, permissions: 0o600, owner: Credentials(), isAnonymous: true)
    inputFeed = PipeFile(input, .writeOnly.union(.nonBlocking), waits: false)
    inputFeed.acquire()
    arrival = Page.allocate(zeroed: false)
    if terminalStreams & 7 != 0 { madeTerminal = Terminal(self, size: size) }
    input.pipe.writeQueue.add(self)
  }

  /// The person's terminal, if any of the streams is one.
  public var terminal: Terminal? { madeTerminal }

  /// Says who sends signals.
  public func setDelegate(_ delegate: any HostConsoleDelegate) { self.delegate = delegate }

  /// The file for descriptor 0, 1 or 2 of the first process.
  public func standardFile(_ stream: Int, terminalNode: Inode) -> OpenFile {
    if let terminal, terminalStreams >> UInt32(stream) & 1 != 0 {
      return TerminalFile(terminalNode, terminal, .readWrite, error: stream == 2)
    }
    if stream == 0 { return PipeFile(input, .readOnly, waits: false) }
    return outputFile(error: stream == 2)
  }

  /// A file that writes to the host's standard output or error.
  func outputFile(error: Bool) -> OpenFile {
    ConsoleOutputFile(ConsoleOutputNode(fileSystem, self, error: error), self, error: error)
  }

  /// Whether the host takes output as far as known.
  var hasRoom: Bool { !isClogged }

  /// Sends bytes to a stream, as many as the host takes.
  public func accept(_ bytes: Bytes, error: Bool) -> Int {
    var done = 0
    while done < bytes.count {
      let part = bytes.part(done, min(consolePayloadLimit, bytes.count - done))
      let count = Console.write(error ? .error : .output, part)
      if count == 0 {
        isClogged = true
        break
      }
      done += count
    }
    return done
  }

  /// To be called when the host has taken output (the information page's `console_output_count` has moved).
  public func outputProceeds() {
    isClogged = false
    madeTerminal?.outputProceeds()
    outputQueue.wakeAll()
  }

  /// Whether nothing waits here to be sent; to be tried until true before the machine goes off.
  public func flush() -> Bool {
    guard let terminal else { return true }
    terminal.setStopped(false)
    return terminal.drain()
  }

  /// Whether somebody waits for the host to take output.
  public var isAwaitingOutput: Bool {
    if !outputQueue.isEmpty { return true }
    guard let terminal else { return false }
    return !terminal.writeQueue.isEmpty || terminal.hasStagedOutput
  }

  /// A reader of standard input has made room.
  public func wake() { pump() }

  /// Takes what has arrived from the host; to be called when `console_input_count` has moved.
  public func pump() {
    guard let arrival else { return }
    // Records of input are taken only while the pipe has room for a whole page of them.
    while input.pipe.room >= arrival.bytes.count {
      let count = Console.read(arrival.bytes)
      if count == 0 { return }
      take(arrival.bytes.part(0, count))
    }
    // The rest stays with the device until a reader makes room; its arrival is no news any more.
    Console.leaveInput()
  }

  /// Takes records apart; they may be cut anywhere.
  func take(_ bytes: Bytes) {
    var index = 0
    while index < bytes.count {
      if payloadLeft == 0 && header.count < consoleHeaderByteCount {
        header.append(bytes[index])
        index += 1
        if header.count < consoleHeaderByteCount { continue }
        kind = ConsoleInput(rawValue: header[0])
        payloadLeft = Int(header[2]) | Int(header[3]) << 8
        message = []
      }
      let span = min(payloadLeft, bytes.count - index)
      let part = bytes.part(index, span)
      if kind == .bytes { deliver(part) } else if kind != nil { message.append(contentsOf: part.array) }
      index += span
      payloadLeft -= span
      if payloadLeft == 0 {
        finishRecord()
        header = []
      }
    }
  }

  private func deliver(_ bytes: Bytes) {
    if bytes.count == 0 || inputEnded { return }
    if let terminal, terminalStreams & 1 != 0 {
      terminal.receive(bytes)
      return
    }
    // Without a reader the bytes go nowhere; room has been made sure of.
    do throws(Errno) { _ = try inputFeed.write(bytes) } catch {}
  }

  /// Nothing will arrive any more.
  public func endInput() {
    guard !inputEnded else { return }
    inputEnded = true
    inputFeed.release()
    if terminalStreams & 1 != 0 { madeTerminal?.hangUp() }
  }

  private func finishRecord() {
    switch kind {
    case .end: endInput()
    case .windowSize where message.count >= 4:
      let rows = UInt16(message[0]) | UInt16(message[1]) << 8
      let columns = UInt16(message[2]) | UInt16(message[3]) << 8
      madeTerminal?.resize(WindowSize(rows: rows, columns: columns))
    case .signal where message.count >= 1:
      delegate?.console(self, signal: Int32(message[0]))
    default: break
    }
  }
}

/// The inode of the host's standard output or error, for programs that open /dev/stdout.
private final class ConsoleOutputNode: Inode {
  private let console: HostConsole
  private let isError: Bool

  init(_ fileSystem: FileSystem, _ console: HostConsole, error: Bool) {
    self.console = console
    isError = error
    super.init(fileSystem, FileMode(.fifo, 0o600), owner: Credentials())
    linkCount = 1
  }

  override func open(_ flags: OpenFlags, _ opener: Opener) throws(Errno) -> OpenFile {
    ConsoleOutputFile(self, console, error: isError)
  }
}

/// The host's standard output or error, when it is no terminal.
final class ConsoleOutputFile: OpenFile {
  private let console: HostConsole
  private let isError: Bool

  init(_ node: Inode, _ console: HostConsole, error: Bool) {
    self.console = console
    isError = error
    super.init(node, .writeOnly)
  }

  override var waitQueue: WaitQueue { console.outputQueue }
  override func read(_ into: Bytes) throws(Errno) -> Int { throw .EBADF }
  override func poll() -> PollEvents { console.hasRoom ? .writable : .none }

  override func write(_ from: Bytes) throws(Errno) -> Int {
    if from.count == 0 { return 0 }
    let count = console.accept(from, error: isError)
    if count == 0 { throw .EAGAIN }
    return count
  }
}

extension Terminal {
  /// Whether output waits for the host.
  var hasStagedOutput: Bool { stagedStart < stagedEnd }
}
