// SPDX-License-Identifier: Apache-2.0
// PhysicalMemory.swift: where the kernel sees physical memory, and the tables that live in it.

import ApusResources
import CApusABI
import CShims

/// The kernel's view of physical memory and of memory-mapped devices.
public enum PhysicalMemory {
  /// All memory, 2 MiB pages, not executable: address = base + physical address.
  public static var directBase: UInt64 { 0xffff_8800_0000_0000 }
  /// Devices between 3 and 4 GiB, uncached: address = base + physical address - 3 GiB.
  public static var deviceBase: UInt64 { 0xffff_ffff_c000_0000 }
  /// The kernel's image: address = base + physical address.
  public static var imageBase: UInt64 { 0xffff_ffff_8000_0000 }

  /// Code that the kernel makes, executable here and read-only everywhere: see `CodeProtection`.
  public static var codeBase: UInt64 { 0xffff_ffff_a000_0000 }
  /// How much there may be of it.
  static var codeLimit: UInt64 { 0x40_0000 }

  /// A pointer into the direct map.
  @inline(__always) public static func pointer(_ physical: UInt64) -> UnsafeMutableRawPointer {
    unsafe UnsafeMutableRawPointer(bitPattern: UInt(directBase &+ physical)).unsafelyUnwrapped
  }

  /// The 64-bit word at a physical address.
  @inline(__always) public static func word(_ physical: UInt64) -> UInt64 {
    // SAFETY: the caller names an address inside a frame that the ledger says is memory.
    unsafe pointer(physical).load(as: UInt64.self)
  }

  /// Fills a frame with zeros.
  @inline(__always) public static func zero(frame: UInt32) {
    // SAFETY: frame numbers come from the ledger, which covers existing memory only.
    unsafe apus_zero_page(pointer(UInt64(frame) << 12))
  }

  /// Whether registers may be there: between 3 and 4 GiB, which is mapped uncached.
  public static func hasDevices(_ physical: UInt64, count: UInt64) -> Bool {
    physical >= 0xc000_0000 && physical < 1 << 32 && count <= 1 << 32 - physical
  }

  @inline(__always) private static func register<T>(_ physical: UInt64, as type: T.Type) -> UnsafeMutablePointer<T> {
    precondition(hasDevices(physical, count: 4))
    return unsafe UnsafeMutablePointer<T>(bitPattern: UInt(deviceBase &+ physical &- 0xc000_0000)).unsafelyUnwrapped
  }

  // SAFETY, for the six functions below: the whole range is mapped uncached; a read of a hole returns ones, and
  // which registers are written is the driver's business. The shims are volatile.

  /// Reads an 8-bit device register.
  public static func device8(_ physical: UInt64) -> UInt8 { unsafe apus_load8(register(physical, as: UInt8.self)) }
  /// Reads a 16-bit device register.
  public static func device16(_ physical: UInt64) -> UInt16 { unsafe apus_load16(register(physical, as: UInt16.self)) }
  /// Reads a 32-bit device register.
  public static func device32(_ physical: UInt64) -> UInt32 { unsafe apus_load32(register(physical, as: UInt32.self)) }
  /// Writes an 8-bit device register.
  public static func setDevice8(_ physical: UInt64, _ value: UInt8) {
    unsafe apus_store8(register(physical, as: UInt8.self), value)
  }
  /// Writes a 16-bit device register.
  public static func setDevice16(_ physical: UInt64, _ value: UInt16) {
    unsafe apus_store16(register(physical, as: UInt16.self), value)
  }
  /// Writes a 32-bit device register.
  public static func setDevice32(_ physical: UInt64, _ value: UInt32) {
    unsafe apus_store32(register(physical, as: UInt32.self), value)
  }

  // SAFETY, for the five functions below: drivers name frames that the kernel gave them for good.

  /// Reads memory that a device also writes.
  public static func shared16(_ physical: UInt64) -> UInt16 {
    unsafe apus_load16(pointer(physical).assumingMemoryBound(to: UInt16.self))
  }
  /// Reads memory that a device also writes.
  public static func shared32(_ physical: UInt64) -> UInt32 {
    unsafe apus_load32(pointer(physical).assumingMemoryBound(to: UInt32.self))
  }
  /// Writes memory that a device also reads.
  public static func setShared16(_ physical: UInt64, _ value: UInt16) {
    unsafe apus_store16(pointer(physical).assumingMemoryBound(to: UInt16.self), value)
  }
  /// Writes memory that a device also reads.
  public static func setShared32(_ physical: UInt64, _ value: UInt32) {
    unsafe apus_store32(pointer(physical).assumingMemoryBound(to: UInt32.self), value)
  }
  /// Writes memory that a device also reads.
  public static func setShared64(_ physical: UInt64, _ value: UInt64) {
    unsafe apus_store64(pointer(physical).assumingMemoryBound(to: UInt64.self), value)
  }
}

