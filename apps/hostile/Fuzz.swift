// SPDX-License-Identifier: Apache-2.0
// Fuzz.swift: families that make calls at random, with arguments that are right often enough to do harm.
//
// Each round a new family gets its own capability and some frames, and calls away, destroying itself sooner or later.
// The rest of the machine has to be what it was: its mappings, its environments, and in the end every frame.

import ApusABI

/// A small generator (xorshift64*); its state is a word of the u-area.
private struct Random {
  private var state: UInt64

  init(seed: UInt64) { state = seed | 1 }

  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_f491_4f6c_dd1d
  }

  mutating func below(_ limit: UInt64) -> UInt64 { next() % limit }
}

/// Where a fuzzing child keeps its lists: the end of its own stack pages.
private func listAddress(_ uarea: UInt64) -> UInt64 { uarea + 0x4000 }

/// The number of calls that one child makes at most.
private let callLimit: UInt64 = 3000

@c @used func hostile_body_fuzz(_ uarea: UInt64) {
  var random = Random(seed: load64(uarea + UInt64(UA_WORD2)))
  let information = Information.page
  let root = Information.ownRoot
  let handle = Information.ownHandle
  let list = listAddress(uarea)
  var lastValue: UInt64 = 0
  var lastFrame: UInt64 = 0
  for _ in 0..<callLimit {
    // A fault of its own making ends it, which is part of the game.
    func argument() -> UInt64 {
      switch random.below(20) {
      case 0, 1, 2, 3: return Slot.other
      case 4: return Slot.other | Slot.other << 8
      case 5: return random.below(9)
      case 6, 7: return root
      case 8: return handle
      case 9, 10: return list
      case 11: return lastValue
      case 12: return lastFrame
      case 13: return uarea + random.below(64) * 4096
      case 14: return UInt64(APUS_LIBOS_BASE) + random.below(1 << 12) << 12
      case 15: return random.below(information.frame_count + 4)
      case 16: return 1 << random.below(64)
      case 17: return UInt64.max - random.below(16)
      case 18: return random.below(64)
      default: return random.next()
      }
    }
    // Entries and frame numbers, some of them its own.
    for index in 0..<UInt64(4) {
      let frame = random.below(2) == 0 ? lastFrame : argument()
      store64(list + index * 8, random.below(2) == 0 ? frame : frame << 12 | random.next() & 0x63 | Entry.noExecute)
    }
    let numbers: [20 of UInt64] = [
      0x08, 0x09, 0x10, 0x10, 0x10, 0x11, 0x12, 0x18, 0x18, 0x18, 0x19, 0x1a, 0x1a, 0x1a, 0x1b, 0x20, 0x21, 0x28, 0x29,
      0x2a,
    ]
    var number = numbers[Int(random.below(20))]
    if random.below(50) == 0 { number = random.below(64) }
    // Ending itself, yields and sleeps are for the end; powering off it has no capability for.
    if number == 1 || number == 2 { continue }
    var first = argument()
    if random.below(3) != 0 { first = number == 0x1a || number == 0x1b ? Slot.other | Slot.other << 8 : Slot.other }
    // Too many frames, and nobody else has any.
    let second = number == 0x10 && random.below(4) != 0 ? list : argument()
    let third = number == 0x10 ? random.below(5) : argument()
    let answer = Kernel.call(
      number: UInt64(APUS_CALL_BIT) | number, first, second, third, argument(), argument())
    if let value = answer.value {
      set_uarea_word(UInt32(UA_WORD3), uarea_word(UInt32(UA_WORD3)) + 1)
      lastValue = value
      if number == 0x10, value > 0 { lastFrame = load64(list) }
    }
    set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1)
  }
  Kernel.call(.environmentKill)
  while true {}
}

/// Ends every environment of an account.
private func endAll(of account: UInt64) {
  for slot in 0..<Information.page.environment_count {
    let record = Information.environment(slot: slot)
    let isLive =
      record.state == UInt32(APUS_ENVIRONMENT_RUNNABLE) || record.state == UInt32(APUS_ENVIRONMENT_SLEEPING)
    if isLive, UInt64(record.account) == account {
      Kernel.call(.environmentKill, Slot.other, UInt64(record.generation) << 32 | (slot + 1))
    }
  }
}

private func isGone(_ account: UInt64) -> Bool {
  for slot in 0..<Information.page.environment_count {
    let record = Information.environment(slot: slot)
    if record.state != UInt32(APUS_ENVIRONMENT_FREE), UInt64(record.account) == account { return false }
  }
  return true
}

func fuzzChecks(_ report: inout Report) { fuzz(rounds: 100, quietly: false, &report) }

/// For the long tests; only what fails is told.
func longFuzzChecks(_ report: inout Report) { fuzz(rounds: 4000, quietly: true, &report) }

private func fuzz(rounds: UInt64, quietly: Bool, _ report: inout Report) {
  var calls: UInt64 = 0
  for round in 0..<rounds {
    var check = Check("fuzz", "a family that calls at random, seed", round)
    let account = 0x0200 + round
    let free = free_frames()
    let before = Snapshot()
    let started = Information.environment(slot: Information.ownSlot).calls
    Kernel.forge(Slot.other, name: account << 48, length: 2)
    guard
      let child = Child(
        0, body: address_of_hostile_body_fuzz(), foreign: Slot.other, capabilities: 1 << Slot.other,
        changing: { store64($0 + UInt64(UA_WORD2), (round + 1) &* 0x9e37_79b9_7f4a_7c15) })
    else {
      check.expect(false, "no child")
      report.finish(check)
      return
    }
    // It ends by itself, or has come to a stop, for example by giving its only slice back.
    _ = waitUntil(turns: 400) { !child.isLive }
    calls += child.record.calls
    endAll(of: account)
    check.expect(waitUntil(turns: 2000) { isGone(account) }, "an environment of it is left")
    Kernel.call(.capabilityDrop, Slot.other)
    balance(free, &check)
    // The frame table's free list has another order now, and records of the dead stay readable.
    let later = Snapshot()
    check.expect(later.tables == before.tables, "the page tables changed")
    check.expect(later.timeline == before.timeline, "the timeline changed")
    check.expect(Information.environment(slot: Information.ownSlot).calls > started, "calls counted")
    check.expect(Information.environmentsInUse, equals: 1, "environments")
    if !quietly || !check.holds { report.finish(check) }
  }
  var check = Check("fuzz", "calls that were made:", calls)
  check.expect(calls > rounds * 20, "too few", calls)
  report.finish(check)
}
