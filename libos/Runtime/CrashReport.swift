// SPDX-License-Identifier: Apache-2.0
// CrashReport.swift: a failure told to the host in numbers: where, who called, what the environment had and did.

import ApusABI
import CRuntime

/// Who failed.
public enum CrashKind: UInt32 {
  /// The LibOS, by a fault of its own.
  case libos = 2
  /// The LibOS, which found that it cannot go on.
  case stopped = 3
  /// A program that the LibOS runs.
  case program = 4
}

/// A place in code and the stack that led there.
public struct CrashPlace {
  /// The instruction, the stack pointer and the frame pointer.
  public let instruction, stack, frame: UInt64

  /// Names a place.
  ///
  /// - Parameters:
  ///   - instruction: The address of the instruction.
  ///   - stack: The stack pointer there.
  ///   - frame: The frame pointer there.
  public init(instruction: UInt64, stack: UInt64, frame: UInt64) {
    self.instruction = instruction
    self.stack = stack
    self.frame = frame
  }
}

/// Reports of failures.
public enum CrashReport {
  /// Sends a report; uses neither the heap nor anything else that may be what failed.
  ///
  /// - Parameters:
  ///   - kind: Who failed.
  ///   - place: Where.
  ///   - cause: Why, in the shape of a save area's cause: vector, and the processor's error code from bit 32 on.
  ///   - address: The address that a page fault was for.
  ///   - imageBase: What the program's addresses are relative to.
  ///   - program: The program's path; empty for the LibOS.
  public static func send(
    _ kind: CrashKind, at place: CrashPlace, cause: UInt64, address: UInt64, imageBase: UInt64 = 0,
    program: [UInt8] = []
  ) {
    var crash = apus_crash()
    crash.kind = kind.rawValue
    crash.cause = cause
    crash.rip = place.instruction
    crash.rsp = place.stack
    crash.address = address
    crash.image_base = imageBase
    addUpcalls(&crash)
    addResources(&crash)
    unsafe withUnsafeMutableBytes(of: &crash) { buffer in
      guard let base = buffer.baseAddress else { return }
      let bytes = unsafe Bytes(base: base, count: buffer.count)
      bytes.store(walk(place, bytes.from(Int(APUS_CRASH_FRAMES_OFFSET))), at: Int(APUS_CRASH_FRAMES_OFFSET) - 8)
      for (index, byte) in program.prefix(127).enumerated() { bytes[Int(APUS_CRASH_PROGRAM_OFFSET) + index] = byte }
      _ = Console.write(.crash, bytes)
    }
  }

  /// What the u-area still has of the kernel's last upcalls.
  private static func addUpcalls(_ crash: inout apus_crash) {
    func area(_ offset: Int32) -> apus_save_area {
      func word(_ field: Int32) -> UInt64 { runtime_word(UInt32(offset + field)) }
      return apus_save_area(
        in_use: word(APUS_SAVE_IN_USE), rip: word(APUS_SAVE_RIP), flags: word(APUS_SAVE_FLAGS),
        rsp: word(APUS_SAVE_RSP), rax: word(APUS_SAVE_RAX), rcx: word(APUS_SAVE_RCX), cause: word(APUS_SAVE_CAUSE),
        address: word(APUS_SAVE_ADDRESS))
    }
    crash.exception = area(APUS_UA_EXCEPTION)
    crash.nested = area(APUS_UA_NESTED)
    crash.slice = area(APUS_UA_SLICE)
  }

  private static func addResources(_ crash: inout apus_crash) {
    let root = Runtime.currentRoot
    guard let handle = Information.handle(uarea: runtime_word(UInt32(APUS_UA_SELF)), root: root),
      let record = Information.environment(handle: handle)
    else { return }
    crash.slot = UInt32(truncatingIfNeeded: handle) - 1
    crash.account = UInt32(record.account)
    crash.slices_used = record.slices_used
    crash.slices_forfeited = record.slices_forfeited
    crash.ticks_used = record.ticks_used
    crash.excess_ticks = record.excess_ticks
    crash.slice_upcalls = record.slice_upcalls
    crash.exception_upcalls = record.exception_upcalls
    crash.calls = record.calls
    let page = Information.page
    // SAFETY: the tables are mapped read-only and as long as the page says; the kernel knows the account.
    let accounts = unsafe UnsafePointer<apus_account>(
      bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(page.account_table_offset)
    ).unsafelyUnwrapped
    crash.resources = unsafe accounts[Int(record.account)]
    let revocations = unsafe UnsafePointer<apus_revocation>(
      bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(page.revocation_table_offset)
    ).unsafelyUnwrapped
    for index in 0..<Int(page.revocation_count) where unsafe revocations[index].account == record.account {
      if unsafe revocations[index].vector_frame != 0 { crash.flags |= UInt32(APUS_CRASH_HAS_VECTOR) }
      crash.repossessed = unsafe revocations[index].vector_written
    }
  }

  /// Follows frame pointers as far as they lie in present memory, on one stack, and lead upwards.
  ///
  /// - Returns: How many return addresses were written.
  private static func walk(_ place: CrashPlace, _ frames: Bytes) -> UInt64 {
    var at = place.frame
    var count = 0
    while count < Int(APUS_CRASH_FRAMES), at & 7 == 0, at < UInt64(APUS_USER_LIMIT) - 16,
      isPresent(at), isPresent(at + 8)
    {
      let back = load(at + 8)
      guard back != 0 else { break }
      frames.store(back, at: count * 8)
      count += 1
      let next = load(at)
      guard next > at, next - at < stackReach else { break }
      at = next
    }
    return UInt64(count)
  }

  /// How far apart two frames of one stack are at most.
  private static var stackReach: UInt64 { 1 << 23 }

  private static func isPresent(_ address: UInt64) -> Bool { PageTable.entry(at: address) & 1 != 0 }

  private static func load(_ address: UInt64) -> UInt64 {
    // SAFETY: the page was just seen to be present.
    unsafe UnsafePointer<UInt64>(bitPattern: UInt(address)).unsafelyUnwrapped.pointee
  }
}
