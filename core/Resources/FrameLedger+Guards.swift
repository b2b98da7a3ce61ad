// SPDX-License-Identifier: Apache-2.0
// FrameLedger+Guards.swift: longer guards, and pins, which keep a frame what it is.

import ApusABI
import ApusCapabilities
import CApusABI

extension FrameLedger {
  /// Gives an ordinary frame a longer guard, mapped and pinned or not: whoever reached the frame still does.
  ///
  /// - Throws: `noSuchResource` or `wrongType` if it is no ordinary frame, `denied` if the capability does not
  ///   reach it or the old guard is not a prefix of the new one, `invalid` if the name is malformed or no longer.
  public func setGuard(
    of frame: UInt64, to name: UInt64, length: UInt8, by capability: Capability
  ) throws(SystemCallError) {
    let frame = try frames.number(frame)
    let record = frames[frame]
    guard record.isOrdinary else { throw .wrongType }
    guard record.isReached(by: capability, needing: .write) else { throw .denied }
    guard length <= 8, name & ~nameMask(length: length) == 0, length > record.guard_length else { throw .invalid }
    guard (name ^ record.guard) & nameMask(length: record.guard_length) == 0 else { throw .denied }
    frames[frame].guard = name
    frames[frame].guard_length = length
  }

  /// Keeps a frame from changing its type or owner: a device, a sleeper's word or an environment needs it.
  ///
  /// - Throws: `noSuchResource` if it is no frame, `wrongType` if it is not ordinary, `exhausted` if the frame has
  ///   as many pins as its record can count.
  public func pin(_ frame: UInt64) throws(SystemCallError) {
    let frame = try frames.number(frame)
    guard frames[frame].isOrdinary else { throw .wrongType }
    guard frames[frame].pins < UInt16.max else { throw .exhausted }
    frames[frame].pins += 1
  }

  /// Ends one pin.
  ///
  /// - Precondition: The frame was pinned and the pin has not ended yet.
  public func unpin(_ frame: UInt32) { frames[frame].pins -= 1 }

  /// Pins an ordinary frame as the u-area of an environment; the pin ends as any other.
  ///
  /// Mapped or not, whoever may map it goes on doing so: until the pin ends nobody can free it or make it a table.
  ///
  /// - Throws: `noSuchResource` or `wrongType` if it is no ordinary frame, `denied` if it is another account's or
  ///   the capability does not reach it with the right to write, `exhausted` as for `pin`.
  public func pinUarea(_ frame: UInt64, account: UInt16, by capability: Capability) throws(SystemCallError) {
    _ = try frames.owned(frame, type: FrameType.ordinary, account: account, by: capability)
    try pin(frame)
  }

  /// Pins a frame that a device reads.
  ///
  /// - Throws: What `pin` throws; `denied` if the capability does not reach the frame with the right to read.
  public func pinForDevice(_ claimed: UInt64, by capability: Capability) throws(SystemCallError) -> UInt32 {
    let frame = try frames.number(claimed)
    guard frames[frame].isOrdinary else { throw .wrongType }
    guard frames[frame].isReached(by: capability, needing: .read) else { throw .denied }
    try pin(claimed)
    return frame
  }
}
