// SPDX-License-Identifier: Apache-2.0
// FrameLedger.swift: which frames are free, and the way from free to owned and back.
//
// The free list runs through the records of the free frames themselves: `mappings` is the next frame,
// `writable_mappings` the previous one, so that a frame can be taken from the middle when it is asked for by
// name. A free record keeps its last guard: whoever takes the frame under that same guard may have it without
// zeroing, as the contents are its own.

import ApusABI
import ApusCapabilities
import CApusABI

/// The end of the free list.
let noFrame = UInt32.max

/// The ledger of physical frames.
public struct FrameLedger<Frames: FrameStorage, Accounts: RecordTable<apus_account>> {
  /// The frame table.
  public let frames: Frames
  /// Who is charged for the frames.
  public let accounts: AccountLedger<Accounts>
  /// The first frame of the free list.
  var freeHead: UInt32
  /// How many frames are free.
  public internal(set) var freeCount: UInt32
  /// The flush epoch that a frame given back now has to wait for; 0 when no CPU can have a stale translation.
  public var flushEpoch: UInt32 = 0
  /// The queue of frames that wait for theirs.
  var coolingHead = noFrame
  var coolingTail = noFrame

  /// Starts a ledger over a frame table whose records are all zero: every frame absent.
  public init(frames: Frames, accounts: AccountLedger<Accounts>) {
    self.frames = frames
    self.accounts = accounts
    freeHead = noFrame
    freeCount = 0
  }

  // MARK: Boot

  /// Puts absent frames on the free list, lowest first.
  ///
  /// - Precondition: The range lies in the frame table and each frame in it is absent.
  public mutating func addFree(_ range: Range<UInt32>) {
    precondition(range.upperBound <= frames.count)
    guard !range.isEmpty else { return }
    for frame in range {
      precondition(frames[frame].type == FrameType.absent)
      var record = apus_frame()
      record.type = FrameType.free
      record.mappings = frame + 1 < range.upperBound ? frame + 1 : freeHead
      record.writable_mappings = frame > range.lowerBound ? frame - 1 : noFrame
      frames[frame] = record
    }
    if freeHead != noFrame { frames[freeHead].writable_mappings = range.upperBound - 1 }
    freeHead = range.lowerBound
    freeCount += UInt32(range.count)
  }

  /// Marks absent frames as the kernel's own; they never change again.
  ///
  /// - Precondition: The range lies in the frame table and each frame in it is absent.
  public mutating func reserveForKernel(_ range: Range<UInt32>) {
    precondition(range.upperBound <= frames.count)
    for frame in range {
      precondition(frames[frame].type == FrameType.absent)
      frames[frame].type = FrameType.kernel
    }
  }

  // MARK: The free list

  /// Takes a free frame off the list.
  private mutating func unlink(_ frame: UInt32) {
    let record = frames[frame]
    if record.writable_mappings == noFrame {
      freeHead = record.mappings
    } else {
      frames[record.writable_mappings].mappings = record.mappings
    }
    if record.mappings != noFrame {
      frames[record.mappings].writable_mappings = record.writable_mappings
    }
    freeCount -= 1
  }

  /// Gives an unused frame back; its guard stays, its account is no longer charged.
  mutating func putBack(_ frame: UInt32) {
    accounts.release(.frames, 1, of: frames[frame].account)
    if flushEpoch == 0 { release(frame) } else { cool(frame, for: nil) }
  }

  /// Puts an unused frame at the head of the list.
  mutating func release(_ frame: UInt32) {
    var record = frames[frame]
    record.type = FrameType.free
    record.mappings = freeHead
    record.writable_mappings = noFrame
    record.account = 0
    record.pins = 0
    record.reserved = 0
    frames[frame] = record
    if freeHead != noFrame { frames[freeHead].writable_mappings = frame }
    freeHead = frame
    freeCount += 1
  }

  // MARK: Allocation

  /// Takes a frame off the free list for an account, which has been charged.
  ///
  /// - Returns: Whether the contents are somebody else's and have to be zeroed before the owner sees them.
  mutating func take(_ frame: UInt32, under owner: Capability, account: UInt16) -> Bool {
    unlink(frame)
    var record = frames[frame]
    let isForeign = record.guard != owner.name || record.guard_length != owner.length
    record.guard = owner.name
    record.guard_length = owner.length
    record.mappings = 0
    record.writable_mappings = 0
    record.account = account
    record.type = FrameType.ordinary
    frames[frame] = record
    return isForeign
  }

  /// Charges an account for free frames, as many as there are and it may have, up to `count`.
  ///
  /// - Throws: `exhausted` if no frame is free, or `flushPending` if one will be; `quotaExceeded` if the account's
  ///   budget has no room at all.
  @inline(__always) func chargeUp(to count: Int, _ account: UInt16) throws(SystemCallError) -> Int {
    guard freeHead != noFrame else { throw isCooling ? .flushPending : .exhausted }
    let granted = min(UInt32(truncatingIfNeeded: count), min(freeCount, accounts.room(.frames, of: account)))
    guard granted > 0 else { throw .quotaExceeded }
    accounts.book(.frames, granted, to: account)
    return Int(truncatingIfNeeded: granted)
  }

