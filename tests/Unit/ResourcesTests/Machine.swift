// SPDX-License-Identifier: Apache-2.0
// Machine.swift: a machine's memory in arrays, with a journal of what an operation changed.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI

/// The memory of a small machine.
///
/// The ledgers reach it only through the storage views below, so what is not in the journal has not changed.
final class Machine {
  var records: [apus_frame]
  var words: [UInt64]
  var environments: [apus_environment]
  var slices: [apus_slice]
  var contracts: [apus_contract]
  var accounts: [apus_account]

  /// Frames whose records were written, with the record from before the first write.
  var changedRecords: [UInt32: apus_frame] = [:]
  /// Words (frame * 512 + index) that were written, with the value from before the first write.
  var changedWords: [Int: UInt64] = [:]
  /// The account table when the journal began.
  private var accountsBefore: [[UInt32]] = []
  var isJournaling = false
  /// What another processor does to a word just before it is exchanged.
  var processor: ((Int) -> Void)?

  init(frames: Int = 0, environments: Int = 0, slices: Int = 0, contracts: Int = 0, accounts: Int = 16) {
    records = Array(repeating: apus_frame(), count: frames)
    words = Array(repeating: 0, count: frames * 512)
    self.environments = Array(repeating: apus_environment(), count: environments)
    self.slices = Array(repeating: apus_slice(), count: slices)
    self.contracts = Array(repeating: apus_contract(), count: contracts)
    self.accounts = Array(repeating: apus_account(), count: accounts)
  }

  func beginJournal() {
    changedRecords.removeAll(keepingCapacity: true)
    changedWords.removeAll(keepingCapacity: true)
    accountsBefore = accounts.map(\.bits)
    isJournaling = true
  }

  /// Whether everything has the value again that it had when the journal began.
  var isUnchanged: Bool {
    changedRecords.allSatisfy { records[Int($0.key)].bits == $0.value.bits }
      && changedWords.allSatisfy { words[$0.key] == $0.value } && accounts.map(\.bits) == accountsBefore
  }

  func setWord(_ position: Int, _ value: UInt64) {
    if isJournaling, changedWords[position] == nil { changedWords[position] = words[position] }
    words[position] = value
  }
}

struct FrameView: FrameStorage {
  let machine: Machine
  var count: UInt32 { UInt32(machine.records.count) }
  subscript(index: UInt32) -> apus_frame {
    get { machine.records[Int(index)] }
    nonmutating set {
      if machine.isJournaling, machine.changedRecords[index] == nil {
        machine.changedRecords[index] = machine.records[Int(index)]
      }
      machine.records[Int(index)] = newValue
    }
  }
}

extension FrameView {
  func state(of frame: UInt32) -> UInt64 { self[frame].bits[2] }
  func setState(of frame: UInt32, to state: UInt64) {
    self[frame].account = UInt16(truncatingIfNeeded: state)
    self[frame].pins = UInt16(truncatingIfNeeded: state >> 16)
    self[frame].type = UInt8(truncatingIfNeeded: state >> 32)
    self[frame].guard_length = UInt8(truncatingIfNeeded: state >> 40)
    self[frame].reserved = UInt16(truncatingIfNeeded: state >> 48)
  }
}

struct MemoryView: TableMemory {
  let machine: Machine
  func entry(_ table: UInt32, _ index: Int) -> UInt64 { machine.words[position(table, index)] }
  func setEntry(_ table: UInt32, _ index: Int, _ value: UInt64) {
    machine.setWord(position(table, index), value)
  }
  var isShared: Bool { machine.processor != nil }
  func exchangeEntry(_ table: UInt32, _ index: Int, _ value: UInt64) -> UInt64 {
    machine.processor?(position(table, index))
    let old = entry(table, index)
    setEntry(table, index, value)
    return old
  }
  func changeEntry(_ table: UInt32, _ index: Int, from old: UInt64, keep: UInt64, set: UInt64) -> UInt64 {
    machine.processor?(position(table, index))
    let old = entry(table, index)
    setEntry(table, index, old & keep | set)
    return old
  }
  func zero(frame: UInt32) {
    for index in 0..<512 where entry(frame, index) != 0 { setEntry(frame, index, 0) }
  }
  private func position(_ table: UInt32, _ index: Int) -> Int {
    precondition(index >= 0 && index < 512)
    return Int(table) * 512 + index
  }
}

