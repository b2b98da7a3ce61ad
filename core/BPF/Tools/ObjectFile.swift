// SPDX-License-Identifier: Apache-2.0
// ObjectFile.swift: reads the sections and symbols of an ELF64 relocatable file for BPF (System V gABI, chapter 4).

/// Why a file holds no program that can be loaded.
public enum ObjectError: Error, Equatable {
  case notAnObject
  case otherMachine(UInt16)
  case bigEndian
  case truncated
  case noProgram
  case noFunction(String)
  case severalPrograms([String])
  case map(String)
  case variable(String)
  case undefined(String)
  case relocation(kind: UInt32, name: String)
  case badCall(function: String)

  /// One sentence for the person who compiled the program.
  public var sentence: String {
    switch self {
    case .notAnObject: "The file is no ELF object file."
    case .otherMachine(let machine):
      "The object file is for machine \(machine), not for BPF (compile with -target bpf)."
    case .bigEndian: "The object file is big-endian (compile with -target bpfel)."
    case .truncated: "The object file is damaged: something in it lies outside of it."
    case .noProgram: "The object file contains no function."
    case .noFunction(let name): "The object file has no function \(name)."
    case .severalPrograms(let names):
      "The object file has several programs, choose one: \(names.joined(separator: ", "))."
    case .map(let name): "The program uses the map \(name); maps are not supported."
    case .variable(let name):
      "The program uses the variable \(name); variables outside of the stack are not supported."
    case .undefined(let name): "The function \(name) is called but not defined."
    case .relocation(let kind, let name):
      "Relocation type \(kind) (of \(name)) is not supported."
    case .badCall(let function): "A call in \(function) leads to no function."
    }
  }
}

/// The parts of an object file that programs are made of.
struct ObjectFile {
  struct Section {
    let name: String
    let type: UInt32
    let flags: UInt64
    let offset: Int
    let size: Int
    let link: Int
    let info: Int

    /// SHT_PROGBITS with SHF_EXECINSTR.
    var isCode: Bool { type == 1 && flags & 4 != 0 }
  }

  struct Symbol {
    let name: String
    let type: UInt8
    let isGlobal: Bool
    let section: Int
    let value: Int
    let size: Int

    var isFunction: Bool { type == 2 }
    var isSection: Bool { type == 3 }
  }

  struct Relocation {
    let offset: Int
    let kind: UInt32
    let symbol: Int
  }

  let bytes: [UInt8]
  private(set) var sections: [Section] = []
  private(set) var symbols: [Symbol] = []

  init(_ bytes: [UInt8]) throws(ObjectError) {
    self.bytes = bytes
    guard bytes.count >= 64, bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46]), bytes[4] == 2 else {
      throw .notAnObject
    }
    guard bytes[5] == 1 else { throw .bigEndian }
    let type = try number(16, 2)
    guard type == 1 else { throw .notAnObject }
    let machine = try number(18, 2)
    guard machine == 247 else { throw .otherMachine(UInt16(machine)) }
    try readSections()
    try readSymbols()
  }

  /// A little-endian number in the file.
  func number(_ offset: Int, _ byteCount: Int) throws(ObjectError) -> UInt64 {
    guard offset >= 0, byteCount <= bytes.count, offset <= bytes.count - byteCount else {
      throw .truncated
    }
    var value: UInt64 = 0
    for index in (offset..<offset + byteCount).reversed() { value = value << 8 | UInt64(bytes[index]) }
    return value
  }

  private func size(_ offset: Int) throws(ObjectError) -> Int {
    guard let value = Int32(exactly: try number(offset, 8)), value >= 0 else { throw .truncated }
    return Int(value)
  }

  private func text(_ offset: Int) throws(ObjectError) -> String {
    guard offset >= 0, offset < bytes.count, let end = bytes[offset...].firstIndex(of: 0) else {
      throw .truncated
    }
    return String(decoding: bytes[offset..<end], as: UTF8.self)
  }

  private mutating func readSections() throws(ObjectError) {
    let table = try size(40)
    let count = Int(try number(60, 2))
    guard try number(58, 2) == 64 || count == 0 else { throw .truncated }
    let names = table + Int(try number(62, 2)) * 64
    guard count > 0 else { throw .noProgram }
    let nameOffset = try size(names + 24)
    for index in 0..<count {
      let entry = table + index * 64
      let type = UInt32(try number(entry + 4, 4))
      let offset = try size(entry + 24)
      let length = try size(entry + 32)
      // SHT_NULL and SHT_NOBITS have no bytes in the file.
      guard type == 0 || type == 8 || offset + length <= bytes.count else { throw .truncated }
      sections.append(
        Section(
          name: try text(nameOffset + Int(try number(entry, 4))), type: type,
          flags: try number(entry + 8, 8), offset: offset, size: length,
          link: Int(try number(entry + 40, 4)), info: Int(try number(entry + 44, 4))))
    }
  }

  private mutating func readSymbols() throws(ObjectError) {
    for section in sections where section.type == 2 {
      guard section.link < sections.count else { throw .truncated }
      let names = sections[section.link].offset
      for entry in stride(from: section.offset, to: section.offset + section.size - 23, by: 24) {
        let info = bytes[entry + 4]
        let index = Int(try number(entry + 6, 2))
        let isSection = info & 0xf == 3
        let name =
          isSection && index < sections.count
          ? sections[index].name : try text(names + Int(try number(entry, 4)))
        symbols.append(
          Symbol(
            name: name, type: info & 0xf, isGlobal: info >> 4 != 0, section: index,
            value: try size(entry + 8), size: try size(entry + 16)))
      }
    }
  }

  /// The relocations of a section, by offset.
  func relocations(of target: Int) throws(ObjectError) -> [Int: Relocation] {
    var found: [Int: Relocation] = [:]
    // SHT_REL, and SHT_RELA whose addends BPF does not use.
    for section in sections where (section.type == 9 || section.type == 4) && section.info == target {
      let step = section.type == 9 ? 16 : 24
      for entry in stride(from: section.offset, to: section.offset + section.size - step + 1, by: step) {
        let info = try number(entry + 8, 8)
        let symbol = Int(info >> 32)
        guard symbol < symbols.count else { throw .truncated }
        let relocation = Relocation(
          offset: try size(entry), kind: UInt32(truncatingIfNeeded: info), symbol: symbol)
        found[relocation.offset] = relocation
      }
    }
    return found
  }
}
