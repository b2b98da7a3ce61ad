// SPDX-License-Identifier: Apache-2.0
// FuzzAttacker.swift: an environment that calls at random, with arguments that are right often enough to do harm.
//
// It remembers what calls gave it (frames, roots, environments, slices) and uses that again. It also writes garbage into
// its own u-area, makes further environments like itself, and shares frames with the family that it holds a capability for.

import ApusABI

/// A small generator (xorshift64*).
struct FuzzRandom {
  private var state: UInt64

  init(seed: UInt64) { state = seed | 1 }

  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_f491_4f6c_dd1d
  }

  mutating func below(_ limit: UInt64) -> UInt64 { (next() >> 11) % limit }
  mutating func oneIn(_ count: UInt64) -> Bool { below(count) == 0 }
}

struct FuzzAttacker {
  /// Lists for calls, in two pages of its own behind its stacks.
  static var listOffset: UInt64 { 0x6000 }
  static var pages: UInt64 { 8 }
  /// The slot of the capability for another random family.
  static var victim: UInt64 { 1 }

  private var random: FuzzRandom
  private let uarea: UInt64
  /// Where the kernel counts its slice upcalls.
  private let upcalls: UInt64
  private var list: UInt64 { uarea + Self.listOffset }
  private var frames: InlineArray<16, UInt64> = .init(repeating: 0)
  private var framesKnown = 0
  private var roots: InlineArray<2, UInt64> = .init(repeating: 0)
  private var handle: UInt64 = 0
  private var slice: UInt64 = 0
  private var lastValue: UInt64 = 0
  private var siblingsMade: UInt64 = 0

  init(_ uarea: UInt64) {
    self.uarea = uarea
    random = FuzzRandom(seed: load64(uarea + UInt64(UA_WORD2)))
    handle = Information.ownHandle
    upcalls = Information.environmentAddress(slot: Information.slot(of: handle)) + 64
    roots = .init(repeating: Information.ownRoot)
  }

  // MARK: Steps

  /// Makes one call, or does one of the longer things.
  mutating func step(_ dice: [256 of UInt8], _ faces: Int) {
    switch random.below(64) {
    case 0: makeSibling()
    case 1: share()
    case 2: spoilUarea()
    case 3 where random.oneIn(8): burnTime()
    default:
      var number = UInt64(dice[Int(random.below(UInt64(faces)))])
      if random.oneIn(60) { number = random.below(FuzzGrammar.numbers) }
      call(number)
    }
  }

  private mutating func call(_ number: UInt64) {
    let grammar = SystemCall(rawValue: UInt32(number)).map { FuzzGrammar($0) } ?? FuzzGrammar(0)
    let call = UInt64(APUS_CALL_BIT) | number
    let a = argument(grammar.words.0)
    let b = argument(grammar.words.1)
    let c = argument(grammar.words.2)
    let d = argument(grammar.words.3)
    let e = argument(grammar.words.4)
    // A timeline full of its slices would only make the run long.
    if number == UInt64(SystemCall.sliceAllocate.rawValue),
      Information.environment(slot: Information.slot(of: handle)).slices_owned > 3
    {
      return
    }
    FuzzStatistics.count(number)
    let answer: Answer
    if case .slice = grammar.comesBack {
      answer = Answer(raw: hostile_suspend(number, a, b, c, d))
    } else {
      let turns = load64(upcalls)
      let start = time_stamp()
      answer = Kernel.call(number: call, a, b, c, d, e)
      let ticks = time_stamp() &- start
      if load64(upcalls) == turns { FuzzStatistics.note(number, ticks: ticks) }
    }
    guard let value = answer.value else { return }
    FuzzStatistics.countSuccess(number)
    learn(number, value, root: b)
  }

  /// Remembers what a call gave.
  private mutating func learn(_ number: UInt64, _ value: UInt64, root: UInt64) {
    lastValue = value
    switch SystemCall(rawValue: UInt32(number)) {
    case .frameAllocate?:
      for index in 0..<min(value, 4) { learn(frame: load64(list + index * 8)) }
    case .tableRemove?: learn(frame: value)
    case .environmentCreate?: handle = value
    case .sliceAllocate?: slice = value
    case .tableInstall? where random.oneIn(4): roots[1] = frames[Int(random.below(16))]
    default: break
    }
  }