/// A table of records in kernel memory, sized at boot.
@safe public struct Table<Element> {
  private let base: UnsafeMutablePointer<Element>
  /// How many records.
  public let count: UInt32

  /// Makes a view of zeroed memory.
  ///
  /// - Parameters:
  ///   - physical: Physical address of the first record.
  ///   - count: How many records.
  public init(physical: UInt64, count: UInt32) {
    // SAFETY: the boot allocator handed this memory to the kernel for good.
    unsafe base = PhysicalMemory.pointer(physical).assumingMemoryBound(to: Element.self)
    self.count = count
  }

  /// One record; the index is checked.
  public subscript(index: UInt32) -> Element {
    @inline(__always) unsafeAddress {
      precondition(index < count)
      return unsafe UnsafePointer(base + Int(index))
    }
    @inline(__always) nonmutating unsafeMutableAddress {
      precondition(index < count)
      return unsafe base + Int(index)
    }
  }

  /// A record by itself.
  public func record(_ index: UInt32) -> Record<Element> {
    precondition(index < count)
    return unsafe Record(kernelAddress: UInt64(UInt(bitPattern: base + Int(index))))
  }
}

extension Table: RecordTable {}

extension Table: FrameStorage where Element == apus_frame {
  /// The bytes of a record from `account` to `reserved`.
  @inline(__always) public func state(of frame: UInt32) -> UInt64 {
    precondition(frame < count)
    return unsafe UnsafeRawPointer(base + Int(frame)).load(fromByteOffset: Int(APUS_FRAME_STATE), as: UInt64.self)
  }

  /// Writes those bytes.
  @inline(__always) public func setState(of frame: UInt32, to state: UInt64) {
    precondition(frame < count)
    unsafe UnsafeMutableRawPointer(base + Int(frame)).storeBytes(
      of: state, toByteOffset: Int(APUS_FRAME_STATE), as: UInt64.self)
  }
}

/// The contents of frames, through the direct map.
public struct TableFrames: TableMemory {
  /// Whether another CPU's MMU may be writing to page tables.
  public let isShared: Bool

  /// Makes the view.
  ///
  /// - Parameter processorCount: How many CPUs use page tables in these frames.
  public init(processorCount: UInt32 = 2) { isShared = processorCount > 1 }

  /// Entry `index` of a page-table frame.
  @inline(__always) public func entry(_ table: UInt32, _ index: Int) -> UInt64 {
    PhysicalMemory.word(UInt64(table) << 12 | UInt64(index & 511) << 3)
  }

  /// Writes entry `index` of a page-table frame.
  @inline(__always) public func setEntry(_ table: UInt32, _ index: Int, _ value: UInt64) {
    unsafe pointer(table, index).pointee = value
  }

  /// Writes an entry in one step with reading it.
  @inline(__always) public func exchangeEntry(_ table: UInt32, _ index: Int, _ value: UInt64) -> UInt64 {
    unsafe apus_exchange(pointer(table, index), value)
  }

  /// Changes an entry in one step with reading it.
  @inline(__always)
  public func changeEntry(_ table: UInt32, _ index: Int, from old: UInt64, keep: UInt64, set: UInt64) -> UInt64 {
    unsafe apus_change(pointer(table, index), old, keep, set)
  }

  @inline(__always) private func pointer(_ table: UInt32, _ index: Int) -> UnsafeMutablePointer<UInt64> {
    // SAFETY: the ledger names page-table frames only, and the index is cut to the frame.
    unsafe PhysicalMemory.pointer(UInt64(table) << 12 | UInt64(index & 511) << 3)
      .assumingMemoryBound(to: UInt64.self)
  }

  /// Fills a frame with zeros.
  @inline(__always) public func zero(frame: UInt32) { PhysicalMemory.zero(frame: frame) }
}

/// Words that a system call's argument was copied to: nobody else can change them meanwhile.
@safe public struct WordBuffer: EntryList, FrameList {
  private let base: UnsafeMutablePointer<UInt64>
  /// How many words fit.
  public static var capacity: Int { 512 }

  /// Makes a buffer of one frame of kernel memory.
  public init(physical: UInt64) {
    // SAFETY: the frame is the kernel's.
    unsafe base = PhysicalMemory.pointer(physical).assumingMemoryBound(to: UInt64.self)
  }

  /// The word at an index below 512.
  public subscript(index: Int) -> UInt64 {
    @inline(__always) get { unsafe base[index & 511] }
    @inline(__always) nonmutating set { unsafe base[index & 511] = newValue }
  }

  /// Physical address of the first word.
  public var physical: UInt64 { unsafe UInt64(UInt(bitPattern: base)) &- PhysicalMemory.directBase }

  /// The buffer's bytes, for copies from and to ring 3.
  public var bytes: KernelBytes {
    unsafe KernelBytes(physical: UInt64(UInt(bitPattern: base)) &- PhysicalMemory.directBase, count: 4096)
  }
}
