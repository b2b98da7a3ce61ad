// SPDX-License-Identifier: Apache-2.0
// SignalSending.swift: how a signal reaches a process or a thread.

import ApusRuntime
import ApusUnix

extension Process {
  /// What sending any signal does at once: stops and continues cancel each other (signal(7)).
  private func prepare(for signal: Int) {
    if signal == Signal.resume || signal == Signal.kill {
      pending.drop(.stops)
      for thread in threads { thread.pending.drop(.stops) }
      resume()
    } else if SignalSet.stops.contains(signal) {
      pending.drop(.only(Signal.resume))
      for thread in threads { thread.pending.drop(.only(Signal.resume)) }
    }
  }

  /// Sends a signal to the process: any thread that does not block it will handle it.
  ///
  /// - Returns: Whether there was room for it.
  @discardableResult
  func send(_ info: SignalInfo) -> Bool {
    let signal = info.number
    guard !isZombie, signal > 0 else { return true }
    prepare(for: signal)
    if signal == Signal.kill {
      end(status: signal)
      return true
    }
    if actions[signal].ignores(signal) {
      // A blocked signal is kept, since the action may change before it is unblocked.
      var isBlocked = false
      for thread in threads where thread.blocked.contains(signal) { isBlocked = true }
      if !isBlocked { return true }
    }
    guard pending.add(info) else { return false }
    signalQueue.wakeAll()
    for thread in threads where !thread.blocked.contains(signal) {
      thread.interrupt()
      return true
    }
    for thread in threads where thread.isAwaitingSignal(signal) { thread.wake() }
    return true
  }
}

extension Task {
  /// Sends a signal to this thread alone (tgkill(2), a fault of its own).
  @discardableResult
  func send(_ info: SignalInfo) -> Bool {
    let signal = info.number
    if signal == Signal.kill || signal == Signal.resume || SignalSet.stops.contains(signal) {
      return process.send(info)
    }
    if process.actions[signal].ignores(signal), !blocked.contains(signal) { return true }
    guard pending.add(info) else { return false }
    process.signalQueue.wakeAll()
    if !blocked.contains(signal) {
      interrupt()
    } else if isAwaitingSignal(signal) {
      wake()
    }
    return true
  }

  /// Sends a signal of the kernel's own to this thread, such as SIGPIPE.
  func send(signal: Int) {
    send(SignalInfo(signal: signal, code: SignalInfo.kernelCode))
  }

  /// Whether the thread waits for a blocked signal in sigtimedwait.
  func isAwaitingSignal(_ signal: Int) -> Bool { awaited.contains(signal) }

  /// Sends a fault's signal, which no mask and no SIG_IGN holds back (the kernel's force_sig).
  func force(_ info: SignalInfo) {
    let signal = info.number
    let isBlocked = blocked.contains(signal)
    if isBlocked || process.actions[signal].isIgnore {
      process.actions[signal] = SignalAction()
      blocked = blocked.subtracting(.only(signal))
    }
    pending.add(info)
    execution?.attention = true
  }
}
