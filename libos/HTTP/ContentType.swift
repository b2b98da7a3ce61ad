// SPDX-License-Identifier: Apache-2.0
// ContentType.swift: what a file holds, by the end of its name.

/// Media types.
public enum ContentType {
  private static let types: [(end: StaticString, type: StaticString)] = [
    ("html", "text/html; charset=utf-8"), ("htm", "text/html; charset=utf-8"), ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"), ("mjs", "text/javascript; charset=utf-8"),
    ("json", "application/json"), ("map", "application/json"), ("txt", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"), ("csv", "text/csv; charset=utf-8"), ("xml", "application/xml"),
    ("svg", "image/svg+xml"), ("png", "image/png"), ("jpg", "image/jpeg"), ("jpeg", "image/jpeg"),
    ("gif", "image/gif"), ("webp", "image/webp"), ("avif", "image/avif"), ("ico", "image/vnd.microsoft.icon"),
    ("pdf", "application/pdf"), ("wasm", "application/wasm"), ("woff", "font/woff"), ("woff2", "font/woff2"),
    ("ttf", "font/ttf"), ("otf", "font/otf"), ("mp3", "audio/mpeg"), ("ogg", "audio/ogg"), ("wav", "audio/wav"),
    ("mp4", "video/mp4"), ("webm", "video/webm"), ("zip", "application/zip"), ("gz", "application/gzip"),
    ("tar", "application/x-tar"),
  ]

  /// The type of a file.
  ///
  /// - Parameter path: Its path.
  /// - Returns: Bytes of no known kind, if the name does not say more.
  public static func of(_ path: [UInt8]) -> StaticString {
    guard let dot = path.lastIndex(of: 46), !path[dot...].contains(47) else { return "application/octet-stream" }
    let end = path[(dot + 1)...]
    for entry in types where entry.end.utf8CodeUnitCount == end.count {
      var isSame = true
      for (index, byte) in end.enumerated() where CharacterSet.lowercase(byte) != entry.end.byte(index) {
        isSame = false
      }
      if isSame { return entry.type }
    }
    return "application/octet-stream"
  }
}