struct EnvironmentView: RecordTable {
  let machine: Machine
  var count: UInt32 { UInt32(machine.environments.count) }
  subscript(slot: UInt32) -> apus_environment {
    get { machine.environments[Int(slot)] }
    nonmutating set { machine.environments[Int(slot)] = newValue }
  }
}

struct AccountView: RecordTable {
  let machine: Machine
  var count: UInt32 { UInt32(machine.accounts.count) }
  subscript(account: UInt32) -> apus_account {
    get { machine.accounts[Int(account)] }
    nonmutating set { machine.accounts[Int(account)] = newValue }
  }
}

struct SliceView: RecordTable {
  let machine: Machine
  var count: UInt32 { UInt32(machine.slices.count) }
  subscript(index: UInt32) -> apus_slice {
    get { machine.slices[Int(index)] }
    nonmutating set { machine.slices[Int(index)] = newValue }
  }
}

struct ContractView: RecordTable {
  let machine: Machine
  var count: UInt32 { UInt32(machine.contracts.count) }
  subscript(index: UInt32) -> apus_contract {
    get { machine.contracts[Int(index)] }
    nonmutating set { machine.contracts[Int(index)] = newValue }
  }
}

/// A list of numbers that a call reads or fills.
final class Numbers: FrameList, EntryList {
  var values: [UInt64]
  init(_ values: [UInt64]) { self.values = values }
  init(count: Int) { values = Array(repeating: .max, count: count) }
  subscript(index: Int) -> UInt64 {
    get { values[index] }
    set { values[index] = newValue }
  }
}

typealias Ledger = FrameLedger<FrameView, AccountView>
typealias Environments = EnvironmentTable<EnvironmentView, AccountView>
typealias Tables = PageTables<FrameView, MemoryView>

extension apus_frame {
  /// Everything in the record, for comparison.
  var bits: [UInt64] {
    [
      self.guard, UInt64(mappings) | UInt64(writable_mappings) << 32,
      UInt64(account) | UInt64(pins) << 16 | UInt64(type) << 32 | UInt64(guard_length) << 40
        | UInt64(reserved) << 48,
      UInt64(large_parent),
    ]
  }
}

extension apus_account {
  /// Everything in the record, for comparison.
  var bits: [UInt32] {
    [
      frames.limit, frames.used, environments.limit, environments.used, slices.limit, slices.used, time.limit,
      time.used,
      UInt32(parent),
    ]
  }
}

extension Machine {
  /// The budgets of the machine.
  var ledger: AccountLedger<AccountView> { AccountLedger(accounts: AccountView(machine: self)) }

  /// Gives each account a budget of every kind that no test reaches.
  func endowAll() {
    for account in accounts.indices {
      for kind in AccountKind.all { ledger.endow(UInt16(account), kind, 10_000_000) }
    }
  }
}

extension AccountKind {
  static var all: [AccountKind] { [.frames, .environments, .slices, .time] }
}

/// A capability whose name is a string of ASCII.
func capability(_ name: String, _ rights: Rights = .all) -> Capability {
  let (bits, length) = packed(Array(name.utf8))
  guard let capability = Capability(name: bits, length: length, rights: rights) else {
    preconditionFailure("a test names a capability that cannot be")
  }
  return capability
}

/// A name as the records hold it.
func packed(_ name: [UInt8]) -> (bits: UInt64, length: UInt8) {
  var bits: UInt64 = 0
  for (index, byte) in name.enumerated() { bits |= UInt64(byte) << UInt64(56 - 8 * index) }
  return (bits, UInt8(name.count))
}

/// The error that an operation threw.
func failure(_ body: () throws(SystemCallError) -> Void) -> SystemCallError? {
  do throws(SystemCallError) { try body() } catch { return error }
  return nil
}

/// Numbers that look random and are the same in every run.
struct Seeded: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 1 }
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_f491_4f6c_dd1d
  }
  mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
  mutating func pick<Element>(_ list: [Element]) -> Element {
    list[Int.random(in: 0..<list.count, using: &self)]
  }
}

extension apus_environment {
  /// The capability in a slot of the list.
  func capability(at index: UInt64) -> Capability? {
    let slots = [
      capabilities.0, capabilities.1, capabilities.2, capabilities.3, capabilities.4, capabilities.5, capabilities.6,
      capabilities.7,
    ]
    return Capability(slots[Int(index)])
  }
}
