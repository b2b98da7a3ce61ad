// SPDX-License-Identifier: Apache-2.0
// FamilySpace.swift: the address space of a family that is being started.
//
// Its frames are taken and mapped in a window here, filled, and then mapped there; the window is emptied at the end.

import ApusABI
import CRuntime

/// A new family's first address space.
struct FamilySpace {
  private static var window: UInt64 { UInt64(APUS_LIBOS_BASE) + 0x70_0000_0000 }
  /// This family's table authority, and the new one's frame authority.
  private static var fillAuthority: UInt64 { CapabilitySlot.family | CapabilitySlot.started << 8 }

  private let image: Bytes
  private let imagePages: UInt64
  private let root: UInt64
  private let uarea: UInt64

  /// Takes the first frames: the root and the u-area.
  init(_ image: Bytes) throws(SystemCallError) {
    self.image = image
    imagePages = UInt64(image.count + 4095) >> 12
    root = try Self.takeFrame()
    uarea = try Self.takeFrame()
    try kernelCall(.tableInstall, CapabilitySlot.started, 0, 0, 4, root)
  }

  private static func takeFrame() throws(SystemCallError) -> UInt64 {
    var frame: UInt64 = 0
    _ = try unsafe withUnsafeMutablePointer(to: &frame) { (pointer) throws(SystemCallError) in
      try kernelCall(.frameAllocate, CapabilitySlot.started, UInt64(UInt(bitPattern: pointer)), 1, 0)
    }
    return frame
  }

  // MARK: The window

  /// Maps fresh frames of the new family in the window.
  private func open(_ first: UInt64, _ count: UInt64) throws(SystemCallError) {
    var page = first
    while page < first + count {
      let address = Self.window + page << 12
      do throws(SystemCallError) {
        let bits = PageTable.present | PageTable.writable | 1 << 12
        let filled = try kernelCall(
          .pagesFill, Self.fillAuthority, UInt64(Runtime.currentRoot), address, min(64, first + count - page), bits)
        page += filled & 0xffff
      } catch {
        guard error == .noTable else { throw error }
        // Writing an empty entry makes the tables on the way to it.
        do throws(OutOfMemory) {
          try PageTable.write(root: Runtime.currentRoot, at: address, entry: 0)
        } catch { throw SystemCallError.exhausted }
      }
    }
  }

  /// Unmaps the window; the frames stay where they are mapped in the new family.
  private func close(_ count: UInt64) {
    var page: UInt64 = 0
    while page < count {
      do throws(SystemCallError) {
        let done = try kernelCall(
          .pagesRelease, Self.fillAuthority, UInt64(Runtime.currentRoot), Self.window + page << 12, count - page, 1)
        page += max(1, done)
      } catch {
        guard error == .noTable else { runtimePanic("the window of a new family", UInt64(error.rawValue)) }
        page = (page & ~511) + 512
      }
    }
  }

  private func frame(_ page: UInt64) -> UInt64 {
    UInt64(PageTable.frame(of: PageTable.entry(at: Self.window + page << 12)))
  }

  // MARK: The new family's tables

  /// Maps pages of the window in the new family.
  private func share(_ first: UInt64, _ count: UInt64, at address: UInt64, bits: UInt64) throws(SystemCallError) {
    var done: UInt64 = 0
    while done < count {
      let at = address + done << 12
      let batch = min(count - done, 512 - (at >> 12 & 511))
      for index in 0..<batch {
        BareFrames.list[Int(index)] = frame(first + done + index) << 12 | bits | PageTable.present
      }
      try write(UInt64(UInt(bitPattern: BareFrames.list)), batch, at: at, frames: CapabilitySlot.started)
      done += batch
    }
  }

  /// Writes entries of the new family's tables, of one level-1 table, with the tables that they need.
  private func write(_ entries: UInt64, _ count: UInt64, at address: UInt64, frames: UInt64) throws(SystemCallError) {
    while true {
      do throws(SystemCallError) {
        try kernelCall(.pagesWrite, CapabilitySlot.started | frames << 8, root, address, count, entries)
        return
      } catch {
        guard error == .noTable else { throw error }
      }
      let table = try Self.takeFrame()
      var level: UInt64 = 1
      while true {
        do throws(SystemCallError) {
          try kernelCall(.tableInstall, CapabilitySlot.started, root, address, level, table)
          break
        } catch {
          guard error == .noTable, level < 3 else { throw error }
          level += 1
        }
      }
    }
  }

