// SPDX-License-Identifier: Apache-2.0
// FuzzFamily.swift: families that share nothing with the first one but the program's text: what they write is theirs.

import ApusABI

/// Which places for children the random families and their neighbour take.
enum FuzzPlace {
  /// Families that call at random at the same time; each begins with one environment, in places 0 to 2.
  static var families: UInt64 { 3 }
  /// Environments that each makes in its own address space, in places 8 to 19.
  static var siblings: UInt64 { 4 }
  static func sibling(_ index: UInt64, of family: UInt64) -> UInt64 { 8 + family * siblings + index }
  static var neighbour: UInt64 { 26 }
  /// The neighbour's memory, as it sees it and as the first family does.
  static var neighbourMemory: UInt64 { Child.uarea(of: 24) }
  static var neighbourView: UInt64 { Child.uarea(of: 25) }
  static var neighbourPages: UInt64 { 16 }
  /// Two arrays of words, one for each frame of the machine: the ledger that is recomputed.
  static var arrays: UInt64 { Memory.region + 0x1000_0000 }
}

/// A family with copies of the program's data.
struct FuzzFamily {
  let account: UInt64
  let handle: UInt64
  let root: UInt64

  var record: apus_environment { Information.environment(handle) }
  var isLive: Bool {
    let record = record
    return UInt64(record.generation) == handle >> 32
      && record.state != UInt32(APUS_ENVIRONMENT_FREE) && record.state != UInt32(APUS_ENVIRONMENT_DYING)
  }

  /// Frames that a family takes to begin with, and a good many more.
  static var frames: UInt64 { 200 }

  /// Where frames of another family are mapped for the moment, to be written; and how many.
  private static var window: UInt64 { Memory.region + 0x1c_0000 }

  /// Makes the family, with one environment that has a slice.
  ///
  /// - Parameters:
  ///   - account: Its account.
  ///   - place: The place for children that its environment takes.
  ///   - body: Where that starts.
  ///   - victim: The name of the family that it holds a capability for, in slot 1; its own is in slot 0.
  ///   - words: What the body finds in UA_WORD2 and UA_WORD3.
  init?(account: UInt64, place: UInt64, body: UInt64, victim: (name: UInt64, length: UInt64)?, words: (UInt64, UInt64))
  {
    let other = Slot.other
    Kernel.forge(other, name: account << 48, length: 2)
    defer { Kernel.call(.capabilityDrop, other) }
    let uarea = Child.uarea(of: place)
    guard free_frames() > Self.frames, let root = Memory.takeFrame(other),
      Kernel.call(.tableInstall, other, 0, 0, 4, root).value == 0,
      Memory.makeTables(for: Memory.children, root: root, other),
      Memory.makeTables(for: Memory.region, root: root, other), Self.copyProgram(to: root),
      Self.map(FuzzStatistics.base, OwnTables.entry(FuzzStatistics.base), Slot.family, root)
    else { return nil }
    var uareaFrame: UInt64 = 0
    for page in 0..<FuzzAttacker.pages {
      guard let frame = Memory.takeFrame(other) else { return nil }
      if page == 0 {
        uareaFrame = frame
        guard Memory.write(Entry.page(frame), at: Self.window, by: Memory.both(Slot.family, other)).value == 1 else {
          return nil
        }
        Child.fill(Self.window, seenAt: uarea, body: body)
        store64(Self.window + UInt64(UA_WORD2), words.0)
        store64(Self.window + UInt64(UA_WORD3), words.1)
        Memory.write(0, at: Self.window)
      }
      guard Self.map(uarea + page * Memory.page, Entry.page(frame), other, root) else { return nil }
    }
    guard let handle = Kernel.call(.environmentCreate, other, root, uareaFrame, uarea, 0).value,
      Kernel.call(.capabilityGrant, other, other, handle, Slot.family).value == 0
    else { return nil }
    self.account = account
    self.handle = handle
    self.root = root
    if let victim {
      Kernel.forge(Slot.scratch, name: victim.name, length: victim.length)
      let answer = Kernel.call(.capabilityGrant, other, Slot.scratch, handle, FuzzAttacker.victim)
      Kernel.call(.capabilityDrop, Slot.scratch)
      guard answer.value == 0 else { return nil }
    }
  }

  /// Gives its environment a slice of a CPU: it runs from now on.
  func start(on processor: UInt64 = 0) -> Bool {
    Kernel.forge(Slot.other, name: account << 48, length: 2)
    defer { Kernel.call(.capabilityDrop, Slot.other) }
    return Kernel.call(.sliceAllocate, Slot.other, processor << 16 | 0xffff, handle).value != nil
  }

  private static func map(_ address: UInt64, _ entry: UInt64, _ frames: UInt64, _ root: UInt64) -> Bool {
    store64(Memory.list, entry)
    return Kernel.call(.pagesWrite, Memory.both(Slot.other, frames), root, address, 1, Memory.list).value == 1
  }

