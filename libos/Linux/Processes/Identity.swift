// SPDX-License-Identifier: Apache-2.0
// Identity.swift: the user and group ids of a process (credentials(7)).

import ApusUnix

/// Real, effective, saved and file-system ids, and the supplementary groups.
struct Identity {
  var realUser: UInt32 = 0
  var effectiveUser: UInt32 = 0
  var savedUser: UInt32 = 0
  var fileUser: UInt32 = 0
  var realGroup: UInt32 = 0
  var effectiveGroup: UInt32 = 0
  var savedGroup: UInt32 = 0
  var fileGroup: UInt32 = 0
  var groups: [UInt32] = []

  /// What permission checks of files look at.
  var credentials: Credentials { Credentials(user: fileUser, group: fileGroup, groups: groups) }
  var isSuperuser: Bool { effectiveUser == 0 }

  /// Whether an unprivileged process may take this user id.
  func mayBecome(user: UInt32) -> Bool {
    isSuperuser || user == realUser || user == effectiveUser || user == savedUser
  }

  func mayBecome(group: UInt32) -> Bool {
    isSuperuser || group == realGroup || group == effectiveGroup || group == savedGroup
  }

  /// Whether it may send signals to a process of another identity (kill(2)).
  func maySignal(_ other: Identity) -> Bool {
    isSuperuser || realUser == other.realUser || realUser == other.savedUser
      || effectiveUser == other.realUser || effectiveUser == other.savedUser
  }
}
