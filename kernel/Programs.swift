// SPDX-License-Identifier: Apache-2.0
// Programs.swift: programs that applications bring into the kernel: verified and compiled in steps, then kept as code.
//
// A program lies in frames of its owner's, which become the kernel's for as long as they are needed: the first has the
// instructions and stays until the program ends, the others are working memory. The code goes to a place of 4 KiB in
// memory that the kernel took at boot, where it is executable; nowhere is it writable: stores to it are made with write
// protection off (SDM vol. 3, 4.6.1), and nothing else runs meanwhile.

import ApusABI
import ApusBPF
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// Words of a program's frames but the first.
struct ProgramWords: WordMemory {
  fileprivate var frames = [8 of UInt32](repeating: 0)
  fileprivate var frameCount = 0

  var count: Int { max(0, frameCount - 1) * 512 }
  subscript(index: Int) -> UInt64 {
    get { PhysicalMemory.word(place(index)) }
    set { PhysicalMemory.setShared64(place(index), newValue) }
  }
  private func place(_ index: Int) -> UInt64 { UInt64(frames[index >> 9 + 1]) << 12 | UInt64(index & 511) << 3 }
}

/// Where a program's code goes.
struct ProgramCode: CodeBuffer {
  let bytes: KernelBytes
  static var byteCount: Int { 4096 }
  var capacity: Int { Self.byteCount }
  func store(_ byte: UInt8, at offset: Int) { bytes[offset] = byte }
}

/// The functions that programs call.
private struct Helpers: HelperAddresses {
  func address(of helper: UInt32) -> UInt64? { helper &- 1 < 5 ? apus_helper(helper) : nil }
}

/// What the kernel remembers of a program.
struct Program {
  enum Stage: UInt8 { case free, verifying, compiling, ready }

  var stage = Stage.free
  var use = ProgramUse.packetFilter
  var owner: Capability
  var account: UInt16 = 0
  var generation: UInt64 = 0
  var slotCount = 0
  /// The most instructions of a run.
  var worst: UInt64 = 0
  fileprivate var verifier: ForwardVerifier<ProgramWords>
  fileprivate var compiler: Compiler<ProgramCode, ProgramWords>
  fileprivate var words = ProgramWords()
}

/// All programs, and the one that runs.
struct Programs {
  static var count: UInt32 { 64 }
  /// Instructions that a step verifies or compiles: 12,500 instructions of the machine's at most for one that is a branch
  /// at which ways meet.
  private static var verifyCount: Int { 3 }
  private static var compileCount: Int { 12 }

  private let programs: Table<Program>
  private let contracts: Table<Contract>
  /// The code of all of them, where it is written; it runs `codeOffset` bytes behind the filters'.
  private let code: UInt64
  static var codeOffset: UInt64 { 0x20_0000 }
  /// The top of the stack of the one that runs.
  private let stackTop: UInt64
  let sleepers: Table<PredicateWait>
  let bindings: Table<HandlerBinding>
  /// How many environments sleep on a predicate.
  var sleeperCount = 0
  let current: Record<HandlerRun>
  /// Changes whenever code has been written.
  var codeVersion: UInt64 = 1

  fileprivate init(
    programs: UInt64, contracts: UInt64, code: UInt64, stack: UInt64, sleepers: Table<PredicateWait>,
    bindings: Table<HandlerBinding>
  ) {
    self.programs = Table(physical: programs, count: Self.count)
    self.contracts = Table(physical: contracts, count: 3)
    self.contracts.record(0).initialize(.packetFilter)
    self.contracts.record(1).initialize(.packetHandler)
    self.contracts.record(2).initialize(.wakeupPredicate)
    self.code = code
    stackTop = PhysicalMemory.directBase + stack + 4096
    // The stack is the end of its page; a copy of a reply lies at the beginning, and what runs between.
    current = Record(physical: stack + 2048)
    current.initialize(HandlerRun(copy: stack))
    self.sleepers = sleepers
    self.bindings = bindings
  }

  /// A program by its name, generation << 8 | index, if it is there.
  func program(_ name: UInt64) -> Record<Program>? {
    let index = UInt32(truncatingIfNeeded: name & 0xff)
    guard index < Self.count, programs[index].stage != .free, programs[index].generation == name >> 8 else {
      return nil
    }
    return programs.record(index)
  }

