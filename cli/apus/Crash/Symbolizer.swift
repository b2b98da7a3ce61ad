// SPDX-License-Identifier: Apache-2.0
// Symbolizer.swift: addresses as function, file and line.
//
// The line tables are read by llvm-symbolizer, which comes with Swift, or by addr2line; without either there are the
// names of the ELF file's own symbol table. Swift's names are made readable by the Swift runtime in this program.

import CHost
import Glibc

/// A place in source code.
struct SourcePlace: Equatable {
  /// Readable; empty if nothing is known.
  var function: String
  var file: String
  var line: Int

  /// "function at file:line", as far as known.
  var text: String {
    let name = function.isEmpty ? "?" : function
    guard !file.isEmpty, file != "??" else { return name }
    return line > 0 ? "\(name) at \(file):\(line)" : "\(name) in \(file)"
  }
}

/// Looks addresses of one ELF file up.
final class Symbolizer {
  let file: Path
  private var known: [UInt64: [SourcePlace]] = [:]
  private lazy var symbols = SymbolTable(file)

  init(_ file: Path) { self.file = file }

  /// The places of an address: the function itself last, what was inlined into it before, innermost first.
  func places(_ address: UInt64) -> [SourcePlace] {
    look(up: [address])
    return known[address] ?? []
  }

  /// Looks several addresses up at once.
  func look(up addresses: [UInt64]) {
    let wanted = addresses.filter { known[$0] == nil }
    guard !wanted.isEmpty else { return }
    let answers = Self.llvm(file, wanted) ?? Self.binutils(file, wanted) ?? wanted.map { _ in [] }
    for (address, places) in zip(wanted, answers) {
      var places = places.filter { !$0.function.isEmpty || $0.line > 0 }
      if places.allSatisfy({ $0.function.isEmpty }), let name = symbols.name(at: address) {
        places = [SourcePlace(function: Demangler.readable(name), file: "", line: 0)]
      }
      known[address] = places
    }
  }

  /// The tool that the toolchain brings: pairs of lines, a blank one behind each address.
  private static func llvm(_ file: Path, _ addresses: [UInt64]) -> [[SourcePlace]]? {
    let words = ["--output-style=LLVM", "--functions=linkage", "--no-demangle", "--inlines", "-e", shown(file)]
    guard let result = run("llvm-symbolizer", words, addresses) else { return nil }
    let groups = result.split(separator: "\n\n", omittingEmptySubsequences: true)
    guard groups.count == addresses.count else { return nil }
    return groups.map { group in
      let lines = group.split(separator: "\n", omittingEmptySubsequences: true).map(String.init)
      return stride(from: 0, to: lines.count - 1, by: 2).map { place(lines[$0], lines[$0 + 1], hasColumn: true) }
    }
  }

  /// The GNU tool: the address, then pairs of lines.
  private static func binutils(_ file: Path, _ addresses: [UInt64]) -> [[SourcePlace]]? {
    guard let result = run("addr2line", ["-f", "-i", "-a", "-e", shown(file)], addresses) else { return nil }
    var groups: [[String]] = []
    for line in result.split(separator: "\n").map(String.init) {
      if line.hasPrefix("0x") { groups.append([]) } else if !groups.isEmpty { groups[groups.count - 1].append(line) }
    }
    guard groups.count == addresses.count else { return nil }
    return groups.map { lines in
      stride(from: 0, to: lines.count - 1, by: 2).map { place(lines[$0], lines[$0 + 1], hasColumn: false) }
    }
  }

  private static func run(_ tool: String, _ words: [String], _ addresses: [UInt64]) -> String? {
    guard HostFile.findProgram(Path(tool.utf8)) != nil,
      let result = HostTool.run([tool] + words + addresses.map { "0x" + String($0, radix: 16) }), result.status == 0
    else { return nil }
    return result.text
  }

