// SPDX-License-Identifier: Apache-2.0
// ELFError.swift: what can be wrong with a program file, in words for the person who wants to run it.

/// Why a file is no program that can be run here.
public enum ELFError: Error, Equatable {
  /// The file does not begin with ELF's magic number.
  case notELF
  /// The file is for 32-bit processors.
  case is32Bit
  /// The file is for big-endian processors.
  case isBigEndian
  /// The file is for another processor; the number is ELF's e_machine.
  case otherMachine(UInt16)
  /// The file's version of ELF is unknown.
  case unknownVersion
  /// The file is an object file, a core dump or something else that does not run.
  case notExecutable
  /// The file ends before what its headers promise.
  case truncated
  /// The program header table is absent, too long or of an unknown shape.
  case badProgramHeaders
  /// The program needs a dynamic loader.
  case dynamic
  /// A loadable segment contradicts itself, overlaps another or lies outside of the address space.
  case badSegment
  /// There is nothing to load.
  case noSegments
  /// The entry point lies in no loadable segment.
  case badEntry

  /// One clause that says what is wrong, for a sentence such as "apus: FILE: ...".
  public var reason: StaticString {
    switch self {
    case .notELF: "not an ELF program"
    case .is32Bit: "a 32-bit program; only 64-bit x86 programs can be run"
    case .isBigEndian: "a program for big-endian processors; only x86-64 programs can be run"
    case .otherMachine: "a program for another processor; only x86-64 programs can be run"
    case .unknownVersion: "an ELF file of an unknown version"
    case .notExecutable: "an ELF file, but not a program"
    case .truncated: "a truncated program file"
    case .badProgramHeaders: "a damaged program file (program headers)"
    case .dynamic: "a dynamically linked program, which is not supported yet; use a static one"
    case .badSegment: "a damaged program file (segments)"
    case .noSegments: "a program file with nothing to load"
    case .badEntry: "a damaged program file (entry point)"
    }
  }
}
