// SPDX-License-Identifier: Apache-2.0
// PowerCutTests.swift: the power goes at every write; after the documented repair, what was durable is there.

// A workload runs on a disk that records each block written and each flush. For each number of events, images are made
// that the medium could hold then: all writes so far, only those before the last flush, and random choices of those
// since. Each is repaired as docs/storage.md says, judged by e2fsck, mounted and compared with what the workload's
// model had when it was last durable; what the operations since may have left is taken from the same page.

import ApusFiles
import Testing

/// A workload's steps, each with the state of the model after it and the events that had happened.
private struct Recording {
  var cut: PowerCut
  var baseline: [String: Item]
  var steps: [(step: Step, tree: [String: Item], end: Int)] = []

  /// The last durable state before a number of events, and the steps under way or not durable since.
  func state(at count: Int, _ promises: [String: Promise]) -> (
    durable: [String: Item], pending: ArraySlice<(step: Step, tree: [String: Item], end: Int)>
  ) {
    var first = 0
    var durable = baseline
    for (index, entry) in steps.enumerated() where entry.end <= count {
      guard promises[entry.step.kind.rawValue]?.durable == "all" else { continue }
      first = index + 1
      durable = entry.tree
    }
    // A step that begins when the power is gone has not begun.
    var last = first
    while last < steps.count, last == first || steps[last - 1].end <= count { last += 1 }
    return (durable, steps[first..<last])
  }
}

@Suite("The power goes", .enabled(if: Tools.arePresent, "e2fsprogs are not installed"))
struct PowerCutTests {
  @Test(arguments: Extent.seeds(12 * Extent.factor))
  func shortWorkloads(_ seed: Int) throws {
    try cut(seed, steps: 1 + seed % 3, megabytes: 1, choices: 2)
  }

  @Test(arguments: Extent.seeds(2 * Extent.factor))
  func longWorkloads(_ seed: Int) throws {
    // At most so many cuts of each, evenly spread.
    try cut(1000 + seed, steps: 60, megabytes: 1, choices: 1, cuts: 60 * Extent.factor)
  }

  /// Records a workload.
  private func record(_ workspace: Workspace, _ seed: Int, steps: Int, megabytes: Int) throws -> Recording {
    let shapes = ["-b 1024 -N 128", "-b 1024 -I 128 -N 256 -g 512", "-b 2048 -N 64"]
    let disk = MemoryDisk(try workspace.makeImage(shapes[seed % 3], megabytes: megabytes))
    let system = try Ext2(
      disk, policy: LeastRecentlyUsed(capacity: 64, changedLimit: seed % 5 == 0 ? 12 : 1000), now: 0)
    var driver = Driver(system, seed: seed)
    driver.reach = 20_000
    driver.names = 8
    for _ in 0..<40 { _ = try driver.step() }
    try system.synchronize()
    var recording = Recording(cut: PowerCut(base: disk.bytes, events: []), baseline: driver.model.tree)
    disk.isRecording = true
    var count = 0
    while count < steps {
      guard let step = try driver.step() else { continue }
      count += 1
      recording.steps.append((step, driver.model.tree, disk.events.count))
    }
    try system.synchronize()
    recording.steps.append((Step(kind: .synchronize), driver.model.tree, disk.events.count))
    recording.cut = PowerCut(base: recording.cut.base, events: disk.events)
    return recording
  }

  private func cut(_ seed: Int, steps: Int, megabytes: Int, choices: Int, cuts: Int = .max) throws {
    let promises = try Promises.table("ext2")
    let workspace = try Workspace()
    let recording = try record(workspace, seed, steps: steps, megabytes: megabytes)
    var random = Seeded(seed)
    let total = recording.cut.events.count
    for index in 0...min(total, cuts) {
      let count = total <= cuts ? index : index * total / cuts
      for choice in 0..<choices + 2 {
        let mask = (0..<64).map { _ in random.next() }
        let image = recording.cut.image(after: count) { index in
          choice == 0 || choice > 1 && mask[index >> 6 & 63] >> UInt64(index & 63) & 1 != 0
        }
        let complaints = try judge(image, recording, at: count, promises, workspace)
        #expect(complaints.isEmpty, "seed \(seed), cut after \(count) of \(total) events, choice \(choice)")
        if !complaints.isEmpty { return }
      }
    }
  }

