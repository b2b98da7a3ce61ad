// SPDX-License-Identifier: Apache-2.0
// Model.swift: the rules of frames and page tables once more, in dictionaries and without any care for speed.
//
// The model keeps no counts: it searches all tables whenever it needs one. For each operation it says which errors
// would be right; the ledger must fail with one of them, or succeed when there is none.

import ApusABI
import ApusResources

/// A name with rights, as the model sees it.
struct ModelCapability {
  var name: [UInt8]
  var rights: Rights3

  func reaches(_ frame: ModelFrame, write: Bool) -> Bool {
    frame.guardName.starts(with: name) && (write ? rights.write : rights.read)
  }
}

struct Rights3 {
  var read = true
  var write = true
}

enum Kind: Equatable {
  case absent, free, ordinary, kernel
  case table(Int)
}

struct ModelFrame {
  var kind = Kind.absent
  var account = 0
  var guardName: [UInt8] = []
  var pins = 0
  /// Environments that run in this root.
  var environments = 0
  /// Words that are not zero.
  var words: [Int: UInt64] = [:]
}

final class Model {
  var frames: [Int: ModelFrame] = [:]
  let count: Int
  /// How many frames an account may hold.
  var limits: [Int: Int] = [:]
  typealias Errors = Set<SystemCallError>

  init(count: Int) {
    self.count = count
    for frame in 0..<count { frames[frame] = ModelFrame() }
  }

  subscript(frame: Int) -> ModelFrame {
    get { frames[frame] ?? ModelFrame() }
    set { frames[frame] = newValue }
  }

  // MARK: Searching

  static func target(_ entry: UInt64) -> Int { Int(entry >> 12 & 0xff_ffff_ffff) }

  /// Tables of a level, with the words of their user part.
  func entries(level: Int) -> [(table: Int, index: Int, entry: UInt64)] {
    var found: [(table: Int, index: Int, entry: UInt64)] = []
    for (number, frame) in frames where frame.kind == .table(level) {
      for (index, entry) in frame.words where level < 4 || index < 256 {
        found.append((number, index, entry))
      }
    }
    return found
  }

  func mappings(_ frame: Int) -> Int { entries(level: 1).count { Self.target($0.entry) == frame } }

  func links(_ table: Int) -> Int {
    guard case .table(let level) = self[table].kind, level < 4 else { return 0 }
    return entries(level: level + 1).count { Self.target($0.entry) == table }
  }

  func isUnused(_ frame: Int) -> Bool { self[frame].pins == 0 && mappings(frame) == 0 }

  func isOrdinary(_ frame: Int) -> Bool { self[frame].kind == .ordinary }

  static func index(_ address: UInt64, _ level: Int) -> Int {
    Int((address / 4096) >> (9 * UInt64(level - 1)) % 512)
  }

  /// The tables from below the root down to `level`, or nothing if one is missing.
  func path(_ root: Int, _ address: UInt64, to level: Int) -> [Int]? {
    var tables = [root]
    for current in stride(from: 4, to: level, by: -1) {
      guard let entry = self[tables.last ?? root].words[Self.index(address, current)] else {
        return nil
      }
      tables.append(Self.target(entry))
    }
    return tables
  }

  static let userEnd: UInt64 = 0x7fff_ffff_f000

  // MARK: Errors

  func rootErrors(_ root: UInt64, _ account: Int, _ capability: ModelCapability) -> Errors {
    guard root < count else { return [.noSuchResource] }
    let frame = self[Int(root)]
    var errors: Errors = []
    if frame.kind != .table(4) { errors.insert(.wrongType) }
    if frame.account != account || !capability.reaches(frame, write: true) { errors.insert(.denied) }
    return errors
  }

  func isHeld(_ frame: ModelFrame) -> Bool {
    frame.kind != .free && frame.kind != .absent && frame.kind != .kernel
  }

  /// How many frames an account holds, of whatever type.
  func used(_ account: Int) -> Int {
    frames.values.count { isHeld($0) && $0.account == account }
  }

  func room(_ account: Int) -> Int { (limits[account] ?? 0) - used(account) }

  func limitErrors(_ account: UInt64, _ limit: Int, _ giver: Int, _ capability: ModelCapability) -> Errors {
    guard account < 16 else { return [.noSuchResource] }
    let name = [0, UInt8(account)]
    var errors: Errors = []
    if !name.starts(with: capability.name) || !capability.rights.write { errors.insert(.denied) }
    if Int(account) == giver { errors.insert(.invalid) }
    if limit < used(Int(account)) { errors.insert(.inUse) }
    if limit - (limits[Int(account)] ?? 0) > room(giver) { errors.insert(.quotaExceeded) }
    return errors
  }

