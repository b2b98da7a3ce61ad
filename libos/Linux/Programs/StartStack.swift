// SPDX-License-Identifier: Apache-2.0
// StartStack.swift: what a program finds on its stack when it starts (System V ABI, "Process Initialization").
//
// From the stack pointer up: argc, argv, 0, envp, 0, the auxiliary vector; above these the strings, 16 random
// bytes, the platform's name and the path. The pages are filled through the LibOS's own view of them, so the
// address space need not be the current one.

import ApusELF
import ApusRuntime
import ApusUnix

/// Strings of the old program, still in its memory, or of the LibOS.
struct ProgramStrings {
  /// Strings from the LibOS; they come first.
  var own: [[UInt8]] = []
  /// Addresses and lengths of strings in the current program's memory.
  var addresses: [UInt64] = []
  var lengths: [Int] = []

  var count: Int { own.count + addresses.count }

  /// Bytes with the closing zeroes.
  var byteCount: Int {
    var sum = 0
    for string in own { sum += string.count + 1 }
    for length in lengths { sum += length + 1 }
    return sum
  }

  /// Reads a null-terminated array of pointers to strings.
  ///
  /// - Throws: `EFAULT`; `E2BIG` when one string or all together are too long.
  mutating func gather(_ task: Task, at address: UInt64, limit: Int) throws(Errno) {
    guard address != 0 else { return }
    var at = address
    var sum = 0
    while true {
      let string = try task.load(at, as: UInt64.self)
      if string == 0 { return }
      let length: Int
      do throws(Errno) {
        length = try task.stringLength(at: string, limit: 128 << 10)
      } catch {
        throw error == .ENAMETOOLONG ? .E2BIG : error
      }
      addresses.append(string)
      lengths.append(length)
      sum += length + 9
      guard sum <= limit else { throw .E2BIG }
      at += 8
    }
  }
}

/// The uppermost pages of a new stack.
struct StartStack {
  private let top: UInt64
  private(set) var pages: [Page] = []

  /// A stack without pages.
  init(top: UInt64) { self.top = top }

  /// The lowest address that has a page.
  var bottom: UInt64 { top - UInt64(pages.count) << 12 }

  /// Adds pages at the lower end until the stack reaches an address.
  mutating func extend(to address: UInt64) throws(Errno) {
    while bottom > address {
      guard let page = AddressSpace.takePage(zeroed: true) else {
        release()
        throw .ENOMEM
      }
      pages.append(page)
    }
  }

  /// Gives all pages back.
  mutating func release() {
    for page in pages { page.release() }
    pages = []
  }

  /// The part of the page that holds an address, from there to the page's end.
  private func room(at address: UInt64) -> Bytes {
    let index = Int((top - 1 - address) >> 12)
    return pages[index].bytes.from(Int(address & 4095))
  }

  /// Copies bytes to an address.
  func write(_ bytes: Bytes, at address: UInt64) {
    var done = 0
    while done < bytes.count {
      let room = room(at: address + UInt64(done))
      let count = min(room.count, bytes.count - done)
      room.copy(bytes.part(done, count))
      done += count
    }
  }

  func write(_ bytes: [UInt8], at address: UInt64) {
    var copy = bytes
    Bytes.withArray(&copy) { view in write(view, at: address) }
  }

  func write(_ word: UInt64, at address: UInt64) { room(at: address).store(word, at: 0) }
}

/// Keys of the auxiliary vector (getauxval(3)).
enum AuxiliaryKey {
  static var programHeaders: UInt64 { 3 }
  static var programHeaderSize: UInt64 { 4 }
  static var programHeaderCount: UInt64 { 5 }
  static var pageSize: UInt64 { 6 }
  static var base: UInt64 { 7 }
  static var flags: UInt64 { 8 }
  static var entry: UInt64 { 9 }
  static var user: UInt64 { 11 }
  static var effectiveUser: UInt64 { 12 }
  static var group: UInt64 { 13 }
  static var effectiveGroup: UInt64 { 14 }
  static var platform: UInt64 { 15 }
  static var capabilities: UInt64 { 16 }
  static var clockTicks: UInt64 { 17 }
  static var secure: UInt64 { 23 }
  static var random: UInt64 { 25 }
  static var capabilities2: UInt64 { 26 }
  static var calledPath: UInt64 { 31 }
  static var minimumSignalStack: UInt64 { 51 }
}

/// Where everything lies on a start stack, and writing it there.
struct StartLayout {
  let arguments: ProgramStrings
  let environment: ProgramStrings
  let executable: Executable
  let bias: UInt64
  let identity: Identity
  let isSecure: Bool

