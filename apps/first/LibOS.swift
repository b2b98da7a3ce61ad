// SPDX-License-Identifier: Apache-2.0
// LibOS.swift: a library operating system: pages that come when they are touched, and a scheduler that counts tickets.

import ApusABI
import ApusRuntime

/// Where the application lives: its program first, then zeroed memory, as much of it as is touched.
private enum Layout {
  static var start: UInt64 { UInt64(APPLICATION_BASE) }
  static var end: UInt64 { 1 << 40 }
  /// Each thread has a stack that may grow to 16 MiB below its top.
  static func stackTop(_ number: UInt64) -> UInt64 { (number + 1) << 24 + 1 << 32 }
  /// The application's program, as it was linked into this LibOS.
  static var program: Bytes { .application(at: application_image(), count: Int(application_image_size())) }
}

/// A flow of control of the application, and what it has had.
private final class Thread {
  let name: String
  let tickets: UInt64
  var execution: Execution?
  /// Time used so far, in ticks.
  var used: UInt64 = 0
  var programPages = 0
  var zeroedPages = 0

  init(name: String, tickets: UInt64, number: UInt64) {
    self.name = name
    self.tickets = tickets
    var registers = Registers.start
    registers.rip = Layout.start
    registers.rdi = number
    registers.rsp = Layout.stackTop(number) - 8  // as if it had been called
    execution = Execution.start(
      root: PageTable.currentRoot, registers: registers, fsBase: 0, copyVectors: false, owner: self)
  }

  /// The page fault handler: maps a page where the application touched nothing yet.
  ///
  /// - Returns: False if there can be no page.
  func bring(_ address: UInt64) -> Bool {
    guard address >= Layout.start, address < Layout.end else { return false }
    let place = address & ~4095
    // The other thread may have touched it too, and have been faster.
    if PageTable.entry(at: place) & PageTable.present != 0 { return true }
    guard let page = Page.allocate(zeroed: true) else { return false }
    var entry = UInt64(page.frame) << 12 | PageTable.present | PageTable.writable
    let offset = Int(place - Layout.start)
    if offset < Layout.program.count {
      page.bytes.copy(Layout.program.part(offset, min(4096, Layout.program.count - offset)))
      programPages += 1
    } else {
      entry |= PageTable.noExecute
      zeroedPages += 1
    }
    do throws(OutOfMemory) {
      try PageTable.write(root: PageTable.currentRoot, at: place, entry: entry)
      return true
    } catch { return false }
  }

  /// The application's words, for which every page of theirs has to be there.
  func words(at address: UInt64, count: UInt64) -> String? {
    guard count <= 4096, bring(address), bring(address + count) else { return nil }
    return String(decoding: Bytes.application(at: address, count: Int(count)).array, as: UTF8.self)
  }

  func end(_ reason: String? = nil) -> Never {
    if let reason { say("\(name) \(reason)") }
    Execution.exitCurrent(handOffTo: nil)
  }
}

/// The scheduler: whoever has had the least time for its tickets gets the rest of this environment's slice.
private func schedule(_ threads: [Thread]) {
  while true {
    var next: Thread?
    for thread in threads where thread.execution?.isAlive == true {
      if let best = next, best.used * thread.tickets <= thread.used * best.tickets { continue }
      next = thread
    }
    guard let next, let execution = next.execution else { return }
    Execution.yield(to: execution)
    // Here again at the begin of this environment's next slice.
    next.used = max(next.used, execution.ticksUsed)
    if !execution.isAlive { sayShares(threads, when: next) }
  }
}

private func sayShares(_ threads: [Thread], when first: Thread) {
  let all = threads.reduce(1) { $0 + $1.used }
  var text = "\(first.name) is done; of the time so far"
  for thread in threads {
    text += "\(thread === threads.first ? "" : ",") \(thread.name) had \(thread.used * 100 / all) %"
  }
  say(text)
}

private func say(_ text: String) {
  var line = Array((text + "\n").utf8)
  while Bytes.withArray(&line, { Console.write(.output, $0) }) == 0 {}
}

// MARK: What the Runtime calls. The names are those of the first LibOS that stood on it.

/// The machine starts here.
@c @used func linux_start(_ image: UInt64, _ size: UInt64) -> Never {
  // Threads run only when the scheduler yields to them.
  Execution.takesSlices = false
  let threads = [Thread(name: "hare", tickets: 3, number: 0), Thread(name: "tortoise", tickets: 1, number: 1)]
  schedule(threads)
  let program = threads.reduce(0) { $0 + $1.programPages }
  let zeroed = threads.reduce(0) { $0 + $1.zeroedPages }
  say("\(program + zeroed) pages came when they were touched: \(program) of the program, \(zeroed) of zeroes")
  var status: [UInt8] = [0, 0, 0, 0]
  while Bytes.withArray(&status, { Console.write(.exit, $0) }) == 0 {}
  Console.powerOff(status: 0)
}

/// The application executed `syscall`: its register rax says what for.
@c @used func linux_system_call(_ address: UInt64) {
  let registers = UserRegisters(at: address)
  let thread = Execution.currentOwner(as: Thread.self)
  switch registers.rax {
  case UInt64(CALL_SAY):
    guard let words = thread.words(at: registers.rdi, count: registers.rsi) else { thread.end("said nothing readable") }
    say("\(thread.name): \(words) \(registers.rdx): \(registers.r10)")
  case UInt64(CALL_END): thread.end()
  default: thread.end("made a call that this LibOS does not have: \(registers.rax)")
  }
}

/// The application faulted.
@c @used func linux_fault(_ registers: UInt64, _ vector: UInt64, _ error: UInt64, _ address: UInt64) {
  let thread = Execution.currentOwner(as: Thread.self)
  guard vector == 14, error & 1 == 0, thread.bring(address) else {
    thread.end("ended: exception \(vector) at instruction \(UserRegisters(at: registers).rip), address \(address)")
  }
}

/// For interruptions that a LibOS asks for; this one asks for none.
@c @used func linux_attention(_ registers: UInt64) {}
