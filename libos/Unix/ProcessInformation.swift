// SPDX-License-Identifier: Apache-2.0
// ProcessInformation.swift: what /proc asks the layer that has processes (proc(5)).

/// What is known of a process at one moment.
public struct ProcessStatus {
  /// The process's number.
  public var identifier = 0
  /// At most 15 bytes.
  public var name: [UInt8] = []
  /// R, S, T or Z.
  public var state = UInt8(ascii: "R")
  /// The parent's number.
  public var parent = 0
  /// The process group.
  public var group = 0
  /// The session.
  public var session = 0
  /// Whether the session has the terminal, and which group that listens to.
  public var hasTerminal = false
  /// The terminal's foreground group; -1: no terminal.
  public var foregroundGroup = -1
  /// How many tasks it has.
  public var threadCount = 1
  /// Real, effective, saved and file-system id.
  public var users: [UInt32] = [0, 0, 0, 0]
  /// Real, effective, saved and file-system group.
  public var groups: [UInt32] = [0, 0, 0, 0]
  /// The other groups.
  public var supplementaryGroups: [UInt32] = []
  /// Times in nanoseconds; the start counts from power-on.
  public var usedNanoseconds: UInt64 = 0
  /// Processor time of children that were waited for.
  public var childrenNanoseconds: UInt64 = 0
  /// When it started.
  public var startNanoseconds: UInt64 = 0
  /// Size of the address space.
  public var virtualBytes: UInt64 = 0
  /// Pages of it that are present, as far as known.
  public var residentPages = 0
  /// Page faults so far.
  public var minorFaults = 0
  /// Sets of signals, bit n - 1 for signal n.
  public var pendingSignals: UInt64 = 0
  /// Signals that it blocks.
  public var blockedSignals: UInt64 = 0
  /// Signals that it ignores.
  public var ignoredSignals: UInt64 = 0
  /// Signals that it has handlers for.
  public var caughtSignals: UInt64 = 0
  /// As wait4(2) would tell it.
  public var exitStatus = 0

  /// A process of which nothing is known.
  public init() {}
}

/// What is known of the system at one moment.
public struct SystemStatus {
  /// Time since power-on.
  public var uptimeNanoseconds: UInt64 = 0
  /// Time in which nobody ran.
  public var idleNanoseconds: UInt64 = 0
  /// Processes started so far, and those that could run now.
  public var startedCount = 0
  /// Tasks that could run now.
  public var runnableCount = 1
  /// All tasks.
  public var taskCount = 1
  /// The greatest process number in use.
  public var lastIdentifier = 0
  /// As uname(2) tells them.
  public var release: [UInt8] = []
  /// The version.
  public var version: [UInt8] = []
  /// The host's name.
  public var hostName: [UInt8] = []
  /// The domain's name.
  public var domainName: [UInt8] = []
  /// The processor as /proc/cpuinfo describes it.
  public var processorVendor: [UInt8] = []
  /// The model.
  public var processorName: [UInt8] = []
  /// The features' names.
  public var processorFlags: [UInt8] = []
  /// The clock rate, if known.
  public var ticksPerSecond: UInt64 = 0

  /// A system of which nothing is known.
  public init() {}
}

/// Answers /proc's questions.
///
/// A process may be gone between two of them: then the answer is nil or empty.
public protocol ProcessInformation: AnyObject {
  /// The process, and the task, on whose behalf the question is asked.
  func currentProcess() -> Int
  func currentTask() -> Int
  /// All processes, zombies included, by rising number.
  func processIdentifiers() -> [Int]
  /// The tasks of a process, by rising number.
  func taskIdentifiers(of process: Int) -> [Int]
  func status(of process: Int) -> ProcessStatus?
  func systemStatus() -> SystemStatus
  /// The arguments and the environment, each string closed by a zero byte.
  func commandLine(of process: Int) -> [UInt8]
  func environment(of process: Int) -> [UInt8]
  func auxiliaryVector(of process: Int) -> [UInt8]
  /// The lines of /proc/PID/maps and /proc/PID/limits.
  func maps(of process: Int) -> [UInt8]
  func limits(of process: Int) -> [UInt8]
  /// The program's absolute path.
  func executable(of process: Int) -> [UInt8]
  func descriptors(of process: Int) -> DescriptorTable?
  func context(of process: Int) -> FileContext?
}
