// SPDX-License-Identifier: Apache-2.0
// FamilyPage.swift: what a family that another one started shares with it: how it ended, and what is asked of it.

import ApusABI
import CRuntime

/// The page `struct apus_family`, seen by the family that it is about.
public enum FamilyPage {
  private static var pointer: UnsafeMutablePointer<apus_family> {
    // SAFETY: the callers have made sure that the page is there; the starter wrote it before the family ran.
    unsafe UnsafeMutablePointer(bitPattern: UInt(APUS_FAMILY_BASE)).unsafelyUnwrapped
  }

  /// Whether another family started this one; without that the machine is its own.
  public static var isThere: Bool { PageTable.entry(at: UInt64(APUS_FAMILY_BASE)) & PageTable.present != 0 }

  /// The family's account.
  static var account: UInt64 { unsafe pointer.pointee.account }
  /// A word that changes when something is asked.
  static var request: UInt64 { unsafe pointer.pointee.request }
  static var requestAddress: UInt64 { UInt64(APUS_FAMILY_BASE) + 32 }

  /// Ends every environment of the family, the running one last.
  static func endFamily(status: UInt64) -> Never {
    unsafe pointer.pointee.status = status
    unsafe pointer.pointee.state = UInt64(APUS_FAMILY_ENDED)
    let own = runtime_word(UInt32(APUS_UA_SELF))
    Information.forEachEnvironment(of: account) { handle, uarea in
      if uarea != own { _ = apus_call(SystemCall.environmentKill.rawValue, CapabilitySlot.family, handle, 0, 0, 0) }
    }
    while true { _ = apus_call(SystemCall.environmentKill.rawValue, CapabilitySlot.family, 0, 0, 0, 0) }
  }
}
