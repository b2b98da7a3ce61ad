// SPDX-License-Identifier: Apache-2.0
// TargetPath.swift: from a request's target to a path: percent-encoding, dots, queries (RFC 3986; RFC 9112, 3.2).

/// The path that a target names.
public enum TargetPath {
  /// Whether a target is a path as it stands: begins with a slash, and has nothing to decode or to leave out.
  public static func isPlain(_ bytes: Span<UInt8>, _ target: HeadRange) -> Bool {
    guard target.isThere, bytes[target.start] == 47 else { return false }
    var previous: UInt8 = 0
    for index in target.start..<target.end {
      let byte = bytes[index]
      // Query, fragment, percent; "//" and "/." may have to be tidied.
      if byte == 63 || byte == 35 || byte == 37 { return false }
      if previous == 47, byte == 47 || byte == 46 { return false }
      previous = byte
    }
    return true
  }

  /// Decodes a target: without query, percent-encoding and dots, one slash where there were several.
  ///
  /// - Parameters:
  ///   - bytes: What holds the target.
  ///   - target: Where.
  /// - Returns: Nil if it is no path, has an encoding that is none, names the byte 0, or leads above the root.
  public static func decode(_ bytes: Span<UInt8>, _ target: HeadRange) -> [UInt8]? {
    var at = target.start
    // The absolute form: what comes before the path names us (RFC 9112, 3.2.2).
    if at < target.end, bytes[at] != 47 {
      guard target.count > 7, bytes.isWord(HeadRange(start: at, end: at + 7), "http://") else { return nil }
      at += 7
      let authority = at
      while at < target.end, bytes[at] != 47, bytes[at] != 63 { at += 1 }
      guard at > authority else { return nil }
      if at == target.end || bytes[at] == 63 { return [47] }
    }
    guard at < target.end else { return nil }
    var decoded: [UInt8] = []
    while at < target.end, bytes[at] != 63, bytes[at] != 35 {
      var byte = bytes[at]
      at += 1
      if byte == 37 {
        guard at + 1 < target.end, let high = digit(bytes[at]), let low = digit(bytes[at + 1]) else { return nil }
        byte = high << 4 | low
        at += 2
        guard byte != 0 else { return nil }
      }
      decoded.append(byte)
    }
    return tidied(decoded)
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 48...57: byte - 48
    case 65...70: byte - 55
    case 97...102: byte - 87
    default: nil
    }
  }

  /// Takes "." and ".." out of a path.
  ///
  /// - Parameter path: Begins with a slash.
  /// - Returns: Nil if it leads above the root.
  public static func tidied(_ path: [UInt8]) -> [UInt8]? {
    var result: [UInt8] = []
    var at = 0
    while at < path.count {
      while at < path.count, path[at] == 47 { at += 1 }
      let start = at
      while at < path.count, path[at] != 47 { at += 1 }
      let isLast = at == path.count
      let count = at - start
      if count == 0 || count == 1 && path[start] == 46 {
        if isLast { result.append(47) }
      } else if count == 2, path[start] == 46, path[start + 1] == 46 {
        guard let slash = result.lastIndex(of: 47) else { return nil }
        result.removeSubrange(slash...)
        if isLast { result.append(47) }
      } else {
        result.append(47)
        result += path[start..<at]
      }
    }
    return result.isEmpty ? [47] : result
  }
}