  private mutating func learn(frame: UInt64) {
    frames[framesKnown & 15] = frame
    framesKnown += 1
  }

  // MARK: Arguments

  private mutating func argument(_ word: FuzzWord) -> UInt64 {
    if random.oneIn(12) { return garbage() }
    switch word {
    case .none: return random.next()
    case .slot: return random.oneIn(5) ? random.below(8) : Slot.family
    case .slots:
      return (random.oneIn(6) ? random.below(8) : Slot.family) | (random.oneIn(3) ? random.below(8) : Slot.family) << 8
    case .slotTo: return 2 + random.below(6)
    case .handle: return random.oneIn(3) ? someone() : random.oneIn(2) ? handle : Information.ownHandle
    case .handleOrNobody: return random.oneIn(2) ? 0 : someone()
    case .frame: return frame()
    case .root: return roots[random.oneIn(4) ? 1 : 0]
    case .page: return page()
    case .uareaPage: return Child.uarea(of: random.below(32))
    case .word: return random.oneIn(3) ? 0 : uarea + random.below(8) * 8 + UInt64(UA_STOPS)
    case .wordValue: return random.oneIn(4) ? 1 : 0
    case .deadline: return random.oneIn(20) ? UInt64.max : time_stamp() &+ random.below(1 << 18)
    case .ticks: return random.below(1 << 22)
    case .slice:
      if random.oneIn(3) { return UInt64.max }
      return random.oneIn(2) ? slice : random.below(3) << 16 | (random.oneIn(2) ? 0xffff : random.below(64))
    case .level: return 1 + random.below(4)
    case .frames:
      fill(random.below(16) + 1) { $0.frame() }
      return list
    case .room:
      if random.oneIn(4) { fill(8) { $0.random.below(Information.page.frame_count) } }
      return list
    case .entries:
      fill(512) { $0.entry() }
      return list
    case .count: return random.oneIn(8) ? random.below(513) : random.below(5)
    case .countAndBits: return (random.oneIn(8) ? random.below(513) : random.below(5)) | (random.next() & 0x1e62) << 16
    case .mask: return random.oneIn(2) ? UInt64.max : random.next()
    case .name: return name()
    case .nameLength: return 2 + random.below(3)
    case .shape: return 2 + random.below(3) | random.below(8) << 8
    case .account: return ownAccount + (random.oneIn(2) ? 0 : random.below(3))
    case .bytes: return random.oneIn(4) ? page() : list
    case .byteCount: return random.below(5000)
    case .flags: return random.oneIn(3) ? random.below(8) : 0
    case .small: return random.below(10)
    }
  }

  /// Words that no grammar asks for.
  private mutating func garbage() -> UInt64 {
    switch random.below(12) {
    case 0: return lastValue
    case 1: return list
    case 2: return uarea + random.below(16) * 4096
    case 3: return UInt64(APUS_LIBOS_BASE) + random.below(1 << 24)
    case 4: return random.below(Information.page.frame_count + 4)
    case 5: return 1 << random.below(64)
    case 6: return UInt64.max - random.below(16)
    case 7: return random.below(64)
    case 8: return UInt64(APUS_USER_LIMIT) - random.below(3) * 8
    case 9: return 0xffff_8000_0000_0000 + random.below(1 << 46)
    case 10: return Information.ownRoot
    default: return random.next()
    }
  }

  /// An environment that lives, whoever's it is.
  private mutating func someone() -> UInt64 {
    let count = Information.page.environment_count
    for _ in 0..<8 {
      let slot = random.below(min(count, 12))
      let record = Information.environment(slot: slot)
      if record.state != UInt32(APUS_ENVIRONMENT_FREE) { return UInt64(record.generation) << 32 | (slot + 1) }
    }
    return handle
  }

  /// A frame that it was given, seldom any.
  private mutating func frame() -> UInt64 {
    if random.oneIn(10) { return random.below(Information.page.frame_count) }
    return frames[Int(random.below(UInt64(max(1, min(framesKnown, 16)))))]
  }

  /// A page of its 2 MiB for trying, whose tables are there at first; seldom one elsewhere.
  private mutating func page() -> UInt64 {
    switch random.below(20) {
    case 0: return Memory.region + 0x80_0000 + random.below(4) << 21
    case 1: return uarea + random.below(Self.pages) * 4096
    case 2: return random.below(1 << 35) << 12
    case 3: return Memory.region + 0x1f_f000
    default: return Memory.region + random.below(random.oneIn(2) ? 8 : 512) << 12
    }
  }

