// SPDX-License-Identifier: Apache-2.0
// Dispatch.swift: calls, faults and interruptions of applications.

import ApusRuntime
import ApusUnix

/// Carries out a Linux call.
///
/// - Returns: Whether the execution goes on with its application.
func performCall(_ registers: UserRegisters) -> Bool {
  Exclusive.awaitTurn()
  let task = Execution.currentOwner(as: Task.self)
  let number = registers.originalRax
  if let pager = task.family.pager { pager.beginCall() }
  if task.family.isTraced { return performTraced(task, number, registers) }
  var interrupted = false
  do throws(Errno) {
    let result = try task.family.calls.perform(number, task, Arguments(registers: registers))
    registers.rax = UInt64(bitPattern: Int64(result))
  } catch {
    interrupted = fail(error, registers)
  }
  return settle(task, registers, interrupted)
}

/// Puts an error into the result.
///
/// - Returns: Whether a signal ended the call.
@inline(__always)
private func fail(_ error: Errno, _ registers: UserRegisters) -> Bool {
  registers.rax = UInt64(bitPattern: Int64(error.result))
  return error == .restart || error == .EINTR
}

/// What comes after every call: signals, and the end of the task or of its place.
@inline(__always)
private func settle(_ task: Task, _ registers: UserRegisters, _ interrupted: Bool) -> Bool {
  let current = Execution.current
  if current.attention || interrupted { return attend(task, registers, current, interrupted) }
  return !task.hasLeft && task.execution === current
}

@inline(never)
private func attend(
  _ task: Task, _ registers: UserRegisters, _ current: Execution, _ interrupted: Bool
) -> Bool {
  guard !task.hasLeft, task.execution === current else { return false }
  task.attend(registers, interrupted: interrupted)
  return !task.hasLeft
}

private func performTraced(_ task: Task, _ number: UInt64, _ registers: UserRegisters) -> Bool {
  let arguments = Arguments(registers: registers)
  var line = TraceLine(task, number, arguments)
  var interrupted = false
  // exit and exit_group: the first process's end is the machine's.
  if number == 60 || number == 231 { line.finishWithoutResult() }
  do throws(Errno) {
    let result = try task.family.calls.perform(number, task, arguments)
    if !task.hasLeft { line.finish(result) }
    registers.rax = UInt64(bitPattern: Int64(result))
  } catch {
    line.finish(error.result)
    interrupted = fail(error, registers)
  }
  return settle(task, registers, interrupted)
}

/// Resolves a fault of the application, or turns it into a signal.
///
/// - Returns: Whether the execution goes on with its application.
func handleFault(
  _ registers: UserRegisters, _ vector: UInt64, _ error: UInt64, _ address: UInt64
) -> Bool {
  Exclusive.awaitTurn()
  let task = Execution.currentOwner(as: Task.self)
  if let pager = task.family.pager { pager.beginCall() }
  if vector == ProcessorException.pageFault {
    let access: MemoryAccess =
      error & 16 != 0 ? .execute : error & 2 != 0 ? .write : .read
    let outcome = error & 32 != 0 ? .guarded : task.memory.fault(at: address, access)
    if case .resolved = outcome {
      task.process.minorFaults &+= 1
      let current = Execution.current
      return current.attention ? attend(task, registers, current, false) : true
    }
    task.take(outcome, address, registers)
  } else {
    task.takeException(vector, error, registers)
  }
  task.faultInstruction = registers.rip
  task.faultVector = vector
  task.faultError = error
  task.faultAddress = vector == ProcessorException.pageFault ? address : 0
  return attend(task, registers, Execution.current, false)
}

/// Handles what waits for a task whose application was interrupted.
///
/// - Returns: Whether the execution goes on with its application.
func handleAttention(_ registers: UserRegisters) -> Bool {
  Exclusive.awaitTurn()
  let task = Execution.currentOwner(as: Task.self)
  if task.identifierAddress != 0 { task.storeIdentifier() }
  return attend(task, registers, Execution.current, false)
}
