// SPDX-License-Identifier: Apache-2.0
// ProgramFile.swift: reads programs from files of every form that people have them in.

import ApusBPFTools

/// Why a file holds no program.
public struct ProgramFileError: Error, Equatable {
  /// One sentence.
  public let sentence: String
}

/// Programs in files.
public enum ProgramFile {
  /// Reads an ELF object, slots as text in base 16, assembly, or bare slots.
  ///
  /// - Parameters:
  ///   - bytes: The file.
  ///   - function: Which program of an object file.
  /// - Returns: The slots.
  /// - Throws: Why there is no program in it.
  public static func program(
    _ bytes: [UInt8], function: String? = nil
  ) throws(ProgramFileError) -> [UInt64] {
    if bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46]) {
      do throws(ObjectError) {
        return try ObjectLoader.program(bytes, named: function)
      } catch { throw ProgramFileError(sentence: error.sentence) }
    }
    let isText = bytes.allSatisfy { $0 == 9 || $0 == 10 || $0 == 13 || ($0 >= 32 && $0 < 127) }
    guard isText else {
      guard let slots = Hexadecimal.slots(bytes) else {
        throw ProgramFileError(sentence: "The file's size is no multiple of 8 bytes.")
      }
      return slots
    }
    let text = String(decoding: bytes, as: UTF8.self)
    if let slots = Hexadecimal.bytes(text).flatMap(Hexadecimal.slots), !slots.isEmpty { return slots }
    do throws(AssemblyError) {
      return try Assembler.assemble(text)
    } catch { throw ProgramFileError(sentence: "Line \(error.line): \(error.sentence)") }
  }
}
