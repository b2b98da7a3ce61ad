// SPDX-License-Identifier: Apache-2.0
// SpareFrames.swift: frames that a family keeps to lose: what the kernel takes by force, it takes of these first.
//
// A family that cannot give back all it was asked for in time loses frames, and which these are it could not say
// afterwards: its LibOS's own may be among them. So it installs a repossession vector, whose list names frames that
// nothing maps and nobody needs. What was taken of them is replaced when there is memory again.

import ApusABI
import CRuntime

/// The family's repossession vector and the frames in its list.
public enum SpareFrames {
  /// How many there are at most: as many as the list has room for.
  private static var limit: Int { Int(APUS_REPOSSESSION_FIRST) }

  @safe nonisolated(unsafe) private static var vector: UnsafeMutablePointer<apus_repossession>?
  /// Entries of the list that stand for a frame, from its beginning on.
  public private(set) static var count: Int {
    get { Int(truncatingIfNeeded: vector?.pointee.first_count ?? 0) }
    set { vector?.pointee.first_count = UInt64(newValue) }
  }

  /// What the kernel has taken, a ring, and behind it the list of what to take first.
  private static var entries: UnsafeMutablePointer<UInt64> {
    // SAFETY: the vector is a page: eight words, the ring, the list.
    unsafe UnsafeMutableRawPointer(vector.unsafelyUnwrapped).assumingMemoryBound(to: UInt64.self) + 8
  }
  private static var first: UnsafeMutablePointer<UInt64> { unsafe entries + Int(APUS_REPOSSESSION_ENTRIES) }

  /// Installs the vector and fills its list.
  ///
  /// - Returns: False if there is no memory for it, or no room with the kernel.
  public static func start() -> Bool {
    guard unsafe vector == nil, let page = Page.allocate(zeroed: true) else { return unsafe vector != nil }
    do throws(SystemCallError) {
      try kernelCall(.repossessionVector, CapabilitySlot.family, UInt64(page.frame))
    } catch {
      page.release()
      return false
    }
    unsafe vector = page.pointer.assumingMemoryBound(to: apus_repossession.self)
    replace()
    return true
  }

  /// Takes out of the list what the kernel has taken, and fills it up.
  ///
  /// Somebody else's memory is not worth it: it is filled only as far as the kernel has frames to give.
  public static func replace() {
    guard unsafe vector != nil else { return }
    strikeTaken()
    while count < limit {
      let taken = BareFrames.take(upTo: min(limit - count, 64))
      guard taken > 0 else { return }
      for index in 0..<taken {
        unsafe first[count + index] =
          RevocationKind.frames.rawValue << UInt64(APUS_REPOSSESSION_KIND_SHIFT) | BareFrames.list[index]
      }
      count += taken
    }
  }

  /// Gives some back to the kernel, for the LibOS to take: there is no other memory left.
  ///
  /// - Returns: Whether any went.
  static func lend() -> Bool {
    var left = min(count, 16)
    var any = false
    while left > 0 {
      let last = count - 1
      var frame = unsafe first[last] & (1 << UInt64(APUS_REPOSSESSION_KIND_SHIFT) - 1)
      count = last
      left -= 1
      // The kernel may have taken it just now: then it is not this family's to give back.
      do throws(SystemCallError) {
        _ = try unsafe withUnsafeMutablePointer(to: &frame) { (pointer) throws(SystemCallError) in
          try kernelCall(.frameFree, CapabilitySlot.family, UInt64(UInt(bitPattern: pointer)), 1)
        }
        any = true
      } catch { continue }
    }
    return any
  }

  private static func strikeTaken() {
    let page = unsafe vector.unsafelyUnwrapped
    while unsafe page.pointee.consumed != page.pointee.written {
      let entry = unsafe entries[Int(page.pointee.consumed % UInt64(APUS_REPOSSESSION_ENTRIES))]
      var index = 0
      while index < count, unsafe first[index] != entry { index += 1 }
      if index < count {
        unsafe first[index] = unsafe first[count - 1]
        count -= 1
      }
      unsafe page.pointee.consumed += 1
    }
  }
}
