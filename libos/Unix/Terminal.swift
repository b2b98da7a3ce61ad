// SPDX-License-Identifier: Apache-2.0
// Terminal.swift: a terminal: its state, and what readers take out (termios(3), ioctl_tty(2)).

import ApusRuntime

/// Who sends the signals that a terminal asks for.
public protocol TerminalDelegate: AnyObject {
  /// Sends a signal, by its Linux number, to every process of a group.
  func terminal(_ terminal: Terminal, sends signal: Int32, toGroup group: Int32)
}

/// Where a terminal's output goes.
public protocol TerminalSink: AnyObject {
  /// Takes as many of the bytes as fit now; 0: none.
  func accept(_ bytes: Bytes, error: Bool) -> Int
}

/// A terminal with its line discipline.
///
/// Input goes from `receive` through editing into chunks: in canonical mode one for each line, otherwise one that
/// grows. Output goes through a page of processed bytes to the sink; what the sink does not take stays there.
public final class Terminal {
  /// How it behaves now.
  public var settings = Termios()
  /// Its size in characters.
  public internal(set) var windowSize: WindowSize
  /// The process group that signals go to and that may read; 0: none.
  public var foregroundGroup: Int32 = 0
  /// The session whose controlling terminal this is; 0: none.
  public var session: Int32 = 0
  var delegate: (any TerminalDelegate)?
  private(set) var sink: (any TerminalSink)?

  /// A line, or what has arrived without line editing.
  struct Chunk {
    var bytes: [UInt8]
    var taken = 0
    /// Whether a read stops at its end.
    var isLine: Bool
  }

  var chunks: [Chunk] = []
  /// The line being edited.
  var line: [UInt8] = []
  /// The next byte is data, whatever it means.
  var literalNext = false
  /// The other side has hung up: reads return 0.
  public internal(set) var isHungUp = false
  /// Output waits for START.
  var isStopped = false

  /// Processed output that the sink has not taken.
  let staging: Page?
  var stagedStart = 0
  var stagedEnd = 0
  var stagedIsError = false

  /// Who waits for input, and for room for output.
  public let readQueue = WaitQueue()
  /// Who waits for room for output.
  public let writeQueue = WaitQueue()

  /// Bytes of input that are kept at most; what comes on top is dropped, as by a serial line.
  static var inputLimit: Int { 65_536 }
  static var lineLimit: Int { 4095 }

  /// A terminal of a size that shows its output through a sink.
  public init(_ sink: any TerminalSink, size: WindowSize) {
    self.sink = sink
    windowSize = size
    staging = Page.allocate(zeroed: false)
  }

  deinit { staging?.release() }

  /// Says who sends signals.
  public func setDelegate(_ delegate: any TerminalDelegate) { self.delegate = delegate }

  func send(_ signal: Int32) {
    if foregroundGroup != 0 { delegate?.terminal(self, sends: signal, toGroup: foregroundGroup) }
  }

  var isCanonical: Bool { settings.local & Termios.Local.canonical != 0 }
  func isLocal(_ bit: UInt32) -> Bool { settings.local & bit != 0 }

  /// A new size; the foreground is told if it differs.
  public func resize(_ size: WindowSize) {
    if size == windowSize { return }
    windowSize = size
    send(28)  // SIGWINCH
  }

  /// New settings; what has been typed changes its meaning with the mode.
  ///
  /// - Parameters:
  ///   - new: The settings.
  ///   - flush: Whether unread input is dropped (TCSETSF).
  public func change(_ new: Termios, flush: Bool) {
    if flush { flushInput() }
    let wasCanonical = isCanonical
    settings = new
    if wasCanonical && !isCanonical {
      var all: [UInt8] = []
      for chunk in chunks { all.append(contentsOf: chunk.bytes[chunk.taken...]) }
      all.append(contentsOf: line)
      line = []
      chunks = all.isEmpty ? [] : [Chunk(bytes: all, isLine: false)]
    } else if !wasCanonical && isCanonical {
      for index in chunks.indices { chunks[index].isLine = true }
    }
    if settings.input & Termios.Input.flowControl == 0 { isStopped = false }
    readQueue.wakeAll()
  }

  /// Drops unread input (TCFLSH).
  public func flushInput() {
    chunks = []
    line = []
    literalNext = false
  }

  /// Drops output that has not been sent (TCFLSH).
  public func flushOutput() {
    stagedStart = 0
    stagedEnd = 0
    writeQueue.wakeAll()
  }

