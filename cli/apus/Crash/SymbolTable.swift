// SPDX-License-Identifier: Apache-2.0
// SymbolTable.swift: the functions that an ELF file names itself (System V ABI, chapter 4, "Symbol Table").

import Glibc

/// The functions of an ELF file, by address.
struct SymbolTable {
  private var functions: [(address: UInt64, size: UInt64, name: String)] = []

  /// Reads the symbols of a file; it has none if anything is wrong with it.
  init(_ path: Path) {
    guard let bytes = try? HostFile.contents(path), bytes.count >= 64, bytes[0] == 0x7f, bytes[4] == 2 else { return }
    let table = bytes.load64(0x28)
    let size = Int(bytes.load16(0x3a))
    let count = Int(bytes.load16(0x3c))
    func section(_ index: Int) -> (type: UInt32, link: Int, offset: Int, size: Int)? {
      guard index < count, size >= 64, table <= UInt64(bytes.count) else { return nil }
      let at = Int(table) + index * size
      guard at + 64 <= bytes.count else { return nil }
      let offset = bytes.load64(at + 0x18)
      let length = bytes.load64(at + 0x20)
      guard offset <= UInt64(bytes.count), length <= UInt64(bytes.count) - offset else { return nil }
      return (bytes.load32(at + 4), Int(bytes.load32(at + 0x28)), Int(offset), Int(length))
    }
    for index in 0..<count {
      guard let symbols = section(index), symbols.type == 2, let names = section(symbols.link) else { continue }
      for entry in 0..<symbols.size / 24 {
        let at = symbols.offset + entry * 24
        // Functions, and labels of assembly that say nothing of what they are.
        let type = bytes[at + 4] & 15
        guard type == 2 || type == 0, bytes.load16(at + 6) != 0 else { continue }
        let name = Int(bytes.load32(at))
        guard name > 0, name < names.size else { continue }
        let text = bytes[(names.offset + name)..<(names.offset + names.size)].prefix { $0 != 0 }
        functions.append((bytes.load64(at + 8), bytes.load64(at + 16), shown(text)))
      }
    }
    functions.sort { ($0.address, $0.size) < ($1.address, $1.size) }
  }

  /// The function that an address lies in.
  func name(at address: UInt64) -> String? {
    var low = 0
    var high = functions.count
    while low < high {
      let middle = (low + high) / 2
      if functions[middle].address <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0 else { return nil }
    let found = functions[low - 1]
    // A label has no size: it reaches to the next.
    guard found.size == 0 || address - found.address < found.size else { return nil }
    return found.name
  }
}
