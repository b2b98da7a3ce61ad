// SPDX-License-Identifier: Apache-2.0
// Runtime.swift: how a LibOS starts, what it does when the kernel asked for something, and how it fails.

import ApusABI
import CRuntime

/// State that every part of the Runtime needs.
public enum Runtime {
  /// The root of the running execution.
  static var currentRoot: UInt32 { isStarted ? Execution.current.root : firstRoot }
  /// The level-3 table of the LibOS's part, linked in every address space of the family.
  @safe nonisolated(unsafe) static var sharedTable: UInt32 = 0
  @safe nonisolated(unsafe) static var firstRoot: UInt32 = 0
  @safe nonisolated(unsafe) static var isStarted = false
  @safe nonisolated(unsafe) static var answersEnabled = true
}

extension Runtime {
  /// The machine's boot image.
  public static var module: Bytes {
    // SAFETY: the kernel mapped the image there and checked its header; it stays mapped.
    unsafe Bytes(
      base: UnsafeMutableRawPointer(bitPattern: UInt(APUS_MODULE_BASE)).unsafelyUnwrapped,
      count: Int(UnsafePointer<apus_image>(bitPattern: UInt(APUS_MODULE_BASE)).unsafelyUnwrapped.pointee.size))
  }

  /// Gives up the capability for everything; before the first application runs.
  public static func dropRoot() { _ = try? kernelCall(.capabilityDrop, CapabilitySlot.root) }
}

/// The first function of the LibOS, on its own stack.
@c @used func runtime_main() -> Never {
  let self_ = UInt64(APUS_TABLES_BASE)
  // The root's own entry for the recursive slot, seen through that slot: P4 of the tables' address.
  let rootEntry = tableEntry(tableEntry(tableEntry(tableEntry(self_))))
  Runtime.firstRoot = PageTable.frame(of: load(rootEntry))
  Runtime.sharedTable = PageTable.frame(
    of: load(tableEntry(tableEntry(tableEntry(tableEntry(UInt64(APUS_LIBOS_BASE)))))))
  // SAFETY: the kernel mapped the image and checked its header.
  let image = unsafe UnsafePointer<apus_image>(bitPattern: UInt(APUS_MODULE_BASE)).unsafelyUnwrapped.pointee
  PagePool.start(imageSize: image.size)
  PagePool.records[Int(Runtime.firstRoot)].next = noFrame
  Clock.start()
  Execution.adoptFirst(root: Runtime.firstRoot, owner: nil)
  Runtime.isStarted = true
  if FamilyPage.isThere { FamilyScheduler.start() }
  unsafe linux_start(
    UnsafeMutableRawPointer(bitPattern: UInt(APUS_MODULE_BASE)).unsafelyUnwrapped, image.size)
}

private func tableEntry(_ address: UInt64) -> UInt64 {
  UInt64(APUS_TABLES_BASE) + (address >> 12 & 0xf_ffff_ffff) << 3
}

private func load(_ address: UInt64) -> UInt64 {
  unsafe UnsafePointer<UInt64>(bitPattern: UInt(address)).unsafelyUnwrapped.pointee
}

/// The kernel set pending bits while a LibOS section ran: the application's slice is over, or a sibling died.
@c @used func runtime_pending(_ registers: UnsafeMutableRawPointer) {
  let pending = runtime_word(UInt32(APUS_UA_PENDING))
  runtime_set_word(UInt32(APUS_UA_PENDING), 0)
  if pending & UInt64(APUS_PENDING_SLICE_END) != 0 { Execution.yield(to: nil) }
  guard runtime_word(UInt32(UA_ATTENTION)) != 0 else { return }
  // A slice that ended at an entry's first instructions left the entry's registers, not the application's: a signal
  // handler must not be pushed on those. The entry goes on, and looks for attention when it is done.
  // SAFETY: the frame that the return path has just built.
  let rip = unsafe registers.assumingMemoryBound(to: Registers.self).pointee.rip
  if rip >> 40 != UInt64(APUS_LIBOS_BASE) >> 40 { unsafe linux_attention(registers) }
}

/// The LibOS itself has faulted, and the family cannot go on.
///
/// Either there is a bug, or the application wrote over the LibOS's memory.
@c @used func runtime_libos_fault(
  _ cause: UInt64, _ rip: UInt64, _ address: UInt64, _ rsp: UInt64, _ rbp: UInt64
) -> Never {
  CrashReport.send(
    .libos, at: CrashPlace(instruction: rip, stack: rsp, frame: rbp), cause: cause, address: address)
  Console.powerOff(status: Int(failureStatus))
}

/// Ends the family with a sentence: the LibOS cannot go on.
@inline(never) public func runtimePanic(_ reason: StaticString, _ a: UInt64 = 0, _ b: UInt64 = 0) -> Never {
  var text = Text()
  text.append("the LibOS stopped: ")
  text.append(reason)
  text.append(" ")
  text.append(hexadecimal: a)
  text.append(" ")
  text.append(hexadecimal: b)
  text.append("\n")
  text.send(.notice)
  let frame = runtime_frame()
  CrashReport.send(
    .stopped, at: CrashPlace(instruction: runtime_return_address(), stack: frame, frame: load(frame)), cause: 0,
    address: 0)
  Console.powerOff(status: Int(failureStatus))
}

/// Status of a machine whose LibOS failed.
private let failureStatus: UInt64 = 0x7c

/// Called by the compiler's own checks through the trap instruction only; keeps the linker satisfied.
@c @used func arc4random_buf(_ buffer: UnsafeMutableRawPointer, _ count: Int) {
  unsafe Random.fill(Bytes(base: buffer, count: count))
}

/// Text put together without the heap, which may be what failed.
@safe struct Text {
  private var bytes: InlineArray<512, UInt8> = .init(repeating: 0)
  private var count = 0

  private mutating func put(_ byte: UInt8) {
    guard count < 512 else { return }
    bytes[count] = byte
    count += 1
  }

  mutating func append(_ text: StaticString) {
    for index in 0..<text.utf8CodeUnitCount { unsafe put(text.utf8Start[index]) }
  }

  mutating func append(decimal value: UInt64) {
    if value >= 10 { append(decimal: value / 10) }
    put(48 + UInt8(value % 10))
  }

  mutating func append(hexadecimal value: UInt64) {
    append("0x")
    var shift = max(0, (63 - value.leadingZeroBitCount) / 4 * 4)
    while shift >= 0 {
      let digit = UInt8(value >> UInt64(shift) & 15)
      put(digit < 10 ? 48 + digit : 87 + digit)
      shift -= 4
    }
  }

  func send(_ stream: ConsoleStream) {
    var copy = bytes
    let count = count
    unsafe withUnsafeMutableBytes(of: &copy) { buffer in
      guard let base = buffer.baseAddress else { return }
      _ = unsafe Console.write(stream, Bytes(base: base, count: count))
    }
  }
}
