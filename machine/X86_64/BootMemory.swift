// SPDX-License-Identifier: Apache-2.0
// BootMemory.swift: memory that the kernel takes for itself at boot, and the mappings it runs under.

import CApusABI
import CShims

/// Hands out frames for the kernel's own tables, upwards from the end of its image, until the ledger takes over.
public struct BootMemory {
  private var next: UInt64
  private let end: UInt64
  /// Where the first GiB is mapped.
  private var view = PhysicalMemory.imageBase

  /// Starts at the end of the kernel's image.
  ///
  /// - Parameter end: First byte that is not to be used: the module, or the end of that run of memory.
  public init(end: UInt64) {
    // SAFETY: only the symbol's address is used.
    next = unsafe UInt64(UInt(bitPattern: apusKernelEnd())) &- PhysicalMemory.imageBase
    self.end = end
  }

  /// From now on, reached through the direct map.
  public mutating func useDirectMap() { view = PhysicalMemory.directBase }

  /// First byte not handed out.
  public var used: UInt64 { next }

  /// Takes zeroed, page-aligned memory.
  ///
  /// - Parameter bytes: How much; rounded up to whole frames.
  /// - Returns: Its physical address, or nil if there is not so much.
  public mutating func take(_ bytes: UInt64) -> UInt64? {
    let size = (bytes + 4095) & ~4095
    guard size <= end, next <= end - size else { return nil }
    let start = next
    next += size
    var page = start
    while page < next {
      // SAFETY: boot memory lies in the first GiB, which the boot tables map at the image's base, and the direct map.
      unsafe apus_zero_page(
        UnsafeMutableRawPointer(bitPattern: UInt(view + page)).unsafelyUnwrapped)
      page += 4096
    }
    return start
  }
}

/// The kernel half of every address space.
public struct KernelTables {
  private static var present: UInt64 { 1 }
  private static var writable: UInt64 { 2 }
  private static var user: UInt64 { 4 }
  private static var uncached: UInt64 { 0x18 }
  private static var large: UInt64 { 0x80 }
  private static var global: UInt64 { 0x100 }
  private static var noExecute: UInt64 { 1 << 63 }

  private let root: UInt64
  private let view: UInt64

  /// The tables that `activate` has put in place, reached through the direct map.
  public static var active: KernelTables { KernelTables(view: PhysicalMemory.directBase) }

  /// Takes over the root that the boot code runs under.
  public init() { self.init(view: PhysicalMemory.imageBase) }

  private init(view: UInt64) {
    self.view = view
    // SAFETY: only the symbol's address is used.
    root = unsafe UInt64(UInt(bitPattern: apusKernelRoot())) &- PhysicalMemory.imageBase
  }

  private func entry(_ table: UInt64, _ index: UInt64) -> UnsafeMutablePointer<UInt64> {
    // SAFETY: tables are boot memory or the image, both in the first GiB.
    unsafe UnsafeMutablePointer(bitPattern: UInt(view + table + index * 8)).unsafelyUnwrapped
  }

  /// The table below an entry, made if it is not there; entries above the last level allow everything.
  private func descend(_ table: UInt64, _ index: UInt64, _ memory: inout BootMemory) -> UInt64? {
    let slot = unsafe entry(table, index)
    if unsafe slot.pointee & Self.present == 0 {
      guard let frame = memory.take(4096) else { return nil }
      unsafe slot.pointee = frame | Self.present | Self.writable | Self.user
    }
    return unsafe slot.pointee & 0x000f_ffff_ffff_f000
  }

  private func mapPage(_ address: UInt64, _ physical: UInt64, _ flags: UInt64, _ memory: inout BootMemory) -> Bool {
    guard let third = descend(root, address >> 39 & 511, &memory),
      let second = descend(third, address >> 30 & 511, &memory),
      let first = descend(second, address >> 21 & 511, &memory)
    else { return false }
    unsafe entry(first, address >> 12 & 511).pointee = physical | flags | Self.present
    return true
  }

  private func mapLarge(_ address: UInt64, _ physical: UInt64, _ flags: UInt64, _ memory: inout BootMemory) -> Bool {
    guard let third = descend(root, address >> 39 & 511, &memory),
      let second = descend(third, address >> 30 & 511, &memory)
    else { return false }
    unsafe entry(second, address >> 21 & 511).pointee = physical | flags | Self.large | Self.present
    return true
  }

