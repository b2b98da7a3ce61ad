// SPDX-License-Identifier: Apache-2.0
// Timeline.swift: who owns which slice of a CPU's time, and whose turn is next.

import ApusABI
import ApusCapabilities
import CApusABI

/// What comes next on a timeline.
public enum NextSlice: Equatable, Sendable {
  /// This slice runs.
  case slice(UInt32)
  /// In a whole round nobody ran, but somebody paid with a turn: ask again after a slice's time.
  case forfeited
  /// In a whole round nobody could run.
  case nobody
}

/// The slices of a CPU, used in the order of their numbers, again and again.
public struct Timeline<Slices: RecordTable<apus_slice>> {
  /// The records.
  public let slices: Slices
  /// All slices from here on are free.
  public private(set) var highWater: UInt32

  /// Starts a timeline and marks every slice free.
  public init(slices: Slices) {
    self.slices = slices
    highWater = 0
    for index in 0..<slices.count {
      slices[index].environment = UInt32(APUS_SLICE_FREE)
      slices[index].used = 0
    }
  }

  /// The slot of the environment that owns a slice.
  public func owner(of index: UInt32) -> UInt32? {
    guard index < slices.count, slices[index].environment != UInt32(APUS_SLICE_FREE) else { return nil }
    return slices[index].environment
  }

  /// Gives a slice to a live environment: the one that it wants, or the lowest that is free.
  ///
  /// - Returns: The slice.
  /// - Throws: `noSuchResource` for a number beyond the timeline, `inUse` for a slice that is owned,
  ///   `exhausted` if none is free, `quotaExceeded` if the budget of the environment's account has no room.
  public mutating func allocate(
    _ wanted: UInt64?, for slot: UInt32,
    in table: EnvironmentTable<some RecordTable<apus_environment>, some RecordTable<apus_account>>
  ) throws(SystemCallError) -> UInt32 {
    var index: UInt32 = 0
    if let wanted {
      guard wanted < UInt64(slices.count) else { throw .noSuchResource }
      index = UInt32(truncatingIfNeeded: wanted)
      guard slices[index].environment == UInt32(APUS_SLICE_FREE) else { throw .inUse }
    } else {
      while index < highWater, slices[index].environment != UInt32(APUS_SLICE_FREE) { index += 1 }
      guard index < slices.count else { throw .exhausted }
    }
    try table.accounts.charge(.slices, 1, to: table.environments[slot].account)
    slices[index].environment = slot
    slices[index].used = 0
    table.environments[slot].slices_owned += 1
    highWater = max(highWater, index + 1)
    return index
  }

  /// Gives a slice back.
  ///
  /// - Throws: `noSuchResource` if there is no such slice or it is free, `denied` if the capability does not
  ///   reach its owner with the right to write.
  public mutating func free(
    _ index: UInt64, by capability: Capability,
    in table: EnvironmentTable<some RecordTable<apus_environment>, some RecordTable<apus_account>>
  ) throws(SystemCallError) {
    guard index < UInt64(slices.count) else { throw .noSuchResource }
    let index = UInt32(truncatingIfNeeded: index)
    guard let slot = owner(of: index) else { throw .noSuchResource }
    guard table.environments[slot].isReached(by: capability, needing: .write) else { throw .denied }
    take(index, of: slot, in: table)
  }

  /// Gives all slices of an environment back.
  ///
  /// - Complexity: O(slices that are in use).
  public mutating func freeAll(
    of slot: UInt32, in table: EnvironmentTable<some RecordTable<apus_environment>, some RecordTable<apus_account>>
  ) {
    var index: UInt32 = 0
    while index < highWater, table.environments[slot].slices_owned > 0 {
      if slices[index].environment == slot { take(index, of: slot, in: table) }
      index += 1
    }
  }

  /// Ends an environment's ownership of a slice.
  ///
  /// - Precondition: The slice is owned by the environment in that slot.
  mutating func take(
    _ index: UInt32, of slot: UInt32,
    in table: EnvironmentTable<some RecordTable<apus_environment>, some RecordTable<apus_account>>
  ) {
    slices[index].environment = UInt32(APUS_SLICE_FREE)
    table.environments[slot].slices_owned -= 1
    table.accounts.release(.slices, 1, of: table.environments[slot].account)
    while highWater > 0, slices[highWater - 1].environment == UInt32(APUS_SLICE_FREE) { highWater -= 1 }
  }

  /// Finds the slice that runs after another, in at most one round.
  ///
  /// - Parameters:
  ///   - index: The slice that ran last; any number will do.
  ///   - takeTurn: Tells what an environment's turn comes to; asked once for each slice passed.
  /// - Returns: What comes next.
  public func next(after index: UInt32, takeTurn: (UInt32) -> Turn) -> NextSlice {
    var candidate = index
    var sawForfeit = false
    for _ in 0..<highWater {
      candidate = candidate < highWater - 1 ? candidate + 1 : 0
      let slot = slices[candidate].environment
      if slot == UInt32(APUS_SLICE_FREE) { continue }
      switch takeTurn(slot) {
      case .runs: return .slice(candidate)
      case .forfeits: sawForfeit = true
      case .waits: continue
      }
    }
    return sawForfeit ? .forfeited : .nobody
  }

  /// Counts a run of a slice.
  public func countRun(of index: UInt32) { slices[index].used &+= 1 }
}