  /// A program of the caller's account that a capability reaches.
  ///
  /// - Throws: `noSuchResource`, `denied`.
  func program(_ name: UInt64, by capability: Capability) throws(SystemCallError) -> Record<Program> {
    guard let program = program(name) else { throw .noSuchResource }
    guard program.value.account == caller.account,
      capability.dominates(guard: program.value.owner.name, length: program.value.owner.length, needing: .write)
    else { throw .denied }
    return program
  }

  // MARK: Making

  /// `programCreate`: takes the frames that the call's words name, and copies the instructions into the first.
  mutating func create(
    _ use: ProgramUse, _ slotCount: UInt64, at address: UInt64, frameCount: Int, by capability: Capability
  ) throws(SystemCallError) -> UInt64 {
    let account = try account(of: capability)
    guard account == caller.account else { throw .denied }
    guard slotCount &- 1 < 512, frameCount >= 2, frameCount <= 8,
      (frameCount - 1) * 512 >= ForwardVerifier<ProgramWords>.minimumWordCount(slotCount: Int(slotCount))
    else { throw .invalid }
    guard kernel.frames.flushEpoch == 0 else { throw .flushPending }
    var index: UInt32 = 0
    while index < Self.count, programs[index].stage != .free { index += 1 }
    guard index < Self.count else { throw .exhausted }
    guard UserMemory.copyIn(address, Int(slotCount) * 8, root: caller.root, to: kernel.bytes) else {
      throw garbage(address)
    }
    var words = ProgramWords()
    do throws(SystemCallError) {
      while words.frameCount < frameCount {
        words.frames[words.frameCount] = try take(kernel.words[words.frameCount], account, by: capability)
        words.frameCount += 1
      }
    } catch {
      giveBack(&words, keeping: 0)
      throw error
    }
    KernelBytes(physical: UInt64(words.frames[0]) << 12, count: 4096).copy(kernel.bytes)
    let generation = programs[index].generation &+ 1 & 0xff_ffff
    programs[index] = Program(
      stage: .verifying, use: use, owner: capability, account: account, generation: generation,
      slotCount: Int(slotCount),
      verifier: ForwardVerifier(memory: words, slotCount: Int(slotCount), for: contracts[use.index]),
      compiler: Compiler(into: ProgramCode(bytes: codeBytes(index)), marks: words), words: words)
    return generation << 8 | UInt64(index)
  }

  private func codeBytes(_ index: UInt32) -> KernelBytes {
    KernelBytes(physical: code + UInt64(index) * UInt64(ProgramCode.byteCount), count: ProgramCode.byteCount)
  }

  /// Takes an unused frame away from ring 3.
  private func take(_ number: UInt64, _ account: UInt16, by capability: Capability) throws(SystemCallError) -> UInt32 {
    let frames = kernel.frames.frames
    guard number < UInt64(frames.count) else { throw .noSuchResource }
    let frame = UInt32(truncatingIfNeeded: number)
    guard frames[frame].isOrdinary else { throw .wrongType }
    guard frames[frame].account == account, frames[frame].isReached(by: capability, needing: .write) else {
      throw .denied
    }
    guard frames[frame].isUnused else { throw .inUse }
    frames[frame].type = UInt8(APUS_FRAME_PROGRAM)
    return frame
  }

  /// Gives frames back, those behind the first few.
  private func giveBack(_ words: inout ProgramWords, keeping count: Int) {
    while words.frameCount > count {
      words.frameCount -= 1
      kernel.frames.frames[words.frames[words.frameCount]].type = UInt8(APUS_FRAME_ORDINARY)
    }
  }

