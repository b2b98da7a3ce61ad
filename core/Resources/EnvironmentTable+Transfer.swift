// SPDX-License-Identifier: Apache-2.0
// EnvironmentTable+Transfer.swift: protected control transfer: who waits for whom, and how that ends.
//
// A chain is a list of environments, linked both ways. All but its last wait, in the state CALLING, each for the
// next (`transfer_target`); each but the first serves the one before it (`returns_to`). The last has the depth: how
// many wait above it. Links are cut at a death and at a deadline, so none is ever stale, and a handle in a link needs
// no check. machine/Boot/Transfer.S does what `beginTransfer` and `returnTransfer` do, when nothing stands against it.

import ApusABI
import CApusABI

/// Links of chains that were cut.
public struct CutTransfers: Equatable, Sendable {
  /// A caller whose call has failed: it can run and is to be told.
  public var caller: UInt32?
  /// A callee that serves nobody any longer.
  public var callee: UInt32?

  /// Makes a report of cut links.
  ///
  /// - Parameters:
  ///   - caller: A caller whose call has failed.
  ///   - callee: A callee that serves nobody any longer.
  public init(caller: UInt32? = nil, callee: UInt32? = nil) {
    self.caller = caller
    self.callee = callee
  }
}

extension EnvironmentTable {
  /// The slot in a link's handle, which is live; see above.
  @inline(__always) private func linked(_ handle: UInt64) -> UInt32? {
    handle == 0 ? nil : UInt32(truncatingIfNeeded: handle) - 1
  }

  /// Whether an environment waits for the return of a call.
  public func isCalling(_ slot: UInt32) -> Bool {
    environments[slot].state == UInt32(APUS_ENVIRONMENT_CALLING)
  }

  /// Finds the target of a transfer and checks all that the two records say about it, changing nothing.
  ///
  /// That the target accepts is said in its u-area, which the caller of this function looks at.
  ///
  /// - Parameters:
  ///   - handle: The target, as an environment claims it.
  ///   - caller: The running environment.
  ///   - waits: Whether the caller will wait for a return.
  /// - Returns: The target's slot. It is runnable or asleep.
  /// - Throws: `noSuchResource` if the handle names no live environment; `inUse` if the target runs, serves or waits
  ///   for a return itself; `exhausted` if as many as may already wait in the chain.
  public func checkTransfer(
    to handle: UInt64, from caller: UInt32, waits: Bool
  ) throws(SystemCallError) -> UInt32 {
    let target = try slot(of: handle)
    guard target != caller, !isCalling(target), environments[target].running_on == 0,
      environments[target].returns_to == 0
    else { throw .inUse }
    guard !waits || environments[caller].transfer_depth < UInt16(APUS_TRANSFER_CHAIN) else {
      throw .exhausted
    }
    return target
  }

  /// Lets a caller wait for a target, which runs in its place.
  ///
  /// - Parameters:
  ///   - target: What `checkTransfer` returned; runnable.
  ///   - caller: The running environment.
  ///   - deadline: Counter at which the call fails.
  public func beginTransfer(to target: UInt32, from caller: UInt32, deadline: UInt64) {
    precondition(environments[target].state == UInt32(APUS_ENVIRONMENT_RUNNABLE))
    precondition(environments[target].returns_to == 0 && target != caller)
    environments[target].returns_to = environments[caller].handle
    environments[target].transfer_depth = environments[caller].transfer_depth + 1
    environments[caller].transfer_target = environments[target].handle
    environments[caller].transfer_deadline = deadline
    environments[caller].state = UInt32(APUS_ENVIRONMENT_CALLING)
    environments[caller].transfer_depth = 0
    moveProcessor(from: caller, to: target)
  }

  /// Ends an environment's service: its caller runs in its place.
  ///
  /// - Parameter callee: The running environment.
  /// - Returns: The caller, or nothing if it serves nobody: then nothing has changed.
  public func returnTransfer(from callee: UInt32) -> UInt32? {
    guard let caller = linked(environments[callee].returns_to) else { return nil }
    environments[caller].state = UInt32(APUS_ENVIRONMENT_RUNNABLE)
    environments[caller].transfer_depth = environments[callee].transfer_depth - 1
    environments[caller].transfer_target = 0
    environments[callee].returns_to = 0
    environments[callee].transfer_depth = 0
    moveProcessor(from: callee, to: caller)
    return caller
  }

