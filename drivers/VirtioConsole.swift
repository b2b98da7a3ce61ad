// SPDX-License-Identifier: Apache-2.0
// VirtioConsole.swift: the virtio console device: one port at work (virtio 1.2, 5.3).
//
// Nothing waits here and nothing is copied: output is written into the buffer that the device will read
// (`beginOutput`, `send`), input is read from the buffer that the device filled (`arrivedInput`, `consumeInput`).
// When every output buffer is with the device there is no room, and the device is asked to interrupt when it gives
// one back; otherwise output raises no interrupts. Input that nobody takes stays in its buffers, and the device stops
// the sender when they are full.
//
// Memory: 16 frames for input, 17 for 16 output buffers (a record's header right before its payload, which starts on
// a cache line), behind those of the rings. The kernel never gives these frames to anyone, so what the device can
// reach holds console data only.

/// Bytes in memory, by physical address.
public struct PhysicalBytes: Equatable {
  /// Physical address of the first byte.
  public let address: UInt64
  /// How many bytes.
  public let count: Int
}

/// What an interrupt of the console means.
public struct ConsoleEvents: Equatable {
  /// There is input to take.
  public let inputArrived: Bool
  /// There is room for output again, after there was none.
  public let outputFreed: Bool
}

/// The console device.
public struct VirtioConsole<Access: DeviceAccess> {
  /// The greatest payload of a record.
  public static var payloadLimit: Int { 4096 }

  private static var headerByteCount: Int { 4 }
  private static var inputByteCount: Int { 4096 }
  private static var outputStride: UInt64 { 64 + 4096 }

  private let access: Access
  private let memory: UInt64
  private let inputQueue: UInt16
  private let outputQueue: UInt16
  private var transport: VirtioTransport<Access>
  private var input: VirtioQueue<Access>
  private var output: VirtioQueue<Access>
  /// The input buffer that is being read.
  private var reading: (slot: UInt16, offset: Int, count: Int)?
  /// The output buffer that is being filled.
  private var filling: UInt16?
  /// Whether someone waits for output to be taken.
  private var outputAwaited = false
  /// The device broke the rules and was switched off.
  public private(set) var isBroken = false

  /// Takes over a device that has been agreed with.
  ///
  /// - Parameters:
  ///   - access: Access to the machine.
  ///   - memory: Physical address of the buffers.
  ///   - transport: The device.
  ///   - input: Its queue for input.
  ///   - output: Its queue for output.
  ///   - port: The number of its port, which says the queues' numbers.
  init(
    access: Access, memory: UInt64, transport: VirtioTransport<Access>,
    input: VirtioQueue<Access>, output: VirtioQueue<Access>, port: UInt16
  ) {
    self.access = access
    self.memory = memory
    self.transport = transport
    self.input = input
    self.output = output
    inputQueue = ConsoleQueue.input(ofPort: port)
    outputQueue = ConsoleQueue.output(ofPort: port)
    for slot in 0..<input.size {
      self.input.describe(slot: slot, address: inputAddress(slot), deviceWrites: true)
      self.output.describe(slot: slot, address: recordAddress(slot), deviceWrites: false)
      self.input.submit(slot: slot, count: Self.inputByteCount)
    }
    self.output.setInterrupts(false)
    transport.notify(queue: inputQueue)
  }

  private func inputAddress(_ slot: UInt16) -> UInt64 { memory + 4096 * UInt64(slot) }
  private func payloadAddress(_ slot: UInt16) -> UInt64 {
    memory + 4096 * 16 + UInt64(slot) * Self.outputStride + 64
  }
  private func recordAddress(_ slot: UInt16) -> UInt64 {
    payloadAddress(slot) - UInt64(Self.headerByteCount)
  }

  /// A device that lies is switched off: it must not write into memory on a pretext.
  private mutating func checkHealth() {
    guard !isBroken, input.isBroken || output.isBroken else { return }
    isBroken = true
    reading = nil
    filling = nil
    _ = transport.reset()
  }

  // MARK: Output

  private mutating func takeBackOutput() {
    for _ in 0..<output.size {
      guard output.takeUsed() != nil else { break }
    }
    checkHealth()
  }

