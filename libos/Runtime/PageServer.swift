// SPDX-License-Identifier: Apache-2.0
// PageServer.swift: an environment of another family that keeps pages for this one.
//
// The two share a mailbox: a page of words and a window of data pages, frames of the family that both map at the same
// address. The server's own frames are charged to its own account; nobody else maps them. A request is a sequence
// number; the server answers with the same number, and its rest of the slice goes back to who asked.
//
// The server runs this program's code, mapped without its data: no global, no heap. It starts at the top with each
// slice, and ends each with a wait, so it has no state but its pages.

import ApusABI
import CRuntime

/// The protocol between a pager and its page server.
enum PageMailbox {
  /// Where both sides see it.
  static var address: UInt64 { UInt64(APUS_LIBOS_BASE) + 0x58_0000_0000 }
  /// Data pages of the window, behind the page of words.
  static var windowPages: Int { 16 }
  static var byteCount: UInt64 { UInt64(windowPages + 1) << 12 }

  // Offsets of words.
  static var request: UInt64 { 0 }
  static var reply: UInt64 { 8 }
  static var client: UInt64 { 16 }
  static var operation: UInt64 { 24 }
  static var count: UInt64 { 32 }
  static var result: UInt64 { 40 }
  static var slots: UInt64 { 64 }

  /// Operations.
  static var put: UInt64 { 1 }
  static var get: UInt64 { 2 }

  static func load(_ offset: UInt64) -> UInt64 { loadWord(address + offset) }
  static func store(_ value: UInt64, at offset: UInt64) { storeWord(value, at: address + offset) }
  /// A data page of the window.
  static func page(_ index: Int) -> UInt64 { address + UInt64(index + 1) << 12 }
}

@inline(__always) private func loadWord(_ address: UInt64) -> UInt64 {
  // SAFETY: the callers name words of the mailbox or of page tables; it is shared, so each read is volatile enough
  // for one CPU: a call to the kernel lies between two reads that matter.
  unsafe UnsafePointer<UInt64>(bitPattern: UInt(address)).unsafelyUnwrapped.pointee
}

@inline(__always) private func storeWord(_ value: UInt64, at address: UInt64) {
  // SAFETY: as above.
  unsafe UnsafeMutablePointer<UInt64>(bitPattern: UInt(address)).unsafelyUnwrapped.pointee = value
}

/// What the server's side does.
private enum Server {
  /// Where the pages of the store lie, by slot.
  static var store: UInt64 { UInt64(APUS_LIBOS_BASE) + 0x60_0000_0000 }
  static var slotLimit: UInt64 { 1 << 24 }

  static var root: UInt64 {
    let tables = UInt64(APUS_TABLES_BASE)
    func above(_ address: UInt64) -> UInt64 { tables + (address >> 12 & 0xf_ffff_ffff) << 3 }
    return UInt64(PageTable.frame(of: loadWord(above(above(above(above(tables)))))))
  }

  static func takeFrame() -> UInt64? {
    var frame: UInt64 = 0
    let taken = unsafe withUnsafeMutablePointer(to: &frame) { pointer in
      apus_call(
        SystemCall.frameAllocate.rawValue, CapabilitySlot.pageServer, UInt64(UInt(bitPattern: pointer)), 1,
        FrameAllocateFlags.dirty.rawValue, 0)
    }
    return taken == 1 ? frame : nil
  }

  static func giveBack(_ frame: UInt64) {
    var frame = frame
    unsafe withUnsafeMutablePointer(to: &frame) { pointer in
      _ = apus_call(
        SystemCall.frameFree.rawValue, CapabilitySlot.pageServer, UInt64(UInt(bitPattern: pointer)), 1, 0, 0)
    }
  }

  /// Makes a page of the store exist.
  static func ensure(_ address: UInt64) -> Bool {
    if PageTable.entry(at: address) & PageTable.present != 0 { return true }
    guard let frame = takeFrame() else { return false }
    if PageServer.map(
      frame << 12 | PageTable.present | PageTable.writable | PageTable.noExecute, at: address, root: root,
      frames: CapabilitySlot.pageServer, takeFrame: takeFrame)
    {
      return true
    }
    giveBack(frame)
    return false
  }

  /// Serves what is in the mailbox.
  static func serve() {
    let isPut = PageMailbox.load(PageMailbox.operation) == PageMailbox.put
    let count = Int(truncatingIfNeeded: min(PageMailbox.load(PageMailbox.count), UInt64(PageMailbox.windowPages)))
    var done: UInt64 = 0
    for index in 0..<count {
      let slot = PageMailbox.load(PageMailbox.slots + UInt64(index) << 3)
      guard slot < slotLimit else { break }
      let kept = store + slot << 12
      if isPut {
        guard ensure(kept) else { break }
        copyPage(from: PageMailbox.page(index), to: kept)
      } else {
        guard PageTable.entry(at: kept) & PageTable.present != 0 else { break }
        copyPage(from: kept, to: PageMailbox.page(index))
      }
      done += 1
    }
    PageMailbox.store(done, at: PageMailbox.result)
  }

