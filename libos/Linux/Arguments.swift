// SPDX-License-Identifier: Apache-2.0
// Arguments.swift: the six arguments of a Linux call, read from the registers when asked for.

import ApusRuntime
import ApusUnix

/// The arguments of a Linux call (syscall(2): rdi, rsi, rdx, r10, r8, r9).
///
/// The registers change when the call returns, delivers a signal or becomes another program; a handler reads its
/// arguments before that.
struct Arguments {
  let registers: UserRegisters

  var a0: UInt64 { @inline(__always) get { registers.rdi } }
  var a1: UInt64 { @inline(__always) get { registers.rsi } }
  var a2: UInt64 { @inline(__always) get { registers.rdx } }
  var a3: UInt64 { @inline(__always) get { registers.r10 } }
  var a4: UInt64 { @inline(__always) get { registers.r8 } }
  var a5: UInt64 { @inline(__always) get { registers.r9 } }

  /// The arguments as C's `int`: the upper halves of the registers are garbage then.
  var i0: Int { @inline(__always) get { Int(Int32(truncatingIfNeeded: registers.rdi)) } }
  var i1: Int { @inline(__always) get { Int(Int32(truncatingIfNeeded: registers.rsi)) } }
  var i2: Int { @inline(__always) get { Int(Int32(truncatingIfNeeded: registers.rdx)) } }
  var i3: Int { @inline(__always) get { Int(Int32(truncatingIfNeeded: registers.r10)) } }
  var i4: Int { @inline(__always) get { Int(Int32(truncatingIfNeeded: registers.r8)) } }
  var i5: Int { @inline(__always) get { Int(Int32(truncatingIfNeeded: registers.r9)) } }

  /// The arguments as C's `long`.
  var s0: Int { @inline(__always) get { Int(truncatingIfNeeded: registers.rdi) } }
  var s1: Int { @inline(__always) get { Int(truncatingIfNeeded: registers.rsi) } }
  var s2: Int { @inline(__always) get { Int(truncatingIfNeeded: registers.rdx) } }
  var s3: Int { @inline(__always) get { Int(truncatingIfNeeded: registers.r10) } }
  var s4: Int { @inline(__always) get { Int(truncatingIfNeeded: registers.r8) } }
  var s5: Int { @inline(__always) get { Int(truncatingIfNeeded: registers.r9) } }
}

/// What carries out a Linux call for a task; the value is what the program gets.
typealias Handler = (Task, Arguments) throws(Errno) -> Int
