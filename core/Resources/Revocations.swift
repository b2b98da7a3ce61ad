// SPDX-License-Identifier: Apache-2.0
// Revocations.swift: who is asked to give back what until when, and what everybody keeps whatever is asked.
//
// A request is a level and a time: from the deadline on the account may hold so many and no more. Which ones it gives
// back is its own affair, and taking others meanwhile gains it nothing. With what it gives back goes as much of its
// budget, so that what it takes afterwards is out of what it has left. Requests add up; the earliest deadline counts,
// and the budget goes to whoever asked with the shortest name. Nobody can withdraw one: the account itself could, then.

import ApusABI
import CApusABI

extension apus_revocation {
  /// The request of a kind.
  public subscript(kind: RevocationKind) -> apus_revocation_request {
    get {
      switch kind {
      case .frames: frames
      case .slices: slices
      }
    }
    set {
      switch kind {
      case .frames: frames = newValue
      case .slices: slices = newValue
      }
    }
  }
}

/// A request whose deadline has passed.
public struct DueRevocation: Equatable, Sendable {
  /// Its record in the table.
  public let index: UInt32
  /// Whose it is.
  public let account: UInt16
  /// What is asked for.
  public let kind: RevocationKind
  /// How many the account may hold now: the goal, or its minimum if that is more.
  public let allowed: UInt32

  /// Names a request that is overdue.
  public init(index: UInt32, account: UInt16, kind: RevocationKind, allowed: UInt32) {
    self.index = index
    self.account = account
    self.kind = kind
    self.allowed = allowed
  }
}

extension RevocationKind {
  /// The number in an entry of a repossession vector that names a resource of this kind.
  public func number(in entry: UInt64) -> UInt64? {
    let shift = UInt64(APUS_REPOSSESSION_KIND_SHIFT)
    return entry >> shift == rawValue ? entry & (1 << shift - 1) : nil
  }

  /// The budget that goes with what is given back.
  public var budget: AccountKind {
    switch self {
    case .frames: .frames
    case .slices: .slices
    }
  }
}

extension AccountLedger {
  /// Moves budget that an account does not use to another account, as far as there is so much.
  public func cede(_ kind: AccountKind, _ count: UInt32, from account: UInt16, to heir: UInt16) {
    guard account != heir, UInt32(account) < accounts.count, UInt32(heir) < accounts.count else { return }
    let amount = min(count, room(kind, of: account))
    accounts[UInt32(account)][kind].limit &-= amount
    accounts[UInt32(heir)][kind].limit &+= amount
  }
}

/// The table of requests, minimums and repossession vectors.
public struct Revocations<Records: RecordTable<apus_revocation>> {
  /// The records.
  public let records: Records
  /// All records from here on are free.
  public private(set) var highWater: UInt32 = 0
  /// The earliest deadline of all requests; the greatest number if there are none.
  public private(set) var nextDeadline = UInt64.max
  /// Whether some account owes time.
  public private(set) var hasDebt = false

  /// What an account keeps unless its guarantor says otherwise.
  public static var defaultMinimumFrames: UInt32 { 32 }
  /// What an account keeps unless its guarantor says otherwise.
  public static var defaultMinimumSlices: UInt32 { 1 }

  /// Starts a table over records that are all zero.
  public init(records: Records) { self.records = records }

  // MARK: Records

  /// The record of an account, if it has one.
  ///
  /// - Complexity: O(records in use).
  public func index(of account: UInt16) -> UInt32? {
    guard account != 0 else { return nil }
    for index in 0..<highWater where records[index].account == account { return index }
    return nil
  }

  /// The record of an account; if it has none, a free one as it would be.
  ///
  /// - Throws: `exhausted` if none is free.
  public func record(of account: UInt16) throws(SystemCallError) -> (index: UInt32, value: apus_revocation) {
    if let index = index(of: account) { return (index, records[index]) }
    var index: UInt32 = 0
    while index < highWater, records[index].account != 0 { index += 1 }
    guard index < records.count else { throw .exhausted }
    var record = apus_revocation()
    record.account = account
    record.frames.minimum = Self.defaultMinimumFrames
    record.slices.minimum = Self.defaultMinimumSlices
    return (index, record)
  }

  private mutating func set(_ index: UInt32, _ record: apus_revocation) {
    records[index] = record
    highWater = max(highWater, index + 1)
  }

  /// Forgets an account that has no environment left.
  ///
  /// - Returns: The frame of its vector, which is to be unpinned, or 0.
  public mutating func forget(_ account: UInt16) -> UInt32 {
    guard let index = index(of: account) else { return 0 }
    let frame = records[index].vector_frame
    records[index] = apus_revocation()
    while highWater > 0, records[highWater - 1].account == 0 { highWater -= 1 }
    refresh()
    return frame
  }

  /// Recomputes what is asked on hot paths.
  private mutating func refresh() {
    nextDeadline = UInt64.max
    hasDebt = false
    for index in 0..<highWater {
      let (frames, slices) = (records[index].frames.deadline, records[index].slices.deadline)
      if frames != 0 { nextDeadline = min(nextDeadline, frames) }
      if slices != 0 { nextDeadline = min(nextDeadline, slices) }
      if records[index].debt_ticks != 0 { hasDebt = true }
    }
  }

  // MARK: Asking

