// SPDX-License-Identifier: Apache-2.0
// FamilyInformation.swift: the answers to /proc's questions, out of the family's tables.

import ApusRuntime
import ApusUnix

/// Answers for /proc.
final class FamilyInformation: ProcessInformation {
  private let family: Family

  init(_ family: Family) { self.family = family }

  /// Nobody but a task's system call asks.
  private var asking: Task { Execution.currentOwner(as: Task.self) }

  func currentProcess() -> Int { asking.process.identifier }
  func currentTask() -> Int { asking.identifier }

  func processIdentifiers() -> [Int] {
    var identifiers: [Int] = []
    for process in family.processes { identifiers.append(process.identifier) }
    FamilyInformation.sort(&identifiers)
    return identifiers
  }

  func taskIdentifiers(of process: Int) -> [Int] {
    var identifiers: [Int] = []
    for thread in family.process(process)?.threads ?? [] { identifiers.append(thread.identifier) }
    FamilyInformation.sort(&identifiers)
    return identifiers
  }

  /// Insertion: numbers are given out in rising order and nearly sorted.
  private static func sort(_ numbers: inout [Int]) {
    var index = 1
    while index < numbers.count {
      let number = numbers[index]
      var place = index
      while place > 0 && numbers[place - 1] > number {
        numbers[place] = numbers[place - 1]
        place -= 1
      }
      numbers[place] = number
      index += 1
    }
  }

  func status(of identifier: Int) -> ProcessStatus? {
    guard let process = family.process(identifier) else { return nil }
    var status = ProcessStatus()
    status.identifier = identifier
    status.name = process.mainThread?.name ?? process.name
    status.state = process.stateLetter
    status.parent = process.parentIdentifier
    status.group = process.group
    status.session = process.session
    if let terminal = family.console?.terminal, terminal.session == Int32(process.session) {
      status.hasTerminal = true
      status.foregroundGroup = Int(terminal.foregroundGroup)
    }
    status.threadCount = process.threads.count
    let identity = process.identity
    status.users = [identity.realUser, identity.effectiveUser, identity.savedUser, identity.fileUser]
    status.groups = [identity.realGroup, identity.effectiveGroup, identity.savedGroup, identity.fileGroup]
    status.supplementaryGroups = identity.groups
    status.usedNanoseconds = Clock.nanoseconds(fromTicks: process.usedTicks)
    status.childrenNanoseconds = Clock.nanoseconds(fromTicks: process.childrenTicks)
    status.startNanoseconds =
      Clock.monotonicNanoseconds &- Clock.nanoseconds(fromTicks: Clock.ticks &- process.startTicks)
    status.minorFaults = process.minorFaults
    status.exitStatus = process.exitStatus
    fillMemory(&status, process)
    fillSignals(&status, process)
    return status
  }

  private func fillMemory(_ status: inout ProcessStatus, _ process: Process) {
    guard let memory = process.mainThread?.memory else { return }
    for region in memory.regions { status.virtualBytes += region.end - region.start }
    // Only the address space in use shows its own page tables.
    if memory === asking.memory { status.residentPages = memory.residentPageCount() }
  }

  private func fillSignals(_ status: inout ProcessStatus, _ process: Process) {
    status.pendingSignals = process.pending.set.rawValue
    status.blockedSignals = process.mainThread?.blocked.rawValue ?? 0
    for signal in 1..<process.actions.count {
      let action = process.actions[signal]
      let bit = UInt64(1) << UInt64(signal - 1)
      if action.isIgnore { status.ignoredSignals |= bit } else if !action.isDefault { status.caughtSignals |= bit }
    }
  }

  func systemStatus() -> SystemStatus {
    var status = SystemStatus()
    status.uptimeNanoseconds = Clock.monotonicNanoseconds
    status.startedCount = family.startedCount
    status.taskCount = 0
    status.runnableCount = 0
    var used: UInt64 = 0
    for process in family.processes {
      status.taskCount += process.threads.count
      for thread in process.threads where !thread.isWaiting { status.runnableCount += 1 }
      status.lastIdentifier = max(status.lastIdentifier, process.identifier)
      used += process.usedTicks
    }
    let busy = Clock.nanoseconds(fromTicks: used)
    status.idleNanoseconds = status.uptimeNanoseconds > busy ? status.uptimeNanoseconds - busy : 0
    status.release = ascii(SystemName.release)
    status.version = ascii(SystemName.version)
    status.hostName = family.hostName
    status.domainName = family.domainName
    status.processorVendor = ascii("Apus")
    status.processorName = ascii("x86_64 processor under Apus")
    status.processorFlags = ascii("fpu tsc cx8 cmov mmx fxsr sse sse2 syscall nx lm")
    return status
  }

  func commandLine(of process: Int) -> [UInt8] { family.process(process)?.arguments ?? [] }
  func environment(of process: Int) -> [UInt8] { family.process(process)?.environment ?? [] }
  func auxiliaryVector(of process: Int) -> [UInt8] { family.process(process)?.auxiliaryVector ?? [] }
  func executable(of process: Int) -> [UInt8] { family.process(process)?.executable ?? [] }
  func maps(of process: Int) -> [UInt8] { family.process(process)?.mainThread?.memory.mapsText() ?? [] }
  func descriptors(of process: Int) -> DescriptorTable? { family.process(process)?.mainThread?.descriptors }
  func context(of process: Int) -> FileContext? { family.process(process)?.mainThread?.context }

  func limits(of identifier: Int) -> [UInt8] {
    guard let process = family.process(identifier) else { return [] }
    let names: [(StaticString, StaticString)] = [
      ("Max cpu time", "seconds"), ("Max file size", "bytes"), ("Max data size", "bytes"),
      ("Max stack size", "bytes"), ("Max core file size", "bytes"), ("Max resident set", "bytes"),
      ("Max processes", "processes"), ("Max open files", "files"), ("Max locked memory", "bytes"),
      ("Max address space", "bytes"), ("Max file locks", "locks"), ("Max pending signals", "signals"),
      ("Max msgqueue size", "bytes"), ("Max nice priority", ""), ("Max realtime priority", ""),
      ("Max realtime timeout", "us"),
    ]
    var text: [UInt8] = []
    FamilyInformation.column(ascii("Limit"), 26, &text)
    FamilyInformation.column(ascii("Soft Limit"), 21, &text)
    FamilyInformation.column(ascii("Hard Limit"), 21, &text)
    FamilyInformation.column(ascii("Units"), 10, &text)
    text.append(10)
    for index in 0..<names.count {
      FamilyInformation.column(ascii(names[index].0), 26, &text)
      FamilyInformation.column(FamilyInformation.limit(process.limits[index].current), 21, &text)
      FamilyInformation.column(FamilyInformation.limit(process.limits[index].maximum), 21, &text)
      FamilyInformation.column(ascii(names[index].1), 10, &text)
      text.append(10)
    }
    return text
  }

  private static func limit(_ value: UInt64) -> [UInt8] {
    value == ResourceLimit.infinity ? ascii("unlimited") : decimal(value)
  }

  private static func column(_ value: [UInt8], _ width: Int, _ text: inout [UInt8]) {
    text += value
    for _ in value.count..<max(value.count, width) { text.append(0x20) }
  }
}

/// Mounts /proc on its directory in the family's tree.
func mountProcesses(_ family: Family, _ files: RamFileSystem) throws(Errno) {
  let processes = ProcFileSystem(FamilyInformation(family))
  try files.makeDirectories(ascii("/proc")).mount(processes.root)
}