  private static func copyPage(from source: UInt64, to target: UInt64) {
    // SAFETY: both pages are mapped: the window always, the store's since `ensure` or the look at its entry.
    unsafe UnsafeMutableRawPointer(bitPattern: UInt(target)).unsafelyUnwrapped.copyMemory(
      from: UnsafeRawPointer(bitPattern: UInt(source)).unsafelyUnwrapped, byteCount: 4096)
  }
}

/// The body of the server: from the top with each slice.
@c @used func runtime_page_server() -> Never {
  while true {
    let request = PageMailbox.load(PageMailbox.request)
    let client = PageMailbox.load(PageMailbox.client)
    if request != PageMailbox.load(PageMailbox.reply) {
      Server.serve()
      PageMailbox.store(request, at: PageMailbox.reply)
    }
    // Without its family it has nothing to do; it looks for that every second.
    if client != 0, !Information.isLive(handle: client) {
      _ = apus_call(SystemCall.environmentKill.rawValue, 0, 0, 0, 0, 0)
    }
    _ = apus_call(
      SystemCall.sleep.rawValue, PageMailbox.address + PageMailbox.request, request,
      runtime_rdtsc() &+ Information.page.ticks_per_second, client, 0)
  }
}

/// Starting the server, and asking it.
public enum PageServer {
  /// The server's account; the first family's is 1.
  private static var account: UInt64 { 2 }
  private static var uarea: UInt64 { UInt64(APUS_LIBOS_BASE) + 0x50_0000_0000 }
  private static var stackPages: UInt64 { 4 }

  @safe nonisolated(unsafe) private static var handle: UInt64 = 0
  @safe nonisolated(unsafe) private static var sequence: UInt64 = 0

  /// Whether there is one, and it lives.
  public static var isRunning: Bool { handle != 0 && Information.isLive(handle: handle) }

  // MARK: Starting

  /// Writes one entry of an address space of the server's family, with the tables that it needs.
  ///
  /// - Parameters:
  ///   - entry: The entry.
  ///   - address: Of the page.
  ///   - root: The address space.
  ///   - frames: Slot of the capability for the frame.
  ///   - takeFrame: Where page tables come from.
  /// - Returns: False if there was no frame for a table.
  static func map(
    _ entry: UInt64, at address: UInt64, root: UInt64, frames: UInt64, takeFrame: () -> UInt64?
  ) -> Bool {
    var entry = entry
    var level: UInt64 = 1
    while true {
      let result = unsafe withUnsafeMutablePointer(to: &entry) { pointer in
        apus_call(
          SystemCall.pagesWrite.rawValue, CapabilitySlot.pageServer | frames << 8, root, address, 1,
          UInt64(UInt(bitPattern: pointer)))
      }
      if result == 1 { return true }
      guard result == -Int64(SystemCallError.noTable.rawValue), let table = takeFrame() else { return false }
      level = 1
      while true {
        let made = apus_call(SystemCall.tableInstall.rawValue, CapabilitySlot.pageServer, root, address, level, table)
        if made == 0 { break }
        guard made == -Int64(SystemCallError.noTable.rawValue), level < 3 else { return false }
        level += 1
      }
    }
  }

  /// Makes the server's family, its address space and its environment; needs the root capability.
  ///
  /// - Parameter frames: How many pages it can keep: its account's budget.
  /// - Returns: False if something was refused; the family then has none.
  public static func start(frames: UInt64) -> Bool {
    do throws(SystemCallError) {
      try kernelCall(
        .capabilityForge, CapabilitySlot.root, CapabilitySlot.pageServer, 2 | 7 << 8, account << 48)
      // Its budget is the family's, passed down: so many pages, their page tables, and what the program needs.
      try kernelCall(
        .accountLimit, CapabilitySlot.root, account, AccountKind.frames.rawValue, frames + frames / 512 + 64)
      try kernelCall(.accountLimit, CapabilitySlot.root, account, AccountKind.environments.rawValue, 1)
      try kernelCall(.accountLimit, CapabilitySlot.root, account, AccountKind.slices.rawValue, 1)
      guard BareFrames.map(at: PageMailbox.address, bytes: PageMailbox.byteCount) else { return false }
      guard let root = Server.takeFrame() else { return false }
      try kernelCall(.tableInstall, CapabilitySlot.pageServer, 0, 0, 4, root)
      guard shareProgram(root), shareMailbox(root), let frame = try makeUarea(root) else { return false }
      let made = try kernelCall(
        .environmentCreate, CapabilitySlot.pageServer, root, frame, uarea, 1 << CapabilitySlot.pageServer)
      try kernelCall(.sliceAllocate, CapabilitySlot.pageServer, UInt64.max, made)
      handle = made
      try kernelCall(.capabilityDrop, CapabilitySlot.pageServer)
      return true
    } catch {
      return false
    }
  }

