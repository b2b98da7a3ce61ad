// SPDX-License-Identifier: Apache-2.0
// FamilyScheduler.swift: shares a family's time out among its executions, in a family that another one started.
//
// There the slices and the contract are the family's as a whole: its first environment owns them, and gives each to an
// execution that can run, in turn. So the family's part of a CPU does not depend on how many processes it has. Whoever
// waits hands the rest of the time back to the first environment, which sleeps when nobody can run.

import ApusABI
import CRuntime

/// The first environment of a family that another one started.
public enum FamilyScheduler {
  /// Its handle; 0: each execution has a slice of its own.
  @safe nonisolated(unsafe) static var handle: UInt64 = 0
  @safe nonisolated(unsafe) private static var members: [Execution] = []
  @safe nonisolated(unsafe) private static var next = 0

  @inline(__always) static var isUsed: Bool { handle != 0 }

  /// The running execution, the first, owns the family's time.
  static func start() {
    handle = Execution.current.kernelHandle
    PagePool.reserveReturns()
  }

  static func add(_ execution: Execution) { members.append(execution) }

  static func remove(_ execution: Execution) {
    for index in 0..<members.count where members[index] === execution {
      members.remove(at: index)
      if next > index { next -= 1 }
      return
    }
  }

  /// Shares the time out; never ends.
  ///
  /// - Parameter signal: Sends a signal to the family's first process, when the starter asks for that.
  public static func run(_ signal: (Int) -> Void) -> Never {
    var answered: UInt64 = 0
    while true {
      // Looked at before the executions are: what changes from here on ends the wait below.
      let output = Information.consoleOutputCount
      let request = FamilyPage.request
      if request != answered {
        answered = request
        signal(Int(truncatingIfNeeded: request >> 32))
      }
      if let execution = choose() {
        runtime_suspend(1, 0, 0, execution.handle)
      } else {
        wait(output, request)
      }
      forgetSliceEnd()
    }
  }

  /// The next execution that can run.
  ///
  /// - Complexity: O(executions).
  private static func choose() -> Execution? {
    let now = Clock.ticks
    for _ in 0..<members.count {
      if next >= members.count { next = 0 }
      let execution = members[next]
      next += 1
      if execution.canGoOn(now) { return execution }
    }
    return nil
  }

  /// Nobody can run: sleeps until the host has taken output, something is asked, a packet has come to one who waits for
  /// that, or a deadline comes.
  private static func wait(_ output: UInt64, _ request: UInt64) {
    var deadline = UInt64.max
    var list: InlineArray<3, apus_wait> = [
      apus_wait(word: UInt64(APUS_INFORMATION_BASE) + UInt64(APUS_INFORMATION_CONSOLE_OUTPUT), value: output),
      apus_wait(word: FamilyPage.requestAddress, value: request), apus_wait(word: 0, value: 0),
    ]
    var count: UInt64 = 2
    for execution in members {
      deadline = min(deadline, execution.wakeTime)
      if let packets, execution.isWaiting(on: packets) {
        list[2] = apus_wait(word: packets, value: execution.waitValue)
        count = 3
      }
    }
    unsafe withUnsafePointer(to: &list) { pointer in
      // SAFETY: records, one behind the other; the kernel reads them during the call.
      unsafe pointer.withMemoryRebound(to: apus_wait.self, capacity: 3) {
        unsafe runtime_suspend_any($0, count, deadline, 0)
      }
    }
  }

  /// The word that counts packets, if the family has a ring for them.
  @safe nonisolated(unsafe) static var packets: UInt64?

  /// A slice begins: that an earlier one had ended is no news.
  ///
  /// Giving up this one for that would give up a contract's whole budget. If it is this one that has ended, the kernel
  /// passes on nothing of it.
  private static func forgetSliceEnd() {
    let pending = runtime_word(UInt32(APUS_UA_PENDING))
    runtime_set_word(UInt32(APUS_UA_PENDING), pending & ~UInt64(APUS_PENDING_SLICE_END))
  }
}

extension Execution {
  /// Whether it was interrupted, or what it waits for has happened.
  fileprivate func canGoOn(_ now: UInt64) -> Bool {
    guard Information.isLive(handle: handle) else { return false }
    let word = word(UA_WAIT_WORD)
    if self.word(UA_MODE) == UInt64(UA_MODE_APPLICATION) || word == 1 { return true }
    let deadline = self.word(UA_WAIT_DEADLINE)
    if deadline != UInt64.max, now >= deadline { return true }
    guard word != 0 else { return false }
    // SAFETY: a word that the execution sleeps on: of its u-area, of the LibOS or of the information page, all of which
    // are mapped in every address space of the family.
    let value = unsafe UnsafePointer<UInt64>(bitPattern: UInt(word)).unsafelyUnwrapped.pointee
    return value != self.word(UA_WAIT_VALUE)
  }

  /// Whether it sleeps on a certain word, and the value that it sleeps on.
  fileprivate func isWaiting(on other: UInt64) -> Bool {
    Information.isLive(handle: handle) && word(UA_WAIT_WORD) == other
  }
  fileprivate var waitValue: UInt64 { word(UA_WAIT_VALUE) }

  /// When it goes on in any case.
  fileprivate var wakeTime: UInt64 {
    Information.isLive(handle: handle) ? word(UA_WAIT_DEADLINE) : UInt64.max
  }
}
