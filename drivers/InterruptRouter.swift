// SPDX-License-Identifier: Apache-2.0
// InterruptRouter.swift: the I/O APICs, which turn a device's interrupt line into a vector of a processor.
// Intel 82093AA data sheet (order number 290566).

/// Where an interrupt goes.
public struct InterruptTarget {
  /// The vector that the processor takes.
  public let vector: UInt8
  /// Identifier of the processor's local APIC.
  public let processor: UInt8

  /// Names a vector of a processor.
  public init(vector: UInt8, processor: UInt8) {
    self.vector = vector
    self.processor = processor
  }
}

/// The I/O APICs at their customary addresses: lines 0 to 23 at the first, 24 to 47 at the second if there is one.
public struct InterruptRouter<Access: RegisterAccess> {
  private let access: Access
  private static var linesPerController: UInt32 { 24 }

  /// Makes a router.
  public init(access: Access) { self.access = access }

  private func base(_ controller: UInt32) -> UInt64 { 0xfec0_0000 + UInt64(controller) * 0x1_0000 }

  private func write(_ controller: UInt32, _ register: UInt32, _ value: UInt32) {
    access.setRegister32(base(controller), register)
    access.setRegister32(base(controller) + 0x10, value)
  }

  /// Whether a controller answers with the version register of an I/O APIC with 24 lines.
  public func hasController(_ controller: UInt32) -> Bool {
    guard access.hasRegisters(base(controller), count: 0x20) else { return false }
    access.setRegister32(base(controller), 1)
    let version = access.register32(base(controller) + 0x10)
    return version >> 16 & 0xff == Self.linesPerController - 1 && version & 0xff != 0
  }

  /// Sends a line's rising edges to a processor.
  ///
  /// An edge is enough for a line that stays high until its device is acknowledged, if the device is acknowledged
  /// before its work is looked for; and it needs no end-of-interrupt at the controller.
  ///
  /// - Parameters:
  ///   - line: The global number of the line.
  ///   - target: Where its interrupts go.
  /// - Returns: False if no controller has that line.
  public func route(line: UInt32, to target: InterruptTarget) -> Bool {
    let controller = line / Self.linesPerController
    guard controller < 2, hasController(controller) else { return false }
    let register = 0x10 + line % Self.linesPerController * 2
    write(controller, register + 1, UInt32(target.processor) << 24)
    write(controller, register, UInt32(target.vector))
    return true
  }
}
