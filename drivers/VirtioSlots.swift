// SPDX-License-Identifier: Apache-2.0
// VirtioSlots.swift: where devices behind memory-mapped registers may be, and their interrupt lines.
//
// A virtual machine without PCI either says so on the kernel's command line, in the words that Linux fixed
// (Documentation/admin-guide/kernel-parameters.txt, virtio_mmio.device), or leaves it to ACPI. In the second case the
// slots of QEMU's machine type "microvm" are tried: a row of 512-byte register blocks, each with the next interrupt
// line, which are those of the second I/O APIC if there is one and the upper lines of the first if not.

/// A place where a device may be.
struct VirtioSlot: Equatable {
  /// Physical address of its registers.
  let base: UInt64
  /// Global number of its interrupt line.
  let line: UInt32
}

/// The slots that a command line declares, in its order.
struct DeclaredSlots {
  private var position = 0
  /// A line without an end is not read further than this.
  private static var lengthLimit: Int { 4096 }
  /// "virtio_mmio.device=": by its bytes, because those of a literal are behind an unsafe pointer.
  private static var key: [19 of UInt8] {
    [
      0x76, 0x69, 0x72, 0x74, 0x69, 0x6f, 0x5f, 0x6d, 0x6d, 0x69, 0x6f, 0x2e,
      0x64, 0x65, 0x76, 0x69, 0x63, 0x65, 0x3d,
    ]
  }

  /// Starts at the beginning of the line.
  init() {}

  /// The next `virtio_mmio.device=<size>@<address>:<line>`; what does not have that form is passed over.
  mutating func next(in character: (Int) -> UInt8) -> VirtioSlot? {
    var wordStarts = position == 0
    while position < Self.lengthLimit, character(position) != 0 {
      if wordStarts, let slot = slot(in: character) { return slot }
      wordStarts = character(position) == Ascii.space
      position += 1
    }
    return nil
  }

  /// Reads the word at the position, and moves behind it if it declares a slot.
  private mutating func slot(in character: (Int) -> UInt8) -> VirtioSlot? {
    var at = position
    let key = Self.key
    for index in 0..<key.count {
      guard character(at) == key[index] else { return nil }
      at += 1
    }
    while character(at) != Ascii.at {
      guard character(at) > Ascii.space else { return nil }
      at += 1
    }
    at += 1
    guard let base = Ascii.number(in: character, &at), character(at) == Ascii.colon else {
      return nil
    }
    at += 1
    guard let line = Ascii.number(in: character, &at), line <= UInt64(UInt32.max) else {
      return nil
    }
    position = at
    return VirtioSlot(base: base, line: UInt32(line))
  }
}

/// Characters and numbers of the command line.
private enum Ascii {
  static var space: UInt8 { 0x20 }
  static var at: UInt8 { 0x40 }
  static var colon: UInt8 { 0x3a }
  private static var zero: UInt8 { 0x30 }
  private static var lowerX: UInt8 { 0x78 }

  /// A decimal number, or a hexadecimal one behind "0x", if there is one that fits.
  ///
  /// The position moves behind it.
  static func number(in character: (Int) -> UInt8, _ position: inout Int) -> UInt64? {
    var base: UInt64 = 10
    if character(position) == zero, character(position + 1) | 0x20 == lowerX {
      base = 16
      position += 2
    }
    var value: UInt64?
    while let digit = digit(character(position)), digit < base {
      let (scaled, overflow) = (value ?? 0).multipliedReportingOverflow(by: base)
      let (sum, carry) = scaled.addingReportingOverflow(digit)
      guard !overflow, !carry else { return nil }
      value = sum
      position += 1
    }
    return value
  }

  private static func digit(_ character: UInt8) -> UInt64? {
    switch character {
    case 0x30...0x39: UInt64(character - 0x30)
    case 0x61...0x66: UInt64(character - 0x61 + 10)
    case 0x41...0x46: UInt64(character - 0x41 + 10)
    default: nil
    }
  }
}

/// The row of slots that "microvm" has.
enum CustomarySlots {
  /// Physical address of the first.
  static var base: UInt64 { 0xfeb0_0000 }
  /// Bytes from one to the next.
  static var stride: UInt64 { 512 }

  /// How many there are, and the line of the first.
  static func row(secondController: Bool) -> (count: UInt32, firstLine: UInt32) {
    secondController ? (24, 24) : (8, 16)
  }

  /// One of the row.
  static func slot(_ index: UInt32, firstLine: UInt32) -> VirtioSlot {
    VirtioSlot(base: base + UInt64(index) * stride, line: firstLine + index)
  }
}

extension VirtioTransport {
  /// Looks for a device and routes its interrupts.
  ///
  /// PCI comes first: where there is a PCI bus, the addresses of the other kind's registers may belong to any
  /// device, and reading them could do harm.
  ///
  /// - Parameters:
  ///   - access: Access to the machine.
  ///   - device: The device's number (virtio 1.2, 5).
  ///   - transitional: The PCI device number if it also speaks the legacy interface.
  ///   - interrupt: Where the device's interrupts go.
  ///   - commandLine: The character at a position of the kernel's command line; 0 at its end.
  /// - Returns: The first such device, or nil.
  static func find(
    access: Access, device: UInt16, transitional: UInt16, interrupt: InterruptTarget, commandLine: (Int) -> UInt8
  ) -> VirtioTransport? {
    if let configuration = PCIConfiguration(access: access) {
      return VirtioPCI(
        access: access, configuration: configuration, device: device, transitional: transitional, interrupt: interrupt
      ).map { .pci($0) }
    }
    let router = InterruptRouter(access: access)
    func use(_ slot: VirtioSlot) -> VirtioTransport? {
      guard let found = VirtioMMIO(access: access, base: slot.base, device: UInt32(device)),
        router.route(line: slot.line, to: interrupt)
      else { return nil }
      return .mmio(found)
    }
    var declared = DeclaredSlots()
    var anyDeclared = false
    while let slot = declared.next(in: commandLine) {
      anyDeclared = true
      if let device = use(slot) { return device }
    }
    if anyDeclared { return nil }
    let row = CustomarySlots.row(secondController: router.hasController(1))
    for index in 0..<row.count {
      if let device = use(CustomarySlots.slot(index, firstLine: row.firstLine)) { return device }
    }
    return nil
  }
}
