// SPDX-License-Identifier: Apache-2.0
// FuzzGrammar.swift: the random families' grammar: one line for each call says what its arguments are made of.
//
// A call of the ABI without a line here does not compile. A line is the call's weight among all calls, then the
// kinds of its arguments. Weights: 1 seldom, 8 often. Garbage of every kind comes in on its own; see FuzzAttacker.swift.

import ApusABI

/// What an argument is made of.
enum FuzzWord: UInt8 {
  /// The call has no such argument: anything.
  case none
  /// A capability slot; two of them, table and frame authority; a slot to write into.
  case slot, slots, slotTo
  /// An environment; one of them or nobody.
  case handle, handleOrNobody
  /// A frame; a root of an address space.
  case frame, root
  /// A page that the family can map; one where an environment's u-area is or could be.
  case page, uareaPage
  /// A word of memory to wait for, and what is in it or not.
  case word, wordValue
  /// A time, past, near, or never; a number of ticks.
  case deadline, ticks
  /// A slice of the timeline.
  case slice
  /// A level of page tables, 1 to 4.
  case level
  /// A list of frames in memory; of free ones or room for them; of page-table entries; its number of elements.
  case frames, room, entries, count
  /// Packed counts and bits of `pagesProtect`; a mask of bits.
  case countAndBits, mask
  /// A capability's name; its length; length and rights.
  case name, nameLength, shape
  /// An account.
  case account
  /// Bytes in memory; how many.
  case bytes, byteCount
  /// A few low bits; a small number.
  case flags, small
}

/// How a call comes back.
enum FuzzReturn {
  /// With a value.
  case value
  /// At the slice-begin entry, or at once with a value.
  case slice
  /// Never, when it succeeds.
  case never
}

/// How often a call is made and with what.
struct FuzzGrammar {
  let weight: Int
  let words: (FuzzWord, FuzzWord, FuzzWord, FuzzWord, FuzzWord)
  let comesBack: FuzzReturn

  init(
    _ weight: Int, _ a: FuzzWord = .none, _ b: FuzzWord = .none, _ c: FuzzWord = .none, _ d: FuzzWord = .none,
    _ e: FuzzWord = .none, _ comesBack: FuzzReturn = .value
  ) {
    self.weight = weight
    words = (a, b, c, d, e)
    self.comesBack = comesBack
  }

  /// The line of a call.
  init(_ call: SystemCall) {
    switch call {
    case .null: self.init(1)
    case .notify: self.init(1)
    case .waitAny: self.init(1, .bytes, .small, .deadline, .handleOrNobody, .none, .slice)
    case .ringRegister: self.init(1, .slot, .page)
    case .ringDrain: self.init(1, .slot, .handleOrNobody)
    case .batch: self.init(2, .bytes, .small)
    case .yield: self.init(1, .handleOrNobody, .none, .none, .none, .none, .slice)
    case .sleep: self.init(1, .word, .wordValue, .deadline, .handleOrNobody, .none, .slice)
    case .transfer: self.init(3, .handle, .deadline, .none, .none, .none, .slice)
    case .transferReturn: self.init(1, .none, .none, .none, .none, .none, .slice)
    case .transferAsynchronously: self.init(1, .handle, .none, .none, .none, .none, .slice)
    case .sliceAllocate: self.init(3, .slot, .slice, .handle)
    case .sliceFree: self.init(1, .slot, .slice)
    case .contract: self.init(2, .slot, .handle, .ticks, .ticks, .small)
    case .contractEnd: self.init(1, .slot, .handle)
    case .frameAllocate: self.init(7, .slot, .room, .count, .flags)
    case .frameFree: self.init(5, .slot, .frames, .count)
    case .frameGuard: self.init(3, .slot, .frame, .nameLength, .name)
    case .frameTransfer: self.init(3, .slot, .frames, .count, .slot)
    case .tableInstall: self.init(5, .slot, .root, .page, .level, .frame)
    case .tableRemove: self.init(3, .slot, .root, .page, .level)
    case .pagesWrite: self.init(8, .slots, .root, .page, .count, .entries)
    case .pagesFill: self.init(5, .slots, .root, .page, .count, .flags)
    case .pagesRelease: self.init(4, .slots, .root, .page, .count, .flags)
    case .pagesPromote: self.init(2, .slot, .root, .page)
    case .pagesDemote: self.init(1, .slot, .frame)
    case .pagesProtect: self.init(5, .slots, .root, .page, .countAndBits, .mask)
    case .environmentCreate: self.init(3, .slot, .root, .frame, .uareaPage, .mask)
    case .environmentKill: self.init(1, .slot, .handle, .handleOrNobody)
    case .capabilityForge: self.init(3, .slot, .slotTo, .shape, .name)
    case .capabilityGrant: self.init(3, .slot, .slot, .handle, .slotTo)
    case .capabilityDrop: self.init(1, .slotTo)
    case .accountLimit: self.init(2, .slot, .account, .flags, .count)
    case .consoleWrite: self.init(1, .slot, .small, .bytes, .byteCount)
    case .consoleRead: self.init(1, .slot, .bytes, .byteCount)
    case .powerOff: self.init(1, .slot, .small, .none, .none, .none, .never)
    case .revoke: self.init(2, .slot, .handle, .small, .count, .deadline)
    case .repossessionVector: self.init(1, .slot, .frame)
    case .packetRingCreate: self.init(2, .slot, .frame, .frames, .count)
    case .packetRingEnd: self.init(1, .slot, .small)
    case .filterInsert: self.init(2, .slots, .small, .bytes, .small)
    case .filterRemove: self.init(1, .slot, .small)
    case .transmit: self.init(2, .slots, .small, .bytes, .small)
    case .programCreate: self.init(2, .slot, .small, .bytes, .frames, .count)
    case .programVerify: self.init(3, .slot, .small)
    case .programEnd: self.init(1, .slot, .small)
    case .handlerBind: self.init(1, .slot, .small, .small, .frame)
    case .predicateSleep: self.init(1, .slot, .small, .bytes, .deadline, .none, .slice)
    case .guaranteedMinimum: self.init(1, .slot, .handle, .small, .count)
    }
  }

  /// All numbers below this are asked of the ABI.
  static var numbers: UInt64 { 128 }

  /// Fills dice with as many faces for each call as it has weight.
  ///
  /// - Returns: How many faces there are.
  static func fill(_ dice: inout [256 of UInt8]) -> Int {
    var faces = 0
    for number in 0..<numbers {
      guard let call = SystemCall(rawValue: UInt32(number)) else { continue }
      for _ in 0..<FuzzGrammar(call).weight where faces < 256 {
        dice[faces] = UInt8(truncatingIfNeeded: number)
        faces += 1
      }
    }
    return faces
  }
}