  /// The buffer for the next record's payload, if the device has not got them all.
  ///
  /// If it has, the next interrupt that reports `outputFreed` says when to try again. Beginning twice gives the same
  /// buffer: what was begun and not sent is forgotten.
  ///
  /// - Returns: The physical address of `payloadLimit` bytes, or nil if there is no room now.
  public mutating func beginOutput() -> UInt64? {
    guard !isBroken else { return nil }
    if output.vacantSlot == nil { takeBackOutput() }
    if output.vacantSlot == nil { _ = awaitOutput() }
    guard !isBroken, let slot = filling ?? output.vacantSlot else { return nil }
    filling = slot
    return payloadAddress(slot)
  }

  /// Sends the record whose payload was written to where `beginOutput` said.
  ///
  /// - Parameters:
  ///   - header: The record's header; its first byte is the lowest.
  ///   - count: Bytes of payload, at most `payloadLimit`.
  /// - Returns: False, with nothing sent, if nothing was begun or the count is too great.
  public mutating func send(header: UInt32, count: Int) -> Bool {
    guard !isBroken, let slot = filling, (0...Self.payloadLimit).contains(count) else {
      return false
    }
    filling = nil
    access.setShared32(recordAddress(slot), header)
    output.submit(slot: slot, count: Self.headerByteCount + count)
    transport.notify(queue: outputQueue)
    return true
  }

  /// Asks for an interrupt when the device has taken more of the output.
  ///
  /// - Returns: Whether anything is still in flight: if so, an interrupt will come; if not, none.
  public mutating func awaitOutput() -> Bool {
    guard !isBroken else { return false }
    output.setInterrupts(true)
    takeBackOutput()
    outputAwaited = !isBroken && output.inFlightCount != 0
    if !outputAwaited { output.setInterrupts(false) }
    return outputAwaited
  }

  /// Waits until the device has taken all output, by looking again and again.
  ///
  /// - Parameter polls: How often to look. Where the host may be slow, halt on `awaitOutput` instead.
  /// - Returns: Whether it has.
  public mutating func drainOutput(polls: Int) -> Bool {
    for _ in 0..<max(polls, 1) {
      if isBroken { return false }
      if output.inFlightCount == 0 { return true }
      if output.hasUsed { takeBackOutput() }
    }
    return output.inFlightCount == 0
  }

  // MARK: Input

  /// The first bytes that have arrived and have not been consumed, as many as lie together.
  public mutating func arrivedInput() -> PhysicalBytes? {
    for _ in 0..<input.size {
      if let reading {
        return PhysicalBytes(
          address: inputAddress(reading.slot) + UInt64(reading.offset),
          count: reading.count - reading.offset)
      }
      guard let (slot, count) = input.takeUsed() else { break }
      reading = (slot, 0, min(Int(count), Self.inputByteCount))
      if count == 0 { returnInputBuffer() }
    }
    checkHealth()
    return nil
  }

  /// Consumes bytes that `arrivedInput` has shown.
  ///
  /// - Parameter count: How many, from its first; more than it showed are not consumed.
  public mutating func consumeInput(_ count: Int) {
    guard let (slot, offset, end) = reading, count >= 0 else { return }
    reading = (slot, offset + min(count, end - offset), end)
    if count >= end - offset { returnInputBuffer() }
  }

  private mutating func returnInputBuffer() {
    guard let (slot, _, _) = reading else { return }
    reading = nil
    input.submit(slot: slot, count: Self.inputByteCount)
    transport.notify(queue: inputQueue)
  }

  // MARK: Interrupt

  /// Answers the device's interrupt; to be called before the local APIC is told that the interrupt ended.
  public mutating func acknowledgeInterrupt() -> ConsoleEvents {
    guard !isBroken else { return ConsoleEvents(inputArrived: false, outputFreed: false) }
    transport.acknowledgeInterrupt()
    var freed = false
    if outputAwaited, output.hasUsed {
      takeBackOutput()
      outputAwaited = false
      output.setInterrupts(false)
      freed = !isBroken
    }
    return ConsoleEvents(inputArrived: reading != nil || input.hasUsed, outputFreed: freed)
  }
}
