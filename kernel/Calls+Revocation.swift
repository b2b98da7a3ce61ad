// SPDX-License-Identifier: Apache-2.0
// Calls+Revocation.swift: asking for resources back: who may ask whom, and where it is told what was taken.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// The account that a target names: its number, or the handle of a live environment of it.
private func liveAccount(_ target: UInt64) throws(SystemCallError) -> UInt16 {
  if target >> 32 != 0 {
    return kernel.environments.environments[try kernel.environments.slot(of: target)].account
  }
  guard target != 0, target <= 0xffff else { throw .noSuchResource }
  let account = UInt16(truncatingIfNeeded: target)
  guard kernel.environments.liveCount(of: account) > 0 else { throw .noSuchResource }
  return account
}

/// The capability of a call and the account whose everything it reaches; `above`: and more than its own name does.
private func target(_ a: CallArguments, above: Bool) throws(SystemCallError) -> (Capability, UInt16) {
  let capability = try ownCapability(a.a0)
  let account = try liveAccount(a.a1)
  guard capability.dominates(guard: UInt64(account) << 48, length: 2, needing: .write),
    !above || capability.length < 2
  else { throw .denied }
  return (capability, account)
}

/// `revoke`: see SystemCall.swift.
func revoke(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let (capability, account) = try target(a, above: false)
  guard let kind = RevocationKind(rawValue: a.a2), a.a3 > 0, a.a3 <= UInt64(UInt32.max), a.a4 > apus_rdtsc() else {
    throw .invalid
  }
  let held = held(kind, by: account)
  let count = try kernel.revocations.request(
    UInt32(truncatingIfNeeded: a.a3), of: kind, from: account, held: held, deadline: a.a4,
    requester: ThisProcessor.environment.value.account, authority: capability.length)
  tellOfRevocation(account, kind, held: held)
  return UInt64(count)
}

/// `guaranteedMinimum`: see SystemCall.swift.
func guaranteedMinimum(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let (_, account) = try target(a, above: true)
  guard let kind = RevocationKind(rawValue: a.a2), a.a3 <= UInt64(UInt32.max) else { throw .invalid }
  try kernel.revocations.setMinimum(UInt32(truncatingIfNeeded: a.a3), of: kind, account: account)
  return 0
}

/// `repossessionVector`: see SystemCall.swift.
func repossessionVector(_ a: CallArguments) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a.a0)
  let account = kernel.environments.environments[here.current].account
  _ = try kernel.revocations.record(of: account)
  var frame: UInt32 = 0
  if a.a1 != UInt64.max {
    try kernel.frames.pinUarea(a.a1, account: account, by: capability)
    frame = UInt32(truncatingIfNeeded: a.a1)
    let vector = vectorPage(frame)
    vector.value.written = 0
    vector.value.overflow = 0
    vector.value.consumed = 0
  }
  unpin(try kernel.revocations.setVector(frame, of: account))
  return 0
}
