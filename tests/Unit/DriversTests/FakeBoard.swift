// SPDX-License-Identifier: Apache-2.0
// FakeBoard.swift: a made-up machine that shows a virtio device by memory-mapped registers or as a PCI function.

import ApusDrivers
import Testing

/// The machine.
final class FakeBoard: DeviceAccess {
  let memory: FakeMemory
  let console: FakeConsole
  /// The memory-mapped registers of the device; nil: it has none.
  var mmioBase: UInt64?
  var mmioVersion: UInt32 = 2
  /// What kind of device the registers say it is, and its own configuration.
  var deviceKind: UInt32 = 3
  var ownConfiguration: [UInt8] = []
  /// The configuration spaces on bus 0, by device * 8 + function; none: no PCI.
  var functions: [Int: [UInt8]] = [:]
  /// The base of the function's registers.
  static let barBase: UInt64 = 0xfe00_0000
  var controllerCount = 1

  /// What was written into the I/O APICs: redirection entries by global line.
  private(set) var redirections: [Int: UInt64] = [:]
  private(set) var messageTable: [UInt32] = [0, 0, 0, 1]
  private(set) var interruptsAcknowledged: UInt32 = 0
  var interruptStatus: UInt32 = 0
  private(set) var strayReads: [UInt64] = []

  private var configurationAddress: UInt32 = 0
  private var controllerSelect: [UInt32] = [0, 0]
  private var featureWord: (device: UInt32, driver: UInt32) = (0, 0)
  private var queueSelect = 0

  init(frameCount: Int) {
    memory = FakeMemory(frameCount: frameCount)
    console = FakeConsole(memory: memory)
  }

  // Shared memory.
  func shared16(_ physical: UInt64) -> UInt16 { UInt16(memory.number(physical, 2)) }
  func shared32(_ physical: UInt64) -> UInt32 { UInt32(memory.number(physical, 4)) }
  func setShared16(_ physical: UInt64, _ value: UInt16) {
    memory.setNumber(physical, 2, UInt64(value))
  }
  func setShared32(_ physical: UInt64, _ value: UInt32) {
    memory.setNumber(physical, 4, UInt64(value))
  }
  func setShared64(_ physical: UInt64, _ value: UInt64) { memory.setNumber(physical, 8, value) }
  func barrier() {}

