// SPDX-License-Identifier: Apache-2.0
// MachineMap.swift: who owns which frame and which slice, as runs of equal neighbours, with each account's sums.

import CApusABI

/// What a frame is to the eye.
enum FrameKind: UInt8, CaseIterable {
  case absent, free, ordinary, table, kernel, cooling

  init(type: UInt8) {
    switch Int32(type) {
    case APUS_FRAME_FREE: self = .free
    case APUS_FRAME_ORDINARY: self = .ordinary
    case APUS_FRAME_TABLE1, APUS_FRAME_TABLE2, APUS_FRAME_TABLE3, APUS_FRAME_TABLE4: self = .table
    case APUS_FRAME_KERNEL: self = .kernel
    case APUS_FRAME_COOLING: self = .cooling
    default: self = .absent
    }
  }

  var name: String { "\(self)" }

  /// Whether an account is charged for it.
  var isOwned: Bool { self == .ordinary || self == .table }
}

/// Whose something is, and what it is.
struct FrameOwner: Hashable {
  var kind: FrameKind
  /// 0 for what no account is charged for.
  var account: UInt16

  init(_ record: apus_frame) {
    kind = FrameKind(type: record.type)
    account = kind.isOwned || kind == .cooling ? record.account : 0
  }
}

/// Neighbours that are alike.
struct Stretch<Value: Equatable>: Equatable {
  var first: Int
  var count: Int
  var value: Value

  static func of(_ values: some Sequence<Value>) -> [Stretch] {
    var runs: [Stretch] = []
    for (index, value) in values.enumerated() {
      if let last = runs.last, last.value == value {
        runs[runs.count - 1].count += 1
      } else {
        runs.append(Stretch(first: index, count: 1, value: value))
      }
    }
    return runs
  }
}

/// What an account has.
struct AccountHoldings: Equatable {
  var account: UInt16
  var parent: UInt16
  /// Frames by kind, counted in the frame table.
  var ordinary = 0
  var tables = 0
  var cooling = 0
  var slices = 0
  var environments = 0
  /// What the account ledger says: limits and what is used.
  var frameBudget: apus_budget
  var sliceBudget: apus_budget
  var environmentBudget: apus_budget

  static func == (left: AccountHoldings, right: AccountHoldings) -> Bool {
    left.account == right.account && left.ordinary == right.ordinary && left.tables == right.tables
      && left.cooling == right.cooling && left.slices == right.slices && left.environments == right.environments
  }
}

/// The map of a machine at one moment.
struct MachineMap {
  var frames: [Stretch<FrameOwner>]
  let frameCount: Int
  /// For each CPU, runs of the slot that owns a slice; nil is free.
  var slices: [[Stretch<UInt32?>]]
  /// The account of each slot that owns a slice or lives.
  var accountOfSlot: [UInt32: UInt16] = [:]
  /// Accounts that have anything, by number.
  var holdings: [AccountHoldings]
  var kernelFrames = 0
  var freeFrames = 0
  var absentFrames = 0
  var unsteady: Int

  init(_ state: MachineState) {
    frames = Stretch.of(state.frames.lazy.map(FrameOwner.init))
    frameCount = state.frames.count
    unsteady = state.unsteady
    slices = state.timelines.map { timeline in
      Stretch.of(timeline.lazy.map { $0.environment == UInt32(APUS_SLICE_FREE) ? nil : $0.environment })
    }
    var table: [UInt16: AccountHoldings] = [:]
    func change(_ account: UInt16, _ body: (inout AccountHoldings) -> Void) {
      var entry =
        table[account]
        ?? {
          let record = Int(account) < state.accounts.count ? state.accounts[Int(account)] : apus_account()
          return AccountHoldings(
            account: account, parent: record.parent, frameBudget: record.frames, sliceBudget: record.slices,
            environmentBudget: record.environments)
        }()
      body(&entry)
      table[account] = entry
    }
    for run in frames {
      switch run.value.kind {
      case .absent: absentFrames += run.count
      case .free: freeFrames += run.count
      case .kernel: kernelFrames += run.count
      case .ordinary: change(run.value.account) { $0.ordinary += run.count }
      case .table: change(run.value.account) { $0.tables += run.count }
      case .cooling: change(run.value.account) { $0.cooling += run.count }
      }
    }
    for (slot, record) in state.environments.enumerated() where !record.isFree {
      accountOfSlot[UInt32(slot)] = record.account
      change(record.account) { $0.environments += 1 }
    }
    for run in slices.joined() {
      guard let slot = run.value, Int(slot) < state.environments.count else { continue }
      let account = state.environments[Int(slot)].account
      accountOfSlot[slot] = account
      change(account) { $0.slices += run.count }
    }
    for (number, record) in state.accounts.enumerated()
    where record.frames.used != 0 || record.environments.used != 0 || record.slices.used != 0 {
      change(UInt16(number)) { _ in }
    }
    holdings = table.values.sorted { $0.account < $1.account }
  }

  /// Slices of a CPU.
  var sliceCount: Int { slices.first?.last.map { $0.first + $0.count } ?? 0 }

  /// The last slice that anybody owns, over all CPUs, and one more.
  var sliceEnd: Int {
    slices.flatMap { $0 }.filter { $0.value != nil }.map { $0.first + $0.count }.max() ?? 0
  }
}

// MARK: As JSON

extension MachineMap {
  /// One object: the machine's frames and slices as runs, and each account's sums.
  ///
  /// The members that are given stand before them.
  func json(_ members: [(String, String)] = []) -> String {
    func number(_ value: some BinaryInteger) -> String { "\(value)" }
    let frameRuns = frames.map { run in
      JSONText.object(
        [
          ("first", number(run.first)), ("count", number(run.count)), ("kind", JSONText.string(run.value.kind.name)),
        ] + (run.value.account != 0 ? [("account", number(run.value.account))] : []))
    }
    let sliceRuns = slices.map { runs in
      JSONText.array(
        runs.compactMap { run in
          run.value.map { slot in
            JSONText.object([
              ("first", number(run.first)), ("count", number(run.count)), ("environment", number(slot)),
              ("account", number(accountOfSlot[slot] ?? 0)),
            ])
          }
        })
    }
    func budget(_ budget: apus_budget) -> String {
      JSONText.object([("limit", number(budget.limit)), ("used", number(budget.used))])
    }
    let accounts = holdings.map { entry in
      JSONText.object([
        ("account", number(entry.account)), ("parent", number(entry.parent)), ("ordinary", number(entry.ordinary)),
        ("tables", number(entry.tables)), ("cooling", number(entry.cooling)), ("slices", number(entry.slices)),
        ("environments", number(entry.environments)), ("frame_budget", budget(entry.frameBudget)),
        ("slice_budget", budget(entry.sliceBudget)), ("environment_budget", budget(entry.environmentBudget)),
      ])
    }
    return JSONText.object(
      members + [
        ("frame_bytes", "4096"), ("frame_count", number(frameCount)), ("free", number(freeFrames)),
        ("kernel", number(kernelFrames)), ("absent", number(absentFrames)), ("unsteady", number(unsteady)),
        ("accounts", JSONText.array(accounts)), ("frames", JSONText.array(frameRuns)),
        ("slices", JSONText.array(sliceRuns)),
      ])
  }
}
