// SPDX-License-Identifier: Apache-2.0
// VirtioPCI.swift: a virtio device that is a PCI function (virtio 1.2, 4.1), with one MSI-X vector for its queues.

/// The common configuration structure, by offset (4.1.4.3).
private enum Register {
  static let deviceFeaturesSelect: UInt64 = 0
  static let deviceFeatures: UInt64 = 4
  static let driverFeaturesSelect: UInt64 = 8
  static let driverFeatures: UInt64 = 12
  static let configurationVector: UInt64 = 16
  static let status: UInt64 = 20
  static let queueSelect: UInt64 = 22
  static let queueSize: UInt64 = 24
  static let queueVector: UInt64 = 26
  static let queueEnable: UInt64 = 28
  static let queueNotifyOffset: UInt64 = 30
  static let queueDescriptors: UInt64 = 32
  static let queueAvailable: UInt64 = 40
  static let queueUsed: UInt64 = 48
  static let byteCount: UInt64 = 56
}

/// Where a capability says that registers lie.
private struct Place {
  var bar: UInt8 = 0
  var offset: UInt64 = 0
  var count: UInt64 = 0
}

/// What the capability list says.
private struct Capabilities {
  var common: Place?
  var notify: Place?
  var notifyMultiplier: UInt64 = 0
  var device: Place?
  var messages: Place?
  var messageOffset: UInt8 = 0
}

/// A device that is a PCI function.
struct VirtioPCI<Access: RegisterAccess & WidePortAccess> {
  private let access: Access
  private let common: UInt64
  private let notification: UInt64
  private let notificationByteCount: UInt64
  private let notifyMultiplier: UInt64
  /// The device's own configuration, and how many bytes it has.
  private let configuration: UInt64
  private let configurationByteCount: UInt64
  /// Addresses by which the device is told of its first queues.
  private var doorbells = [6 of UInt64](repeating: 0)

  private static var vendor: UInt16 { 0x1af4 }
  /// Stands for "no vector".
  private static var noVector: UInt16 { 0xffff }

  /// Looks for a device on bus 0, and sends its interrupts to a processor.
  ///
  /// - Parameters:
  ///   - access: Access to registers and ports.
  ///   - configuration: The functions on bus 0.
  ///   - device: The device's number (virtio 1.2, 5).
  ///   - transitional: The PCI device number if it also speaks the legacy interface.
  ///   - interrupt: Where its interrupts go.
  init?(
    access: Access, configuration: PCIConfiguration<Access>, device: UInt16, transitional: UInt16,
    interrupt: InterruptTarget
  ) {
    let modern = 0x1040 + device
    let found = configuration.first { vendor, number in
      vendor == Self.vendor && (number == modern || number == transitional)
    }
    guard let function = found else { return nil }
    let capabilities = Self.capabilities(configuration, function)

    /// The physical address of registers; nil if the kernel cannot reach them.
    func locate(_ place: Place?, atLeast count: UInt64) -> UInt64? {
      guard let place, place.count >= count,
        let base = configuration.memoryBase(function, place.bar)
      else { return nil }
      let (start, overflow) = base.addingReportingOverflow(place.offset)
      guard !overflow, access.hasRegisters(start, count: place.count) else { return nil }
      return start
    }
    guard let common = locate(capabilities.common, atLeast: Register.byteCount),
      let notification = locate(capabilities.notify, atLeast: 2),
      let messages = locate(capabilities.messages, atLeast: 16)
    else { return nil }
    self.access = access
    self.common = common
    self.notification = notification
    notificationByteCount = capabilities.notify?.count ?? 0
    notifyMultiplier = capabilities.notifyMultiplier
    let ownRegisters = locate(capabilities.device, atLeast: 1)
    self.configuration = ownRegisters ?? 0
    configurationByteCount = ownRegisters == nil ? 0 : capabilities.device?.count ?? 0

    let command = configuration.read(function, PCIRegister.command) & 0xffff
    configuration.write(
      function, PCIRegister.command,
      command | PCICommand.memorySpace | PCICommand.busMaster | PCICommand.interruptDisable)
    // SDM vol. 3, 11.11: fixed delivery to one processor, edge-triggered.
    access.setRegister32(messages, 0xfee0_0000 | UInt32(interrupt.processor) << 12)
    access.setRegister32(messages + 4, 0)
    access.setRegister32(messages + 8, UInt32(interrupt.vector))
    access.setRegister32(messages + 12, 0)
    let enable: UInt32 = 1 << 31
    let maskAll: UInt32 = 1 << 30
    let control = configuration.read(function, capabilities.messageOffset)
    configuration.write(function, capabilities.messageOffset, control & ~maskAll | enable)
  }

