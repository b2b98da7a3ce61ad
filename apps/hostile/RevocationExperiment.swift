// SPDX-License-Identifier: Apache-2.0
// RevocationExperiment.swift: three families under revocation, one that gives back, one that is too slow and one that
// does all it can to keep what it has, beside a neighbour whom it is none of their business to slow down.
//
// To be run in virtual time. The figures are printed; the checks are on them.

import ApusABI

/// A family of the experiment.
private struct Subject {
  let name: StaticString
  let account: UInt64
  let child: Child
  /// Where its vector is seen here.
  let vector: UInt64
  let place: UInt64

  static var pages: UInt64 { 150 }
  /// Where each family has its pages, in its own address space.
  static var region: UInt64 { Memory.region }
  /// The frames of the family in place n, in a list that all can read.
  static func list(_ place: UInt64) -> UInt64 { Memory.list2 + place * pages * 8 }

  /// Makes a family with pages of its own, mapped, and a vector.
  init?(_ name: StaticString, _ place: UInt64, _ account: UInt64, body: UInt64) {
    self.name = name
    self.account = account
    self.place = place
    vector = Memory.region + 0x1c_0000 + place * Memory.page
    Kernel.forge(Slot.other, name: account << 48, length: 2)
    // Lower numbers than its stacks have: who loses frames in the order of their numbers loses these first.
    for page in 0..<Self.pages {
      guard let own = Memory.takeFrame(Slot.other) else { return nil }
      store64(Self.list(place) + page * 8, own)
    }
    guard let frame = Memory.takeFrame(Slot.other),
      Memory.write(Entry.page(frame), at: vector, by: Memory.both(Slot.family, Slot.other)).value == 1,
      let child = Child(
        place, body: body, foreign: Slot.other, capabilities: 1 << Slot.other, slice: false,
        changing: { page in
          store64(page + UInt64(UA_WORD2), frame)
          store64(page + UInt64(UA_WORD3), place)
          store64(page + UInt64(UA_STEPS), Self.pages)
          store64(page + UInt64(UA_PLAN), UInt64(PLAN_GO_ON_ALWAYS))
        }),
      Memory.makeTables(for: Self.region, root: child.root, Slot.other)
    else { return nil }
    self.child = child
    for page in 0..<Self.pages {
      store64(Memory.list, Entry.page(load64(Self.list(place) + page * 8)))
      let both = Memory.both(Slot.other, Slot.other)
      guard
        Kernel.call(.pagesWrite, both, child.root, Self.region + page * Memory.page, 1, Memory.list).value == 1
      else { return nil }
    }
    guard Kernel.call(.sliceAllocate, Slot.other, UInt64.max, child.handle).value != nil else { return nil }
  }

  var held: UInt64 { Budget.used(.frames, of: account) }
  var taken: UInt64 { UInt64(Information.revocation(of: account)?.frames.taken ?? 0) }
  var written: UInt64 { load64(vector) }
  func entry(_ index: UInt64) -> UInt64 { load64(vector + 64 + index * 8) }

  /// Whether the vector has exactly the frames that were taken, each once and none of them the family's any more.
  func tellsTheTruth() -> Bool {
    guard written == taken, load64(vector + 8) == 0 else { return false }
    for index in 0..<written {
      let entry = entry(index)
      guard entry >> UInt64(APUS_REPOSSESSION_KIND_SHIFT) == RevocationKind.frames.rawValue else { return false }
      let number = entry & (1 << UInt64(APUS_REPOSSESSION_KIND_SHIFT) - 1)
      if UInt64(Information.frame(number).account) == account { return false }
      for other in 0..<index where self.entry(other) == entry { return false }
    }
    // What was its own and is gone without a word was given back by itself: it says how many that were.
    var gone: UInt64 = 0
    for page in 0..<Self.pages {
      let number = load64(Self.list(place) + page * 8)
      if UInt64(Information.frame(number).account) == account { continue }
      var isTold = false
      for index in 0..<written where self.entry(index) & 0xffff_ffff == number { isTold = true }
      if !isTold { gone += 1 }
    }
    return gone == load64(givenBack)
  }

  /// Where the family says how many frames it has given back.
  var givenBack: UInt64 { address_of_hostile_globals() + 128 + place * 8 }
}

// MARK: What the families do

private func ownPages() -> UInt64 { uarea_word(UInt32(UA_STEPS)) }

/// Uses the first pages of the family, and counts.
private func work(_ pages: UInt64) {
  for page in 0..<pages { store64(Subject.region + page * Memory.page, page) }
  set_uarea_word(UInt32(UA_WORD), uarea_word(UInt32(UA_WORD)) + 1)
}

