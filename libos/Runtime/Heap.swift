// SPDX-License-Identifier: Apache-2.0
// Heap.swift: the family's heap, behind the allocation functions that Swift calls.
//
// Small blocks come in size classes (multiples of 16 up to 1 KiB, then powers of two up to 32 KiB), each with a free
// list, cut from chunks of the heap's region. Larger blocks are whole pages with free lists by power of two.
// A 16-byte header before each block says its class. Blocks are not split or joined: a class's memory stays in it.
// One CPU runs LibOS code at a time, and only at chosen places does it give up the CPU: no lock.

import ApusABI
import CRuntime

enum Heap {
  private static var headerSize: Int { 16 }
  private static var smallLimit: Int { 1024 }
  private static var smallClasses: Int { 64 }
  /// Classes: 0...63 for 16 to 1,024 bytes, then 2 KiB and on.
  private static var classCount: Int { 64 + 32 }

  @safe nonisolated(unsafe) private static var lists: UnsafeMutablePointer<UnsafeMutableRawPointer?> =
    unsafe UnsafeMutableRawPointer(runtime_heap_lists_address()).assumingMemoryBound(
      to: UnsafeMutableRawPointer?.self)
  private static var base: UInt64 { UInt64(APUS_LIBOS_BASE) + 0x20_0000_0000 }
  @safe nonisolated(unsafe) private static var mapped: UInt64 = 0
  @safe nonisolated(unsafe) private static var next: UInt64 = 0

  static var mappedBytes: Int { next == 0 ? 0 : Int(next - base) }

  @inline(__always) private static func sizeClass(_ size: Int) -> Int {
    if size <= smallLimit { return (size + 15) >> 4 - (size == 0 ? 0 : 1) }
    return smallClasses + (Int.bitWidth - (size - 1).leadingZeroBitCount) - 11
  }

  @inline(__always) private static func classSize(_ index: Int) -> Int {
    index < smallClasses ? (index + 1) << 4 : 1 << (index - smallClasses + 11)
  }

  /// Allocates memory, aligned to 16 bytes.
  static func allocate(_ size: Int) -> UnsafeMutableRawPointer? {
    let index = sizeClass(size)
    guard index < classCount else { return nil }
    if let block = unsafe lists[index] {
      unsafe lists[index] = block.load(as: UnsafeMutableRawPointer?.self)
      return unsafe block
    }
    return unsafe cut(index)
  }

  /// Cuts a fresh block; the region grows by what is asked for, at least 64 KiB.
  private static func cut(_ index: Int) -> UnsafeMutableRawPointer? {
    let needed = UInt64(classSize(index) + headerSize)
    if next == 0 {
      next = base
      mapped = base
    }
    if mapped - next < needed {
      let growth = max(65536, (needed - (mapped - next) + 4095) & ~4095)
      guard BareFrames.map(at: mapped, bytes: growth) else { return nil }
      mapped += growth
    }
    let block = unsafe UnsafeMutableRawPointer(bitPattern: UInt(next)).unsafelyUnwrapped
    next += needed
    unsafe block.storeBytes(of: index, as: Int.self)
    return unsafe block + headerSize
  }

  /// Gives a block back.
  static func free(_ pointer: UnsafeMutableRawPointer) {
    let index = unsafe (pointer - headerSize).load(as: Int.self)
    if index < 0 {  // over-aligned: the true block's address stands in its place
      unsafe free((pointer - 8).load(as: UnsafeMutableRawPointer.self))
      return
    }
    unsafe pointer.storeBytes(of: lists[index], as: UnsafeMutableRawPointer?.self)
    unsafe lists[index] = pointer
  }

  /// Allocates memory with a greater alignment.
  static func allocate(_ size: Int, alignment: Int) -> UnsafeMutableRawPointer? {
    if alignment <= 16 { return unsafe allocate(size) }
    guard let block = unsafe allocate(size + alignment + 16) else { return nil }
    let start = UInt(bitPattern: block)
    let aligned = (start + 16 + UInt(alignment) - 1) & ~(UInt(alignment) - 1)
    let pointer = unsafe UnsafeMutableRawPointer(bitPattern: aligned).unsafelyUnwrapped
    unsafe (pointer - 16).storeBytes(of: -1, as: Int.self)
    unsafe (pointer - 8).storeBytes(of: block, as: UnsafeMutableRawPointer.self)
    return unsafe pointer
  }
}

/// What the heap has taken.
public enum HeapStatistics {
  /// Bytes that blocks were cut of, free ones among them.
  public static var mappedBytes: Int { Heap.mappedBytes }
}

/// The body of posix_memalign (Memory.c): what Swift allocates through.
@c @used func runtime_allocate(_ alignment: Int, _ size: Int) -> UnsafeMutableRawPointer {
  guard let block = unsafe Heap.allocate(size, alignment: alignment) else {
    runtimePanic("the LibOS's heap is exhausted", UInt64(size))
  }
  return unsafe block
}

/// The body of free.
@c @used func runtime_free(_ pointer: UnsafeMutableRawPointer) { unsafe Heap.free(pointer) }
