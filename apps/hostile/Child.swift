// SPDX-License-Identifier: Apache-2.0
// Child.swift: further environments, of the same family or of another, made call by call.

import ApusABI

/// An environment that the checks made.
struct Child {
  let handle: UInt64
  /// Its u-area, which for a child of the same family is mapped at the same address here.
  let uarea: UInt64
  let root: UInt64
  let uareaFrame: UInt64
  /// The capability slot of its family.
  let slot: UInt64

  /// Layout of its 64 KiB: the u-area, then stacks, by their upper ends.
  private static var exceptionStack: UInt64 { 0x3000 }
  private static var nestedStack: UInt64 { 0x4000 }
  private static var stack: UInt64 { 0x6000 }
  static var pages: UInt64 { 6 }

  static func uarea(of number: UInt64) -> UInt64 { Memory.children + number * 0x1_0000 }

  var record: apus_environment { Information.environment(handle) }
  var isLive: Bool {
    let record = record
    return UInt64(record.generation) == handle >> 32
      && record.state != UInt32(APUS_ENVIRONMENT_FREE) && record.state != UInt32(APUS_ENVIRONMENT_DYING)
  }
  var isAsleep: Bool { isLive && record.state == UInt32(APUS_ENVIRONMENT_SLEEPING) }

  /// A word of its u-area; same family only.
  subscript(offset: Int32) -> UInt64 {
    get { load64(uarea + UInt64(offset)) }
    nonmutating set { store64(uarea + UInt64(offset), newValue) }
  }

  // MARK: Making

  /// Makes a child of the first family in the same address space.
  ///
  /// - Parameters:
  ///   - number: Which of the places for children it takes.
  ///   - body: Where it starts, with its u-area's address in rdi.
  ///   - capabilities: Which slots of the caller it gets a copy of.
  ///   - slice: Whether it gets a slice of its own.
  init?(_ number: UInt64, body: UInt64, capabilities: UInt64 = 0, slice: Bool = true) {
    let uarea = Self.uarea(of: number)
    for page in 0..<Self.pages where OwnTables.entry(uarea + page * Memory.page) == 0 {
      guard Memory.mapFresh(at: uarea + page * Memory.page) != nil else { return nil }
    }
    Self.fill(uarea, seenAt: uarea, body: body)
    let frame = OwnTables.frame(uarea)
    let root = Information.ownRoot
    let answer = Kernel.call(.environmentCreate, Slot.family, root, frame, uarea, capabilities)
    guard let handle = answer.value else { return nil }
    self.init(handle: handle, uarea: uarea, root: root, uareaFrame: frame, slot: Slot.family)
    if slice, Kernel.call(.sliceAllocate, Slot.family, UInt64.max, handle).value == nil { return nil }
  }

  private init(handle: UInt64, uarea: UInt64, root: UInt64, uareaFrame: UInt64, slot: UInt64) {
    self.handle = handle
    self.uarea = uarea
    self.root = root
    self.uareaFrame = uareaFrame
    self.slot = slot
  }

  /// Writes a fresh u-area: everything that hostile's entries need to start the body at a slice's begin.
  static func fill(_ page: UInt64, seenAt uarea: UInt64, body: UInt64) {
    func set(_ offset: Int32, _ value: UInt64) { store64(page + UInt64(offset), value) }
    fill_words(page, 512, 0)
    setUpUpcalls(page)
    set(APUS_UA_SELF, uarea)
    set(APUS_UA_EXCEPTION_STACK, uarea + exceptionStack)
    set(APUS_UA_NESTED_STACK, uarea + nestedStack)
    set(APUS_UA_SLICE_STACK, uarea + nestedStack)
    set(APUS_UA_PROTECTED_STACK, uarea + nestedStack)
    set(APUS_UA_REPLY_STACK, uarea + nestedStack)
    set(APUS_UA_ACCEPTING, 1)
    set(APUS_UA_CRITICAL, 1)
    set(UA_CONTEXT + REGISTER_RIP, body)
    set(UA_CONTEXT + REGISTER_RSP, uarea + stack)
    set(UA_CONTEXT + REGISTER_RDI, uarea)
    set(UA_CONTEXT + REGISTER_FLAGS, 0x202)
    // XRSTOR loads MXCSR even from an area that says that everything is in its initial state (SDM vol. 1, 13.8.1).
    set(UA_VECTORS + 24, 0x1f80)
  }

  // MARK: Another family

