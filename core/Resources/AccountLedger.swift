// SPDX-License-Identifier: Apache-2.0
// AccountLedger.swift: how much of each kind of resource an account may hold, and how much it holds.
//
// Budgets are moved, never made: what an account passes down it no longer has, and what a dead one leaves goes back
// up. What always holds, and the tests recompute:
//  * For each kind the limits of all accounts together are what the machine had at boot.
//  * No account holds more than its limit.
// So a budget is a promise: whoever has room in it finds a free resource, whatever others do.

import ApusABI
import ApusCapabilities
import CApusABI

extension apus_account {
  /// The budget of a kind.
  public subscript(kind: AccountKind) -> apus_budget {
    @inline(__always) get {
      switch kind {
      case .frames: frames
      case .environments: environments
      case .slices: slices
      case .time: time
      }
    }
    @inline(__always) set {
      switch kind {
      case .frames: frames = newValue
      case .environments: environments = newValue
      case .slices: slices = newValue
      case .time: time = newValue
      }
    }
  }
}

extension apus_budget {
  /// How much more may be taken.
  public var room: UInt32 { limit &- used }
}

/// The budgets of all accounts.
///
/// The table has one record for each account, by its number, at most 65,536. Numbers beyond it can hold nothing.
public struct AccountLedger<Accounts: RecordTable<apus_account>> {
  /// The records.
  public let accounts: Accounts

  /// Makes a view of an account table; records that are all zero may hold nothing.
  public init(accounts: Accounts) { self.accounts = accounts }

  /// How much of a kind an account may still take.
  @inline(__always) public func room(_ kind: AccountKind, of account: UInt16) -> UInt32 {
    guard UInt32(account) < accounts.count else { return 0 }
    return accounts[UInt32(account)][kind].room
  }

  /// Books that an account took something; nothing is booked on failure.
  ///
  /// - Throws: `quotaExceeded` if its budget has less room.
  @inline(__always) public func charge(
    _ kind: AccountKind, _ count: UInt32, to account: UInt16
  ) throws(SystemCallError) {
    guard count <= room(kind, of: account) else { throw .quotaExceeded }
    book(kind, count, to: account)
  }

  /// Books what `room` has been asked about.
  @inline(__always) func book(_ kind: AccountKind, _ count: UInt32, to account: UInt16) {
    // An account beyond the table can take nothing, and is not there to be booked on.
    guard UInt32(account) < accounts.count else { return }
    accounts[UInt32(account)][kind].used &+= count
  }

  /// Books that an account gave something back.
  ///
  /// The subtraction wraps, as a check would cost every unmapping: a use too low would become one so high that the
  /// account can take nothing more. The tests hold the books to be exact.
  @inline(__always) public func release(_ kind: AccountKind, _ count: UInt32, of account: UInt16) {
    guard UInt32(account) < accounts.count else { return }
    accounts[UInt32(account)][kind].used &-= count
  }

  /// Gives an account what nobody had before: at boot only.
  public func endow(_ account: UInt16, _ kind: AccountKind, _ limit: UInt32, used: UInt32 = 0) {
    accounts[UInt32(account)][kind] = apus_budget(limit: limit, used: used)
    accounts[UInt32(account)].parent = account
  }

  /// Sets the limit of an account; the difference comes out of the giver's room, or goes back to it.
  ///
  /// - Throws: `noSuchResource` if there is no such account, `denied` if the capability does not reach its name with
  ///   the right to write, `invalid` if it is the giver's own, `inUse` if it holds more than the new limit,
  ///   `quotaExceeded` if the giver has not that much room.
  public func setLimit(
    of number: UInt64, _ kind: AccountKind, to limit: UInt32, giver: UInt16, by capability: Capability
  ) throws(SystemCallError) {
    guard number < UInt64(accounts.count) else { throw .noSuchResource }
    let account = UInt16(truncatingIfNeeded: number)
    guard capability.dominates(guard: UInt64(account) << 48, length: 2, needing: .write) else { throw .denied }
    guard account != giver, UInt32(giver) < accounts.count else { throw .invalid }
    let old = accounts[UInt32(account)][kind]
    guard limit >= old.used else { throw .inUse }
    let own = accounts[UInt32(giver)][kind]
    if limit > old.limit {
      guard limit - old.limit <= own.room else { throw .quotaExceeded }
      accounts[UInt32(account)].parent = giver
    }
    accounts[UInt32(account)][kind].limit = limit
    // Cannot wrap: the limits of all accounts together are below 2^32.
    accounts[UInt32(giver)][kind].limit = own.limit &+ (old.limit &- limit)
  }

  /// Gives the whole budget of an account that holds nothing to another.
  ///
  /// - Returns: Whether it held nothing.
  @discardableResult public func dissolve(_ account: UInt16, to heir: UInt16) -> Bool {
    guard account != heir, UInt32(account) < accounts.count, UInt32(heir) < accounts.count else { return true }
    let record = accounts[UInt32(account)]
    guard record.frames.used | record.environments.used | record.slices.used | record.time.used == 0 else {
      return false
    }
    accounts[UInt32(heir)].frames.limit &+= record.frames.limit
    accounts[UInt32(heir)].environments.limit &+= record.environments.limit
    accounts[UInt32(heir)].slices.limit &+= record.slices.limit
    accounts[UInt32(heir)].time.limit &+= record.time.limit
    accounts[UInt32(account)] = apus_account()
    return true
  }
}
