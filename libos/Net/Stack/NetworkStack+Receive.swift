// SPDX-License-Identifier: Apache-2.0
// NetworkStack+Receive.swift: from a frame to whoever it is for.

extension NetworkStack {
  /// A frame came from the link.
  ///
  /// - Parameters:
  ///   - frame: All of it but the check sequence.
  ///   - now: The time.
  public func receive(_ frame: Span<UInt8>, _ now: Instant) {
    statistics.framesReceived += 1
    guard let header = try? EthernetHeader(parsing: frame) else {
      statistics.malformed += 1
      return
    }
    guard accepts(header.destination) else {
      statistics.foreign += 1
      return
    }
    let packet = frame.extracting(EthernetHeader.byteCount..<frame.count)
    switch header.type {
    case EthernetHeader.arp: receiveARP(packet, now)
    case EthernetHeader.ipv4 where packet.count > 0 && packet[0] >> 4 == 4:
      receiveVersion4(packet, isLooped: false, now)
    case EthernetHeader.ipv6 where packet.count > 0 && packet[0] >> 4 == 6:
      receiveVersion6(packet, isLooped: false, now)
    case EthernetHeader.ipv4, EthernetHeader.ipv6: statistics.malformed += 1
    default: statistics.unwanted += 1
    }
    drainLoopback(now)
  }

  /// Frames to us, to all, and to the groups that neighbour discovery looks for us in.
  private func accepts(_ destination: MACAddress) -> Bool {
    if destination == configuration.hardwareAddress || destination == .broadcast { return true }
    guard destination.isMulticast else { return false }
    return destination == IPv6Address.allNodes.group
      || ipv6.assignments.contains { $0.address.solicitedNode.group == destination }
      || destination == IPv4Address(224, 0, 0, 1).group
  }

  /// A packet that went out to ourselves.
  func receivePacket(_ packet: Span<UInt8>, _ now: Instant) {
    guard packet.count > 0 else { return }
    if packet[0] >> 4 == 4 {
      receiveVersion4(packet, isLooped: true, now)
    } else {
      receiveVersion6(packet, isLooped: true, now)
    }
  }

  /// Counts what was wrong with a packet.
  func count(_ error: WireError) {
    switch error {
    case .badChecksum: statistics.badChecksums += 1
    case .unsupported: statistics.unwanted += 1
    case .truncated, .badLength, .badVersion, .badOption: statistics.malformed += 1
    }
  }

  private func receiveVersion4(_ packet: Span<UInt8>, isLooped: Bool, _ now: Instant) {
    let header: IPv4Header
    do throws(WireError) { header = try IPv4Header(parsing: packet) } catch { return count(error) }
    // What is for the loopback or from it never comes over a link (RFC 1122, 3.2.1.3).
    let isStray = !isLooped && (header.destination.isLoopback || header.source.isLoopback)
    guard !isStray, isOurs(header.destination, header.number) else {
      statistics.foreign += 1
      return
    }
    // A source that is a group or everybody is nobody one can answer (RFC 1122, 3.2.1.3).
    guard header.source.isUnicast || header.source == .any && header.number == .udp else {
      statistics.malformed += 1
      return
    }
    let payload = packet.extracting(header.payload)
    guard header.isFragment else { return deliver(header, payload, packet, now) }
    guard let whole = reassembly.take(header, payload, now) else { return }
    var merged = header
    merged.hasMoreFragments = false
    merged.fragmentOffset = 0
    merged.payloadLength = whole.count
    // An error about it could not quote its first fragment any more: it gets none.
    deliver(merged, whole.span, whole.span.extracting(0..<0), now)
  }

  private func isOurs(_ address: IPv4Address, _ number: IPProtocol) -> Bool {
    if address.isLoopback || address == .broadcast || address == IPv4Address(224, 0, 0, 1) { return true }
    // Without an address we are whom a DHCP server calls us (RFC 2131, 4.1).
    guard let ipv4 else { return number == .udp && address.isUnicast }
    return address == ipv4.address || address == ipv4.broadcast
  }

  private func deliver(_ header: IPv4Header, _ payload: Span<UInt8>, _ packet: Span<UInt8>, _ now: Instant) {
    let source = IPAddress.v4(header.source)
    let destination = IPAddress.v4(header.destination)
    let wasCopied = copyToRaw(
      header.number, from: source, to: destination, hopLimit: header.hopLimit, packet,
      payloadOffset: min(header.headerLength, packet.count))
    let isToUs = header.destination == ipv4?.address || header.destination.isLoopback
    switch header.number {
    case .tcp: if isToUs { receiveTCP(payload, from: source, to: destination, now) } else { statistics.unwanted += 1 }
    case .udp:
      let wasTaken = receiveUDP(payload, from: source, to: destination, hopLimit: header.hopLimit)
      if !wasTaken, isToUs { refuse(packet, header, ICMPv4Message.portUnreachable, now) }
    case .icmp: receiveICMPv4(payload, header, now)
    default:
      if wasCopied { return }
      statistics.unwanted += 1
      if isToUs { refuse(packet, header, ICMPv4Message.protocolUnreachable, now) }
    }
  }

  private func receiveARP(_ packet: Span<UInt8>, _ now: Instant) {
    let message: ARPPacket
    do throws(WireError) { message = try ARPPacket(parsing: packet) } catch { return count(error) }
    guard let ipv4, message.sender.isUnicast, message.sender != ipv4.address else {
      statistics.unwanted += 1
      return
    }
    let isForUs = message.target == ipv4.address
    // Who asks for us will be answered and is worth knowing; who tells unasked is only listened to if known (RFC 826).
    let waiting = neighbours.learn(
      .v4(message.sender), message.senderHardware, isAnswer: isForUs && ipv4.isOnLink(message.sender), now)
    for frame in waiting { send(frame, to: message.senderHardware) }
    guard isForUs, message.operation == ARPPacket.request else { return }
    let answer = ARPPacket(
      operation: ARPPacket.reply, senderHardware: configuration.hardwareAddress, sender: ipv4.address,
      targetHardware: message.senderHardware, target: message.sender)
    sendARP(answer, to: message.senderHardware)
  }
}
