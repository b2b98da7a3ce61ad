// SPDX-License-Identifier: Apache-2.0
// VirtioNet.swift: the virtio network card: one queue for each direction (virtio 1.2, 5.1).
//
// Nothing waits here and nothing is copied: a received packet is read where the device put it and its buffer given
// back; a packet to send is a header, written into a buffer of the driver's, and parts that lie in anybody's memory,
// which the caller keeps in place until the device has given the slot back. Offloads are not agreed upon, so packets
// are plain Ethernet frames.

/// A packet that has arrived.
public struct ReceivedPacket: Equatable {
  /// Physical address of its first byte.
  public let address: UInt64
  /// Bytes from the Ethernet header on; the device's claim, within the buffer.
  public let count: Int
  /// Its buffer, to be given back.
  public let slot: UInt16
}

/// A network card that has been found and does not work yet.
public struct VirtioNetCard<Access: DeviceAccess> {
  let access: Access
  var transport: VirtioTransport<Access>

  /// Looks for a card; nil if there is none.
  ///
  /// - Parameters:
  ///   - access: Access to the machine.
  ///   - interrupt: Where the card's interrupts go.
  ///   - commandLine: The character at a position of the kernel's command line; 0 at its end.
  public init?(access: Access, interrupt: InterruptTarget, commandLine: (Int) -> UInt8) {
    guard
      let found = VirtioTransport.find(
        access: access, device: 1, transitional: 0x1000, interrupt: interrupt, commandLine: commandLine)
    else { return nil }
    self.access = access
    transport = found
  }
}

/// What the memory given to the driver is used for.
private enum Layout {
  static var receiveQueue: UInt64 { 0 }
  static var transmitQueue: UInt64 { 2 * 4096 }
  static var headers: UInt64 { 4 * 4096 }
  static var headerStride: UInt64 { 256 }
  static var buffers: UInt64 { 8 * 4096 }
  static var bufferStride: UInt64 { 2048 }
}

/// A network card at work.
public struct VirtioNet<Access: DeviceAccess> {
  /// How many contiguous frames the driver needs.
  public static var frameCount: Int { 8 + 128 }
  /// How many packets can be on their way out.
  public static var transmitSlots: UInt16 { 64 }
  /// The most bytes of a packet's header.
  public static var headerLimit: Int { 128 }
  /// The most parts behind it.
  public static var runLimit: UInt16 { 3 }

  private static var receiveIndex: UInt16 { 0 }
  private static var transmitIndex: UInt16 { 1 }
  /// What stands before each packet (virtio 1.2, 5.1.6), and where its header begins in its place.
  private static var prefixByteCount: UInt64 { 12 }
  private static var headerOffset: UInt64 { 16 }
  private static var ownAddress: UInt32 { 1 << 5 }  // VIRTIO_NET_F_MAC

  private let memory: UInt64
  private let transport: VirtioTransport<Access>
  private var receive: VirtioQueue<Access>
  private var transmit: VirtioQueue<Access>
  /// The card's Ethernet address, its first byte in the lowest bits; 0 if it has none.
  public let address: UInt64
  /// The device broke the rules and was switched off.
  public private(set) var isBroken = false
  /// It has been told to forget everything, and obeyed.
  private var isReset = false

  /// Brings a card to life, with all receive buffers given to it; nil if this driver cannot drive it.
  ///
  /// - Parameters:
  ///   - card: The card.
  ///   - memory: Physical address of `frameCount` contiguous zeroed frames, the driver's for good.
  public init?(_ card: VirtioNetCard<Access>, memory: UInt64) {
    var transport = card.transport
    guard let features = transport.negotiate(optional: Self.ownAddress) else { return nil }
    self.memory = memory
    receive = VirtioQueue(
      memory: card.access, physical: memory + Layout.receiveQueue, size: VirtioQueue<Access>.sizeLimit)
    let perSlot = Self.runLimit + 1
    transmit = VirtioQueue(
      memory: card.access, physical: memory + Layout.transmitQueue, size: Self.transmitSlots * perSlot,
      descriptorsPerSlot: perSlot)
    guard transport.start(queue: Self.receiveIndex, receive), transport.start(queue: Self.transmitIndex, transmit)
    else {
      _ = transport.reset()
      return nil
    }
    var address: UInt64 = 0
    if features & Self.ownAddress != 0 {
      for index in 0..<UInt64(6) { address |= UInt64(transport.configuration8(index)) << (8 * index) }
    }
    self.address = address
    transport.run()
    for slot in 0..<receive.size {
      receive.describe(slot: slot, address: Self.buffer(memory, slot), deviceWrites: true)
      receive.submit(slot: slot, count: Int(Layout.bufferStride))
    }
    transport.notify(queue: Self.receiveIndex)
    self.transport = transport
  }

