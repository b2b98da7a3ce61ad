// SPDX-License-Identifier: Apache-2.0
// Repository.swift: the repository's own files, as the documentation tests read them.

import Foundation

/// The files of the repository.
enum Repository {
  /// The folder that holds Package.swift.
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

  /// The text of a file.
  static func text(_ path: String) throws -> String {
    try String(contentsOf: root.appending(path: path), encoding: .utf8)
  }

  /// The names in a folder, in order.
  static func names(in folder: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: root.appending(path: folder).path).sorted()
  }

  /// Whether there is such a file or folder.
  static func has(_ url: URL) -> Bool { FileManager.default.fileExists(atPath: url.path) }

  /// Every text for readers: those at the root, and those below the folders that have some.
  static func documents() throws -> [String] {
    var found = try names(in: "").filter { $0.hasSuffix(".md") }
    for folder in ["docs", "tests", "bench", "apps"] {
      let all = FileManager.default.enumerator(atPath: root.appending(path: folder).path)
      while let path = all?.nextObject() as? String {
        if path.hasSuffix(".md") { found.append(folder + "/" + path) }
      }
    }
    return found.sorted()
  }
}
