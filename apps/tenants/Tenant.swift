// SPDX-License-Identifier: Apache-2.0
// Tenant.swift: what runs in each of the four families: it holds frames, and answers in its own way when some are asked
// back.
//
// It shares the program's text and nothing else: no global, no heap, no console. The frames that it holds are numbers
// in a list of its own.

import ApusABI

/// How a family answers.
enum Conduct: UInt64 {
  /// Gives back all that is asked, at once, and takes as much as it may.
  case prompt
  /// Gives back one frame in the time of a slice.
  case slow
  /// Gives nothing back.
  case stubborn
  /// Holds only half of what it may, and gives back at once.
  case thrifty
}

/// An environment of a tenant begins here.
@c @used func native_family_body(_ uarea: UInt64, _ number: UInt64) -> Never {
  var tenant = Tenant(uarea, Conduct(rawValue: number) ?? .prompt)
  while true { tenant.turn() }
}

private struct Tenant {
  private let uarea: UInt64
  private let conduct: Conduct
  private let list: WordTable
  /// Frames in the list.
  private var count: UInt64 = 0
  /// What it still means to give back.
  private var owed: UInt64 = 0
  /// Until then it takes none: the kernel has not looked yet.
  private var quietUntil: UInt64 = 0
  private let account: UInt64

  init(_ uarea: UInt64, _ conduct: Conduct) {
    self.uarea = uarea
    self.conduct = conduct
    list = WordTable(address: Family.list(uarea))
    account = frame_account(Pages.frame(of: Pages.entry(at: uarea)))
    Native.call(.repossessionVector, Family.own, Pages.frame(of: Pages.entry(at: Family.vector(uarea))))
  }

  private func word(_ offset: Int32) -> UInt64 { load64(uarea + UInt64(offset)) }

  /// What it does once in the time of a slice.
  mutating func turn() {
    if word(APUS_UA_PENDING) & UInt64(APUS_PENDING_REVOCATION) != 0 { hear() }
    let now = time_stamp()
    if owed > 0, now < quietUntil { answer() }
    if now >= quietUntil {
      owed = 0
      forgetWhatWasTaken()
      take()
    }
    Native.sleep(until: now + slice_ticks())
  }

  /// Frames are asked back.
  private mutating func hear() {
    owed = word(APUS_UA_REVOCATION_COUNT)
    quietUntil = word(APUS_UA_REVOCATION_DEADLINE) + revocation_bound()
    store64(uarea + UInt64(APUS_UA_PENDING), word(APUS_UA_PENDING) & ~UInt64(APUS_PENDING_REVOCATION))
    nameWhatMayGo()
  }

  /// Tells the kernel what to take first, should it come to that: frames of the list, and not the stack.
  private func nameWhatMayGo() {
    let vector = WordTable(address: Family.vector(uarea))
    let named = min(owed, min(count, UInt64(APUS_REPOSSESSION_FIRST)))
    for index in 0..<named {
      let kind = RevocationKind.frames.rawValue << UInt64(APUS_REPOSSESSION_KIND_SHIFT)
      vector[8 + UInt64(APUS_REPOSSESSION_ENTRIES) + index] = kind | list[count - 1 - index]
    }
    vector[3] = named
    // What it took before has been seen.
    vector[2] = vector[0]
  }

  private mutating func answer() {
    switch conduct {
    case .prompt, .thrifty:
      while owed > 0, giveBack() {}
    case .slow: _ = giveBack()
    case .stubborn: break
    }
  }

  /// Gives the last frame of the list back.
  private mutating func giveBack() -> Bool {
    guard count > 0, owed > 0 else { return false }
    guard Native.call(.frameFree, Family.own, list.address + (count - 1) * 8, 1) != nil else { return false }
    count -= 1
    owed -= 1
    store64(uarea + UInt64(UA_OWN), word(UA_OWN) + 1)
    return true
  }

  /// The kernel's frame table says whose a frame is.
  private mutating func forgetWhatWasTaken() {
    var kept: UInt64 = 0
    for index in 0..<count where frame_account(list[index]) == account {
      list[kept] = list[index]
      kept += 1
    }
    count = kept
  }

  /// Takes what it may hold, or means to.
  private mutating func take() {
    let limit = account_frame_limit(account)
    let goal = conduct == .thrifty ? limit / 2 : limit
    while account_frames(account) < goal, count < 2048 {
      let wanted = min(64, goal - account_frames(account))
      guard let taken = Native.call(.frameAllocate, Family.own, list.address + count * 8, wanted, 0), taken > 0 else {
        return
      }
      count += taken
    }
  }
}