  /// `programVerify`: one step.
  ///
  /// - Returns: What rax says: 1 if there is more to do, 0 if the program can be used; a refusal says why.
  mutating func verify(_ name: UInt64, by capability: Capability) throws(SystemCallError) -> UInt64 {
    let record = try program(name, by: capability)
    let slots = KernelBytes(physical: UInt64(record.value.words.frames[0]) << 12, count: record.value.slotCount * 8)
    switch record.value.stage {
    case .verifying:
      let contract = contracts.record(record.value.use.index)
      do throws(VerificationError) {
        let isDone = try slots.withWords { (slots) throws(VerificationError) in
          try record.value.verifier.step(slots, for: contract.value, count: Self.verifyCount)
        }
        guard isDone else { return 1 }
      } catch {
        end(record)
        return refusal(error)
      }
      record.value.worst = record.value.verifier.worst
      record.value.compiler.begin(record.value.verifier.facts)
      record.value.stage = .compiling
      return 1
    case .compiling:
      CodeProtection.lift()
      defer { CodeProtection.restore() }
      do throws(ProgramError) {
        let byteCount = try slots.withWords { (slots) throws(ProgramError) in
          try record.value.compiler.step(slots, helpers: Helpers(), count: Self.compileCount)
        }
        guard byteCount != nil else { return 1 }
      } catch {
        end(record)
        return refusal(.program(error))
      }
      giveBack(&record.value.words, keeping: 1)
      record.value.stage = .ready
      codeVersion &+= 1
      return 0
    case .ready, .free: return 0
    }
  }

  /// Says why a program was refused: the rule, or 128 + the defect, and the slot.
  private func refusal(_ error: VerificationError) -> UInt64 {
    let reason: UInt64 =
      switch error {
      case .program(let error): 128 | UInt64(error.reason.rawValue)
      case .rejection(let rejection): UInt64(rejection.rule.rawValue)
      }
    return 0 &- (UInt64(SystemCallError.refused.rawValue) | reason << 8 | UInt64(error.slot) << 16)
  }

  // MARK: Ends

  /// Ends a program: what is bound to it runs no more.
  func end(_ program: Record<Program>) {
    program.value.stage = .free
    giveBack(&program.value.words, keeping: 0)
  }

  /// Ends the programs of an account without environments.
  func end(of account: UInt16) {
    for index in 0..<Self.count where programs[index].stage != .free && programs[index].account == account {
      end(programs.record(index))
    }
  }

  // MARK: Running

  /// Runs a program that can be used, with up to four arguments.
  func run(_ program: Record<Program>, _ name: UInt64, _ a: UInt64, _ b: UInt64, _ c: UInt64 = 0, _ d: UInt64 = 0)
    -> UInt64
  {
    synchronizeCode()
    let entry = PhysicalMemory.codeBase + Self.codeOffset + (name & 0xff) * UInt64(ProgramCode.byteCount)
    return apus_run_program(entry, a, b, c, d, stackTop)
  }

  /// Code that another CPU wrote is not run out of this one's queues.
  ///
  /// A serializing instruction comes first (SDM vol. 3, 9.1.3).
  func synchronizeCode() {
    guard here.codeVersion != codeVersion else { return }
    here.codeVersion = codeVersion
    apus_write_cr3(apus_read_cr3())
  }
}

extension ProgramUse {
  fileprivate var index: UInt32 { UInt32(rawValue) - 1 }
}

/// Takes the memory for programs.
func startPrograms(environmentCount: UInt32, filterCount: UInt32, _ memory: inout BootMemory) -> Record<Programs> {
  let codeBytes = UInt64(Programs.count) * UInt64(ProgramCode.byteCount)
  guard let programs = memory.take(UInt64(Programs.count) * UInt64(MemoryLayout<Program>.stride)),
    let contracts = memory.take(3 * UInt64(MemoryLayout<Contract>.stride)), let code = memory.take(codeBytes),
    let stack = memory.take(4096),
    let sleepers = memory.take(UInt64(environmentCount) * UInt64(MemoryLayout<PredicateWait>.stride)),
    let bindings = memory.take(UInt64(filterCount) * UInt64(MemoryLayout<HandlerBinding>.stride)),
    let state = memory.take(UInt64(MemoryLayout<Programs>.stride)),
    KernelTables.active.mapCode(code, codeBytes, at: Programs.codeOffset, &memory)
  else { panic("boot: too little memory for programs") }
  let record = Record<Programs>(physical: state)
  record.initialize(
    Programs(
      programs: programs, contracts: contracts, code: code, stack: stack,
      sleepers: Table(physical: sleepers, count: environmentCount),
      bindings: Table(physical: bindings, count: filterCount)))
  return record
}
