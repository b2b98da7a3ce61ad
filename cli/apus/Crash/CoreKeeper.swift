// SPDX-License-Identifier: Apache-2.0
// CoreKeeper.swift: keeps the memory and registers of an environment that failed as a core file, out of the memory that
// the emulator shares: the machine does nothing for it.
//
// The memory is mapped when the machine starts, and is there even when the emulator has ended: a LibOS that failed, or
// whose first program did, switches the machine off before it gives anything back.

import CApusABI
import Glibc

/// Keeps the first core of a machine.
final class CoreKeeper {
  private let path: String
  private let files: CodeFiles
  private var memory: MachineMemory?
  private var isDone = false

  /// How long an emulator may take to make its memory.
  private static let startMilliseconds = 10_000
  /// How far above the stack pointer the frame of the function that failed may lie.
  private static let frameReach: UInt64 = 1 << 20

  /// - Parameters:
  ///   - path: Where the core goes.
  ///   - files: The code that ran.
  init(_ path: String, _ files: CodeFiles) {
    self.path = path
    self.files = files
  }

  /// Refuses a path that no file can be written to, before anything runs.
  static func check(_ path: String) throws(Failure) {
    var status = stat()
    let exists = stat(path, &status) == 0
    let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    guard !path.isEmpty, !path.hasSuffix("/"), !exists || status.st_mode & S_IFMT == S_IFREG,
      access(exists ? path : folder, W_OK) == 0
    else {
      throw Failure(sentence: "--core \(path): no file can be written there", status: Status.usage)
    }
  }

  /// Maps the memory of an emulator that was just started.
  func watch(_ emulator: pid_t) {
    let start = SeeingClock.milliseconds()
    while memory == nil, kill(emulator, 0) == 0, SeeingClock.milliseconds() - start < Self.startMilliseconds {
      if let file = WatchedMachine.sharedMemory(of: emulator) { memory = try? MachineMemory(path: file) }
      if memory == nil { usleep(2000) }
    }
  }

  /// Keeps the core of whoever sent a crash report, if there is none yet.
  ///
  /// - Returns: What is to be said of it.
  func keep(_ report: CrashRecord) -> [String] {
    let crash = report.crash
    guard !isDone else { return [] }
    isDone = true
    do throws(Failure) {
      guard let memory, let state = InformationPages(memory)?.read(), Int(crash.slot) < state.environments.count else {
        throw Failure(sentence: "no core is kept: the machine's memory is not there", status: Status.machine)
      }
      let record = state.environments[Int(crash.slot)]
      let space = GuestSpace(memory: memory, root: record.root)
      // An environment that the kernel ended gives its memory back at once.
      guard record.account == UInt16(truncatingIfNeeded: crash.account), space.word(crash.rip & ~7) != nil else {
        throw Failure(
          sentence: "no core is kept: the memory of environment \(crash.slot) has been given back already",
          status: Status.machine)
      }
      let code = crash.rip >= UInt64(APUS_LIBOS_BASE) ? files.libos(of: crash.account) : files.root + report.program
      var core = CoreFile()
      core.registers = Self.registers(crash, report.frames, record.uarea_address, space)
      core.signal = Self.signal(crash)
      core.thread = crash.slot + 1
      core.program = shown(code)
      if crash.image_base != 0, let entry = Self.entry(of: code) { core.entry = crash.image_base + entry }
      try core.write(to: path, space.stretches(), in: memory)
      return ["apus: a core is in \(path); look at it with: gdb \(shown(code)) \(path)"]
    } catch {
      return ["apus: \(error.sentence)"]
    }
  }

  // MARK: Registers

  /// The registers at the failure, as far as anything has them.
  static func registers(_ crash: apus_crash, _ frames: [UInt64], _ uarea: UInt64, _ space: GuestSpace) -> CoreRegisters
  {
    var registers = CoreRegisters()
    let frame = (space.word(uarea + libosStackWord) ?? 0) &- frameBytes
    if crash.kind == UInt32(APUS_CRASH_PROGRAM), space.word(frame &+ 16 * 8) == crash.rip {
      // What the LibOS interrupted lies whole at the top of its stack, in this very order.
      for index in 0..<Int(frameBytes / 8) { registers.words[index] = space.word(frame + UInt64(index) * 8) ?? 0 }
      registers[.fsBase] = space.word(uarea + segmentBaseWord) ?? 0
      return registers
    }
    registers[.instruction] = crash.rip
    registers[.stack] = crash.rsp
    registers[.flags] = 2
    registers[.codeSelector] = 0x2b
    registers[.stackSelector] = 0x23
    registers[.gsBase] = uarea
    if crash.exception.rip == crash.rip, crash.kind != UInt32(APUS_CRASH_STOPPED) {
      registers[.rax] = crash.exception.rax
      registers[.rcx] = crash.exception.rcx
      registers[.flags] = crash.exception.flags
    }
    if crash.kind == UInt32(APUS_CRASH_STOPPED) {
      // It is told behind the call, where another function may begin: the call never returns.
      registers[.instruction] = crash.rip &- 1
      // The stack pointer is the frame of the function that stopped; its caller is the one that found out.
      registers[.framePointer] = space.word(crash.rsp) ?? 0
      registers[.stack] = crash.rsp + 16
    } else {
      // A refused call is told behind its instruction, SYSCALL, which is two bytes long.
      if crash.cause & 0xff == UInt64(APUS_CAUSE_CONTRACT) { registers[.instruction] = crash.rip &- 2 }
      registers[.framePointer] = framePointer(above: crash.rsp, frames, space)
    }
    return registers
  }

  /// Top of the LibOS's stack and the application's FS base, in the u-area (libos/Runtime/CRuntime, UA_STACK, UA_FS).
  private static let libosStackWord = UInt64(APUS_UA_LIBOS)
  private static let segmentBaseWord = UInt64(APUS_UA_LIBOS) + 0x20
  /// What an entry of the Runtime pushes (libos/Runtime/Registers.swift).
  private static let frameBytes: UInt64 = 21 * 8

  /// The frame pointer is not in a report, but the return addresses that it leads to are.
  private static func framePointer(above stack: UInt64, _ frames: [UInt64], _ space: GuestSpace) -> UInt64 {
    guard let first = frames.first else { return 0 }
    var at = (stack + 7) & ~7
    while at < stack &+ frameReach, let next = space.word(at), let back = space.word(at + 8) {
      if back == first, frames.count < 2 || next > at && space.word((next & ~7) + 8) == frames[1] { return at }
      at += 8
    }
    return 0
  }

  /// What Linux would have called it (signal(7)).
  static func signal(_ crash: apus_crash) -> Int32 {
    if crash.kind == UInt32(APUS_CRASH_STOPPED) { return SIGABRT }
    // No fault: somebody sent a signal, mostly the program to itself.
    if crash.cause == UInt64.max { return SIGABRT }
    switch Int32(truncatingIfNeeded: crash.cause & 0xff) {
    case 0, 16, 19: return SIGFPE
    case 1, 3: return SIGTRAP
    case 6: return SIGILL
    case 17: return SIGBUS
    case APUS_CAUSE_CONTRACT: return SIGSYS
    case APUS_CAUSE_OVERRUN, APUS_CAUSE_KILLED: return SIGKILL
    default: return SIGSEGV
    }
  }

  private static func entry(of file: Path) -> UInt64? {
    guard let descriptor = try? HostFile.open(file) else { return nil }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return nil }
    return (try? ElfFile(descriptor: descriptor, size: UInt64(max(0, status.st_size))))?.entry
  }
}
