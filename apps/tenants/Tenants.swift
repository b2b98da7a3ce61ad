// SPDX-License-Identifier: Apache-2.0
// Tenants.swift: a budget game: a landlord asks four families for frames in turn, and gives what comes back to whoever
// gave best.
//
// The kernel has no opinion on who should have how much. Each family has an account with a limit; the landlord's
// capability reaches all of them. Who does not give back until the deadline is taken from. Word of the start command:
// `rounds N`.

import ApusABI

private let asked: UInt64 = 60

/// What became of a family.
private struct Account {
  let name: StaticString
  let family: Family
  var asked: UInt64 = 0
  var granted: UInt64 = 0
  /// Frames held, summed over the landlord's looks.
  var heldInAll: UInt64 = 0
  /// Forced frames that have been told.
  var told: UInt64 = 0
}

private struct Game {
  var accounts: InlineArray<4, Account>
  var looks: UInt64 = 0
  let start: UInt64

  func mark(_ kind: StaticString) -> Line {
    var line = Line()
    line.put("tenants ")
    line.put(kind)
    line.put(" ")
    line.put((time_stamp() - start) * 1_000_000 / ticks_per_second())
    return line
  }

  func tell(_ kind: StaticString, _ tenant: Int, _ count: UInt64) {
    var line = mark(kind)
    line.put(" ")
    line.put(UInt64(tenant))
    line.put(" ")
    line.put(count)
    line.end()
  }

  /// Tells who holds what.
  mutating func look() {
    var line = mark("held")
    looks += 1
    for index in accounts.indices {
      let held = accounts[index].family.held
      accounts[index].heldInAll += held
      line.put(" ")
      line.put(held)
    }
    line.end()
    for index in accounts.indices {
      let taken = accounts[index].family.taken
      if taken > accounts[index].told { tell("taken", index, taken - accounts[index].told) }
      accounts[index].told = taken
    }
  }

  /// Asks a family, waits until what was asked is back, and grants as much to another.
  mutating func round(_ number: UInt64) -> Bool {
    let tenant = Int(number % 4)
    let slice = slice_ticks()
    let deadline = time_stamp() + 40 * slice
    let count = accounts[tenant].family.ask(asked, until: deadline)
    accounts[tenant].asked += count
    tell("asked", tenant, count)
    while time_stamp() < deadline + revocation_bound() + 2 * slice {
      look()
      Native.sleep(until: time_stamp() + 8 * slice)
    }
    look()
    guard count > 0 else { return true }
    let best = whoGaveBest(but: tenant)
    // The kernel moved the budget of what came back to the landlord.
    guard accounts[best].family.grant(count) else { return false }
    accounts[best].granted += count
    tell("granted", best, count)
    return true
  }

  /// Whoever has lost least by force, and of these whoever holds least.
  private func whoGaveBest(but asked: Int) -> Int {
    var best = asked == 0 ? 1 : 0
    for index in accounts.indices where index != asked {
      let (mine, other) = (accounts[index].family, accounts[best].family)
      if mine.taken < other.taken || mine.taken == other.taken && mine.limit < other.limit { best = index }
    }
    return best
  }
}

/// Lets the families play.
///
/// - Returns: Whether each one's conduct came to what it has to come to.
func runProgram() -> Bool {
  guard Pages.makeTables(Pages.region(0), count: 4) else { return false }
  func family(_ number: UInt64) -> Family? { Family(number, account: number + 2, frames: 420) }
  guard let prompt = family(0), let slow = family(1), let stubborn = family(2), let thrifty = family(3) else {
    return false
  }
  var game = Game(
    accounts: [
      Account(name: "prompt", family: prompt), Account(name: "slow", family: slow),
      Account(name: "stubborn", family: stubborn), Account(name: "thrifty", family: thrifty),
    ], start: time_stamp())
  Native.sleep(until: time_stamp() + 20 * slice_ticks())
  var total: UInt64 = 0
  for index in game.accounts.indices { total += game.accounts[index].family.limit }
  let rounds = Native.number(after: "rounds") ?? 8
  for round in 0..<rounds {
    guard game.round(round) else { return false }
  }
  return tell(game, rounds, total)
}

private func tell(_ game: Game, _ rounds: UInt64, _ total: UInt64) -> Bool {
  var isGood = true
  var left: UInt64 = 0
  for index in game.accounts.indices {
    let account = game.accounts[index]
    let (given, taken) = (account.family.given, account.family.taken)
    left += account.family.limit
    var line = Line()
    line.put(account.name)
    line.put(": asked for ")
    line.put(account.asked)
    line.put(", gave ")
    line.put(given)
    line.put(", lost ")
    line.put(taken)
    line.put(" by force, was granted ")
    line.put(account.granted)
    line.put(", held ")
    line.put(account.heldInAll / max(1, game.looks))
    line.put(" on average of ")
    line.put(account.family.limit)
    line.put(" now")
    line.end()
    switch Conduct(rawValue: UInt64(index)) {
    case .prompt?, .thrifty?: isGood = isGood && taken == 0 && given == account.asked
    case .slow?: isGood = isGood && taken > 0 && given > 0 && given + taken == account.asked
    case .stubborn?: isGood = isGood && given == 0 && taken == account.asked
    case nil: isGood = false
    }
  }
  var line = Line()
  line.put(isGood && left == total ? "every frame asked for came back, " : "not every frame came back as it has to, ")
  line.put(left)
  line.put(" of ")
  line.put(total)
  line.put(" frames of budget are with the families after ")
  line.put(rounds)
  line.put(" rounds")
  line.end()
  return isGood && left == total
}