  /// Maps the program: its text as it is here, its data as copies.
  private static func copyProgram(to root: UInt64) -> Bool {
    let start = address_of_hostile_image_start()
    let end = address_of_hostile_image_end()
    guard Memory.makeTables(for: start & ~0x1f_ffff, root: root, Slot.other) else { return false }
    var address = start
    while address < end {
      let entry = OwnTables.entry(address)
      if entry & Entry.writable == 0 {
        guard map(address, entry, Slot.family, root) else { return false }
      } else {
        guard let frame = Memory.takeFrame(Slot.other),
          Memory.write(Entry.page(frame), at: window, by: Memory.both(Slot.family, Slot.other)).value == 1
        else { return false }
        copy_words(window, address, 512)
        guard Memory.write(0, at: window).value == 1, map(address, Entry.page(frame), Slot.other, root) else {
          return false
        }
      }
      address += Memory.page
    }
    return true
  }

  // MARK: Ending

  /// Ends every environment of an account, those that are made meanwhile, too.
  static func endAll(of account: UInt64) {
    Kernel.forge(Slot.other, name: account << 48, length: 2)
    while endEach(of: account) {}
    Kernel.call(.capabilityDrop, Slot.other)
  }

  /// - Returns: Whether there was one.
  private static func endEach(of account: UInt64) -> Bool {
    var found = false
    for slot in 0..<Information.page.environment_count {
      let record = Information.environment(slot: slot)
      let isDead =
        record.state == UInt32(APUS_ENVIRONMENT_FREE) || record.state == UInt32(APUS_ENVIRONMENT_DYING)
      if !isDead, UInt64(record.account) == account {
        Kernel.call(.environmentKill, Slot.other, UInt64(record.generation) << 32 | (slot + 1))
        found = true
      }
    }
    return found
  }
}

extension FuzzFamily {
  /// Ends a family that has frames but no environment: the last environment's end is what brings frames back.
  static func sweep(_ account: UInt64) {
    Kernel.forge(Slot.other, name: account << 48, length: 2)
    defer { Kernel.call(.capabilityDrop, Slot.other) }
    // Whoever could name the family may have taken its budget.
    Budget.set(.frames, of: account, to: Budget.used(.frames, of: account) + 2)
    Budget.set(.environments, of: account, to: 1)
    guard let root = Memory.takeFrame(Slot.other), let uarea = Memory.takeFrame(Slot.other),
      Kernel.call(.tableInstall, Slot.other, 0, 0, 4, root).value == 0,
      let handle = Kernel.call(.environmentCreate, Slot.other, root, uarea, Child.uarea(of: 27), 0).value
    else { return }
    Kernel.call(.environmentKill, Slot.other, handle)
  }
}

// MARK: The neighbour

/// A family that has nothing to do with those that attack: its memory and its share of time have to stay as they are.
struct FuzzNeighbour {
  let family: FuzzFamily
  private let sum: UInt64

  static var account: UInt64 { 0x0101 }
  /// Its contract is for a slice's length in so many.
  static var period: UInt64 { 4 }

  init?() {
    guard
      let family = FuzzFamily(
        account: Self.account, place: FuzzPlace.neighbour, body: address_of_hostile_body_neighbour(), victim: nil,
        words: (0, 0))
    else { return nil }
    Kernel.forge(Slot.other, name: Self.account << 48, length: 2)
    defer { Kernel.call(.capabilityDrop, Slot.other) }
    for page in 0..<FuzzPlace.neighbourPages {
      let view = FuzzPlace.neighbourView + page * Memory.page
      guard let frame = Memory.takeFrame(Slot.other),
        Memory.write(Entry.page(frame), at: view, by: Memory.both(Slot.family, Slot.other)).value == 1
      else { return nil }
      for word in 0..<UInt64(512) { store64(view + word * 8, (page << 32 | word) &* 0x9e37_79b9_7f4a_7c15) }
      store64(Memory.list, Entry.page(frame))
      let place = FuzzPlace.neighbourMemory + page * Memory.page
      guard
        Kernel.call(.pagesWrite, Memory.both(Slot.other, Slot.other), family.root, place, 1, Memory.list).value == 1
      else { return nil }
      guard
        Memory.write(Entry.page(frame, writable: false), at: view, by: Memory.both(Slot.family, Slot.other)).value == 1
      else { return nil }
    }
    self.family = family
    sum = Self.sum(FuzzPlace.neighbourView)
    let period = Information.page.slice_ticks * Self.period
    // Millionths of a CPU: the share, and what switches cost.
    Budget.set(.time, of: Self.account, to: 1_100_000 / Self.period)
    guard family.start(),
      Kernel.call(.contract, Slot.root, family.handle, period, period / Self.period, 0).value != nil
    else { return nil }
  }

  static func sum(_ address: UInt64) -> UInt64 { sum_words(address, FuzzPlace.neighbourPages * 512, 1) }

  /// Its memory is what it was, for it and for others.
  func verify(_ check: inout Check) {
    check.expect(family.isLive, "the neighbour has died")
    check.expect(Self.sum(FuzzPlace.neighbourView) == sum, "the neighbour's memory changed")
    check.expect(FuzzStatistics.neighbourFindings, equals: 0, "the neighbour found its memory changed")
  }

  func end() {
    FuzzFamily.endAll(of: Self.account)
    for page in 0..<FuzzPlace.neighbourPages { Memory.write(0, at: FuzzPlace.neighbourView + page * Memory.page) }
  }
}

/// Looks at its memory for good, and never gives time away.
@c @used func hostile_body_neighbour(_ uarea: UInt64) {
  let sum = FuzzNeighbour.sum(FuzzPlace.neighbourMemory)
  while true { FuzzStatistics.countNeighbour(sound: FuzzNeighbour.sum(FuzzPlace.neighbourMemory) == sum) }
}
