// SPDX-License-Identifier: Apache-2.0
// RandomSequence+Operations.swift: each operation, done by the ledger and by the model.

import ApusABI
import ApusCapabilities
import ApusResources
import CApusABI

extension RandomSequence {
  func allocate(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let list = Numbers(count: 6)
    let count = Int.random(in: 1...6, using: &random)
    let keepsOwn = random.chance(50)
    let free = frames { $0.kind == .free }.count
    var granted = 0
    let error = failure { () throws(SystemCallError) in
      granted = try ledger.allocate(
        count, into: list, under: capability, account: UInt16(account), keepsOwn: keepsOwn,
        memory: memory)
    }
    let room = model.room(account)
    guard settle(model.allocateErrors(modelled, account), error) else { return }
    if granted != min(count, free, room) { wrongResult = "\(granted) frames granted" }
    for number in list.values[..<granted] {
      if number >= Self.frameCount || model[Int(number)].kind != .free {
        wrongResult = "frame \(number) was not free"
        return
      }
      model.take(Int(number), modelled, account, keepsOwn: keepsOwn)
    }
  }

  func allocateNamed(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let list = Numbers(
      (0..<Int.random(in: 1...3, using: &random)).map { _ in pick { $0.kind == .free } })
    let keepsOwn = random.chance(50)
    let expected = model.namedErrors(list.values, modelled, account)
    let error = failure { () throws(SystemCallError) in
      try ledger.allocateNamed(
        list.values.count, in: list, under: capability, account: UInt16(account),
        keepsOwn: keepsOwn, memory: memory)
    }
    guard settle(expected, error) else { return }
    for number in list.values { model.take(Int(number), modelled, account, keepsOwn: keepsOwn) }
  }

  func free(_ capability: Capability, _ modelled: ModelCapability) {
    let list = Numbers(
      (0..<Int.random(in: 1...3, using: &random)).map { _ in
        pick { $0.kind == .ordinary }
      })
    let expected = model.freeErrors(list.values, modelled)
    let error = failure { () throws(SystemCallError) in
      try ledger.free(list.values.count, of: list, by: capability)
    }
    guard settle(expected, error) else { return }
    for number in list.values { model.putBack(Int(number)) }
  }

  func transfer(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let list = Numbers(
      (0..<Int.random(in: 1...3, using: &random)).map { _ in
        pick { $0.kind == .ordinary && $0.account == account }
      })
    let receiver = Int.random(in: 1...2, using: &random)
    let (owner, ownerModelled) = pickCapability(for: receiver)
    var expected = model.freeErrors(list.values, modelled)
    if !ownerModelled.rights.write { expected.insert(.denied) }
    if list.values.count > model.room(receiver) { expected.insert(.quotaExceeded) }
    let error = failure { () throws(SystemCallError) in
      try ledger.transfer(list.values.count, of: list, by: capability, to: owner, account: UInt16(receiver))
    }
    guard settle(expected, error) else { return }
    for number in list.values { model.take(Int(number), ownerModelled, receiver, keepsContents: true) }
  }

  func setLimit(_ giver: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let account =
      random.chance(5) ? random.pick([16, 17, 1 << 16, 1 << 32, .max]) : UInt64.random(in: 1...3, using: &random)
    let limit = Int.random(in: 0...34, using: &random)
    let expected = model.limitErrors(account, limit, giver, modelled)
    let error = failure { () throws(SystemCallError) in
      try machine.ledger.setLimit(
        of: account, .frames, to: UInt32(limit), giver: UInt16(giver), by: capability)
    }
    guard settle(expected, error) else { return }
    model.limits[giver, default: 0] -= limit - (model.limits[Int(account)] ?? 0)
    model.limits[Int(account)] = limit
  }

  func setGuard(_ capability: Capability, _ modelled: ModelCapability) {
    let frame = pick { $0.kind == .ordinary }
    var name = frame < Self.frameCount ? model[Int(frame)].guardName : []
    if name.count < 8 { name.append(UInt8.random(in: 0...2, using: &random)) }
    if random.chance(25) { name = random.pick(Self.guards) }
    let (bits, length) = packed(name)
    let expected = model.guardErrors(frame, name, modelled)
    let error = failure { () throws(SystemCallError) in
      try ledger.setGuard(of: frame, to: bits, length: length, by: capability)
    }
    guard settle(expected, error) else { return }
    model[Int(frame)].guardName = name
  }

  func pin() {
    let frame = pick { $0.kind == .ordinary }
    var expected: Model.Errors = []
    if frame >= Self.frameCount {
      expected = [.noSuchResource]
    } else if model[Int(frame)].kind != .ordinary {
      expected = [.wrongType]
    }
    let error = failure { () throws(SystemCallError) in try ledger.pin(frame) }
    guard settle(expected, error) else { return }
    model[Int(frame)].pins += 1
    pinned.append(UInt32(frame))
  }

