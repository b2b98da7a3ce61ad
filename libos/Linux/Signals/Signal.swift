// SPDX-License-Identifier: Apache-2.0
// Signal.swift: signal numbers, sets, actions and what waits to be delivered (signal(7), sigaction(2)).

/// Signal numbers and what they do by default.
enum Signal {
  static var hangup: Int { 1 }
  static var interrupt: Int { 2 }
  static var quit: Int { 3 }
  static var illegal: Int { 4 }
  static var trap: Int { 5 }
  static var abort: Int { 6 }
  static var bus: Int { 7 }
  static var arithmetic: Int { 8 }
  static var kill: Int { 9 }
  static var segmentation: Int { 11 }
  static var pipe: Int { 13 }
  static var alarm: Int { 14 }
  static var terminate: Int { 15 }
  static var child: Int { 17 }
  static var resume: Int { 18 }
  static var stop: Int { 19 }
  static var terminalStop: Int { 20 }
  static var terminalInput: Int { 21 }
  static var terminalOutput: Int { 22 }

  /// What happens to a process that has set nothing.
  enum DefaultAction {
    case terminate
    case terminateWithCore
    case ignore
    case stop
    case resume
  }

  static func defaultAction(_ signal: Int) -> DefaultAction {
    switch signal {
    case 3, 4, 5, 6, 7, 8, 11, 24, 25, 31: .terminateWithCore
    case 17, 23, 28: .ignore
    case 18: .resume
    case 19, 20, 21, 22: .stop
    default: .terminate
    }
  }

  /// The name without SIG, for reports.
  static func name(_ signal: Int) -> StaticString {
    switch signal {
    case 1: "SIGHUP"
    case 2: "SIGINT"
    case 3: "SIGQUIT"
    case 4: "SIGILL"
    case 5: "SIGTRAP"
    case 6: "SIGABRT"
    case 7: "SIGBUS"
    case 8: "SIGFPE"
    case 9: "SIGKILL"
    case 10: "SIGUSR1"
    case 11: "SIGSEGV"
    case 12: "SIGUSR2"
    case 13: "SIGPIPE"
    case 14: "SIGALRM"
    case 15: "SIGTERM"
    case 24: "SIGXCPU"
    case 25: "SIGXFSZ"
    case 31: "SIGSYS"
    default: "a signal"
    }
  }
}

/// A set of signals; bit n - 1 stands for signal n, as in the kernel's sigset_t.
struct SignalSet: Equatable {
  var rawValue: UInt64
  static var empty: SignalSet { .init(rawValue: 0) }
  /// The greatest signal number.
  static var limit: Int { 64 }
  /// SIGKILL and SIGSTOP cannot be blocked, caught or ignored.
  static var unblockable: SignalSet { .init(rawValue: 1 << 8 | 1 << 18) }
  /// SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU.
  static var stops: SignalSet { .init(rawValue: 0xf << 18) }
  /// Faults of the program itself; delivered before all others (SIGSEGV, BUS, ILL, TRAP, FPE, SYS).
  static var synchronous: SignalSet {
    .init(rawValue: 1 << 10 | 1 << 6 | 1 << 3 | 1 << 4 | 1 << 7 | 1 << 30)
  }

  static func only(_ signal: Int) -> SignalSet { .init(rawValue: 1 << UInt64(signal - 1)) }

  @inline(__always) func contains(_ signal: Int) -> Bool {
    rawValue >> UInt64(signal - 1) & 1 != 0
  }
  func union(_ other: SignalSet) -> SignalSet { .init(rawValue: rawValue | other.rawValue) }
  func subtracting(_ other: SignalSet) -> SignalSet { .init(rawValue: rawValue & ~other.rawValue) }
  func intersection(_ other: SignalSet) -> SignalSet { .init(rawValue: rawValue & other.rawValue) }
  var isEmpty: Bool { rawValue == 0 }

  /// The signal that is delivered first: a fault's, else the one of the least number.
  var first: Int {
    let urgent = rawValue & SignalSet.synchronous.rawValue
    return (urgent != 0 ? urgent : rawValue).trailingZeroBitCount + 1
  }
}