  private static var platform: [UInt8] { ascii("x86_64") }
  private static var auxiliaryCount: Int { 20 }

  /// Builds the stack.
  ///
  /// - Returns: The pages, the stack pointer, and the auxiliary vector for /proc.
  /// - Throws: `ENOMEM`, `EFAULT`.
  func build(
    _ task: Task, top: UInt64
  ) throws(Errno) -> (stack: StartStack, pointer: UInt64, auxiliary: [UInt8]) {
    var stack = StartStack(top: top)
    let path = executable.calledPath
    let stringBytes = arguments.byteCount + environment.byteCount
    // The last 8 bytes of the stack stay zero, as on Linux.
    let pathAddress = top - 8 - UInt64(path.count + 1)
    let environmentStart = pathAddress - UInt64(environment.byteCount)
    let argumentStart = pathAddress - UInt64(stringBytes)
    let platformAddress = argumentStart - 16
    let randomAddress = (platformAddress - 16) & ~15
    let words = 1 + arguments.count + 1 + environment.count + 1 + StartLayout.auxiliaryCount * 2
    let pointer = (randomAddress - UInt64(words * 8)) & ~15
    try stack.extend(to: pointer)

    stack.write(path, at: pathAddress)
    stack.write(StartLayout.platform, at: platformAddress)
    var random = [UInt8](repeating: 0, count: 16)
    Bytes.withArray(&random) { bytes in Random.fill(bytes) }
    stack.write(random, at: randomAddress)

    var at = pointer
    stack.write(UInt64(arguments.count), at: at)
    at += 8
    do throws(Errno) {
      try place(arguments, task, stack, strings: argumentStart, pointers: &at)
      try place(environment, task, stack, strings: environmentStart, pointers: &at)
    } catch {
      stack.release()
      throw error
    }
    let auxiliary = auxiliaryVector(
      path: pathAddress, platform: platformAddress, random: randomAddress)
    stack.write(auxiliary, at: at)
    return (stack, pointer, auxiliary)
  }

  private func place(
    _ strings: ProgramStrings, _ task: Task, _ stack: StartStack, strings start: UInt64,
    pointers at: inout UInt64
  ) throws(Errno) {
    var address = start
    for string in strings.own {
      stack.write(address, at: at)
      stack.write(string, at: address)
      address += UInt64(string.count + 1)
      at += 8
    }
    for index in 0..<strings.addresses.count {
      stack.write(address, at: at)
      let length = strings.lengths[index]
      stack.write(
        try task.memory(at: strings.addresses[index], count: length, write: false), at: address)
      address += UInt64(length + 1)
      at += 8
    }
    at += 8
  }

  private func auxiliaryVector(path: UInt64, platform: UInt64, random: UInt64) -> [UInt8] {
    let program = executable.program
    let pairs: [(UInt64, UInt64)] = [
      (AuxiliaryKey.capabilities, UInt64(Processor.features)),
      (AuxiliaryKey.pageSize, 4096),
      (AuxiliaryKey.clockTicks, 100),
      (
        AuxiliaryKey.programHeaders,
        program.programHeaderAddress == 0 ? 0 : program.programHeaderAddress &+ bias
      ),
      (AuxiliaryKey.programHeaderSize, 56),
      (AuxiliaryKey.programHeaderCount, UInt64(program.header.programHeaderCount)),
      (AuxiliaryKey.base, 0),
      (AuxiliaryKey.flags, 0),
      (AuxiliaryKey.entry, program.header.entry &+ bias),
      (AuxiliaryKey.user, UInt64(identity.realUser)),
      (AuxiliaryKey.effectiveUser, UInt64(identity.effectiveUser)),
      (AuxiliaryKey.group, UInt64(identity.realGroup)),
      (AuxiliaryKey.effectiveGroup, UInt64(identity.effectiveGroup)),
      (AuxiliaryKey.secure, isSecure ? 1 : 0),
      (AuxiliaryKey.random, random),
      // Programs may read and write the FS base themselves: HWCAP2_FSGSBASE.
      (AuxiliaryKey.capabilities2, 2),
      (AuxiliaryKey.calledPath, path),
      (AuxiliaryKey.platform, platform),
      (
        AuxiliaryKey.minimumSignalStack,
        UInt64(Execution.vectorStateSize + 1024)
      ),
      (0, 0),
    ]
    var bytes = [UInt8](repeating: 0, count: pairs.count * 16)
    Bytes.withArray(&bytes) { view in
      for index in 0..<pairs.count {
        view.store(pairs[index].0, at: index * 16)
        view.store(pairs[index].1, at: index * 16 + 8)
      }
    }
    return bytes
  }
}
