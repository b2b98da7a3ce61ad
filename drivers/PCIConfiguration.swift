// SPDX-License-Identifier: Apache-2.0
// PCIConfiguration.swift: the configuration space of PCI functions on bus 0.
// PCI Local Bus Specification 3.0: 3.2.2.3.2 (configuration mechanism #1), 6.1 (layout), 6.7 (capabilities).

/// One function on bus 0.
struct PCIFunction {
  /// Device number, 0 to 31.
  let device: UInt8
  /// Function number, 0 to 7.
  let function: UInt8
}

/// Offsets in the configuration space.
enum PCIRegister {
  static let identity: UInt8 = 0x00
  static let command: UInt8 = 0x04
  static let headerType: UInt8 = 0x0c
  static let baseAddress: UInt8 = 0x10
  static let capabilities: UInt8 = 0x34
}

/// Bits of the command register.
enum PCICommand {
  static let memorySpace: UInt32 = 1 << 1
  static let busMaster: UInt32 = 1 << 2
  static let interruptDisable: UInt32 = 1 << 10
}

/// Access to configuration space through ports 0xcf8 and 0xcfc.
struct PCIConfiguration<Access: WidePortAccess> {
  private let access: Access
  private static var addressPort: UInt16 { 0xcf8 }
  private static var dataPort: UInt16 { 0xcfc }
  private static var enable: UInt32 { 1 << 31 }

  /// Looks for a host bridge; nil if the machine has no PCI bus that ports reach.
  init?(access: Access) {
    self.access = access
    access.setPort32(Self.addressPort, Self.enable)
    guard access.port32(Self.addressPort) == Self.enable else { return nil }
    let bridge = PCIFunction(device: 0, function: 0)
    guard read(bridge, PCIRegister.identity) != UInt32.max else { return nil }
  }

  private func select(_ function: PCIFunction, _ offset: UInt8) {
    let place = UInt32(function.device & 31) << 11 | UInt32(function.function & 7) << 8
    access.setPort32(Self.addressPort, Self.enable | place | UInt32(offset & ~3))
  }

  /// The aligned 32 bits that hold `offset`.
  func read(_ function: PCIFunction, _ offset: UInt8) -> UInt32 {
    select(function, offset)
    return access.port32(Self.dataPort)
  }

  /// Writes the aligned 32 bits that hold `offset`.
  func write(_ function: PCIFunction, _ offset: UInt8, _ value: UInt32) {
    select(function, offset)
    access.setPort32(Self.dataPort, value)
  }

  /// The first function on bus 0 that `accepts` by vendor and device number.
  func first(where accepts: (_ vendor: UInt16, _ device: UInt16) -> Bool) -> PCIFunction? {
    for device in UInt8(0)..<32 {
      var functions: UInt8 = 1
      var number: UInt8 = 0
      while number < functions {
        let function = PCIFunction(device: device, function: number)
        let identity = read(function, PCIRegister.identity)
        number += 1
        if identity == UInt32.max { continue }
        if accepts(UInt16(truncatingIfNeeded: identity), UInt16(identity >> 16)) {
          return function
        }
        let multifunction: UInt32 = 1 << 23
        if read(function, PCIRegister.headerType) & multifunction != 0 { functions = 8 }
      }
    }
    return nil
  }

  /// The physical address in a base address register; nil if it holds none for memory.
  func memoryBase(_ function: PCIFunction, _ index: UInt8) -> UInt64? {
    guard index < 6 else { return nil }
    let low = read(function, PCIRegister.baseAddress + index * 4)
    let isPort = low & 1 != 0
    let isWide = low & 0b110 == 0b100
    guard !isPort, low & ~0xf != 0 || isWide else { return nil }
    var base = UInt64(low & ~0xf)
    if isWide {
      guard index < 5 else { return nil }
      base |= UInt64(read(function, PCIRegister.baseAddress + index * 4 + 4)) << 32
    }
    return base == 0 ? nil : base
  }

  /// Shows each capability's offset and identifier to `visit`, as far as the list can reach without a circle.
  func forEachCapability(_ function: PCIFunction, _ visit: (_ offset: UInt8, _ id: UInt8) -> Void) {
    let hasList: UInt32 = 1 << 20
    guard read(function, PCIRegister.command) & hasList != 0 else { return }
    var offset = UInt8(truncatingIfNeeded: read(function, PCIRegister.capabilities)) & ~3
    var left = 48  // as many as fit behind the header
    while offset >= 0x40, left > 0 {
      let header = read(function, offset)
      visit(offset, UInt8(truncatingIfNeeded: header))
      offset = UInt8(truncatingIfNeeded: header >> 8) & ~3
      left -= 1
    }
  }
}
