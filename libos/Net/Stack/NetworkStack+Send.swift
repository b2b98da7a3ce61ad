// SPDX-License-Identifier: Apache-2.0
// NetworkStack+Send.swift: from a packet to a frame: routes, neighbours, the link's queue.

extension NetworkStack {
  /// The largest packet to ourselves: no link bounds it.
  static let loopbackPacket = 1 << 14

  /// What can be sent behind an IP header: IPv4 is cut into fragments, IPv6 is not.
  func datagramLimit(to destination: IPAddress) -> Int {
    if case .v4 = destination { return 65_535 - IPv4Header.byteCount }
    if route(to: destination) == .ourselves { return 65_535 }
    return configuration.maximumPacket - IPv6Header.byteCount
  }

  /// Whether packets to an address come to us: one of ours, or the loopback's.
  public func isOwn(_ address: IPAddress) -> Bool { route(to: address) == .ourselves }

  /// The address of ours that packets to a host come from; nil if there is no way to it.
  public func localAddress(for destination: IPAddress) -> IPAddress? {
    route(to: destination) == nil ? nil : source(for: destination)
  }

  /// Where a packet goes next; nil if there is no way.
  func route(to destination: IPAddress) -> NextHop? {
    switch destination {
    case .v4(let address): route(to: address)
    case .v6(let address): route(to: address)
    }
  }

  private func route(to address: IPv4Address) -> NextHop? {
    if address.isLoopback || address == ipv4?.address { return .ourselves }
    if address == .broadcast { return .group(.broadcast) }
    if address.isMulticast { return .group(address.group) }
    guard let ipv4, address.isUnicast else { return nil }
    if address == ipv4.broadcast { return .group(.broadcast) }
    if ipv4.isOnLink(address) { return .neighbour(.v4(address)) }
    // The longest prefix decides (RFC 1812, 5.2.4.3).
    var best: Route?
    for route in routes where route.covers(address) && route.prefixLength >= best?.prefixLength ?? 0 { best = route }
    guard let router = best?.router ?? ipv4.router else { return nil }
    return .neighbour(.v4(router))
  }

  /// The address that packets to `destination` come from; nil if there is none.
  func source(for destination: IPAddress) -> IPAddress? {
    switch destination {
    case .v4(let address):
      if address.isLoopback { return destination }
      return ipv4.map { .v4($0.address) }
    case .v6(let address): return sourceVersion6(for: address).map { .v6($0) }
    }
  }

  /// Sends a packet of `length` bytes behind the IP header, which `build` appends; tells whether there was a way to go and
  /// room for it.
  @discardableResult
  func send(
    _ number: IPProtocol, from source: IPAddress, to destination: IPAddress, hopLimit: UInt8 = 64, length: Int,
    _ now: Instant, _ build: (inout [UInt8]) -> Void
  ) -> Bool {
    guard let hop = route(to: destination) else {
      statistics.unroutable += 1
      return false
    }
    if hop != .ourselves, number != .tcp, IPv4Header.byteCount + length > configuration.maximumPacket,
      case .v4(let source) = source, case .v4(let destination) = destination
    {
      return sendFragments(number, from: source, to: destination, hopLimit: hopLimit, hop, now, build)
    }
    var packet: [UInt8] = []
    packet.reserveCapacity(EthernetHeader.byteCount + IPv6Header.byteCount + length)
    guard begin(&packet, number, from: source, to: destination, hop, hopLimit: hopLimit, length: length) else {
      return false
    }
    build(&packet)
    return dispatch(packet, hop, now)
  }