/// The flags of sigaction(2).
struct SignalFlags: Equatable {
  var rawValue: UInt64
  static var noChildStop: SignalFlags { .init(rawValue: 1) }
  static var noChildWait: SignalFlags { .init(rawValue: 2) }
  static var information: SignalFlags { .init(rawValue: 4) }
  static var restorer: SignalFlags { .init(rawValue: 0x0400_0000) }
  static var onAlternateStack: SignalFlags { .init(rawValue: 0x0800_0000) }
  static var restart: SignalFlags { .init(rawValue: 0x1000_0000) }
  static var noDefer: SignalFlags { .init(rawValue: 0x4000_0000) }
  static var resetHandler: SignalFlags { .init(rawValue: 0x8000_0000) }
  func contains(_ other: SignalFlags) -> Bool { rawValue & other.rawValue == other.rawValue }
}

/// What a process does on a signal: the kernel's struct sigaction.
struct SignalAction: Equatable {
  /// SIG_DFL 0, SIG_IGN 1, or the handler's address.
  var handler: UInt64 = 0
  var flags = SignalFlags(rawValue: 0)
  var restorer: UInt64 = 0
  var mask = SignalSet.empty

  var isDefault: Bool { handler == 0 }
  var isIgnore: Bool { handler == 1 }

  /// Whether a signal with this action would do nothing.
  func ignores(_ signal: Int) -> Bool {
    if isIgnore { return true }
    guard isDefault else { return false }
    if case .ignore = Signal.defaultAction(signal) { return true }
    if case .resume = Signal.defaultAction(signal) { return true }
    return false
  }
}

/// The stack for handlers that ask for it (sigaltstack(2)).
struct AlternateStack {
  var base: UInt64 = 0
  var size: UInt64 = 0
  /// SS_AUTODISARM or nothing.
  var flags: UInt64 = 0
  static var disable: UInt64 { 2 }
  static var onStack: UInt64 { 1 }
  static var autoDisarm: UInt64 { 1 << 31 }
  static var minimumSize: UInt64 { 2048 }

  func contains(_ stackPointer: UInt64) -> Bool {
    size != 0 && flags & AlternateStack.autoDisarm == 0 && stackPointer > base
      && stackPointer - base <= size
  }
}

/// A signal and what its handler learns: the parts of siginfo_t.
struct SignalInfo {
  var signal: Int32
  var error: Int32 = 0
  /// SI_USER 0, SI_KERNEL 0x80, SI_QUEUE -1, SI_TKILL -6, or a code of the signal's own.
  var code: Int32
  /// Bytes 16-23: pid and uid of the sender, or the address of a fault.
  var sender: UInt64
  /// Bytes 24-31: the value that was sent, or a child's status.
  var value: UInt64 = 0

  static var userCode: Int32 { 0 }
  /// SEGV_PKUERR.
  static var keyCode: Int32 { 4 }
  static var kernelCode: Int32 { 0x80 }
  static var threadCode: Int32 { -6 }
  static var timerCode: Int32 { -2 }

  init(signal: Int, code: Int32 = 0, sender: UInt64 = 0) {
    self.signal = Int32(truncatingIfNeeded: signal)
    self.code = code
    self.sender = sender
  }

  var number: Int { Int(signal) }
}

/// Signals that have been sent and not yet delivered.
struct SignalQueue {
  private(set) var set = SignalSet.empty
  private var items: [SignalInfo] = []
  /// RLIMIT_SIGPENDING, in effect: more real-time signals than this are refused.
  private static var limit: Int { 4096 }

  /// Adds a signal; one below 32 only once, a real-time one as often as it is sent.
  ///
  /// - Returns: Whether there was room.
  @discardableResult
  mutating func add(_ info: SignalInfo) -> Bool {
    if set.contains(info.number), info.number < 32 { return true }
    guard items.count < SignalQueue.limit else { return false }
    items.append(info)
    set.rawValue |= 1 << UInt64(info.number - 1)
    return true
  }

  /// Takes the oldest signal of a number.
  mutating func take(_ signal: Int) -> SignalInfo? {
    guard set.contains(signal) else { return nil }
    var found: SignalInfo?
    var more = false
    var index = 0
    while index < items.count {
      if items[index].number == signal {
        if found == nil {
          found = items[index]
          items.remove(at: index)
          continue
        }
        more = true
      }
      index += 1
    }
    if !more { set = set.subtracting(.only(signal)) }
    return found
  }

  /// Forgets all signals of a set.
  mutating func drop(_ signals: SignalSet) {
    guard !set.intersection(signals).isEmpty else { return }
    var index = items.count
    while index > 0 {
      index -= 1
      if signals.contains(items[index].number) { items.remove(at: index) }
    }
    set = set.subtracting(signals)
  }
}