  // MARK: Contents

  /// Copies the image, maps it and its segments, and fills the u-area.
  func fill(familyPage: Page) throws(SystemCallError) {
    var used = imagePages
    defer { close(used) }
    try open(0, imagePages)
    // SAFETY: the window has been mapped as far as the image reaches.
    unsafe Bytes(
      base: UnsafeMutableRawPointer(bitPattern: UInt(Self.window)).unsafelyUnwrapped, count: image.count
    ).copy(image)
    try share(0, imagePages, at: UInt64(APUS_MODULE_BASE), bits: PageTable.writable | PageTable.noExecute)
    for index in 0..<Int(min(word(24), UInt64(APUS_IMAGE_SEGMENTS))) {
      let at = 32 + index * 40
      let (address, offset, size, memory, flags) = (word(at), word(at + 8), word(at + 16), word(at + 24), word(at + 32))
      let bits = (flags & 2 != 0 ? PageTable.writable : 0) | (flags & 1 != 0 ? 0 : PageTable.noExecute)
      let filePages = (size + 4095) >> 12
      let memoryPages = (memory + 4095) >> 12
      guard offset & 4095 == 0, filePages <= memoryPages, offset >> 12 <= imagePages,
        filePages <= imagePages - offset >> 12
      else { throw SystemCallError.invalid }
      try share(offset >> 12, filePages, at: address, bits: bits)
      let zeroes = memoryPages - filePages
      let first = used
      used += zeroes
      try open(first, zeroes)
      try share(first, zeroes, at: address + filePages << 12, bits: bits)
    }
    try fillUarea(at: used, &used)
    var entry = UInt64(familyPage.frame) << 12 | PageTable.present | PageTable.writable | PageTable.noExecute
    try unsafe withUnsafeMutablePointer(to: &entry) { (pointer) throws(SystemCallError) in
      try write(UInt64(UInt(bitPattern: pointer)), 1, at: UInt64(APUS_FAMILY_BASE), frames: CapabilitySlot.family)
    }
  }

  private func word(_ offset: Int) -> UInt64 { image.load(offset, as: UInt64.self) }

  /// What the kernel writes for the machine's first environment.
  private func fillUarea(at page: UInt64, _ used: inout UInt64) throws(SystemCallError) {
    let bits = PageTable.present | PageTable.writable | PageTable.noExecute
    let address = Self.window + page << 12
    used += 1
    do throws(OutOfMemory) { try PageTable.write(root: Runtime.currentRoot, at: address, entry: 0) } catch {
      throw SystemCallError.exhausted
    }
    var entry = uarea << 12 | bits
    try unsafe withUnsafeMutablePointer(to: &entry) { (pointer) throws(SystemCallError) in
      let list = UInt64(UInt(bitPattern: pointer))
      try kernelCall(.pagesWrite, Self.fillAuthority, UInt64(Runtime.currentRoot), address, 1, list)
      try write(list, 1, at: UInt64(APUS_LIBOS_BASE), frames: CapabilitySlot.started)
    }
    // SAFETY: the page has just been mapped here.
    let area = unsafe Bytes(base: UnsafeMutableRawPointer(bitPattern: UInt(address)).unsafelyUnwrapped, count: 4096)
    area.fill(0)
    area.store(word(16), at: Int(APUS_UA_SLICE_BEGIN_ENTRY))
    // Until it has entries, a slice's end would have nowhere to go.
    area.store(1 as UInt64, at: Int(APUS_UA_CRITICAL))
    area.store(UInt64(APUS_LIBOS_BASE), at: Int(APUS_UA_SELF))
  }

  /// Makes the first environment; it runs once it has time.
  func makeEnvironment() throws(SystemCallError) -> UInt64 {
    try kernelCall(.environmentCreate, CapabilitySlot.started, root, uarea, UInt64(APUS_LIBOS_BASE), 0)
  }

  /// Gives everything back: an account's frames come back when its last environment ends, so it needs one for that.
  func abandon() {
    do throws(SystemCallError) {
      let handle = try makeEnvironment()
      try kernelCall(.environmentKill, CapabilitySlot.started, handle)
    } catch { log("a family that could not be started keeps its frames") }
  }
}
