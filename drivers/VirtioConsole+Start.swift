// SPDX-License-Identifier: Apache-2.0
// VirtioConsole+Start.swift: finding the console device and opening one of its ports (virtio 1.2, 5.3).
//
// A device that offers several ports is asked which it has, and the first one of ports 0 and 1 is opened. QEMU needs
// this: its port 0 throws output away when the host is slow, its other ports hold it back.

/// Numbers of the queues (virtio 1.2, 5.3.2).
enum ConsoleQueue {
  static var controlIn: UInt16 { 2 }
  static var controlOut: UInt16 { 3 }
  static func input(ofPort port: UInt16) -> UInt16 { port == 0 ? 0 : 2 + 2 * port }
  static func output(ofPort port: UInt16) -> UInt16 { input(ofPort: port) + 1 }
}

/// What the memory given to the driver is used for.
private enum Layout {
  static var controlInMessages: UInt64 { 6 * 1024 }
  static var controlOutMessages: UInt64 { 7 * 1024 }
  static var buffers: UInt64 { 2 * 4096 }
  static func queue(_ index: UInt16) -> UInt64 { UInt64(index) * 1024 }
}

extension VirtioConsole {
  /// How many contiguous frames the driver needs.
  public static var frameCount: Int { 35 }

  private static var deviceNumber: UInt16 { 3 }
  private static var transitionalNumber: UInt16 { 0x1003 }
  private static var severalPorts: UInt32 { 1 << 1 }  // VIRTIO_CONSOLE_F_MULTIPORT

  /// Looks for a console device, brings it to life and enables its interrupt.
  ///
  /// PCI comes first: where there is a PCI bus, the addresses of the other kind's registers may belong to any
  /// device, and reading them could do harm.
  ///
  /// - Parameters:
  ///   - access: Access to the machine.
  ///   - memory: Physical address of `frameCount` contiguous zeroed frames, the driver's for good.
  ///   - interrupt: Where the device's interrupts go.
  ///   - commandLine: The character at a position of the kernel's command line; 0 at its end.
  /// - Returns: The running device, or nil if there is none that this driver can drive.
  public static func find(
    access: Access, memory: UInt64, interrupt: InterruptTarget, commandLine: (Int) -> UInt8
  ) -> VirtioConsole? {
    guard
      var transport = VirtioTransport.find(
        access: access, device: deviceNumber, transitional: transitionalNumber, interrupt: interrupt,
        commandLine: commandLine),
      let features = transport.negotiate(optional: severalPorts)
    else { return nil }

    func makeQueue(_ index: UInt16) -> VirtioQueue<Access> {
      VirtioQueue(memory: access, physical: memory + Layout.queue(index))
    }
    let manyPorts = features & severalPorts != 0
    for index in 0..<UInt16(manyPorts ? 6 : 2) {
      guard transport.start(queue: index, makeQueue(index)) else {
        _ = transport.reset()
        return nil
      }
    }
    var port: UInt16 = 0
    if manyPorts {
      var control = ConsoleControl(
        access: access, transport: transport, memory: memory,
        incoming: makeQueue(ConsoleQueue.controlIn), outgoing: makeQueue(ConsoleQueue.controlOut))
      transport.run()
      guard let opened = control.openPort() else {
        _ = transport.reset()
        return nil
      }
      port = opened
    } else {
      transport.run()
    }
    return VirtioConsole(
      access: access, memory: memory + Layout.buffers, transport: transport,
      input: makeQueue(ConsoleQueue.input(ofPort: port)),
      output: makeQueue(ConsoleQueue.output(ofPort: port)), port: port)
  }
}

/// A message on the control queues (virtio 1.2, 5.3.6.2).
private struct ControlMessage {
  var port: UInt32
  var event: UInt16
  var value: UInt16

  static var byteCount: Int { 8 }
  static var deviceReady: UInt16 { 0 }
  static var deviceAdd: UInt16 { 1 }
  static var portReady: UInt16 { 3 }
  static var portOpen: UInt16 { 6 }
}

/// The talk about ports, which is over when one has been opened: later messages are not taken.
private struct ConsoleControl<Access: DeviceAccess> {
  private let access: Access
  private let transport: VirtioTransport<Access>
  private let memory: UInt64
  private var incoming: VirtioQueue<Access>
  private var outgoing: VirtioQueue<Access>
  private var sentCount: UInt16 = 0

  /// Bytes for an incoming message: some carry a name.
  private static var incomingByteCount: UInt64 { 64 }
  /// How often to look for an answer: the device may be another thread of a busy host.
  private static var polls: Int { 50_000_000 }

  init(
    access: Access, transport: VirtioTransport<Access>, memory: UInt64,
    incoming: VirtioQueue<Access>, outgoing: VirtioQueue<Access>
  ) {
    self.access = access
    self.transport = transport
    self.memory = memory
    self.incoming = incoming
    self.outgoing = outgoing
    incoming.setInterrupts(false)
    outgoing.setInterrupts(false)
    for slot in 0..<incoming.size {
      incoming.describe(slot: slot, address: incomingAddress(slot), deviceWrites: true)
      outgoing.describe(slot: slot, address: outgoingAddress(slot), deviceWrites: false)
    }
  }

  private func incomingAddress(_ slot: UInt16) -> UInt64 {
    memory + Layout.controlInMessages + UInt64(slot) * Self.incomingByteCount
  }
  private func outgoingAddress(_ slot: UInt16) -> UInt64 {
    memory + Layout.controlOutMessages + UInt64(slot) * UInt64(ControlMessage.byteCount)
  }

  /// Opens the first port that the device names and this driver has queues for.
  ///
  /// - Returns: The port's number, or nil if the device names none in time.
  mutating func openPort() -> UInt16? {
    for slot in 0..<incoming.size {
      incoming.submit(slot: slot, count: Int(Self.incomingByteCount))
    }
    transport.notify(queue: ConsoleQueue.controlIn)
    send(ControlMessage(port: 0, event: ControlMessage.deviceReady, value: 1))
    for _ in 0..<Self.polls {
      guard incoming.hasUsed else {
        if incoming.isBroken { return nil }
        continue
      }
      guard let message = receive() else { continue }
      guard message.event == ControlMessage.deviceAdd, message.port < 2 else { continue }
      send(ControlMessage(port: message.port, event: ControlMessage.portReady, value: 1))
      send(ControlMessage(port: message.port, event: ControlMessage.portOpen, value: 1))
      return UInt16(message.port)
    }
    return nil
  }

  private mutating func send(_ message: ControlMessage) {
    let slot = sentCount
    sentCount += 1  // three in all
    let address = outgoingAddress(slot)
    access.setShared32(address, message.port)
    access.setShared16(address + 4, message.event)
    access.setShared16(address + 6, message.value)
    outgoing.submit(slot: slot, count: ControlMessage.byteCount)
    transport.notify(queue: ConsoleQueue.controlOut)
  }

  private mutating func receive() -> ControlMessage? {
    guard let (slot, count) = incoming.takeUsed(), count >= UInt32(ControlMessage.byteCount) else {
      return nil
    }
    let address = incomingAddress(slot)
    return ControlMessage(
      port: access.shared32(address), event: access.shared16(address + 4),
      value: access.shared16(address + 6))
  }
}
