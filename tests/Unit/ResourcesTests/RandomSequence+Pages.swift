// SPDX-License-Identifier: Apache-2.0
// RandomSequence+Pages.swift: filling and releasing pages, done by the ledger and by the model.

import ApusABI
import ApusCapabilities
import ApusResources

extension RandomSequence {
  func fillPages(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let root = pickRoot(account)
    let address = pickMappedAddress(root)
    let count = random.chance(4) ? random.pick([0, 64, 65, 1 << 52]) : Int.random(in: 1...4, using: &random)
    let charged = Int.random(in: 1...2, using: &random)
    let (owner, ownerModelled) = pickCapability(for: charged)
    var bits: UInt64 = random.chance(3) ? 0 : 1
    for bit in [1, 5, 6, 9, 63] as [UInt64] where random.chance(30) { bits |= 1 << bit }
    if random.chance(2) { bits |= 1 << random.pick([2, 3, 7, 8, 12, 59]) }
    let expected = fillErrors(
      address, count, bits, root, account, modelled, charged: charged, owner: ownerModelled)
    // As far as the table goes, and as there are frames.
    let free = frames { $0.kind == .free }.count
    let wanted = min(count, 512 - Model.index(address, 1), free, model.room(charged))
    var filled = (first: UInt32(0), count: 0)
    let error = failure { () throws(SystemCallError) in
      filled = try ledger.fillPages(
        UInt64(count), at: address, root: root, bits: bits, account: UInt16(account), tables: capability, owner: owner,
        charging: UInt16(charged), in: tables)
    }
    guard settle(expected, error) else { return }
    if filled.count != wanted { wrongResult = "\(filled.count) pages filled, not \(wanted)" }
    for offset in 0..<filled.count {
      let (table, index) = model.leaf(Int(root), address + UInt64(offset) * 4096)
      let frame = Model.target(memory.entry(UInt32(table), index))
      if offset == 0, frame != Int(filled.first) { wrongResult = "the first frame is \(frame), not \(filled.first)" }
      guard frame < Self.frameCount, model[frame].kind == .free else {
        wrongResult = "frame \(frame) was not free"
        return
      }
      model.take(frame, ownerModelled, charged, keepsOwn: false)
      model[table].words[index] = UInt64(frame) << 12 | bits | 4
    }
  }

  private func fillErrors(
    _ address: UInt64, _ count: Int, _ bits: UInt64, _ root: UInt64, _ account: Int, _ capability: ModelCapability,
    charged: Int, owner: ModelCapability
  ) -> Model.Errors {
    guard (1...64).contains(count), bits & 1 != 0, bits & ~0x87f0_0000_0000_0e63 == 0, address < Model.userEnd,
      address % 4096 == 0, address + UInt64(count) * 4096 <= Model.userEnd
    else { return [.invalid] }
    var errors = model.rootErrors(root, account, capability)
    if !owner.rights.read || !owner.rights.write { errors.insert(.denied) }
    guard errors.isEmpty else { return errors }
    guard model.path(Int(root), address, to: 1) != nil else { return [.noTable] }
    let (table, index) = model.leaf(Int(root), address)
    if (index..<min(index + count, 512)).contains(where: { model[table].words[$0] != nil }) { errors.insert(.inUse) }
    if frames({ $0.kind == .free }).isEmpty { errors.insert(.exhausted) }
    if model.room(charged) == 0 { errors.insert(.quotaExceeded) }
    return errors
  }

  func releasePages(_ account: Int, _ capability: Capability, _ modelled: ModelCapability) {
    let root = pickRoot(random.chance(90) ? account : 3 - account)
    let address = pickMappedAddress(root)
    let count =
      random.chance(20) ? random.pick([0, 2, 600, 2000, 20_000, 1 << 36]) : UInt64.random(in: 1...4, using: &random)
    let (owner, ownerModelled) = pickCapability(for: account)
    let gives = random.chance(80)
    var expected = Model.Errors()
    if address >= Model.userEnd || address % 4096 != 0 || count > (Model.userEnd - min(address, Model.userEnd)) / 4096 {
      expected = [.invalid]
    } else {
      expected = model.rootErrors(root, account, modelled)
    }
    let current = pickCurrent(root)
    var done: UInt64 = 0
    var due = Maintenance.none
    let error = failure { () throws(SystemCallError) in
      (done, due) = try ledger.releasePages(
        count, at: address, root: root, caller: PageCaller(account: UInt16(account), currentRoot: current),
        tables: capability, owner: gives ? owner : nil, in: tables)
    }
    guard settle(expected, error) else { return }
    let (wanted, wasCached, isShared) = model.release(
      Int(root), address, count, by: gives && ownerModelled.rights.write ? ownerModelled : nil)
    if done != wanted { wrongResult = "\(done) pages released, not \(wanted)" }
    let everything = isShared || root != current
    let right: Maintenance =
      !wasCached ? .none : everything ? .everything : .range(address: address, count: Int(wanted))
    // Where nothing can be cached more may be invalidated than is needed.
    if due != right, right != .none { wrongResult = "the wrong maintenance: \(due), not \(right)" }
  }
}

extension Model {
  /// Unmaps pages one by one, and gives back what nothing uses then.
  func release(
    _ root: Int, _ address: UInt64, _ count: UInt64, by owner: ModelCapability?
  ) -> (done: UInt64, wasCached: Bool, isShared: Bool) {
    var (done, budget, wasCached, isShared) = (UInt64(0), 512, false, false)
    while done < count, budget > 0 {
      let at = address + done * 4096
      guard let tables = path(root, at, to: 1), let table = tables.last else {
        done = min(count, done + 512 - (at / 4096) % 512)
        budget -= 16
        continue
      }
      if tables.dropFirst().contains(where: { links($0) > 1 }) { isShared = true }
      done += 1
      budget -= 1
      guard let entry = self[table].words.removeValue(forKey: Self.index(at, 1)) else { continue }
      if entry & 0x20 != 0 { wasCached = true }
      let frame = Self.target(entry)
      if let owner, self[frame].guardName.starts(with: owner.name), isUnused(frame) { putBack(frame) }
    }
    return (done, wasCached, isShared)
  }
}
