// SPDX-License-Identifier: Apache-2.0
// TestCase.swift: what a machine test is, read from the directives in its file.
//
// A case is one file below tests/Machine or tests/Cases. Lines of the form
//
//     apus: KEY: VALUE
//
// anywhere in its leading comment say how it is run; docs in tests/README.md list the keys.

import Glibc

/// A machine test.
struct TestCase {
  /// Path of its file below the repository, without the ending.
  let name: String
  /// The file itself.
  let file: Path
  let kind: Kind
  private let directives: [(key: String, value: String)]

  enum Kind: Equatable {
    /// A C or assembly program, linked statically.
    case source
    /// A shell script, run by the static shells named by `shell`.
    case script
    /// Only directives: `program` names what runs.
    case manifest
    /// A manifest: several programs on one machine.
    case programs
    /// Sent to and expected from a program at a terminal.
    case terminal
  }

  static let keys: Set<String> = [
    "program", "arguments", "long-arguments", "stdin", "stdout", "stdout-has", "stderr-has", "status",
    "compare", "timeout", "memory", "machine", "needs", "long", "tools", "shell", "flags", "libos",
    "option", "env", "cpus", "icount", "append", "source", "file", "host", "programs", "keeps", "beside",
  ]

  /// Reads a case; nil for a file that is none.
  init?(file: Path, below home: Path) throws(Failure) {
    let name = shown(file.dropFirst(home.count + 1))
    guard let dot = name.lastIndex(of: "."), let kind = Self.kind(String(name[name.index(after: dot)...])) else {
      return nil
    }
    self.name = String(name[..<dot])
    self.file = file
    self.kind = kind
    let text: String
    do { text = shown(try HostFile.contents(file)) } catch {
      throw Failure(sentence: "\(name) cannot be read: \(error.words)", status: 1)
    }
    var directives: [(key: String, value: String)] = []
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      let comment = line.drop { "/*#; \t".contains($0) }
      guard comment.hasPrefix("apus: ") else { continue }
      let parts = comment.dropFirst(6).split(separator: ":", maxSplits: 1).map { Words.trimmed($0) }
      guard parts.count == 2, Self.keys.contains(parts[0]) else {
        throw Failure(sentence: "\(name): no directive is called '\(parts.first ?? "")'", status: 1)
      }
      directives.append((parts[0], parts[1]))
    }
    // A source without directives is a part of another case or a header of several.
    guard !directives.isEmpty || kind == .terminal else { return nil }
    self.directives = directives
  }

  private static func kind(_ ending: String) -> Kind? {
    switch ending {
    case "c", "S": .source
    case "sh": .script
    case "case": .manifest
    case "yaml": .programs
    case "terminal": .terminal
    default: nil
    }
  }

  func value(_ key: String) -> String? { directives.first { $0.key == key }?.value }

  func values(_ key: String) -> [String] { directives.filter { $0.key == key }.map(\.value) }

  func isSet(_ key: String) -> Bool { value(key) == "yes" }

  var comparesWithHost: Bool { value("compare") == "host" }

  var timeoutSeconds: Double { value("timeout").flatMap { Double($0) } ?? 300 }

  /// The status that the program is to end with; nil when that is the host's.
  var expectedStatus: Int32? {
    if let text = value("status") { return Int32(text) }
    return comparesWithHost ? nil : 0
  }

  func arguments(long: Bool) -> [String] {
    Words.split((long ? value("long-arguments") : nil) ?? value("arguments") ?? "")
  }
}

/// Words of a directive.
enum Words {
  /// Splits at blanks; single and double quotes keep a word together.
  static func split(_ text: String) -> [String] {
    var words: [String] = []
    var word: String?
    var quote: Character?
    for character in text {
      if let open = quote {
        if character == open { quote = nil } else { word = (word ?? "") + String(character) }
      } else if character == "'" || character == "\"" {
        quote = character
        word = word ?? ""
      } else if character == " " || character == "\t" {
        if let finished = word { words.append(finished) }
        word = nil
      } else {
        word = (word ?? "") + String(character)
      }
    }
    if let finished = word { words.append(finished) }
    return words
  }

  static func trimmed(_ text: some StringProtocol) -> String {
    let blanks: Set<Character> = [" ", "\t", "\r"]
    var part = text[...]
    while let last = part.last, blanks.contains(last) { part = part.dropLast() }
    return String(part.drop { blanks.contains($0) })
  }

  /// Replaces \n, \r, \t, \e, \\ and \xNN by what they stand for.
  static func unescaped(_ text: String) -> [UInt8] {
    var result: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == 0x5c, let code = rest.popFirst() else {
        result.append(byte)
        continue
      }
      switch code {
      case UInt8(ascii: "n"): result.append(0x0a)
      case UInt8(ascii: "r"): result.append(0x0d)
      case UInt8(ascii: "t"): result.append(0x09)
      case UInt8(ascii: "e"): result.append(0x1b)
      case UInt8(ascii: "x"):
        let digits = shown(rest.prefix(2))
        rest = rest.dropFirst(2)
        result.append(UInt8(digits, radix: 16) ?? 0x3f)
      default: result.append(code)
      }
    }
    return result
  }
}
