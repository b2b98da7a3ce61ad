// SPDX-License-Identifier: Apache-2.0
// Program.swift: one program of a machine with several: its family, and when that starts again.

import ApusABI
import ApusImage
import ApusRuntime

/// When a program that has ended starts again.
enum RestartRule: UInt64 {
  case never = 0
  case onFailure = 1
  case always = 2
}

/// What the start command says of a program.
///
/// The setting's value: words `key=number`, the first of them the program's name alone. Times are in nanoseconds.
struct ProgramPlan {
  let name: [UInt8]
  let account: UInt64
  let budget: FamilyBudget
  let restart: RestartRule
  /// How often it starts again at most, and how long before the first time; twice as long each time after that.
  let restartLimit, backOffNanoseconds: UInt64
  /// The machine does not wait for its end.
  let isBackground: Bool

  /// Reads a setting; nil if it is not about that program, or damaged.
  init?(_ setting: StartCommand.Setting, name: [UInt8]) {
    guard setting.key == Array("program".utf8) else { return nil }
    var words = setting.value.split(separator: 0x20).makeIterator()
    guard let first = words.next(), Array(first) == name else { return nil }
    var numbers: [([UInt8], UInt64)] = []
    while let word = words.next() {
      guard let split = word.firstIndex(of: 0x3d), let number = decimal(word[(split + 1)...]) else { return nil }
      numbers.append((Array(word[..<split]), number))
    }
    func number(_ key: String) -> UInt64 {
      let key = Array(key.utf8)
      for (name, value) in numbers where name == key { return value }
      return 0
    }
    guard let rule = RestartRule(rawValue: number("restart")) else { return nil }
    self.name = name
    account = number("account")
    func ticks(_ nanoseconds: UInt64) -> UInt64 {
      nanoseconds == 0 ? 0 : Clock.ticks(fromNanoseconds: nanoseconds)
    }
    budget = FamilyBudget(
      frames: number("frames"), environments: number("environments"), slices: number("slices"),
      processor: number("cpu"), period: ticks(number("period")), slice: ticks(number("slice")))
    restart = rule
    restartLimit = number("limit")
    backOffNanoseconds = number("backoff")
    isBackground = number("background") == 1
  }
}

private func decimal(_ digits: ArraySlice<UInt8>) -> UInt64? {
  var value: UInt64 = 0
  for digit in digits {
    guard digit >= 0x30, digit <= 0x39, value < 1 << 56 else { return nil }
    value = value * 10 + UInt64(digit - 0x30)
  }
  return digits.isEmpty ? nil : value
}

/// A program and its family.
final class Program {
  let plan: ProgramPlan
  let family: StartedFamily
  private let image: Bytes
  private var state = ProgramState.waits
  private var starts: UInt64 = 0
  /// When it starts again, or is ended by force, in ticks.
  private var due: UInt64 = 0
  private var isStopping = false
  private var startTicks: UInt64 = 0
  private(set) var lastStatus: UInt8 = 0

  /// The status of a program whose LibOS ended without a word.
  private static var failureStatus: UInt8 { 124 }
  private static var longestBackOffDoublings: UInt64 { 6 }
  /// How long a program that is asked to end may take.
  private static var stopNanoseconds: UInt64 { 2_000_000_000 }

  init?(_ plan: ProgramPlan, _ image: Bytes) {
    guard let family = StartedFamily(account: plan.account) else { return nil }
    self.plan = plan
    self.family = family
    self.image = image
  }

  /// Whether it has ended for good.
  var isOver: Bool { state == .ended || state == .failed }

  func start() {
    starts += 1
    startTicks = Clock.ticks
    state = family.start(image, plan.budget) ? .runs : .failed
    if state == .failed { lastStatus = 125 }
    tell()
  }

  /// Looks whether it has ended, or is to start again.
  func look() {
    switch state {
    case .runs:
      if !family.isAlive {
        hasEnded()
      } else if isStopping, Clock.ticks >= due {
        family.end()
      }
    case .waits: if Clock.ticks >= due, family.isGone { start() }
    case .ended, .failed: break
    }
  }

  private func hasEnded() {
    lastStatus = family.status ?? (isStopping ? 137 : Program.failureStatus)
    report()
    let wants =
      switch plan.restart {
      case .never: false
      case .onFailure: lastStatus != 0
      case .always: true
      }
    if wants, !isStopping, starts <= plan.restartLimit {
      state = .waits
      due = Clock.ticks(afterNanoseconds: plan.backOffNanoseconds << min(starts - 1, Program.longestBackOffDoublings))
    } else {
      state = .ended
    }
    tell()
  }

  /// Asks it to end; by force after a while.
  func stop(signal: UInt8) {
    switch state {
    case .runs:
      family.request(signal: UInt64(signal))
      if !isStopping { due = Clock.ticks(afterNanoseconds: Program.stopNanoseconds) }
      isStopping = true
    case .waits:
      state = .ended
      tell()
    case .ended, .failed: break
    }
  }

  /// Tells the host how it is.
  private func tell() {
    var record: [UInt8] = [
      UInt8(truncatingIfNeeded: plan.account), state.rawValue, lastStatus, UInt8(truncatingIfNeeded: min(starts, 255)),
    ]
    while Bytes.withArray(&record, { Console.write(.program, $0) }) == 0 {}
  }

  /// Tells whoever wants to know what it used of its contract.
  func report() {
    guard state == .runs, let use = family.contractUse else { return }
    let ticks = Clock.ticks &- startTicks
    var line = plan.name + Array(": contract used ".utf8)
    line.append(use.ticks)
    line += Array(" of ".utf8)
    line.append(ticks)
    line += Array(" ticks, ".utf8)
    line.append(use.missed)
    line += Array(" of ".utf8)
    line.append(use.periods)
    line += Array(" periods missed\n".utf8)
    while Bytes.withArray(&line, { Console.write(.log, $0) }) == 0 {}
  }
}

extension [UInt8] {
  fileprivate mutating func append(_ number: UInt64) {
    if number >= 10 { append(number / 10) }
    append(UInt8(48 + number % 10))
  }
}
