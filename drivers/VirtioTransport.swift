// SPDX-License-Identifier: Apache-2.0
// VirtioTransport.swift: the two ways to reach a virtio device, and how one is brought to life (virtio 1.2, 3.1).

/// Bits of the device status (virtio 1.2, 2.1).
enum VirtioStatus {
  static var acknowledge: UInt8 { 1 }
  static var driver: UInt8 { 2 }
  static var driverOK: UInt8 { 4 }
  static var featuresOK: UInt8 { 8 }
  static var failed: UInt8 { 128 }
}

/// A virtio device, wherever its registers are.
enum VirtioTransport<Access: RegisterAccess & WidePortAccess> {
  case mmio(VirtioMMIO<Access>)
  case pci(VirtioPCI<Access>)

  var status: UInt8 {
    switch self {
    case .mmio(let device): device.status
    case .pci(let device): device.status
    }
  }

  private func setStatus(_ status: UInt8) {
    switch self {
    case .mmio(let device): device.setStatus(status)
    case .pci(let device): device.setStatus(status)
    }
  }

  private func addStatus(_ bits: UInt8) { setStatus(status | bits) }

  private func deviceFeatures(word: UInt32) -> UInt32 {
    switch self {
    case .mmio(let device): device.deviceFeatures(word: word)
    case .pci(let device): device.deviceFeatures(word: word)
    }
  }

  private func setDriverFeatures(word: UInt32, _ features: UInt32) {
    switch self {
    case .mmio(let device): device.setDriverFeatures(word: word, features)
    case .pci(let device): device.setDriverFeatures(word: word, features)
    }
  }

  /// A byte of the device's own configuration.
  func configuration8(_ offset: UInt64) -> UInt8 {
    switch self {
    case .mmio(let device): device.configuration8(offset)
    case .pci(let device): device.configuration8(offset)
    }
  }

  /// Tells the device to look at a queue.
  func notify(queue index: UInt16) {
    switch self {
    case .mmio(let device): device.notify(queue: index)
    case .pci(let device): device.notify(queue: index)
    }
  }

  /// Lowers the interrupt line, where there is one: a message of MSI-X needs no answer.
  func acknowledgeInterrupt() {
    switch self {
    case .mmio(let device): device.acknowledgeInterrupt()
    case .pci: break
    }
  }

  /// Makes the device forget everything, so that it touches no memory; false if it does not obey.
  func reset() -> Bool {
    setStatus(0)
    for _ in 0..<100_000 where status == 0 { return true }
    return false
  }

  /// Resets the device and agrees on the modern interface and the optional features that both sides know.
  ///
  /// - Parameter optional: Feature bits 0 to 31 that the driver can use.
  /// - Returns: Those of them that the device has, or nil if it does not agree; it is told of that.
  func negotiate(optional: UInt32) -> UInt32? {
    guard reset() else { return nil }
    addStatus(VirtioStatus.acknowledge)
    addStatus(VirtioStatus.driver)
    let modern: UInt32 = 1  // VIRTIO_F_VERSION_1 is bit 32
    guard deviceFeatures(word: 1) & modern != 0 else { return giveUp() }
    let agreed = deviceFeatures(word: 0) & optional
    setDriverFeatures(word: 0, agreed)
    setDriverFeatures(word: 1, modern)
    addStatus(VirtioStatus.featuresOK)
    return status & VirtioStatus.featuresOK != 0 ? agreed : giveUp()
  }

  /// Tells the device where a queue lies; to be done between `negotiate` and `run`.
  mutating func start<Memory>(queue index: UInt16, _ queue: VirtioQueue<Memory>) -> Bool {
    switch self {
    case .mmio(let device): return device.start(queue: index, queue)
    case .pci(var device):
      let started = device.start(queue: index, queue)
      self = .pci(device)
      return started
    }
  }

  /// Lets the device work.
  func run() { addStatus(VirtioStatus.driverOK) }

  private func giveUp() -> UInt32? {
    addStatus(VirtioStatus.failed)
    return nil
  }
}
