// SPDX-License-Identifier: Apache-2.0
// NetworkStack+Raw.swift: packets of one protocol as they come, and packets with a payload of the application's own.

/// Names a raw socket of a stack.
public struct RawHandle: Equatable, Sendable {
  let identifier: UInt32
}

/// A packet that came to a raw socket.
public struct RawPacket: Equatable, Sendable {
  /// Who sent it.
  public var source: IPAddress
  /// To which of our addresses, or to which group.
  public var destination: IPAddress
  /// Hops that it had left.
  public var hopLimit: UInt8
  /// Of IPv4 all of the packet, header included; of IPv6 what is behind the header.
  public var bytes: [UInt8]
  /// Where the payload begins in it.
  public var payloadOffset: Int
}

struct RawSocket {
  let handle: RawHandle
  let isVersion6: Bool
  let number: UInt8
  var queue: [RawPacket] = []
  var queuedBytes = 0
  static let limit = 1 << 18
  static let overhead = 96
}

extension NetworkStack {
  /// Opens a raw socket: it gets a copy of each packet of its protocol that is for us.
  ///
  /// - Parameters:
  ///   - number: The protocol above IP.
  ///   - isVersion6: Whether packets of IPv6 are meant.
  /// - Returns: The socket's name.
  public func openRaw(_ number: UInt8, isVersion6: Bool) -> RawHandle {
    let handle = RawHandle(identifier: UInt32(truncatingIfNeeded: random.next()))
    rawSockets.append(RawSocket(handle: handle, isVersion6: isVersion6, number: number))
    return handle
  }

  /// Closes a raw socket; what it has not given out is lost.
  public func close(_ handle: RawHandle) {
    for socket in rawSockets where socket.handle == handle { budget.give(socket.queuedBytes) }
    rawSockets.removeAll { $0.handle == handle }
  }

  /// The next packet that came.
  ///
  /// - Parameters:
  ///   - handle: The socket.
  ///   - keeping: Whether it stays the next one.
  /// - Returns: Nil if there is none.
  public func receive(_ handle: RawHandle, keeping: Bool = false) -> RawPacket? {
    guard let index = rawSockets.firstIndex(where: { $0.handle == handle }), !rawSockets[index].queue.isEmpty else {
      return nil
    }
    if keeping { return rawSockets[index].queue[0] }
    let packet = rawSockets[index].queue.removeFirst()
    let size = packet.bytes.count + RawSocket.overhead
    rawSockets[index].queuedBytes -= size
    budget.give(size)
    return packet
  }

  /// Whether a packet waits in a raw socket.
  public func hasPacket(_ handle: RawHandle) -> Bool {
    rawSockets.first { $0.handle == handle }.map { !$0.queue.isEmpty } ?? false
  }

  /// Sends a packet with a payload of the caller's own.
  ///
  /// - Parameters:
  ///   - payload: What stands behind the IP header; the checksum of ICMP for IPv6 is filled in.
  ///   - number: The protocol above IP.
  ///   - destination: To whom.
  ///   - source: The address that it comes from, if not the one that fits.
  ///   - hopLimit: Hops that it may take.
  ///   - now: The time.
  /// - Throws: `unreachable`, `tooLarge`.
  public func sendRaw(
    _ payload: [UInt8], _ number: UInt8, to destination: IPAddress, from source: IPAddress? = nil, hopLimit: UInt8 = 64,
    _ now: Instant
  ) throws(UDPError) {
    guard let source = source ?? self.source(for: destination) else { throw .unreachable }
    guard payload.count <= datagramLimit(to: destination) else { throw .tooLarge }
    var payload = payload
    if number == IPProtocol.icmpv6.rawValue, payload.count >= 4 {
      payload.set16(0, at: 2)
      payload.set16(Checksum.transport(source, destination, .icmpv6, payload.span), at: 2)
    }
    let bytes = payload
    let wasSent = send(
      IPProtocol(rawValue: number), from: source, to: destination, hopLimit: hopLimit, length: bytes.count, now
    ) { $0.append(contentsOf: bytes) }
    if !wasSent { throw .unreachable }
  }

  /// Gives raw sockets their copies.
  ///
  /// - Returns: Whether somebody wanted it.
  @discardableResult
  func copyToRaw(
    _ number: IPProtocol, from source: IPAddress, to destination: IPAddress, hopLimit: UInt8, _ bytes: Span<UInt8>,
    payloadOffset: Int
  ) -> Bool {
    guard !rawSockets.isEmpty else { return false }
    let isVersion6: Bool
    if case .v6 = destination { isVersion6 = true } else { isVersion6 = false }
    var wasTaken = false
    for index in rawSockets.indices
    where rawSockets[index].number == number.rawValue && rawSockets[index].isVersion6 == isVersion6 {
      wasTaken = true
      let size = bytes.count + RawSocket.overhead
      guard rawSockets[index].queuedBytes + size <= RawSocket.limit, budget.take(size) else {
        statistics.overflows += 1
        continue
      }
      rawSockets[index].queuedBytes += size
      rawSockets[index].queue.append(
        RawPacket(
          source: source, destination: destination, hopLimit: hopLimit, bytes: bytes.array,
          payloadOffset: payloadOffset))
      notice(.packet(rawSockets[index].handle))
    }
    return wasTaken
  }
}
