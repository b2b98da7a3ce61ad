// SPDX-License-Identifier: Apache-2.0
// Steward.swift: the first family of a machine with several programs: starts each in a family of its own, and again.
//
// Its boot image has one file for each program: a boot image in itself. Its start command's settings `program` say what
// each may have. It holds the machine's capabilities, runs no program, and sleeps between two looks at the accounts.

import ApusABI
import ApusImage
import ApusRuntime

/// The module as the reader of images takes it.
private struct ModuleSource: ImageSource {
  let bytes: Bytes
  var byteCount: UInt64 { UInt64(bytes.count) }
  func byte(at offset: UInt64) -> UInt8 { bytes[Int(offset)] }
}

/// The family that looks after the others.
private final class Steward {
  private var programs: [Program] = []
  private var input: [UInt8] = []
  private let arrival = Page.allocate(zeroed: true)

  /// How long between two looks.
  private static var lookNanoseconds: UInt64 { 5_000_000 }

  init?(_ module: Bytes) {
    do throws(ImageError) {
      let reader = try ImageReader(ModuleSource(bytes: module))
      let settings = try reader.command().settings
      for index in 0..<reader.entryCount {
        let (entry, offset) = try reader.entry(index)
        guard case .file(let size) = entry.content else { continue }
        let name = [UInt8](entry.path.dropFirst())
        guard let plan = settings.lazy.compactMap({ ProgramPlan($0, name: name) }).first,
          let program = Program(plan, module.part(Int(offset), Int(size)))
        else { return nil }
        programs.append(program)
      }
    } catch { return nil }
  }

  func run() -> Never {
    for program in programs { program.start() }
    while programs.contains(where: { !$0.plan.isBackground && !$0.isOver }) {
      takeInput()
      for program in programs { program.look() }
      Execution.suspend(deadline: Clock.ticks(afterNanoseconds: Steward.lookNanoseconds), handOffTo: nil)
    }
    for program in programs { program.report() }
    var status: UInt8 = 0
    for program in programs where !program.plan.isBackground && status == 0 { status = program.lastStatus }
    exit(status)
  }

  /// Requests of the host: a signal for one program.
  private func takeInput() {
    guard let arrival else { return }
    let count = Console.read(arrival.bytes)
    if count > 0 { input += arrival.bytes.part(0, count).array }
    while input.count >= consoleHeaderByteCount {
      let length = consoleHeaderByteCount + (Int(input[2]) | Int(input[3]) << 8)
      guard input.count >= length else { return }
      if input[0] == ConsoleInput.signal.rawValue, length > consoleHeaderByteCount {
        for program in programs where program.family.account == UInt64(input[1]) { program.stop(signal: input[4]) }
      }
      input.removeFirst(length)
    }
  }
}

private func exit(_ status: UInt8) -> Never {
  var record: [UInt8] = [status, 0, 0, 0]
  while Bytes.withArray(&record, { Console.write(.exit, $0) }) == 0 {}
  Console.powerOff(status: Int(status & 0x7f))
}

// MARK: The Runtime's side of a LibOS

/// The machine's first environment begins here.
@c @used func linux_start(_ image: UInt64, _ size: UInt64) -> Never {
  guard let steward = Steward(Runtime.module) else {
    notice(Array("apus: the boot image is damaged".utf8))
    exit(125)
  }
  steward.run()
}

@c @used func linux_system_call(_ registers: UInt64) {}
@c @used func linux_fault(_ registers: UInt64, _ vector: UInt64, _ error: UInt64, _ address: UInt64) {}
@c @used func linux_attention(_ registers: UInt64) {}