  /// Maps the code and the constants of this program, which nobody can write.
  private static func shareProgram(_ root: UInt64) -> Bool {
    var at = UInt64(APUS_LIBOS_BASE) + 0x1_0000
    while true {
      let entry = PageTable.entry(at: at)
      guard entry & PageTable.present != 0, entry & PageTable.writable == 0 else { return true }
      guard
        map(
          entry & ~(PageTable.accessed | PageTable.dirty | 4), at: at, root: root, frames: CapabilitySlot.family,
          takeFrame: Server.takeFrame)
      else { return false }
      at += 4096
    }
  }

  private static func shareMailbox(_ root: UInt64) -> Bool {
    var at = PageMailbox.address
    while at < PageMailbox.address + PageMailbox.byteCount {
      let entry = UInt64(PageTable.frame(of: PageTable.entry(at: at))) << 12
      guard
        map(
          entry | PageTable.present | PageTable.writable | PageTable.noExecute, at: at, root: root,
          frames: CapabilitySlot.family, takeFrame: Server.takeFrame)
      else { return false }
      at += 4096
    }
    return true
  }

  /// Makes the server's u-area and its stack; the u-area is filled through a mapping here that goes again.
  private static func makeUarea(_ root: UInt64) throws(SystemCallError) -> UInt64? {
    let bits = PageTable.present | PageTable.writable | PageTable.noExecute
    let window = PageMailbox.address + 0x10_0000
    var result: UInt64?
    for page in 0...stackPages {
      // Zeroed: whatever is not written here is no entry point.
      var frame: UInt64 = 0
      _ = try unsafe withUnsafeMutablePointer(to: &frame) { (pointer) throws(SystemCallError) in
        try kernelCall(.frameAllocate, CapabilitySlot.pageServer, UInt64(UInt(bitPattern: pointer)), 1, 0)
      }
      if page == 0 {
        result = frame
        try writeHere(frame << 12 | bits, at: window)
        storeWord(1, at: window + UInt64(APUS_UA_CRITICAL))
        storeWord(runtime_page_server_entry_address(), at: window + UInt64(APUS_UA_SLICE_BEGIN_ENTRY))
        storeWord(uarea + (stackPages + 1) << 12, at: window + UInt64(APUS_UA_SLICE_STACK))
        storeWord(uarea, at: window + UInt64(APUS_UA_SELF))
        try writeHere(0, at: window)
      }
      guard
        map(
          frame << 12 | bits, at: uarea + page << 12, root: root, frames: CapabilitySlot.pageServer,
          takeFrame: Server.takeFrame)
      else { return nil }
    }
    return result
  }

  private static func writeHere(_ entry: UInt64, at address: UInt64) throws(SystemCallError) {
    var entry = entry
    _ = try unsafe withUnsafeMutablePointer(to: &entry) { (pointer) throws(SystemCallError) in
      try kernelCall(
        .pagesWrite, CapabilitySlot.family | CapabilitySlot.pageServer << 8, UInt64(Runtime.currentRoot), address, 1,
        UInt64(UInt(bitPattern: pointer)))
    }
  }

  // MARK: Asking

  /// How many pages one request can move.
  public static var batch: Int { PageMailbox.windowPages }

  /// A page of the window, for what is to be kept or has come back.
  public static func window(_ index: Int) -> Bytes {
    precondition(index >= 0 && index < PageMailbox.windowPages)
    return unsafe Bytes(
      base: UnsafeMutableRawPointer(bitPattern: UInt(PageMailbox.page(index))).unsafelyUnwrapped, count: 4096)
  }

  /// Names the slot of a page of the window.
  public static func setSlot(_ index: Int, _ slot: UInt32) {
    PageMailbox.store(UInt64(slot), at: PageMailbox.slots + UInt64(index) << 3)
  }

  /// Has the first pages of the window kept in their slots.
  ///
  /// - Returns: How many were; fewer when the server has no frame left.
  public static func put(_ count: Int) -> Int { ask(PageMailbox.put, count) }

  /// Has the first pages of the window filled from their slots.
  ///
  /// - Returns: How many were.
  public static func get(_ count: Int) -> Int { ask(PageMailbox.get, count) }

  private static func ask(_ operation: UInt64, _ count: Int) -> Int {
    guard isRunning else { return 0 }
    Exclusive.begin()
    defer { Exclusive.end() }
    sequence += 1
    PageMailbox.store(Execution.current.kernelHandle, at: PageMailbox.client)
    PageMailbox.store(operation, at: PageMailbox.operation)
    PageMailbox.store(UInt64(count), at: PageMailbox.count)
    PageMailbox.store(0, at: PageMailbox.result)
    PageMailbox.store(sequence, at: PageMailbox.request)
    while PageMailbox.load(PageMailbox.reply) != sequence {
      runtime_suspend(
        PageMailbox.address + PageMailbox.reply, sequence - 1, Clock.ticks &+ Information.page.ticks_per_second / 10,
        handle)
      guard isRunning else { return 0 }
    }
    return Int(truncatingIfNeeded: min(PageMailbox.load(PageMailbox.result), UInt64(count)))
  }
}
