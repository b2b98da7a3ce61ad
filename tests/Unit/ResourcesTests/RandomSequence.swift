// SPDX-License-Identifier: Apache-2.0
// RandomSequence.swift: one random sequence of operations: what is chosen, and what is compared afterwards.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI

/// One sequence: a machine, its ledger, and the model beside it.
final class RandomSequence {
  static let names = [
    "allocate", "allocateNamed", "free", "setGuard", "pin", "unpin", "pinUarea", "makeRoot",
    "removeRoot", "retain", "release", "install", "remove", "write", "protect", "fillPages",
    "releasePages", "touch", "scribble", "reclaim", "setLimit", "transfer",
  ]
  static let infallible: Set<String> = [
    "unpin", "retain", "release", "touch", "scribble", "reclaim",
  ]
  static let frameCount = 56
  static let guards: [[UInt8]] = [[], [1], [1, 0], [1, 2], [2], [2, 0, 0]]
  static let addresses: [UInt64] = [
    0, 0x1f_e000, 0x1f_f000, 0x20_0000, 0x3fff_f000, 0x4000_0000, 0x7f_ffff_f000, 0x80_0000_0000,
    0x7fff_ffff_c000, 0x7fff_ffff_e000,
  ]

  var random: Seeded
  let machine = Machine(frames: frameCount)
  var ledger: Ledger
  let tables: Tables
  let memory: MemoryView
  let model = Model(count: frameCount)
  var retained: [UInt32] = []
  var pinned: [UInt32] = []
  /// What the last operation should have done.
  var expected: Model.Errors = []
  var error: SystemCallError?
  var wrongResult: String?

  init(seed: UInt64) {
    random = Seeded(seed)
    let frames = FrameView(machine: machine)
    memory = MemoryView(machine: machine)
    ledger = Ledger(frames: frames, accounts: machine.ledger)
    tables = Tables(frames: frames, memory: memory)
    ledger.reserveForKernel(0..<2)
    ledger.addFree(30..<52)
    ledger.addFree(2..<30)
    for frame in 0..<2 { model[frame].kind = .kernel }
    for frame in 2..<52 { model[frame].kind = .free }
    // As many as there are, for all accounts together: account 3 has none at first.
    machine.ledger.endow(1, .frames, 30)
    machine.ledger.endow(2, .frames, 20)
    model.limits = [1: 30, 2: 20]
    for account in 1...2 { build(account) }
  }

  /// Makes an address space with two level-1 tables beside each other: chance alone hardly ever does.
  func build(_ account: Int) {
    let owner = ModelCapability(name: [UInt8(account)], rights: Rights3())
    let own = capability(String(UnicodeScalar(UInt8(account))))
    let free = frames { $0.kind == .free }
    guard free.count >= 5 else { return }
    let list = Numbers(free[..<5].map { UInt64($0) })
    let root = list[0]
    error = failure { () throws(SystemCallError) in
      try ledger.allocateNamed(
        5, in: list, under: own, account: UInt16(account), keepsOwn: false, memory: memory)
      for frame in free[..<5] { model.take(frame, owner, account, keepsOwn: false) }
      try tables.makeRoot(root, account: UInt16(account), by: own) { _ in }
      model[Int(root)].kind = .table(4)
      for (frame, level, address) in [(1, 3, 0), (2, 2, 0), (3, 1, 0), (4, 1, 0x20_0000)]
        as [(Int, Int, UInt64)]
      {
        try tables.installTable(
          list[frame], level: UInt64(level), at: address, root: root, account: UInt16(account),
          by: own)
        model.install(Int(list[frame]), level: level, address, Int(root))
      }
    }
  }

  // MARK: Choosing

  func frames(_ isWanted: (ModelFrame) -> Bool) -> [Int] {
    (0..<Self.frameCount).filter { isWanted(model[$0]) }
  }