  /// Maps physical memory into the direct map; 2 MiB pages, but 4 KiB pages around the kernel's image, whose
  /// text and constants are not writable there either.
  public func mapDirect(_ range: PhysicalRange, _ memory: inout BootMemory) -> Bool {
    // SAFETY: only the symbols' addresses are used.
    let imageStart = unsafe UInt64(UInt(bitPattern: apusKernelStart())) - PhysicalMemory.imageBase
    let imageEnd = unsafe UInt64(UInt(bitPattern: apusKernelEnd())) - PhysicalMemory.imageBase
    let constantsEnd = unsafe UInt64(UInt(bitPattern: apusConstantsEnd())) - PhysicalMemory.imageBase
    var at = range.start & ~0x1f_ffff
    while at < range.end {
      let address = PhysicalMemory.directBase + at
      if at < imageEnd && at + 0x20_0000 > imageStart {
        var page = at
        while page < at + 0x20_0000 {
          let writable = page < imageStart || page >= constantsEnd ? Self.writable : 0
          let flags = writable | Self.noExecute | Self.global
          guard mapPage(PhysicalMemory.directBase + page, page, flags, &memory) else { return false }
          page += 4096
        }
      } else {
        guard mapLarge(address, at, Self.writable | Self.noExecute | Self.global, &memory) else { return false }
      }
      at += 0x20_0000
    }
    return true
  }

  /// Maps the kernel's image with each part's own rights, and the devices between 3 and 4 GiB.
  public func mapImageAndDevices(_ memory: inout BootMemory) -> Bool {
    // SAFETY: only the symbols' addresses are used.
    let textStart = unsafe UInt64(UInt(bitPattern: apusKernelStart()))
    let textEnd = unsafe UInt64(UInt(bitPattern: apusTextEnd()))
    let constantsEnd = unsafe UInt64(UInt(bitPattern: apusConstantsEnd()))
    let end = unsafe UInt64(UInt(bitPattern: apusKernelEnd()))
    // A second tree beside the boot code's, put in place with one store.
    guard let third = memory.take(4096), let second = memory.take(4096), let devices = memory.take(4096) else {
      return false
    }
    unsafe entry(third, 510).pointee = second | Self.present | Self.writable
    unsafe entry(third, 511).pointee = devices | Self.present | Self.writable
    var at = textStart
    while at < end {
      let slot = unsafe entry(second, at >> 21 & 511)
      if unsafe slot.pointee == 0 {
        guard let first = memory.take(4096) else { return false }
        unsafe slot.pointee = first | Self.present | Self.writable
      }
      let flags = at < textEnd ? 0 : at < constantsEnd ? Self.noExecute : Self.noExecute | Self.writable
      unsafe entry(slot.pointee & ~4095, at >> 12 & 511).pointee =
        (at - PhysicalMemory.imageBase) | flags | Self.global | Self.present
      at += 4096
    }
    for index in 0..<UInt64(512) {
      unsafe entry(devices, index).pointee =
        (0xc000_0000 + index << 21) | Self.present | Self.writable | Self.uncached | Self.large | Self.noExecute
        | Self.global
    }
    unsafe entry(root, 511).pointee = third | Self.present | Self.writable
    return true
  }

  /// Maps kernel memory read-only for ring 3.
  public func mapInformation(_ address: UInt64, _ physical: UInt64, _ bytes: UInt64, _ memory: inout BootMemory) -> Bool
  {
    var offset: UInt64 = 0
    while offset < bytes {
      let flags = Self.user | Self.noExecute | Self.global
      guard mapPage(address + offset, physical + offset, flags, &memory) else { return false }
      offset += 4096
    }
    return true
  }

  /// Maps kernel memory executable and read-only, for code that the kernel makes; there it runs.
  ///
  /// - Parameters:
  ///   - physical: The memory.
  ///   - bytes: How much.
  ///   - place: Where, from the start of all such code on.
  ///   - memory: For page tables.
  /// - Returns: Whether there was enough of that.
  public func mapCode(_ physical: UInt64, _ bytes: UInt64, at place: UInt64, _ memory: inout BootMemory) -> Bool {
    var offset: UInt64 = 0
    while offset < bytes {
      guard mapPage(PhysicalMemory.codeBase + place + offset, physical + offset, Self.global, &memory) else {
        return false
      }
      offset += 4096
    }
    return true
  }

