// SPDX-License-Identifier: Apache-2.0
// Entry.swift: where the Runtime's assembly enters this LibOS. The only file here that handles raw pointers.
//
// What ends an execution returns up to here first, so that nothing on its stack keeps objects alive.

import ApusRuntime
import ApusUnix

/// The family's first environment begins here, with the boot image; it becomes the console's own task.
@c(linux_start)
public func linuxStart(_ image: UnsafeMutableRawPointer, _ size: UInt64) -> Never {
  // SAFETY: the Runtime hands over the module as the kernel mapped it; it stays mapped.
  let bytes = unsafe Bytes(base: image, count: Int(size))
  startFamily(bytes)
}

/// A foreign system call of the application.
@c(linux_system_call)
public func linuxSystemCall(_ registers: UnsafeMutableRawPointer) {
  // SAFETY: the entry code's register frame, which outlives the call.
  let goesOn = performCall(unsafe UserRegisters(base: registers))
  if !goesOn { endExecution() }
}

/// An exception of the application.
@c(linux_fault)
public func linuxFault(
  _ registers: UnsafeMutableRawPointer, _ vector: UInt64, _ error: UInt64, _ address: UInt64
) {
  // SAFETY: as above.
  let goesOn = handleFault(unsafe UserRegisters(base: registers), vector, error, address)
  if !goesOn { endExecution() }
}

/// The application was interrupted and something waits for its task.
@c(linux_attention)
public func linuxAttention(_ registers: UnsafeMutableRawPointer) {
  // SAFETY: as above.
  let goesOn = handleAttention(unsafe UserRegisters(base: registers))
  if !goesOn { endExecution() }
}

@inline(never)
private func endExecution() -> Never {
  Execution.exitCurrent(handOffTo: nil)
}
