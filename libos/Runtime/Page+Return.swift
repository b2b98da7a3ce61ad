// SPDX-License-Identifier: Apache-2.0
// Page+Return.swift: pages that go back to the kernel, and the places that they leave in the pool.

import ApusABI
import CRuntime

extension Page {
  /// Free pages of the pool, which nobody uses now.
  public static var pooledCount: Int { PagePool.freePages }

  /// Gives free pages of the pool back to the kernel.
  ///
  /// - Parameter count: How many at most.
  /// - Returns: How many went.
  public static func giveBack(_ count: Int) -> Int {
    var left = min(count, PagePool.freePages)
    var total = 0
    while left > 0 {
      let batch = PagePool.unmapFree(min(left, 64))
      guard batch > 0 else { break }
      do throws(SystemCallError) {
        try kernelCall(
          .frameFree, CapabilitySlot.family, UInt64(UInt(bitPattern: BareFrames.list)), UInt64(batch))
      } catch { runtimePanic("the kernel refused a frame that is given back", UInt64(error.rawValue)) }
      total += batch
      left -= batch
    }
    return total
  }
}

extension Page {
  /// Takes no more frames for the pool until a time in ticks.
  ///
  /// What was given back must not be taken again before the kernel has looked. Whoever needs a page meanwhile needs
  /// another one to go.
  public static func holdPool(until deadline: UInt64) { PagePool.heldUntil = max(PagePool.heldUntil, deadline) }
}

extension PagePool {
  @safe nonisolated(unsafe) static var heldUntil: UInt64 = 0
  @safe nonisolated(unsafe) private static var isAnswering = false

  /// Has the pager make room; false if no page came free, and the kernel has to be asked after all.
  static func answersShortage() -> Bool {
    guard !isAnswering, let answer = PageShortage.answer else { return false }
    isAnswering = true
    defer { isAnswering = false }
    return answer(PageServer.batch) && freePages > 0
  }

  /// Places without a page, in a list through the records of nothing: the numbers themselves.
  @safe nonisolated(unsafe) static var vacant: [UInt32] = []

  /// Takes free pages out of the pool; their frames are in the list of bare frames then, mapped nowhere.
  static func unmapFree(_ count: Int) -> Int {
    // The list of places grows first: that may itself need pages.
    vacant.reserveCapacity(vacant.count + count)
    var taken = 0
    while taken < count {
      let frame: UInt32
      if used != noFrame {
        frame = used
        used = records[Int(frame)].next
      } else if clean != noFrame {
        frame = clean
        clean = records[Int(frame)].next
      } else {
        break
      }
      let place = records[Int(frame)].place
      PageTable.unmap(root: Runtime.currentRoot, at: UInt64(APUS_MODULE_BASE) + UInt64(place) << 12, count: 1)
      vacant.append(place)
      BareFrames.list[taken] = UInt64(frame)
      freePages -= 1
      taken += 1
    }
    return taken
  }

  /// Makes room to note so many pages that leave the pool for the LibOS's own use: in a family with a budget.
  static func reserveReturns() { vacant.reserveCapacity(8192) }

  /// Takes a free page out of the pool for the LibOS itself, which has no other frame left.
  ///
  /// It takes no memory: this is where memory comes from.
  ///
  /// - Parameter zeroed: Whether the contents have to be zero.
  /// - Returns: Its frame, mapped nowhere; nil if there is none.
  static func unmapOne(zeroed: Bool) -> UInt32? {
    guard vacant.count < vacant.capacity else { return nil }
    let takesClean = clean != noFrame && (zeroed || used == noFrame)
    let frame = takesClean ? clean : used
    guard frame != noFrame else { return nil }
    if takesClean { clean = records[Int(frame)].next } else { used = records[Int(frame)].next }
    if zeroed, !takesClean { unsafe runtime_zero_page(Page(frame: frame).pointer) }
    let place = records[Int(frame)].place
    PageTable.unmap(root: Runtime.currentRoot, at: UInt64(APUS_MODULE_BASE) + UInt64(place) << 12, count: 1)
    vacant.append(place)
    freePages -= 1
    return frame
  }

  /// Maps the first frames of a list at places that are vacant.
  ///
  /// - Returns: How many there were places for.
  static func fillVacant(_ count: Int) -> Int {
    var index = 0
    while index < count, let place = vacant.popLast() {
      let frame = UInt32(truncatingIfNeeded: BareFrames.list[index])
      records[Int(frame)].count = 0
      records[Int(frame)].place = place
      var entry = UInt64(frame) << 12 | Guard.ownBits
      unsafe withUnsafePointer(to: &entry) { pointer in
        unsafe PageTable.writeShared(at: UInt64(APUS_MODULE_BASE) + UInt64(place) << 12, pointer, count: 1)
      }
      records[Int(frame)].next = clean
      clean = frame
      freePages += 1
      index += 1
    }
    return index
  }
}
