// SPDX-License-Identifier: Apache-2.0
// CrashText.swift: a crash report as lines for a person, with names where the numbers have some.

import CApusABI
import Glibc

/// Where the code of a machine comes from.
struct CodeFiles {
  var libos: Path = []
  /// The folder that is the programs' root; empty: the host's own.
  var root: Path = []
  /// The LibOSes of accounts that have another one.
  var others: [UInt32: Path] = [:]

  func libos(of account: UInt32) -> Path { others[account] ?? libos }
}

/// A crash report as it arrives.
struct CrashRecord {
  let crash: apus_crash
  /// Return addresses, innermost first.
  let frames: [UInt64]
  /// The program's path in the guest; empty if the LibOS failed.
  let program: Path

  /// Reads a report; what the payload lacks at its end counts as zeros.
  init(_ payload: some Collection<UInt8>) {
    let size = MemoryLayout<apus_crash>.size
    var bytes = Array(payload.prefix(size))
    bytes += [UInt8](repeating: 0, count: size - bytes.count)
    crash = bytes.withUnsafeBytes { $0.loadUnaligned(as: apus_crash.self) }
    frames = Array(
      withUnsafeBytes(of: crash.frames) { Array($0.bindMemory(to: UInt64.self)) }
        .prefix(Int(min(crash.frame_count, UInt64(APUS_CRASH_FRAMES)))))
    program = Path(bytes[Int(APUS_CRASH_PROGRAM_OFFSET)...].prefix { $0 != 0 })
  }
}

/// Makes reports readable; remembers what it has looked up.
final class CrashReader {
  private let files: CodeFiles
  private var symbolizers: [String: Symbolizer] = [:]
  private var detailed = 0

  /// Where somebody fails on purpose, again and again, sentences have to do.
  private static let mostDetailed = 8

  init(_ files: CodeFiles) { self.files = files }

  /// Makes lines of a report.
  func lines(_ payload: some Collection<UInt8>) -> [String] { lines(CrashRecord(payload)) }

  /// Makes lines of a report.
  func lines(_ report: CrashRecord) -> [String] {
    let crash = report.crash
    var lines = crash.kind == UInt32(APUS_CRASH_PROGRAM) ? [] : ["apus: " + Self.sentence(crash)]
    detailed += 1
    if crash.kind == UInt32(APUS_CRASH_ENVIRONMENT), detailed > Self.mostDetailed { return lines }
    lines += backtrace(crash, report.frames, report.program)
    lines += [upcalls(crash, report.program), Self.resources(crash)]
    if crash.flags & UInt32(APUS_CRASH_HAS_VECTOR) != 0 { lines.append(Self.repossession(crash)) }
    return lines
  }

  // MARK: The sentence

  static func sentence(_ crash: apus_crash) -> String {
    let place = ", at \(hexadecimal(crash.rip)), address \(hexadecimal(crash.address))"
    switch Int32(bitPattern: crash.kind) {
    case APUS_CRASH_ENVIRONMENT:
      return "environment \(crash.slot) ended: \(reason(crash.cause)), error \(hexadecimal(crash.cause >> 32))" + place
        + (crash.flags & UInt32(APUS_CRASH_FAMILY_ENDS) != 0
          ? "; it was inside its LibOS, so its whole family ends" : "")
    case APUS_CRASH_LIBOS:
      return "fault in the LibOS: \(name(ofCause: crash.cause)), error \(hexadecimal(crash.cause >> 32))" + place
    default: return "the LibOS stopped here:"
    }
  }

  private static func reason(_ cause: UInt64) -> String {
    switch Int32(cause & 0xff) {
    case 14: "page fault it did not handle"
    case APUS_CAUSE_CONTRACT: "garbage in a system call"
    case APUS_CAUSE_OVERRUN: "ran on past the end of its slice while others waited"
    default: "exception \(cause & 0xff) it did not handle"
    }
  }

  /// The name of a cause that programs meet (SDM volume 3, 6.3.1).
  private static func name(ofCause cause: UInt64) -> String {
    switch Int32(cause & 0xff) {
    case 0: "division error"
    case 3: "breakpoint"
    case 6: "invalid opcode, as of a check that failed"
    case 13: "general protection"
    case 14: "page fault"
    case 17: "alignment check"
    case APUS_CAUSE_CONTRACT: "the kernel refused a system call's argument"
    case APUS_CAUSE_OVERRUN: "overrun"
    default: "exception \(cause & 0xff)"
    }
  }

  // MARK: The stack

  private func backtrace(_ crash: apus_crash, _ frames: [UInt64], _ program: Path) -> [String] {
    // A return address belongs to the call before it, and a refused call is told behind its instruction.
    let isBehind =
      crash.kind == UInt32(APUS_CRASH_STOPPED) || crash.cause & 0xff == UInt64(APUS_CAUSE_CONTRACT)
    let all = [(crash.rip, isBehind)] + frames.map { ($0, true) }
    lookUp(
      all.map { $0.1 ? $0.0 &- 1 : $0.0 } + [crash.exception.rip, crash.nested.rip, crash.slice.rip], crash, program)
    var lines: [String] = []
    for (index, (address, isBehind)) in all.enumerated() {
      let places = places(address, isBehind, crash, program)
      let number = "\(index)".aligned(4)
      guard let first = places.first else {
        lines.append("\(number)  \(Self.hexadecimal(address))")
        continue
      }
      lines.append("\(number)  \(first.text)")
      for caller in places.dropFirst() { lines.append("      inlined in \(caller.text)") }
    }
    return lines
  }

