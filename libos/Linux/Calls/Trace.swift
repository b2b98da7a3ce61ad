// SPDX-License-Identifier: Apache-2.0
// Trace.swift: one line for each Linux call, as strace(1) writes them.

import ApusABI
import ApusRuntime
import ApusUnix

/// A call on its way, for the line that is written when it is done.
struct TraceLine {
  private var text: [UInt8] = []

  /// Notes a call before it runs: its arguments may be gone afterwards.
  init(_ task: Task, _ number: UInt64, _ arguments: Arguments) {
    text.append(0x5b)
    text.append(decimal: task.identifier)
    text += ascii("] ")
    let call = Int(truncatingIfNeeded: number)
    text += callName(call)
    text.append(0x28)
    let strings = TraceLine.stringArguments(call)
    let values = [
      arguments.a0, arguments.a1, arguments.a2, arguments.a3, arguments.a4, arguments.a5,
    ]
    let count = TraceLine.argumentCount(call)
    for index in 0..<count {
      if index > 0 { text += ascii(", ") }
      if strings >> index & 1 != 0 {
        appendString(task, values[index])
      } else {
        appendValue(values[index])
      }
    }
    text.append(0x29)
  }

  private mutating func appendString(_ task: Task, _ address: UInt64) {
    do throws(Errno) {
      let string = try task.string(at: address)
      text.append(0x22)
      text += string
      text.append(0x22)
    } catch {
      appendValue(address)
    }
  }

  private mutating func appendValue(_ value: UInt64) {
    let signed = Int32(truncatingIfNeeded: value)
    if value < 10_000 || (signed < 0 && signed > -4096 && value >> 32 == 0) {
      text.append(decimal: Int(signed))
    } else if value > UInt64(bitPattern: -4096) {
      text.append(decimal: Int(truncatingIfNeeded: value))
    } else {
      text += ascii("0x")
      text.append(hexadecimal: value)
    }
  }

  /// Writes the line with the call's result.
  mutating func finish(_ result: Int) {
    text += ascii(" = ")
    if result < 0, result > -4096 {
      text += ascii("-1 errno ")
      text.append(decimal: -result)
    } else if result < 0x1_0000 {
      text.append(decimal: result)
    } else {
      text += ascii("0x")
      text.append(hexadecimal: UInt64(bitPattern: Int64(result)))
    }
    emit()
  }

  /// Writes the line of a call that does not return.
  mutating func finishWithoutResult() {
    text += ascii(" = ?")
    emit()
  }

  private mutating func emit() {
    text.append(0x0a)
    Bytes.withArray(&text) { bytes in _ = Console.write(.trace, bytes) }
  }

  /// Which arguments are paths or names: bit n for argument n.
  private static func stringArguments(_ number: Int) -> Int {
    switch number {
    // open, stat, lstat, access, execve, truncate, chdir, mkdir, rmdir, creat, unlink, readlink, chmod,
    // chown, lchown, utime, mknod, statfs, chroot, setxattr..., utimes
    case 2, 4, 6, 21, 59, 76, 80, 83, 84, 85, 87, 89, 90, 92, 94, 132, 133, 137, 161, 188...199, 235: 1
    // rename, link, symlink
    case 82, 86, 88: 3
    // symlinkat
    case 266: 5
    // openat and the others with a directory first, execveat, statx, faccessat2, openat2, fchmodat2
    case 257, 258, 259, 260, 261, 262, 263, 267, 268, 269, 280, 322, 332, 437, 439, 452: 2
    // renameat, linkat, renameat2
    case 264, 265, 316: 10
    default: 0
    }
  }

  private static func argumentCount(_ number: Int) -> Int {
    switch number {
    // getpid, getuid, getgid, geteuid, getegid, getppid, getpgrp, setsid, gettid, fork, vfork, sched_yield,
    // pause, sync, rt_sigreturn
    case 39, 102, 104, 107, 108, 110, 111, 112, 186, 57, 58, 24, 34, 162, 15: 0
    // close, exit, exit_group, dup, brk, chdir, rmdir, unlink, umask, uname, pipe, alarm, set_tid_address
    case 3, 60, 231, 32, 12, 80, 84, 87, 95, 63, 22, 37, 218, 74, 75, 81, 121, 124, 201: 1
    case 4, 5, 6, 11, 85, 21, 33, 62, 79, 82, 83, 86, 88, 90, 91, 96, 97, 98, 99, 109, 115, 116, 131, 158,
      160, 228, 229, 273, 293, 35, 36, 200, 137, 138, 77, 76:
      2
    case 0, 1, 2, 7, 8, 10, 16, 19, 20, 28, 59, 89, 92, 93, 94, 38, 217, 78, 318, 292, 72: 3
    case 13, 14, 61, 17, 18, 257, 262, 267, 230, 302, 234, 269, 268: 4
    case 56, 271, 316, 332, 157, 23: 5
    default: 6
    }
  }
}
