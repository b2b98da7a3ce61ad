// SPDX-License-Identifier: Apache-2.0
// InitialArchive.swift: packs programs into the archive that Linux unpacks as its first root directory.
//
// Format: "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

struct InitialArchive {
  private(set) var bytes: [UInt8] = []
  private var count = 0

  /// Adds an executable file at the root.
  mutating func add(program name: String, contents: [UInt8]) {
    add(name: name, mode: 0o100755, contents: contents)
  }

  /// Ends the archive.
  consuming func finished() -> [UInt8] {
    add(name: "TRAILER!!!", mode: 0, contents: [])
    return bytes
  }

  private mutating func add(name: String, mode: Int, contents: [UInt8]) {
    count += 1
    // inode, mode, uid, gid, links, mtime, size, device (2), its device (2), name size with the zero, check
    let fields = [count, mode, 0, 0, 1, 0, contents.count, 0, 0, 0, 0, name.utf8.count + 1, 0]
    bytes += "070701".utf8
    for field in fields {
      let digits = String(field, radix: 16)
      bytes += String(repeating: "0", count: 8 - digits.count).utf8
      bytes += digits.utf8
    }
    bytes += name.utf8
    bytes.append(0)
    align()
    bytes += contents
    align()
  }

  private mutating func align() {
    while bytes.count % 4 != 0 { bytes.append(0) }
  }
}