  // Registers.
  func hasRegisters(_ physical: UInt64, count: UInt64) -> Bool {
    physical >= 0xc000_0000 && physical < 1 << 32 && count <= (1 << 32) - physical
  }
  func register8(_ physical: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: read(physical)) }
  func register16(_ physical: UInt64) -> UInt16 { UInt16(truncatingIfNeeded: read(physical)) }
  func register32(_ physical: UInt64) -> UInt32 { read(physical) }
  func setRegister8(_ physical: UInt64, _ value: UInt8) { write(physical, UInt32(value)) }
  func setRegister16(_ physical: UInt64, _ value: UInt16) { write(physical, UInt32(value)) }
  func setRegister32(_ physical: UInt64, _ value: UInt32) { write(physical, value) }

  private func controller(_ physical: UInt64) -> (index: Int, isWindow: Bool)? {
    guard physical >= 0xfec0_0000, physical < 0xfec2_0000 else { return nil }
    let index = Int(physical >> 16 & 1)
    return index < controllerCount ? (index, physical & 0xff == 0x10) : nil
  }

  private func read(_ physical: UInt64) -> UInt32 {
    if let (index, isWindow) = controller(physical) {
      return isWindow && controllerSelect[index] == 1 ? 0x0017_0020 : 0
    }
    if let base = mmioBase, physical >= base, physical < base + 512 {
      return readMMIO(physical - base)
    }
    if !functions.isEmpty, physical >= Self.barBase, physical < Self.barBase + 0x4000 {
      return readPCI(physical - Self.barBase)
    }
    strayReads.append(physical)
    return 0
  }

  private func write(_ physical: UInt64, _ value: UInt32) {
    if let (index, isWindow) = controller(physical) {
      if !isWindow {
        controllerSelect[index] = value
      } else if controllerSelect[index] >= 0x10 {
        let register = Int(controllerSelect[index]) - 0x10
        let line = index * 24 + register / 2
        let shift = UInt64(register % 2) * 32
        let old = redirections[line] ?? 1 << 16
        redirections[line] = old & ~(0xffff_ffff << shift) | UInt64(value) << shift
      }
    } else if let base = mmioBase, physical >= base, physical < base + 512 {
      writeMMIO(physical - base, value)
    } else if !functions.isEmpty, physical >= Self.barBase, physical < Self.barBase + 0x4000 {
      writePCI(physical - Self.barBase, value)
    }
  }

  private func half(_ old: UInt64, _ isHigh: Bool, _ value: UInt32) -> UInt64 {
    isHigh ? old & 0xffff_ffff | UInt64(value) << 32 : old & ~0xffff_ffff | UInt64(value)
  }

  private func setDriverFeatures(_ value: UInt32) {
    console.driverFeatures = half(console.driverFeatures, featureWord.driver == 1, value)
  }
  private var deviceFeatures: UInt32 {
    UInt32(truncatingIfNeeded: console.features >> (UInt64(featureWord.device) * 32))
  }

  // Memory-mapped transport (virtio 1.2, 4.2.2).
  private func readMMIO(_ offset: UInt64) -> UInt32 {
    switch offset {
    case 0x00: 0x7472_6976
    case 0x04: mmioVersion
    case 0x08: deviceKind
    case 0x10: deviceFeatures
    case 0x34: UInt32(console.queueLimit)
    case 0x44: console.queues[queueSelect].isReady ? 1 : 0
    case 0x60: interruptStatus
    case 0x70: UInt32(console.status)
    case 0x100..<0x100 + UInt64(ownConfiguration.count): UInt32(ownConfiguration[Int(offset - 0x100)])
    default: 0
    }
  }

  private func writeMMIO(_ offset: UInt64, _ value: UInt32) {
    switch offset {
    case 0x14: featureWord.device = value
    case 0x20: setDriverFeatures(value)
    case 0x24: featureWord.driver = value
    case 0x30: queueSelect = Int(value)
    case 0x38: console.queues[queueSelect].size = UInt64(value)
    case 0x44: console.queues[queueSelect].isReady = value == 1
    case 0x50: console.notify(Int(value))
    case 0x64:
      interruptsAcknowledged |= value
      interruptStatus &= ~value
    case 0x70: console.setStatus(UInt8(value))
    case 0x80...0xa4: setQueueAddress((offset - 0x80) >> 4, offset & 4 != 0, value)
    default: Issue.record("wrote register \(offset)")
    }
  }

  private func setQueueAddress(_ which: UInt64, _ isHigh: Bool, _ value: UInt32) {
    var queue = console.queues[queueSelect]
    switch which {
    case 0: queue.descriptors = half(queue.descriptors, isHigh, value)
    case 1: queue.available = half(queue.available, isHigh, value)
    default: queue.used = half(queue.used, isHigh, value)
    }
    console.queues[queueSelect] = queue
  }

  // PCI transport (virtio 1.2, 4.1.4): common registers at 0, doorbells at 0x1000 (4 bytes each), MSI-X at 0x2000.
  private func readPCI(_ offset: UInt64) -> UInt32 {
    let queue = console.queues[queueSelect]
    switch offset {
    case 4: return deviceFeatures
    case 20: return UInt32(console.status)
    case 24: return UInt32(console.queueLimit)
    case 26: return UInt32(queue.vector)
    case 28: return queue.isReady ? 1 : 0
    case 30: return UInt32(queueSelect)
    case 0x3000..<0x3000 + UInt64(ownConfiguration.count): return UInt32(ownConfiguration[Int(offset - 0x3000)])
    default: return 0
    }
  }

  private func writePCI(_ offset: UInt64, _ value: UInt32) {
    switch offset {
    case 0: featureWord.device = value
    case 8: featureWord.driver = value
    case 12: setDriverFeatures(value)
    case 16: #expect(value == 0xffff)
    case 20: console.setStatus(UInt8(value))
    case 22: queueSelect = Int(value)
    case 24: console.queues[queueSelect].size = UInt64(value)
    case 26: console.queues[queueSelect].vector = console.hasVectors ? UInt16(value) : 0xffff
    case 28: console.queues[queueSelect].isReady = value == 1
    case 32...52: setQueueAddress((offset - 32) >> 3, offset & 4 != 0, value)
    case 0x1000..<0x1018:
      #expect(offset == 0x1000 + UInt64(value) * 4)
      console.notify(Int(value))
    case 0x2000..<0x2010: messageTable[Int(offset & 15) / 4] = value
    default: Issue.record("wrote register \(offset)")
    }
  }

  // Configuration space by ports.
  func port32(_ port: UInt16) -> UInt32 {
    if functions.isEmpty { return .max }
    if port == 0xcf8 { return configurationAddress }
    guard let space = functions[Int(configurationAddress >> 8 & 0xff)] else { return .max }
    let offset = Int(configurationAddress & 0xfc)
    return space[offset..<offset + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  func setPort32(_ port: UInt16, _ value: UInt32) {
    if functions.isEmpty { return }
    if port == 0xcf8 {
      configurationAddress = value
      return
    }
    setConfiguration(Int(configurationAddress >> 8 & 0xff), Int(configurationAddress & 0xfc), value)
  }

  /// Writes 32 bits of a function's configuration space.
  func setConfiguration(_ function: Int, _ offset: Int, _ value: UInt32) {
    for index in 0..<4 {
      functions[function]?[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(index * 8))
    }
  }

  /// Reads 32 bits of a function's configuration space.
  func configuration(_ function: Int, _ offset: Int) -> UInt32 {
    functions[function]?[offset..<offset + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) } ?? .max
  }

  /// Puts a host bridge and the device on the bus, the device as device 4, function 1.
  func plugIntoPCI(deviceNumber: UInt32 = 0x1043) {
    let empty = [UInt8](repeating: 0, count: 256)
    for (function, identity) in [(0, 0x29c0_8086), (32, 0x1234_8086), (33, deviceNumber << 16 | 0x1af4)] {
      functions[function] = empty
      setConfiguration(function, 0, identity)
    }
    setConfiguration(32, 0x0c, 1 << 23)  // several functions
    setConfiguration(33, 0x04, 1 << 20 | 1)  // has capabilities; ports only
    setConfiguration(33, 0x20, UInt32(Self.barBase) | 0b1100)  // BAR 4: 64 bits, prefetchable
    setConfiguration(33, 0x34, 0x98)
    setConfiguration(33, 0x98, 1 << 30 | 0x50 << 8 | 0x11)  // MSI-X, masked
    setConfiguration(33, 0x9c, 0x2000 | 4)
    capability(at: 0x50, next: 0x70, type: 1, offset: 0, count: 0x38)
    capability(at: 0x70, next: 0, type: 2, offset: 0x1000, count: 0x18)
    setConfiguration(33, 0x80, 4)
    if !ownConfiguration.isEmpty {
      setConfiguration(33, 0x70, 2 << 24 | 0x14 << 16 | 0x84 << 8 | 0x09)
      capability(at: 0x84, next: 0, type: 4, offset: 0x3000, count: UInt32(ownConfiguration.count))
    }
  }

  private func capability(at place: Int, next: UInt32, type: UInt32, offset: UInt32, count: UInt32) {
    setConfiguration(33, place, type << 24 | 0x10 << 16 | next << 8 | 0x09)
    setConfiguration(33, place + 4, 4)
    setConfiguration(33, place + 8, offset)
    setConfiguration(33, place + 12, count)
  }
}
