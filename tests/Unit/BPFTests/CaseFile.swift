// SPDX-License-Identifier: Apache-2.0
// CaseFile.swift: reads the files of Cases/: programs as text, and what must become of them.
//
// A case is a line `case NAME`, lines of properties and the program:
//   memory HEX        the bytes that r1 points to (r2 is their count; without any, r1 and r2 are 0)
//   contract NAME     what the verifier is told about the program's use
//   result VALUE      r0 at the end, in interpreter and machine code alike, and the verifier accepts
//   leaves HEX        the bytes that the memory holds afterwards
//   faults REASON @ N how the interpreter stops, at which slot; the verifier refuses
//   refused RULE @ N  which rule of the verifier is broken, at which slot
//   invalid REASON @ N  why the slots are no program
//   worst N           the verifier's bound of the run's length
//   budget N, words N, limit N  the verification's budget, working memory and instruction limit
//   unverified        the verifier is not asked
// `#` begins a comment.

import ApusBPFTools
import BPFHost
import Foundation

struct Case: Sendable {
  var name = ""
  var file = ""
  var memory: [UInt8] = []
  var contract = "plugin"
  var result: UInt64?
  var leaves: [UInt8]?
  var faults: String?
  var refused: String?
  var invalid: String?
  var worst: UInt64?
  var budget = 1 << 20
  var words = 1 << 18
  var limit: UInt64 = 0
  var isVerified = true
  var text = ""

  /// The case among all cases of all files.
  var fullName: String { "\(file): \(name)" }

  func assembled() throws -> [UInt64] { try Assembler.assemble(text) }
}

enum CaseFile {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Cases")

  /// All cases of all files, in order.
  static let all: [Case] = {
    let files = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    return files.filter { $0.hasSuffix(".bpfcase") }.sorted().flatMap(read)
  }()

  static func read(_ file: String) -> [Case] {
    guard let text = try? String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
    else { return [] }
    var cases: [Case] = []
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      let words = line.split(separator: " ", maxSplits: 1).map(String.init)
      guard let first = words.first, first != "#" else { continue }
      let rest = words.count > 1 ? words[1] : ""
      if first == "case" {
        cases.append(Case(name: rest, file: file))
        continue
      }
      guard !cases.isEmpty else { continue }
      let last = cases.count - 1
      if line.hasPrefix(" ") || first.hasSuffix(":") {
        cases[last].text += line + "\n"
        continue
      }
      switch first {
      case "memory": cases[last].memory = Hexadecimal.bytes(rest) ?? []
      case "contract": cases[last].contract = rest
      case "result": cases[last].result = number(rest)
      case "leaves": cases[last].leaves = Hexadecimal.bytes(rest)
      case "faults": cases[last].faults = rest
      case "refused": cases[last].refused = rest
      case "invalid": cases[last].invalid = rest
      case "worst": cases[last].worst = number(rest)
      case "budget": cases[last].budget = Int(rest) ?? 0
      case "words": cases[last].words = Int(rest) ?? 0
      case "limit": cases[last].limit = number(rest) ?? 0
      case "unverified": cases[last].isVerified = false
      default: cases[last].text += line + "\n"
      }
    }
    return cases
  }

  private static func number(_ text: String) -> UInt64? {
    if text.hasPrefix("0x") { return UInt64(hexadecimal: text) }
    if text.hasPrefix("-") { return Int64(text).map { UInt64(bitPattern: $0) } }
    return UInt64(text)
  }
}
