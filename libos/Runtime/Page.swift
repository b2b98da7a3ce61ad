// SPDX-License-Identifier: Apache-2.0
// Page.swift: the family's pool of frames, each mapped once at an address that all its processes share.
//
// The pool's addresses begin with the boot module: a page of the image is a page of the pool like any other. Frames
// come from the kernel in batches, zeroed, and stay with the family until it ends.

import ApusABI
import CRuntime

/// What the family keeps about a frame.
struct PageRecord {
  /// References to a page; of a page table: address >> 21 | level << 28.
  var count: UInt32
  /// The page's place in the pool: address = APUS_MODULE_BASE + place * 4096.
  var place: UInt32
  /// Next page of the free list; next table of an address space; of a root: its first table.
  var next: UInt32
}

/// The end of a list of frames.
let noFrame = UInt32.max

/// One 4 KiB frame of the family's pool; the references are counted by hand.
public struct Page: Equatable {
  /// The frame's number.
  public let frame: UInt32

  /// Names a frame that is in the pool.
  public init(frame: UInt32) { self.frame = frame }

  /// Takes a page, with one reference.
  ///
  /// - Parameter zeroed: Whether the contents have to be zero.
  /// - Returns: Nil if neither the pool nor the kernel has a frame left.
  public static func allocate(zeroed: Bool) -> Page? {
    if PagePool.clean == noFrame && PagePool.used == noFrame {
      guard PagePool.grow() else { return nil }
    }
    // Zeroed pages are kept for those who need them, as far as there are others.
    let takesClean = PagePool.used == noFrame || (zeroed && PagePool.clean != noFrame)
    let frame = takesClean ? PagePool.clean : PagePool.used
    let record = unsafe PagePool.records + Int(frame)
    if takesClean { PagePool.clean = unsafe record.pointee.next } else { PagePool.used = unsafe record.pointee.next }
    unsafe record.pointee.count = 1
    PagePool.freePages -= 1
    let page = Page(frame: frame)
    if zeroed && !takesClean { unsafe runtime_zero_page(page.pointer) }
    return page
  }

  /// Adds a reference.
  @inline(__always) public func retain() {
    // SAFETY: the frame is in the pool, so below the frame count.
    PagePool.records[Int(frame)].count &+= 1
  }

  /// Ends a reference; with the last one the page goes back to the pool.
  @inline(__always) public func release() {
    let record = unsafe PagePool.records + Int(frame)
    unsafe record.pointee.count &-= 1
    if unsafe record.pointee.count == 0 {
      unsafe record.pointee.next = PagePool.used
      PagePool.used = frame
      PagePool.freePages += 1
    }
  }

  /// How many references there are.
  public var referenceCount: Int { Int(PagePool.records[Int(frame)].count) }

  /// Where the LibOS sees the page.
  var pointer: UnsafeMutableRawPointer {
    unsafe UnsafeMutableRawPointer(
      bitPattern: UInt(APUS_MODULE_BASE) + UInt(PagePool.records[Int(frame)].place) << 12
    ).unsafelyUnwrapped
  }

  /// The page's 4,096 bytes.
  public var bytes: Bytes { unsafe Bytes(base: pointer, count: 4096) }

  /// The page of the boot image that holds an offset, with one more reference.
  ///
  /// - Parameter offset: Page-aligned, inside the image.
  /// - Returns: The page, which the caller releases.
  public static func inImage(offset: UInt64) -> Page {
    let frame = PageTable.frame(of: PageTable.entry(at: UInt64(APUS_MODULE_BASE) + offset))
    let record = unsafe PagePool.records + Int(frame)
    unsafe record.pointee.place = UInt32(offset >> 12)
    unsafe record.pointee.count &+= 1
    return Page(frame: frame)
  }

  /// Pages that could still be allocated: in the pool or with the kernel.
  public static var freeCount: Int { PagePool.freePages + PagePool.obtainable }
  /// Pages that the family can have: all of the machine's, or its budget.
  public static var totalCount: Int { PagePool.totalPages }
}

/// The pool's own state.
enum PagePool {
  @safe nonisolated(unsafe) static var records: UnsafeMutablePointer<PageRecord> =
    unsafe UnsafeMutablePointer(bitPattern: UInt(APUS_LIBOS_BASE) + 0x60_0000_0000).unsafelyUnwrapped
  /// Free pages that are zero, and others.
  @safe nonisolated(unsafe) static var clean = noFrame
  @safe nonisolated(unsafe) static var used = noFrame
  @safe nonisolated(unsafe) static var freePages = 0
  @safe nonisolated(unsafe) static var totalPages = 0
  @safe nonisolated(unsafe) static var nextPlace: UInt32 = 0
  /// The family's budget, if another family set it.
  @safe nonisolated(unsafe) private static var budget: UnsafePointer<apus_account>?

  /// Pages that the kernel would still give.
  static var obtainable: Int {
    let free = Int(Information.page.frames_free)
    // SAFETY: the account table is mapped read-only in every address space.
    guard let frames = budget?.pointee.frames else { return free }
    return min(free, Int(frames.limit) - Int(frames.used))
  }

  /// Sets the pool up behind the module.
  static func start(imageSize: UInt64) {
    let count = Information.page.frame_count
    if FamilyPage.isThere {
      unsafe budget = Information.account(FamilyPage.account)
      totalPages = unsafe Int(Information.account(FamilyPage.account).pointee.frames.limit)
    } else {
      totalPages = Int(Information.page.frames_free)
    }
    nextPlace = UInt32((imageSize + 4095) >> 12) + 1
    BareFrames.map(
      at: UInt64(UInt(bitPattern: records)), bytes: count * UInt64(MemoryLayout<PageRecord>.stride))
  }

