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
  /// What it says.
  public var bytes: [UInt8]
}

struct DatagramSocket {
  let handle: UDPHandle
  let port: UInt16
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
  /// - Parameter port: The local port; 0 for one that nobody can guess.
  /// - Returns: The socket's name.
  /// - Throws: `inUse`.
  public func openUDP(port: UInt16) throws(UDPError) -> UDPHandle {
    var port = port
    if port == 0 {
      // RFC 6056, 3.3.1.
      for _ in 0..<256 where port == 0 {
        let candidate = UInt16(49_152 + random.next(below: 16_384))
        if !datagramSockets.contains(where: { $0.port == candidate }) { port = candidate }
      }
    }
    if port == 0 || datagramSockets.contains(where: { $0.port == port }) { throw .inUse }
    guard claim(PortClaim(.udp, port)) else { throw .inUse }
    let handle = UDPHandle(identifier: UInt32(truncatingIfNeeded: random.next()))
    datagramSockets.append(DatagramSocket(handle: handle, port: port))
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
  ///   - now: The time.
  /// - Throws: `notOpen`, `unreachable`, `tooLarge`.
  public func send(
    _ bytes: Span<UInt8>, by handle: UDPHandle, to destination: Endpoint, from source: IPAddress? = nil, _ now: Instant
  ) throws(UDPError) {
    guard let socket = datagramSockets.first(where: { $0.handle == handle }) else { throw .notOpen }
    guard let source = source ?? self.source(for: destination.address) else { throw .unreachable }
    let overhead: Int
    if case .v4 = destination.address { overhead = IPv4Header.byteCount } else { overhead = IPv6Header.byteCount }
    let length = UDPHeader.byteCount + bytes.count
    guard overhead + length <= configuration.maximumPacket else { throw .tooLarge }
    let header = UDPHeader(
      sourcePort: socket.port, destinationPort: destination.port, payloadLength: bytes.count)
    let wasSent = send(.udp, from: source, to: destination.address, length: length, now) {
      header.append(to: &$0, from: source, to: destination.address, bytes)
    }
    if !wasSent { throw .unreachable }
  }

  /// The next datagram that came; nil if there is none.
  public func receive(_ handle: UDPHandle) -> Datagram? {
    guard let index = datagramSockets.firstIndex(where: { $0.handle == handle }),
      !datagramSockets[index].queue.isEmpty
    else { return nil }
    let datagram = datagramSockets[index].queue.removeFirst()
    let size = datagram.bytes.count + DatagramSocket.overhead
    datagramSockets[index].queuedBytes -= size
    budget.give(size)
    return datagram
  }

  /// A datagram arrived.
  ///
  /// - Returns: Whether somebody has its port; a wrong one counts as taken.
  func receiveUDP(_ payload: Span<UInt8>, from source: IPAddress, to destination: IPAddress) -> Bool {
    let header: UDPHeader
    do throws(WireError) { header = try UDPHeader(parsing: payload, from: source, to: destination) } catch {
      count(error)
      return true
    }
    guard let index = datagramSockets.firstIndex(where: { $0.port == header.destinationPort }) else {
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
        source: Endpoint(source, header.sourcePort), destination: destination,
        bytes: payload.extracting(header.payload).array))
    return true
  }
}
