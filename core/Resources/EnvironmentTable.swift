// SPDX-License-Identifier: Apache-2.0
// EnvironmentTable.swift: which environments exist, their handles, states and accounts.
//
// A handle is the slot's generation and its number plus one, so it is never 0 and one that outlived its
// environment is refused. Generations have 31 bits: a handle is never negative.

import ApusABI
import ApusCapabilities
import CApusABI

/// What an environment's turn comes to.
public enum Turn: Equatable, Sendable {
  /// It can run.
  case runs
  /// It sleeps or is dead.
  case waits
  /// It could run, but pays with this turn for time that it took too much of.
  case forfeits
}

extension apus_environment {
  /// Whether the environment can still run.
  public var isLive: Bool {
    state == UInt32(APUS_ENVIRONMENT_RUNNABLE) || state == UInt32(APUS_ENVIRONMENT_SLEEPING)
      || state == UInt32(APUS_ENVIRONMENT_CALLING)
  }

  /// Whether a capability reaches the environment.
  func isReached(by capability: Capability, needing rights: Rights) -> Bool {
    capability.dominates(guard: self.guard, length: guard_length, needing: rights)
  }
}

/// The table of environments.
public struct EnvironmentTable<Environments: RecordTable<apus_environment>, Accounts: RecordTable<apus_account>> {
  /// The records.
  public let environments: Environments
  /// Who is charged for the slots, and for slices.
  public let accounts: AccountLedger<Accounts>
  /// All slots from here on are free.
  public private(set) var highWater: UInt32

  /// Starts a table over records that are all zero.
  public init(environments: Environments, accounts: AccountLedger<Accounts>) {
    self.environments = environments
    self.accounts = accounts
    highWater = 0
  }

  // MARK: Handles

  /// The slot of a live environment.
  ///
  /// - Throws: `noSuchResource` if the handle names no environment, or one that is dead.
  public func slot(of handle: UInt64) throws(SystemCallError) -> UInt32 {
    let number = UInt32(truncatingIfNeeded: handle)
    guard number != 0, number <= environments.count else { throw .noSuchResource }
    let slot = number - 1
    guard UInt64(environments[slot].generation) == handle >> 32, environments[slot].isLive else {
      throw .noSuchResource
    }
    return slot
  }

  /// The slot of a live environment that a capability reaches.
  ///
  /// - Throws: What `slot(of:)` throws; `denied`.
  public func slot(
    of handle: UInt64, by capability: Capability, needing rights: Rights
  ) throws(SystemCallError) -> UInt32 {
    let slot = try slot(of: handle)
    guard environments[slot].isReached(by: capability, needing: rights) else { throw .denied }
    return slot
  }

  // MARK: Life

  /// Tells of each environment of an account that can still run.
  ///
  /// - Complexity: O(slots that were ever in use).
  public func forEachLive(of account: UInt16, _ body: (UInt32) -> Void) {
    for slot in 0..<highWater where environments[slot].account == account && environments[slot].isLive { body(slot) }
  }

  /// How many environments of an account can still run: at 0 its resources can be reclaimed.
  public func liveCount(of account: UInt16) -> UInt32 {
    var count: UInt32 = 0
    forEachLive(of: account) { _ in count += 1 }
    return count
  }

  /// Finds a slot for an environment of an account, without taking it.
  ///
  /// - Throws: `exhausted` if no slot is free, `quotaExceeded` if the account's budget has no room.
  /// - Complexity: O(slots that were ever in use).
  public func vacantSlot(for account: UInt16) throws(SystemCallError) -> UInt32 {
    var vacant: UInt32 = 0
    while vacant < highWater, environments[vacant].state != UInt32(APUS_ENVIRONMENT_FREE) { vacant += 1 }
    guard vacant < environments.count else { throw .exhausted }
    guard accounts.room(.environments, of: account) > 0 else { throw .quotaExceeded }
    return vacant
  }

  /// Makes an environment in a vacant slot: runnable, without capabilities, under a capability's name.
  ///
  /// The account is charged, which has room: `vacantSlot` saw to that.
  ///
  /// - Returns: Its handle.
  /// - Precondition: `vacantSlot` returned the slot and nothing was changed since.
  public mutating func occupy(
    _ slot: UInt32, account: UInt16, under owner: Capability, root: UInt32, uareaFrame: UInt32, uareaAddress: UInt64
  ) -> UInt64 {
    precondition(environments[slot].state == UInt32(APUS_ENVIRONMENT_FREE))
    var record = apus_environment()
    let generation = environments[slot].generation & 0x7fff_ffff
    record.generation = generation == 0 ? 1 : generation
    record.state = UInt32(APUS_ENVIRONMENT_RUNNABLE)
    record.account = account
    record.guard = owner.name
    record.guard_length = owner.length
    record.root = root
    record.uarea_frame = uareaFrame
    record.uarea_address = uareaAddress
    record.handle = UInt64(record.generation) << 32 | UInt64(slot + 1)
    record.wait_deadline = UInt64.max
    environments[slot] = record
    accounts.book(.environments, 1, to: account)
    highWater = max(highWater, slot + 1)
    return record.handle
  }

