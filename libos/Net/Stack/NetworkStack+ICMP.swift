// SPDX-License-Identifier: Apache-2.0
// NetworkStack+ICMP.swift: echoes, errors to others, and errors of others (RFC 1122, 3.2.2).

/// The answer to an echo that was asked for.
public struct EchoReply: Equatable, Sendable {
  /// Who answered.
  public var source: IPAddress
  /// As asked.
  public var identifier: UInt16
  /// As asked.
  public var sequence: UInt16
}

/// What a path was found to take (RFC 1191, 6.3: for ten minutes).
struct PathLimit {
  var destination: IPAddress
  var limit: Int
  var expires: Instant
}

extension NetworkStack {
  /// The shortest packet that we let a router talk us into: below it lies only attack (RFC 1191 says 68).
  private static let smallestPath = 552
  private static let pathMemory = TimeSpan.seconds(600)

  func receiveICMPv4(_ payload: Span<UInt8>, _ header: IPv4Header, _ now: Instant) {
    let message: ICMPv4Message
    do throws(WireError) { message = try ICMPv4Message(parsing: payload) } catch { return count(error) }
    let data = payload.extracting(ICMPv4Message.headerLength..<payload.count)
    switch message {
    case .echoRequest(let identifier, let sequence):
      // An echo to everybody is answered by nobody, or everybody would answer at once (RFC 1122, 3.2.2.6).
      guard header.destination == ipv4?.address || header.destination.isLoopback else { return }
      send(.icmp, from: .v4(header.destination), to: .v4(header.source), length: payload.count, now) { packet in
        ICMPv4Message.echoReply(identifier: identifier, sequence: sequence).append(to: &packet, data)
      }
    case .echoReply(let identifier, let sequence):
      noteEcho(EchoReply(source: .v4(header.source), identifier: identifier, sequence: sequence))
    case .fragmentationNeeded(let limit):
      guard let quoted = quotedSegment(data) else { return }
      pathWasTooSmall(quoted, Int(limit), overhead: IPv4Header.byteCount + TCPHeader.byteCount, now)
    case .unreachable(let code):
      guard let quoted = quotedSegment(data) else {
        if code == ICMPv4Message.portUnreachable, let ends = quotedDatagram(data) {
          datagramWasRefused(ends.local, ends.remote)
        }
        return
      }
      destinationIsUnreachable(quoted, isRefusal: code == 2 || code == 3, now)
    case .timeExceeded: break
    }
  }

  /// The ends and the sequence number of a segment of ours that an error quotes.
  private func quotedSegment(_ data: Span<UInt8>) -> (local: Endpoint, remote: Endpoint, sequence: SequenceNumber)? {
    // All of the header and eight bytes behind it is what there has to be (RFC 792); lengths may have been cut.
    guard data.count >= IPv4Header.byteCount + 8, data[0] >> 4 == 4, data[9] == IPProtocol.tcp.rawValue else {
      return nil
    }
    let length = Int(data[0] & 0xf) * 4
    guard length >= IPv4Header.byteCount, data.count >= length + 8 else { return nil }
    return (
      Endpoint(.v4(IPv4Address(data.big32(12))), data.big16(length)),
      Endpoint(.v4(IPv4Address(data.big32(16))), data.big16(length + 2)), SequenceNumber(data.big32(length + 4))
    )
  }

  /// The ends of a datagram of ours that an error quotes.
  private func quotedDatagram(_ data: Span<UInt8>) -> (local: Endpoint, remote: Endpoint)? {
    guard data.count >= IPv4Header.byteCount + 4, data[0] >> 4 == 4, data[9] == IPProtocol.udp.rawValue else {
      return nil
    }
    let length = Int(data[0] & 0xf) * 4
    guard length >= IPv4Header.byteCount, data.count >= length + 4 else { return nil }
    return (
      Endpoint(.v4(IPv4Address(data.big32(12))), data.big16(length)),
      Endpoint(.v4(IPv4Address(data.big32(16))), data.big16(length + 2))
    )
  }

  func pathWasTooSmall(
    _ quoted: (local: Endpoint, remote: Endpoint, sequence: SequenceNumber), _ limit: Int, overhead: Int, _ now: Instant
  ) {
    guard let handle = connections.find(quoted.local, quoted.remote), let connection = connections[handle] else {
      return
    }
    // Routers from before RFC 1191 say 0.
    let limit = max(limit, Self.smallestPath)
    guard limit < configuration.maximumPacket, quoted.sequence >= connection.sendUnacknowledged,
      quoted.sequence < connection.sendNext
    else { return }
    pathLimits.removeAll { $0.destination == quoted.remote.address || $0.expires <= now }
    if pathLimits.count >= 64 { pathLimits.removeFirst() }
    pathLimits.append(PathLimit(destination: quoted.remote.address, limit: limit, expires: now + Self.pathMemory))
    connection.pathTakes(limit - overhead, quoted: quoted.sequence, now)
    serve(handle, now)
  }

  func destinationIsUnreachable(
    _ quoted: (local: Endpoint, remote: Endpoint, sequence: SequenceNumber), isRefusal: Bool, _ now: Instant
  ) {
    guard let handle = connections.find(quoted.local, quoted.remote), let connection = connections[handle] else {
      return
    }
    connection.destinationIsUnreachable(quoted: quoted.sequence, isRefusal: isRefusal)
    serve(handle, now)
  }

  /// The largest packet that a path is known to take.
  func pathLimit(to destination: IPAddress, _ now: Instant) -> Int {
    for path in pathLimits where path.destination == destination && path.expires > now { return path.limit }
    return configuration.maximumPacket
  }

  /// Tells a sender that nobody is there (RFC 1122, 3.2.2.1); seldom, and never about what went to many.
  func refuse(_ packet: Span<UInt8>, _ header: IPv4Header, _ code: UInt8, _ now: Instant) {
    guard header.source.isUnicast, errorTokens.take(now), packet.count >= header.headerLength else { return }
    let quote = packet.extracting(0..<min(packet.count, header.headerLength + 8))
    send(
      .icmp, from: .v4(header.destination), to: .v4(header.source), length: ICMPv4Message.headerLength + quote.count,
      now
    ) { packet in
      ICMPv4Message.unreachable(code: code).append(to: &packet, quote)
    }
  }

  func noteEcho(_ reply: EchoReply) {
    if echoes.count >= 64 { echoes.removeFirst() }
    echoes.append(reply)
  }

  /// Asks a host for an echo.
  ///
  /// - Parameters:
  ///   - destination: The host.
  ///   - identifier: Any number, to know the answer by.
  ///   - sequence: Another one.
  ///   - now: The time.
  /// - Returns: Whether there is a way to it.
  public func sendEcho(to destination: IPAddress, identifier: UInt16, sequence: UInt16, _ now: Instant) -> Bool {
    guard let source = source(for: destination) else { return false }
    let data: [UInt8] = [0x61, 0x70, 0x75, 0x73, 0x61, 0x70, 0x75, 0x73]
    switch destination {
    case .v4:
      return send(.icmp, from: source, to: destination, length: ICMPv4Message.headerLength + data.count, now) {
        ICMPv4Message.echoRequest(identifier: identifier, sequence: sequence).append(to: &$0, data.span)
      }
    case .v6:
      return sendICMPv6(
        .echoRequest(identifier: identifier, sequence: sequence), from: source, to: destination, data.span, now)
    }
  }

  /// Answers to echoes that have come since the last time.
  public func takeEchoReplies() -> [EchoReply] {
    let taken = echoes
    echoes.removeAll()
    return taken
  }
}