  /// Takes frames from the kernel and maps them.
  ///
  /// - Returns: False if the kernel has none.
  static func grow() -> Bool {
    if heldUntil != 0 {
      if Clock.ticks < heldUntil {
        if answersShortage() { return true }
      } else {
        heldUntil = 0
      }
    }
    if vacant.isEmpty, !Guard.isOn { return fill() }
    var count = BareFrames.take(upTo: 64)
    guard count > 0 else { return false }
    if !vacant.isEmpty {
      let filled = fillVacant(count)
      count -= filled
      for index in 0..<count { BareFrames.list[index] = BareFrames.list[index + filled] }
      if count == 0 { return true }
    }
    let address = UInt64(APUS_MODULE_BASE) + UInt64(nextPlace) << 12
    let bits = Guard.ownBits
    var index = 0
    while index < count {
      let frame = UInt32(truncatingIfNeeded: BareFrames.list[index])
      let record = unsafe records + Int(frame)
      unsafe record.pointee.count = 0
      unsafe record.pointee.place = nextPlace + UInt32(index)
      unsafe record.pointee.next = clean
      clean = frame
      BareFrames.list[index] = UInt64(frame) << 12 | bits
      index += 1
    }
    nextPlace += UInt32(count)
    freePages += count
    unsafe PageTable.writeShared(at: address, BareFrames.list, count: count)
    return true
  }

  /// Takes frames from the kernel that map themselves, in one call: their entries would have no protection key.
  ///
  /// - Returns: False if the kernel has none.
  private static func fill() -> Bool {
    let address = UInt64(APUS_MODULE_BASE) + UInt64(nextPlace) << 12
    let count = PageTable.fillShared(at: address, count: 64)
    guard count > 0 else { return false }
    let table = PageTable.table(at: address)
    let first = Int(address >> 12 & 511)
    var index = 0
    while index < count {
      let frame = PageTable.frame(of: table.load((first + index) * 8, as: UInt64.self))
      let record = unsafe records + Int(frame)
      unsafe record.pointee.count = 0
      unsafe record.pointee.place = nextPlace + UInt32(index)
      unsafe record.pointee.next = clean
      clean = frame
      index += 1
    }
    nextPlace += UInt32(count)
    freePages += count
    return true
  }
}

/// Frames that are not mapped anywhere: what page tables are made of.
enum BareFrames {
  /// Frame numbers or page-table entries on their way to the kernel.
  @safe nonisolated(unsafe) static let list: UnsafeMutablePointer<UInt64> =
    unsafe UnsafeMutableRawPointer(runtime_frame_list_address()).assumingMemoryBound(to: UInt64.self)
  @safe nonisolated(unsafe) private static var spare: UInt32 = noFrame

  /// Takes frames from the kernel into `list`, zeroed.
  static func take(upTo count: Int) -> Int {
    do throws(SystemCallError) {
      return Int(
        try kernelCall(
          .frameAllocate, CapabilitySlot.family, UInt64(UInt(bitPattern: list)), UInt64(count), 0))
    } catch { return 0 }
  }

  /// The same for the LibOS's own use: out of the pool, if the kernel has none.
  private static func takeForLibOS(upTo wanted: Int) -> Int {
    var count = take(upTo: wanted)
    guard count == 0 else { return count }
    while count < wanted, let frame = PagePool.unmapOne(zeroed: true) {
      list[count] = UInt64(frame)
      count += 1
    }
    if count == 0, SpareFrames.lend() { count = take(upTo: wanted) }
    return count
  }

  /// One frame that nothing maps; its contents do not matter.
  static func one() -> UInt32? {
    if spare != noFrame {
      let frame = spare
      spare = PagePool.records[Int(frame)].next
      return frame
    }
    var number: UInt64 = 0
    do throws(SystemCallError) {
      _ = try unsafe withUnsafeMutablePointer(to: &number) { (pointer) throws(SystemCallError) in
        try kernelCall(
          .frameAllocate, CapabilitySlot.family, UInt64(UInt(bitPattern: pointer)), 1,
          FrameAllocateFlags.dirty.rawValue)
      }
    } catch {
      if let frame = PagePool.unmapOne(zeroed: false) { return frame }
      return SpareFrames.lend() ? one() : nil
    }
    return UInt32(truncatingIfNeeded: number)
  }

  /// Keeps a frame that nothing maps any more.
  static func keep(_ frame: UInt32) {
    PagePool.records[Int(frame)].next = spare
    spare = frame
  }

  /// Maps fresh memory in the shared part of the address space, for the LibOS's own tables and heap.
  ///
  /// - Returns: False, with a part mapped, if there was too little.
  @discardableResult static func map(at address: UInt64, bytes: UInt64) -> Bool {
    var at = address
    let end = address + (bytes + 4095) & ~4095
    let bits = Guard.ownBits
    while at < end {
      let wanted = min(64, Int((end - at) >> 12))
      let count = takeForLibOS(upTo: wanted)
      guard count > 0 else { return false }
      var index = 0
      while index < count {
        list[index] = list[index] << 12 | bits
        index += 1
      }
      unsafe PageTable.writeShared(at: at, list, count: count)
      at += UInt64(count) << 12
    }
    return true
  }
}
