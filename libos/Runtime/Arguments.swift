// SPDX-License-Identifier: Apache-2.0
// Arguments.swift: the words of the start command, for a LibOS that has no other use for the boot image.

import ApusABI
import CRuntime

/// The start command in the boot image.
public enum StartArguments {
  /// A setting of the host command, such as the wall clock or random bytes.
  ///
  /// - Parameter name: Its name.
  /// - Returns: Its value as text; nil if it is not there.
  public static func setting(_ name: StaticString) -> [UInt8]? {
    // SAFETY: as in `words`.
    let image = unsafe UnsafePointer<apus_image>(bitPattern: UInt(APUS_MODULE_BASE)).unsafelyUnwrapped.pointee
    let bytes = unsafe Bytes(
      base: UnsafeMutableRawPointer(bitPattern: UInt(APUS_MODULE_BASE)).unsafelyUnwrapped, count: Int(image.size))
    let start = name.bytes + [0x3d]
    var word: [UInt8] = []
    for at in Int(image.command_offset)..<bytes.count {
      guard bytes[at] == 0 else {
        word.append(bytes[at])
        continue
      }
      // The settings end with an empty one.
      if word.isEmpty { return nil }
      if word.count >= start.count, Array(word[..<start.count]) == start { return Array(word[start.count...]) }
      word = []
    }
    return nil
  }

  /// The program's arguments, without its name; empty ones are left out.
  public static func words() -> [[UInt8]] {
    // SAFETY: the kernel mapped the image and checked its header; the command lies within it.
    let image = unsafe UnsafePointer<apus_image>(bitPattern: UInt(APUS_MODULE_BASE)).unsafelyUnwrapped.pointee
    let bytes = unsafe Bytes(
      base: UnsafeMutableRawPointer(bitPattern: UInt(APUS_MODULE_BASE)).unsafelyUnwrapped, count: Int(image.size))
    var words: [[UInt8]] = []
    var word: [UInt8] = []
    var isPastSettings = false
    var at = Int(image.command_offset)
    while at < bytes.count {
      let byte = bytes[at]
      at += 1
      if byte != 0 {
        word.append(byte)
      } else if !word.isEmpty {
        words.append(word)
        word = []
      } else if isPastSettings {
        break
      } else {
        isPastSettings = true
        words = []
      }
    }
    return Array(words.dropFirst(2))
  }
}