  private mutating func entry() -> UInt64 {
    if random.oneIn(4) { return 0 }
    let bits = random.oneIn(8) ? random.next() & 0x8000_0000_0000_0fff : Entry.present | Entry.noExecute
    return frame() << 12 | bits | (random.oneIn(2) ? Entry.writable : 0)
  }

  private var ownAccount: UInt64 { UInt64(Information.environment(slot: Information.ownSlot).account) }

  /// A name below its own, seldom beside it.
  private mutating func name() -> UInt64 {
    let own = ownAccount << 48
    return random.oneIn(8) ? random.next() : own | random.below(2) << 40 | (random.oneIn(8) ? random.below(2) << 32 : 0)
  }

  private mutating func fill(_ count: UInt64, _ element: (inout FuzzAttacker) -> UInt64) {
    for index in 0..<count { store64(list + index * 8, element(&self)) }
  }

  // MARK: Longer things

  /// Makes another environment of its family in its address space, which does as it does.
  private mutating func makeSibling() {
    let family = (uarea - Memory.children) >> 16
    guard family < FuzzPlace.families, siblingsMade < FuzzPlace.siblings else { return }
    let number = FuzzPlace.sibling(siblingsMade, of: family)
    siblingsMade += 1
    for page in 0..<Self.pages where OwnTables.entry(Child.uarea(of: number) + page * 4096) == 0 {
      guard Memory.mapFresh(at: Child.uarea(of: number) + page * 4096) != nil else { return }
    }
    let seed = random.next()
    guard let child = Child(number, body: address_of_hostile_body_fuzz(), capabilities: 0xff, slice: false) else {
      return
    }
    child[UA_WORD2] = seed
    child[UA_WORD3] = FuzzBody.siblingCalls
    handle = child.handle
    if !random.oneIn(3) {
      let processor = random.below(Information.page.processor_count)
      Kernel.call(.sliceAllocate, Slot.family, processor << 16 | 0xffff, child.handle)
    }
  }

  /// Puts a longer guard on a frame and gives the capability for it to somebody of the other family.
  private mutating func share() {
    let name = ownAccount << 48 | 1 << 40
    Kernel.forge(
      Slot.scratch, name: name, length: 3, rights: random.oneIn(2) ? Right.read : Right.all, by: Slot.family)
    Kernel.call(.frameGuard, Slot.family, frame(), 3, name)
    Kernel.call(.capabilityGrant, Self.victim, Slot.scratch, someone(), 3 + random.below(5))
  }

  /// Uses up to two slices' time, in a critical section or not.
  private mutating func burnTime() {
    if random.oneIn(2) { set_uarea_word(UInt32(APUS_UA_CRITICAL), 1) }
    let end = time_stamp() &+ random.below(2 * Information.page.slice_ticks)
    while time_stamp() < end {}
    if !random.oneIn(8) { set_uarea_word(UInt32(APUS_UA_CRITICAL), 0) }
  }

  /// Writes garbage into the kernel's part of its own u-area.
  private mutating func spoilUarea() {
    // Seldom the entries: most of that is the end of it.
    let offset = random.oneIn(16) ? random.below(64) * 8 : random.oneIn(2) ? 0 : 0x150 + random.below(22) * 8
    if offset == UInt64(APUS_UA_SELF) { return }
    store64(uarea + offset, random.oneIn(2) ? random.below(4) : garbage())
  }
}

/// The body of every environment of a random family.
enum FuzzBody {
  /// How many calls an environment makes at most: a family's first, and those that it makes.
  static var calls: UInt64 { 1500 }
  static var siblingCalls: UInt64 { 300 }
}

@c @used func hostile_body_fuzz(_ uarea: UInt64) {
  FuzzStatistics.countAttacker()
  var dice: [256 of UInt8] = .init(repeating: 0)
  let faces = FuzzGrammar.fill(&dice)
  var attacker = FuzzAttacker(uarea)
  // A fault of its own making ends it, which is part of the game.
  for _ in 0..<load64(uarea + UInt64(UA_WORD3)) { attacker.step(dice, faces) }
  Kernel.call(.environmentKill)
  while true {}
}
