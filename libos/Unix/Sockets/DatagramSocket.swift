// SPDX-License-Identifier: Apache-2.0
// DatagramSocket.swift: UDP as programs call it (udp(7)).

import ApusNet
import ApusRuntime

/// A socket of the type SOCK_DGRAM on a network.
public final class DatagramSocket: InternetSocket {
  private var handle: UDPHandle?
  private var remote: Endpoint?
  private var isReadShut = false
  private var isWriteShut = false

  init(_ network: Network, _ node: Inode, _ family: SocketFamily, _ flags: OpenFlags) {
    super.init(network, node, family, .datagram, 17, flags)
    network.enter(self)
  }

  func owns(_ other: UDPHandle) -> Bool { handle == other }

  public override func takePort(_ port: UInt16) throws(Errno) {
    try super.takePort(port)
    do throws(UDPError) {
      handle = try stack.openUDP(port: local.port, scope: scope, isShared: true)
    } catch {
      network.unclaim(self)
      throw .EADDRINUSE
    }
  }

  public override func peerName() throws(Errno) -> SocketAddress {
    guard let remote else { throw .ENOTCONN }
    return shown(remote)
  }

  public override func connect(_ address: SocketAddress, _ caller: SocketCaller) throws(Errno) {
    if address == .unspecified {
      remote = nil
      if let handle { stack.setPeer(handle, nil) }
      return
    }
    let target = try destination(address)
    guard let source = ownAddress ?? stack.localAddress(for: target.address) else { throw .ENETUNREACH }
    try bindIfNeeded()
    if let handle { stack.setPeer(handle, target) }
    remote = target
    // From now on it has the address that its packets come from.
    local = Endpoint(source, local.port)
  }

  public override func send(_ bytes: Bytes, _ message: OutgoingMessage) throws(Errno) -> Int {
    if message.flags.contains(.urgent) { throw .EOPNOTSUPP }
    if isWriteShut { throw .EPIPE }
    noteRefusal()
    if let error = takeError() { throw error }
    let target: Endpoint
    if let named = message.destination, named != .unspecified {
      target = try destination(named)
    } else if let remote {
      target = remote
    } else {
      throw .EDESTADDRREQ
    }
    guard target.port != 0 else { throw .EINVAL }
    guard bytes.count <= 65_507 else { throw .EMSGSIZE }
    if case .v4(let address) = target.address, address.bits == .max, !settings.mayBroadcast { throw .EACCES }
    try bindIfNeeded()
    guard let handle else { throw .EINVAL }
    let source = ownAddress
    let result: Result<Bool, UDPError> = bytes.withSpan { span in
      do throws(UDPError) {
        try self.stack.send(
          span, by: handle, to: target, from: source, hopLimit: self.hopLimit, self.network.now)
        return .success(true)
      } catch {
        return .failure(error)
      }
    }
    if case .failure(let error) = result { throw errno(error) }
    network.pump()
    return bytes.count
  }

  public override func receive(_ into: Bytes, _ flags: MessageFlags) throws(Errno) -> IncomingMessage {
    if flags.contains(.urgent) { throw .EOPNOTSUPP }
    network.pumpArrivals()
    noteRefusal()
    if let error = takeError() { throw error }
    guard let handle, let datagram = stack.receive(handle, keeping: flags.contains(.peek)) else {
      if isReadShut { return IncomingMessage() }
      throw .EAGAIN
    }
    var result = IncomingMessage()
    result.fullCount = datagram.bytes.count
    result.count = min(into.count, datagram.bytes.count)
    if result.count < result.fullCount {
      into.copy([UInt8](datagram.bytes.prefix(result.count)))
      result.flags = .truncated
    } else {
      into.copy(datagram.bytes)
    }
    result.source = shown(datagram.source)
    if showsDestination { result.destination = .internet(Endpoint(datagram.destination, 0)) }
    if showsHopLimit { result.hopLimit = datagram.hopLimit }
    return result
  }

  private func noteRefusal() {
    if let handle, stack.takeRefusal(handle), pendingError == nil { pendingError = .ECONNREFUSED }
  }

  public override func shutdown(reads: Bool, writes: Bool) throws(Errno) {
    guard remote != nil else { throw .ENOTCONN }
    if reads { isReadShut = true }
    if writes { isWriteShut = true }
    wakeAll()
  }

  public override func close() {
    if let handle { stack.close(handle) }
    handle = nil
    network.leave(self)
    network.unclaim(self)
  }

  public override func poll() -> PollEvents {
    network.pumpArrivals()
    noteRefusal()
    var events = PollEvents.writable.rawValue
    if pendingError != nil { events |= PollEvents.error.rawValue }
    if handle.flatMap({ stack.nextCount($0) }) != nil || isReadShut { events |= PollEvents.readable.rawValue }
    if isReadShut { events |= PollEvents.peerFinished.rawValue }
    if isReadShut && isWriteShut { events |= PollEvents.hangup.rawValue }
    return PollEvents(rawValue: events)
  }

  public override var readableByteCount: Int? {
    network.pumpArrivals()
    return handle.flatMap { stack.nextCount($0) } ?? 0
  }
}
