// SPDX-License-Identifier: Apache-2.0
// Contracts.swift: guaranteed time on one CPU: so much in each period, whatever others do.
//
// Earliest deadline first among the contracts that have budget left. An environment that wakes in the middle of a
// period goes on with what it has left only if that does not exceed its share of the time to its deadline; otherwise a
// new period begins (the wake-up rule of constant-bandwidth servers). So no pattern of sleeping takes more than the
// share, and as long as the shares' sum stays below one, every deadline can be met.

import ApusABI
import ApusCapabilities
import CApusABI

/// What contracts a CPU admits.
///
/// Times are in counter ticks, shares in millionths of a CPU.
public struct ContractLimits: Sendable {
  /// The shortest and the longest period.
  public let shortestPeriod, longestPeriod: UInt64
  /// The shortest slice.
  public let shortestSlice: UInt64
  /// What a switch to an environment and back costs at most: admission counts it once in each period, and what is left
  /// of a budget below this is added to the next one instead of being run.
  public let switchCost: UInt64
  /// The most that all contracts of the CPU have together.
  public let shareLimit: UInt64

  /// The limits of a machine.
  ///
  /// The shortest period is long against the kernel's longest path, which no interrupt breaks; the longest lets
  /// products of two times fit in 64 bits.
  ///
  /// - Parameter ticksPerSecond: Of the counter.
  public init(ticksPerSecond: UInt64) {
    shortestPeriod = max(2, ticksPerSecond / 2000)
    longestPeriod = 1 << 31
    shortestSlice = max(1, ticksPerSecond / 40_000)
    switchCost = max(1, ticksPerSecond / 200_000)
    shareLimit = 900_000
  }
}

/// The contracts of a CPU.
public struct Contracts<Records: RecordTable<apus_contract>> {
  /// The records.
  public let records: Records
  /// What is admitted.
  public let limits: ContractLimits
  /// The CPU's number, part of each contract's name.
  public let processor: UInt32
  /// All records from here on are free.
  public private(set) var highWater: UInt32

  /// Starts a table and marks every record free.
  public init(records: Records, limits: ContractLimits, processor: UInt32) {
    self.records = records
    self.limits = limits
    self.processor = processor
    highWater = 0
    for index in 0..<records.count {
      records[index].environment = UInt32(APUS_CONTRACT_FREE)
      records[index].deadline = 0
    }
  }

  // MARK: Names

  /// A contract's name: never used again for another contract within 2^31 generations of its record.
  public func name(of index: UInt32) -> UInt64 {
    UInt64(records[index].generation) << 32 | UInt64(processor) << 16 | UInt64(index)
  }

