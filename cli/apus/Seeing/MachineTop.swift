// SPDX-License-Identifier: Apache-2.0
// MachineTop.swift: what each environment has done, now and between two looks.

import CApusABI

/// What can be counted of an environment; each only grows.
enum EnvironmentCounter: String, CaseIterable {
  case slices, donated, forfeited, faults, upcalls, calls, ticks, polling, excess

  func value(_ record: apus_environment) -> UInt64 {
    switch self {
    case .slices: record.slices_used
    case .donated: record.slices_donated
    case .forfeited: record.slices_forfeited
    case .faults: record.exception_upcalls
    case .upcalls: record.slice_upcalls
    case .calls: record.calls
    case .ticks: record.ticks_used
    case .polling: record.polling_ticks
    case .excess: record.excess_ticks
    }
  }
}

/// One environment's line.
struct TopEntry {
  let slot: Int
  let account: UInt16
  let state: String
  let slicesOwned: UInt32
  /// Frames of its account, and how many were taken from it by force, ever.
  let accountFrames: UInt32
  let taken: UInt32
  let totals: [EnvironmentCounter: UInt64]
  /// Since the look before; the totals if there was none, or if the slot has a new environment.
  let recent: [EnvironmentCounter: UInt64]
  /// Identifies the environment across looks.
  let handle: UInt64
}

/// What a machine does.
struct MachineTop {
  let ticksPerSecond: UInt64
  let entries: [TopEntry]
  let framesFree: UInt64
  let frameCount: UInt64
  let processors: UInt64
  /// Ticks that CPUs halted, since the look before.
  let idleTicks: UInt64
  private let records: [UInt64: [EnvironmentCounter: UInt64]]
  private let idleTotal: UInt64

  /// Makes the lines.
  ///
  /// - Parameters:
  ///   - state: What the machine's pages say.
  ///   - earlier: The look before.
  init(_ state: MachineState, after earlier: MachineTop? = nil) {
    let page = state.information
    ticksPerSecond = max(1, page.ticks_per_second)
    framesFree = page.frames_free
    frameCount = page.frame_count
    processors = page.processor_count
    idleTotal = page.idle_ticks
    idleTicks = page.idle_ticks &- (earlier?.idleTotal ?? 0)
    var taken: [UInt16: UInt32] = [:]
    for record in state.revocations where record.account != 0 {
      taken[record.account] = record.frames.taken &+ record.slices.taken
    }
    var records: [UInt64: [EnvironmentCounter: UInt64]] = [:]
    entries = state.environments.enumerated().compactMap { slot, record in
      guard !record.isFree else { return nil }
      var totals: [EnvironmentCounter: UInt64] = [:]
      for counter in EnvironmentCounter.allCases { totals[counter] = counter.value(record) }
      let before = earlier?.records[record.handle] ?? [:]
      var recent: [EnvironmentCounter: UInt64] = [:]
      for (counter, value) in totals { recent[counter] = value &- (before[counter] ?? 0) }
      records[record.handle] = totals
      let budget =
        Int(record.account) < state.accounts.count ? state.accounts[Int(record.account)].frames : apus_budget()
      return TopEntry(
        slot: slot, account: record.account, state: record.stateName, slicesOwned: record.slices_owned,
        accountFrames: budget.used, taken: taken[record.account] ?? 0, totals: totals, recent: recent,
        handle: record.handle)
    }
    self.records = records
  }

  /// Ticks that all environments ran since the look before.
  var busyTicks: UInt64 { entries.reduce(0) { $0 &+ ($1.recent[.ticks] ?? 0) } }

  /// The lines in an order: a name of a column, largest first, or nil by slot.
  func sorted(by counter: EnvironmentCounter?) -> [TopEntry] {
    guard let counter else { return entries }
    return entries.sorted { ($0.recent[counter] ?? 0, $1.slot) > ($1.recent[counter] ?? 0, $0.slot) }
  }
}

// MARK: As JSON

extension MachineTop {
  /// One object, every counter since the environment began and since the look before.
  func json(_ members: [(String, String)] = []) -> String {
    func object(_ values: [EnvironmentCounter: UInt64]) -> String {
      JSONText.object(EnvironmentCounter.allCases.map { ($0.rawValue, "\(values[$0] ?? 0)") })
    }
    let list = entries.map { entry in
      JSONText.object([
        ("environment", "\(entry.slot)"), ("handle", "\(entry.handle)"), ("account", "\(entry.account)"),
        ("state", JSONText.string(entry.state)), ("slices_owned", "\(entry.slicesOwned)"),
        ("account_frames", "\(entry.accountFrames)"), ("taken", "\(entry.taken)"), ("total", object(entry.totals)),
        ("recent", object(entry.recent)),
      ])
    }
    return JSONText.object(
      members + [
        ("ticks_per_second", "\(ticksPerSecond)"), ("cpus", "\(processors)"), ("frames", "\(frameCount)"),
        ("frames_free", "\(framesFree)"), ("idle_ticks", "\(idleTicks)"), ("environments", JSONText.array(list)),
      ])
  }
}

// MARK: As text

extension MachineTop {
  private static let columns: [(title: String, width: Int)] = [
    ("env", 4), ("account", 12), ("state", 9), ("cpu%", 6), ("poll%", 6), ("own", 4), ("slices", 8), ("donated", 8),
    ("forfeit", 8), ("frames", 8), ("taken", 6), ("faults", 9), ("upcalls", 9), ("calls", 10),
  ]

  /// Lines for a terminal, behind a title, in an order.
  func lines(
    title: String, names: [UInt16: String], order: EnvironmentCounter?, style: TextStyle
  ) -> [String] {
    let all = max(1, busyTicks &+ idleTicks)
    var lines = [
      "\(title): \(processors) CPU\(processors == 1 ? "" : "s"), \(Self.percent(busyTicks, of: all)) % busy; "
        + "\(frameCount) frames, \(framesFree) free; \(entries.count) environments"
    ]
    let head = Self.columns.enumerated().map { index, column in
      index == 1 || index == 2 ? " " + column.title.padded(column.width - 1) : column.title.aligned(column.width)
    }
    lines.append(style.strong(Self.cut(head.joined(), style.columns)))
    for entry in sorted(by: order).prefix(max(1, style.rows - 3)) {
      func recent(_ counter: EnvironmentCounter) -> String { "\(entry.recent[counter] ?? 0)" }
      let ticks = entry.recent[.ticks] ?? 0
      let account = "\(entry.account)" + (names[entry.account].map { " " + $0 } ?? "")
      let values = [
        "\(entry.slot)", account, entry.state, Self.percent(ticks, of: all),
        Self.percent(entry.recent[.polling] ?? 0, of: max(1, ticks)), "\(entry.slicesOwned)", recent(.slices),
        recent(.donated), recent(.forfeited), "\(entry.accountFrames)", "\(entry.taken)", recent(.faults),
        recent(.upcalls), recent(.calls),
      ]
      let cells = values.enumerated().map { index, value in
        let width = Self.columns[index].width
        return index == 1 || index == 2
          ? " " + String(value.prefix(width - 1)).padded(width - 1) : value.aligned(width)
      }
      lines.append(Self.cut(cells.joined(), style.columns))
    }
    return lines
  }

  private static func cut(_ text: String, _ columns: Int) -> String { String(text.prefix(max(20, columns))) }

  /// Tenths of a percent.
  static func percent(_ part: UInt64, of whole: UInt64) -> String {
    let tenths = UInt64((Double(part) * 1000 / Double(whole)).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }
}
