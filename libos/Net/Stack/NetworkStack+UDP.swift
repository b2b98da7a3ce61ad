// SPDX-License-Identifier: Apache-2.0
// NetworkStack+UDP.swift: datagram sockets.

/// Names a datagram socket of a stack.
public struct UDPHandle: Equatable, Sendable {
  let identifier: UInt32
}

/// A datagram that came.
public struct Datagram: Equatable, Sendable {
  /// Who sent it.
  public var source: Endpoint
  /// To which of our addresses, or to which group.
  public var destination: IPAddress
  /// Hops that it had left.
  public var hopLimit: UInt8
  /// What it says.
  public var bytes: [UInt8]
}

struct DatagramSocket {
  let handle: UDPHandle
  let port: UInt16
  let scope: AddressScope
  /// The only one whose datagrams are taken; nil: everybody.
  var peer: Endpoint?
  /// What another host has said about a datagram of ours: nobody is there.
  var wasRefused = false
  var queue: [Datagram] = []
  var queuedBytes = 0
  static let limit = 1 << 18
  static let overhead = 64
}

/// Why a datagram was not sent.
public enum UDPError: Error, Equatable, Sendable {
  /// There is no such socket.
  case notOpen
  /// The port is in use, or none is free.
  case inUse
  /// There is no way to the destination.
  case unreachable
  /// It is larger than the link takes in one packet.
  case tooLarge
}

extension NetworkStack {
  /// Opens a socket.
  ///
  /// - Parameters:
  ///   - port: The local port; 0 for one that nobody can guess.
  ///   - scope: On which of our addresses.
  ///   - isShared: Whether other sockets may have the same port and scope: the last one gets what comes.
  /// - Returns: The socket's name.
  /// - Throws: `inUse`.
  public func openUDP(
    port: UInt16, scope: AddressScope = .all, isShared: Bool = false
  ) throws(UDPError) -> UDPHandle {
    var port = port
    if port == 0 {
      // RFC 6056, 3.3.1.
      for _ in 0..<256 where port == 0 {
        let candidate = UInt16(49_152 + random.next(below: 16_384))
        if !datagramSockets.contains(where: { $0.port == candidate }) { port = candidate }
      }
    }
    let isTaken = !isShared && datagramSockets.contains { $0.port == port && $0.scope.overlaps(scope) }
    if port == 0 || isTaken { throw .inUse }
    guard claim(PortClaim(.udp, port)) else { throw .inUse }
    let handle = UDPHandle(identifier: UInt32(truncatingIfNeeded: random.next()))
    datagramSockets.append(DatagramSocket(handle: handle, port: port, scope: scope))
    return handle
  }

  /// The local port of a socket; 0 if there is no such socket.
  public func port(of handle: UDPHandle) -> UInt16 { datagramSockets.first { $0.handle == handle }?.port ?? 0 }

  /// Closes a socket; what it has not given out is lost.
  public func close(_ handle: UDPHandle) {
    for socket in datagramSockets where socket.handle == handle {
      budget.give(socket.queuedBytes)
      claims?.release(PortClaim(.udp, socket.port))
    }
    datagramSockets.removeAll { $0.handle == handle }
  }

  /// Sends a datagram.
  ///
  /// - Parameters:
  ///   - bytes: What it says.
  ///   - handle: The socket.
  ///   - destination: To whom.
  ///   - source: The address that it comes from, if not the one that fits.
  ///   - hopLimit: Hops that it may take.
  ///   - now: The time.
  /// - Throws: `notOpen`, `unreachable`, `tooLarge`.
  public func send(
    _ bytes: Span<UInt8>, by handle: UDPHandle, to destination: Endpoint, from source: IPAddress? = nil,
    hopLimit: UInt8 = 64, _ now: Instant
  ) throws(UDPError) {
    guard let socket = datagramSockets.first(where: { $0.handle == handle }) else { throw .notOpen }
    guard let source = source ?? self.source(for: destination.address) else { throw .unreachable }
    let length = UDPHeader.byteCount + bytes.count
    guard length <= datagramLimit(to: destination.address) else { throw .tooLarge }
    let header = UDPHeader(
      sourcePort: socket.port, destinationPort: destination.port, payloadLength: bytes.count)
    let wasSent = send(.udp, from: source, to: destination.address, hopLimit: hopLimit, length: length, now) {
      header.append(to: &$0, from: source, to: destination.address, bytes)
    }
    if !wasSent { throw .unreachable }
  }

