// SPDX-License-Identifier: Apache-2.0
// Console.swift: what lies between ring 3 and the console device.
//
// Output: the kernel frames each write as one record (kind, account, length), so that streams of different families
// stay apart. Input arrives as raw bytes and is taken by whoever holds the console's capability. The device is a virtio
// console; where there is none, the serial port does the same, slowly.

import ApusABI
import ApusDrivers
import ApusMachine
import CApusABI
import CShims

/// The processor's port instructions.
struct ProcessorPorts: PortAccess {
  @inline(__always) func read8(_ port: UInt16) -> UInt8 { apus_in8(port) }
  @inline(__always) func write8(_ port: UInt16, _ value: UInt8) { apus_out8(port, value) }
}

/// A ring of bytes in kernel memory; the size is a power of two.
struct ByteRing {
  private let bytes: KernelBytes
  private var head = 0
  private var tail = 0

  /// Makes a ring over kernel memory.
  init(_ bytes: KernelBytes) { self.bytes = bytes }

  var room: Int { bytes.count - (head &- tail) }

  /// The oldest bytes, without a wrap.
  func oldest(_ limit: Int) -> KernelBytes {
    let at = tail & (bytes.count - 1)
    return bytes.part(at, min(limit, min(bytes.count - at, head &- tail)))
  }
  mutating func consume(_ count: Int) { tail &+= count }

  mutating func put(_ byte: UInt8) {
    bytes[head & (bytes.count - 1)] = byte
    head &+= 1
  }
}

/// The kernel's access to devices, for drivers.
struct MachineAccess: DeviceAccess {
  func hasRegisters(_ physical: UInt64, count: UInt64) -> Bool { PhysicalMemory.hasDevices(physical, count: count) }
  func register8(_ physical: UInt64) -> UInt8 { PhysicalMemory.device8(physical) }
  func register16(_ physical: UInt64) -> UInt16 { PhysicalMemory.device16(physical) }
  func register32(_ physical: UInt64) -> UInt32 { PhysicalMemory.device32(physical) }
  func setRegister8(_ physical: UInt64, _ value: UInt8) { PhysicalMemory.setDevice8(physical, value) }
  func setRegister16(_ physical: UInt64, _ value: UInt16) { PhysicalMemory.setDevice16(physical, value) }
  func setRegister32(_ physical: UInt64, _ value: UInt32) { PhysicalMemory.setDevice32(physical, value) }
  func shared16(_ physical: UInt64) -> UInt16 { PhysicalMemory.shared16(physical) }
  func shared32(_ physical: UInt64) -> UInt32 { PhysicalMemory.shared32(physical) }
  func setShared16(_ physical: UInt64, _ value: UInt16) { PhysicalMemory.setShared16(physical, value) }
  func setShared32(_ physical: UInt64, _ value: UInt32) { PhysicalMemory.setShared32(physical, value) }
  func setShared64(_ physical: UInt64, _ value: UInt64) { PhysicalMemory.setShared64(physical, value) }
  func barrier() { apus_barrier() }
  func port32(_ port: UInt16) -> UInt32 { apus_in32(port) }
  func setPort32(_ port: UInt16, _ value: UInt32) { apus_out32(port, value) }
}

/// The console device.
struct Console {
  /// Kernel memory that the console needs: the driver's, or the serial port's input ring.
  static var memoryByteCount: UInt64 { max(UInt64(VirtioConsole<MachineAccess>.frameCount) * 4096, serialInputBytes) }
  private static var serialInputBytes: UInt64 { 65536 }

  private let port: SerialPort<ProcessorPorts>
  private var virtio: VirtioConsole<MachineAccess>?
  private var input: ByteRing

  /// Starts the console.
  ///
  /// - Parameters:
  ///   - physical: `memoryByteCount` zeroed bytes of kernel memory.
  ///   - target: Where the device's interrupts go.
  ///   - commandLine: The character at a position of the kernel's command line.
  init(physical: UInt64, target: InterruptTarget, commandLine: (Int) -> UInt8) {
    let access = MachineAccess()
    port = SerialPort(ports: ProcessorPorts())
    virtio = VirtioConsole.find(access: access, memory: physical, interrupt: target, commandLine: commandLine)
    // The driver does not use the memory if it was not made.
    input = ByteRing(KernelBytes(physical: physical, count: Int(Self.serialInputBytes)))
    if virtio == nil { _ = InterruptRouter(access: access).route(line: 4, to: target) }
  }

  /// Answers the device's interrupt.
  ///
  /// - Returns: Whether there is input, and whether there is room for output again.
  mutating func interrupt() -> (inputArrived: Bool, outputFreed: Bool) {
    if let events = virtio?.acknowledgeInterrupt() { return (events.inputArrived, events.outputFreed) }
    return (receive(), false)
  }

  /// Takes what has arrived at the serial port; it keeps what there is no room for.
  private mutating func receive() -> Bool {
    var arrived = false
    while input.room > 0, let byte = port.receive() {
      input.put(byte)
      arrived = true
    }
    return arrived
  }

  /// Where the next record's payload goes: room for `consolePayloadLimit` bytes.
  ///
  /// - Parameter spare: Kernel memory of that size, for a device without buffers of its own.
  /// - Returns: Nil if there is no room now; the console's output word changes when there is.
  mutating func beginOutput(_ spare: KernelBytes) -> KernelBytes? {
    guard virtio != nil else { return spare }
    guard let address = virtio?.beginOutput() else { return nil }
    return KernelBytes(physical: address, count: consolePayloadLimit)
  }

  /// How many bytes one call sends: through the serial port each costs a dozen instructions, and a path is bounded.
  var recordLimit: Int { virtio != nil ? consolePayloadLimit : 2048 }

  /// Sends the record whose payload was written where `beginOutput` said.
  mutating func send(stream: UInt8, account: UInt8, _ bytes: KernelBytes) {
    let header = UInt32(stream) | UInt32(account) << 8 | UInt32(bytes.count) << 16
    if virtio != nil {
      _ = virtio?.send(header: header, count: bytes.count)
      return
    }
    for shift in 0..<UInt32(4) { port.send(UInt8(truncatingIfNeeded: header >> (shift * 8))) }
    for index in 0..<bytes.count { port.send(bytes[index]) }
  }

  /// The oldest bytes that have arrived and lie together; `consume` takes them.
  mutating func arrived(_ limit: Int) -> KernelBytes {
    if virtio != nil {
      guard let bytes = virtio?.arrivedInput() else { return KernelBytes(physical: 0, count: 0) }
      return KernelBytes(physical: bytes.address, count: min(bytes.count, limit))
    }
    _ = receive()
    return input.oldest(limit)
  }

  /// Takes bytes that `arrived` showed.
  mutating func consume(_ count: Int) {
    if virtio != nil { virtio?.consumeInput(count) } else { input.consume(count) }
  }

  /// Asks for an interrupt when the device has taken more output.
  ///
  /// - Returns: Whether anything is still on its way.
  mutating func awaitOutput() -> Bool { virtio?.awaitOutput() ?? false }

  /// Whether the device broke the rules of its queues and was switched off.
  var isBroken: Bool { virtio?.isBroken ?? false }
}

/// Halts until everything sent has reached the device: before power-off, however slow the host reads.
func drainConsole() {
  while kernel.console.awaitOutput() { halt() }
}
