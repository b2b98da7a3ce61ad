// SPDX-License-Identifier: Apache-2.0
// ProcessorList.swift: which processors there are, by the firmware's tables, and how they are started.
// ACPI specification 6.5: 5.2.5 (RSDP), 5.2.8 (XSDT), 5.2.12 (MADT). SDM vol. 3, 8.4 and 10.6 (starting processors).

import CApusABI
import CShims

/// The processors that the firmware says can be used, this one first.
public struct ProcessorList {
  /// Interrupt identifiers; the first `count` mean something.
  private var identifiers: InlineArray<64, UInt8> = .init(repeating: 0)
  /// How many there are.
  public private(set) var count: UInt32 = 1

  /// The interrupt identifier of a processor.
  public func identifier(_ index: UInt32) -> UInt8 { identifiers[Int(index)] }

  /// Reads the list; where there are no tables there is this processor only.
  ///
  /// - Parameters:
  ///   - pointer: Physical address of the RSDP, or 0.
  ///   - view: Where physical memory is mapped; its first GiB has to be.
  ///   - own: This processor's identifier.
  public init(pointer: UInt64, view: UInt64, own: UInt8) {
    identifiers[0] = own
    let tables = FirmwareTables(view: view)
    guard let list = tables.find("APIC", pointer: pointer == 0 ? tables.search() : pointer) else { return }
    let end = list + UInt64(tables.load32(list + 4))
    var at = list + 44
    while at + 2 <= end {
      let kind = tables.load8(at)
      let length = UInt64(tables.load8(at + 1))
      guard length >= 2 else { return }
      // A processor with its local APIC, enabled.
      if kind == 0, length >= 8, tables.load32(at + 4) & 1 != 0 { add(tables.load8(at + 3)) }
      at += length
    }
  }

  private mutating func add(_ identifier: UInt8) {
    guard identifier != identifiers[0], identifier != 0xff, count < 64 else { return }
    identifiers[Int(count)] = identifier
    count += 1
  }
}

/// The tables that the firmware left in memory.
private struct FirmwareTables {
  let view: UInt64

  func load32(_ physical: UInt64) -> UInt32 {
    guard physical < 1 << 30 else { return 0 }
    // SAFETY: the first GiB is mapped, memory or not.
    return unsafe UnsafeRawPointer(bitPattern: UInt(view &+ physical)).unsafelyUnwrapped.loadUnaligned(as: UInt32.self)
  }
  func load8(_ physical: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: load32(physical)) }
  func load64(_ physical: UInt64) -> UInt64 { UInt64(load32(physical)) | UInt64(load32(physical + 4)) << 32 }

  /// Looks for the RSDP where the firmware puts it when nobody says where: in the last 128 KiB below 1 MiB.
  func search() -> UInt64 {
    var at: UInt64 = 0xe_0000
    while at < 0x10_0000 {
      if load64(at) == 0x2052_5450_2044_5352 { return at }  // "RSD PTR "
      at += 16
    }
    return 0
  }

  /// Finds a table by its signature.
  func find(_ signature: StaticString, pointer: UInt64) -> UInt64? {
    guard pointer != 0, load64(pointer) == 0x2052_5450_2044_5352 else { return nil }
    let isLong = load8(pointer + 15) >= 2 && load64(pointer + 24) != 0
    let root = isLong ? load64(pointer + 24) : UInt64(load32(pointer + 16))
    let width: UInt64 = isLong ? 8 : 4
    let end = root + UInt64(load32(root + 4))
    var at = root + 36
    while at + width <= end {
      let table = isLong ? load64(at) : UInt64(load32(at))
      var matches = true
      for index in 0..<4 where load8(table + UInt64(index)) != signature.byte(at: index) { matches = false }
      if matches { return table }
      at += width
    }
    return nil
  }
}

/// Brings other processors up, one at a time.
public struct ProcessorStarter {
  private let interrupts: InterruptController

  /// Copies the startup code to its place and lets the kernel's root reach it.
  public init(interrupts: InterruptController) {
    self.interrupts = interrupts
    // SAFETY: only the symbols' addresses are used; the page below 1 MiB is memory that nobody else uses.
    let size = unsafe UInt64(UInt(bitPattern: apus_startup_end_address() - apus_startup_begin_address()))
    unsafe apus_copy_bytes(PhysicalMemory.pointer(UInt64(APUS_STARTUP_PAGE)), apus_startup_begin_address(), size)
    KernelTables.setIdentity(true)
    unsafe setWord(apus_startup_root_address(), KernelTables.rootAddress)
  }

  private func setWord(_ symbol: UnsafeMutablePointer<UInt8>, _ value: UInt64) {
    // SAFETY: the word lies in the code that was copied.
    let offset = unsafe UInt64(UInt(bitPattern: symbol - apus_startup_begin_address()))
    PhysicalMemory.setShared64(UInt64(APUS_STARTUP_PAGE) + offset, value)
  }

  /// Starts a processor.
  ///
  /// - Parameters:
  ///   - index: Its number.
  ///   - identifier: Its interrupt identifier.
  ///   - memory: Physical address of its own memory.
  ///   - hasStarted: Asked until it says yes.
  /// - Returns: False if it did not start within ten seconds.
  public func start(_ index: UInt32, identifier: UInt8, memory: UInt64, hasStarted: () -> Bool) -> Bool {
    unsafe setWord(
      apus_startup_stack_address(), PhysicalMemory.directBase &+ memory &+ ThisProcessor.memoryByteCount &- 8)
    unsafe setWord(apus_startup_index_address(), UInt64(index))
    interrupts.send(command: 0x4500, to: identifier)  // INIT
    wait(microseconds: 10_000) { false }
    for _ in 0..<2 {
      interrupts.send(command: 0x4600 | UInt32(APUS_STARTUP_PAGE) >> 12, to: identifier)
      wait(microseconds: 200, until: hasStarted)
    }
    wait(microseconds: 10_000_000, until: hasStarted)
    return hasStarted()
  }

  private func wait(microseconds: UInt64, until isOver: () -> Bool) {
    let end = apus_rdtsc() &+ interrupts.ticksPerSecond / 1_000_000 &* microseconds
    while !isOver(), apus_rdtsc() < end { apus_pause() }
  }

  /// Takes the startup code out of the address space again.
  public func finish() { KernelTables.setIdentity(false) }
}
