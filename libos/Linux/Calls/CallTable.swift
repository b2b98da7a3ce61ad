// SPDX-License-Identifier: Apache-2.0
// CallTable.swift: from the number of a Linux call to the function that carries it out.

import ApusRuntime
import ApusUnix

/// The handlers of all calls, indexed by number.
final class CallTable {
  private var handlers: [Handler]

  /// A table in which every call is absent.
  init() {
    handlers = [Handler](repeating: absentCall, count: LinuxCall.limit)
  }

  /// The handler of a call.
  subscript(call: CallNumber) -> Handler {
    get { handlers[call.rawValue] }
    set { handlers[call.rawValue] = newValue }
  }

  /// Carries out a call.
  @inline(__always) func perform(
    _ number: UInt64, _ task: Task, _ arguments: Arguments
  ) throws(Errno) -> Int {
    guard number < UInt64(handlers.count) else { return try absentCall(task, arguments) }
    return try handlers[Int(number)](task, arguments)
  }

  /// The table with every call that this LibOS has.
  static func complete() -> CallTable {
    let table = CallTable()
    registerFileCalls(table)
    registerMemoryCalls(table)
    registerProcessCalls(table)
    registerExecCalls(table)
    registerWaitCalls(table)
    registerIdentityCalls(table)
    registerSignalCalls(table)
    registerTimerCalls(table)
    registerNamedTimerCalls(table)
    registerFutexCalls(table)
    registerClockCalls(table)
    registerSchedulingCalls(table)
    registerSystemCalls(table)
    registerLimitCalls(table)
    registerSocketCalls(table)
    return table
  }
}

/// A call that is not there: said once for each number and program, on the host's standard error.
private func absentCall(_ task: Task, _ arguments: Arguments) throws(Errno) -> Int {
  let number = Int(truncatingIfNeeded: arguments.registers.originalRax)
  if task.family.isFirstMissing(number, task.process.name) {
    var text = ascii("apus: ")
    text += task.process.name
    text += ascii(": Linux call ")
    text += callName(number)
    text += ascii(" (")
    text.append(decimal: number)
    text += ascii(") is not there")
    notice(text)
  }
  throw .ENOSYS
}

/// The name of a call; "unknown" if Linux has none of that number.
func callName(_ number: Int) -> [UInt8] {
  guard let call = LinuxCall.named(number) else { return ascii("unknown") }
  return ascii(call.name)
}
