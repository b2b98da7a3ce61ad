// SPDX-License-Identifier: Apache-2.0
// Promises.swift: docs/storage.md as the oracle of power cuts reads it.

import Foundation

/// What is said of one operation.
struct Promise: Equatable {
  /// What is durable when it returns: `all`, `contents` or `none`.
  var durable: String
  /// What a cut may leave of it: `either`, `kept`, `mixed` or `same`.
  var afterCut: String
}

enum Promises {
  /// The table of a file system, by operation.
  static func table(_ title: String) throws -> [String: Promise] {
    let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
      "../../../docs/storage.md")
    let text = String(decoding: try Data(contentsOf: page), as: UTF8.self)
    var table: [String: Promise] = [:]
    var isInside = false
    for line in text.split(separator: "\n") {
      if line.hasPrefix("## ") { isInside = line == "## " + title }
      guard isInside, line.hasPrefix("| `") else { continue }
      let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: CharacterSet(charactersIn: " `")) }
      guard cells.count == 3 else { continue }
      table[cells[0]] = Promise(durable: cells[1], afterCut: cells[2])
    }
    return table
  }
}