  /// The CPU that a contract's name says.
  public static func processor(of name: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: name >> 16 & 0xffff) }

  /// The record of a contract in force.
  private func index(of name: UInt64) throws(SystemCallError) -> UInt32 {
    let index = UInt32(truncatingIfNeeded: name & 0xffff)
    guard index < highWater, isInForce(index), self.name(of: index) == name else { throw .noSuchResource }
    return index
  }

  private func isInForce(_ index: UInt32) -> Bool { records[index].environment != UInt32(APUS_CONTRACT_FREE) }

  // MARK: Admission

  /// The share of all contracts, in millionths.
  ///
  /// The share of a contract that has ended counts until its last deadline: its time may have been used already, and
  /// nobody gets the same time twice.
  ///
  /// - Complexity: O(contracts).
  public func share(now: UInt64) -> UInt64 {
    var sum: UInt64 = 0
    for index in 0..<highWater where isInForce(index) || records[index].deadline > now {
      sum += UInt64(records[index].share)
    }
    return sum
  }

  /// Decides whether a contract can be kept beside all others, without making it.
  ///
  /// - Returns: Its share, in millionths, the switch counted.
  /// - Throws: `invalid` for a period or slice outside the limits or a slice longer than the period; `exhausted` if the
  ///   CPU's shares would be exceeded.
  public func admit(period: UInt64, slice: UInt64, now: UInt64) throws(SystemCallError) -> UInt32 {
    guard period >= limits.shortestPeriod, period <= limits.longestPeriod, slice >= limits.shortestSlice,
      slice <= period
    else { throw .invalid }
    let share = ((slice + limits.switchCost) * 1_000_000 + period - 1) / period
    guard self.share(now: now) + share <= limits.shareLimit else { throw .exhausted }
    return UInt32(truncatingIfNeeded: share)
  }

  private func vacant(now: UInt64) -> UInt32? {
    var index: UInt32 = 0
    while index < records.count, isInForce(index) || records[index].deadline > now { index += 1 }
    return index < records.count ? index : nil
  }

  /// Makes a contract if it can be admitted; its first period begins when the environment is next found ready.
  ///
  /// - Returns: Its name.
  /// - Throws: What `admit` throws; `exhausted` if no record is free; `quotaExceeded` if the budget of the environment's account has no room for the share.
  public mutating func make(
    period: UInt64, slice: UInt64, for slot: UInt32,
    in table: EnvironmentTable<some RecordTable<apus_environment>, some RecordTable<apus_account>>,
    now: UInt64
  ) throws(SystemCallError) -> UInt64 {
    let share = try admit(period: period, slice: slice, now: now)
    guard let index = vacant(now: now) else { throw .exhausted }
    let account = table.environments[slot].account
    try table.accounts.charge(.time, share, to: account)
    var record = apus_contract()
    record.environment = slot
    record.user = slot
    record.generation = records[index].generation % 0x7fff_ffff + 1
    record.account = account
    record.share = share
    record.period = period
    record.slice = slice
    records[index] = record
    highWater = max(highWater, index + 1)
    return name(of: index)
  }

  /// Ends a contract.
  ///
  /// - Throws: `noSuchResource` if the name is of no contract in force, `denied` if the capability does not reach its
  ///   environment with the right to write.
  public func end(
    _ name: UInt64, by capability: Capability,
    in table: EnvironmentTable<some RecordTable<apus_environment>, some RecordTable<apus_account>>
  ) throws(SystemCallError) {
    let index = try index(of: name)
    guard table.environments[records[index].environment].isReached(by: capability, needing: .write) else {
      throw .denied
    }
    release(index, table.accounts)
  }

  private func release(_ index: UInt32, _ accounts: AccountLedger<some RecordTable<apus_account>>) {
    accounts.release(.time, records[index].share, of: records[index].account)
    records[index].environment = UInt32(APUS_CONTRACT_FREE)
  }

  /// Ends all contracts of an environment that has died, and every use that it has of others'.
  public func endAll(of slot: UInt32, accounts: AccountLedger<some RecordTable<apus_account>>) {
    for index in 0..<highWater {
      if records[index].user == slot { records[index].user = records[index].environment }
      if records[index].environment == slot { release(index, accounts) }
    }
  }

  /// Whether any contract is in force.
  public var isInUse: Bool {
    for index in 0..<highWater where isInForce(index) { return true }
    return false
  }

  // MARK: Choice

  /// Chooses the contract that runs now, after beginning the periods that are due.
  ///
  /// - Parameters:
  ///   - now: The counter.
  ///   - canRun: Whether an environment can run; asked once for each contract, or twice if its time was given to
  ///     another environment that cannot.
  /// - Returns: The one with the earliest deadline among those with budget; its `user` can run.
  /// - Complexity: O(contracts).
  public func choose(now: UInt64, canRun: (UInt32) -> Bool) -> UInt32? {
    var chosen: UInt32?
    var earliest = UInt64.max
    for index in 0..<highWater where isInForce(index) {
      if now >= records[index].deadline { records[index].user = records[index].environment }
      refresh(index, now: now, isReady: findUser(index, canRun))
      if records[index].ready != 0, hasBudget(index), records[index].deadline < earliest {
        chosen = index
        earliest = records[index].deadline
      }
    }
    return chosen
  }

  /// Whether anybody can use the contract: whom its time was given to, or its owner.
  private func findUser(_ index: UInt32, _ canRun: (UInt32) -> Bool) -> Bool {
    let owner = records[index].environment
    if records[index].user != owner {
      if canRun(records[index].user) { return true }
      records[index].user = owner
    }
    return canRun(owner)
  }

  private func refresh(_ index: UInt32, now: UInt64, isReady: Bool) {
    guard isReady else {
      records[index].ready = 0
      return
    }
    let wasReady = records[index].ready != 0
    records[index].ready = 1
    let deadline = records[index].deadline
    if now < deadline {
      if wasReady { return }
      let left = records[index].budget
      if left == 0 || left * records[index].period <= (deadline - now) * records[index].slice { return }
    }
    let period = records[index].period
    var carried: UInt64 = 0
    var next = now + period
    if wasReady {
      let skipped = (now - deadline) / period
      if hasBudget(index) { records[index].missed &+= 1 } else { carried = records[index].budget }
      records[index].missed &+= skipped
      next = deadline + (skipped + 1) * period
    }
    begin(index, deadline: next, carrying: carried)
  }

  /// Begins a period; what was used beyond earlier budgets is taken off.
  private func begin(_ index: UInt32, deadline: UInt64, carrying carried: UInt64) {
    let budget = records[index].slice + carried
    let paid = min(records[index].debt, budget)
    records[index].debt -= paid
    records[index].budget = budget - paid
    records[index].deadline = deadline
    records[index].periods &+= 1
  }

  private func hasBudget(_ index: UInt32) -> Bool { records[index].budget >= limits.switchCost }

  /// When the choice may become another one, at the earliest, besides by the end of what runs.
  ///
  /// - Parameter wakeTime: When an environment that sleeps is to be woken.
  /// - Returns: A counter value, or `UInt64.max`.
  public func nextEvent(wakeTime: (UInt32) -> UInt64) -> UInt64 {
    var earliest = UInt64.max
    for index in 0..<highWater where isInForce(index) {
      if records[index].ready == 0 {
        earliest = min(earliest, wakeTime(records[index].environment))
      } else if !hasBudget(index) {
        earliest = min(earliest, records[index].deadline)
      }
    }
    return earliest
  }

  // MARK: Use

  /// Books time that was used under a contract; more than the budget is owed to the next periods.
  public func charge(_ index: UInt32, ticks: UInt64) {
    records[index].used &+= ticks
    let paid = min(ticks, records[index].budget)
    records[index].budget -= paid
    records[index].debt &+= ticks - paid
  }

  /// Gives up what is left of the budget in this period.
  public func giveUp(_ index: UInt32) {
    records[index].budget = 0
    records[index].user = records[index].environment
  }

  /// Says who goes on with the rest of the period's budget; the next one is the owner's again.
  public func give(_ index: UInt32, to slot: UInt32) { records[index].user = slot }
}
