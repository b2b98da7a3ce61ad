// SPDX-License-Identifier: Apache-2.0
// Pager.swift: answers when the kernel asks for frames, and when a process finds none.
//
// Frames that nobody uses go first. Then each address space gives up pages, which its own policy chooses: a page that
// is all zeroes, or that equals its file, is dropped, as it can be made again; any other is kept by the page server
// until it is touched. Choosing needs an address space's own page tables, so it is done by an execution in it.

import ApusABI
import ApusRuntime
import ApusUnix

/// The pager of a family.
final class Pager {
  let policy: PageReplacementPolicy
  /// Slots of the page server.
  private var slots: PageSlots
  private let family: Family
  private var execution: Execution?
  private var trial: Execution?
  /// Which pages the running call has been promised (Task.memory): they stay.
  private var promised: [(start: UInt64, end: UInt64)] = []

  /// Pages that went and came, for /proc/vmstat.
  private(set) var swappedOut = 0
  private(set) var swappedIn = 0
  private(set) var dropped = 0

  init(_ family: Family, policy: PageReplacementPolicy, slotLimit: Int) {
    self.family = family
    self.policy = policy
    slots = PageSlots(limit: slotLimit)
  }

  /// Starts to answer.
  ///
  /// - Returns: False if there is no environment for it.
  func start() -> Bool {
    guard SpareFrames.start() else { return false }
    execution = Execution.startSystem { self.serve() }
    PageShortage.answer = { count in self.makeRoom(count) }
    return execution != nil
  }

  // MARK: Promises

  /// A new call begins: nothing is promised to it yet.
  @inline(__always) func beginCall() { if !promised.isEmpty { promised.removeAll(keepingCapacity: true) } }

  /// The pages of a range have been made present for the running call.
  func promise(_ start: UInt64, _ end: UInt64) {
    promised.append((start & ~AddressSpace.pageMask, end))
  }

  /// Whether a page has to stay.
  func isPromised(_ page: UInt64) -> Bool {
    for range in promised where page >= range.start && page < range.end { return true }
    return false
  }

  // MARK: Answering

  /// What page tables and the LibOS's heap may take meanwhile, beside the pool.
  private static var tableReserve: Int { 128 }

  private func serve() -> Never {
    while true {
      Execution.suspendForRevocation(deadline: .max)
      while let request = Execution.takeRevocationRequest() {
        // Slices are not given back: each execution has one, and cannot do without.
        guard request.kind == .frames else { continue }
        SpareFrames.replace()
        Page.holdPool(until: request.deadline)
        giveBack(request.count + Pager.tableReserve)
        keepLevel(until: request.deadline)
      }
    }
  }

  /// Gives back what is taken meanwhile before the kernel looks.
  ///
  /// That is what no eviction could spare, such as page tables and stacks of new processes. What there is no time for the
  /// kernel takes of the spare frames.
  private func keepLevel(until deadline: UInt64) {
    let step = Clock.ticks(afterNanoseconds: 2_000_000) &- Clock.ticks
    while Clock.ticks < deadline {
      if let excess = Execution.outstandingFrames, excess > -Pager.tableReserve / 2 {
        giveBack(excess + Pager.tableReserve)
      }
      Execution.suspendForRevocation(deadline: min(deadline, Clock.ticks &+ step))
      if Execution.hasRevocationRequest { return }
    }
  }

  /// Gives frames back to the kernel.
  private func giveBack(_ count: Int) {
    Exclusive.begin()
    defer { Exclusive.end() }
    var left = count
    left -= Page.giveBack(left)
    var hadNone = false
    while left > 0, !hadNone {
      hadNone = true
      var seen: [UInt32] = []
      for process in family.processes {
        guard left > 0, let memory = process.mainThread?.memory, !seen.contains(memory.root) else { continue }
        seen.append(memory.root)
        if evict(min(left, 128), from: memory) > 0 { hadNone = false }
        left -= Page.giveBack(left)
      }
    }
  }

  /// Has an execution in another address space choose victims there.
  private func evict(_ count: Int, from memory: AddressSpace) -> Int {
    inside(memory) { self.evictHere(count, memory) }
  }

  /// Takes pages that an address space has given up from its relatives, too: a frame is free when none has it.
  ///
  /// - Parameters:
  ///   - pages: The pages; their frames are in use.
  ///   - memory: Who gave them up.
  /// - Returns: How many came free.
  func withdraw(_ pages: [SharedPage], from memory: AddressSpace) -> Int {
    var left = pages
    var freed = 0
    var seen: [UInt32] = [memory.root]
    for process in family.processes {
      guard !left.isEmpty else { break }
      guard let relative = process.mainThread?.memory, !seen.contains(relative.root) else { continue }
      seen.append(relative.root)
      freed += inside(relative) { self.withdrawHere(left, relative) }
      left.removeAll { Page(frame: $0.frame).referenceCount == 0 }
    }
    return freed
  }

