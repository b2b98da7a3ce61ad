// SPDX-License-Identifier: Apache-2.0
// Budget.swift: what the first family gives to others so that they can hold anything, and takes back.

import ApusABI

enum Budget {
  /// The first family's account.
  static var own: UInt64 { 1 }
  /// What a family gets that the checks make: enough for an environment or two.
  private static var frames: UInt64 { 512 }
  private static var others: UInt64 { 8 }

  /// Sets a limit by the root capability.
  @discardableResult
  static func set(_ kind: AccountKind, of account: UInt64, to limit: UInt64, by slot: UInt64 = Slot.root) -> Answer {
    Kernel.call(.accountLimit, slot, account, kind.rawValue, limit)
  }

  static func of(_ account: UInt64, _ kind: AccountKind) -> apus_budget {
    let record = Information.account(account)
    switch kind {
    case .frames: return record.frames
    case .environments: return record.environments
    case .slices: return record.slices
    case .time: return record.time
    }
  }

  static func limit(_ kind: AccountKind, of account: UInt64) -> UInt64 { UInt64(of(account, kind).limit) }
  static func used(_ kind: AccountKind, of account: UInt64) -> UInt64 { UInt64(of(account, kind).used) }

  /// Gives another account a budget, if it has none; what others no longer need is taken back first.
  static func found(_ account: UInt64) {
    guard account != own, account < Information.page.account_count, limit(.frames, of: account) == 0 else { return }
    takeBack()
    set(.frames, of: account, to: frames)
    set(.environments, of: account, to: others)
    set(.slices, of: account, to: others)
  }

  /// Takes back the budgets of accounts that hold nothing and that no capability here names.
  ///
  /// - Returns: How many such accounts could not be emptied: those on whose frames the kernel still works.
  @discardableResult private static func takeBack() -> UInt64 {
    var left: UInt64 = 0
    for account in 0..<Information.page.account_count where account != own {
      let record = Information.account(account)
      guard record.frames.limit | record.environments.limit | record.slices.limit | record.time.limit != 0,
        record.frames.used | record.environments.used | record.slices.used | record.time.used == 0
      else { continue }
      if isNamed(account) { continue }
      let isEmpty =
        set(.frames, of: account, to: 0).value == 0 && set(.environments, of: account, to: 0).value == 0
        && set(.slices, of: account, to: 0).value == 0 && set(.time, of: account, to: 0).value == 0
      if !isEmpty { left += 1 }
    }
    return left
  }

  /// Takes back all that others no longer need, waiting for what the dead held.
  static func collect() {
    _ = waitUntil(turns: 1000) { takeBack() == 0 }
  }

  /// Whether one of the slots that the checks forge in names an account.
  private static func isNamed(_ account: UInt64) -> Bool {
    let list = Information.environment(slot: Information.ownSlot).capabilities
    return names(list.4, account) || names(list.5, account) || names(list.6, account)
  }

  private static func names(_ capability: apus_capability, _ account: UInt64) -> Bool {
    capability.valid != 0 && capability.length >= 2 && capability.name >> 48 == account
  }

  /// Gives an account all of a kind that the first family does not use itself.
  static func giveAll(_ kind: AccountKind, to account: UInt64) {
    let mine = of(own, kind)
    set(kind, of: account, to: limit(kind, of: account) + UInt64(mine.limit - mine.used))
  }
}