  /// Appends the headers below a transport's to a packet; false if the two addresses are not of one kind.
  private func begin(
    _ packet: inout [UInt8], _ number: IPProtocol, from source: IPAddress, to destination: IPAddress, _ hop: NextHop,
    hopLimit: UInt8 = 64, length: Int
  ) -> Bool {
    let type: UInt16
    if case .v4 = destination { type = EthernetHeader.ipv4 } else { type = EthernetHeader.ipv6 }
    if hop != .ourselves {
      EthernetHeader(destination: MACAddress(0), source: configuration.hardwareAddress, type: type).append(to: &packet)
    }
    switch (source, destination) {
    case (.v4(let source), .v4(let destination)):
      nextIdentification = nextIdentification &+ 1
      var header = IPv4Header(source: source, destination: destination, number: number, payloadLength: length)
      header.identification = nextIdentification
      header.hopLimit = hopLimit
      header.append(to: &packet)
    case (.v6(let source), .v6(let destination)):
      var header = IPv6Header(source: source, destination: destination, number: number, payloadLength: length)
      header.hopLimit = hopLimit
      header.append(to: &packet)
    case (.v4, .v6), (.v6, .v4): return false
    }
    return true
  }

  /// Sends a packet that the link does not take as a whole (RFC 791, 3.2).
  private func sendFragments(
    _ number: IPProtocol, from source: IPv4Address, to destination: IPv4Address, hopLimit: UInt8, _ hop: NextHop,
    _ now: Instant, _ build: (inout [UInt8]) -> Void
  ) -> Bool {
    var payload: [UInt8] = []
    build(&payload)
    nextIdentification = nextIdentification &+ 1
    let step = (configuration.maximumPacket - IPv4Header.byteCount) & ~7
    var offset = 0
    while offset < payload.count {
      let count = min(step, payload.count - offset)
      var header = IPv4Header(source: source, destination: destination, number: number, payloadLength: count)
      header.identification = nextIdentification
      header.hopLimit = hopLimit
      header.mayNotFragment = false
      header.hasMoreFragments = offset + count < payload.count
      header.fragmentOffset = offset
      var packet: [UInt8] = []
      EthernetHeader(
        destination: MACAddress(0), source: configuration.hardwareAddress, type: EthernetHeader.ipv4
      ).append(to: &packet)
      header.append(to: &packet)
      packet.append(contentsOf: payload[offset..<offset + count])
      if !dispatch(packet, hop, now) { return false }
      offset += count
    }
    return true
  }

  @discardableResult private func dispatch(_ packet: [UInt8], _ hop: NextHop, _ now: Instant) -> Bool {
    switch hop {
    case .ourselves:
      guard looped.append(packet) else {
        statistics.overflows += 1
        return false
      }
      return true
    case .group(let hardware): return send(packet, to: hardware)
    case .neighbour(let address):
      let (hardware, question) = neighbours.look(up: address, now)
      defer { if let question { ask(question, now) } }
      if let hardware { return send(packet, to: hardware) }
      neighbours.keep(packet, for: address)
      return true
    }
  }

  /// Queues a frame for the link, its destination filled in.
  @discardableResult
  func send(_ frame: [UInt8], to hardware: MACAddress) -> Bool {
    var frame = frame
    frame.set16(UInt16(hardware.bits >> 32), at: 0)
    frame.set16(UInt16(hardware.bits >> 16 & 0xffff), at: 2)
    frame.set16(UInt16(hardware.bits & 0xffff), at: 4)
    if let link, !link.isFull {
      statistics.framesSent += 1
      link.send(frame.span, FrameParts())
      return true
    }
    guard outgoing.append(frame) else {
      statistics.overflows += 1
      return false
    }
    return true
  }

  /// Asks for a neighbour's Ethernet address.
  func ask(_ question: NeighbourQuestion, _ now: Instant) {
    switch question.address {
    case .v4(let address):
      guard let ipv4 else { return }
      let packet = ARPPacket(
        operation: ARPPacket.request, senderHardware: configuration.hardwareAddress, sender: ipv4.address,
        targetHardware: question.hardware ?? MACAddress(0), target: address)
      sendARP(packet, to: question.hardware ?? .broadcast)
    case .v6(let address): solicit(address, now)
    }
  }

  func sendARP(_ message: ARPPacket, to hardware: MACAddress) {
    var frame: [UInt8] = []
    EthernetHeader(destination: MACAddress(0), source: configuration.hardwareAddress, type: EthernetHeader.arp)
      .append(to: &frame)
    message.append(to: &frame)
    send(frame, to: hardware)
  }
}