  func allocateErrors(_ capability: ModelCapability, _ account: Int) -> Errors {
    var errors: Errors = []
    if room(account) == 0 { errors.insert(.quotaExceeded) }
    if !capability.rights.write { errors.insert(.denied) }
    if !frames.values.contains(where: { $0.kind == .free }) { errors.insert(.exhausted) }
    return errors
  }

  func namedErrors(_ list: [UInt64], _ capability: ModelCapability, _ account: Int) -> Errors {
    var errors: Errors = []
    if list.count > room(account) { errors.insert(.quotaExceeded) }
    if !capability.rights.write { errors.insert(.denied) }
    if Set(list).count != list.count { errors.insert(.invalid) }
    for number in list {
      guard number < count else {
        errors.insert(.noSuchResource)
        continue
      }
      switch self[Int(number)].kind {
      case .free: break
      case .absent, .kernel: errors.insert(.noSuchResource)
      case .ordinary, .table: errors.insert(.inUse)
      }
    }
    return errors
  }

  func freeErrors(_ list: [UInt64], _ capability: ModelCapability) -> Errors {
    var errors: Errors = []
    if Set(list).count != list.count { errors.insert(.invalid) }
    for number in list {
      guard number < count else {
        errors.insert(.noSuchResource)
        continue
      }
      let frame = Int(number)
      if !isOrdinary(frame) { errors.insert(.wrongType) }
      if !capability.reaches(self[frame], write: true) { errors.insert(.denied) }
      if !isUnused(frame) { errors.insert(.inUse) }
    }
    return errors
  }

  func guardErrors(_ number: UInt64, _ name: [UInt8], _ capability: ModelCapability) -> Errors {
    guard number < count else { return [.noSuchResource] }
    let frame = self[Int(number)]
    var errors: Errors = []
    if !isOrdinary(Int(number)) { errors.insert(.wrongType) }
    if !capability.reaches(frame, write: true) { errors.insert(.denied) }
    if name.count <= frame.guardName.count { errors.insert(.invalid) }
    if !name.starts(with: frame.guardName) { errors.insert(.denied) }
    return errors
  }

  /// For pinning a frame as a u-area.
  func uareaErrors(_ number: UInt64, _ account: Int, _ capability: ModelCapability) -> Errors {
    conversionErrors(number, account, capability).subtracting([.inUse])
  }

  /// For turning a frame into a table.
  func conversionErrors(_ number: UInt64, _ account: Int, _ capability: ModelCapability) -> Errors {
    guard number < count else { return [.noSuchResource] }
    let frame = self[Int(number)]
    var errors: Errors = []
    if !isOrdinary(Int(number)) { errors.insert(.wrongType) }
    if frame.account != account || !capability.reaches(frame, write: true) { errors.insert(.denied) }
    if !isUnused(Int(number)) { errors.insert(.inUse) }
    return errors
  }

  func installErrors(
    _ number: UInt64, level: Int, _ address: UInt64, _ root: UInt64, _ account: Int,
    _ capability: ModelCapability
  ) -> Errors {
    guard (1...3).contains(level), address < Self.userEnd, address % 4096 == 0 else {
      return [.invalid]
    }
    var errors = rootErrors(root, account, capability)
    guard number < count else { return errors.union([.noSuchResource]) }
    if self[Int(number)].kind == .table(level) {
      let frame = self[Int(number)]
      if frame.account != account || !capability.reaches(frame, write: true) {
        errors.insert(.denied)
      }
    } else {
      errors.formUnion(conversionErrors(number, account, capability))
    }
    guard errors.isEmpty else { return errors }
    guard let parents = path(Int(root), address, to: level + 1) else { return [.noTable] }
    let parent = parents[parents.count - 1]
    return self[parent].words[Self.index(address, level + 1)] == nil ? [] : [.tableExists]
  }

  func removeErrors(
    level: Int, _ address: UInt64, _ root: UInt64, _ account: Int, _ capability: ModelCapability
  ) -> Errors {
    guard (1...3).contains(level), address < Self.userEnd, address % 4096 == 0 else {
      return [.invalid]
    }
    let errors = rootErrors(root, account, capability)
    guard errors.isEmpty else { return errors }
    guard let tables = path(Int(root), address, to: level) else { return [.noTable] }
    let table = tables[tables.count - 1]
    return level > 1 && links(table) == 1 && !self[table].words.isEmpty ? [.inUse] : []
  }

  func removeRootErrors(_ root: UInt64, _ account: Int, _ capability: ModelCapability) -> Errors {
    let errors = rootErrors(root, account, capability)
    guard errors.isEmpty else { return errors }
    let frame = self[Int(root)]
    return frame.environments > 0 || frame.words.keys.contains { $0 < 256 } ? [.inUse] : []
  }

