// SPDX-License-Identifier: Apache-2.0
// FamilyStarter.swift: starts other families: an account with budgets, a copy of an image in it, a first environment.
//
// The first environment finds what the kernel would have made of the image (Boot.swift): the image at
// APUS_MODULE_BASE, its segments where they belong, a u-area; and beside that the family page. All frames are of the
// new account, so that all of them come back when it ends. Only the machine's first family can do this: it needs the
// root capability.

import ApusABI
import CRuntime

/// What a family may have.
public struct FamilyBudget {
  /// Frames, environments and slices of the timeline.
  public var frames, environments, slices: UInt64
  /// The CPU that it runs on.
  public var processor: UInt64
  /// Period and slice of its contract in ticks; a period of 0: none.
  public var period, slice: UInt64

  /// Makes a budget.
  public init(
    frames: UInt64, environments: UInt64, slices: UInt64, processor: UInt64, period: UInt64, slice: UInt64
  ) {
    self.frames = frames
    self.environments = environments
    self.slices = slices
    self.processor = processor
    self.period = period
    self.slice = slice
  }
}

/// A family that this one starts, as often as it likes.
public final class StartedFamily {
  /// Its account.
  public let account: UInt64
  private let page: Page
  private var requests: UInt64 = 0
  /// The name of its contract, while it has one.
  private var contract: UInt64 = 0

  /// Takes an account for a family; nil if there is no memory for its page.
  ///
  /// - Parameter account: A number that nobody else uses, above 2.
  public init?(account: UInt64) {
    guard let page = Page.allocate(zeroed: true) else { return nil }
    self.account = account
    self.page = page
  }

  // MARK: How it is

  /// Whether any environment of it lives.
  public var isAlive: Bool {
    var isAlive = false
    Information.forEachEnvironment(of: account) { _, _ in isAlive = true }
    return isAlive
  }

  /// Whether everything that it held has come back.
  public var isGone: Bool {
    // SAFETY: the account table is mapped read-only.
    let record = unsafe Information.account(account).pointee
    return !isAlive && record.frames.limit == 0 && record.environments.limit == 0
  }

  /// The status that it left when it ended; nil if it ended without a word.
  public var status: UInt8? {
    guard page.bytes.load(16, as: UInt64.self) == UInt64(APUS_FAMILY_ENDED) else { return nil }
    return UInt8(truncatingIfNeeded: page.bytes.load(24, as: UInt64.self))
  }

  /// What its contract has used and how many promises to it were not kept; nil without one.
  public var contractUse: (ticks: UInt64, periods: UInt64, missed: UInt64)? {
    guard contract != 0 else { return nil }
    let index = Int(contract >> 16 & 0xffff) * Int(APUS_CONTRACT_COUNT) + Int(contract & 0xffff)
    // SAFETY: the contract table is mapped read-only, and the kernel named the contract.
    let record =
      unsafe UnsafePointer<apus_contract>(
        bitPattern: UInt(APUS_INFORMATION_BASE) + UInt(Information.page.contract_table_offset)
      ).unsafelyUnwrapped + index
    return unsafe (record.pointee.used, record.pointee.periods, record.pointee.missed)
  }

  /// Frames that it holds now, and may hold.
  public var frames: (used: Int, limit: Int) {
    // SAFETY: the account table is mapped read-only.
    let record = unsafe Information.account(account).pointee.frames
    return (Int(record.used), Int(record.limit))
  }

  // MARK: Starting and ending

  /// Starts it from an image.
  ///
  /// - Parameters:
  ///   - image: A whole boot image inside this family's own.
  ///   - budget: What it may have; the caller's own budget becomes less by it.
  /// - Returns: Whether that worked; if not, what it held comes back.
  public func start(_ image: Bytes, _ budget: FamilyBudget) -> Bool {
    contract = 0
    page.bytes.fill(0)
    page.bytes.store(UInt64(APUS_FAMILY_MAGIC), at: 0)
    page.bytes.store(account, at: 8)
    requests = 0
    do throws(SystemCallError) {
      try kernelCall(.capabilityForge, CapabilitySlot.root, CapabilitySlot.started, 2 | 7 << 8, account << 48)
      // It may write, under its own account; input is for the starter alone.
      try kernelCall(
        .capabilityForge, CapabilitySlot.root, CapabilitySlot.startedConsole,
        1 | UInt64(APUS_RIGHT_WRITE | APUS_RIGHT_GRANT) << 8, 0x43 << 56)
      defer {
        _ = try? kernelCall(.capabilityDrop, CapabilitySlot.started)
        _ = try? kernelCall(.capabilityDrop, CapabilitySlot.startedConsole)
      }
      try setLimits(budget)
      let space = try FamilySpace(image)
      let handle: UInt64
      do throws(SystemCallError) {
        try space.fill(familyPage: page)
        handle = try space.makeEnvironment()
      } catch {
        space.abandon()
        throw error
      }
      do throws(SystemCallError) {
        try kernelCall(.capabilityGrant, CapabilitySlot.started, CapabilitySlot.started, handle, CapabilitySlot.family)
        try kernelCall(
          .capabilityGrant, CapabilitySlot.started, CapabilitySlot.startedConsole, handle, CapabilitySlot.console)
        if budget.period != 0 {
          contract = try kernelCall(
            .contract, CapabilitySlot.started, handle, budget.period, budget.slice, budget.processor)
        }
        for _ in 0..<budget.slices {
          try kernelCall(.sliceAllocate, CapabilitySlot.started, budget.processor << 16 | 0xffff, handle)
        }
      } catch {
        _ = try? kernelCall(.environmentKill, CapabilitySlot.started, handle)
        throw error
      }
      return true
    } catch {
      return false
    }
  }

  private func setLimits(_ budget: FamilyBudget) throws(SystemCallError) {
    let second = Information.page.ticks_per_second
    // As the kernel counts a share: the cost of a switch in each period, rounded up.
    let share =
      budget.period == 0
      ? 0 : ((budget.slice + max(1, second / 200_000)) * 1_000_000 + budget.period - 1) / budget.period
    for (kind, limit) in [
      (AccountKind.frames, budget.frames), (.environments, budget.environments), (.slices, budget.slices),
      (.time, share),
    ] {
      try kernelCall(.accountLimit, CapabilitySlot.root, account, kind.rawValue, limit)
    }
  }

  /// Asks its first process to end, by a signal.
  public func request(signal: UInt64) {
    requests = requests & 0xffff_ffff + 1
    page.bytes.store(signal << 32 | requests, at: 32)
  }

  /// Ends all of its environments, whatever they do.
  public func end() {
    do throws(SystemCallError) {
      try kernelCall(.capabilityForge, CapabilitySlot.root, CapabilitySlot.started, 2 | 7 << 8, account << 48)
      Information.forEachEnvironment(of: account) { handle, _ in
        _ = apus_call(SystemCall.environmentKill.rawValue, CapabilitySlot.started, handle, 0, 0, 0)
      }
      try kernelCall(.capabilityDrop, CapabilitySlot.started)
    } catch { runtimePanic("a family cannot be ended: error", UInt64(error.rawValue)) }
  }
}