  /// Mostly a frame that fits, sometimes any number.
  func pick(_ isWanted: (ModelFrame) -> Bool) -> UInt64 {
    let fitting = frames(isWanted)
    if !fitting.isEmpty, !random.chance(5) { return UInt64(random.pick(fitting)) }
    if random.chance(10) { return random.pick([56, 57, 1 << 32, 1 << 32 + 5, .max]) }
    return UInt64.random(in: 0..<UInt64(Self.frameCount), using: &random)
  }

  func pickAccount() -> Int { Int.random(in: 1...2, using: &random) }

  func pickCapability(for account: Int) -> (Capability, ModelCapability) {
    var name = random.chance(40) ? [] : [UInt8(account)]
    if random.chance(15) { name = random.pick(Self.guards) }
    var rights = Rights3()
    if random.chance(6) { rights.read = false }
    if random.chance(6) { rights.write = false }
    let (bits, length) = packed(name)
    let flags: Rights = (rights.read ? Rights.read : .none).union(rights.write ? .write : .none)
    guard let capability = Capability(name: bits, length: length, rights: flags) else {
      preconditionFailure()
    }
    return (capability, ModelCapability(name: name, rights: rights))
  }

  func pickRoot(_ account: Int) -> UInt64 { pick { $0.kind == .table(4) && $0.account == account } }

  func pickAddress() -> UInt64 {
    if random.chance(3) {
      return random.pick([1, 0x1001, 0x7fff_ffff_f000, 0x8000_0000_0000, 0xffff_8000_0000_0000, ~0xfff])
    }
    return random.pick(Self.addresses)
  }

  /// Mostly an address whose tables are there.
  func pickMappedAddress(_ root: UInt64) -> UInt64 {
    guard root < Self.frameCount, model[Int(root)].kind == .table(4), random.chance(85) else {
      return pickAddress()
    }
    let mapped = Self.addresses.filter { model.path(Int(root), $0, to: 1) != nil }
    return mapped.isEmpty ? pickAddress() : random.pick(mapped)
  }

  func pickLevel() -> Int { random.chance(4) ? random.pick([0, 4, 5]) : Int.random(in: 1...3, using: &random) }

  /// Whether an operation for which the model has these errors ended as it should.
  func settle(_ expected: Model.Errors, _ error: SystemCallError?) -> Bool {
    self.expected = expected
    self.error = error
    return error == nil && expected.isEmpty
  }

  // MARK: Operations

  func step() -> (name: String, error: SystemCallError?) {
    machine.beginJournal()
    expected = []
    error = nil
    wrongResult = nil
    let name = chooseName()
    perform(name)
    return (name, error)
  }

  private func chooseName() -> String {
    let roll = Int.random(in: 0..<1000, using: &random)
    return switch roll {
    case 0..<60: "allocate"
    case 60..<110: "allocateNamed"
    case 110..<170: "free"
    case 170..<200: "setGuard"
    case 200..<212: "pin"
    case 212..<250: "unpin"
    case 250..<270: "pinUarea"
    case 270..<280: "makeRoot"
    case 280..<330: "removeRoot"
    case 330..<345: "retain"
    case 345..<375: "release"
    case 375..<540: "install"
    case 540..<590: "remove"
    case 590..<720: "write"
    case 720..<745: "transfer"
    case 745..<840: "protect"
    case 840..<870: "fillPages"
    case 870..<910: "releasePages"
    case 910..<975: "touch"
    case 975..<985: "scribble"
    case 985..<995: "setLimit"
    case 995..<999: "allocate"
    default: "reclaim"
    }
  }

  func perform(_ name: String) {
    let account = pickAccount()
    let (capability, modelled) = pickCapability(for: account)
    switch name {
    case "allocate": allocate(account, capability, modelled)
    case "allocateNamed": allocateNamed(account, capability, modelled)
    case "free": free(capability, modelled)
    case "setGuard": setGuard(capability, modelled)
    case "pin": pin()
    case "unpin": unpin()
    case "pinUarea": pinUarea(account, capability, modelled)
    case "makeRoot": makeRoot(account, capability, modelled)
    case "removeRoot": removeRoot(account, capability, modelled)
    case "retain": retain()
    case "release": release()
    case "install": install(account, capability, modelled)
    case "remove": remove(account, capability, modelled)
    case "write": write(account, capability, modelled)
    case "protect": protect(account, capability, modelled)
    case "fillPages": fillPages(account, capability, modelled)
    case "releasePages": releasePages(account, capability, modelled)
    case "touch": touch()
    case "scribble": scribble()
    case "setLimit": setLimit(account, capability, modelled)
    case "transfer": transfer(account, capability, modelled)
    default: reclaim(account)
    }
  }

