// SPDX-License-Identifier: Apache-2.0
// Faulty.swift: a LibOS that fails as its start command says, so that what is told of it can be checked.
//
// The lines on which it fails are named by the tests of tests/Unit/SeeingTests/CrashMachineTests.swift.

import ApusABI
import ApusRuntime
import CRuntime

/// A function between the one that fails and the one that is called first.
@inline(never) private func stepInto(_ body: (UInt64) -> UInt64, _ value: UInt64) -> UInt64 { body(value) &+ 1 }

/// Reads through an address that is null.
@inline(never) private func readNull(_ address: UInt64) -> UInt64 {
  // SAFETY: it is not: that is what this program is for.
  unsafe UnsafePointer<UInt64>(bitPattern: UInt(address &+ 16)).unsafelyUnwrapped.pointee  // fails: null
}

/// Runs into one of the compiler's checks.
@inline(never) private func indexTooFar(_ index: UInt64) -> UInt64 {
  let few: [UInt64] = [1, 2, 3]
  return few[Int(index &+ 7)]  // fails: check
}

/// Finds that it cannot go on.
@inline(never) private func giveUp(_ value: UInt64) -> UInt64 {
  if value == 0 { runtimePanic("nothing is left to try", value) }  // fails: panic
  return value
}

/// Hands the kernel an address that is not its own.
@inline(never) private func callWithGarbage(_ address: UInt64) -> UInt64 {
  UInt64(bitPattern: apus_call(SystemCall.consoleWrite.rawValue, 1, 1, address &+ 0x1000, 16, 0))  // fails: refused
}

@inline(never) private func fail(_ words: Bytes) {
  func isAsked(_ word: StaticString) -> Bool {
    let text = word.bytes
    return words.count >= text.count
      && (0...words.count - text.count).contains { start in text.indices.allSatisfy { words[start + $0] == text[$0] } }
  }
  var sum: UInt64 = 0
  if isAsked("null") { sum = stepInto(readNull, 0) }
  if isAsked("check") { sum = stepInto(indexTooFar, 0) }
  if isAsked("panic") { sum = stepInto(giveUp, 0) }
  if isAsked("refused") { sum = stepInto(callWithGarbage, 0) }
  runtimePanic("no failure was asked for, or it did not come", sum)
}

@c @used func linux_start(_ image: UInt64, _ size: UInt64) -> Never {
  // SAFETY: the kernel mapped the image and checked its header.
  let header = unsafe UnsafePointer<apus_image>(bitPattern: UInt(image)).unsafelyUnwrapped.pointee
  let words = Bytes.application(at: image + header.command_offset, count: Int(header.command_size))
  fail(words)
  Console.powerOff(status: 0)
}

@c @used func linux_system_call(_ registers: UInt64) {}
@c @used func linux_fault(_ registers: UInt64, _ vector: UInt64, _ error: UInt64, _ address: UInt64) {}
@c @used func linux_attention(_ registers: UInt64) {}