  /// Makes a child of the family whose capability is in a slot: frames, root and tables are that family's, the program
  /// is shared with it.
  ///
  /// - Parameters:
  ///   - number: Which of the places for children it takes.
  ///   - body: Where it starts, with its u-area's address in rdi.
  ///   - slot: The slot of the family's capability.
  ///   - capabilities: Which slots of the caller it gets a copy of.
  ///   - slice: Whether it gets a slice of its own.
  ///   - changing: Changes its u-area, given where that is mapped for the moment.
  init?(
    _ number: UInt64, body: UInt64, foreign slot: UInt64, capabilities: UInt64 = 0, slice: Bool = true,
    changing: (UInt64) -> Void = { _ in }
  ) {
    let uarea = Self.uarea(of: number)
    guard let root = Memory.takeFrame(slot), Kernel.call(.tableInstall, slot, 0, 0, 4, root).value == 0,
      Memory.makeTables(for: uarea, root: root, slot), Self.shareProgram(with: root, slot),
      let frame = Self.mapPages(at: uarea, root: root, slot, body: body, changing)
    else { return nil }
    let answer = Kernel.call(.environmentCreate, slot, root, frame, uarea, capabilities)
    guard let handle = answer.value else { return nil }
    self.init(handle: handle, uarea: uarea, root: root, uareaFrame: frame, slot: slot)
    if slice, Kernel.call(.sliceAllocate, slot, UInt64.max, handle).value == nil { return nil }
  }

  /// Maps the program's pages as they are mapped here.
  private static func shareProgram(with root: UInt64, _ slot: UInt64) -> Bool {
    let start = address_of_hostile_image_start()
    let end = address_of_hostile_image_end()
    guard Memory.makeTables(for: start & ~0x1f_ffff, root: root, slot) else { return false }
    var address = start
    while address < end {
      store64(Memory.list, OwnTables.entry(address))
      guard
        Kernel.call(.pagesWrite, Memory.both(slot, Slot.family), root, address, 1, Memory.list).value == 1
      else { return false }
      address += Memory.page
    }
    return true
  }

  /// Gives the other family its u-area and stacks, filling the u-area through a mapping here that goes again.
  private static func mapPages(
    at uarea: UInt64, root: UInt64, _ slot: UInt64, body: UInt64, _ changing: (UInt64) -> Void
  ) -> UInt64? {
    let window = Memory.region + 0x1f_0000
    var uareaFrame: UInt64?
    for page in 0..<pages {
      guard let frame = Memory.takeFrame(slot) else { return nil }
      if page == 0 {
        uareaFrame = frame
        guard Memory.write(Entry.page(frame), at: window, by: Memory.both(Slot.family, slot)).value == 1 else {
          return nil
        }
        fill(window, seenAt: uarea, body: body)
        changing(window)
        guard Memory.write(0, at: window).value == 1 else { return nil }
      }
      store64(Memory.list, Entry.page(frame))
      guard
        Kernel.call(
          .pagesWrite, Memory.both(slot, slot), root, uarea + page * Memory.page, 1, Memory.list
        ).value == 1
      else { return nil }
    }
    return uareaFrame
  }

  // MARK: Ending

  /// Ends it; its frames stay mapped for the next child in the same place.
  @discardableResult func kill() -> Answer { Kernel.call(.environmentKill, slot, handle) }

  /// Unmaps the pages of a place for children of the first family and gives the frames back.
  @discardableResult static func release(_ number: UInt64) -> Bool {
    var succeeded = true
    for page in 0..<pages {
      let address = uarea(of: number) + page * Memory.page
      if OwnTables.entry(address) != 0, !Memory.unmapAndGiveBack(address) { succeeded = false }
    }
    return succeeded
  }
}

// MARK: Bodies

/// Sleeps for good.
@c @used func hostile_body_sleep(_ uarea: UInt64) {
  while true { Kernel.sleep() }
}

/// Counts for good.
@c @used func hostile_body_spin(_ uarea: UInt64) {
  while true { store64(uarea + UInt64(UA_WORD), load64(uarea + UInt64(UA_WORD)) + 1) }
}

enum Body {
  static var sleep: UInt64 { address_of_hostile_body_sleep() }
  static var spin: UInt64 { address_of_hostile_body_spin() }
}

/// Lets every other environment have a turn, several times.
func letOthersRun(_ times: UInt64 = 3) {
  for _ in 0..<times { Kernel.yield() }
}

/// Yields until something holds; the bound is in turns, not in time.
///
/// - Returns: Whether it held in the end.
func waitUntil(turns: UInt64 = 5000, _ condition: () -> Bool) -> Bool {
  for _ in 0..<turns {
    if condition() { return true }
    Kernel.yield()
  }
  return condition()
}