  /// Lets one environment run in another's place.
  public func moveProcessor(from old: UInt32, to new: UInt32) {
    let processor = environments[old].running_on
    environments[old].running_on = 0
    environments[new].running_on = processor
  }

  // MARK: Whose turn it is

  /// The environment that runs in an environment's slices: itself, or while it waits the last of its chain.
  ///
  /// - Complexity: O(length of the chain), which is bounded.
  public func endOfChain(_ slot: UInt32) -> UInt32 {
    var end = slot
    for _ in 0..<APUS_TRANSFER_CHAIN {
      guard isCalling(end), let next = linked(environments[end].transfer_target) else { break }
      end = next
    }
    return end
  }

  /// The first of the callers from `slot` on down whose deadline has passed.
  ///
  /// - Parameters:
  ///   - slot: Any environment.
  ///   - now: The counter.
  /// - Returns: Its slot, or nothing if none has.
  public func expiredCaller(from slot: UInt32, now: UInt64) -> UInt32? {
    var at = slot
    for _ in 0..<APUS_TRANSFER_CHAIN {
      guard isCalling(at) else { return nil }
      let deadline = environments[at].transfer_deadline
      if deadline != UInt64.max, now >= deadline { return at }
      guard let next = linked(environments[at].transfer_target) else { return nil }
      at = next
    }
    return nil
  }

  /// The earliest deadline of the callers that wait above an environment; `UInt64.max` if there is none.
  public func earliestDeadline(above slot: UInt32) -> UInt64 {
    var earliest = UInt64.max
    var at = slot
    for _ in 0..<APUS_TRANSFER_CHAIN {
      guard let caller = linked(environments[at].returns_to) else { break }
      earliest = min(earliest, environments[caller].transfer_deadline)
      at = caller
    }
    return earliest
  }

  // MARK: Failures

  /// Ends a caller's wait without a return; its callee serves nobody then.
  ///
  /// - Parameters:
  ///   - caller: An environment that waits.
  ///   - failure: What it will be told, `APUS_TRANSFER_*`.
  /// - Returns: The two.
  public func failTransfer(of caller: UInt32, failure: Int32) -> CutTransfers {
    guard isCalling(caller), let callee = linked(environments[caller].transfer_target) else {
      return CutTransfers()
    }
    environments[callee].returns_to = 0
    environments[caller].transfer_target = 0
    environments[caller].transfer_failure = UInt32(failure)
    environments[caller].state = UInt32(APUS_ENVIRONMENT_RUNNABLE)
    recount(caller)
    recount(endOfChain(callee))
    return CutTransfers(caller: caller, callee: callee)
  }

  /// Cuts the links of an environment that dies: its caller's call fails, its callee serves nobody.
  ///
  /// - Parameter slot: An environment that is live or was just now.
  /// - Returns: Who has to be told.
  func cutTransfers(of slot: UInt32) -> CutTransfers {
    var cut = CutTransfers()
    if let callee = linked(environments[slot].transfer_target) {
      environments[callee].returns_to = 0
      environments[slot].transfer_target = 0
      recount(endOfChain(callee))
      cut.callee = callee
    }
    if let caller = linked(environments[slot].returns_to) {
      cut.caller = failTransfer(of: caller, failure: APUS_TRANSFER_DIED).caller
    }
    environments[slot].transfer_depth = 0
    return cut
  }

  /// Writes how many wait above an environment that does not wait itself.
  private func recount(_ slot: UInt32) {
    var depth: UInt16 = 0
    var at = slot
    while depth < UInt16(APUS_TRANSFER_CHAIN), let caller = linked(environments[at].returns_to) {
      depth += 1
      at = caller
    }
    environments[slot].transfer_depth = depth
  }
}