  /// Sets what an account keeps.
  ///
  /// - Throws: `exhausted` if there is no record for it.
  public mutating func setMinimum(
    _ minimum: UInt32, of kind: RevocationKind, account: UInt16
  ) throws(SystemCallError) {
    var (index, record) = try record(of: account)
    record[kind].minimum = minimum
    set(index, record)
  }

  /// Asks an account for a number of resources.
  ///
  /// - Parameters:
  ///   - count: How many; not 0.
  ///   - kind: Of what.
  ///   - account: Of whom; not 0.
  ///   - held: How many it holds now.
  ///   - deadline: Until when; not 0.
  ///   - requester: The account that gets the budget.
  ///   - authority: The length of the name by which it asks.
  /// - Returns: How many more than were asked for already it has to give back.
  /// - Throws: `exhausted` if nothing is left above its minimum, or there is no record for it.
  public mutating func request(
    _ count: UInt32, of kind: RevocationKind, from account: UInt16, held: UInt32, deadline: UInt64,
    requester: UInt16, authority: UInt8
  ) throws(SystemCallError) -> UInt32 {
    var (index, record) = try record(of: account)
    var request = record[kind]
    let isFirst = request.deadline == 0
    let current = isFirst ? held : min(held, request.goal)
    guard current > request.minimum else { throw .exhausted }
    let granted = min(count, current - request.minimum)
    if isFirst || authority <= request.authority {
      request.requester = requester
      request.authority = authority
    }
    request.goal = current - granted
    request.deadline = isFirst ? deadline : min(deadline, request.deadline)
    request.granted &+= granted
    record[kind] = request
    set(index, record)
    nextDeadline = min(nextDeadline, request.deadline)
    return granted
  }

  /// How many an account still has to give back.
  public func outstanding(_ kind: RevocationKind, from account: UInt16, held: UInt32) -> UInt32 {
    guard let index = index(of: account) else { return 0 }
    let request = records[index][kind]
    guard request.deadline != 0, held > request.goal else { return 0 }
    return held - request.goal
  }

  // MARK: Taking

  /// A request whose deadline has passed, if there is one.
  public func due(at now: UInt64) -> DueRevocation? {
    guard now >= nextDeadline else { return nil }
    for index in 0..<highWater {
      if let due = due(index, .frames, now) ?? due(index, .slices, now) { return due }
    }
    return nil
  }

  private func due(_ index: UInt32, _ kind: RevocationKind, _ now: UInt64) -> DueRevocation? {
    let request = records[index][kind]
    guard request.deadline != 0, now >= request.deadline else { return nil }
    return DueRevocation(
      index: index, account: records[index].account, kind: kind, allowed: max(request.goal, request.minimum))
  }

  /// Ends a request: what was asked for is there, or has been taken as far as it could be.
  ///
  /// - Parameters:
  ///   - due: The request.
  ///   - missed: How many could not be taken.
  /// - Returns: To whom the account loses how much of its budget.
  public mutating func close(_ due: DueRevocation, missed: UInt32) -> (requester: UInt16, granted: UInt32) {
    let old = records[due.index][due.kind]
    var request = apus_revocation_request()
    request.minimum = old.minimum
    request.taken = old.taken
    request.missed = old.missed &+ missed
    records[due.index][due.kind] = request
    refresh()
    return (old.requester, old.granted)
  }

  /// Counts a resource that was taken, and finds its place in the repossession vector.
  ///
  /// - Parameters:
  ///   - index: The account's record.
  ///   - kind: What was taken.
  ///   - consumed: How far the LibOS says that it has read; any number is possible.
  /// - Returns: The entry to write, if the vector exists and has room.
  public func noteTaken(_ index: UInt32, _ kind: RevocationKind, consumed: UInt64) -> Int? {
    records[index][kind].taken &+= 1
    let written = records[index].vector_written
    let room = UInt64(APUS_REPOSSESSION_ENTRIES)
    guard records[index].vector_frame != 0, consumed <= written, written - consumed < room else { return nil }
    records[index].vector_written = written + 1
    return Int(truncatingIfNeeded: written % room)
  }

  // MARK: The vector

  /// Makes a frame an account's repossession vector; 0: none any more.
  ///
  /// - Returns: The frame that was it before, or 0.
  /// - Throws: `exhausted` if there is no record for the account.
  public mutating func setVector(_ frame: UInt32, of account: UInt16) throws(SystemCallError) -> UInt32 {
    var (index, record) = try record(of: account)
    let old = record.vector_frame
    record.vector_frame = frame
    record.vector_written = 0
    set(index, record)
    return old
  }

  // MARK: Debts

  /// Charges an account for the kernel's work.
  public mutating func charge(_ account: UInt16, ticks: UInt64) {
    guard ticks != 0, let index = index(of: account) else { return }
    records[index].debt_ticks &+= ticks
    hasDebt = true
  }

  /// Whether an account pays with its turn for a slice's worth of work that the kernel did because of it.
  ///
  /// - Parameters:
  ///   - account: Whose turn it is.
  ///   - sliceTicks: The length of a slice; not 0.
  /// - Returns: Whether it pays; a slice's worth less is owed then.
  public mutating func pays(_ account: UInt16, sliceTicks: UInt64) -> Bool {
    guard hasDebt, let index = index(of: account), records[index].debt_ticks >= sliceTicks else { return false }
    records[index].debt_ticks -= sliceTicks
    if records[index].debt_ticks == 0 { refresh() }
    return true
  }
}
