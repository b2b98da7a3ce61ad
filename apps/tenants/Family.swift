// SPDX-License-Identifier: Apache-2.0
// Family.swift: a family of its own: an account with a budget, an address space that shares the program's text, and one
// environment.

import ApusABI

/// A tenant, as the landlord sees it.
struct Family {
  let account: UInt64
  /// Where its u-area is seen here, which the family could not prevent.
  let uarea: UInt64

  /// Slots of the capability lists: the landlord's for everything, and the family's own, also while it is made.
  private static var everything: UInt64 { 3 }
  static var own: UInt64 { 4 }

  /// Where a family has what is its own in its address space, beside the program's text.
  ///
  /// A u-area, stacks, a list of frames, and the page where the kernel tells what it took. All of it lies in the
  /// program's first 2 MiB, so that one table of each level is enough.
  private static var place: UInt64 { UInt64(APUS_LIBOS_BASE) + 0x1e_0000 }
  private static var pages: UInt64 { 12 }
  static func stack(_ uarea: UInt64) -> UInt64 { uarea + 6 * Pages.size }
  static func list(_ uarea: UInt64) -> UInt64 { uarea + 7 * Pages.size }
  static func vector(_ uarea: UInt64) -> UInt64 { uarea + 11 * Pages.size }

  /// Makes a family.
  ///
  /// - Parameters:
  ///   - number: Which of the places for u-areas here it takes; told to its environment.
  ///   - account: The account.
  ///   - frames: How many frames it may hold, what it needs itself included.
  init?(_ number: UInt64, account: UInt64, frames: UInt64) {
    self.account = account
    uarea = Pages.region(0) + number * Pages.size
    let rights = UInt64(APUS_RIGHT_READ | APUS_RIGHT_WRITE | APUS_RIGHT_GRANT)
    guard
      Native.call(.capabilityForge, Self.everything, Self.own, 2 | rights << 8, account << 48) != nil,
      Native.call(.accountLimit, Self.everything, account, AccountKind.frames.rawValue, frames) != nil,
      Native.call(.accountLimit, Self.everything, account, AccountKind.environments.rawValue, 1) != nil,
      Native.call(.accountLimit, Self.everything, account, AccountKind.slices.rawValue, 1) != nil,
      let root = Self.takeFrame(), Native.call(.tableInstall, Self.own, 0, 0, 4, root) != nil,
      Self.installTables(root), Self.shareText(root), let frame = makePages(root, number)
    else { return nil }
    let environment = Native.call(.environmentCreate, Self.own, root, frame, Self.place, 1 << Self.own)
    guard let environment, Native.call(.sliceAllocate, Self.own, UInt64.max, environment) != nil else { return nil }
  }

  private static func takeFrame() -> UInt64? {
    let word = SharedWord(508)
    guard Native.call(.frameAllocate, own, address_of_native_words() + 508 * 8, 1, 0) != nil else { return nil }
    return word.value
  }

  private static func installTables(_ root: UInt64) -> Bool {
    var level: UInt64 = 3
    while level > 0 {
      guard let frame = takeFrame(), Native.call(.tableInstall, own, root, UInt64(APUS_LIBOS_BASE), level, frame) != nil
      else { return false }
      level -= 1
    }
    return true
  }

  /// Maps what nobody can write: the program's text and constants.
  private static func shareText(_ root: UInt64) -> Bool {
    var at = UInt64(APUS_LIBOS_BASE) + 0x1_0000
    while true {
      let entry = Pages.entry(at: at)
      guard entry & Pages.present != 0, entry & Pages.writable == 0 else { return at < place }
      guard write(entry & ~(Pages.accessed | Pages.dirty), at: at, root, frames: Native.family) else { return false }
      at += Pages.size
    }
  }

  private static func write(_ entry: UInt64, at address: UInt64, _ root: UInt64, frames: UInt64) -> Bool {
    let word = SharedWord(507)
    word.value = entry
    return Native.call(.pagesWrite, own | frames << 8, root, address, 1, address_of_native_words() + 507 * 8) != nil
  }

  /// Makes the family's own pages.
  ///
  /// - Returns: The frame of its u-area, which stays mapped here.
  private func makePages(_ root: UInt64, _ number: UInt64) -> UInt64? {
    var first: UInt64?
    for page in 0..<Self.pages {
      guard let frame = Self.takeFrame() else { return nil }
      let entry = frame << 12 | Pages.present | Pages.writable | Pages.noExecute
      if page == 0 {
        first = frame
        guard Pages.write(entry, at: uarea, frames: Self.everything) else { return nil }
        fill(number)
      }
      guard Self.write(entry, at: Self.place + page * Pages.size, root, frames: Self.own) else { return nil }
    }
    return first
  }

  /// Writes the u-area: where its upcalls go, and with what its environment begins.
  private func fill(_ number: UInt64) {
    func set(_ offset: Int32, _ value: UInt64) { store64(uarea + UInt64(offset), value) }
    let entries = Self.place + 2 * Pages.size
    Native.setUp(uarea: uarea, stack: entries)
    set(APUS_UA_NESTED_STACK, entries)
    set(APUS_UA_SELF, Self.place)
    set(APUS_UA_CRITICAL, 1)
    set(UA_RIP, address_of_native_family_body())
    set(UA_RSP, Self.stack(Self.place) - 8)
    set(UA_RDI, Self.place)
    set(UA_RSI, number)
    set(UA_FLAGS, 0x202)
  }

  // MARK: What the landlord does

  /// How many frames it holds, and may hold.
  var held: UInt64 { account_frames(account) }
  var limit: UInt64 { account_frame_limit(account) }
  /// How many the kernel took.
  var taken: UInt64 { account_frames_taken(account) }
  /// How many it says that it gave back.
  var given: UInt64 { load64(uarea + UInt64(UA_OWN)) }

  /// Asks frames back.
  ///
  /// - Returns: How many will be back; 0 if the kernel refused.
  func ask(_ count: UInt64, until deadline: UInt64) -> UInt64 {
    Native.call(.revoke, Self.everything, account, RevocationKind.frames.rawValue, count, deadline) ?? 0
  }

  /// Lets it hold more.
  func grant(_ count: UInt64) -> Bool {
    Native.call(.accountLimit, Self.everything, account, AccountKind.frames.rawValue, limit + count) != nil
  }
}