  /// tcflow(3): stops or restarts output.
  public func setStopped(_ stopped: Bool) {
    isStopped = stopped
    if !stopped {
      drain()
      writeQueue.wakeAll()
    }
  }

  /// The other side is gone for good: readers see the end.
  public func hangUp() {
    isHungUp = true
    readQueue.wakeAll()
    writeQueue.wakeAll()
  }

  /// Tells the foreground that the other side is gone (SIGHUP, SIGCONT).
  func sendHangup() {
    send(1)
    send(18)
  }

  /// Output goes nowhere from now on.
  func cutOff() {
    sink = nil
    flushOutput()
  }

  /// Bytes that a read could take.
  public var readableByteCount: Int {
    var count = 0
    for chunk in chunks { count += chunk.bytes.count - chunk.taken }
    return count
  }

  /// Whether a read would return at once.
  public var isReadable: Bool {
    if isHungUp { return true }
    if isCanonical { return !chunks.isEmpty }
    let minimum = timeLimit == 0 ? max(1, Int(settings.characters[Termios.Index.minimum.rawValue])) : 1
    return readableByteCount >= minimum
  }

  private var timeLimit: UInt8 { settings.characters[Termios.Index.time.rawValue] }

  /// How long a read that found too little waits before it takes what is there; nil: for ever (termios(3), VTIME).
  public var readTimeoutNanoseconds: UInt64? {
    if isCanonical || timeLimit == 0 { return nil }
    if settings.characters[Termios.Index.minimum.rawValue] > 0 && chunks.isEmpty { return nil }
    return UInt64(timeLimit) * 100_000_000
  }

  /// Takes input.
  ///
  /// - Parameters:
  ///   - into: Where it goes.
  ///   - timedOut: Whether the time from `readTimeoutNanoseconds` has passed: what is there will do.
  /// - Returns: How many bytes; 0 at the end of input.
  /// - Throws: `EAGAIN` if there is too little yet.
  public func read(_ into: Bytes, timedOut: Bool = false) throws(Errno) -> Int {
    if into.count == 0 { return 0 }
    if isCanonical {
      guard !chunks.isEmpty else {
        if isHungUp { return 0 }
        throw .EAGAIN
      }
      return take(into)
    }
    let minimum = Int(settings.characters[Termios.Index.minimum.rawValue])
    let available = readableByteCount
    if available == 0 {
      if isHungUp || timedOut || (minimum == 0 && timeLimit == 0) { return 0 }
      throw .EAGAIN
    }
    if available < min(minimum, into.count) && !timedOut && !isHungUp { throw .EAGAIN }
    var done = 0
    while done < into.count && !chunks.isEmpty { done += take(into.from(done)) }
    return done
  }

  /// Takes from the first chunk.
  private func take(_ into: Bytes) -> Int {
    let start = chunks[0].taken
    let count = min(into.count, chunks[0].bytes.count - start)
    if start == 0 && count == chunks[0].bytes.count {
      into.copy(chunks[0].bytes)
    } else {
      into.copy(Array(chunks[0].bytes[start..<start + count]))
    }
    chunks[0].taken += count
    if chunks[0].taken == chunks[0].bytes.count { chunks.remove(at: 0) }
    return count
  }
}

/// An open terminal.
public class TerminalFile: OpenFile {
  private final let device: Terminal
  /// Whether output goes to the host's standard error.
  private final let isError: Bool

  /// Opens a terminal.
  public init(_ node: Inode, _ terminal: Terminal, _ flags: OpenFlags, error: Bool = false) {
    device = terminal
    isError = error
    super.init(node, flags)
  }

  public override var terminal: Terminal? { device }
  public override var waitQueue: WaitQueue { device.readQueue }
  public override var writeQueue: WaitQueue { device.writeQueue }
  public override var readableByteCount: Int? { device.readableByteCount }
  public override func read(_ into: Bytes) throws(Errno) -> Int { try device.read(into) }
  public override func write(_ from: Bytes) throws(Errno) -> Int { try device.write(from, error: isError) }

  public override func poll() -> PollEvents {
    var events = PollEvents.none
    if device.isReadable { events = events.union(.readable) }
    if device.hasRoom { events = events.union(.writable) }
    if device.isHungUp { events = events.union(.hangup) }
    return events
  }

  public override func anonymousName() -> [UInt8] { Array("/dev/console".utf8) }
}