  private static func capabilities(
    _ configuration: PCIConfiguration<Access>, _ function: PCIFunction
  ) -> Capabilities {
    var result = Capabilities()
    configuration.forEachCapability(function) { offset, identifier in
      switch identifier {
      case 0x09 where offset <= 0xf0:  // vendor-specific: virtio 1.2, 4.1.4
        let type = configuration.read(function, offset) >> 24
        let place = Place(
          bar: UInt8(truncatingIfNeeded: configuration.read(function, offset + 4)),
          offset: UInt64(configuration.read(function, offset + 8)),
          count: UInt64(configuration.read(function, offset + 12)))
        if type == 1, result.common == nil { result.common = place }
        if type == 4, result.device == nil { result.device = place }
        if type == 2, result.notify == nil, offset <= 0xec {
          result.notify = place
          result.notifyMultiplier = UInt64(configuration.read(function, offset + 16))
        }
      case 0x11 where offset <= 0xf4:  // MSI-X: PCI 3.0, 6.8.2
        let table = configuration.read(function, offset + 4)
        result.messages = Place(bar: UInt8(table & 7), offset: UInt64(table & ~7), count: 16)
        result.messageOffset = offset
      default: break
      }
    }
    return result
  }

  var status: UInt8 { access.register8(common + Register.status) }

  func setStatus(_ status: UInt8) { access.setRegister8(common + Register.status, status) }

  func deviceFeatures(word: UInt32) -> UInt32 {
    access.setRegister32(common + Register.deviceFeaturesSelect, word)
    return access.register32(common + Register.deviceFeatures)
  }

  func setDriverFeatures(word: UInt32, _ features: UInt32) {
    access.setRegister32(common + Register.driverFeaturesSelect, word)
    access.setRegister32(common + Register.driverFeatures, features)
  }

  private func setWide(_ register: UInt64, _ value: UInt64) {
    access.setRegister32(common + register, UInt32(truncatingIfNeeded: value))
    access.setRegister32(common + register + 4, UInt32(truncatingIfNeeded: value >> 32))
  }

  /// Tells the device where a queue lies; false if it has no such queue or cannot interrupt for it.
  mutating func start<Memory>(queue index: UInt16, _ queue: VirtioQueue<Memory>) -> Bool {
    access.setRegister16(common + Register.configurationVector, Self.noVector)
    access.setRegister16(common + Register.queueSelect, index)
    let size = queue.size
    guard index < doorbells.count, access.register16(common + Register.queueEnable) == 0,
      access.register16(common + Register.queueSize) >= size
    else { return false }
    access.setRegister16(common + Register.queueSize, size)
    access.setRegister16(common + Register.queueVector, 0)
    guard access.register16(common + Register.queueVector) == 0 else { return false }
    let offset = UInt64(access.register16(common + Register.queueNotifyOffset))
    let (distance, overflow) = offset.multipliedReportingOverflow(by: notifyMultiplier)
    guard !overflow, distance <= notificationByteCount - 2 else { return false }
    doorbells[Int(index)] = notification + distance
    setWide(Register.queueDescriptors, queue.descriptors)
    setWide(Register.queueAvailable, queue.available)
    setWide(Register.queueUsed, queue.used)
    access.setRegister16(common + Register.queueEnable, 1)
    return true
  }

  /// A byte of the device's own configuration; 0 where it has none.
  func configuration8(_ offset: UInt64) -> UInt8 {
    offset < configurationByteCount ? access.register8(configuration + offset) : 0
  }

  func notify(queue index: UInt16) {
    access.setRegister16(doorbells[Int(index)], index)
  }
}
