// SPDX-License-Identifier: Apache-2.0
// Listing.swift: a page that lists a directory which has no index.

import ApusHTTP
import ApusRuntime

enum Listing {
  /// A page with links to what a directory holds.
  ///
  /// - Parameters:
  ///   - path: The directory's, with its slash.
  ///   - directories: All of them, without.
  ///   - files: All of them.
  /// - Returns: Its HTML.
  static func page(of path: [UInt8], _ directories: [[UInt8]], _ files: [SiteFile]) -> [UInt8] {
    var page: [UInt8] = []
    page.append("<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>")
    page.append("<meta name=color-scheme content='light dark'><title>")
    escape(path, into: &page)
    page.append("</title><style>body{font:16px/1.6 system-ui;margin:2rem auto;max-width:48rem;padding:0 1rem}</style>")
    page.append("<h1>")
    escape(path, into: &page)
    page.append("</h1><ul>")
    if path.count > 1 { page.append("<li><a href='../'>..</a>") }
    for directory in directories where isChild(directory, of: path) {
      link(Array(directory.dropFirst(path.count)) + [47], into: &page)
    }
    for file in files where isChild(file.path, of: path) { link(Array(file.path.dropFirst(path.count)), into: &page) }
    page.append("</ul>\n")
    return page
  }

  private static func isChild(_ other: [UInt8], of path: [UInt8]) -> Bool {
    other.count > path.count && other.starts(with: path) && !other[path.count...].contains(47)
  }

  private static func link(_ name: [UInt8], into page: inout [UInt8]) {
    page.append("<li><a href='./")
    let digits: StaticString = "0123456789ABCDEF"
    for byte in name {
      let isPlain =
        byte >= 97 && byte <= 122 || byte >= 65 && byte <= 90 || byte >= 45 && byte <= 57 || byte == 95 || byte == 126
      if isPlain {
        page.append(byte)
      } else {
        page += [37, digits.bytes[Int(byte >> 4)], digits.bytes[Int(byte & 15)]]
      }
    }
    page.append("'>")
    escape(name, into: &page)
    page.append("</a>")
  }

  private static func escape(_ text: [UInt8], into page: inout [UInt8]) {
    for byte in text {
      switch byte {
      case 38: page.append("&amp;")
      case 60: page.append("&lt;")
      case 62: page.append("&gt;")
      case 34: page.append("&quot;")
      case 39: page.append("&#39;")
      default: page.append(byte)
      }
    }
  }
}
