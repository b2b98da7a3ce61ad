// SPDX-License-Identifier: Apache-2.0
// Serial.swift: the 16550 serial port (National Semiconductor PC16550D data sheet).

/// Access to a device's 8-bit ports.
public protocol PortAccess {
  func read8(_ port: UInt16) -> UInt8
  func write8(_ port: UInt16, _ value: UInt8)
}

/// The first serial port.
public struct SerialPort<Ports: PortAccess> {
  private let ports: Ports
  private let base: UInt16 = 0x3f8

  /// Sets the port up: 115,200 baud, 8 bits, FIFO on, receive interrupts on.
  public init(ports: Ports) {
    self.ports = ports
    ports.write8(base + 1, 0)
    ports.write8(base + 3, 0x80)
    ports.write8(base, 1)
    ports.write8(base + 1, 0)
    ports.write8(base + 3, 3)
    ports.write8(base + 2, 0xc7)
    ports.write8(base + 4, 0x0b)
    ports.write8(base + 1, 1)
  }

  /// Sends one byte; waits until the port takes it.
  public func send(_ byte: UInt8) {
    while ports.read8(base + 5) & 0x20 == 0 {}
    ports.write8(base, byte)
  }

  /// A byte that has arrived.
  public func receive() -> UInt8? {
    ports.read8(base + 5) & 1 != 0 ? ports.read8(base) : nil
  }
}