  private func judge(
    _ image: [UInt8], _ recording: Recording, at count: Int, _ promises: [String: Promise], _ workspace: Workspace
  ) throws -> [String] {
    let (durable, pending) = recording.state(at: count, promises)
    var outcome = try workspace.repaired(image)
    if outcome.image == nil, pending.contains(where: { $0.step.movesDirectory }) {
      outcome = try workspace.repaired(image, asking: true)
    }
    let steps = pending.map(\.step.description)
    guard let repaired = outcome.image else { return ["e2fsck -p stopped: " + outcome.text] + steps }
    if let complaint = try workspace.complaint(repaired) { return ["after the repair: " + complaint] + steps }
    let system = try Ext2(MemoryDisk(repaired), policy: LeastRecentlyUsed(capacity: 64), readOnly: true, now: 0)
    let complaints = Oracle(durable: durable, pending: pending.map { ($0.step, $0.tree) }, promises: promises)
      .complaints(try system.tree())
    return complaints.isEmpty ? [] : complaints + steps
  }
}

/// What may be found after a cut.
struct Oracle {
  let durable: [String: Item]
  let pending: [(step: Step, tree: [String: Item])]
  let promises: [String: Promise]

  private func concerns(_ step: Step, _ path: String) -> Bool {
    step.paths.contains { path == $0 || path.hasPrefix($0 + "/") }
  }

  func complaints(_ found: [String: Item]) -> [String] {
    var complaints: [String] = []
    for path in Set(durable.keys).union(found.keys).sorted() {
      let steps = pending.filter { concerns($0.step, path) }
      if steps.isEmpty {
        if found[path] != durable[path] {
          complaints.append(
            "\(path): \(found[path]?.description ?? "none") instead of \(durable[path]?.description ?? "none")")
        }
        continue
      }
      if let complaint = complaint(path, found[path], steps) { complaints.append(complaint) }
      if let complaint = loss(path, found, steps) { complaints.append(complaint) }
    }
    return complaints
  }

  /// A file that was durable and only got other names since has one of them.
  private func loss(
    _ path: String, _ found: [String: Item], _ steps: [(step: Step, tree: [String: Item])]
  ) -> String? {
    guard let item = durable[path], item.kind != .directory else { return nil }
    // Steps that concern one of its names concern the file.
    let names = Set(steps.flatMap(\.step.paths))
    let related = pending.filter { entry in names.contains { concerns(entry.step, $0) } }
    let isOnlyNamed = related.allSatisfy {
      !$0.step.movesDirectory && $0.step.replaced != path
        && ["rename", "link", "attributes"].contains($0.step.kind.rawValue)
    }
    let isReplacedLater = related.contains { $0.step.replaced.map { names.contains($0) } ?? false } && related.count > 1
    guard isOnlyNamed, !isReplacedLater else { return nil }
    return names.contains { found[$0]?.contents == item.contents } ? nil : "\(path) has no name any more"
  }

  /// Whether the file of a name is written, by that name or another one that it gets or had.
  private func isWritten(_ path: String) -> Bool {
    var names: Set<String> = [path]
    var before = 0
    while names.count != before {
      before = names.count
      for (step, _) in pending where !names.isDisjoint(with: step.paths) { names.formUnion(step.paths) }
    }
    return pending.contains { entry in
      promises[entry.step.kind.rawValue]?.afterCut == "mixed" && !names.isDisjoint(with: entry.step.paths)
    }
  }

  private func complaint(_ path: String, _ found: Item?, _ steps: [(step: Step, tree: [String: Item])]) -> String? {
    let states = [durable[path]] + steps.map { $0.tree[path] }
    let kinds = steps.map { promises[$0.step.kind.rawValue]?.afterCut ?? "same" }
    guard let found else {
      // A name may be gone only if some operation took it away, or it was not there yet.
      let mayBeGone = zip(steps, kinds).contains { entry, kind in
        kind == "either" || entry.step.movesDirectory || entry.tree[path] == nil
      }
      return mayBeGone || states.contains { $0 == nil } ? nil : "\(path) is gone"
    }
    // What is below a directory that moves has other names in other moments.
    if pending.contains(where: { $0.step.movesDirectory }) { return nil }
    let known = states.compactMap { $0 }
    guard known.contains(where: { $0.kind == found.kind }) else { return "\(path) is \(found), and never was" }
    // Without writes under way, the contents are those of one moment.
    if found.kind != .regular || isWritten(path) { return nil }
    if known.contains(where: { $0.contents == found.contents }) { return nil }
    return "\(path) has contents that it never had: \(found)"
  }
}
