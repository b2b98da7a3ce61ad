// SPDX-License-Identifier: Apache-2.0
// Native.swift: what a small native program needs: its upcalls, environments beside the first, calls, text, an end.

import ApusABI

/// The program that stands behind this: `native_main` sets everything up and calls it.
@c @used func native_main() -> Never {
  Native.setUp(uarea: UInt64(APUS_LIBOS_BASE), stack: address_of_native_entry_stacks())
  set_critical(0)
  let isGood = runProgram()
  Native.exit(isGood ? 0 : 1)
}

/// A fault in a program that has none to handle.
@c @used func native_failed(_ cause: UInt64, _ rip: UInt64, _ address: UInt64) -> Never {
  var line = Line()
  line.put("exception ")
  line.put(cause & 0xff)
  line.put(" at ")
  line.put(rip)
  line.put(", address ")
  line.put(address)
  line.end(.error)
  Native.exit(99)
}

enum Native {
  /// Slots of the first environment's capability list.
  static var family: UInt64 { 0 }
  private static var console: UInt64 { 1 }
  private static var machine: UInt64 { 2 }

  /// Writes the entries into a u-area.
  static func setUp(uarea: UInt64, stack: UInt64) {
    func set(_ offset: Int32, _ value: UInt64) { store64(uarea + UInt64(offset), value) }
    set(APUS_UA_EXCEPTION_ENTRY, address_of_native_exception_entry())
    set(APUS_UA_EXCEPTION_STACK, stack)
    set(APUS_UA_NESTED_ENTRY, address_of_native_nested_entry())
    set(APUS_UA_NESTED_STACK, address_of_native_nested_stack())
    set(APUS_UA_FOREIGN_ENTRY, address_of_native_exception_entry())
    set(APUS_UA_SLICE_BEGIN_ENTRY, address_of_native_slice_begin_entry())
    set(APUS_UA_SLICE_END_ENTRY, address_of_native_slice_end_entry())
    set(APUS_UA_SLICE_STACK, stack)
    set(APUS_UA_SELF, uarea)
  }

  /// Makes a call that returns.
  ///
  /// - Returns: Its value, or nil if it was refused.
  @discardableResult static func call(
    _ call: SystemCall, _ a0: UInt64 = 0, _ a1: UInt64 = 0, _ a2: UInt64 = 0, _ a3: UInt64 = 0, _ a4: UInt64 = 0
  ) -> UInt64? {
    let answer = kernel_call(UInt64(call.rawValue), a0, a1, a2, a3, a4)
    return Int64(bitPattern: answer) >= 0 ? answer : nil
  }

  /// Gives the rest of the slice to an environment, or to whoever is next.
  static func yield(to target: UInt64 = 0) { _ = native_suspend(UInt64(CALL_YIELD), target, 0, 0, 0) }

  /// Sleeps until the counter has a value.
  static func sleep(until deadline: UInt64) {
    _ = native_suspend(UInt64(CALL_SLEEP), 0, 0, deadline, 0)
  }

  /// Writes a line's bytes on a console stream.
  static func write(_ address: UInt64, _ count: UInt64, _ stream: ConsoleStream) {
    var sent: UInt64 = 0
    while sent < count {
      guard let taken = call(.consoleWrite, console, UInt64(stream.rawValue), address + sent, count - sent) else {
        return
      }
      sent += taken
    }
  }

  /// The account of this family: the machine's first, or the one that who started it says.
  static var account: UInt64 { family_page() == 0 ? 1 : load64(family_page() + 8) }

  /// Leaves the status where who started this family looks for it, and ends all environments, this one last.
  private static func endFamily(_ status: UInt64) -> Never {
    store64(family_page() + 24, status)
    store64(family_page() + 16, UInt64(APUS_FAMILY_ENDED))
    let account = account
    for slot in 0..<environment_count()
    where environment_account(slot) == account && environment_is_running(slot) == 0 {
      call(.environmentKill, family, environment_handle(slot))
    }
    while true { call(.environmentKill, family, 0) }
  }

  /// Powers off with an exit record, as a LibOS does at the end of its program; ends the family alone where there are
  /// others.
  static func exit(_ status: UInt64) -> Never {
    if family_page() != 0 { endFamily(status) }
    let text = address_of_native_text()
    store64(text, status)
    write(text, 4, .exit)
    while true { call(.powerOff, machine, status) }
  }

  /// The number behind a word of the start command, as in `periods 1000`; nil without that word.
  static func number(after word: StaticString) -> UInt64? { place(of: word).flatMap { decimal(next($0)) } }

