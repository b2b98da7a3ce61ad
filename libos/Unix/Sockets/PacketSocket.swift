// SPDX-License-Identifier: Apache-2.0
// PacketSocket.swift: packets of one protocol with a payload of the program's own (raw(7)), and echoes (icmp(7)).

import ApusNet
import ApusRuntime

/// A socket of the type SOCK_RAW; or of the type SOCK_DGRAM and the protocol ICMP, which sends echo requests and gets
/// their replies: the port is their identifier.
public final class PacketSocket: InternetSocket {
  private let handle: RawHandle
  private var remote: IPAddress?
  /// ICMP_FILTER and ICMP6_FILTER: types that are not given to it.
  private var blocked = [UInt32](repeating: 0, count: 8)
  private var checksumOffset: Int32 = -1

  override init(
    _ network: Network, _ node: Inode, _ family: SocketFamily, _ type: SocketType, _ number: Int, _ flags: OpenFlags
  ) {
    handle = network.stack.openRaw(UInt8(truncatingIfNeeded: number), isVersion6: family == .internet6)
    super.init(network, node, family, type, number, flags)
    network.enter(self)
  }

  func owns(_ other: RawHandle) -> Bool { handle == other }
  private var isEcho: Bool { type == .datagram }

  public override func takePort(_ port: UInt16) throws(Errno) {
    if isEcho { try super.takePort(port) } else { local.port = 0 }
  }

  public override func peerName() throws(Errno) -> SocketAddress {
    guard let remote else { throw .ENOTCONN }
    return shown(Endpoint(remote, 0))
  }

  public override func connect(_ address: SocketAddress, _ caller: SocketCaller) throws(Errno) {
    if address == .unspecified {
      remote = nil
      return
    }
    let target = try destination(address)
    guard let source = ownAddress ?? stack.localAddress(for: target.address) else { throw .ENETUNREACH }
    try bindIfNeeded()
    remote = target.address
    local = Endpoint(source, local.port)
  }

  public override func send(_ bytes: Bytes, _ message: OutgoingMessage) throws(Errno) -> Int {
    let target: IPAddress
    if let named = message.destination, named != .unspecified {
      target = try destination(named).address
    } else if let remote {
      target = remote
    } else {
      throw .EDESTADDRREQ
    }
    try bindIfNeeded()
    guard bytes.count <= 65_515 else { throw .EMSGSIZE }
    var payload = bytes.array
    if isEcho {
      // Echo requests only; identifier and checksum are the system's.
      guard payload.count >= 8, payload[0] == (family == .internet ? 8 : 128), payload[1] == 0 else { throw .EINVAL }
      payload[4] = UInt8(local.port >> 8)
      payload[5] = UInt8(local.port & 0xff)
      if family == .internet { Self.seal(&payload) }
    }
    do throws(UDPError) {
      try stack.sendRaw(
        payload, UInt8(truncatingIfNeeded: protocolNumber), to: target, from: ownAddress, hopLimit: hopLimit,
        network.now)
    } catch { throw errno(error) }
    network.pump()
    return bytes.count
  }

  /// Fills in the checksum of a message of ICMP (RFC 1071).
  private static func seal(_ payload: inout [UInt8]) {
    payload[2] = 0
    payload[3] = 0
    var sum: UInt64 = 0
    for index in payload.indices { sum += UInt64(payload[index]) << (index & 1 == 0 ? 8 : 0) }
    while sum > 0xffff { sum = sum >> 16 + sum & 0xffff }
    payload[2] = UInt8(~sum >> 8 & 0xff)
    payload[3] = UInt8(~sum & 0xff)
  }

  /// Drops what is not for it, up to the first packet that is.
  private func findNext() -> RawPacket? {
    while let packet = stack.receive(handle, keeping: true) {
      if isWanted(packet) { return packet }
      _ = stack.receive(handle)
    }
    return nil
  }

  private func isWanted(_ packet: RawPacket) -> Bool {
    if let remote, packet.source != remote { return false }
    if let own = ownAddress, packet.destination != own { return false }
    let bytes = packet.bytes
    let start = packet.payloadOffset
    guard protocolNumber == 1 || protocolNumber == 58 else { return true }
    guard bytes.count >= start + 8 else { return !isEcho }
    let type = bytes[start]
    if isEcho {
      let identifier = UInt16(bytes[start + 4]) << 8 | UInt16(bytes[start + 5])
      return type == (family == .internet ? 0 : 129) && identifier == local.port
    }
    return blocked[Int(type >> 5)] & 1 << UInt32(type & 31) == 0
  }

  public override func receive(_ into: Bytes, _ flags: MessageFlags) throws(Errno) -> IncomingMessage {
    network.pumpArrivals()
    if let error = takeError() { throw error }
    guard let packet = findNext() else { throw .EAGAIN }
    if !flags.contains(.peek) { _ = stack.receive(handle) }
    let bytes = isEcho ? [UInt8](packet.bytes[packet.payloadOffset...]) : packet.bytes
    var result = IncomingMessage()
    result.fullCount = bytes.count
    result.count = min(into.count, bytes.count)
    into.copy([UInt8](bytes.prefix(result.count)))
    if result.count < result.fullCount { result.flags = .truncated }
    result.source = shown(Endpoint(packet.source, 0))
    if showsDestination { result.destination = .internet(Endpoint(packet.destination, 0)) }
    if showsHopLimit { result.hopLimit = packet.hopLimit }
    return result
  }

  public override func shutdown(reads: Bool, writes: Bool) throws(Errno) {
    guard remote != nil else { throw .ENOTCONN }
  }

  public override func close() {
    stack.close(handle)
    network.leave(self)
    network.unclaim(self)
  }

  public override func poll() -> PollEvents {
    network.pumpArrivals()
    return findNext() == nil ? .writable : PollEvents.writable.union(.readable)
  }

  public override var readableByteCount: Int? { findNext()?.bytes.count ?? 0 }

  public override func option(_ level: Int, _ option: Int) throws(Errno) -> Int32 {
    // IPV6_CHECKSUM, which ICMP always has.
    if level == 41 && option == 7 || level == 255 && option == 7 { return checksumOffset }
    return try super.option(level, option)
  }

  public override func setOption(_ level: Int, _ option: Int, _ value: Int32) throws(Errno) {
    switch (level, option) {
    case (255, 1) where protocolNumber == 1: blocked[0] = UInt32(bitPattern: value)
    case (41, 7), (255, 7): checksumOffset = value
    default: try super.setOption(level, option, value)
    }
  }

  /// Sets ICMP6_FILTER.
  ///
  /// - Parameter words: Eight words with a bit for each type that is not wanted.
  public func setFilter(_ words: [UInt32]) { if words.count == blocked.count { blocked = words } }
}
