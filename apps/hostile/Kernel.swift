// SPDX-License-Identifier: Apache-2.0
// Kernel.swift: system calls, good and bad, and what they answered.

import ApusABI

/// Slots of the capability list, as the kernel fills them for the first environment, and those that the checks use.
enum Slot {
  static var family: UInt64 { 0 }
  static var console: UInt64 { 1 }
  static var machine: UInt64 { 2 }
  static var root: UInt64 { 3 }
  /// Another family, forged by the checks from the root capability.
  static var other: UInt64 { 4 }
  /// For whatever a check needs; empty otherwise.
  static var scratch: UInt64 { 5 }
  static var scratch2: UInt64 { 6 }
  static var empty: UInt64 { 7 }
}

/// Rights of a capability, as `capabilityForge` takes them.
enum Right {
  static var read: UInt64 { UInt64(APUS_RIGHT_READ) }
  static var write: UInt64 { UInt64(APUS_RIGHT_WRITE) }
  static var grant: UInt64 { UInt64(APUS_RIGHT_GRANT) }
  static var all: UInt64 { read | write | grant }
}

/// What a call came to.
struct Answer {
  let raw: UInt64

  /// Whether the call raised a contract fault.
  var isFault: Bool { raw == UInt64(CONTRACT_FAULTED) }
  /// The value of a call that succeeded.
  var value: UInt64? { !isFault && Int64(bitPattern: raw) >= 0 ? raw : nil }
  /// The error of a call that failed.
  var error: SystemCallError? {
    guard Int64(bitPattern: raw) < 0, Int64(bitPattern: raw) >= -255 else { return nil }
    return SystemCallError(rawValue: UInt8(truncatingIfNeeded: 0 &- raw))
  }
  /// Whether the call was refused, as an error or a fault.
  var isRefused: Bool { isFault || error != nil }
}

enum Kernel {
  /// Makes a system call that returns.
  @discardableResult
  static func call(
    _ call: SystemCall, _ a0: UInt64 = 0, _ a1: UInt64 = 0, _ a2: UInt64 = 0, _ a3: UInt64 = 0, _ a4: UInt64 = 0
  ) -> Answer {
    self.call(number: UInt64(APUS_CALL_BIT) | UInt64(call.rawValue), a0, a1, a2, a3, a4)
  }

  /// Executes a SYSCALL instruction with any number in rax.
  static func call(
    number: UInt64, _ a0: UInt64, _ a1: UInt64, _ a2: UInt64, _ a3: UInt64, _ a4: UInt64
  ) -> Answer {
    Answer(raw: hostile_call_with(number, a0, a1, a2, a3, a4))
  }

  /// Gives the slice away; whatever comes back is the call's refusal.
  @discardableResult static func yield(to target: UInt64 = 0) -> Answer {
    Answer(raw: hostile_suspend(UInt64(CALL_YIELD), target, 0, 0, 0))
  }

  /// Sleeps.
  @discardableResult
  static func sleep(
    word: UInt64 = 0, value: UInt64 = 0, deadline: UInt64 = UInt64.max, target: UInt64 = 0
  ) -> Answer {
    Answer(raw: hostile_suspend(UInt64(CALL_SLEEP), word, value, deadline, target))
  }

  /// Powers off with an exit record, as a LibOS does at the end of its program.
  static func exit(_ status: UInt64) -> Never {
    let text = address_of_hostile_text()
    store64(text, status)
    while call(.consoleWrite, Slot.console, UInt64(ConsoleStream.exit.rawValue), text, 4).value == 0 {}
    while true { call(.powerOff, Slot.machine, status) }
  }

  /// Sets one of the capability slots; one that names another family gives it a budget if it has none.
  @discardableResult
  static func forge(
    _ slot: UInt64, name: UInt64, length: UInt64, rights: UInt64 = Right.all, by authority: UInt64 = Slot.root
  ) -> Answer {
    let answer = call(.capabilityForge, authority, slot, length | rights << 8, name)
    if answer.value != nil, slot == Slot.other || slot == Slot.scratch, length >= 2 { Budget.found(name >> 48) }
    return answer
  }
}