  /// Runs in another address space; nobody else runs LibOS code meanwhile.
  private func inside(_ memory: AddressSpace, _ work: @escaping () -> Int) -> Int {
    let asking = Execution.current
    var result: Int?
    let helper = Execution.startSystem(in: memory.root) {
      result = work()
      Exclusive.hand(to: asking)
      asking.wake()
      Execution.exitCurrent(handOffTo: asking)
    }
    guard let helper else { return 0 }
    Exclusive.hand(to: helper)
    while result == nil { Execution.suspend(deadline: .max, handOffTo: helper) }
    while helper.isAlive { Execution.yield(to: helper) }
    helper.reap()
    return result ?? 0
  }

  /// A function of its own, so that nothing on its stack keeps objects alive when the execution ends.
  @inline(never) private func evictHere(_ count: Int, _ memory: AddressSpace) -> Int { memory.evict(count, self) }
  @inline(never) private func withdrawHere(_ pages: [SharedPage], _ memory: AddressSpace) -> Int {
    memory.withdraw(pages)
  }

  /// Makes pages free in the running execution's own address space: who needs them pays for them.
  private func makeRoom(_ count: Int) -> Bool {
    guard Execution.current.owner != nil else { return false }
    let task = Execution.currentOwner(as: Task.self)
    guard task.memory.root == Execution.current.root else { return false }
    return task.memory.evict(count, self) > 0
  }

  // MARK: The page server

  /// Has pages of the window kept.
  ///
  /// - Parameter count: How many, the first ones of the window.
  /// - Returns: Their slots; fewer when there is no room.
  func keep(_ count: Int) -> [UInt32] {
    var taken: [UInt32] = []
    while taken.count < count, let slot = slots.take() {
      PageServer.setSlot(taken.count, slot)
      taken.append(slot)
    }
    let kept = taken.isEmpty ? 0 : PageServer.put(taken.count)
    while taken.count > kept, let slot = taken.popLast() { slots.release(slot) }
    swappedOut += kept
    return taken
  }

  /// Fills a page from its slot.
  ///
  /// - Returns: False if the server has failed.
  func fetch(_ slot: UInt32, into page: Page) -> Bool {
    PageServer.setSlot(0, slot)
    guard PageServer.get(1) == 1 else { return false }
    page.bytes.copy(PageServer.window(0))
    swappedIn += 1
    return true
  }

  func countDropped() { dropped += 1 }
  func retain(_ slot: UInt32) -> Bool { slots.retain(slot) }
  func release(_ slot: UInt32) { slots.release(slot) }

  // MARK: Trying it

  /// Asks the kernel to ask this family, again and again, as the start command wants.
  func askPeriodically(_ request: PagerTrial) {
    trial = Execution.startSystem {
      while true {
        Execution.suspend(
          deadline: Clock.ticks(afterNanoseconds: request.periodMilliseconds * 1_000_000), handOffTo: nil)
        _ = Execution.askOwnFamily(
          frames: request.frames, withinNanoseconds: request.periodMilliseconds * 750_000)
      }
    }
  }
}

/// How the pager is tried: so many frames are asked for every so often.
struct PagerTrial {
  let frames: Int
  let periodMilliseconds: UInt64

  /// Reads "FRAMES/MILLISECONDS".
  init?(_ text: [UInt8]) {
    guard let split = text.firstIndex(of: 0x2f), let frames = [UInt8](text[..<split]).decimalValue,
      let period = [UInt8](text[(split + 1)...]).decimalValue, frames > 0, frames < 1 << 30, period > 0
    else { return nil }
    self.frames = Int(frames)
    periodMilliseconds = period
  }
}

/// Sets the pager up as the start command wants; before the root capability goes.
///
/// Settings: `pager=clock` or `pager=fifo`; `swap=PAGES`, what the page server may keep; `revoke=FRAMES/MILLISECONDS`.
func startPager(_ family: Family, _ command: StartCommand) {
  guard let name = command.setting("pager"), let policy = PageReplacementPolicy(name: name) else { return }
  let limit = command.number("swap") ?? UInt64(Page.totalCount / 4)
  if !PageServer.start(frames: limit) {
    notice(ascii("apus: the page server could not be started, so there is no pager; it needs more --memory"))
    return
  }
  let pager = Pager(family, policy: policy, slotLimit: Int(min(limit, 1 << 24)))
  guard pager.start() else { return }
  family.pager = pager
  if let trial = command.setting("revoke"), let request = PagerTrial(trial) { pager.askPeriodically(request) }
}