  /// Looks everything up at once: a tool is started for each question.
  private func lookUp(_ addresses: [UInt64], _ crash: apus_crash, _ program: Path) {
    var questions: [String: (Symbolizer, [UInt64])] = [:]
    for address in addresses {
      guard let (symbolizer, place) = code(at: address, crash, program) else { continue }
      questions[shown(symbolizer.file), default: (symbolizer, [])].1.append(place)
    }
    for (symbolizer, places) in questions.values { symbolizer.look(up: places) }
  }

  /// Whose code an address is, and its address in that file.
  private func code(at address: UInt64, _ crash: apus_crash, _ program: Path) -> (Symbolizer, UInt64)? {
    guard address != 0 else { return nil }
    if address >= UInt64(APUS_LIBOS_BASE) {
      let libos = files.libos(of: crash.account)
      return libos.isEmpty ? nil : (symbolizer(libos), address)
    }
    let base = crash.image_base
    return program.isEmpty || address < base ? nil : (symbolizer(files.root + program), address - base)
  }

  /// What is known of an address.
  private func places(_ address: UInt64, _ isBehind: Bool, _ crash: apus_crash, _ program: Path) -> [SourcePlace] {
    guard let (symbolizer, place) = code(at: isBehind ? address &- 1 : address, crash, program) else { return [] }
    return Self.telling(symbolizer.places(place))
  }

  /// Leaves out the innermost places that say nothing: the stub that every system call has, and the compiler's own
  /// code; what that says of a failed check stands behind the name of the function that it is part of.
  static func telling(_ places: [SourcePlace]) -> [SourcePlace] {
    var kept = places[...]
    var check = ""
    while kept.count > 1, let first = kept.first, stubs.contains(first.function) || first.file.hasSuffix(generated) {
      if first.function.hasPrefix(failure) { check = String(first.function.dropFirst(failure.count)) }
      kept.removeFirst()
    }
    guard !check.isEmpty, var first = kept.first else { return Array(kept) }
    first.function += " (\(check))"
    return [first] + kept.dropFirst()
  }

  private static let generated = "<compiler-generated>"
  private static let failure = "Swift runtime failure: "

  private static let stubs: Set<String> = ["apus_call", "ApusRuntime.kernelCall", "kernelCall"]

  private func symbolizer(_ file: Path) -> Symbolizer {
    if let found = symbolizers[shown(file)] { return found }
    let made = Symbolizer(file)
    symbolizers[shown(file)] = made
    return made
  }

  // MARK: What it had and did

  private func upcalls(_ crash: apus_crash, _ program: Path) -> String {
    func area(_ kind: String, _ area: apus_save_area, hasCause: Bool) -> String? {
      guard area.rip != 0 else { return nil }
      let cause = hasCause ? " (\(Self.name(ofCause: area.cause)))" : ""
      let isBehind = hasCause && area.cause & 0xff == UInt64(APUS_CAUSE_CONTRACT)
      let place = places(area.rip, isBehind, crash, program).first.map { ", " + $0.text } ?? ""
      return "\(kind)\(cause) at \(Self.hexadecimal(area.rip))\(place)"
    }
    let last = [
      area("exception", crash.exception, hasCause: true),
      area("exception in its handler", crash.nested, hasCause: true),
      area("slice end", crash.slice, hasCause: false),
    ].compactMap { $0 }
    return "   last upcalls: " + (last.isEmpty ? "none" : last.joined(separator: "; "))
  }

  private static func resources(_ crash: apus_crash) -> String {
    func budget(_ name: String, _ budget: apus_budget) -> String { "\(budget.used) of \(budget.limit) \(name)" }
    let had = [
      budget("frames", crash.resources.frames), budget("slices", crash.resources.slices),
      budget("environments", crash.resources.environments),
    ]
    let did = [
      "\(crash.slices_used) slices used", "\(crash.slices_forfeited) forfeited",
      "\(crash.exception_upcalls) exceptions", "\(crash.slice_upcalls) slice upcalls", "\(crash.calls) system calls",
    ]
    return "   resources: environment \(crash.slot) of account \(crash.account), which has "
      + had.joined(separator: ", ") + "; " + did.joined(separator: ", ")
  }

  private static func repossession(_ crash: apus_crash) -> String {
    let taken = withUnsafeBytes(of: crash.taken) { Array($0.bindMemory(to: UInt64.self)) }.filter { $0 != 0 }
      .map { entry in
        let number = entry & 0xff_ffff_ffff_ffff
        return Int32(entry >> 56) == APUS_REVOKE_FRAMES ? "frame \(hexadecimal(number))" : "slice \(number)"
      }
    return "   repossession vector: \(crash.repossessed) taken by force"
      + (taken.isEmpty ? "" : ", the last: " + taken.joined(separator: ", "))
  }

  static func hexadecimal(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
}
