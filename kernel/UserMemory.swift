// SPDX-License-Identifier: Apache-2.0
// UserMemory.swift: the one way to the memory of ring 3.
//
// An address from ring 3 is an allegation. It becomes memory by walking the caller's own page tables, page by page,
// and the bytes are reached through the kernel's direct map: so no fault can happen in ring 0, SMAP stays shut, and
// an unmapping elsewhere cannot hurt, because a freed frame is not given out again before this CPU has left ring 0.

import ApusMachine
import ApusResources
import CApusABI
import CShims

enum UserMemory {
  /// Finds the physical address behind a user address.
  ///
  /// - Parameters:
  ///   - address: The user's address.
  ///   - root: The level-4 table's frame.
  ///   - writable: Whether ring 3 must be allowed to write there.
  /// - Returns: The physical address, or nil if ring 3 could not do the same access.
  @inline(__always) static func translate(_ address: UInt64, root: UInt32, writable: Bool) -> UInt64? {
    guard address < UInt64(APUS_USER_LIMIT) else { return nil }
    let needed: UInt64 = writable ? 0b111 : 0b101
    var table = UInt64(root) << 12
    var shift: UInt64 = 39
    while true {
      let entry = PhysicalMemory.word(table + (address >> shift & 511) << 3)
      guard entry & needed == needed else { return nil }
      table = entry & 0x000f_ffff_ffff_f000
      if shift == 12 { return table | address & 4095 }
      if entry & PageEntry.large != 0 { return table | address & 0x1f_ffff }
      shift -= 9
    }
  }

  /// Copies from ring 3 into kernel memory.
  ///
  /// - Parameters:
  ///   - address: The first byte, anywhere.
  ///   - count: How many bytes.
  ///   - root: The root of the caller's page tables.
  ///   - destination: Kernel memory of at least that size.
  /// - Returns: False, with some bytes perhaps copied, if a page is not the caller's to read.
  static func copyIn(_ address: UInt64, _ count: Int, root: UInt32, to destination: KernelBytes) -> Bool {
    var done = 0
    while done < count {
      let at = address &+ UInt64(done)
      let piece = min(count - done, 4096 - Int(at & 4095))
      guard let physical = translate(at, root: root, writable: false) else { return false }
      // SAFETY: `piece` stays inside the frame just translated; `part` checks the buffer.
      unsafe copy(from: PhysicalMemory.pointer(physical), to: pointer(destination.part(done, piece)), piece)
      done += piece
    }
    return true
  }

  /// Copies from kernel memory to ring 3; see `copyIn`.
  static func copyOut(_ source: KernelBytes, _ count: Int, root: UInt32, to address: UInt64) -> Bool {
    var done = 0
    while done < count {
      let at = address &+ UInt64(done)
      let piece = min(count - done, 4096 - Int(at & 4095))
      guard let physical = translate(at, root: root, writable: true) else { return false }
      // SAFETY: as in copyIn.
      unsafe copy(from: pointer(source.part(done, piece)), to: PhysicalMemory.pointer(physical), piece)
      done += piece
    }
    return true
  }

  /// Whether ring 3 may write the whole range: asked before a call changes anything that it then reports there.
  static func isWritable(_ address: UInt64, _ count: Int, root: UInt32) -> Bool {
    let (end, wraps) = address.addingReportingOverflow(UInt64(count))
    guard !wraps else { return false }
    var at = address
    while at < end {
      guard translate(at, root: root, writable: true) != nil else { return false }
      at = (at | 4095) &+ 1
    }
    return true
  }

  @inline(__always) private static func pointer(_ bytes: KernelBytes) -> UnsafeMutableRawPointer {
    // SAFETY: kernel memory, named by its address.
    unsafe UnsafeMutableRawPointer(bitPattern: UInt(bytes.address)).unsafelyUnwrapped
  }

  @inline(__always) private static func copy(
    from source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, _ count: Int
  ) {
    // SAFETY: the callers checked both ranges.
    unsafe apus_copy_quads(destination, source, UInt64(count) >> 3)
    let tail = count & ~7
    unsafe apus_copy_bytes(destination + tail, source + tail, UInt64(count & 7))
  }
}