  /// Marks an environment dead; its slot stays taken until `vacate`, and its handle names nothing.
  ///
  /// - Returns: Whose protected calls that ends.
  /// - Precondition: The environment is live.
  @discardableResult
  public func beginDeath(_ slot: UInt32, cause: UInt64, rip: UInt64, address: UInt64) -> CutTransfers {
    precondition(environments[slot].isLive)
    let cut = cutTransfers(of: slot)
    environments[slot].state = UInt32(APUS_ENVIRONMENT_DYING)
    environments[slot].last_cause = cause
    environments[slot].last_rip = rip
    environments[slot].last_address = address
    return cut
  }

  /// Frees the slot of a dead environment.
  ///
  /// Its record stays readable, but for the capabilities.
  ///
  /// - Precondition: The environment is dying and owns no slice.
  public mutating func vacate(_ slot: UInt32) {
    precondition(environments[slot].state == UInt32(APUS_ENVIRONMENT_DYING))
    precondition(environments[slot].slices_owned == 0)
    accounts.release(.environments, 1, of: environments[slot].account)
    environments[slot].state = UInt32(APUS_ENVIRONMENT_FREE)
    environments[slot].generation = (environments[slot].generation & 0x7fff_ffff) + 1
    environments[slot].capabilities = apus_environment().capabilities
    while highWater > 0, environments[highWater - 1].state == UInt32(APUS_ENVIRONMENT_FREE) { highWater -= 1 }
  }

  // MARK: Sleeping

  /// Puts an environment to sleep until a word in physical memory changes or a time comes.
  ///
  /// `word` is the word's physical address, or 0.
  ///
  /// - Precondition: The environment is runnable.
  public func sleep(_ slot: UInt32, word: UInt64, value: UInt64, deadline: UInt64) {
    precondition(environments[slot].state == UInt32(APUS_ENVIRONMENT_RUNNABLE))
    environments[slot].wait_word = word
    environments[slot].wait_value = value
    environments[slot].wait_deadline = deadline
    environments[slot].state = UInt32(APUS_ENVIRONMENT_SLEEPING)
  }

  /// Ends an environment's sleep; one that does not sleep is left alone.
  ///
  /// Who does not sleep waits for no time: a CPU without work halts until the earliest deadline among its slices' owners,
  /// and one of the past would never let it.
  public func wake(_ slot: UInt32) {
    guard environments[slot].state == UInt32(APUS_ENVIRONMENT_SLEEPING) else { return }
    environments[slot].state = UInt32(APUS_ENVIRONMENT_RUNNABLE)
    environments[slot].wait_word = 0
    environments[slot].wait_deadline = UInt64.max
  }

  // MARK: Turns

  /// Decides whether an environment uses its turn, and books the forfeit if it pays with it.
  ///
  /// Each full slice's worth of excess time costs one turn.
  ///
  /// - Parameters:
  ///   - slot: The environment whose turn it is.
  ///   - sliceTicks: The length of a slice; not 0.
  /// - Returns: What the turn comes to.
  public func takeTurn(_ slot: UInt32, sliceTicks: UInt64) -> Turn {
    // While it waits for a return its slices run the end of its chain; what it owes it pays all the same.
    let end = endOfChain(slot)
    guard environments[end].state == UInt32(APUS_ENVIRONMENT_RUNNABLE), environments[end].running_on == 0
    else { return .waits }
    let excess = environments[slot].excess_ticks
    if excess < sliceTicks { return .runs }
    let (paid, isBeyond) = environments[slot].slices_forfeited.multipliedReportingOverflow(by: sliceTicks)
    guard !isBeyond, excess >= paid, excess - paid >= sliceTicks else { return .runs }
    environments[slot].slices_forfeited += 1
    return .forfeits
  }

  /// Whether an environment could run on a CPU, or who runs in its place.
  public func canRun(_ slot: UInt32, on processor: UInt32) -> Bool {
    let end = endOfChain(slot)
    let place = UInt32(environments[end].running_on)
    return environments[end].state == UInt32(APUS_ENVIRONMENT_RUNNABLE) && (place == 0 || place == processor + 1)
  }

  // MARK: Capability lists

  /// Copies a capability into another environment's list.
  ///
  /// `capability` has to reach the environment with the right to write; `granted` has to hold the right to be
  /// granted.
  ///
  /// - Throws: `noSuchResource`, `denied`.
  /// - Precondition: There is such a slot.
  public func grant(
    _ granted: Capability, to handle: UInt64, at index: UInt64, by capability: Capability
  ) throws(SystemCallError) {
    let slot = try slot(of: handle, by: capability, needing: .write)
    guard granted.rights.contains(.grant) else { throw .denied }
    environments[slot].setCapability(granted, at: index)
  }
}