  func unpin() {
    guard !pinned.isEmpty else { return }
    let frame = pinned.remove(at: Int.random(in: 0..<pinned.count, using: &random))
    ledger.unpin(frame)
    model.unpin(Int(frame))
  }

  func pinUarea(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let frame = pick { $0.kind == .ordinary && $0.account == account }
    let expected = model.uareaErrors(frame, account, modelled)
    let error = failure { () throws(SystemCallError) in
      try ledger.pinUarea(frame, account: UInt16(account), by: capability)
    }
    guard settle(expected, error) else { return }
    model[Int(frame)].pins += 1
    pinned.append(UInt32(frame))
  }

  func makeRoot(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let frame = pick { $0.kind == .ordinary && $0.account == account }
    let expected = model.conversionErrors(frame, account, modelled)
    let error = failure { () throws(SystemCallError) in
      try tables.makeRoot(frame, account: UInt16(account), by: capability) {
        memory.setEntry($0, 300, 0x1023)
      }
    }
    guard settle(expected, error) else { return }
    model[Int(frame)].kind = .table(4)
    model[Int(frame)].words = [300: 0x1023]
  }

  func removeRoot(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let root = pickRoot(account)
    let expected = model.removeRootErrors(root, account, modelled)
    let error = failure { () throws(SystemCallError) in
      _ = try tables.removeRoot(root, account: UInt16(account), by: capability)
    }
    guard settle(expected, error) else { return }
    model[Int(root)].kind = .ordinary
    model[Int(root)].words = [:]
  }

  func retain() {
    let roots = frames { $0.kind == .table(4) }
    guard !roots.isEmpty else { return }
    let root = random.pick(roots)
    tables.retainRoot(UInt32(root))
    model[root].environments += 1
    retained.append(UInt32(root))
  }

  func release() {
    guard !retained.isEmpty else { return }
    let root = retained.remove(at: Int.random(in: 0..<retained.count, using: &random))
    tables.releaseRoot(root)
    model[Int(root)].environments -= 1
  }

  func install(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let root = pickRoot(account)
    let address = pickAddress()
    var level = pickLevel()
    // Mostly the level that is missing, so that paths grow.
    if root < Self.frameCount, model[Int(root)].kind == .table(4), random.chance(70) {
      level = (1...3).last { model.path(Int(root), address, to: $0) == nil } ?? 1
    }
    let sharesTable = random.chance(30)
    let frame = pick {
      $0.account == account && $0.kind == (sharesTable ? .table(level) : .ordinary)
    }
    let expected = model.installErrors(frame, level: level, address, root, account, modelled)
    let error = failure { () throws(SystemCallError) in
      try tables.installTable(
        frame, level: UInt64(level), at: address, root: root, account: UInt16(account),
        by: capability)
    }
    guard settle(expected, error) else { return }
    model.install(Int(frame), level: level, address, Int(root))
  }

  func remove(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let root = pickRoot(account)
    let address = pickMappedAddress(root)
    let level = pickLevel()
    let expected = model.removeErrors(level: level, address, root, account, modelled)
    var removed: Tables.Removed?
    let error = failure { () throws(SystemCallError) in
      removed = try tables.removeTable(
        level: UInt64(level), at: address, root: root, account: UInt16(account), by: capability)
    }
    guard settle(expected, error) else { return }
    let (frame, wasAccessed) = model.remove(level: level, address, Int(root))
    if removed?.frame != UInt32(frame) { wrongResult = "the wrong table was named" }
    if removed?.maintenance != (wasAccessed ? Maintenance.everything : Maintenance.none) {
      wrongResult = "the wrong maintenance for a removed table"
    }
  }

  func pickEntry(_ account: Int) -> UInt64 {
    if random.chance(20) { return UInt64(UInt32.random(in: 0...9, using: &random)) << 12 | 2 }
    let isOwn = random.chance(85)
    let frame = pick {
      $0.kind == .ordinary && ($0.account == account) == isOwn
    }
    var entry = (frame & 0xff_ffff_ffff) << 12 | 1
    for bit in [1, 2, 5, 6, 9, 52, 58, 59, 62, 63] as [UInt64] where random.chance(40) { entry |= 1 << bit }
    if random.chance(2) { entry |= 1 << random.pick([3, 4, 7, 8]) }
    return entry
  }

  func pickCount() -> Int {
    random.chance(3) ? random.pick([0, 511, 512, 513, 5000]) : Int.random(in: 1...4, using: &random)
  }

