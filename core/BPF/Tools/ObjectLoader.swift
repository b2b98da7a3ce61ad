// SPDX-License-Identifier: Apache-2.0
// ObjectLoader.swift: makes a program out of an object file that `clang -target bpf` wrote.
//
// A program is one function and those that it calls, laid out one after the other. Calls of functions are the only
// references that are resolved (R_BPF_64_32; kernel documentation, "BPF LLVM relocations"); maps and variables are
// refused by name.

import ApusBPF

/// Takes programs out of an object file.
public struct ObjectLoader {
  private let file: ObjectFile
  private var slots: [UInt64] = []
  /// Where functions already taken begin, by their section and offset.
  private var placed: [Place: Int] = [:]
  private var waiting: [(slot: Int, target: Place)] = []

  private struct Place: Hashable {
    let section: Int
    let offset: Int
  }

  private static let callRelocation: UInt32 = 10
  private static let wideRelocation: UInt32 = 1

  /// Loads a program.
  ///
  /// - Parameters:
  ///   - bytes: The object file.
  ///   - name: The program's function; without one the file must have only one that can be meant.
  /// - Returns: The slots.
  /// - Throws: What keeps the program from being loaded.
  public static func program(_ bytes: [UInt8], named name: String? = nil) throws(ObjectError) -> [UInt64] {
    var loader = ObjectLoader(file: try ObjectFile(bytes))
    try loader.load(try loader.entry(named: name))
    return loader.slots
  }

  /// The names of the functions that can be programs.
  public static func names(_ bytes: [UInt8]) throws(ObjectError) -> [String] {
    ObjectLoader(file: try ObjectFile(bytes)).candidates.map(\.name)
  }

  private init(file: ObjectFile) { self.file = file }

  private var functions: [ObjectFile.Symbol] {
    file.symbols.filter {
      $0.isFunction && $0.section > 0 && $0.section < file.sections.count
        && file.sections[$0.section].isCode
    }
  }

  /// Global functions; those in sections of their own name are programs, `.text` holds what they call.
  private var candidates: [ObjectFile.Symbol] {
    let global = functions.filter(\.isGlobal)
    let own = global.filter { file.sections[$0.section].name != ".text" }
    return own.isEmpty ? global : own
  }

  private func entry(named name: String?) throws(ObjectError) -> Place {
    if let name {
      guard let function = functions.first(where: { $0.name == name }) else {
        throw .noFunction(name)
      }
      return Place(section: function.section, offset: function.value)
    }
    let candidates = candidates
    guard let first = candidates.first else { throw .noProgram }
    guard candidates.count == 1 else { throw .severalPrograms(candidates.map(\.name)) }
    return Place(section: first.section, offset: first.value)
  }

  private mutating func load(_ entry: Place) throws(ObjectError) {
    try place(entry, calledFrom: "the file")
    var next = 0
    while next < waiting.count {
      let (slot, target) = waiting[next]
      next += 1
      if placed[target] == nil { try place(target, calledFrom: "the program") }
      guard let start = placed[target] else { continue }
      slots[slot] =
        slots[slot] & 0xffff_ffff
        | UInt64(UInt32(bitPattern: Int32(start - slot - 1))) << 32
    }
  }

  private mutating func place(_ target: Place, calledFrom caller: String) throws(ObjectError) {
    guard
      let function = functions.first(where: {
        $0.section == target.section && $0.value == target.offset
      })
    else { throw .badCall(function: caller) }
    let section = file.sections[function.section]
    guard function.value % 8 == 0, function.size % 8 == 0, function.size > 0,
      function.value + function.size <= section.size
    else { throw .truncated }
    placed[target] = slots.count
    let relocations = try file.relocations(of: function.section)
    for offset in stride(from: function.value, to: function.value + function.size, by: 8) {
      let slot = try file.number(section.offset + offset, 8)
      if let called = try callee(slot, at: offset, in: function, relocations[offset]) {
        waiting.append((slots.count, called))
      }
      slots.append(slot)
    }
  }

  /// The function that a slot calls, if it is such a call.
  private func callee(
    _ slot: UInt64, at offset: Int, in function: ObjectFile.Symbol,
    _ relocation: ObjectFile.Relocation?
  ) throws(ObjectError) -> Place? {
    let isCall = slot & 0xf0ff == 0x1085
    let distance = Int(Int32(truncatingIfNeeded: slot >> 32))
    guard let relocation else {
      return isCall
        ? Place(section: function.section, offset: offset + 8 + distance * 8) : nil
    }
    let symbol = file.symbols[relocation.symbol]
    guard relocation.kind == Self.callRelocation, slot & 0xff == 0x85 else {
      throw refusal(relocation, symbol)
    }
    guard symbol.section > 0, symbol.section < file.sections.count else {
      throw .undefined(symbol.name)
    }
    return Place(section: symbol.section, offset: symbol.value + (distance + 1) * 8)
  }

  private func refusal(
    _ relocation: ObjectFile.Relocation, _ symbol: ObjectFile.Symbol
  ) -> ObjectError {
    guard relocation.kind == Self.wideRelocation else {
      return .relocation(kind: relocation.kind, name: symbol.name)
    }
    guard symbol.section > 0, symbol.section < file.sections.count else {
      return .undefined(symbol.name)
    }
    let section = file.sections[symbol.section].name
    if section == ".maps" || section == "maps" { return .map(symbol.name) }
    return .variable(symbol.isSection ? "in \(symbol.name)" : symbol.name)
  }
}