  /// Makes what `mapCode` has mapped read-only in the direct map, too: large pages there become small ones.
  public func protectCode(_ memory: inout BootMemory) -> Bool {
    var page: UInt64 = 0
    while page < PhysicalMemory.codeLimit {
      let code = mapping(PhysicalMemory.codeBase + page)
      page += 4096
      if code & Self.present == 0 { continue }
      let address = PhysicalMemory.directBase + code & 0x000f_ffff_ffff_f000
      guard let third = descend(root, address >> 39 & 511, &memory),
        let second = descend(third, address >> 30 & 511, &memory)
      else { return false }
      let slot = unsafe entry(second, address >> 21 & 511)
      let large = unsafe slot.pointee
      if large & Self.large != 0 {
        guard let table = memory.take(4096) else { return false }
        for index in 0..<UInt64(512) { unsafe entry(table, index).pointee = large & ~Self.large + index << 12 }
        unsafe slot.pointee = table | Self.present | Self.writable
      }
      unsafe entry(slot.pointee & 0x000f_ffff_ffff_f000, address >> 12 & 511).pointee &= ~Self.writable
      apus_invlpg(address)
    }
    return true
  }

  /// The entry of a small page of the kernel's, or 0.
  private func mapping(_ address: UInt64) -> UInt64 {
    var (table, shift) = (root, UInt64(39))
    while true {
      let found = unsafe entry(table, address >> shift & 511).pointee
      if found & Self.present == 0 || shift == 12 { return found }
      table = found & 0x000f_ffff_ffff_f000
      shift -= 9
    }
  }

  /// Leaves the boot mappings: the lower half is empty from here on.
  public func activate() {
    unsafe entry(root, 0).pointee = 0
    apus_write_cr3(root)
  }

  /// Physical address of the kernel's own root.
  static var rootAddress: UInt64 {
    // SAFETY: only the symbol's address is used.
    unsafe UInt64(UInt(bitPattern: apusKernelRoot())) &- PhysicalMemory.imageBase
  }

  /// Maps the first GiB at its own addresses in the kernel's root, or unmaps it: for processors that start.
  static func setIdentity(_ isThere: Bool) {
    // SAFETY: the boot code's tables are part of the image and stay as they were.
    unsafe apusKernelRoot()[0] =
      isThere
      ? (UInt64(UInt(bitPattern: apus_boot_pointers_address())) &- PhysicalMemory.imageBase) | present | writable : 0
    apus_write_cr3(apus_read_cr3())
  }

  /// Copies the kernel half into a new root, and links the root to itself: readable for ring 3, never writable.
  public static func initialize(root frame: UInt32) {
    // SAFETY: the kernel's root is part of the image; the new root is a frame of the ledger's.
    let source = unsafe UnsafePointer<UInt64>(apusKernelRoot())
    let target = unsafe PhysicalMemory.pointer(UInt64(frame) << 12).assumingMemoryBound(to: UInt64.self)
    for index in 256..<512 { unsafe target[index] = source[index] }
    unsafe target[Int(APUS_TABLES_SLOT)] = UInt64(frame) << 12 | present | user | noExecute
  }
}

/// Stores to pages that are mapped read-only: for code that the kernel makes, and nothing else.
///
/// Intel SDM vol. 3, 4.6.1.
public enum CodeProtection {
  private static var writeProtect: UInt64 { 1 << 16 }

  /// From here on stores go through, on this CPU; no interrupt may come.
  public static func lift() { apus_write_cr0(apus_read_cr0() & ~writeProtect) }

  /// From here on they do not.
  public static func restore() { apus_write_cr0(apus_read_cr0() | writeProtect) }
}

private func apusKernelStart() -> UnsafeRawPointer { unsafe UnsafeRawPointer(apus_kernel_start_address()) }
private func apusTextEnd() -> UnsafeRawPointer { unsafe UnsafeRawPointer(apus_text_end_address()) }
private func apusConstantsEnd() -> UnsafeRawPointer { unsafe UnsafeRawPointer(apus_rodata_end_address()) }
private func apusKernelEnd() -> UnsafeRawPointer { unsafe UnsafeRawPointer(apus_kernel_end_address()) }
private func apusKernelRoot() -> UnsafeMutablePointer<UInt64> { unsafe apus_kernel_root_address() }