private func begin() { Kernel.call(.repossessionVector, Slot.other, uarea_word(UInt32(UA_WORD2))) }

private func isAsked() -> UInt64 {
  guard uarea_word(UInt32(APUS_UA_PENDING)) & UInt64(APUS_PENDING_REVOCATION) != 0 else { return 0 }
  return uarea_word(UInt32(APUS_UA_REVOCATION_COUNT))
}

private func answered() {
  set_uarea_word(
    UInt32(APUS_UA_PENDING), uarea_word(UInt32(APUS_UA_PENDING)) & ~UInt64(APUS_PENDING_REVOCATION))
}

/// Unmaps the last page that the family has and gives its frame back.
private func giveLastBack(_ uarea: UInt64) {
  let last = ownPages() - 1
  let place = uarea_word(UInt32(UA_WORD3))
  let root = Information.ownRoot
  // UA_STOPS is 0: an entry that unmaps.
  let both = Memory.both(Slot.other, Slot.other)
  Kernel.call(.pagesWrite, both, root, Subject.region + last * Memory.page, 1, uarea + UInt64(UA_STOPS))
  guard Kernel.call(.frameFree, Slot.other, Subject.list(place) + last * 8, 1).value == 1 else { return }
  set_uarea_word(UInt32(UA_STEPS), last)
  let count = address_of_hostile_globals() + 128 + place * 8
  store64(count, load64(count) + 1)
}

/// Gives back what is asked for, at once.
@c @used func hostile_body_cooperative(_ uarea: UInt64) {
  begin()
  while true {
    let count = isAsked()
    if count != 0 {
      for _ in 0..<count { giveLastBack(uarea) }
      answered()
    }
    work(30)
  }
}

/// Gives back one page in two slices' time, and says what is to be taken first: what it would have given back.
@c @used func hostile_body_slow(_ uarea: UInt64) {
  begin()
  while true {
    if isAsked() != 0 {
      let vector = uarea_word(UInt32(UA_NEXT))
      for index in 0..<UInt64(100) {
        let frame = load64(Subject.list(uarea_word(UInt32(UA_WORD3))) + (Subject.pages - 1 - index) * 8)
        let entry = RevocationKind.frames.rawValue << UInt64(APUS_REPOSSESSION_KIND_SHIFT) | frame
        store64(vector + (8 + UInt64(APUS_REPOSSESSION_ENTRIES) + index) * 8, entry)
      }
      store64(vector + 24, 100)
      giveLastBack(uarea)
      let until = time_stamp() + 2 * Information.page.slice_ticks
      while time_stamp() < until { work(30) }
    }
    work(30)
  }
}

/// Ignores that it is asked, takes others instead, and uses all its pages as long as it can.
@c @used func hostile_body_malicious(_ uarea: UInt64) {
  begin()
  var extra: UInt64 = 0
  while true {
    if isAsked() != 0, extra < 40 {
      let room = uarea + UInt64(UA_ANSWER)
      if Kernel.call(.frameAllocate, Slot.other, room, 1, 0).value == 1 { extra += 1 }
    }
    work(Subject.pages)
  }
}

// MARK: The experiment

private func slices(_ count: UInt64) -> UInt64 { count * Information.page.slice_ticks }

private func figure(_ name: StaticString, _ what: StaticString, _ value: UInt64) {
  var line = Line()
  line.put("figure ")
  line.put(name)
  line.put(", ")
  line.put(what)
  line.put(": ")
  line.put(value)
  line.send()
}

