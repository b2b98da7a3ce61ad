// SPDX-License-Identifier: Apache-2.0
// Information.swift: what the kernel shows in its information pages, and sums over all that a refused call must not
// change.

import ApusABI

enum Information {
  private static var base: UInt64 { UInt64(APUS_INFORMATION_BASE) }

  static var page: apus_information { information_page() }
  /// Bytes of a record of the frame table.
  static var frameSize: UInt64 { UInt64(MemoryLayout<apus_frame>.stride) }
  /// Bytes of a record of the environment table.
  static var environmentSize: UInt64 { UInt64(MemoryLayout<apus_environment>.stride) }

  static func frame(_ number: UInt64) -> apus_frame {
    frame_record_at(base + page.frame_table_offset + number * frameSize)
  }
  static func frameType(_ number: UInt64) -> UInt8 { frame(number).type }
  static func environment(slot: UInt64) -> apus_environment { environment_record_at(environmentAddress(slot: slot)) }
  static func environmentAddress(slot: UInt64) -> UInt64 {
    base + page.environment_table_offset + slot * environmentSize
  }
  static func revocation(_ index: UInt64) -> apus_revocation {
    revocation_record_at(base + page.revocation_table_offset + index * 96)
  }
  /// What the kernel remembers of an account, if it does.
  static func revocation(of account: UInt64) -> apus_revocation? {
    for index in 0..<page.revocation_count where UInt64(revocation(index).account) == account {
      return revocation(index)
    }
    return nil
  }
  static func slice(_ number: UInt64) -> apus_slice { slice_record_at(base + page.timeline_offset + number * 16) }

  /// Bytes of a record of the contract table.
  static var contractSize: UInt64 { UInt64(MemoryLayout<apus_contract>.stride) }
  /// A contract of the first CPU, by the lower half of its name.
  static func contract(_ index: UInt64) -> apus_contract {
    contract_record_at(base + page.contract_table_offset + index * contractSize)
  }
  static func account(_ number: UInt64) -> apus_account {
    account_record_at(base + page.account_table_offset + number * UInt64(MemoryLayout<apus_account>.stride))
  }

  /// The slot of a handle.
  static func slot(of handle: UInt64) -> UInt64 { (handle & 0xffff_ffff) - 1 }
  static func environment(_ handle: UInt64) -> apus_environment { environment(slot: slot(of: handle)) }

  /// The calling environment's slot: its u-area has an address that no other has.
  static var ownSlot: UInt64 {
    let own = uarea_word(UInt32(APUS_UA_SELF))
    let count = page.environment_count
    for slot in 0..<count {
      let record = environment(slot: slot)
      if record.state != UInt32(APUS_ENVIRONMENT_FREE), record.uarea_address == own { return slot }
    }
    return 0
  }
  static var ownHandle: UInt64 {
    let slot = ownSlot
    return UInt64(environment(slot: slot).generation) << 32 | (slot + 1)
  }
  static var ownRoot: UInt64 { UInt64(environment(slot: ownSlot).root) }

  /// How many slots of the environment table are taken.
  static var environmentsInUse: UInt64 {
    var count: UInt64 = 0
    for slot in 0..<page.environment_count where environment(slot: slot).state != UInt32(APUS_ENVIRONMENT_FREE) {
      count += 1
    }
    return count
  }
}

/// Everything that a refused call must leave alone, in seven sums.
struct Snapshot: Equatable {
  let frames: UInt64
  let free: UInt64
  let environments: UInt64
  let timeline: UInt64
  let contracts: UInt64
  let revocations: UInt64
  let tables: UInt64
  let accounts: UInt64

  /// Takes the sums.
  init() {
    let page = Information.page
    frames = sum_words(
      UInt64(APUS_INFORMATION_BASE) + page.frame_table_offset, page.frame_count * Information.frameSize / 8, 1)
    free = page.frames_free
    var sum: UInt64 = 1
    for slot in 0..<page.environment_count {
      // The counters of calls, upcalls and time, words 8 to 16, move with every call.
      let address = Information.environmentAddress(slot: slot)
      sum = sum_words(address, 8, sum)
      sum = sum_words(address + 136, Information.environmentSize / 8 - 17, sum)
    }
    environments = sum
    sum = 1
    for slice in 0..<page.slice_count {
      // Beside its owner a slice has a counter of its runs.
      sum = sum_words(UInt64(APUS_INFORMATION_BASE) + page.timeline_offset + slice * 16, 1, sum)
    }
    timeline = sum
    sum = 1
    for index in 0..<page.processor_count * UInt64(APUS_CONTRACT_COUNT) {
      // The first words are whose they are and their shares; the others move with time.
      sum = sum_words(
        UInt64(APUS_INFORMATION_BASE) + page.contract_table_offset + index * Information.contractSize, 1, sum)
    }
    contracts = sum
    revocations = sum_words(
      UInt64(APUS_INFORMATION_BASE) + page.revocation_table_offset, page.revocation_count * 12, 1)
    tables = OwnTables.sum()
    // What each account holds. Limits move when the kernel has done with a dead account: their total does not.
    accounts = sum_budgets(UInt64(APUS_INFORMATION_BASE) + page.account_table_offset, page.account_count)
  }

  /// Says what differs, if anything does.
  func compare(with later: Snapshot, _ check: inout Check) {
    check.expect(later.free, equals: free, "the count of free frames changed")
    check.expect(later.frames == frames, "the frame table changed")
    check.expect(later.environments == environments, "the environment table changed")
    check.expect(later.timeline == timeline, "the timeline changed")
    check.expect(later.contracts == contracts, "the contracts changed")
    check.expect(later.revocations == revocations, "the revocation table changed")
    check.expect(later.tables == tables, "the page tables changed")
    check.expect(later.accounts == accounts, "the account table changed")
  }
}

/// The address space's own page tables, seen through the recursive slot.
enum OwnTables {
  /// The address of the entry of `level` (1 to 4) that translates an address.
  static func entryAddress(_ address: UInt64, level: UInt64) -> UInt64 {
    var result = address
    for _ in 0..<level { result = UInt64(APUS_TABLES_BASE) + (result >> 12 & 0xf_ffff_ffff) * 8 }
    return result
  }

  /// The entry of `level` for an address, or 0 if a table above it is missing.
  static func entry(_ address: UInt64, level: UInt64 = 1) -> UInt64 {
    var current: UInt64 = 4
    while current > level {
      if load64(entryAddress(address, level: current)) & 0x81 != 1 { return 0 }
      current -= 1
    }
    return load64(entryAddress(address, level: level))
  }

  /// The frame that an address is mapped to.
  static func frame(_ address: UInt64) -> UInt64 { (entry(address) & 0x000f_ffff_ffff_f000) >> 12 }

  /// A sum over all entries of the user half but for the bits that the processor sets.
  static func sum() -> UInt64 { sum(level: 4, from: 0, entries: 256, 1) }

  private static func sum(level: UInt64, from address: UInt64, entries: UInt64, _ start: UInt64) -> UInt64 {
    var result = start
    let span: UInt64 = 1 << (3 + 9 * level)
    for index in 0..<entries {
      let part = address + index * span
      let entry = load64(entryAddress(part, level: level))
      if entry & 1 == 0 { continue }
      result = (result ^ (entry & ~0x60) ^ part) &* 0x9e37_79b9_7f4a_7c15 &+ result >> 29
      // A large page is its own last word.
      if level > 1, entry & 0x80 == 0 { result = sum(level: level - 1, from: part, entries: 512, result) }
    }
    return result
  }
}
