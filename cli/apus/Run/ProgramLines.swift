// SPDX-License-Identifier: Apache-2.0
// ProgramLines.swift: the output of several programs as labelled lines, and what became of each.

import ApusABI

/// Puts the lines of several programs together, each behind its program's name.
struct ProgramLines {
  /// What is known of a program.
  private struct Program {
    let name: String
    var state: ProgramState?
    var status: UInt8 = 0
    var starts: UInt8 = 0
    /// What has come of a line whose end has not, of standard output and error.
    var output: [UInt8] = []
    var error: [UInt8] = []
  }

  private var programs: [Program]
  /// A line longer than this is cut.
  private static let lineLimit = 64 << 10

  init(_ names: [String]) { programs = names.map { Program(name: $0) } }

  /// The place of an account's program.
  private func index(_ account: UInt8) -> Int? {
    let index = Int(account) - ManifestPlan.firstAccount
    return programs.indices.contains(index) ? index : nil
  }

  /// The account of a program.
  func account(of name: String) -> UInt8? {
    programs.firstIndex { $0.name == name }.map { UInt8($0 + ManifestPlan.firstAccount) }
  }

  /// The name of an account's program.
  func name(_ account: UInt8) -> String? { index(account).map { programs[$0].name } }

  /// Takes what a program wrote; returns the lines that are whole now, labelled.
  mutating func add(_ bytes: ArraySlice<UInt8>, of account: UInt8, error: Bool) -> [UInt8] {
    guard let index = index(account) else { return [] }
    var partial = error ? programs[index].error : programs[index].output
    var lines: [UInt8] = []
    for byte in bytes {
      if byte != 0x0a {
        partial.append(byte)
        guard partial.count >= Self.lineLimit else { continue }
      }
      lines += labelled(partial, index)
      partial.removeAll(keepingCapacity: true)
    }
    if error { programs[index].error = partial } else { programs[index].output = partial }
    return lines
  }

  private func labelled(_ line: [UInt8], _ index: Int) -> [UInt8] {
    Array("\(programs[index].name) | ".utf8) + line + [0x0a]
  }

  /// Takes what stands without a line's end as a line, once its program has ended.
  mutating func flush(_ account: UInt8, error: Bool) -> [UInt8] {
    guard let index = index(account) else { return [] }
    let partial = error ? programs[index].error : programs[index].output
    if error { programs[index].error = [] } else { programs[index].output = [] }
    return partial.isEmpty ? [] : labelled(partial, index)
  }

  /// Everything without a line's end.
  mutating func flushAll(error: Bool) -> [UInt8] {
    programs.indices.flatMap { flush(UInt8($0 + ManifestPlan.firstAccount), error: error) }
  }

  /// Takes a record of the start environment.
  ///
  /// - Returns: The account, and a sentence if there is anything to say.
  mutating func take(_ record: ArraySlice<UInt8>) -> (account: UInt8, sentence: String?)? {
    let bytes = Array(record)
    guard bytes.count == 4, let index = index(bytes[0]), let state = ProgramState(rawValue: bytes[1]) else {
      return nil
    }
    programs[index].state = state
    programs[index].status = bytes[2]
    programs[index].starts = bytes[3]
    let name = programs[index].name
    switch state {
    case .runs: return (bytes[0], nil)
    case .waits: return (bytes[0], "\(name) ended with status \(bytes[2]); it starts again")
    case .ended: return (bytes[0], bytes[2] == 0 ? nil : "\(name) ended with status \(bytes[2])")
    case .failed: return (bytes[0], "\(name) could not be started: the machine has too little left for it")
    }
  }

  /// A line for each program: its name and what it does.
  var states: String {
    programs.map { program in
      let words =
        switch program.state {
        case nil: "is being started"
        case .runs: program.starts > 1 ? "runs, start \(program.starts)" : "runs"
        case .waits: "ended with status \(program.status) and waits for start \(program.starts + 1)"
        case .ended: "ended with status \(program.status)"
        case .failed: "could not be started"
        }
      return "\(program.name) \(words)\n"
    }.joined()
  }
}