  func rangeErrors(
    _ address: UInt64, _ count: Int, _ root: UInt64, _ account: Int, _ capability: ModelCapability
  ) -> Errors {
    guard address < Self.userEnd, address % 4096 == 0,
      address + UInt64(count) * 4096 <= Self.userEnd
    else { return [.invalid] }
    let errors = rootErrors(root, account, capability)
    guard errors.isEmpty else { return errors }
    let pages = (0..<max(min(count, 512), 1)).map { address + UInt64($0) * 4096 }
    return pages.allSatisfy { path(Int(root), $0, to: 1) != nil } ? [] : [.noTable]
  }

  func entryErrors(_ entry: UInt64, _ capability: ModelCapability) -> Errors {
    guard entry & 1 != 0 else { return [] }
    var errors: Errors = []
    if entry & 0x198 != 0 { errors.insert(.invalid) }
    if !capability.rights.read || (entry & 2 != 0 && !capability.rights.write) {
      errors.insert(.denied)
    }
    guard Self.target(entry) < count else { return errors.union([.noSuchResource]) }
    let frame = self[Self.target(entry)]
    if frame.kind != .ordinary { errors.insert(.wrongType) }
    if !frame.guardName.starts(with: capability.name) { errors.insert(.denied) }
    return errors
  }

  // MARK: Effects

  func take(
    _ frame: Int, _ capability: ModelCapability, _ account: Int, keepsOwn: Bool = false, keepsContents: Bool = false
  ) {
    if !(keepsContents || keepsOwn && self[frame].guardName == capability.name) { self[frame].words = [:] }
    self[frame].kind = .ordinary
    self[frame].account = account
    self[frame].guardName = capability.name
  }

  func putBack(_ frame: Int) {
    self[frame].kind = .free
    self[frame].account = 0
    self[frame].pins = 0
  }

  func unpin(_ frame: Int) {
    self[frame].pins -= 1
  }

  func install(_ frame: Int, level: Int, _ address: UInt64, _ root: Int) {
    if self[frame].kind != .table(level) {
      self[frame].kind = .table(level)
      self[frame].words = [:]
    }
    let parent = path(root, address, to: level + 1)?.last ?? root
    self[parent].words[Self.index(address, level + 1)] = UInt64(frame) * 4096 + 7
  }

  func remove(level: Int, _ address: UInt64, _ root: Int) -> (frame: Int, wasAccessed: Bool) {
    let parent = path(root, address, to: level + 1)?.last ?? root
    let entry = self[parent].words.removeValue(forKey: Self.index(address, level + 1)) ?? 0
    let table = Self.target(entry)
    if links(table) == 0 {
      self[table].kind = .ordinary
      self[table].words = [:]
    }
    return (table, entry & 0x20 != 0)
  }

  /// The position of a page's entry.
  func leaf(_ root: Int, _ address: UInt64) -> (table: Int, index: Int) {
    (path(root, address, to: 1)?.last ?? root, Self.index(address, 1))
  }

  /// What the caches need after the entries for some pages changed.
  func maintenance(
    _ root: Int, _ address: UInt64, _ count: Int, current: Int
  ) -> Maintenance {
    let pages = (0..<count).map { address + UInt64($0) * 4096 }
    let wasCached = pages.contains {
      let (table, index) = leaf(root, $0)
      return (self[table].words[index] ?? 0) & 0x21 == 0x21
    }
    guard wasCached else { return .none }
    let isShared = pages.contains {
      (path(root, $0, to: 1) ?? []).dropFirst().contains { links($0) > 1 }
    }
    return isShared || root != current ? .everything : .range(address: address, count: count)
  }

  func write(_ root: Int, _ address: UInt64, _ entries: [UInt64]) {
    for (offset, entry) in entries.enumerated() {
      let (table, index) = leaf(root, address + UInt64(offset) * 4096)
      self[table].words[index] = entry & 1 == 0 ? nil : entry | 4
    }
  }

  func unmapAll(of frame: Int) {
    for (table, index, entry) in entries(level: 1) where Self.target(entry) == frame {
      self[table].words[index] = nil
    }
  }

  /// Takes back everything of an account in whose roots no environment runs.
  func reclaim(_ account: Int) {
    let owned = frames.keys.filter { self[$0].account == account && self[$0].kind != .free }
    for frame in owned {
      if case .table = self[frame].kind {
        self[frame].words = [:]
        putBack(frame)
      }
    }
    let pages = owned.filter { self[$0].kind == .ordinary }
    // Mappings are taken by force when that frees a frame; those of pinned frames go with them.
    if pages.contains(where: { self[$0].pins == 0 && mappings($0) > 0 }) {
      for frame in pages { unmapAll(of: frame) }
    }
    for frame in pages where isUnused(frame) { putBack(frame) }
  }
}
