// SPDX-License-Identifier: Apache-2.0
// Programs+Calls.swift: the calls that make programs, bind them, and sleep on them.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// A call about programs: `a` to `e` are its arguments.
func programCall(
  _ call: SystemCall, _ a: UInt64, _ b: UInt64, _ c: UInt64, _ d: UInt64, _ e: UInt64
) throws(SystemCallError) -> UInt64 {
  let capability = try ownCapability(a)
  let programs = kernel.programs
  switch call {
  case .programCreate:
    guard let use = ProgramUse(rawValue: b & 0xff), e <= 8 else { throw .invalid }
    try copyIn(e, wordsAt: d)
    return try programs.value.create(use, b >> 8, at: c, frameCount: Int(e), by: capability)
  case .programVerify: return try programs.value.verify(b, by: capability)
  case .programEnd:
    programs.value.end(try programs.value.program(b, by: capability))
    return 0
  case .handlerBind:
    guard let network = kernel.network else { throw .noSuchResource }
    guard let ring = network.value.ring(ofFilter: b) else { throw .noSuchResource }
    guard network.value.isReached(ring, by: capability) else { throw .denied }
    return try programs.value.bind(b, to: c, d, by: capability)
  default: return try predicateSleep(on: b, list: c, deadline: d, by: capability)
  }
}

// MARK: Wakeup predicates

/// What an environment sleeps on.
struct PredicateWait {
  /// The program's name; 0: it sleeps on none.
  var program: UInt64 = 0
  /// The physical addresses of the words; 0: the word is 0.
  var words = [8 of UInt64](repeating: 0)
}

/// How many environments may sleep on predicates: a search for who can run asks all of them.
private let predicateSleepers = 32

/// `predicateSleep`: see SystemCall.swift.
private func predicateSleep(
  on name: UInt64, list: UInt64, deadline: UInt64, by capability: Capability
) throws(SystemCallError) -> UInt64 {
  drainInPassing()
  let programs = kernel.programs
  let program = try programs.value.program(name, by: capability)
  guard program.value.stage == .ready, program.value.use == .wakeupPredicate else { throw .wrongType }
  try copyIn(8, wordsAt: list)
  var wait = PredicateWait(program: name)
  for index in 0..<8 where kernel.words[index] != 0 {
    let address = kernel.words[index]
    guard address & 7 == 0, let physical = physicalWord(address) else { throw garbage(address) }
    wait.words[index] = physical
    guard programs.value.isReadable(physical, for: caller.account) else { throw .denied }
  }
  if deadline != UInt64.max, apus_rdtsc() >= deadline { return 1 }
  programs.value.sleepers[here.current] = wait
  guard !programs.value.holds(for: here.current) else {
    programs.value.sleepers[here.current].program = 0
    return 1
  }
  guard programs.value.sleeperCount < predicateSleepers else {
    programs.value.sleepers[here.current].program = 0
    throw .exhausted
  }
  programs.value.sleeperCount += 1
  kernel.environments.sleep(here.current, word: 0, value: 0, deadline: deadline)
  kernel.environments.environments[here.current].waits = waitsForPredicate
  accountTime()
  runNext()
}

extension Programs {
  /// Whether a word may be shown to an account's programs: it lies in a frame of its own, or in the information page.
  func isReadable(_ physical: UInt64, for account: UInt16) -> Bool {
    let frame = UInt32(truncatingIfNeeded: physical >> 12)
    if UInt64(frame) << 12 == kernel.information.kernelAddress &- PhysicalMemory.directBase { return true }
    return kernel.frames.frames[frame].isOrdinary && kernel.frames.frames[frame].account == account
  }

  /// Whether the predicate says that an environment has something to do, or can say nothing any more.
  ///
  /// That is so when the program has ended, or a word's frame is not its owner's any longer. What the question takes is the
  /// environment's time.
  func holds(for slot: UInt32) -> Bool {
    guard let program = program(sleepers[slot].program) else { return true }
    let now = apus_rdtsc()
    for index in 0..<8 {
      let word = sleepers[slot].words[index]
      guard word == 0 || isReadable(word, for: program.value.account) else { return true }
      kernel.bytes.setWord(index, word == 0 ? 0 : PhysicalMemory.word(word))
    }
    let result = run(program, sleepers[slot].program, kernel.bytes.address, now)
    kernel.environments.environments[slot].ticks_used &+= apus_rdtsc() &- now
    return result != 0
  }

  /// Ends a sleep on a predicate, if there is one.
  mutating func endSleep(of slot: UInt32) {
    guard sleepers[slot].program != 0 else { return }
    sleepers[slot].program = 0
    sleeperCount -= 1
  }
}

extension KernelBytes {
  fileprivate func setWord(_ index: Int, _ value: UInt64) {
    PhysicalMemory.setShared64(address &- PhysicalMemory.directBase &+ UInt64(index) << 3, value)
  }
}
