// SPDX-License-Identifier: Apache-2.0
// KernelCalls.swift: system calls as functions. Slots of the capability list are fixed by the kernel's boot.

import ApusABI
import CRuntime

/// Slots of the capability list.
enum CapabilitySlot {
  static var family: UInt64 { 0 }
  static var console: UInt64 { 1 }
  static var machine: UInt64 { 2 }
  static var root: UInt64 { 3 }
  /// The page server's family; here only while it is made.
  static var pageServer: UInt64 { 4 }
  /// A family that is being started or ended, and its console; here only meanwhile.
  static var started: UInt64 { 5 }
  static var startedConsole: UInt64 { 6 }
  /// Table and frame authority in one argument.
  static var familyTwice: UInt64 { 0 }
}

/// Makes a system call.
///
/// - Returns: What the kernel returned.
/// - Throws: The kernel's error.
@inline(__always) @discardableResult
func kernelCall(
  _ call: SystemCall, _ a0: UInt64 = 0, _ a1: UInt64 = 0, _ a2: UInt64 = 0, _ a3: UInt64 = 0, _ a4: UInt64 = 0
) throws(SystemCallError) -> UInt64 {
  var result = apus_call(call.rawValue, a0, a1, a2, a3, a4)
  // Another CPU has yet to forget a translation to the frame: that takes microseconds.
  while result == -Int64(SystemCallError.flushPending.rawValue) {
    result = apus_call(call.rawValue, a0, a1, a2, a3, a4)
  }
  if result < 0 {
    throw SystemCallError(rawValue: UInt8(truncatingIfNeeded: -result)) ?? .invalid
  }
  return UInt64(bitPattern: result)
}

/// The information page.
enum Information {
  static var page: apus_information {
    // SAFETY: mapped read-only in every address space at this address.
    unsafe UnsafePointer<apus_information>(bitPattern: UInt(APUS_INFORMATION_BASE)).unsafelyUnwrapped.pointee
  }
  /// The record of an environment that still has the handle's slot.
  static func environment(handle: UInt64) -> apus_environment? {
    let number = handle & 0xffff_ffff
    let page = page
    guard number != 0, number <= page.environment_count else { return nil }
    // SAFETY: the table is mapped read-only and the index was just checked.
    let table = unsafe UnsafePointer<apus_environment>(
      bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(page.environment_table_offset)
    ).unsafelyUnwrapped
    let record = unsafe table[Int(number - 1)]
    return UInt64(record.generation) == handle >> 32 ? record : nil
  }

  /// The budgets of an account.
  static func account(_ number: UInt64) -> UnsafePointer<apus_account> {
    // SAFETY: the table is mapped read-only; the number is one that holds something, so it is in the table.
    unsafe UnsafePointer<apus_account>(
      bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(page.account_table_offset)
    ).unsafelyUnwrapped + Int(number)
  }

  /// The environments of an account that can still run.
  ///
  /// - Parameters:
  ///   - account: Its number.
  ///   - body: Told the handle and the u-area's address of each.
  static func forEachEnvironment(of account: UInt64, _ body: (UInt64, UInt64) -> Void) {
    let page = page
    // SAFETY: the table is mapped read-only and as long as the page says.
    let table = unsafe UnsafePointer<apus_environment>(
      bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(page.environment_table_offset)
    ).unsafelyUnwrapped
    for slot in 0..<Int(page.environment_count) {
      let state = unsafe table[slot].state
      guard state != UInt32(APUS_ENVIRONMENT_FREE), state != UInt32(APUS_ENVIRONMENT_DYING),
        unsafe UInt64(table[slot].account) == account
      else { continue }
      body(unsafe UInt64(table[slot].generation) << 32 | UInt64(slot + 1), unsafe table[slot].uarea_address)
    }
  }

  /// The handle of the live environment that runs in an address space with its u-area at an address.
  static func handle(uarea: UInt64, root: UInt32) -> UInt64? {
    let page = page
    // SAFETY: the table is mapped read-only and as long as the page says.
    let table = unsafe UnsafePointer<apus_environment>(
      bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(page.environment_table_offset)
    ).unsafelyUnwrapped
    for slot in 0..<Int(page.environment_count) {
      guard unsafe table[slot].uarea_address == uarea, unsafe table[slot].root == root else { continue }
      let handle = UInt64(unsafe table[slot].generation) << 32 | UInt64(slot + 1)
      if isLive(handle: handle) { return handle }
    }
    return nil
  }

  /// Whether a handle names an environment that can still run.
  static func isLive(handle: UInt64) -> Bool {
    let number = handle & 0xffff_ffff
    guard number != 0, number <= page.environment_count else { return false }
    // SAFETY: the table is mapped read-only and the index was just checked.
    let record =
      unsafe UnsafePointer<apus_environment>(
        bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(page.environment_table_offset)
      ).unsafelyUnwrapped + Int(number - 1)
    let state = unsafe record.pointee.state
    return unsafe UInt64(record.pointee.generation) == handle >> 32 && state != UInt32(APUS_ENVIRONMENT_FREE)
      && state != UInt32(APUS_ENVIRONMENT_DYING)
  }

  /// How many mappings, or links, the frame table says a frame has.
  static func mappings(of frame: UInt32) -> UInt64 {
    // SAFETY: the table is mapped read-only and covers every frame that the kernel ever gave.
    let table = unsafe UnsafePointer<apus_frame>(
      bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(page.frame_table_offset)
    ).unsafelyUnwrapped
    return unsafe UInt64(table[Int(frame)].mappings)
  }

  static var consoleOutputCount: UInt64 { page.console_output_count }
  static var consoleInputCount: UInt64 {
    unsafe UnsafePointer<apus_information>(bitPattern: UInt(APUS_INFORMATION_BASE)).unsafelyUnwrapped.pointee
      .console_input_count
  }
}
