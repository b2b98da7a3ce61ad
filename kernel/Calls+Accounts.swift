// SPDX-License-Identifier: Apache-2.0
// Calls+Accounts.swift: budgets: who may hold how much of what, and where a dead account's budget goes.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI

/// `accountLimit(cap, account, kind, limit)`.
func accountLimit(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  guard let kind = AccountKind(rawValue: a.a2), a.a3 <= UInt64(UInt32.max) else { throw .invalid }
  // What an account that has ended leaves is counted in steps, and then goes back up as a whole.
  if a.a1 <= 0xffff, isBeingReclaimed(UInt16(a.a1)) { throw .inUse }
  try kernel.frames.accounts.setLimit(
    of: a.a1, kind, to: UInt32(a.a3), giver: ThisProcessor.environment.value.account, by: capability)
  return 0
}

/// Gives the budget of an account that has ended and holds nothing to the one that it came from; if that has ended,
/// too, to the first.
func dissolve(_ account: UInt16) {
  guard UInt32(account) < kernel.frames.accounts.accounts.count else { return }
  let parent = kernel.frames.accounts.accounts[UInt32(account)].parent
  let heir = kernel.environments.liveCount(of: parent) > 0 ? parent : firstAccount
  kernel.frames.accounts.dissolve(account, to: heir)
}
