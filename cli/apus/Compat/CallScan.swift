// SPDX-License-Identifier: Apache-2.0
// CallScan.swift: finds the `syscall` instructions of a program and the numbers they are given.

import Glibc

/// The system calls in a program's code.
struct CallScan {
  /// How often each number is used.
  private(set) var sites: [UInt32: Int] = [:]
  /// Call sites whose number comes from somewhere else, such as an argument of `syscall()`.
  private(set) var undetermined = 0

  /// How far back the number may be loaded.
  private static let reach = 96
  /// A number above all of Linux's is no number but a coincidence.
  private static let greatestNumber: UInt32 = 1023

  /// Scans all executable segments of an ELF file.
  init(_ path: Path) throws(NotRunnable) {
    let contents: [UInt8]
    do { contents = try HostFile.contents(path) } catch {
      throw NotRunnable(reason: "cannot be read: \(error.words)")
    }
    let descriptor: Int32
    do { descriptor = try HostFile.open(path) } catch {
      throw NotRunnable(reason: "cannot be read: \(error.words)")
    }
    defer { close(descriptor) }
    let file = try ElfFile(descriptor: descriptor, size: UInt64(contents.count))
    for segment in file.loaded where segment.isExecutable {
      scan(contents[Int(segment.offset)..<Int(segment.offset + segment.fileSize)])
    }
  }

  /// Scans code.
  init(code: [UInt8]) { scan(code[...]) }

  private mutating func scan(_ code: ArraySlice<UInt8>) {
    code.withUnsafeBufferPointer { bytes in
      guard bytes.count >= 2 else { return }
      for offset in 0..<(bytes.count - 1) where bytes[offset] == 0x0f && bytes[offset + 1] == 0x05 {
        if let number = Self.number(code, before: code.startIndex + offset) {
          sites[number, default: 0] += 1
        } else {
          undetermined += 1
        }
      }
    }
  }

  /// The constant that reaches the system call at `site` in eax.
  ///
  /// Instructions cannot be read backwards. So each place that looks like a load of a constant, the nearest
  /// first, is taken for an instruction's start; it is one if reading on from it arrives exactly at the call.
  private static func number(_ code: ArraySlice<UInt8>, before site: Int) -> UInt32? {
    var start = site - 2
    while start >= max(code.startIndex, site - reach) {
      defer { start -= 1 }
      let first = code[start]
      guard first == 0xb8 || first == 0x31 || first == 0x33 || first == 0xc7 || first == 0x6a else { continue }
      // A REX prefix of a matching instruction (48 c7 c0, 41 b8) belongs to it.
      let hasPrefix = start > code.startIndex && code[start - 1] & 0xf0 == 0x40
      for begin in hasPrefix ? [start - 1, start] : [start] {
        if let value = follow(code, from: begin, to: site) { return value }
      }
    }
    return nil
  }

  private static func follow(_ code: ArraySlice<UInt8>, from begin: Int, to site: Int) -> UInt32? {
    var value: UInt32?
    var position = begin
    var pushed: UInt32?
    while position < site {
      guard let instruction = Instruction(code, at: position) else { return nil }
      // push $imm8; pop %rax
      if code[position] == 0x6a {
        pushed = UInt32(bitPattern: Int32(Int8(bitPattern: code[position + 1])))
      } else if code[position] == 0x58, let constant = pushed {
        value = constant
        pushed = nil
        position += instruction.length
        continue
      }
      switch instruction.effect {
      case .none: break
      case .constant(let constant): value = constant
      case .unknown: value = nil
      case .leaves: return nil
      }
      position += instruction.length
    }
    guard position == site, let value, value <= greatestNumber else { return nil }
    return value
  }
}