  private static func place(_ name: String, _ position: String, hasColumn: Bool) -> SourcePlace {
    var parts = position.split(separator: " ").first?.split(separator: ":", omittingEmptySubsequences: false) ?? []
    if hasColumn, parts.count > 2 { parts.removeLast() }
    let line = parts.count > 1 ? Int(parts.removeLast()) ?? 0 : 0
    let file = parts.joined(separator: ":")
    return SourcePlace(
      function: name == "??" ? "" : Demangler.readable(name), file: file == "??" ? "" : relative(file), line: line)
  }

  /// A file of the repository by its path in there.
  private static func relative(_ file: String) -> String {
    guard let home = try? Home(), file.hasPrefix(shown(home.path) + "/") else { return file }
    return String(file.dropFirst(home.path.count + 1))
  }
}

enum Demangler {
  /// A symbol's name as people write it, without types; what is no Swift name stays.
  static func readable(_ symbol: String) -> String {
    guard let text = demangled(symbol) else { return symbol }
    return shortened(text)
  }

  private static func demangled(_ symbol: String) -> String? {
    guard symbol.hasPrefix("$") || symbol.hasPrefix("_$") else { return nil }
    guard let text = chost_demangle(symbol) else { return nil }
    defer { free(text) }
    let result = String(cString: text)
    return result == symbol ? nil : result
  }

  /// Leaves out what stands in parentheses and angle brackets, and what is returned.
  static func shortened(_ text: String) -> String {
    let text = withoutPrivateMarks(text)
    // "closure #1 (Swift.Int) -> () in Module.function() -> ()": both names count.
    let parts = text.components(separatedBy: " in ")
    let names = parts.map { part -> String in
      var depth = 0
      var name = ""
      var last: Character = " "
      for character in part {
        switch character {
        case "(", "<": depth += 1
        case ")": depth -= 1
        case ">" where last != "-": depth -= 1
        default: if depth == 0 { name.append(character) }
        }
        last = character
      }
      name = name.split(separator: " ").joined(separator: " ")
      if let arrow = name.range(of: " ->") { name = String(name[..<arrow.lowerBound]) }
      for word in ["generic specialization of ", "function signature specialization of ", "merged ", "specialized "]
      where name.hasPrefix(word) { name = String(name.dropFirst(word.count)) }
      // A property's type stands behind a colon.
      if let colon = name.range(of: " : ") { name = String(name[..<colon.lowerBound]) }
      return name.split(separator: " ").filter { $0 != "throws" && $0 != "async" }.joined(separator: " ")
    }
    return names.filter { !$0.isEmpty }.joined(separator: " in ")
  }
}

extension Demangler {
  /// A private name is "(name in _0123)": the mark of its file is left out.
  private static func withoutPrivateMarks(_ text: String) -> String {
    var result = ""
    var rest = text[...]
    while let mark = rest.range(of: " in _") {
      guard let end = rest[mark.upperBound...].firstIndex(of: ")"),
        rest[mark.upperBound..<end].allSatisfy(\.isHexDigit), let start = rest[..<mark.lowerBound].lastIndex(of: "(")
      else {
        result += rest[..<mark.upperBound]
        rest = rest[mark.upperBound...]
        continue
      }
      result += rest[..<start] + rest[rest.index(after: start)..<mark.lowerBound]
      rest = rest[rest.index(after: end)...]
    }
    return result + rest
  }
}

extension String {
  /// The parts between the places where a text occurs.
  fileprivate func components(separatedBy separator: String) -> [String] {
    var parts: [String] = []
    var rest = self[...]
    while let found = rest.range(of: separator) {
      parts.append(String(rest[..<found.lowerBound]))
      rest = rest[found.upperBound...]
    }
    return parts + [String(rest)]
  }
}

extension StringProtocol {
  /// Where a text occurs first.
  fileprivate func range(of text: String) -> Range<Index>? {
    var at = startIndex
    while at < endIndex {
      if self[at...].hasPrefix(text) { return at..<index(at, offsetBy: text.count) }
      at = index(after: at)
    }
    return nil
  }
}
