// SPDX-License-Identifier: Apache-2.0
// VirtioMMIO.swift: a virtio device behind memory-mapped registers (virtio 1.2, 4.2).

/// The registers, by offset.
private enum Register {
  static let magic: UInt64 = 0x00
  static let version: UInt64 = 0x04
  static let device: UInt64 = 0x08
  static let deviceFeatures: UInt64 = 0x10
  static let deviceFeaturesSelect: UInt64 = 0x14
  static let driverFeatures: UInt64 = 0x20
  static let driverFeaturesSelect: UInt64 = 0x24
  static let queueSelect: UInt64 = 0x30
  static let queueSizeLimit: UInt64 = 0x34
  static let queueSize: UInt64 = 0x38
  static let queueReady: UInt64 = 0x44
  static let queueNotify: UInt64 = 0x50
  static let interruptStatus: UInt64 = 0x60
  static let interruptAcknowledge: UInt64 = 0x64
  static let status: UInt64 = 0x70
  static let queueDescriptors: UInt64 = 0x80
  static let queueAvailable: UInt64 = 0x90
  static let queueUsed: UInt64 = 0xa0
  static let configuration: UInt64 = 0x100
}

/// A device behind memory-mapped registers.
struct VirtioMMIO<Access: RegisterAccess> {
  private let access: Access
  private let base: UInt64

  /// Looks for a device of the modern kind; the legacy register layout (version 1) is not spoken.
  ///
  /// - Parameters:
  ///   - access: Access to the registers.
  ///   - base: Physical address of the registers.
  ///   - device: The device's number (virtio 1.2, 5).
  init?(access: Access, base: UInt64, device: UInt32) {
    self.access = access
    self.base = base
    guard access.hasRegisters(base, count: 0x200),
      access.register32(base + Register.magic) == 0x7472_6976,
      access.register32(base + Register.version) == 2,
      access.register32(base + Register.device) == device
    else { return nil }
  }

  var status: UInt8 { UInt8(truncatingIfNeeded: access.register32(base + Register.status)) }

  func setStatus(_ status: UInt8) { set(Register.status, UInt32(status)) }

  private func set(_ register: UInt64, _ value: UInt32) {
    access.setRegister32(base + register, value)
  }

  private func setWide(_ register: UInt64, _ value: UInt64) {
    set(register, UInt32(truncatingIfNeeded: value))
    set(register + 4, UInt32(truncatingIfNeeded: value >> 32))
  }

  func deviceFeatures(word: UInt32) -> UInt32 {
    set(Register.deviceFeaturesSelect, word)
    return access.register32(base + Register.deviceFeatures)
  }

  func setDriverFeatures(word: UInt32, _ features: UInt32) {
    set(Register.driverFeaturesSelect, word)
    set(Register.driverFeatures, features)
  }

  /// Tells the device where a queue lies; false if it has no such queue or not of that size.
  func start<Memory>(queue index: UInt16, _ queue: VirtioQueue<Memory>) -> Bool {
    set(Register.queueSelect, UInt32(index))
    let size = UInt32(queue.size)
    guard access.register32(base + Register.queueReady) == 0,
      access.register32(base + Register.queueSizeLimit) >= size
    else { return false }
    set(Register.queueSize, size)
    setWide(Register.queueDescriptors, queue.descriptors)
    setWide(Register.queueAvailable, queue.available)
    setWide(Register.queueUsed, queue.used)
    set(Register.queueReady, 1)
    return true
  }

  /// A byte of the device's own configuration, below 256.
  func configuration8(_ offset: UInt64) -> UInt8 { access.register8(base + Register.configuration + offset) }

  func notify(queue index: UInt16) { set(Register.queueNotify, UInt32(index)) }

  /// Lowers the interrupt line.
  ///
  /// Whoever looks at the queues after this misses nothing: what comes later raises it again.
  func acknowledgeInterrupt() {
    set(Register.interruptAcknowledge, access.register32(base + Register.interruptStatus))
  }
}