  /// Takes datagrams of one sender only, or of everybody again; others' that wait are dropped.
  ///
  /// - Parameters:
  ///   - handle: The socket.
  ///   - peer: The sender; nil: everybody.
  public func setPeer(_ handle: UDPHandle, _ peer: Endpoint?) {
    guard let index = datagramSockets.firstIndex(where: { $0.handle == handle }) else { return }
    datagramSockets[index].peer = peer
    guard let peer else { return }
    let others = datagramSockets[index].queue.filter { $0.source != peer }
    datagramSockets[index].queue.removeAll { $0.source != peer }
    for datagram in others {
      datagramSockets[index].queuedBytes -= datagram.bytes.count + DatagramSocket.overhead
      budget.give(datagram.bytes.count + DatagramSocket.overhead)
    }
  }

  /// Whether the peer has said that nobody has its port, since the last time.
  public func takeRefusal(_ handle: UDPHandle) -> Bool {
    guard let index = datagramSockets.firstIndex(where: { $0.handle == handle }) else { return false }
    defer { datagramSockets[index].wasRefused = false }
    return datagramSockets[index].wasRefused
  }

  /// An error about a datagram of ours came: a socket with a peer is told (RFC 1122, 4.1.3.3).
  func datagramWasRefused(_ local: Endpoint, _ remote: Endpoint) {
    for index in datagramSockets.indices
    where datagramSockets[index].port == local.port && datagramSockets[index].peer == remote {
      datagramSockets[index].wasRefused = true
      notice(.datagram(datagramSockets[index].handle))
    }
  }

  /// How many bytes wait in a socket: those of the next datagram; nil if there is none.
  public func nextCount(_ handle: UDPHandle) -> Int? {
    datagramSockets.first { $0.handle == handle }?.queue.first?.bytes.count
  }

  /// The next datagram that came.
  ///
  /// - Parameters:
  ///   - handle: The socket.
  ///   - keeping: Whether it stays the next one.
  /// - Returns: Nil if there is none.
  public func receive(_ handle: UDPHandle, keeping: Bool = false) -> Datagram? {
    guard let index = datagramSockets.firstIndex(where: { $0.handle == handle }),
      !datagramSockets[index].queue.isEmpty
    else { return nil }
    if keeping { return datagramSockets[index].queue[0] }
    let datagram = datagramSockets[index].queue.removeFirst()
    let size = datagram.bytes.count + DatagramSocket.overhead
    datagramSockets[index].queuedBytes -= size
    budget.give(size)
    return datagram
  }

  /// A datagram arrived.
  ///
  /// - Returns: Whether somebody has its port; a wrong one counts as taken.
  func receiveUDP(
    _ payload: Span<UInt8>, from source: IPAddress, to destination: IPAddress, hopLimit: UInt8
  ) -> Bool {
    let header: UDPHeader
    do throws(WireError) { header = try UDPHeader(parsing: payload, from: source, to: destination) } catch {
      count(error)
      return true
    }
    let sender = Endpoint(source, header.sourcePort)
    guard let index = datagramSocket(at: Endpoint(destination, header.destinationPort), from: sender) else {
      statistics.unwanted += 1
      return false
    }
    let size = header.payloadLength + DatagramSocket.overhead
    guard datagramSockets[index].queuedBytes + size <= DatagramSocket.limit, budget.take(size) else {
      statistics.overflows += 1
      return true
    }
    datagramSockets[index].queuedBytes += size
    datagramSockets[index].queue.append(
      Datagram(
        source: sender, destination: destination, hopLimit: hopLimit,
        bytes: payload.extracting(header.payload).array))
    notice(.datagram(datagramSockets[index].handle))
    return true
  }

  /// The socket that a datagram is for: one that has its sender as peer goes before one for the address, and that before
  /// one for all.
  private func datagramSocket(at local: Endpoint, from remote: Endpoint) -> Int? {
    var best: (score: Int, index: Int)?
    for index in datagramSockets.indices {
      let socket = datagramSockets[index]
      guard socket.port == local.port, socket.scope.covers(local.address), socket.peer == nil || socket.peer == remote
      else { continue }
      let score = (socket.peer == nil ? 0 : 2) + (socket.scope.address == nil ? 0 : 1)
      if score >= best?.score ?? 0 { best = (score, index) }
    }
    return best?.index
  }
}