  func write(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let root = pickRoot(account)
    let address = pickMappedAddress(root)
    let count = pickCount()
    let (frameCapability, frameModelled) = pickCapability(for: random.chance(85) ? account : 3 - account)
    // One refused entry in the middle of a long batch is what atomicity is about.
    let list = Numbers((0..<count).map { count > 6 && $0 > 6 ? 0 : pickEntry(account) })
    var expected = model.rangeErrors(address, count, root, account, modelled)
    if expected.isEmpty {
      for entry in list.values.prefix(512) { expected.formUnion(model.entryErrors(entry, frameModelled)) }
    }
    let current = pickCurrent(root)
    var (done, due) = (0, Maintenance.none)
    let error = failure { () throws(SystemCallError) in
      (done, due) = try tables.writeEntries(
        list, count: UInt64(count), at: address, root: root,
        caller: PageCaller(account: UInt16(account), currentRoot: current), tables: capability,
        mapped: frameCapability)
    }
    guard settle(expected, error) else { return }
    if done != min(count, 512) { wrongResult = "\(done) entries written" }
    if due != model.maintenance(Int(root), address, done, current: Int(current)) {
      wrongResult = "the wrong maintenance: \(due)"
    }
    model.write(Int(root), address, Array(list.values.prefix(done)))
  }

  func pickCurrent(_ root: UInt64) -> UInt32 {
    random.chance(70) ? UInt32(truncatingIfNeeded: root) : 3
  }

  func protect(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let root = pickRoot(account)
    let address = pickMappedAddress(root)
    let count = pickCount()
    let (frameCapability, frameModelled) = pickCapability(for: random.chance(85) ? account : 3 - account)
    var set: UInt64 = 0
    var keep = UInt64.max
    for bit in [1, 5, 6, 9, 52, 63] as [UInt64] {
      if random.chance(30) { set |= 1 << bit }
      if random.chance(30) { keep &= ~(1 << bit) }
    }
    if random.chance(3) { set |= 1 << random.pick([0, 2, 3, 7, 8, 12, 51, 59]) }
    if random.chance(3) { keep &= ~(1 << random.pick([0, 2, 3, 8, 12, 51])) }
    let changeable: UInt64 = 0x87f0_0000_0000_0e62
    var expected = model.rangeErrors(address, count, root, account, modelled)
    if set & ~changeable != 0 || ~keep & ~changeable != 0 { expected.insert(.invalid) }
    var results: [UInt64] = []
    if expected.isEmpty {
      for page in 0..<min(count, 512) {
        let (table, index) = model.leaf(Int(root), address + UInt64(page) * 4096)
        let old = model[table].words[index] ?? 0
        results.append(old == 0 ? 0 : old & keep | set)
        if old != 0, old & 2 == 0, set & 2 != 0,
          !frameModelled.reaches(model[Model.target(old)], write: true)
        {
          expected.insert(.denied)
        }
      }
    }
    let current = pickCurrent(root)
    var (done, due) = (0, Maintenance.none)
    let error = failure { () throws(SystemCallError) in
      (done, due) = try tables.protectEntries(
        count: UInt64(count), at: address, root: root, set: set, keep: keep,
        caller: PageCaller(account: UInt16(account), currentRoot: current), tables: capability,
        mapped: frameCapability)
    }
    guard settle(expected, error) else { return }
    if done != min(count, 512) { wrongResult = "\(done) entries changed" }
    if due != model.maintenance(Int(root), address, done, current: Int(current)) {
      wrongResult = "the wrong maintenance: \(due)"
    }
    model.write(Int(root), address, results)
  }

  /// What the processor does when ring 3 uses an address.
  func touch() {
    let roots = frames { $0.kind == .table(4) }
    guard !roots.isEmpty else { return }
    let root = random.pick(roots)
    let address = random.pick(Self.addresses)
    guard let path = model.path(root, address, to: 1) else { return }
    for (depth, table) in path.enumerated() {
      let index = Model.index(address, 4 - depth)
      guard let entry = model[table].words[index] else { return }
      model[table].words[index] = entry | 0x20
      memory.setEntry(UInt32(table), index, entry | 0x20)
    }
  }

  /// What an owner does to its page, so that contents can be seen to stay or to go.
  func scribble() {
    let owned = frames { $0.kind == .ordinary }
    guard !owned.isEmpty else { return }
    let frame = random.pick(owned)
    let value = random.next()
    memory.setEntry(UInt32(frame), 17, value)
    model[frame].words[17] = value == 0 ? nil : value
  }

  func reclaim(_ account: Int) {
    for root in retained where model[Int(root)].account == account {
      tables.releaseRoot(root)
      model[Int(root)].environments -= 1
    }
    retained.removeAll { model[Int($0)].account == account }
    model.reclaim(account)
    let held = frames { $0.account == account && $0.kind != .free }.count
    let progress = runReclaim(account)
    if progress != (held == 0 ? .done : .held(UInt32(held))) { wrongResult = "\(progress), not \(held)" }
    build(account)
  }

  func runReclaim(_ account: Int) -> ReclaimProgress {
    var cursor = ReclaimCursor()
    for _ in 0..<1000 {
      let step = ledger.reclaimStep(UInt16(account), cursor: &cursor, tables: tables)
      if step.progress != .more { return step.progress }
    }
    return .more
  }
}