  private static func buffer(_ memory: UInt64, _ slot: UInt16) -> UInt64 {
    memory + Layout.buffers + UInt64(slot) * Layout.bufferStride
  }

  /// A device that lies is switched off: it must not write into memory on a pretext.
  private mutating func checkHealth() {
    guard !isBroken, receive.isBroken || transmit.isBroken else { return }
    switchOff()
  }

  private mutating func switchOff() {
    isBroken = true
    isReset = transport.reset()
  }

  // MARK: Receiving

  /// Whether anything has arrived or left.
  public var hasWork: Bool { !isBroken && (receive.hasUsed || transmit.hasUsed) }

  /// The packet that arrived first, to be given back soon.
  public mutating func takeReceived() -> ReceivedPacket? {
    guard !isBroken else { return nil }
    guard let (slot, count) = receive.takeUsed() else {
      checkHealth()
      return nil
    }
    guard count >= UInt32(Self.prefixByteCount), count <= UInt32(Layout.bufferStride) else {
      switchOff()
      return nil
    }
    return ReceivedPacket(
      address: Self.buffer(memory, slot) + Self.prefixByteCount, count: Int(count) - Int(Self.prefixByteCount),
      slot: slot)
  }

  /// Gives a packet's buffer back; the device need not look at it before `announceBuffers`.
  public mutating func giveBack(_ packet: ReceivedPacket) {
    guard !isBroken, !receive.isInFlight(packet.slot) else { return }
    receive.submit(slot: packet.slot, count: Int(Layout.bufferStride))
  }

  /// Tells the device of buffers that were given back, if it wants to know.
  public func announceBuffers() {
    if !isBroken, receive.wantsNotification { transport.notify(queue: Self.receiveIndex) }
  }

  // MARK: Sending

  /// A slot for a packet, if the device has not got them all.
  public var vacantTransmitSlot: UInt16? { isBroken ? nil : transmit.vacantSlot }

  /// How many packets are on their way out.
  public var transmitting: UInt16 { transmit.inFlightCount }

  /// Physical address of `headerLimit` bytes for a slot's header.
  public func headerAddress(_ slot: UInt16) -> UInt64 {
    memory + Layout.headers + UInt64(slot) * Layout.headerStride + Self.headerOffset
  }

  /// Says where a part of a slot's packet lies, behind the header and the parts before.
  ///
  /// - Parameters:
  ///   - slot: The slot.
  ///   - index: The part's number, from 0, below `runLimit`.
  ///   - address: Physical address of memory that stays in place until the slot has come back.
  ///   - count: How many bytes.
  ///   - isLast: Whether no part follows.
  public func setRun(_ slot: UInt16, _ index: UInt16, address: UInt64, count: UInt32, isLast: Bool) {
    transmit.describe(slot: slot, part: index + 1, address: address, count: count, isLast: isLast)
  }

  /// Sends the packet of a vacant slot; the device need not look at it before `announceTransmissions`.
  ///
  /// - Parameters:
  ///   - slot: The slot.
  ///   - headerCount: Bytes at `headerAddress`.
  ///   - hasRuns: Whether parts follow.
  public mutating func send(_ slot: UInt16, headerCount: Int, hasRuns: Bool) {
    guard !isBroken, !transmit.isInFlight(slot) else { return }
    transmit.describe(
      slot: slot, part: 0, address: headerAddress(slot) - Self.prefixByteCount,
      count: UInt32(Self.prefixByteCount) + UInt32(headerCount), isLast: !hasRuns)
    transmit.submit(slot: slot)
  }

  /// Tells the device of packets to send, if it wants to know.
  public func announceTransmissions() {
    if !isBroken, transmit.wantsNotification { transport.notify(queue: Self.transmitIndex) }
  }

  /// A slot whose memory the device is done with: the packet has left, or the device was switched off.
  public mutating func takeTransmitted() -> UInt16? {
    if isBroken { return isReset ? transmit.takeAbandoned() : nil }
    let slot = transmit.takeUsed()?.slot
    checkHealth()
    return slot
  }

  // MARK: Interrupts

  /// Says whether arriving and departing packets shall interrupt (a wish, not a command).
  public func setInterrupts(_ wanted: Bool) {
    guard !isBroken else { return }
    receive.setInterrupts(wanted)
    transmit.setInterrupts(wanted)
  }

  /// Answers the device's interrupt; to be called before the local APIC is told that the interrupt ended.
  public func acknowledgeInterrupt() {
    if !isBroken { transport.acknowledgeInterrupt() }
  }
}
