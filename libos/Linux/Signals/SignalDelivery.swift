// SPDX-License-Identifier: Apache-2.0
// SignalDelivery.swift: what a task does before its application goes on.

import ApusRuntime
import ApusUnix

extension Task {
  /// Handles what waits for the task: its end, stops, signals; then the application goes on.
  ///
  /// - Parameters:
  ///   - registers: The application's.
  ///   - interrupted: A system call has ended without result for a signal's sake: it is made again, or fails with
  ///     EINTR if a handler without SA_RESTART runs (signal(7), "Interruption of system calls").
  func attend(_ registers: UserRegisters, interrupted: Bool = false) {
    var interrupted = interrupted
    while true {
      execution?.attention = false
      if hasLeft { return }
      if mustLeave {
        leave()
        return
      }
      if process.isStopping {
        process.hold(self)
        continue
      }
      guard let info = nextSignal() else { break }
      let signal = info.number
      let action = process.actions[signal]
      if action.isIgnore { continue }
      if action.isDefault {
        takeDefault(info, registers)
        continue
      }
      if interrupted {
        interrupted = false
        settleInterrupted(registers, restarts: action.flags.contains(.restart))
      }
      forgetDeadline()
      if action.flags.contains(.resetHandler) {
        process.actions[signal].handler = 0
      }
      guard pushFrame(registers, info, action) else {
        // No room for the frame: the program cannot be told, it ends (or its SIGSEGV handler runs elsewhere).
        if signal == Signal.segmentation { process.actions[signal] = SignalAction() }
        force(SignalInfo(signal: Signal.segmentation, code: SignalInfo.kernelCode))
        continue
      }
    }
    if interrupted { repeatCall(registers) }
    if let mask = maskToRestore {
      maskToRestore = nil
      setBlocked(mask)
      if execution?.attention == true { attend(registers) }
    }
  }

  /// Takes the signal to handle next out of its queue.
  private func nextSignal() -> SignalInfo? {
    let mine = pending.set.subtracting(blocked)
    if !mine.isEmpty, let info = pending.take(mine.first) { return info }
    let shared = process.pending.set.subtracting(blocked)
    if !shared.isEmpty { return process.pending.take(shared.first) }
    return nil
  }

  private func takeDefault(_ info: SignalInfo, _ registers: UserRegisters) {
    let signal = info.number
    switch Signal.defaultAction(signal) {
    case .ignore, .resume: return
    case .stop:
      // An orphaned group has nobody to continue it: only SIGSTOP stops it (POSIX, 2.4.3).
      if signal != Signal.stop, family.isOrphaned(group: process.group) { return }
      process.stop(by: signal)
    case .terminate:
      process.end(status: signal)
    case .terminateWithCore:
      if process === family.first { reportCrash(info, registers) }
      process.end(status: signal)
    }
  }

  /// Says why the family's first process ends, since no shell of its own will.
  private func reportCrash(_ info: SignalInfo, _ registers: UserRegisters) {
    var text = ascii("apus: ")
    text += process.name
    text += ascii(": ended by signal ")
    text.append(decimal: info.number)
    text += ascii(" (")
    text += ascii(Signal.name(info.number))
    text.append(0x29)
    if info.code > 0, info.code != SignalInfo.kernelCode {
      text += ascii(" at address 0x")
      text.append(hexadecimal: info.sender)
      text += ascii(", instruction 0x")
      text.append(hexadecimal: faultInstruction)
    }
    notice(text)
    let isFault = info.code > 0 && registers.rip == faultInstruction
    CrashReport.send(
      .program, at: CrashPlace(instruction: registers.rip, stack: registers.rsp, frame: registers.rbp),
      cause: isFault ? faultVector | faultError << 32 : UInt64.max, address: isFault ? faultAddress : 0,
      imageBase: process.imageBase, program: process.executable)
  }

  /// An interrupted call, when a handler is about to run: made again after it, or EINTR.
  private func settleInterrupted(_ registers: UserRegisters, restarts: Bool) {
    if restarts, !Task.failsOnHandler(registers) {
      registers.rip &-= 2
      registers.rax = registers.originalRax
    } else {
      registers.rax = UInt64(bitPattern: Int64(Errno.EINTR.result))
    }
  }

  /// An interrupted call, when no handler ran: as if nothing had happened.
  private func repeatCall(_ registers: UserRegisters) {
    let call = registers.originalRax
    // rt_sigtimedwait and epoll_wait fail even then (signal(7)).
    if call == 128 || call == 232 || call == 281 || call == 441 {
      registers.rax = UInt64(bitPattern: Int64(Errno.EINTR.result))
      return
    }
    keepDeadline()
    registers.rip &-= 2
    registers.rax = call
  }

  /// Calls that fail with EINTR whatever SA_RESTART says: those with timeouts, and those that wait for signals.
  private static func failsOnHandler(_ registers: UserRegisters) -> Bool {
    switch registers.originalRax {
    // poll, select, pause, nanosleep, rt_sigtimedwait, rt_sigsuspend, clock_nanosleep, epoll_wait, pselect6,
    // ppoll, epoll_pwait, epoll_pwait2, io_getevents
    case 7, 23, 34, 35, 128, 130, 230, 232, 270, 271, 281, 441, 208: true
    // futex with a timeout
    case 202: registers.r10 != 0
    default: false
    }
  }
}
