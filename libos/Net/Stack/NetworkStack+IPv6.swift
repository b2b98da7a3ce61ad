// SPDX-License-Identifier: Apache-2.0
// NetworkStack+IPv6.swift: IPv6 packets: for whom they are, where they go, from which address.

extension NetworkStack {
  func receiveVersion6(_ packet: Span<UInt8>, isLooped: Bool, _ now: Instant) {
    let header: IPv6Header
    do throws(WireError) { header = try IPv6Header(parsing: packet) } catch { return count(error) }
    guard isOurs(header.destination), isLooped || !header.destination.isLoopback && !header.source.isLoopback else {
      statistics.foreign += 1
      return
    }
    guard !header.source.isMulticast else {
      statistics.malformed += 1
      return
    }
    let payload = packet.extracting(header.payload)
    let source = IPAddress.v6(header.source)
    let destination = IPAddress.v6(header.destination)
    copyToRaw(header.number, from: source, to: destination, hopLimit: header.hopLimit, payload, payloadOffset: 0)
    switch header.number {
    case .icmpv6: receiveICMPv6(payload, header, now)
    case .tcp where header.destination.isUnicast: receiveTCP(payload, from: source, to: destination, now)
    case .udp:
      if !receiveUDP(payload, from: source, to: destination, hopLimit: header.hopLimit) { refuse(packet, header, now) }
    default: statistics.unwanted += 1
    }
  }

  private func isOurs(_ address: IPv6Address) -> Bool {
    if address.isLoopback || address == .allNodes { return true }
    for assignment in ipv6.assignments
    where assignment.address == address || assignment.address.solicitedNode == address { return true }
    return false
  }

  func route(to address: IPv6Address) -> NextHop? {
    if address.isLoopback || ipv6.usable(address) != nil { return .ourselves }
    if address.isMulticast { return .group(address.group) }
    guard address.isUnicast, !ipv6.assignments.isEmpty else { return nil }
    if address.isLinkLocal || ipv6.isOnLink(address) { return .neighbour(.v6(address)) }
    return ipv6.routers.first.map { .neighbour(.v6($0.address)) }
  }

  /// A simple choice out of RFC 6724, 5: the same scope, then one that is still preferred.
  func sourceVersion6(for address: IPv6Address) -> IPv6Address? {
    if address.isLoopback || ipv6.usable(address) != nil { return address }
    let isNear = address.isLinkLocal || address.isMulticast
    var found: IPv6Assignment?
    for assignment in ipv6.assignments where !assignment.isTentative && assignment.address.isLinkLocal == isNear {
      if found == nil || found?.isDeprecated == true && !assignment.isDeprecated { found = assignment }
    }
    return found?.address
  }

  @discardableResult
  func sendICMPv6(
    _ message: ICMPv6Message, from source: IPAddress, to destination: IPAddress, hopLimit: UInt8 = 64,
    _ data: Span<UInt8>, _ now: Instant
  ) -> Bool {
    guard case .v6(let from) = source, case .v6(let to) = destination else { return false }
    // The length has to be known before the packet is built: the message is built once for it.
    var built: [UInt8] = []
    message.append(to: &built, from: from, to: to, data)
    let body = built
    return send(.icmpv6, from: source, to: destination, hopLimit: hopLimit, length: body.count, now) {
      $0.append(contentsOf: body)
    }
  }

  /// Tells a sender that nobody has the port (RFC 4443, 3.1); seldom, and never about what went to many.
  private func refuse(_ packet: Span<UInt8>, _ header: IPv6Header, _ now: Instant) {
    guard header.source.isUnicast, header.destination.isUnicast, errorTokens.take(now) else { return }
    let quote = packet.extracting(0..<min(packet.count, 1280 - IPv6Header.byteCount - ICMPv6Message.headerLength))
    sendICMPv6(
      .unreachable(code: ICMPv6Message.portUnreachable), from: .v6(header.destination), to: .v6(header.source), quote,
      now
    )
  }

  private func receiveICMPv6(_ payload: Span<UInt8>, _ header: IPv6Header, _ now: Instant) {
    let message: ICMPv6Message
    do throws(WireError) {
      message = try ICMPv6Message(parsing: payload, from: header.source, to: header.destination)
    } catch { return count(error) }
    let data = payload.extracting(ICMPv6Message.headerLength..<payload.count)
    switch message {
    case .echoRequest(let identifier, let sequence):
      guard header.destination.isUnicast, header.source.isUnicast else { return }
      sendICMPv6(
        .echoReply(identifier: identifier, sequence: sequence), from: .v6(header.destination), to: .v6(header.source),
        data, now)
    case .echoReply(let identifier, let sequence):
      noteEcho(EchoReply(source: .v6(header.source), identifier: identifier, sequence: sequence))
    case .packetTooBig(let limit):
      guard let quoted = quotedVersion6(data) else { return }
      // Every IPv6 link takes 1280 bytes (RFC 8200, 5).
      pathWasTooSmall(
        quoted, max(1280, Int(limit)), overhead: IPv6Header.byteCount + TCPHeader.byteCount, now)
    case .unreachable(let code):
      guard let quoted = quotedVersion6(data) else {
        if code == ICMPv6Message.portUnreachable, let ends = quotedDatagram(version6: data) {
          datagramWasRefused(ends.local, ends.remote)
        }
        return
      }
      destinationIsUnreachable(quoted, isRefusal: code == ICMPv6Message.portUnreachable, now)
    case .timeExceeded, .parameterProblem: break
    case .routerSolicitation, .routerAdvertisement, .neighbourSolicitation, .neighbourAdvertisement:
      // Neighbour discovery comes from the link itself: no router has touched it (RFC 4861, 3.1).
      guard header.hopLimit == 255 else {
        statistics.malformed += 1
        return
      }
      discover(message, header, now)
    }
  }

  /// The ends of a datagram of ours that an error quotes.
  private func quotedDatagram(version6 data: Span<UInt8>) -> (local: Endpoint, remote: Endpoint)? {
    guard data.count >= IPv6Header.byteCount + 4, data[0] >> 4 == 6, data[6] == IPProtocol.udp.rawValue else {
      return nil
    }
    return (
      Endpoint(.v6(IPv6Address(data, at: 8)), data.big16(40)), Endpoint(.v6(IPv6Address(data, at: 24)), data.big16(42))
    )
  }

  private func quotedVersion6(_ data: Span<UInt8>) -> (local: Endpoint, remote: Endpoint, sequence: SequenceNumber)? {
    guard data.count >= IPv6Header.byteCount + 8, data[0] >> 4 == 6, data[6] == IPProtocol.tcp.rawValue else {
      return nil
    }
    return (
      Endpoint(.v6(IPv6Address(data, at: 8)), data.big16(40)), Endpoint(.v6(IPv6Address(data, at: 24)), data.big16(42)),
      SequenceNumber(data.big32(44))
    )
  }
}
