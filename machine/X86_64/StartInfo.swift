// SPDX-License-Identifier: Apache-2.0
// StartInfo.swift: what the PVH loader says about the machine.
// Structure: Xen's public/arch-x86/hvm/start_info.h, version 1.

/// A run of physical memory.
public struct PhysicalRange {
  /// First byte.
  public var start: UInt64
  /// First byte past the end.
  public var end: UInt64
  /// Makes a run of its two ends.
  public init(start: UInt64, end: UInt64) {
    self.start = start
    self.end = end
  }
}

/// The loader's start info, read through the boot mapping of the first GiB.
@safe public struct StartInfo {
  private let base: UInt64
  /// Where physical memory is mapped.
  private var view = PhysicalMemory.imageBase

  /// From now on, read through the direct map.
  public mutating func useDirectMap() { view = PhysicalMemory.directBase }

  private func load32(_ physical: UInt64) -> UInt32 {
    // SAFETY: the loader puts these structures below 1 GiB, which the boot tables map, in memory.
    unsafe UnsafeRawPointer(bitPattern: UInt(view &+ physical)).unsafelyUnwrapped
      .load(as: UInt32.self)
  }
  private func load64(_ physical: UInt64) -> UInt64 {
    UInt64(load32(physical)) | UInt64(load32(physical + 4)) << 32
  }
  private func load8(_ physical: UInt64) -> UInt8 {
    UInt8(truncatingIfNeeded: load32(physical & ~3) >> UInt32((physical & 3) * 8))
  }

  /// Checks the magic number; nil if this was not a PVH start with a memory map.
  public init?(physical: UInt64) {
    base = physical
    guard physical != 0, load32(base) == 0x336e_c578, load32(base + 4) >= 1 else { return nil }
  }

  /// The first module (`-initrd`), if there is one.
  public var module: PhysicalRange? {
    guard load32(base + 12) > 0 else { return nil }
    let list = load64(base + 16)
    let start = load64(list)
    return PhysicalRange(start: start, end: start + load64(list + 8))
  }

  /// Physical address of the firmware's RSDP, or 0.
  public var firmwareTables: UInt64 { load64(base + 32) }

  /// Where the first GiB is mapped now.
  public var viewBase: UInt64 { view }

  /// Entries of the memory map.
  public var mapCount: UInt32 { load32(base + 48) }

  /// One entry of the memory map; nil if it is not ordinary memory.
  public func memory(_ index: UInt32) -> PhysicalRange? {
    let entry = load64(base + 40) + UInt64(index) * 24
    guard load32(entry + 16) == 1 else { return nil }
    let start = load64(entry)
    return PhysicalRange(start: start, end: start + load64(entry + 8))
  }

  /// The character at a position of the command line; 0 at its end.
  public func commandCharacter(_ position: Int) -> UInt8 {
    let line = load64(base + 24)
    return line == 0 ? 0 : load8(line + UInt64(position))
  }

  /// The decimal value of `key=` in the command line.
  public func setting(_ key: StaticString) -> UInt64? {
    let line = load64(base + 24)
    guard line != 0 else { return nil }
    let length = UInt64(key.utf8CodeUnitCount)
    var at = line
    var wordStart = true
    while load8(at) != 0 {
      if wordStart, matches(key, at: at, length: length), load8(at + length) == 61 {
        var value: UInt64 = 0
        var digit = at + length + 1
        while case let character = load8(digit), character >= 48, character <= 57 {
          value = value &* 10 &+ UInt64(character - 48)
          digit += 1
        }
        return value
      }
      wordStart = load8(at) == 32
      at += 1
    }
    return nil
  }

  private func matches(_ key: StaticString, at: UInt64, length: UInt64) -> Bool {
    for index in 0..<length {
      // SAFETY: index is below the static string's length.
      guard unsafe key.utf8Start[Int(index)] == load8(at + index) else { return false }
    }
    return true
  }
}