  /// Takes up to `count` frames, whichever are free, and zeroes them unless the old contents will do.
  ///
  /// With `keepsOwn` a frame that the same guard held last is not zeroed.
  ///
  /// - Returns: How many frames were taken; their numbers are in the list.
  /// - Throws: `denied` if the capability cannot write; what `chargeUp` throws.
  public mutating func allocate(
    _ count: Int, into list: some FrameList, under owner: Capability, account: UInt16, keepsOwn: Bool,
    memory: some TableMemory
  ) throws(SystemCallError) -> Int {
    guard owner.rights.contains(.write) else { throw .denied }
    if count == 0 { return 0 }
    let granted = try chargeUp(to: count, account)
    for index in 0..<granted {
      let frame = freeHead
      if take(frame, under: owner, account: account) || !keepsOwn { memory.zero(frame: frame) }
      list[index] = UInt64(frame)
    }
    return granted
  }

  /// Takes the frames that a list names: all of them or none.
  ///
  /// With `keepsOwn` a frame that the same guard held last is not zeroed.
  ///
  /// - Throws: `denied` if the capability cannot write, `noSuchResource` for a number without usable memory,
  ///   `inUse` for a frame that is not free, `invalid` for a frame that is named twice, `quotaExceeded` if the
  ///   account's budget has not room for all.
  public mutating func allocateNamed(
    _ count: Int, in list: some FrameList, under owner: Capability, account: UInt16, keepsOwn: Bool,
    memory: some TableMemory
  ) throws(SystemCallError) {
    guard owner.rights.contains(.write) else { throw .denied }
    guard count <= Int(accounts.room(.frames, of: account)) else { throw .quotaExceeded }
    try checkEach(count, of: list) { (record) throws(SystemCallError) in
      switch record.type {
      case FrameType.free: return
      case FrameType.cooling: throw .flushPending
      case FrameType.absent, FrameType.kernel: throw .noSuchResource
      default: throw .inUse
      }
    }
    accounts.book(.frames, UInt32(count), to: account)
    for index in 0..<count {
      let frame = UInt32(truncatingIfNeeded: list[index])
      if take(frame, under: owner, account: account) || !keepsOwn { memory.zero(frame: frame) }
    }
  }

  /// Gives the frames of a list back: all of them or none.
  ///
  /// - Throws: `noSuchResource` for a number that is no frame, `wrongType` for a frame that is not ordinary,
  ///   `denied` for one out of the capability's reach, `inUse` for one that is mapped or pinned, `invalid` for
  ///   one that is named twice.
  public mutating func free(
    _ count: Int, of list: some FrameList, by capability: Capability
  ) throws(SystemCallError) {
    try checkUnused(count, of: list, by: capability, leavesMarks: true)
    for index in 0..<count {
      let frame = UInt32(truncatingIfNeeded: list[index])
      frames[frame].reserved = 0
      putBack(frame)
    }
  }

  /// Gives the frames of a list, with what is in them, to another account: all of them or none.
  ///
  /// They have the receiver's name then. Whoever holds a capability that can take frames for an account may also give it
  /// some: it is charged for them either way.
  ///
  /// - Throws: What `free` throws; `denied` if the receiver's capability cannot write, `quotaExceeded` if its account's
  ///   budget has not room for all, `flushPending` while another CPU may have a translation to one of them.
  public func transfer(
    _ count: Int, of list: some FrameList, by capability: Capability, to receiver: Capability, account: UInt16
  ) throws(SystemCallError) {
    guard receiver.rights.contains(.write) else { throw .denied }
    guard flushEpoch == 0 else { throw .flushPending }
    try checkUnused(count, of: list, by: capability)
    try accounts.charge(.frames, UInt32(count), to: account)
    for index in 0..<count {
      let frame = UInt32(truncatingIfNeeded: list[index])
      accounts.release(.frames, 1, of: frames[frame].account)
      frames[frame].guard = receiver.name
      frames[frame].guard_length = receiver.length
      frames[frame].account = account
    }
  }

  /// Checks that the frames of a list are ordinary, used by nobody and in a capability's reach.
  private func checkUnused(
    _ count: Int, of list: some FrameList, by capability: Capability, leavesMarks: Bool = false
  ) throws(SystemCallError) {
    try checkEach(count, of: list, leavesMarks: leavesMarks) { (record) throws(SystemCallError) in
      guard record.isOrdinary else { throw .wrongType }
      guard record.isReached(by: capability, needing: .write) else { throw .denied }
      guard record.isUnused else { throw .inUse }
    }
  }

  /// Checks each frame of a list, and that none is named twice: each record is marked until all are checked, or longer
  /// for a caller that goes through them anyway.
  private func checkEach(
    _ count: Int, of list: some FrameList, leavesMarks: Bool = false,
    unless check: (apus_frame) throws(SystemCallError) -> Void
  ) throws(SystemCallError) {
    var marked = 0
    defer {
      if !leavesMarks || marked < count {
        for index in 0..<marked { frames[UInt32(truncatingIfNeeded: list[index])].reserved = 0 }
      }
    }
    while marked < count {
      let frame = try frames.number(list[marked])
      guard frames[frame].reserved == 0 else { throw .invalid }
      try check(frames[frame])
      frames[frame].reserved = 1
      marked += 1
    }
  }
}