func revocationExperiment(_ report: inout Report) {
  let check = Check("revocation-experiment", "preparation")
  fill_words(address_of_hostile_globals(), 32, 0)
  guard let cooperative = Subject("cooperative", 0, 0x0090, body: address_of_hostile_body_cooperative()),
    let slow = Subject("slow", 1, 0x0091, body: address_of_hostile_body_slow()),
    let malicious = Subject("malicious", 2, 0x0092, body: address_of_hostile_body_malicious())
  else { return report.notTried(check) }
  // The slow one sees its vector in its own address space, and so where its u-area says.
  guard letSeeItsVector(slow) else { return report.notTried(check) }
  Kernel.forge(Slot.other, name: 0x0093 << 48, length: 2)
  guard let neighbour = Child(3, body: Body.spin, foreign: Slot.other) else { return report.notTried(check) }
  let seen = Memory.region + 0x1c_8000
  guard
    Memory.write(
      Entry.page(neighbour.uareaFrame, writable: false), at: seen, by: Memory.both(Slot.family, Slot.other)
    ).value == 1
  else { return report.notTried(check) }
  func work() -> UInt64 { load64(seen + UInt64(UA_WORD)) }
  Kernel.sleep(deadline: time_stamp() + slices(20))
  let subjects = (cooperative, slow, malicious)
  report.finish(check)

  // Without revocation, then with it: the same time.
  let bound = Information.page.revocation_bound_ticks
  let duration = bound + slices(40)
  var before = work()
  Kernel.sleep(deadline: time_stamp() + duration)
  let usual = work() - before

  let asked: UInt64 = 100
  let held = (subjects.0.held, subjects.1.held, subjects.2.held)
  let least = held.2 - 60
  var asking = Check("revocation-experiment", "asking")
  asking.expect(
    Kernel.call(.guaranteedMinimum, Slot.root, malicious.account, 1, least).raw, equals: 0, "a minimum")
  before = work()
  let start = time_stamp()
  // What is wanted back by then has to be asked for so much earlier: the bound is in the information page.
  let deadline = start + slices(20)
  func ask(_ subject: Subject) -> UInt64 {
    Kernel.call(.revoke, Slot.root, subject.account, RevocationKind.frames.rawValue, asked, deadline).raw
  }
  asking.expect(ask(cooperative), equals: asked, "the cooperative one")
  asking.expect(ask(slow), equals: asked, "the slow one")
  asking.expect(ask(malicious), equals: 60, "the malicious one, down to its minimum")
  report.finish(asking)

  // When is it back? Looked at once in a slice.
  var back = (UInt64(0), UInt64(0), UInt64(0))
  while time_stamp() < start + duration {
    Kernel.sleep(deadline: min(time_stamp() + slices(1), start + duration))
    if back.0 == 0, cooperative.held <= held.0 - asked { back.0 = time_stamp() }
    if back.1 == 0, slow.held <= held.1 - asked { back.1 = time_stamp() }
    if back.2 == 0, malicious.held <= least { back.2 = time_stamp() }
  }
  let during = work() - before
  let end = deadline + bound

  judge(cooperative, held.0 - asked, back.0, deadline, end, &report)
  judge(slow, held.1 - asked, back.1, deadline, end, &report)
  judge(malicious, least, back.2, deadline, end, &report)

  var kinds = Check("revocation-experiment", "who was taken from")
  kinds.expect(cooperative.taken, equals: 0, "from the cooperative one")
  kinds.expect(back.0 < deadline, "the cooperative one was late")
  kinds.expect(slow.taken > 0 && slow.taken < asked, "from the slow one", slow.taken)
  kinds.expect(slow.taken + load64(slow.givenBack), equals: asked, "and what it gave")
  kinds.expect(malicious.taken, equals: 100, "from the malicious one, 60 and the 40 that it took meanwhile")
  kinds.expect(cooperative.child.isLive && slow.child.isLive && malicious.child.isLive, "somebody died")
  report.finish(kinds)

  var neighbours = Check("revocation-experiment", "the neighbour's throughput stays within 5 %")
  figure("neighbour", "without revocation", usual)
  figure("neighbour", "with revocation", during)
  let difference = usual > during ? usual - during : during - usual
  neighbours.expect(usual > 1000, "it hardly ran", usual)
  neighbours.expect(difference * 20 <= usual, "differs by more", difference)
  report.finish(neighbours)
}

/// Maps the slow family's vector in its own address space, just behind its pages.
private func letSeeItsVector(_ subject: Subject) -> Bool {
  Kernel.forge(Slot.other, name: subject.account << 48, length: 2)
  let address = Subject.region + 0x1c_0000
  store64(Memory.list, Entry.page(OwnTables.frame(subject.vector)))
  guard
    Kernel.call(
      .pagesWrite, Memory.both(Slot.other, Slot.other), subject.child.root, address, 1, Memory.list
    ).value == 1
  else { return false }
  let window = Memory.region + 0x1d_0000
  let both = Memory.both(Slot.family, Slot.other)
  guard Memory.write(Entry.page(subject.child.uareaFrame), at: window, by: both).value == 1 else { return false }
  store64(window + UInt64(UA_NEXT), address)
  return Memory.write(0, at: window).value == 1
}

private func judge(
  _ subject: Subject, _ level: UInt64, _ back: UInt64, _ deadline: UInt64, _ end: UInt64, _ report: inout Report
) {
  var check = Check("revocation-experiment", subject.name)
  figure(subject.name, "frames given back", load64(subject.givenBack))
  figure(subject.name, "frames taken by force", subject.taken)
  if back > deadline {
    figure(
      subject.name, "back after the deadline, in thousandths of the bound",
      (back - deadline) * 1000 / (end - deadline))
  }
  check.expect(back != 0 && back <= end, "not back in time", back)
  check.expect(subject.held, equals: level, "what it holds")
  check.expect(subject.tellsTheTruth(), "the vector lies")
  report.finish(check)
}
