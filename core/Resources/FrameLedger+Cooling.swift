// SPDX-License-Identifier: Apache-2.0
// FrameLedger+Cooling.swift: frames that some CPU may still reach through a translation that it has not forgotten.
//
// A frame that is given back, or a table that becomes an ordinary frame, while a flush epoch is open goes to the end
// of a queue, with the epoch in its record. Nobody can use it before every CPU has passed that epoch. The queue runs
// through the records like the free list: `mappings` is the next frame.

import ApusABI
import CApusABI

extension FrameLedger {
  /// Whether frames wait for an epoch.
  public var isCooling: Bool { coolingHead != noFrame }

  /// The most frames that one call of `settle` takes off the queue.
  public static var settleLimit: Int { 64 }

  /// Puts an unused frame at the queue's end; with an account it returns to it, without one it becomes free.
  mutating func cool(_ frame: UInt32, for account: UInt16?) {
    frames[frame].type = FrameType.cooling
    frames[frame].mappings = noFrame
    frames[frame].writable_mappings = 0
    frames[frame].pins = 0
    frames[frame].flush_epoch = flushEpoch
    frames[frame].account = account ?? 0
    frames[frame].reserved = account == nil ? 0 : 1
    if coolingTail == noFrame { coolingHead = frame } else { frames[coolingTail].mappings = frame }
    coolingTail = frame
  }

  /// A frame that was a page table until now: ordinary only when no CPU can walk through it any more.
  ///
  /// One that is still linked is left alone.
  public mutating func coolTable(_ frame: UInt32) {
    guard frames[frame].isOrdinary, frames[frame].isUnused else { return }
    cool(frame, for: frames[frame].account)
  }

  /// Takes frames off the queue whose epoch every CPU has passed.
  ///
  /// - Parameter epoch: The last epoch that all CPUs have passed; epochs wrap.
  public mutating func settle(upTo epoch: UInt32) {
    var left = Self.settleLimit
    while coolingHead != noFrame, left > 0 {
      let frame = coolingHead
      guard Int32(bitPattern: epoch &- frames[frame].flush_epoch) >= 0 else { return }
      coolingHead = frames[frame].mappings
      if coolingHead == noFrame { coolingTail = noFrame }
      let returns = frames[frame].reserved != 0
      frames[frame].mappings = 0
      frames[frame].reserved = 0
      frames[frame].flush_epoch = 0
      if returns { frames[frame].type = FrameType.ordinary } else { release(frame) }
      left -= 1
    }
  }
}