  // MARK: Comparing

  func complaint(isFull: Bool) -> String? {
    if let wrongResult { return wrongResult }
    if let error {
      if !expected.contains(error) { return "\(error), but right would be \(expected)" }
      if !machine.isUnchanged { return "it failed with \(error) and changed something" }
    } else if !expected.isEmpty {
      return "it succeeded, but should have failed with \(expected)"
    }
    if let broken = brokenInvariant(
      of: machine, freeHead: freeHead, freeCount: ledger.freeCount)
    {
      return broken
    }
    if let difference = differentRecord() ?? differentAccount() { return difference }
    for position in machine.changedWords.keys {
      if let difference = differentWord(position) { return difference }
    }
    if isFull {
      for position in machine.words.indices {
        if let difference = differentWord(position) { return difference }
      }
    }
    return nil
  }

  private var freeHead: UInt32 {
    for (frame, record) in machine.records.enumerated()
    where record.type == UInt8(APUS_FRAME_FREE) && record.writable_mappings == .max {
      return UInt32(frame)
    }
    return .max
  }

  private func differentWord(_ position: Int) -> String? {
    let wanted = model[position / 512].words[position % 512] ?? 0
    let found = machine.words[position]
    guard found != wanted else { return nil }
    return "word \(position % 512) of frame \(position / 512) is \(found), not \(wanted)"
  }

  private func differentRecord() -> String? {
    for (number, record) in machine.records.enumerated() {
      let frame = model[number]
      let type: UInt8 =
        switch frame.kind {
        case .absent: 0
        case .free: 1
        case .ordinary: 2
        case .table(let level): UInt8(2 + level)
        case .kernel: 7
        }
      let (bits, length) = packed(frame.guardName)
      if record.type != type { return "frame \(number) has type \(record.type), not \(type)" }
      if record.account != UInt16(frame.account) { return "frame \(number) has the wrong account" }
      if record.guard != bits || record.guard_length != length {
        return "frame \(number) has the wrong guard"
      }
      if record.pins != UInt16(frame.pins) { return "frame \(number) has \(record.pins) pins" }
      if frame.kind == .table(4), record.mappings != UInt32(frame.environments) {
        return "root \(number) counts \(record.mappings) environments"
      }
    }
    return nil
  }

  /// The budgets: their sum is what it was, nobody is beyond its own, and uses are what the frames say.
  private func differentAccount() -> String? {
    var total: UInt32 = 0
    var holders: [Int: Int] = [:]
    for frame in model.frames.values where model.isHeld(frame) { holders[frame.account, default: 0] += 1 }
    for (number, account) in machine.accounts.enumerated() {
      let held = holders[number] ?? 0
      if Int(account.frames.used) != held { return "account \(number) is charged \(account.frames.used), not \(held)" }
      if Int(account.frames.limit) != model.limits[number] ?? 0 { return "account \(number) has the wrong limit" }
      if account.frames.used > account.frames.limit { return "account \(number) is beyond its limit" }
      total += account.frames.limit
    }
    return total == 50 ? nil : "the limits of all are \(total)"
  }

  /// Gives everything back: no frame may be lost.
  func windUp() -> String? {
    while !pinned.isEmpty { unpin() }
    while !retained.isEmpty { release() }
    for account in 1...2 {
      model.reclaim(account)
      let progress = runReclaim(account)
      if progress != .done { return "account \(account) is \(progress)" }
    }
    machine.beginJournal()
    if ledger.freeCount != 50 { return "only \(ledger.freeCount) frames came back" }
    error = nil
    expected = []
    return complaint(isFull: true)
  }
}