  /// Whether the start command has a word.
  static func hasWord(_ word: StaticString) -> Bool { place(of: word) != nil }

  private static func place(of word: StaticString) -> UInt64? {
    // Settings, an empty word, the program; then the arguments up to an empty word.
    var at = image_command()
    while load8(at) != 0 { at = next(at) }
    at = next(at + 1)
    while load8(at) != 0 {
      if matches(at, word) { return at }
      at = next(at)
    }
    return nil
  }

  private static func next(_ word: UInt64) -> UInt64 {
    var at = word
    while load8(at) != 0 { at += 1 }
    return at + 1
  }

  private static func matches(_ word: UInt64, _ text: StaticString) -> Bool {
    for index in 0..<text.utf8CodeUnitCount where load8(word + UInt64(index)) != text.utf8Start[index] { return false }
    return load8(word + UInt64(text.utf8CodeUnitCount)) == 0
  }

  private static func decimal(_ word: UInt64) -> UInt64? {
    var value: UInt64 = 0
    var at = word
    while load8(at) != 0 {
      let digit = load8(at)
      guard digit >= 48, digit <= 57, value < 1 << 32 else { return nil }
      value = value * 10 + UInt64(digit - 48)
      at += 1
    }
    return at > word ? value : nil
  }
}

/// An environment of the program.
struct Environment {
  let handle: UInt64
  /// Its place in the environment table.
  var slot: UInt64 { (handle & 0xffff_ffff) - 1 }
  /// Counter ticks that it has been charged.
  var ticks: UInt64 { environment_ticks(slot) }

  /// The family's first.
  static var first: Environment {
    var slot: UInt64 = 0
    while environment_uarea(slot) != UInt64(APUS_LIBOS_BASE) || environment_account(slot) != Native.account {
      slot += 1
    }
    return Environment(handle: environment_generation(slot) << 32 | (slot + 1))
  }

  private init(handle: UInt64) { self.handle = handle }

  /// Makes an environment in the program's address space, without a slice.
  ///
  /// - Parameters:
  ///   - place: Which of the places for environments it takes, from 0.
  ///   - body: Address of the code that it runs, which never returns.
  init?(place: UInt64, body: UInt64) {
    guard place < UInt64(NATIVE_PLACES) else { return nil }
    let uarea = address_of_native_places() + (place + 1) * UInt64(NATIVE_PLACE_SIZE) - 4096
    func set(_ offset: Int32, _ value: UInt64) { store64(uarea + UInt64(offset), value) }
    Native.setUp(uarea: uarea, stack: uarea - 8192)
    set(APUS_UA_CRITICAL, 1)
    set(UA_RIP, body)
    set(UA_RSP, uarea - 8)
    set(UA_FLAGS, 0x202)
    // The u-area's frame stands in the program's own page table, which can be read.
    let entry = load64(UInt64(APUS_TABLES_BASE) + ((uarea >> 12) & 0xf_ffff_ffff) * 8)
    let frame = (entry & 0x000f_ffff_ffff_f000) >> 12
    guard
      let handle = Native.call(
        .environmentCreate, Native.family, environment_root(Self.first.slot), frame, uarea, 0)
    else { return nil }
    self.handle = handle
  }

  /// Gives it a slice of the timeline, the lowest that is free.
  func takeSlice() -> Bool { Native.call(.sliceAllocate, Native.family, UInt64.max, handle) != nil }
}

/// A line of text under construction; one at a time.
struct Line {
  private var count: UInt64 = 0

  private mutating func put(byte: UInt8) {
    guard count < 4000 else { return }
    store8(address_of_native_text() + count, byte)
    count += 1
  }

  mutating func put(_ text: StaticString) {
    for index in 0..<text.utf8CodeUnitCount { put(byte: text.utf8Start[index]) }
  }

  mutating func put(_ number: UInt64) {
    if number >= 10 { put(number / 10) }
    put(byte: 48 + UInt8(number % 10))
  }

  /// A number in thousandths, with three places behind the point.
  mutating func put(thousandths: UInt64) {
    put(thousandths / 1000)
    put(".")
    put(byte: 48 + UInt8(thousandths / 100 % 10))
    put(byte: 48 + UInt8(thousandths / 10 % 10))
    put(byte: 48 + UInt8(thousandths % 10))
  }

  /// Writes the line.
  mutating func end(_ stream: ConsoleStream = .output) {
    put("\n")
    Native.write(address_of_native_text(), count, stream)
    count = 0
  }
}
